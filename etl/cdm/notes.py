"""Notes, what language processing found in them, and facts that belong together."""

from sqlalchemy import Table

from etl.cdm.columns import METADATA, concept, day, key, link, long_text, moment, row_id, text

note = Table(
    "note",
    METADATA,
    key("note_id"),
    link("person_id", "person", required=True),
    day("note_date", required=True),
    moment("note_datetime"),
    concept("note_type_concept_id", "Type Concept", required=True, standard=True),
    concept("note_class_concept_id", required=True, standard=True),
    text("note_title", 250),
    long_text("note_text", required=True),
    concept("encoding_concept_id", required=True, standard=True),
    concept("language_concept_id", required=True, standard=True),
    link("provider_id", "provider"),
    link("visit_occurrence_id", "visit_occurrence"),
    link("visit_detail_id", "visit_detail"),
    text("note_source_value", 50),
    row_id("note_event_id"),
    concept("note_event_field_concept_id", standard=True),
)

note_nlp = Table(
    "note_nlp",
    METADATA,
    key("note_nlp_id"),
    row_id("note_id", required=True),
    concept("section_concept_id", standard=True),
    text("snippet", 250),
    text("offset", 50),
    text("lexical_variant", 250, required=True),
    concept("note_nlp_concept_id", standard=True),
    concept("note_nlp_source_concept_id"),
    text("nlp_system", 250),
    day("nlp_date", required=True),
    moment("nlp_datetime"),
    text("term_exists", 1),
    text("term_temporal", 50),
    text("term_modifiers", 2000),
)

fact_relationship = Table(
    "fact_relationship",
    METADATA,
    concept("domain_concept_id_1", required=True),
    row_id("fact_id_1", required=True),
    concept("domain_concept_id_2", required=True),
    row_id("fact_id_2", required=True),
    concept("relationship_concept_id", required=True),
)
