"""The ledger: which runs there were, which files and resource versions they read, and what became of each.

It stands outside the CDM schema and outlives every rebuild. It holds FHIR ids: give its schema the access rights of the
source data, not of research. File names are hashed, because exports are often named after patients.

While a run works, `led.*` of the work database holds what this run has to say (`WORK_TABLES`); the store turns it into
the lasting tables, in the transaction that replaces the CDM.
"""

from sqlalchemy import BigInteger, Column, DateTime, MetaData, String, Table, Text

METADATA = MetaData()

run = Table(
    "run",
    METADATA,
    Column("run_id", String(40), primary_key=True),
    Column("started_at", DateTime, nullable=False),  # UTC
    Column("finished_at", DateTime),  # UTC
    Column("software_version", String(40), nullable=False),
    Column("mapping_sha", String(64), nullable=False),
    Column("vocabulary_release", Text),
    Column("settings_sha", String(64), nullable=False),
    Column("outcome", String(60), nullable=False),
    Column("policies", Text, nullable=False),  # JSON
)

file = Table(
    "file",
    METADATA,
    Column("site", String(50), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("bytes", BigInteger, nullable=False),
    Column("name_hash", String(16), nullable=False),
    Column("first_run", String(40), nullable=False),
    Column("resources", BigInteger, nullable=False),
)

resource = Table(
    "resource",
    METADATA,
    Column("resource_no", BigInteger),  # the running number of the landed line: file number * 2**32 + place
    Column("site", String(50), nullable=False),
    Column("resource_type", String(64), nullable=False),
    Column("fhir_id", Text),
    Column("url", Text),  # entry.fullUrl
    Column("version", Text),
    Column("updated", Text),  # meta.lastUpdated as FHIR wrote it
    Column("content_hash", String(64)),
    Column("file_sha256", String(64), nullable=False),
    Column("at", BigInteger, nullable=False),  # entry or line, from 1
    Column("run_id", String(40), nullable=False),  # the run that gave it this outcome
    Column("outcome", String(10), nullable=False),  # kept, skipped, rejected
    Column("reason", Text),
)

count = Table(
    "count",
    METADATA,
    Column("run_id", String(40), nullable=False),
    Column("site", String(50), nullable=False),
    Column("resource_type", String(64), nullable=False),
    Column("outcome", String(10), nullable=False),
    Column("reason", Text),
    Column("n", BigInteger, nullable=False),
)

written = Table(
    "written",
    METADATA,
    Column("run_id", String(40), nullable=False),
    Column("table_schema", String(40), nullable=False),
    Column("table_name", String(64), nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("outcome", String(10), nullable=False),  # replaced, unchanged
)

TABLES: dict[str, Table] = {table.name: table for table in (run, file, resource, count, written)}
"""The lasting tables of schema `ledger`."""

content = Table(
    "content",
    MetaData(),
    Column("table_schema", String(40), primary_key=True),
    Column("table_name", String(64), primary_key=True),
    Column("n", BigInteger, nullable=False),
    Column("content_hash", String(64), nullable=False),  # etl.store.sources.content_hash
)
"""What each table was filled with, where reading it back would cost more than filling it: on a server."""

_WORK = MetaData()

WORK_TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            "file",
            _WORK,
            Column("file", BigInteger, nullable=False),  # the number in this run that landed lines and led.resource use
            Column("site", String(50), nullable=False),
            Column("name", Text),  # hashed by the store, never written
            Column("sha256", String(64), nullable=False),
            Column("bytes", BigInteger, nullable=False),
            Column("resources", BigInteger, nullable=False),
        ),
        Table(
            "resource",
            _WORK,
            Column("resource_no", BigInteger),
            Column("site", String(50), nullable=False),
            Column("resource_type", String(64), nullable=False),
            Column("fhir_id", Text),
            Column("url", Text),
            Column("version", Text),
            Column("updated", Text),
            Column("content_hash", String(64)),
            Column("file", BigInteger, nullable=False),
            Column("at", BigInteger, nullable=False),
            Column("outcome", String(10), nullable=False),
            Column("reason", Text),
        ),
        Table(
            "count",
            _WORK,
            Column("site", String(50), nullable=False),
            Column("resource_type", String(64), nullable=False),
            Column("outcome", String(10), nullable=False),
            Column("reason", Text),
            Column("n", BigInteger, nullable=False),
        ),
    )
}
"""What a run fills in schema `led` of its work database: its files, the fate of every resource, and the counts."""
