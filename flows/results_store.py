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
from etl.store import database_path, open_store


def is_ours(database: str) -> bool:
    """Whether blina built this database (it has a ledger)."""
    with _reading(database) as connection:
        found = connection.execute("SELECT 1 FROM duckdb_tables() WHERE schema_name = 'ledger' LIMIT 1").fetchone()
    return found is not None


def last_run(database: str) -> dict[str, str]:
    """run_id, mapping_sha, vocabulary_release, software_version of the newest build; empty when there is none.

    Raises CdmError when the database cannot be read.
    """
    if not is_ours(database):
        return {}
    with _reading(database) as connection:
        rows = connection.execute(
            "SELECT run_id, mapping_sha, vocabulary_release, software_version FROM ledger.run "
            "ORDER BY started_at DESC, run_id DESC LIMIT 1"
        ).pl()
    return {name: str(value) for name, value in rows.row(0, named=True).items() if value} if rows.height else {}


def last_counts(database: str) -> pl.DataFrame:
    """site, resource_type, outcome, reason, n of the newest build; no rows for a CDM without a ledger."""
    run = last_run(database)
    if not run:
        return pl.DataFrame()
    with _reading(database) as connection:
        return connection.execute(
            "SELECT site, resource_type, outcome, reason, n FROM ledger.count WHERE run_id = ?", [run["run_id"]]
        ).pl()


def person_sources(database: str) -> pl.DataFrame:
    """person_id, fhir_id of every person's canonical Patient; no rows for a CDM without lineage."""
    with _reading(database) as connection:
        if not _has(connection, "lineage", "person_source"):
            return pl.DataFrame(schema={"person_id": pl.Int64, "fhir_id": pl.String})
        return connection.execute(
            "SELECT person_id, fhir_id FROM lineage.person_source WHERE canonical ORDER BY person_id"
        ).pl()


def read_table(database: str, schema: str, name: str) -> pl.DataFrame:
    """All rows of a table; raises CdmError when there is no such table."""
    with _reading(database) as connection:
        if not _has(connection, schema, name):
            raise CdmError(f"{database_path(database)}: has no table {schema}.{name}; blina did not build it")
        return connection.execute(f'FROM {schema}."{name}"').pl()


def keep_results(
    database: str, run_id: str, results: Mapping[str, pl.DataFrame], cdm_rows: Mapping[str, pl.DataFrame]
) -> None:
    """Replaces `results.<name>` by each frame (with run_id) and the rows of the named CDM tables; all or nothing.

    Raises LockError when a run holds the database, CdmError when it refuses the rows.
    """
    path = database_path(database)
    with open_store(database, run_id=run_id), duckdb.connect(str(path)) as connection:
        try:
            connection.execute("BEGIN TRANSACTION")
            connection.execute("CREATE SCHEMA IF NOT EXISTS results")
            for name, frame in results.items():
                connection.register("given", frame.with_columns(run_id=pl.lit(run_id)).to_arrow())
                connection.execute(f'CREATE OR REPLACE TABLE results."{name}" AS FROM given')
            for name, frame in cdm_rows.items():
                _replace_rows(connection, name, frame)
            connection.execute("COMMIT")
        except duckdb.Error as error:
            # The message of a constraint may quote a row: only its kind is told.
            raise CdmError(f"{path}: the study's rows were refused ({type(error).__name__}); nothing written") from None


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


def _has(connection: duckdb.DuckDBPyConnection, schema: str, table: str) -> bool:
    query = "SELECT 1 FROM duckdb_tables() WHERE schema_name = ? AND table_name = ?"
    return connection.execute(query, [schema, table]).fetchone() is not None


@contextmanager
def _reading(database: str) -> Iterator[duckdb.DuckDBPyConnection]:
    path = database_path(database)
    if not path.is_file():
        raise CdmError(f"{path}: there is no such database")
    try:
        connection = duckdb.connect(str(path), read_only=True)
    except duckdb.Error as error:
        raise CdmError(f"{path}: cannot be opened ({type(error).__name__})") from None
    with connection:
        yield connection
