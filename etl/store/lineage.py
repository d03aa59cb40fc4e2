"""Lineage: from every OMOP row back to the FHIR resource and the rule that made it.

It stands outside the CDM schema (HL7 f2o-023, -024, -100: extra columns inside CDM tables break the model; the way back
to a patient needs access rights of its own). The transform fills the same tables in schema `lin` of the work database.
A row of a derived table (era, period, episode) has no row here: it follows from rows that have one.
"""

from sqlalchemy import BigInteger, Boolean, Column, Integer, MetaData, String, Table, Text

METADATA = MetaData()

resource = Table(
    "resource",
    METADATA,
    Column("resource_no", BigInteger, primary_key=True, autoincrement=False),  # the running number of the landed line
    Column("site", String(50), nullable=False),
    Column("resource_type", String(64), nullable=False),
    Column("fhir_id", Text),
    Column("version", Text),
    Column("updated", Text),
    Column("file_sha256", String(64)),
    Column("at", BigInteger),
)

rule = Table(
    "rule",
    METADATA,
    Column("rule_id", Integer, primary_key=True, autoincrement=False),
    Column("resource_type", String(64), nullable=False),
    Column("rule", String(100), nullable=False),
    Column("table_name", String(64), nullable=False),
    Column("mapping_sha", String(64)),
)

cdm_row = Table(
    "cdm_row",
    METADATA,
    Column("table_name", String(64), nullable=False),
    Column("row_id", BigInteger, nullable=False),  # the column etl.cdm.ROW_KEYS names
    Column("rule_id", Integer, nullable=False),
    Column("resource_no", BigInteger, nullable=False),
)

precision = Table(
    "precision",
    METADATA,
    Column("table_name", String(64), nullable=False),
    Column("row_id", BigInteger, nullable=False),
    Column("column_name", String(64), nullable=False),
    Column("precision", String(20), nullable=False),  # year, month, no zone
    Column("origin", Text),
)

person_source = Table(
    "person_source",
    METADATA,
    Column("person_id", BigInteger, nullable=False),
    Column("site", String(50), nullable=False),
    Column("fhir_id", Text, nullable=False),
    Column("canonical", Boolean, nullable=False),
)

unmapped = Table(
    "unmapped",
    METADATA,
    Column("resource_no", BigInteger, nullable=False),
    Column("site", String(50), nullable=False),
    Column("resource_type", String(64), nullable=False),
    Column("element", Text),
    Column("source_vocabulary_id", Text),
    Column("source_code", Text),
    Column("source_name", Text),
    Column("n", BigInteger, nullable=False),  # occurrences within the resource
)

reference = Table(
    "reference",
    METADATA,
    Column("resource_no", BigInteger, nullable=False),
    Column("site", String(50), nullable=False),
    Column("resource_type", String(64), nullable=False),
    Column("resource_key", BigInteger, nullable=False),
    Column("element", String(100), nullable=False),
    Column("to_type", String(64)),  # NULL: pending, nothing that came so far answers to the text
    Column("to_key", BigInteger),
    Column("text_key", BigInteger),  # NULL where it was found the other way round (`referred_by`)
    Column("text", Text),  # as written, of what is pending or names an identifier
)
"""What the newest version of each resource refers to: a change of the target may change the row of the source.

Resources and texts are known by keys (macros `resource_key` and `text_key` of the transform): numbers are found,
compared and kept in a fraction of the time and place of texts. `ledger.resource` says what they stand for.
"""

identifier = Table(
    "identifier",
    METADATA,
    Column("resource_key", BigInteger, nullable=False),
    Column("site", String(50), nullable=False),
    Column("resource_type", String(64), nullable=False),
    Column("identifier", Text, nullable=False),  # system|value
)
"""The identifiers of the newest version of each resource: conditional references and duplicates are found by them."""

row_of = Table(
    "row_of",
    METADATA,
    Column("table_name", String(64), nullable=False),
    Column("resource_key", BigInteger, nullable=False),
    Column("row_id", BigInteger, nullable=False),
)
"""The row that a reference to a resource means, by table."""

TABLES: dict[str, Table] = {
    table.name: table
    for table in (resource, rule, cdm_row, precision, person_source, unmapped, reference, identifier, row_of)
}
"""The tables of schema `lineage` (in the work database: `lin`)."""
