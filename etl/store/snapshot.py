"""What a database held at one moment, copied into a DuckDB connection: for releases and backups.

A DuckDB file is attached for reading only; a PostgreSQL database is read in one REPEATABLE READ transaction, so that a
run that commits meanwhile is seen whole or not at all.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import duckdb
from sqlalchemy import BigInteger, Boolean, Column, Date, DateTime, Double, Integer, MetaData, Table, Text

import etl.cdm
from etl.errors import CdmError, LockError
from etl.store import postgres_tables
from etl.store.postgres_connection import SCHEMES, Connection, connect, session_name, shown
from etl.store.postgres_errors import translated
from etl.store.postgres_layout import quoted
from etl.store.sources import SCHEMAS, Place, count, is_vocabulary

_DUCKDB_TYPES = {
    "double precision": "DOUBLE",
    "real": "DOUBLE",
    "timestamp without time zone": "TIMESTAMP",
    "text": "VARCHAR",
    "bigint": "BIGINT",
    "integer": "INTEGER",
    "smallint": "SMALLINT",
    "date": "DATE",
    "boolean": "BOOLEAN",
}

_TABLE_TYPES: dict[str, Any] = {
    "BOOLEAN": Boolean,
    "TINYINT": Integer,
    "SMALLINT": Integer,
    "INTEGER": Integer,
    "UTINYINT": Integer,
    "USMALLINT": Integer,
    "UINTEGER": BigInteger,
    "BIGINT": BigInteger,
    "FLOAT": Double,
    "DOUBLE": Double,
    "DATE": Date,
    "TIMESTAMP": DateTime,
}


_LONGEST_ROW = 64 * 2**20
_LONGEST_SHORT_ROW = 4 * 2**20
"""In bytes of CSV, of any table and of those that an increment reads; DuckDB's buffer is sixteen times as large."""


class Snapshot(Protocol):
    """A database as it was when the snapshot began."""

    def tables(self, schemas: Sequence[str]) -> list[Place]:
        """The tables of these schemas, sorted."""
        ...

    def copy(self, work: duckdb.DuckDBPyConnection, place: Place, columns: Sequence[str] = ()) -> int:
        """Makes the table in `work`, under the same schema and name, with the rows; gives back their number.

        Only the named columns when there are any.
        """
        ...

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The answer to a small query that both databases understand."""
        ...


@contextmanager
def snapshot(url: str, *, wait_seconds: float = 60) -> Iterator[Snapshot]:
    """The database at a URL, for reading. Raises CdmError when blina did not build it, LockError when it is held."""
    if url.startswith(SCHEMES):
        with _postgres(url) as found:
            yield found
    else:
        from etl.store import database_path  # the package imports the stores, and these do not import it back

        with _duckdb(database_path(url), wait_seconds) as found:
            yield found


@contextmanager
def _duckdb(path: Path, wait_seconds: float) -> Iterator[Snapshot]:
    if not path.is_file():
        raise CdmError(f"{path}: there is no such database")
    connection = _patiently(path, lambda: duckdb.connect(str(path), read_only=True), wait_seconds)
    with connection:
        connection.execute("BEGIN TRANSACTION")
        schemas = {row[0] for row in connection.execute("SELECT schema_name FROM duckdb_schemas()").fetchall()}
        if not {"cdm", "ledger"} <= schemas:
            raise CdmError(f"{path}: blina did not build it")
        yield _DuckDBSnapshot(connection)


def _patiently(
    path: Path, open_file: Callable[[], duckdb.DuckDBPyConnection], wait_seconds: float
) -> duckdb.DuckDBPyConnection:
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            return open_file()
        except duckdb.ConnectionException:
            raise LockError(f"{path}: this very process has the file open; close it first") from None
        except duckdb.IOException as error:
            if "lock" not in str(error):
                raise CdmError(f"{path}: cannot be opened ({type(error).__name__})") from None
            if time.monotonic() > deadline:
                raise LockError(f"{path}: a run is writing it; try again when it has ended") from None
        time.sleep(0.2)


class _DuckDBSnapshot:
    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def tables(self, schemas: Sequence[str]) -> list[Place]:
        rows = self._connection.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall()
        return sorted((schema, name) for schema, name in rows if schema in schemas)

    def copy(self, work: duckdb.DuckDBPyConnection, place: Place, columns: Sequence[str] = ()) -> int:
        described = self._connection.execute(f"DESCRIBE {quoted(*place)}").fetchall()
        kinds = {name: kind for name, kind, *_ in described if not columns or name in columns}
        target = _make(work, place, kinds, whole=not columns)
        names = ", ".join(map(quoted, kinds))
        reader = self._connection.execute(f"SELECT {names} FROM {quoted(*place)}").to_arrow_reader(100_000)
        work.register("blina_rows", reader)
        work.execute(f"INSERT INTO {target} ({names}) SELECT {names} FROM blina_rows")
        work.unregister("blina_rows")
        return count(work, target)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql).fetchall()


@contextmanager
def _postgres(url: str) -> Iterator[Snapshot]:
    place = shown(url)
    connection = connect(url, session_name("snapshot"))
    with connection, translated(place):
        there = {row[0] for row in connection.execute("SELECT nspname FROM pg_namespace").fetchall()}
        if not {"cdm", "ledger"} <= there:
            raise CdmError(f"{place}: blina did not build it")
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield PostgresSnapshot(connection)


class PostgresSnapshot:
    """What a connection to PostgreSQL sees in its transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def tables(self, schemas: Sequence[str]) -> list[Place]:
        return sorted(postgres_tables.existing(self._connection, schemas) - {("ledger", "content")})

    def copy(
        self, work: duckdb.DuckDBPyConnection, place: Place, columns: Sequence[str] = (), where: str = "true",
        into: Place | None = None,
    ) -> int:  # fmt: skip
        """As in `Snapshot`; only the rows that meet a condition, and under another name when one is given."""
        there = postgres_tables.column_types(self._connection, place)
        kinds = {
            name: _DUCKDB_TYPES.get(kind, "VARCHAR") for name, kind in there.items() if not columns or name in columns
        }
        target = _make(work, place, kinds, whole=not columns, into=into)
        names = ", ".join(map(quoted, kinds))
        with tempfile.NamedTemporaryFile(suffix=".csv") as file:
            query = f"COPY (SELECT {names} FROM {quoted(*place)} WHERE {where}) TO STDOUT (FORMAT csv)".encode()
            with self._connection.cursor() as cursor, cursor.copy(query) as copy:
                for block in copy:
                    file.write(block)
            file.flush()
            work.execute(
                f"INSERT INTO {target} ({names}) SELECT * FROM read_csv(?, header = false, auto_detect = false,"
                f""" delim = ',', quote = '"', escape = '"', nullstr = '', allow_quoted_nulls = false,"""
                f" max_line_size = {_LONGEST_ROW if into is None else _LONGEST_SHORT_ROW}, columns = {kinds!r})",
                [file.name],
            )
        return count(work, target)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql.encode()).fetchall()


def _make(
    work: duckdb.DuckDBPyConnection, place: Place, kinds: dict[str, str], *, whole: bool, into: Place | None = None
) -> str:
    """The empty table in `work`: as blina makes it when it is one of blina's, whole, and of today's layout."""
    schema, name = place
    target = into or place
    work.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(target[0])}")
    table = SCHEMAS.get(schema, {}).get(name)
    if into is None and whole and table is not None and etl.cdm.column_types(table).keys() == kinds.keys():
        work.execute(etl.cdm.create_table(table, schema, required=not is_vocabulary(name)))
    else:
        columns = ", ".join(f"{quoted(column)} {kind}" for column, kind in kinds.items())
        work.execute(f"CREATE TABLE {quoted(*target)} ({columns})")
    return quoted(*target)


def table_of(work: duckdb.DuckDBPyConnection, name: str, source: str) -> Table:
    """The layout of a table that is none of blina's own, as a relation of `work` has it: a study's results."""
    kinds = work.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
    return Table(name, MetaData(), *(Column(column, _TABLE_TYPES.get(kind, Text)) for column, kind, *_ in kinds))
