"""The embedded store: one DuckDB file with the schemas `cdm`, `lineage`, `ledger` and `results`.

The work database carries its rows over by INSERT … SELECT into the attached target file, which runs as fast as a bare
copy. All of it, ledger included, is one DuckDB transaction: killed before the commit, the file holds what it held.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import duckdb
from sqlalchemy import Table

import etl.cdm
from etl.errors import CdmError, LockError
from etl.sql import quote
from etl.store import disk, old, steps
from etl.store.exchange import exchange
from etl.store.ledger_writer import write_ledger
from etl.store.lock import RunLock
from etl.store.sources import (
    OF_STUDIES,
    SCHEMAS,
    Place,
    content_hash,
    counts,
    is_vocabulary,
    refuse_broken,
    sources,
    typed_columns,
)
from etl.store.store import Run, Written, last_basis

T = TypeVar("T")

_TARGET = "blina_target"
_OLD = "blina_old"


class DuckDBStore:
    """A DuckDB file. Between opening and `replace` only the run lock is held, so that people may go on reading."""

    def __init__(self, path: Path, run_id: str = "", *, wait_seconds: float = 60) -> None:
        """Takes the run lock and makes the file, its schemas and tables where they are missing.

        `wait_seconds`: how long to wait for readers in other processes to let go of the file. Raises LockError when
        another run or a reader holds it, CdmError when it cannot be written or is no database of blina's.
        """
        self.url = f"duckdb:///{path}"
        self.path = path
        self._wait_seconds = wait_seconds
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CdmError(f"{path.parent}: the folder cannot be made ({error.strerror})") from None
        self._lock = RunLock(path, run_id)
        self._reader = duckdb.connect()  # making an instance takes longer than attaching a file to it
        self._is_attached = False
        try:
            self._create()
        except BaseException:
            self.close()
            raise

    def replace(self, work: duckdb.DuckDBPyConnection, run: Run, *, vocabulary: bool = True) -> list[Written]:
        """Makes `cdm` and `lineage` equal to `out`, `vocab` and `lin` of the work database, and writes the ledger.

        One transaction. A table whose content is the same stays as it is. Vocabulary tables come from schema `vocab`
        where it has them, and stay as they are otherwise. The work connection must have no open transaction. Raises
        CdmError, with a line per fault and before anything is written, when the rows break the CDM's promises.
        """
        found = sources(work, vocabulary=vocabulary)
        refuse_broken(work, found)
        with self._writing(work):
            written = self._replace_tables(work, found)
            steps.reached("duckdb: tables replaced")
            write_ledger(work, _TARGET, run, written)
            steps.reached("duckdb: ledger written")
        return written

    @contextmanager
    def opened(self, work: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """What the last run left, for reading, as schema `old` of the work database (`etl.store.old`)."""
        with _translated(self.path):
            path = str(self.path).replace("'", "''")
            self._patiently(lambda: work.execute(f"ATTACH '{path}' AS {_OLD} (READ_ONLY)"))
            work.execute("CREATE SCHEMA old")
            views = [old.view("resource", f"{_OLD}.ledger.resource"), old.view("person", f"{_OLD}.cdm.person")]
            views += [old.view(known_as, f'{_OLD}.lineage."{name}"') for name, known_as in old.LINEAGE.items()]
            work.execute("; ".join(views))
        # What is computed here is no reading of the file: its errors, which may quote a value, are not told as such.
        try:
            yield
        finally:
            work.execute(f"DROP SCHEMA IF EXISTS old CASCADE; DETACH {_OLD}")

    def fetch(self, work: duckdb.DuckDBPyConnection, table: str, column: str, values: str, into: str) -> None:
        """Makes the relation `into` of the rows of a CDM table whose `column` has a value that a query gives."""
        work.execute(f'CREATE VIEW {into} AS FROM {_OLD}.cdm."{table}" WHERE "{column}" IN ({values})')

    def apply(self, work: duckdb.DuckDBPyConnection, run: Run) -> list[Written]:
        """Puts the rows of `out` and `lin` in the place of those that `etl.increment.keep_touched` named."""
        refuse_broken(work, sources(work, vocabulary=False))
        with self._writing(work):
            written = exchange(work, _TARGET)
            write_ledger(work, _TARGET, run, written)
            steps.reached("duckdb: ledger written")
        return written

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Several answers in one go: opening the file takes longer than most of them."""
        with _translated(self.path), self._connected():
            yield

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The answer to a small query that both databases understand."""
        with _translated(self.path), self._connected() as connection:
            return connection.execute(sql).fetchall()

    def last_basis(self) -> dict[str, Any] | None:
        """What the last run wrote of what it stood on (`policies.basis`); None before the first one."""
        return last_basis(self.rows)

    def run_ids(self) -> set[str]:
        """The runs that committed and whose files still count: the last one that began anew, and those after it."""
        with _translated(self.path), self._connected() as connection:
            rows = connection.execute(
                """SELECT run_id FROM ledger.run WHERE run_id >= coalesce(
                     (SELECT max(run_id) FROM ledger.run
                      WHERE json_extract_string(policies, '$.received') = 'anew'), '')"""
            ).fetchall()
        return {row[0] for row in rows}

    def record_outcome(self, run_id: str, outcome: str) -> None:
        """Changes the outcome of a run that the ledger knows; raises CdmError when it does not."""
        with _translated(self.path), self._connected() as connection:
            changed = connection.execute(
                f"UPDATE ledger.run SET outcome = {quote(outcome)} WHERE run_id = {quote(run_id)} RETURNING run_id"
            ).fetchall()
        if not changed:
            raise CdmError(f"{self.path}: the ledger knows no run {run_id}")

    def fill(self, work: duckdb.DuckDBPyConnection, found: dict[Place, tuple[Table, str]]) -> None:
        """Replaces the whole file by one with these tables: (table, where its rows are) by place; for `restore`.

        The new file is made beside the old one and moved in by one rename; readers keep the old one.
        """
        made = self.path.with_name(f".restoring-{self.path.name}")
        for left in (made, made.with_name(f"{made.name}.wal")):
            left.unlink(missing_ok=True)
        with _translated(self.path), disk.told(self.path):
            work.execute(f"ATTACH '{str(made).replace(chr(39), chr(39) * 2)}' AS {_TARGET}")
            try:
                with _transaction(work):
                    for schema in SCHEMAS:
                        work.execute(f"CREATE SCHEMA IF NOT EXISTS {_TARGET}.{schema}")
                    for (schema, name), (table, source) in found.items():
                        work.execute(_create_table(table, f"{_TARGET}.{schema}"))
                        work.execute(
                            f'INSERT INTO {_TARGET}.{schema}."{name}" SELECT {typed_columns(table)} FROM {source}'
                        )
                work.execute(f"CHECKPOINT {_TARGET}")
            finally:
                work.execute(f"DETACH {_TARGET}")
            made.chmod(self.path.stat().st_mode & 0o777)
            steps.reached("restore: file written")
            disk.move_in(made, self.path)
            steps.reached("restore: moved in")

    def close(self) -> None:
        """Releases the lock."""
        self._reader.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _create(self) -> None:
        is_new = not self.path.exists()
        with _translated(self.path), self._connected() as connection:
            if is_new:  # it holds what the source data holds; who else may read is for the hospital to say
                self.path.chmod(0o600)
            there = "SELECT schema_name FROM duckdb_schemas() WHERE database_name = current_database()"
            schemas = {row[0] for row in connection.execute(there).fetchall()}
            if "cdm" in schemas and "ledger" not in schemas:
                raise CdmError(f"{self.path}: holds a CDM that blina did not build; name another file")
            with _transaction(connection):
                for schema, tables in SCHEMAS.items():
                    made = [_create_table(table, schema) for table in tables.values()]
                    connection.execute("; ".join([f"CREATE SCHEMA IF NOT EXISTS {schema}", *made]))
        steps.reached("duckdb: schemas made")

    def _replace_tables(self, work: duckdb.DuckDBPyConnection, found: dict[Place, str]) -> list[Written]:
        """What the study wrote stays only when nothing that it could have read has changed."""
        alike = _same_layouts(work)
        rows = counts(work, [*found.values(), *(_target(where) for where in alike)])
        written = [
            self._replace_table(work, where, source, rows, alike)
            for where, source in found.items()
            if where not in OF_STUDIES
        ]
        changed = any(one.replaced and one.schema == "cdm" for one in written)
        for where in OF_STUDIES:
            if changed or rows[found[where]]:
                written.append(self._replace_table(work, where, found[where], rows, alike))
            else:
                written.append(Written(*where, rows[_target(where)], replaced=False))
        return written

    def _replace_table(
        self, work: duckdb.DuckDBPyConnection, where: Place, source: str, rows: dict[str, int], alike: set[Place]
    ) -> Written:
        """`rows`: of all sources and targets; `alike`: the tables that have the columns that they should."""
        schema, name = where
        table, target, come = SCHEMAS[schema][name], _target(where), rows[source]
        same = where in alike and rows[target] == come
        if same and (come == 0 or content_hash(work, table, source) == content_hash(work, table, target)):
            return Written(schema, name, come, replaced=False)
        # A new table instead of DELETE: as fast, leaves no dead rows behind, and follows a change of the columns.
        if where not in alike or rows[target]:
            work.execute(f"DROP TABLE IF EXISTS {target}")
            steps.reached("duckdb: table dropped")
            work.execute(_create_table(table, f"{_TARGET}.{schema}"))
        if come:
            work.execute(f"INSERT INTO {target} SELECT {typed_columns(table)} FROM {source}")
        steps.reached("duckdb: table filled")
        return Written(schema, name, come, replaced=True)

    @contextmanager
    def _connected(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection whose current database is the file, attached only as long as it is needed."""
        if self._is_attached:
            yield self._reader
            return
        with self._attached(self._reader):
            self._reader.execute(f"USE {_TARGET}")
            self._is_attached = True
            try:
                yield self._reader
            finally:
                self._is_attached = False
                self._reader.execute("USE memory")

    @contextmanager
    def _writing(self, work: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """One transaction on the file, attached to the work database as `_TARGET`."""
        with _translated(self.path), self._attached(work):
            steps.reached("duckdb: target attached")
            work.execute("RESET checkpoint_threshold")  # a commit that tidies up the file writes it once, not twice
            with _transaction(work):
                steps.reached("duckdb: transaction begun")
                yield
            steps.reached("duckdb: committed")
            self._tidy_up(work)
            steps.reached("duckdb: checkpointed")

    def _tidy_up(self, work: duckdb.DuckDBPyConnection) -> None:
        """Carries what was committed from the log into the file. Raises CdmError that says that the run is in."""
        try:
            work.execute(f"CHECKPOINT {_TARGET}")
        except duckdb.Error as error:
            why = disk.reason(error)
            raise CdmError(
                f"{self.path}: the run is loaded and committed, but the file could not be tidied up ({why}): keep "
                f"{self.path.name}.wal beside it and make room; the next run tidies up"
            ) from None

    @contextmanager
    def _attached(self, work: duckdb.DuckDBPyConnection) -> Iterator[None]:
        path = str(self.path).replace("'", "''")
        self._patiently(lambda: work.execute(f"ATTACH '{path}' AS {_TARGET}"))
        try:
            yield
        finally:
            work.execute(f"DETACH {_TARGET}")

    def _patiently(self, open_file: Callable[[], T]) -> T:
        """Opens the file, waiting for readers in other processes to close it."""
        deadline = time.monotonic() + self._wait_seconds
        while True:
            try:
                return open_file()
            except duckdb.BinderException as error:
                if "file handle conflict" not in str(error):
                    raise
                raise LockError(f"{self.path}: this very process has the file open; close it first") from None
            except duckdb.IOException as error:
                if "lock" not in str(error):
                    raise
                if time.monotonic() > deadline:
                    raise LockError(f"{self.path}: another process has the file open: {_lock_holder(error)}") from None
            time.sleep(0.2)


def _create_table(table: Table, schema: str) -> str:
    return etl.cdm.create_table(table, schema, required=not is_vocabulary(table.name))


def _target(where: Place) -> str:
    schema, name = where
    return f'{_TARGET}.{schema}."{name}"'


def _same_layouts(work: duckdb.DuckDBPyConnection) -> set[Place]:
    """The tables of the attached file that have the columns that they should, in their order."""
    made: dict[Place, list[tuple[str, str]]] = {}
    for schema, table, column, kind in work.execute(
        "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns() "
        f"WHERE database_name = '{_TARGET}' ORDER BY schema_name, table_name, column_index"
    ).fetchall():
        made.setdefault((schema, table), []).append((column, kind))
    return {
        (schema, name)
        for schema, tables in SCHEMAS.items()
        for name, table in tables.items()
        if made.get((schema, name)) == list(etl.cdm.column_types(table).items())
    }


@contextmanager
def _transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    connection.execute("BEGIN TRANSACTION")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(duckdb.TransactionException):  # a commit that failed has rolled back by itself
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """DuckDB's errors as CdmError. Errors about files and names keep their text: others may quote a value of a row."""
    try:
        yield
    except (duckdb.IOException, duckdb.ProgrammingError) as error:
        raise CdmError(f"{path}: {str(error).splitlines()[0]}") from None
    except duckdb.Error as error:
        raise CdmError(f"{path}: the database refused the rows ({disk.reason(error)}); nothing was written") from None


def _lock_holder(error: duckdb.IOException) -> str:
    found = re.search(r"held in (\S+) \(PID (\d+)\)", str(error))
    return f"process {found[2]} ({found[1]})" if found else "DuckDB does not say by whom"
