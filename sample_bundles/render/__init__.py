"""The deterministic renderer: truth/*.csv → one neutral list of events per child → the FHIR of four hospitals.

truth.py     the three truth files as children, courses and laboratory rows
events.py    what can happen to a child, in no hospital's words
schedule.py  when the bags of a course run
story.py     the events of one child, plants.py the planted awkward cases among them
fhir.py      small FHIR elements; dialect.py what all hospitals share; site1.py … site4.py how each one writes
deliver.py   the form of delivery (transaction, collection, searchset pages, NDJSON); write.py files and comparison
"""
