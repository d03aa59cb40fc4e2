"""A built OMOP database opened for reading only, as the data manager's tools and the quality checks do.

Their queries are DuckDB's. A PostgreSQL database is therefore copied (in one transaction of its own) into a DuckDB file
in a private temporary folder first: with all tables, or with those that are asked for. The study needs no copy
(analytics.open_cdm reads the server).
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import psycopg

from etl.errors import CdmError
from etl.store.place import database_path, is_server
from etl.store.postgres_connection import connect, session_name, shown
from etl.store.postgres_errors import words
from etl.store.snapshot import snapshot
from etl.store.sources import SCHEMAS, Place


@contextmanager
def reading(database: str, only: Sequence[Place] = ()) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that changes nothing, in a `with`. Raises CdmError when blina has built no database at this URL.

    `only`: the tables that will be read, where that is known. Temporary tables may be made in it.
    """
    if is_server(database):
        with copied(database, only) as connection:
            yield connection
        return
    with reading_file(database) as connection:
        schemas = {name for (name,) in connection.execute("SELECT schema_name FROM duckdb_schemas()").fetchall()}
        if not {"cdm", "lineage", "ledger"} <= schemas:
            raise CdmError(f"{database_path(database)}: has no lineage; blina did not build it")
        yield connection


@contextmanager
def reading_file(database: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that cannot write to the DuckDB file of a URL, whoever made it. Raises CdmError."""
    path = database_path(database)
    if not path.is_file():
        raise CdmError(f"{path}: there is no such database")
    try:
        connection = duckdb.connect(str(path), read_only=True)
    except duckdb.Error as error:
        raise CdmError(f"{path}: cannot be opened ({type(error).__name__})") from None
    with connection:
        yield connection


@contextmanager
def copied(database: str, only: Sequence[Place] = ()) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB copy of a database on a server as it is now, of all tables or of some; what is written to it is lost."""
    with (
        tempfile.TemporaryDirectory(prefix="blina-copy-") as folder,
        duckdb.connect(str(Path(folder) / "copy.duckdb")) as work,
    ):
        with snapshot(database) as found:
            for schema in SCHEMAS:
                work.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            for place in found.tables(tuple(SCHEMAS)):
                if not only or place in only:
                    found.copy(work, place)
        yield work


def has_ledger(database: str) -> bool:
    """Whether blina built this database. Raises CdmError when it cannot be read."""
    if is_server(database):
        with connect(database, session_name("reading")) as server:
            try:
                found = server.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'ledger'").fetchone()
            except psycopg.Error as error:
                raise CdmError(f"{shown(database)}: {words(error)}") from None
            return found is not None
    with reading_file(database) as connection:
        tables = "SELECT 1 FROM duckdb_tables() WHERE schema_name = 'ledger' LIMIT 1"
        return connection.execute(tables).fetchone() is not None
