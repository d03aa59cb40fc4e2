"""The study run: the same rows again, a CDM of others left alone."""

import hashlib
import shutil
from pathlib import Path

import duckdb
import polars as pl
import pytest

from etl.errors import CdmError, LockError
from etl.settings import load_settings
from flows.shielded import FlowFailedError, FlowLockedError, shielded
from flows.study_run import run_study
from tests.flows.conftest import SAMPLE, blina, copy_database

STUDY_TABLES = ("episode", "episode_event", "cohort", "cohort_definition")


def _rows(database: Path) -> list[list[tuple[object, ...]]]:
    with duckdb.connect(str(database), read_only=True) as connection:
        return [connection.execute(f"FROM cdm.{name} ORDER BY ALL").fetchall() for name in STUDY_TABLES]


def test_running_twice_gives_the_same_rows_and_a_rebuild_keeps_them(site2_database: Path, tmp_path: Path) -> None:
    database = tmp_path / "omop.duckdb"
    copy_database(site2_database, database)
    settings = load_settings(SAMPLE / "blina.yaml")
    first = run_study(f"duckdb:///{database}", tmp_path / "out", settings=settings)
    assert first.stored
    assert first.patients > 20
    rows = _rows(database)
    run_study(f"duckdb:///{database}", tmp_path / "out", settings=settings)
    assert _rows(database) == rows
    again = blina("build", SAMPLE / "site2", "--settings", SAMPLE / "blina.yaml", "--db", f"duckdb:///{database}")
    assert "nothing in cdm changed" in again.out
    assert _rows(database) == rows


def test_the_long_table_stands_in_the_database_as_in_the_files(site2_database: Path, tmp_path: Path) -> None:
    database = tmp_path / "omop.duckdb"
    copy_database(site2_database, database)
    run_study(f"duckdb:///{database}", tmp_path / "out", settings=load_settings(SAMPLE / "blina.yaml"))
    with duckdb.connect(str(database), read_only=True) as connection:
        stored = connection.execute("FROM results.study_result").pl()
    written = pl.read_parquet(tmp_path / "out" / "summarised_result.parquet")
    assert written.height > 1000
    assert stored.drop("run_id").equals(written)


def test_a_build_that_ends_meanwhile_is_told(
    site2_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = iter([{"run_id": "1"}, {"run_id": "2"}])
    monkeypatch.setattr("flows.study_run.last_run", lambda _: next(runs))
    with pytest.raises(CdmError, match="run the study again"):
        run_study(f"duckdb:///{site2_database}", tmp_path / "out", synthetic=False)
    assert not (tmp_path / "out").exists()


def test_the_cdm_of_someone_else_is_read_and_not_written(site2_database: Path, tmp_path: Path) -> None:
    database = tmp_path / "omop.duckdb"
    shutil.copy(site2_database, database)
    with duckdb.connect(str(database)) as connection:
        for schema in ("ledger", "lineage", "results"):
            connection.execute(f"DROP SCHEMA {schema} CASCADE")
    before = hashlib.sha256(database.read_bytes()).hexdigest()
    done = run_study(f"duckdb:///{database}", tmp_path / "out", synthetic=False)
    assert not done.stored
    assert hashlib.sha256(database.read_bytes()).hexdigest() == before
    rows = pl.read_parquet(tmp_path / "out" / "patients.parquet")
    assert rows.height == done.patients
    assert rows["fhir_id"].null_count() == rows.height


def test_an_error_for_prefect_has_kind_and_place_only() -> None:
    with pytest.raises(FlowFailedError) as failed, shielded():
        raise ValueError("born 2019-03-04")
    assert "2019" not in str(failed.value)
    assert str(failed.value).startswith("ValueError at tests/flows/test_study_run.py:")
    with pytest.raises(FlowFailedError, match=r"CdmError \(exit code 14\): a\.duckdb$"), shielded():
        raise CdmError("a.duckdb", problems=["person 7"])
    with pytest.raises(FlowLockedError), shielded():
        raise LockError("held")
