"""Killed anywhere: what is there is whole, and the next run ends as if nothing had been.

Every named place of `etl.store.steps` is hit by SIGKILL, on the databases that have it, BLINA_CRASHES times (1); then
builds are killed at BLINA_RANDOM_CRASHES (3) moments that nobody chose, on each database.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from databases import Database
from small_build import as_change, make_linked_work, run

from etl.store import open_store, steps
from etl.store.backup import backup, restore
from etl.store.releases import publish, releases, verify

pytestmark = pytest.mark.long
TIMES = int(os.environ.get("BLINA_CRASHES", "1"))
AT_RANDOM = int(os.environ.get("BLINA_RANDOM_CRASHES", "3"))
BUILDS = [name for name in steps.NAMES if name.startswith(("duckdb:", "postgres:"))]
OTHERS = [name for name in steps.NAMES if name not in BUILDS]
KILLED: list[str] = []

Contents = dict[str, list[tuple[Any, ...]]]


@pytest.fixture(scope="module", autouse=True)
def _count(request: pytest.FixtureRequest) -> Iterator[None]:
    """Prints how often a process was killed, also where pytest keeps what tests print."""
    yield
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\nprocesses killed: {len(KILLED)}, at {len(set(KILLED))} places")  # noqa: T201


def child(place: str, *arguments: str) -> "subprocess.Popen[str]":
    program = Path(__file__).with_name("killed.py")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.Popen(
        [sys.executable, program, place, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip


def kill_at(place: str, *arguments: str) -> None:
    process = child(place, *arguments)
    _, error = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, f"never came to {place!r}: {error[-500:]}"
    KILLED.append(place)


def build(database: Database, run_id: str, persons: int) -> None:
    with open_store(database.url, run_id=run_id) as store:
        store.replace(make_linked_work(persons=persons), run(run_id))


def told(database: Database) -> Contents:
    """Everything but what the ledger says of which tables had to be written."""
    return {name: rows for name, rows in database.contents().items() if name != "ledger.written"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Contents, Contents]:
    """Before and after the run that will be killed."""
    database = Database(f"duckdb:///{tmp_path_factory.mktemp('whole')}/omop.duckdb")
    build(database, "r1", 2)
    before = told(database)
    build(database, "r2", 500)
    return before, told(database)


@pytest.mark.parametrize("place", BUILDS * TIMES)
def test_a_build_killed_at_a_place_is_whole_and_the_next_ends_equal(
    place: str, request: pytest.FixtureRequest, tmp_path: Path, undisturbed: tuple[Contents, Contents]
) -> None:
    database = (
        Database(f"duckdb:///{tmp_path}/omop.duckdb")
        if place.startswith("duckdb")
        else request.getfixturevalue("postgres")
    )
    build(database, "r1", 2)
    kill_at(place, "change" if "exchanged" in place else "build", database.url)
    assert told(database) in undisturbed
    build(database, "r2", 500)
    assert told(database) == undisturbed[1]


def test_an_increment_of_all_rows_equals_a_whole_build(
    database: Database, undisturbed: tuple[Contents, Contents]
) -> None:
    build(database, "r1", 2)
    with open_store(database.url, run_id="r2") as store:
        store.apply(as_change(make_linked_work(persons=500)), run("r2"))
    assert told(database) == undisturbed[1]


@pytest.mark.parametrize("number", range(AT_RANDOM))
def test_a_build_killed_at_any_moment_is_whole_and_the_next_ends_equal(
    number: int, database: Database, undisturbed: tuple[Contents, Contents]
) -> None:
    build(database, "r1", 2)
    process = child("ready", "build", database.url)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(random.uniform(0, 0.8))
    process.kill()
    process.communicate()
    KILLED.append("any moment")
    with open_store(database.url):  # a server may take a moment to notice, and the file's log is read again
        pass
    assert told(database) in undisturbed
    build(database, "r2", 500)
    assert told(database) == undisturbed[1]


@pytest.mark.parametrize("place", [name for name in OTHERS if name.startswith("release")] * TIMES)
def test_a_release_killed_at_a_place_leaves_only_whole_releases(place: str, database: Database, tmp_path: Path) -> None:
    build(database, "r1", 2)
    first = publish(database.url, tmp_path / "releases", keep=1)
    kill_at(place, "publish", database.url, str(tmp_path / "releases"))
    left = releases(tmp_path / "releases")
    assert left
    for release in left:
        verify(release)
    last = publish(database.url, tmp_path / "releases", keep=1)
    assert [one.name for one in releases(tmp_path / "releases")] == [last.name]
    assert {path.name for path in (tmp_path / "releases").iterdir() if path.is_dir()} == {last.name}
    assert last.manifest["rows"] == first.manifest["rows"]


@pytest.mark.parametrize("place", [name for name in OTHERS if name.startswith("backup")] * TIMES)
def test_a_backup_killed_at_a_place_leaves_a_whole_backup(place: str, database: Database, tmp_path: Path) -> None:
    file = tmp_path / "kept.zip"
    build(database, "r1", 2)
    first = told(database)
    backup(database.url, file)
    build(database, "r2", 5)
    kill_at(place, "backup", database.url, str(file))
    other = Database(f"duckdb:///{tmp_path}/restored.duckdb")
    restore(file, other.url)
    assert told(other) in (first, told(database))
    backup(database.url, file)
    restore(file, other.url, overwrite=True)
    assert told(other) == told(database)


@pytest.mark.parametrize("place", [name for name in OTHERS if name.startswith("restore")] * TIMES)
def test_a_restore_killed_at_a_place_leaves_a_whole_database(place: str, database: Database, tmp_path: Path) -> None:
    file = tmp_path / "kept.zip"
    build(database, "r1", 2)
    first = told(database)
    backup(database.url, file)
    build(database, "r2", 5)
    second = told(database)
    kill_at(place, "restore", database.url, str(file))
    assert told(database) in (first, second)
    restore(file, database.url, overwrite=True)
    assert told(database) == first


def test_every_place_that_the_code_names_is_listed() -> None:
    code = "".join(path.read_text("utf-8") for path in Path(steps.__file__).parent.glob("*.py"))
    for name in steps.NAMES:
        assert f'steps.reached("{name}")' in code
    assert code.count('steps.reached("') == code.count("steps.reached(") - 1, "a place without a fixed name"
    assert set(steps.NAMES) >= {part.split('"')[0] for part in code.split('steps.reached("')[1:]}
