"""The store on a PostgreSQL server (15 or newer): schemas `cdm`, `lineage`, `ledger`, `results` in one database.

One transaction carries everything over, the ledger included. Which tables changed is known from hashes of their
content that the ledger keeps, so that nothing is read back but a count. Roles: etl.store.roles. Layout, and why there
are no foreign keys: etl.store.postgres_layout.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType
from typing import Any, Self

import duckdb
from sqlalchemy import Table

from etl.errors import CdmError
from etl.store import ledger, old, steps
from etl.store import postgres_tables as tables
from etl.store.exchange import SETS, places, upsets_studies
from etl.store.ledger_writer import FILES, MET, OF_A_RUN, STATEMENTS, run_row, written_rows
from etl.store.postgres_connection import connect, session_name, shown, take_lock, take_owner
from etl.store.postgres_copy import copy_in
from etl.store.postgres_errors import translated
from etl.store.postgres_layout import create_table, indexes, quoted
from etl.store.snapshot import PostgresSnapshot
from etl.store.sources import (
    OF_STUDIES,
    SCHEMAS,
    Place,
    content_hash,
    count,
    refuse_broken,
    sources,
    typed_columns,
)
from etl.store.store import Run, Written, last_basis

_CONTENT: Place = ("ledger", "content")


class PostgresStore:
    """A PostgreSQL database. The connection, and with it the run lock, is held from opening to closing."""

    def __init__(self, url: str, run_id: str = "", *, wait_seconds: float = 60) -> None:
        """Connects, takes the run lock and makes the schemas and tables that are missing.

        `wait_seconds`: how long `replace` waits for readers of the tables that it must exchange. Raises LockError when
        another run holds the lock, CdmError when there is no server, no right to write, or a CDM that is not blina's.
        """
        self.url = shown(url)
        self._wait_seconds = wait_seconds
        self._connection = connect(url, session_name(run_id))
        try:
            with translated(self.url):
                take_lock(self._connection, self.url)
                take_owner(self._connection)
                steps.reached("postgres: lock taken")
                self._create()
                self._refuse_reader()
                steps.reached("postgres: schemas made")
        except BaseException:
            self._connection.close()
            raise

    def replace(self, work: duckdb.DuckDBPyConnection, run: Run, *, vocabulary: bool = True) -> list[Written]:
        """Makes `cdm` and `lineage` equal to `out`, `vocab` and `lin` of the work database, and writes the ledger.

        One transaction. A table whose content is the same stays as it is, also when readers use it; the others are made
        beside the old ones, which readers keep until the commit. Raises CdmError before anything is written when the
        rows break the CDM's promises, LockError when readers do not let go of a table.
        """
        found = sources(work, vocabulary=vocabulary)
        refuse_broken(work, found)
        with translated(self.url):
            with self._connection.transaction():
                steps.reached("postgres: transaction begun")
                written = self._replace_tables(work, found)
                steps.reached("postgres: tables replaced")
                self._write_ledger(work, run, written)
                steps.reached("postgres: ledger written")
            steps.reached("postgres: committed")
        return written

    @contextmanager
    def opened(self, work: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """A copy of what the last run left, as schema `old` of the work database (`etl.store.old`)."""
        copies: list[tuple[Place, str]] = [(("ledger", "resource"), "resource"), (("cdm", "person"), "person")]
        copies += [(("lineage", name), known_as) for name, known_as in old.LINEAGE.items()]
        there = PostgresSnapshot(self._connection)
        with translated(self.url):
            for place, known_as in copies:
                there.copy(work, place, into=("old", f"all_{known_as}"))
                work.execute(old.view(known_as, f"old.all_{known_as}"))
        try:
            yield
        finally:
            work.execute("DROP SCHEMA old CASCADE")

    def fetch(self, work: duckdb.DuckDBPyConnection, table: str, column: str, values: str, into: str) -> None:
        """Makes the relation `into` of the rows of a CDM table whose `column` has a value that a query gives."""
        schema, _, name = into.partition(".")
        with translated(self.url), self._connection.transaction():
            self._carry_over(work, "blina_values", f"SELECT DISTINCT v FROM ({values}) AS t(v)")
            condition = f"{quoted(column)} IN (SELECT v FROM blina_values)"
            PostgresSnapshot(self._connection).copy(work, ("cdm", table), where=condition, into=(schema, name))

    def apply(self, work: duckdb.DuckDBPyConnection, run: Run) -> list[Written]:
        """Puts the rows of `out` and `lin` in the place of those that `etl.increment.keep_touched` named."""
        refuse_broken(work, sources(work, vocabulary=False))
        with translated(self.url):
            with self._connection.transaction():
                steps.reached("postgres: transaction begun")
                for name, query in SETS.items():
                    self._carry_over(work, f"blina_{name}", query)
                written = [self._exchange_one(work, *one) for one in places()]
                steps.reached("postgres: rows exchanged")
                if upsets_studies(written):
                    for schema, name in OF_STUDIES:
                        self._connection.execute(f"DELETE FROM {quoted(schema, name)}".encode())
                        written.append(Written(schema, name, 0, replaced=True))
                self._write_ledger(work, run, written)
                steps.reached("postgres: ledger written")
            steps.reached("postgres: committed")
        return written

    def reading(self) -> AbstractContextManager[None]:
        """Several answers in one go: the connection is open anyway."""
        return nullcontext()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The answer to a small query that both databases understand."""
        with translated(self.url):
            return self._connection.execute(sql.encode()).fetchall()

    def last_basis(self) -> dict[str, Any] | None:
        """What the last run wrote of what it stood on (`policies.basis`); None before the first one."""
        return last_basis(self.rows)

    def run_ids(self) -> set[str]:
        """The runs that committed and whose files still count: the last one that began anew, and those after it."""
        with translated(self.url):
            rows = self._connection.execute(
                """SELECT run_id FROM ledger.run WHERE run_id COLLATE "C" >= coalesce(
                     (SELECT max(run_id COLLATE "C") FROM ledger.run
                      WHERE policies::jsonb ->> 'received' = 'anew'), '')"""
            ).fetchall()
        return {row[0] for row in rows}

    def record_outcome(self, run_id: str, outcome: str) -> None:
        """Changes the outcome of a run that the ledger knows; raises CdmError when it does not."""
        with translated(self.url):
            changed = self._connection.execute(
                "UPDATE ledger.run SET outcome = %s WHERE run_id = %s", [outcome, run_id]
            ).rowcount
        if not changed:
            raise CdmError(f"{self.url}: the ledger knows no run {run_id}")

    def fill(self, work: duckdb.DuckDBPyConnection, found: dict[Place, tuple[Table, str]]) -> None:
        """Replaces whole tables, of any schema, by rows of the work database: (table, where its rows are) by place.

        One transaction. For `restore`: nothing is checked, the ledger is a table like the others.
        """
        with translated(self.url), self._connection.transaction():
            for place, (table, source) in found.items():
                tables.make(self._connection, work, place, table, source)
                if place[0] in {"cdm", "lineage"}:
                    self._remember(place, count(work, source), content_hash(work, table, source))
            tables.move_in(self._connection, found, self.url, self._wait_seconds)
            steps.reached("restore: file written")
        steps.reached("restore: moved in")

    def close(self) -> None:
        """Ends the session, which releases the lock."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _create(self) -> None:
        """What is missing; nothing is asked of the server when all is there, so an ETL role needs no more rights."""
        there = {row[0] for row in self._connection.execute("SELECT nspname FROM pg_namespace").fetchall()}
        if "cdm" in there and "ledger" not in there:
            raise CdmError(f"{self.url}: holds a CDM that blina did not build; name another database")
        made = tables.existing(self._connection, SCHEMAS)
        wanted: dict[Place, Table] = {(schema, name): one for schema, of in SCHEMAS.items() for name, one in of.items()}
        wanted[_CONTENT] = ledger.content
        with self._connection.transaction():
            for schema in SCHEMAS.keys() - there:
                self._connection.execute(f"CREATE SCHEMA {schema}".encode())
            for place, table in wanted.items():
                if place not in made:
                    for statement in (create_table(table, place[0]), *indexes(place, table, place[0])):
                        self._connection.execute(statement.encode())

    def _refuse_reader(self) -> None:
        """Tells a user without the right to write now, and not after the hours of a build."""
        with self._connection.transaction(force_rollback=True):
            self._connection.execute("CREATE SCHEMA blina_new_right")
            self._connection.execute("LOCK TABLE ledger.run IN ROW EXCLUSIVE MODE")

    def _replace_tables(self, work: duckdb.DuckDBPyConnection, found: dict[Place, str]) -> list[Written]:
        """What the study wrote stays only when nothing that it could have read has changed."""
        written = [self._make_anew(work, where, found[where]) for where in found if where not in OF_STUDIES]
        changed = any(one.replaced and one.schema == "cdm" for one in written)
        for where in OF_STUDIES:
            if changed or count(work, found[where]):
                written.append(self._make_anew(work, where, found[where]))
            else:
                written.append(Written(*where, tables.count(self._connection, where), replaced=False))
        replaced = [(one.schema, one.table) for one in written if one.replaced]
        tables.move_in(self._connection, replaced, self.url, self._wait_seconds)
        return written

    def _exchange_one(self, work: duckdb.DuckDBPyConnection, place: Place, source: str, condition: str) -> Written:
        """What the table was filled with is no longer known: the next whole build fills it anew."""
        table = SCHEMAS[place[0]][place[1]]
        gone = self._connection.execute(
            f"DELETE FROM {quoted(*place)} WHERE {condition.format(chg='blina_')}".encode()
        ).rowcount
        names = [column.name for column in table.columns]
        query = f"SELECT {typed_columns(table)} FROM {source}"
        come = copy_in(self._connection, work, query, quoted(*place), names) if count(work, source) else 0
        if gone or come:
            self._connection.execute(
                "DELETE FROM ledger.content WHERE table_schema = %s AND table_name = %s", list(place)
            )
        return Written(*place, tables.count(self._connection, place), replaced=bool(gone or come))

    def _make_anew(self, work: duckdb.DuckDBPyConnection, where: Place, source: str) -> Written:
        table = SCHEMAS[where[0]][where[1]]
        rows, content = count(work, source), content_hash(work, table, source)
        if self._is_same(where, table, rows, content):
            return Written(*where, rows, replaced=False)
        tables.make(self._connection, work, where, table, source)
        self._remember(where, rows, content)
        return Written(*where, rows, replaced=True)

    def _remember(self, where: Place, rows: int, content: str) -> None:
        self._connection.execute(
            """INSERT INTO ledger.content VALUES (%s, %s, %s, %s)
               ON CONFLICT (table_schema, table_name) DO UPDATE SET n = EXCLUDED.n,
               content_hash = EXCLUDED.content_hash""",
            [*where, rows, content],
        )

    def _is_same(self, where: Place, table: Table, rows: int, content: str) -> bool:
        """Whether a table holds these rows already. Of studies' tables nothing is known but whether they are empty."""
        if not tables.same_layout(self._connection, where, table) or tables.count(self._connection, where) != rows:
            return False
        if where in OF_STUDIES or rows == 0:
            return rows == 0
        known = self._connection.execute(
            "SELECT content_hash FROM ledger.content WHERE table_schema = %s AND table_name = %s", where
        ).fetchone()
        return known == (content,)

    def _write_ledger(self, work: duckdb.DuckDBPyConnection, run: Run, written: list[Written]) -> None:
        names = {"ledger": "ledger", "met": "blina_met", "files": "blina_files", "counts": "blina_counts"}
        for name, query in (("met", MET), ("files", FILES), ("counts", "SELECT * FROM led.count")):
            self._carry_over(work, names[name], query)
        for table in OF_A_RUN:
            self._connection.execute(f'DELETE FROM ledger."{table}" WHERE run_id = %s'.encode(), [run.run_id])
        row = run_row(run)
        marks = ", ".join(["%s"] * len(row))
        self._connection.execute(
            f"INSERT INTO ledger.run ({', '.join(row)}) VALUES ({marks})".encode(), list(row.values())
        )
        for statement in STATEMENTS:
            self._connection.execute(statement.format(**names, run="%(run)s").encode(), {"run": run.run_id})
        with self._connection.cursor() as cursor:
            cursor.executemany("INSERT INTO ledger.written VALUES (%s, %s, %s, %s, %s)", written_rows(run, written))

    def _carry_over(self, work: duckdb.DuckDBPyConnection, name: str, query: str) -> None:
        """A temporary table on the server with what the run has to tell; gone with the transaction."""
        described = work.execute(f"DESCRIBE {query}").fetchall()
        kinds = {column: {"VARCHAR": "text", "DATE": "date"}.get(kind, "bigint") for column, kind, *_ in described}
        columns = ", ".join(f'"{column}" {kind}' for column, kind in kinds.items())
        self._connection.execute(f"CREATE TEMPORARY TABLE {name} ({columns}) ON COMMIT DROP".encode())
        copy_in(self._connection, work, query, name, list(kinds))
        self._connection.execute(f"ANALYZE {name}".encode())
