"""The OMOP CDM 5.4: every table with OMOP's names and types. Floor 0: imports nothing of ours.

Written here once because no package equals the CDM's field list: `omop-cdm` 0.7.0 (read in November 2026) lacks COHORT
and COHORT_DEFINITION, declares 24 columns of 9 tables as primary keys that are none in the CDM, adds three foreign
keys, and says nothing about domains. tests/etl/cdm compares these tables with OHDSI's list field by field.

`METADATA` has no schema; the same tables are created as `cdm` in the target and as `out` in the work database.
"""

from sqlalchemy import BigInteger, Boolean, Column, Date, DateTime, Double, Integer, MetaData, String, Table

from etl.cdm import about, derived, events, health_system, notes, person, vocabulary
from etl.cdm.columns import METADATA, ColumnFacts

__all__ = [
    "DOMAIN_TABLES",
    "EVENT_DATES",
    "KEYS",
    "METADATA",
    "ROW_KEYS",
    "TABLES",
    "VOCABULARY_TABLES",
    "ColumnFacts",
    "column_types",
    "create_table",
    "duckdb_type",
    "lengths",
    "metadata",
    "required_columns",
]

_MODULES = (person, events, notes, health_system, derived, about, vocabulary)

TABLES: dict[str, Table] = {
    table.name: table for module in _MODULES for table in vars(module).values() if isinstance(table, Table)
}
"""Every table of the CDM by its name, grouped by the kind of thing it holds: persons first, vocabulary last."""

KEYS: dict[str, str] = {name: table.primary_key.columns[0].name for name, table in TABLES.items() if table.primary_key}
"""The primary key column of each table that has one in the CDM."""

ROW_KEYS: dict[str, str] = KEYS | {"death": "person_id"}
"""The column that tells the rows of a table apart for lineage: the primary key, and the person of a death."""

VOCABULARY_TABLES: tuple[str, ...] = (
    "concept",
    "vocabulary",
    "domain",
    "concept_class",
    "concept_relationship",
    "relationship",
    "concept_synonym",
    "concept_ancestor",
    "drug_strength",
)
"""Tables that an Athena download fills. SOURCE_TO_CONCEPT_MAP is not among them: it holds the site's own codes."""

DOMAIN_TABLES: dict[str, str] = {
    "Condition": "condition_occurrence",
    "Device": "device_exposure",
    "Drug": "drug_exposure",
    "Episode": "episode",
    "Measurement": "measurement",
    "Note": "note",
    "Observation": "observation",
    "Procedure": "procedure_occurrence",
    "Regimen": "episode",
    "Specimen": "specimen",
    "Visit": "visit_occurrence",
}
"""The table for a standard concept of a domain; concepts of other domains (Race, Unit, Meas Value, …) are no events."""

EVENT_DATES: dict[str, tuple[str, str | None]] = {
    "visit_occurrence": ("visit_start_date", "visit_end_date"),
    "visit_detail": ("visit_detail_start_date", "visit_detail_end_date"),
    "condition_occurrence": ("condition_start_date", "condition_end_date"),
    "drug_exposure": ("drug_exposure_start_date", "drug_exposure_end_date"),
    "procedure_occurrence": ("procedure_date", "procedure_end_date"),
    "device_exposure": ("device_exposure_start_date", "device_exposure_end_date"),
    "measurement": ("measurement_date", None),
    "observation": ("observation_date", None),
    "specimen": ("specimen_date", None),
    "note": ("note_date", None),
}
"""The tables of clinical events with their start and end date columns (None: the event is a point in time)."""

_DUCKDB_TYPES: tuple[tuple[type, str], ...] = (
    (BigInteger, "BIGINT"),
    (Boolean, "BOOLEAN"),
    (Integer, "INTEGER"),
    (Double, "DOUBLE"),
    (DateTime, "TIMESTAMP"),
    (Date, "DATE"),
    (String, "VARCHAR"),
)


def metadata(schema: str) -> MetaData:
    """A copy of all CDM tables under a schema, for SQLAlchemy's own `create_all` and for queries."""
    copy = MetaData(schema=schema)
    for table in TABLES.values():
        table.to_metadata(copy, schema=schema)
    return copy


def duckdb_type(column: Column[object]) -> str:
    """The DuckDB type of a column. DuckDB has no limit on text: see `lengths`."""
    return next(name for kind, name in _DUCKDB_TYPES if isinstance(column.type, kind))


def column_types(table: Table | str) -> dict[str, str]:
    """DuckDB types by column name, in the order of the CDM."""
    return {column.name: duckdb_type(column) for column in _table(table).columns}


def lengths(table: Table | str) -> dict[str, int]:
    """The longest text that a column takes, in characters, for columns that have a limit."""
    limits = {column.name: getattr(column.type, "length", None) for column in _table(table).columns}
    return {name: length for name, length in limits.items() if length}


def required_columns(table: Table | str) -> tuple[str, ...]:
    """The columns in which the CDM does not allow NULL."""
    return tuple(column.name for column in _table(table).columns if not column.nullable)


def create_table(table: Table, schema: str, *, required: bool = True) -> str:
    """DuckDB's CREATE TABLE IF NOT EXISTS; `required` writes NOT NULL.

    No primary or foreign keys: DuckDB's key indexes make a bulk load several times slower and refuse that one
    transaction deletes and inserts the same key. The store checks keys before it writes, the quality checks after.
    """
    columns = [
        f"{_quoted(column.name)} {duckdb_type(column)}{' NOT NULL' if required and not column.nullable else ''}"
        for column in table.columns
    ]
    return f"CREATE TABLE IF NOT EXISTS {schema}.{_quoted(table.name)} ({', '.join(columns)})"


def _table(table: Table | str) -> Table:
    return TABLES[table] if isinstance(table, str) else table


def _quoted(name: str) -> str:
    return f'"{name}"'
