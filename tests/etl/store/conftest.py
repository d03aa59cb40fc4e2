"""The databases that the tests of the store run on."""

import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from postgres_server import NoServerError, server

_NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Database:
    """An empty database of one kind."""

    url: str

    @property
    def kind(self) -> str:
        return self.url.split(":")[0]

    def read(self, sql: str) -> list[tuple[Any, ...]]:
        if self.kind == "duckdb":
            with duckdb.connect(self.url.removeprefix("duckdb:///"), read_only=True) as connection:
                return connection.execute(sql).fetchall()
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(sql.encode()).fetchall()

    def execute(self, sql: str) -> None:
        if self.kind == "duckdb":
            with duckdb.connect(self.url.removeprefix("duckdb:///")) as connection:
                connection.execute(sql)
        else:
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute(sql.encode())

    def contents(self) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of the CDM, of lineage and of what the ledger knows, by table; times of runs left out."""
        names = self.read(
            "SELECT table_schema, table_name FROM information_schema.tables"
            " WHERE table_schema IN ('cdm', 'lineage', 'ledger') AND table_name <> 'content' ORDER BY 1, 2"
        )
        skip = {"ledger.run": "run_id, outcome, policies"}
        found = {
            f"{schema}.{name}": self.read(f'SELECT {skip.get(f"{schema}.{name}", "*")} FROM {schema}."{name}"')
            for schema, name in names
        }
        return {name: sorted(rows, key=repr) for name, rows in found.items() if rows}


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    try:
        with server() as url:
            yield url
    except NoServerError as error:
        pytest.skip(str(error))


@pytest.fixture
def postgres(postgres_server: str) -> Iterator[Database]:
    """An empty PostgreSQL database."""
    name = f"blina_test_{next(_NUMBERS)}"
    with psycopg.connect(f"{postgres_server}postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'".encode())
        yield Database(postgres_server + name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(params=["duckdb", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """An empty database of each kind in turn."""
    if request.param == "duckdb":
        return Database(f"duckdb:///{tmp_path / 'omop.duckdb'}")
    found: Database = request.getfixturevalue("postgres")
    return found
