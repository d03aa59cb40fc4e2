"""What the study derived, written into the database: schema `results`, and episodes and cohorts in `cdm`.

One transaction, under the lock of the database. Only a database that blina built is written; a CDM of someone else is
read and left as it is.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import duckdb
import polars as pl

from etl.cdm import TABLES, column_types
from etl.errors import CdmError
from etl.store import Store, database_path, open_store
from etl.store.place import is_server, name_of
from etl.store.reading import copied, reading, reading_file
from etl.store.reading import has_ledger as is_ours
from etl.store.snapshot import table_of

__all__ = ["checkable", "is_ours", "keep_results", "last_counts", "last_run", "person_sources", "read_table"]


def last_run(database: str) -> dict[str, str]:
    """run_id, mapping_sha, vocabulary_release, software_version of the newest build; empty when there is none.

    Raises CdmError when the database cannot be read.
    """
    if not is_ours(database):
        return {}
    rows = _rows(
        database, "ledger", "run",
        "SELECT run_id, mapping_sha, vocabulary_release, software_version FROM ledger.run "
        "ORDER BY started_at DESC, run_id DESC LIMIT 1",
    )  # fmt: skip
    return {name: str(value) for name, value in rows.row(0, named=True).items() if value} if rows.height else {}


def last_counts(database: str) -> pl.DataFrame:
    """site, resource_type, outcome, reason, n of the newest build; no rows for a CDM without a ledger."""
    run = last_run(database)
    if not run:
        return pl.DataFrame()
    counts = _rows(
        database, "ledger", "count", "SELECT run_id, site, resource_type, outcome, reason, n FROM ledger.count"
    )
    return counts.filter(pl.col("run_id") == run["run_id"]).drop("run_id")


def person_sources(database: str) -> pl.DataFrame:
    """person_id, fhir_id of every person's canonical Patient; no rows for a CDM without lineage."""
    if not is_ours(database):
        return pl.DataFrame(schema={"person_id": pl.Int64, "fhir_id": pl.String})
    return _rows(
        database, "lineage", "person_source",
        "SELECT person_id, fhir_id FROM lineage.person_source WHERE canonical ORDER BY person_id",
    )  # fmt: skip


def read_table(database: str, schema: str, name: str) -> pl.DataFrame:
    """All rows of a table; raises CdmError when there is no such table."""
    return _rows(database, schema, name, f'FROM {schema}."{name}"')


def keep_results(
    database: str, run_id: str, results: Mapping[str, pl.DataFrame], cdm_rows: Mapping[str, pl.DataFrame]
) -> None:
    """Replaces `results.<name>` by each frame (with run_id) and the rows of the named CDM tables; all or nothing.

    Raises LockError when a run holds the database, CdmError when it refuses the rows.
    """
    given = {name: frame.with_columns(run_id=pl.lit(run_id)) for name, frame in results.items()}
    if is_server(database):
        _keep_on_server(database, run_id, given, cdm_rows)
        return
    path = database_path(database)
    with open_store(database, run_id=run_id), duckdb.connect(str(path)) as connection:
        try:
            connection.execute("BEGIN TRANSACTION")
            connection.execute("CREATE SCHEMA IF NOT EXISTS results")
            for name, frame in given.items():
                connection.register("given", frame.to_arrow())
                connection.execute(f'CREATE OR REPLACE TABLE results."{name}" AS FROM given')
            for name, frame in cdm_rows.items():
                _replace_rows(connection, name, frame)
            connection.execute("COMMIT")
        except duckdb.Error as error:
            # The message of a constraint may quote a row: only its kind is told.
            raise CdmError(f"{path}: the study's rows were refused ({type(error).__name__}); nothing written") from None


@contextmanager
def checkable(database: str, store: Store) -> Iterator[str | duckdb.DuckDBPyConnection]:
    """What the quality checks, which are DuckDB's SQL, are run on: the file, or a copy of what a server holds.

    What they leave in the copy's `results.quality_check` goes to the server through its store, also when the gate is
    shut.
    """
    if not is_server(database):
        yield database
        return
    with copied(database) as copy:
        try:
            yield copy
        finally:
            source = "results.quality_check"
            if copy.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'quality_check'").fetchone():
                store.fill(copy, {("results", "quality_check"): (table_of(copy, "quality_check", source), source)})


def _keep_on_server(
    database: str, run_id: str, results: Mapping[str, pl.DataFrame], cdm_rows: Mapping[str, pl.DataFrame]
) -> None:
    """The same in one transaction of the server."""
    with open_store(database, run_id=run_id) as store, duckdb.connect() as work:
        found = {}
        for schema, frames in (("results", results), ("cdm", cdm_rows)):
            work.execute(f"CREATE SCHEMA {schema}")
            for name, frame in frames.items():
                work.register("given", frame.to_arrow())
                work.execute(f'CREATE TABLE {schema}."{name}" AS FROM given')
                source = f'{schema}."{name}"'
                found[schema, name] = (TABLES[name] if schema == "cdm" else table_of(work, name, source), source)
        store.fill(work, found)


def _replace_rows(connection: duckdb.DuckDBPyConnection, name: str, frame: pl.DataFrame) -> None:
    """The rows of a CDM table; left alone when it holds just these already."""
    columns = ", ".join(
        f'CAST("{column}" AS {kind}) AS "{column}"' for column, kind in column_types(TABLES[name]).items()
    )
    connection.register("given", frame.to_arrow())
    connection.execute(f"CREATE OR REPLACE TEMP TABLE coming AS SELECT {columns} FROM given")
    different = connection.execute(
        f"""SELECT count(*) FROM ((FROM coming EXCEPT ALL FROM cdm."{name}")
            UNION ALL (FROM cdm."{name}" EXCEPT ALL FROM coming))"""
    ).fetchone()
    if different != (0,):
        connection.execute(f'DELETE FROM cdm."{name}"')
        connection.execute(f'INSERT INTO cdm."{name}" BY NAME FROM coming')


def _rows(database: str, schema: str, name: str, query: str) -> pl.DataFrame:
    """The answer to a query about one table; raises CdmError when there is no such table."""
    opened = reading(database, [(schema, name)]) if is_server(database) else reading_file(database)
    with opened as connection:
        there = "SELECT 1 FROM duckdb_tables() WHERE schema_name = ? AND table_name = ?"
        if connection.execute(there, [schema, name]).fetchone() is None:
            raise CdmError(f"{name_of(database)}: has no table {schema}.{name}; blina did not build it")
        return connection.execute(query).pl()
