"""Data only: what a FHIR element means in OMOP. See mappings/README.md."""
