"""Stopped by a signal, a command leaves the database as it was and nothing else, and says so."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from tests.flows.conftest import ROOT, SAMPLE, blina, copy_database


def start(database: Path, *more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "flows.cli", "build", str(SAMPLE), "--db", f"duckdb:///{database}", *more]
    return subprocess.Popen(
        command, cwd=ROOT, env=dict(os.environ), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def stop_at(process: "subprocess.Popen[str]", stage: str, number: signal.Signals) -> tuple[int, str, str]:
    """Sends the signal as soon as the command has said that it came to a stage."""
    assert process.stderr is not None
    told = ""
    for line in process.stderr:
        told += line
        if line.strip() == f"build: {stage}":
            process.send_signal(number)
            break
    out, rest = process.communicate(timeout=200)
    return process.returncode, told + rest, out


@pytest.mark.parametrize(
    ("stage", "number", "code", "name"),
    [
        ("land", signal.SIGTERM, 143, "SIGTERM"),
        ("transform", signal.SIGINT, 130, "Ctrl-C"),
        ("store", signal.SIGTERM, 143, "SIGTERM"),
    ],
)
def test_a_build_stops_at_a_safe_point(
    stage: str, number: signal.Signals, code: int, name: str, site2_database: Path, tmp_path: Path
) -> None:
    database = tmp_path / "omop.duckdb"
    copy_database(site2_database, database)
    ended, told, out = stop_at(start(database, "--json"), stage, number)
    assert ended == code, told
    assert f"stopped by {name}" in told
    assert "Traceback" not in told
    assert f'"exit_code": {code}' in out
    left = {path.name for path in tmp_path.iterdir()} - {"omop.duckdb", "omop.duckdb.landed", "omop.duckdb.vocabulary"}
    assert left == set()
    with (
        duckdb.connect(str(database), read_only=True) as one,
        duckdb.connect(str(site2_database), read_only=True) as two,
    ):
        for query in ("FROM ledger.run", "SELECT count(*), sum(hash(m)) FROM cdm.measurement m"):
            assert one.execute(query).fetchall() == two.execute(query).fetchall()


def children_of(process: int) -> set[int]:
    """The processes that a process has started and that still run."""
    found = subprocess.run(["ps", "-eo", "pid=,ppid=,stat="], text=True, capture_output=True, check=True).stdout
    rows = [line.split() for line in found.splitlines()]
    return {int(one) for one, parent, state in rows if int(parent) == process and not state.startswith("Z")}


def wait_until_gone(processes: set[int]) -> None:
    """Returns when none of them runs any more; fails when one does after a while."""
    for _ in range(100):
        processes = {one for one in processes if Path(f"/proc/{one}").exists()}
        if not processes:
            return
        time.sleep(0.1)
    pytest.fail(f"{len(processes)} processes still run")


@pytest.mark.parametrize("stage", ["check mappings", "land", "transform"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_the_process_that_started_them(stage: str, number: signal.Signals, tmp_path: Path) -> None:
    build = start(tmp_path / "omop.duckdb", "--workers", "2", "--settings", str(SAMPLE / "blina.yaml"))
    assert build.stderr is not None
    seen: set[int] = set()
    for line in build.stderr:
        seen |= children_of(build.pid)
        if line.strip() == f"build: {stage}":
            break
    assert seen or stage == "check mappings"
    build.send_signal(number)
    build.communicate(timeout=60)
    assert build.returncode in {-signal.SIGKILL, 143, 130}
    wait_until_gone(seen)


def test_a_command_that_ends_by_itself_is_not_stopped() -> None:
    assert blina("version").code == 0
