"""The databases that the tests of the store run on."""

import importlib.util
import itertools
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest


def _load(name: str) -> None:
    """A module beside this file: tests are no package, so it is loaded by its path."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])


for _name in ("databases", "history", "postgres_server", "small_build"):
    _load(_name)

from databases import Database  # noqa: E402
from postgres_server import NoServerError, server  # noqa: E402

_NUMBERS = itertools.count(1)


@pytest.fixture
def stop() -> "Callable[[subprocess.Popen[str]], None]":
    def kill(process: "subprocess.Popen[str]") -> None:
        process.send_signal(signal.SIGKILL)
        process.communicate()

    return kill


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
