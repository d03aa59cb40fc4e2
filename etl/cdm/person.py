"""The person, when we saw them, and their death."""

from sqlalchemy import Table

from etl.cdm.columns import METADATA, concept, count, day, key, link, moment, text

person = Table(
    "person",
    METADATA,
    key("person_id"),
    concept("gender_concept_id", "Gender", required=True, standard=True),
    count("year_of_birth", required=True),
    count("month_of_birth"),
    count("day_of_birth"),
    moment("birth_datetime"),
    concept("race_concept_id", "Race", required=True, standard=True),
    concept("ethnicity_concept_id", "Ethnicity", required=True, standard=True),
    link("location_id", "location"),
    link("provider_id", "provider"),
    link("care_site_id", "care_site"),
    text("person_source_value", 50),
    text("gender_source_value", 50),
    concept("gender_source_concept_id"),
    text("race_source_value", 50),
    concept("race_source_concept_id"),
    text("ethnicity_source_value", 50),
    concept("ethnicity_source_concept_id"),
)

observation_period = Table(
    "observation_period",
    METADATA,
    key("observation_period_id"),
    link("person_id", "person", required=True),
    day("observation_period_start_date", required=True),
    day("observation_period_end_date", required=True),
    concept("period_type_concept_id", "Type Concept", required=True, standard=True),
)

death = Table(
    "death",
    METADATA,
    link("person_id", "person", required=True),
    day("death_date", required=True),
    moment("death_datetime"),
    concept("death_type_concept_id", "Type Concept", standard=True),
    concept("cause_concept_id", standard=True),
    text("cause_source_value", 50),
    concept("cause_source_concept_id"),
)
