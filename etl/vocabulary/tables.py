"""The vocabulary tables of CDM 5.4: columns, types and keys, as schema `vocab` holds them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column: its name, its DuckDB type, and whether the CDM requires a value."""

    name: str
    kind: str
    required: bool = True


def _columns(*words: str) -> tuple[Column, ...]:
    """Columns from "name" (VARCHAR), "name:KIND", each optional with a trailing "?"."""
    found = []
    for word in words:
        name, _, kind = word.rstrip("?").partition(":")
        found.append(Column(name, kind or "VARCHAR", not word.endswith("?")))
    return tuple(found)


_VALID = ("valid_start_date:DATE", "valid_end_date:DATE", "invalid_reason?")

TABLES: dict[str, tuple[Column, ...]] = {
    # concept_name: Athena ships CPT4 names empty until the user has run its own tool.
    "concept": _columns(
        "concept_id:INTEGER",
        "concept_name?",
        "domain_id",
        "vocabulary_id",
        "concept_class_id",
        "standard_concept?",
        "concept_code",
        *_VALID,
    ),
    "concept_relationship": _columns("concept_id_1:INTEGER", "concept_id_2:INTEGER", "relationship_id", *_VALID),
    "concept_ancestor": _columns(
        "ancestor_concept_id:INTEGER",
        "descendant_concept_id:INTEGER",
        "min_levels_of_separation:INTEGER",
        "max_levels_of_separation:INTEGER",
    ),
    "vocabulary": _columns(
        "vocabulary_id",
        "vocabulary_name",
        "vocabulary_reference?",
        "vocabulary_version?",
        "vocabulary_concept_id:INTEGER",
    ),
    "domain": _columns("domain_id", "domain_name", "domain_concept_id:INTEGER"),
    "concept_class": _columns("concept_class_id", "concept_class_name", "concept_class_concept_id:INTEGER"),
    "relationship": _columns(
        "relationship_id",
        "relationship_name",
        "is_hierarchical",
        "defines_ancestry",
        "reverse_relationship_id",
        "relationship_concept_id:INTEGER",
    ),
    "concept_synonym": _columns("concept_id:INTEGER", "concept_synonym_name", "language_concept_id:INTEGER"),
    "drug_strength": _columns(
        "drug_concept_id:INTEGER",
        "ingredient_concept_id:INTEGER",
        "amount_value:DOUBLE?",
        "amount_unit_concept_id:INTEGER?",
        "numerator_value:DOUBLE?",
        "numerator_unit_concept_id:INTEGER?",
        "denominator_value:DOUBLE?",
        "denominator_unit_concept_id:INTEGER?",
        "box_size:INTEGER?",
        *_VALID,
    ),
}

KEYS: dict[str, tuple[str, ...]] = {
    "concept": ("concept_id",),
    "concept_relationship": ("concept_id_1", "concept_id_2", "relationship_id"),
    "concept_ancestor": ("ancestor_concept_id", "descendant_concept_id"),
    "vocabulary": ("vocabulary_id",),
    "domain": ("domain_id",),
    "concept_class": ("concept_class_id",),
    "relationship": ("relationship_id",),
    "concept_synonym": ("concept_id", "concept_synonym_name", "language_concept_id"),
    "drug_strength": ("drug_concept_id", "ingredient_concept_id", "valid_start_date"),
}

ORDER: dict[str, tuple[str, ...]] = {
    "concept": ("vocabulary_id", "concept_code"),
    "concept_relationship": ("concept_id_1", "relationship_id", "concept_id_2"),
    "concept_ancestor": ("descendant_concept_id", "ancestor_concept_id"),
    "drug_strength": ("drug_concept_id", "ingredient_concept_id"),
    "concept_synonym": ("concept_id",),
}
"""How the rows of the large tables lie on the disk: by what they are looked up by."""

CREATE: tuple[str, ...] = tuple(
    f"CREATE OR REPLACE TABLE vocab.{table} ({', '.join(f'{column.name} {column.kind}' for column in columns)})"
    for table, columns in TABLES.items()
)
