"""FHIR R4 to OMOP CDM 5.4: landing, mapping, transform, store, quality."""
