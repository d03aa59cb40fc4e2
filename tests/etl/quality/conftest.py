"""A small CDM made by hand in which every check that has something to look at passes; faults are injected per test."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from etl.cdm import TABLES, create_table

_SQL = Path(__file__).with_name("sound_cdm.sql")


@pytest.fixture
def empty_cdm() -> Iterator[duckdb.DuckDBPyConnection]:
    """A CDM with all tables and no row, its own database."""
    with duckdb.connect() as connection:
        _create_cdm(connection)
        yield connection


@pytest.fixture(scope="session")
def sound_cdm() -> Iterator[duckdb.DuckDBPyConnection]:
    """The sound CDM; use `cdm` instead when the test changes it."""
    with duckdb.connect() as connection:
        _create_cdm(connection)
        connection.execute(_SQL.read_text(encoding="utf-8"))
        yield connection


@pytest.fixture
def cdm(sound_cdm: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """The sound CDM inside a transaction that is rolled back after the test."""
    sound_cdm.execute("BEGIN")
    try:
        yield sound_cdm
    finally:
        sound_cdm.execute("ROLLBACK")


@pytest.fixture
def cdm_file(tmp_path: Path) -> Path:
    """The sound CDM in a file of its own."""
    file = tmp_path / "omop.duckdb"
    with duckdb.connect(str(file)) as connection:
        _create_cdm(connection)
        connection.execute(_SQL.read_text(encoding="utf-8"))
    return file


def _create_cdm(connection: duckdb.DuckDBPyConnection) -> None:
    # Without NOT NULL, so that faults can be put in.
    connection.execute("CREATE SCHEMA cdm")
    for table in TABLES.values():
        connection.execute(create_table(table, "cdm", required=False))
