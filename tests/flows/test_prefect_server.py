"""The flows against a real local Prefect server: they run, they deploy, and no patient value stands in its database."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import flows.quiet

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "sample_bundles"
pytestmark = [pytest.mark.server, pytest.mark.timeout(240)]

RUN = """
import flows.quiet
import json, pathlib, sys
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from flows.build_cdm import build_cdm
from flows.run_study import run_study
to, sample = sys.argv[1:3]
database = f"duckdb:///{to}/omop.duckdb"
with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
    built = build_cdm(paths=[sample], database=database, reports=to, rejects=f"{to}/rejects", workers=2)
    done = run_study(database=database, out=f"{to}/results", settings=f"{sample}/blina.yaml", check_first=False)
    try:
        build_cdm(paths=[f"{to}/nothing-here"], database=database, reports=to)
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
    torn = pathlib.Path(to, "torn.json")
    torn.write_text('{"resourceType": "Patient", "id": "')
    nights = []
    for _ in range(2):
        try:
            nights.append(build_cdm(
                paths=[f"{sample}/site4", str(torn)], database=f"duckdb:///{to}/torn.duckdb", reports=f"{to}/torn",
                settings=f"{sample}/blina.yaml", site="SITE4",
            )["totals"]["rejected"])
        except Exception as error:
            nights.append(str(error))
print(json.dumps({"built": built, "done": done, "failure": failure, "nights": nights}))
"""


@dataclass(frozen=True)
class Server:
    """A running Prefect server."""

    url: str
    home: Path
    environment: dict[str, str]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command with this server as its own."""
        return subprocess.run(
            command, env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
        )

    def post(self, path: str) -> Any:
        """The answer of the server's API."""
        request = urllib.request.Request(
            f"{self.url}/{path}", data=b"{}", headers={"content-type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of our own: its home in a temporary folder, its database SQLite, a free port."""
    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = {**kept, **flows.quiet.OFF, "PREFECT_HOME": str(home), "PREFECT_API_URL": url}
    environment |= {"BLINA_HOME": str(ROOT), "PYTHONPATH": str(ROOT), "PREFECT_SERVER_LOGGING_LEVEL": "WARNING"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (
        (home / "server.log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=home) as process,
    ):
        try:
            _wait_for(url, process, home / "server.log")
            yield Server(url, home, environment)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"the Prefect server did not start: {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def answer(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the flows gave back, run in a process of their own against the server."""
    to = tmp_path_factory.mktemp("nightly")
    ran = server.run(sys.executable, "-c", RUN, str(to), str(SAMPLE))
    assert ran.returncode == 0, ran.stderr[-3000:]
    content: dict[str, Any] = json.loads(ran.stdout.strip().splitlines()[-1])
    return content


def test_both_flows_run_and_give_back_counts(server: Server, answer: dict[str, Any]) -> None:
    assert answer["built"]["totals"]["rejected"] == 0
    assert answer["built"]["rows"]["person"] == 105
    assert answer["done"]["courses"] == 125
    states = {(run["name"], run["state_type"]) for run in server.post("flow_runs/filter")}
    assert sorted(state for _, state in states) == ["COMPLETED", "COMPLETED", "COMPLETED", "FAILED", "FAILED"]


def test_a_night_fails_for_what_it_rejected_itself(answer: dict[str, Any]) -> None:
    """What was rejected once would else turn every later night red, and nobody would look any more."""
    first, second = answer["nights"]
    assert "(exit code 12): 1 resources or files were rejected" in first
    assert second == 1


def test_only_a_lock_is_worth_waiting_for(server: Server) -> None:
    """Any other failure would fail again; what Prefect stores of it is kind and place."""
    code = """
import flows.quiet, asyncio
from prefect.states import Failed
from flows.run_study import _is_locked
from flows.shielded import FlowFailedError, FlowLockedError
for error in (FlowLockedError("x"), FlowFailedError("x")):
    print(asyncio.run(_is_locked(None, None, Failed(data=error))))
"""
    ran = server.run(sys.executable, "-c", code)
    assert ran.stdout.split() == ["True", "False"], ran.stderr


def test_a_failure_is_told_by_kind_and_exit_code(answer: dict[str, Any]) -> None:
    assert answer["failure"].startswith("FlowFailedError: SourceError (exit code 12): ")


def test_the_nightly_deployments_are_accepted_with_their_schedules(server: Server) -> None:
    made = server.run(sys.executable, "-m", "prefect", "work-pool", "create", "hospital", "--type", "process")
    assert made.returncode == 0, made.stderr
    deployed = server.run(
        sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", "flows/prefect.yaml"
    )
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    deployments = {one["entrypoint"]: one for one in server.post("deployments/filter")}
    assert set(deployments) == {"flows/build_cdm.py:build_cdm", "flows/run_study.py:run_study"}
    for one in deployments.values():
        assert [schedule["active"] for schedule in one["schedules"]] == [True]
        assert one["name"] == "nightly"


def test_no_value_of_a_patient_stands_in_the_database_of_prefect(server: Server, answer: dict[str, Any]) -> None:
    secrets = patient_values()
    assert len(secrets) > 500
    stored = b"".join(path.read_bytes() for path in sorted(server.home.glob("prefect.db*")))
    assert b"build_cdm" in stored
    assert len(stored) > 100_000
    # Prefect writes JSON, where a Chinese name may stand as \\uXXXX.
    forms = {form for one in secrets for form in (one, json.dumps(one)[1:-1])}
    assert [one for one in forms if one.encode() in stored] == []


def patient_values() -> set[str]:
    """Names, record numbers, birth dates, addresses, free texts and long ids of everything in the sample bundles."""
    values: set[str] = set()
    for path in sorted(SAMPLE.glob("site*/*")):
        raw = path.read_bytes()
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = raw.decode("gb18030")
        for part in text.splitlines() if path.suffix == ".ndjson" else [text]:
            if part.strip():
                _collect(json.loads(part), values)
    # Shorter ones ("P001", "F") stand by chance in any database of this size.
    return {value for value in values if len(value) >= 6 or (not value.isascii() and len(value) >= 2)}


def _collect(node: Any, values: set[str]) -> None:
    if isinstance(node, list):
        for one in node:
            _collect(one, values)
    elif isinstance(node, dict):
        is_patient = node.get("resourceType") == "Patient"
        for key, one in node.items():
            if key in ("birthDate", "valueString", "div") and isinstance(one, str):
                values.add(one)
            if key == "identifier" and isinstance(one, list):
                values |= {each["value"] for each in one if "value" in each}
            if is_patient and key in ("name", "telecom", "address"):
                values |= set(_texts(one))
            if key == "id" and "resourceType" in node and node["resourceType"] not in ("Bundle", "Organization"):
                values.add(str(one))
            _collect(one, values)


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, list | dict):
        for one in node.values() if isinstance(node, dict) else node:
            yield from _texts(one)
