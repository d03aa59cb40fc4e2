"""Tables that are computed from the events: eras and episodes."""

from sqlalchemy import Table

from etl.cdm.columns import METADATA, concept, count, day, key, link, moment, number, row_id, text

drug_era = Table(
    "drug_era",
    METADATA,
    key("drug_era_id"),
    link("person_id", "person", required=True),
    concept("drug_concept_id", "Drug", concept_class="Ingredient", required=True, standard=True),
    day("drug_era_start_date", required=True),
    day("drug_era_end_date", required=True),
    count("drug_exposure_count"),
    count("gap_days"),
)

dose_era = Table(
    "dose_era",
    METADATA,
    key("dose_era_id"),
    link("person_id", "person", required=True),
    concept("drug_concept_id", "Drug", concept_class="Ingredient", required=True, standard=True),
    concept("unit_concept_id", "Unit", required=True, standard=True),
    number("dose_value", required=True),
    day("dose_era_start_date", required=True),
    day("dose_era_end_date", required=True),
)

condition_era = Table(
    "condition_era",
    METADATA,
    key("condition_era_id"),
    link("person_id", "person", required=True),
    concept("condition_concept_id", "Condition", required=True, standard=True),
    day("condition_era_start_date", required=True),
    day("condition_era_end_date", required=True),
    count("condition_occurrence_count"),
)

episode = Table(
    "episode",
    METADATA,
    key("episode_id"),
    link("person_id", "person", required=True),
    concept("episode_concept_id", "Episode", required=True, standard=True),
    day("episode_start_date", required=True),
    moment("episode_start_datetime"),
    day("episode_end_date"),
    moment("episode_end_datetime"),
    row_id("episode_parent_id"),
    count("episode_number"),
    concept("episode_object_concept_id", "Procedure, Regimen", required=True),
    concept("episode_type_concept_id", "Type Concept", required=True, standard=True),
    text("episode_source_value", 50),
    concept("episode_source_concept_id"),
)

episode_event = Table(
    "episode_event",
    METADATA,
    link("episode_id", "episode", required=True),
    row_id("event_id", required=True),
    concept("episode_event_field_concept_id", "Metadata", required=True, standard=True),
)
