"""What the database says about itself, and cohorts (the CDM puts those two into the results schema)."""

from sqlalchemy import Table

from etl.cdm.columns import METADATA, concept, day, key, long_text, moment, number, row_id, text

metadata = Table(
    "metadata",
    METADATA,
    key("metadata_id"),
    concept("metadata_concept_id", required=True),
    concept("metadata_type_concept_id", required=True),
    text("name", 250, required=True),
    text("value_as_string", 250),
    concept("value_as_concept_id"),
    number("value_as_number"),
    day("metadata_date"),
    moment("metadata_datetime"),
)

cdm_source = Table(
    "cdm_source",
    METADATA,
    text("cdm_source_name", 255, required=True),
    text("cdm_source_abbreviation", 25, required=True),
    text("cdm_holder", 255, required=True),
    long_text("source_description"),
    text("source_documentation_reference", 255),
    text("cdm_etl_reference", 255),
    day("source_release_date", required=True),
    day("cdm_release_date", required=True),
    text("cdm_version", 10),
    concept("cdm_version_concept_id", required=True, standard=True),
    text("vocabulary_version", 20, required=True),
)

cohort = Table(
    "cohort",
    METADATA,
    row_id("cohort_definition_id", required=True),
    row_id("subject_id", required=True),
    day("cohort_start_date", required=True),
    day("cohort_end_date", required=True),
)

cohort_definition = Table(
    "cohort_definition",
    METADATA,
    row_id("cohort_definition_id", required=True),
    text("cohort_definition_name", 255, required=True),
    long_text("cohort_definition_description"),
    concept("definition_type_concept_id", required=True, standard=True),
    long_text("cohort_definition_syntax"),
    concept("subject_concept_id", required=True, standard=True),
    day("cohort_initiation_date"),
)
