"""A full disk, a place that cannot be written: a clear error with exit code 14, and the database as it was."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from tests.flows.conftest import ROOT, SAMPLE, blina, copy_database


def build_with_room_for(size: int, database: Path) -> "subprocess.CompletedProcess[str]":
    """A build in a process whose files may not grow beyond so many bytes: a write then fails as on a full disk."""
    command = [sys.executable, "-m", "flows.cli", "build", str(SAMPLE), "--db", f"duckdb:///{database}"]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True,
        timeout=280, check=False, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )  # fmt: skip


@pytest.mark.parametrize("size", [300_000, 4_000_000])
def test_a_disk_that_fills_up_is_told_and_nothing_is_torn(size: int, site2_database: Path, tmp_path: Path) -> None:
    """When it fills up at the very end the run may have committed: then all of it is there, as the ledger says."""
    database = tmp_path / "omop.duckdb"
    copy_database(site2_database, database)
    ended = build_with_room_for(size, database)
    assert ended.returncode == 14, ended.stderr
    assert "Traceback" not in ended.stderr
    assert str(tmp_path) in ended.stderr
    assert "missing" not in ended.stderr
    assert not list(tmp_path.glob(".blina-work-*"))
    with duckdb.connect(str(database)) as found:
        for table in ("measurement", "person", "visit_occurrence"):
            told = found.execute(
                "SELECT n FROM ledger.written WHERE table_name = ? AND table_schema = 'cdm' ORDER BY run_id DESC",
                [table],
            ).fetchone()
            assert told == found.execute(f"SELECT count(*) FROM cdm.{table}").fetchone() != (0,)


def test_a_place_that_cannot_be_written_is_told() -> None:
    ended = blina("build", SAMPLE / "site4", "--settings", SAMPLE / "blina.yaml", "--db", "duckdb:////proc/omop.duckdb")
    assert ended.code == 14
    assert "/proc" in ended.err
