"""The standardized vocabularies. Their ids are OMOP's and fit in 32 bits."""

from sqlalchemy import Table

from etl.cdm.columns import METADATA, concept_key, count, day, number, text, text_key
from etl.cdm.columns import concept as concept_id

concept = Table(
    "concept",
    METADATA,
    concept_key("concept_id"),
    text("concept_name", 255, required=True),
    text("domain_id", 20, required=True, fk=("domain", "domain_id")),
    text("vocabulary_id", 20, required=True, fk=("vocabulary", "vocabulary_id")),
    text("concept_class_id", 20, required=True, fk=("concept_class", "concept_class_id")),
    text("standard_concept", 1),
    text("concept_code", 50, required=True),
    day("valid_start_date", required=True),
    day("valid_end_date", required=True),
    text("invalid_reason", 1),
)

vocabulary = Table(
    "vocabulary",
    METADATA,
    text_key("vocabulary_id", 20),
    text("vocabulary_name", 255, required=True),
    text("vocabulary_reference", 255),
    text("vocabulary_version", 255),
    concept_id("vocabulary_concept_id", required=True),
)

domain = Table(
    "domain",
    METADATA,
    text_key("domain_id", 20),
    text("domain_name", 255, required=True),
    concept_id("domain_concept_id", required=True),
)

concept_class = Table(
    "concept_class",
    METADATA,
    text_key("concept_class_id", 20),
    text("concept_class_name", 255, required=True),
    concept_id("concept_class_concept_id", required=True),
)

concept_relationship = Table(
    "concept_relationship",
    METADATA,
    concept_id("concept_id_1", required=True),
    concept_id("concept_id_2", required=True),
    text("relationship_id", 20, required=True, fk=("relationship", "relationship_id")),
    day("valid_start_date", required=True),
    day("valid_end_date", required=True),
    text("invalid_reason", 1),
)

relationship = Table(
    "relationship",
    METADATA,
    text_key("relationship_id", 20),
    text("relationship_name", 255, required=True),
    text("is_hierarchical", 1, required=True),
    text("defines_ancestry", 1, required=True),
    text("reverse_relationship_id", 20, required=True),
    concept_id("relationship_concept_id", required=True),
)

concept_synonym = Table(
    "concept_synonym",
    METADATA,
    concept_id("concept_id", required=True),
    text("concept_synonym_name", 1000, required=True),
    concept_id("language_concept_id", required=True),
)

concept_ancestor = Table(
    "concept_ancestor",
    METADATA,
    concept_id("ancestor_concept_id", required=True),
    concept_id("descendant_concept_id", required=True),
    count("min_levels_of_separation", required=True),
    count("max_levels_of_separation", required=True),
)

source_to_concept_map = Table(
    "source_to_concept_map",
    METADATA,
    text("source_code", 50, required=True),
    concept_id("source_concept_id", required=True),
    text("source_vocabulary_id", 20, required=True),
    text("source_code_description", 255),
    concept_id("target_concept_id", required=True, standard=True),
    text("target_vocabulary_id", 20, required=True, fk=("vocabulary", "vocabulary_id")),
    day("valid_start_date", required=True),
    day("valid_end_date", required=True),
    text("invalid_reason", 1),
)

drug_strength = Table(
    "drug_strength",
    METADATA,
    concept_id("drug_concept_id", required=True),
    concept_id("ingredient_concept_id", required=True),
    number("amount_value"),
    concept_id("amount_unit_concept_id"),
    number("numerator_value"),
    concept_id("numerator_unit_concept_id"),
    number("denominator_value"),
    concept_id("denominator_unit_concept_id"),
    count("box_size"),
    day("valid_start_date", required=True),
    day("valid_end_date", required=True),
    text("invalid_reason", 1),
)
