"""A database of either kind as the tests see it, and a second process."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb
import psycopg


@dataclass(frozen=True)
class Database:
    """An empty database of one kind."""

    url: str

    @property
    def kind(self) -> str:
        return self.url.split(":")[0]

    @contextmanager
    def reading(self) -> Iterator[Callable[[str], list[tuple[Any, ...]]]]:
        """Asks questions over one connection."""
        if self.kind == "duckdb":
            with duckdb.connect(self.url.removeprefix("duckdb:///"), read_only=True) as connection:
                yield lambda sql: connection.execute(sql).fetchall()
        else:
            with psycopg.connect(self.url, autocommit=True) as server:
                yield lambda sql: server.execute(sql.encode()).fetchall()

    def read(self, sql: str) -> list[tuple[Any, ...]]:
        with self.reading() as ask:
            return ask(sql)

    def execute(self, sql: str) -> None:
        if self.kind == "duckdb":
            with duckdb.connect(self.url.removeprefix("duckdb:///")) as connection:
                connection.execute(sql)
        else:
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute(sql.encode())

    def contents(self) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of the CDM, of lineage and of what the ledger knows, by table; times of runs left out."""
        skip = {"ledger.run": "run_id, outcome, policies"}
        with self.reading() as ask:
            names = ask(
                "SELECT table_schema, table_name FROM information_schema.tables"
                " WHERE table_schema IN ('cdm', 'lineage', 'ledger') AND table_name <> 'content' ORDER BY 1, 2"
            )
            found = {
                f"{schema}.{name}": ask(f'SELECT {skip.get(f"{schema}.{name}", "*")} FROM {schema}."{name}"')
                for schema, name in names
            }
        return {name: sorted(rows, key=repr) for name, rows in found.items() if rows}


def in_another_process(code: str, *arguments: str) -> "subprocess.Popen[str]":
    """A process that has printed "ready"."""
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready"
    return process
