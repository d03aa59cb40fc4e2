"""How the tables look in PostgreSQL: types, keys, indexes.

Every table that has a key has it as PRIMARY KEY, and the columns that studies join and filter by have an index (those
of OHDSI's OMOPCDM_postgresql_5.4_indices.sql, by rule instead of by list).

There are no foreign keys. A table whose rows did not change is left alone when another one is replaced; a key between
the two would forbid that. Each event table has up to a dozen links to CONCEPT, so that checking them row by row would
cost a multiple of the load, and the quality checks count every broken link anyway.

Vocabulary tables take what Athena ships: texts without a limit, and no column but the key is NOT NULL.
"""

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from etl.store.sources import Place, is_vocabulary

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]

_INDEXED = frozenset({"person_id", "visit_occurrence_id", "subject_id"})

_INDEXES: dict[Place, tuple[tuple[str, ...], ...]] = {
    ("cdm", "concept"): (("concept_code", "vocabulary_id"),),
    ("cdm", "concept_relationship"): (("concept_id_1", "relationship_id"), ("concept_id_2",)),
    ("cdm", "concept_synonym"): (("concept_id",),),
    ("cdm", "concept_ancestor"): (("ancestor_concept_id",), ("descendant_concept_id",)),
    ("cdm", "drug_strength"): (("drug_concept_id",), ("ingredient_concept_id",)),
    ("cdm", "source_to_concept_map"): (("source_code", "source_vocabulary_id"), ("target_concept_id",)),
    ("cdm", "fact_relationship"): (("fact_id_1",), ("fact_id_2",)),
    ("cdm", "cost"): (("cost_event_id",),),
    ("cdm", "episode_event"): (("episode_id",),),
    ("lineage", "cdm_row"): (("table_name", "row_id"), ("resource_no",)),
    ("lineage", "resource"): (("resource_type", "fhir_id"),),
    ("lineage", "precision"): (("table_name", "row_id"),),
    ("ledger", "resource"): (("file_sha256", "at"),),
    ("ledger", "count"): (("run_id",),),
    ("ledger", "written"): (("run_id",),),
}


def quoted(*names: str) -> str:
    """A name for SQL, e.g. "cdm"."person"."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def columns(table: Table) -> dict[str, str]:
    """The PostgreSQL type of each column, as `format_type` spells it."""
    kinds = {column.name: column.type.compile(dialect=_DIALECT).lower() for column in table.columns}
    if is_vocabulary(table.name):
        kinds = {name: "text" if kind.startswith("varchar") else kind for name, kind in kinds.items()}
    return {name: kind.replace("varchar", "character varying") for name, kind in kinds.items()}


def create_table(table: Table, schema: str) -> str:
    """CREATE TABLE without keys and indexes: those are made when the rows are in."""
    parts = [
        f"{quoted(name)} {kind}{'' if table.columns[name].nullable or is_vocabulary(table.name) else ' NOT NULL'}"
        for name, kind in columns(table).items()
    ]
    return f"CREATE TABLE {quoted(schema, table.name)} ({', '.join(parts)})"


def indexes(place: Place, table: Table, schema: str) -> list[str]:
    """The key and the indexes of a table that belongs at `place` and stands in `schema` while it is filled."""
    target = quoted(schema, table.name)
    keys = [column.name for column in table.primary_key.columns]
    made = []
    if keys:
        made.append(
            f"ALTER TABLE {target} ADD CONSTRAINT {quoted(f'{table.name}_pkey')}"
            f" PRIMARY KEY ({', '.join(quoted(key) for key in keys)})"
        )
    wanted = [
        *((one.name,) for one in table.columns if _is_indexed(table, one.name) and one.name not in keys[:1]),
        *_INDEXES.get(place, ()),
    ]
    made += [
        f"CREATE INDEX {quoted(f'{table.name}_' + '_'.join(one))} ON {target} ({', '.join(map(quoted, one))})"
        for one in wanted
    ]
    return made


def _is_indexed(table: Table, column: str) -> bool:
    """Persons, visits, and the concept that says what a row of a clinical table is."""
    if column in _INDEXED:
        return True
    event = table.name.removesuffix("_occurrence").removesuffix("_exposure").removesuffix("_era")
    return "person_id" in table.columns and column == f"{event}_concept_id"
