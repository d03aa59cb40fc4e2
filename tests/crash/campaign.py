"""The crash campaign: `python -m tests.crash.campaign [--times 3] [--random 200] [--pipelines 20] [--json]`.

Every named place of `etl.store.steps` is hit by SIGKILL several times on a small input, on each database that has it;
then builds of the store, and whole builds from FHIR, are killed at moments that nobody chose. After each kill the
database must be whole (what it was before, or what the run would have made of it), and one more run must end with the
tables of an undisturbed one. The counts are printed; the exit code is 1 when anything differed.

It takes long (a quarter of an hour on a quiet machine of two cores), so it is no part of `make test`, where
tests/etl/store/test_crash.py hits every place once and tests/crash/test_campaign.py runs a short campaign.

To be quick, no Python is started anew: this process has imported everything and opened nothing (no database, no
thread), and forks one process for each thing that is done.
"""

import argparse
import json
import os
import pickle
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import psycopg

import etl.pipeline
from etl.landing import Source
from etl.settings import Settings
from etl.store import open_store, steps
from etl.store.backup import backup, restore
from etl.store.releases import publish, releases, verify
from tests.etl.store.databases import Database
from tests.etl.store.postgres_server import server
from tests.etl.store.small_build import as_change, make_linked_work, run

PERSONS = 500
Contents = dict[str, list[tuple[Any, ...]]]


class DifferentError(Exception):
    """After a kill something was not as it must be."""


# What is done in a process of its own --------------------------------------------------------------------------------


WORK: dict[int, Path] = {}
"""Work databases by number of persons, made once: making one needs polars, which takes longer to begin than a build."""


def make_works(folder: Path) -> None:
    """Makes the work databases."""
    for persons in (2, PERSONS):
        path = folder / f"work{persons}.duckdb"
        with duckdb.connect(str(path)) as target:
            target.execute("SELECT 1")
        work = make_linked_work(persons=persons)
        work.execute(f"ATTACH '{path}' AS made")
        work.execute("COPY FROM DATABASE memory TO made")
        work.execute("DETACH made")
        work.close()


def build(database: Database, run_id: str, persons: int, *, change: bool = False) -> None:
    """A build of the store: of everything, or an increment."""
    with tempfile.TemporaryDirectory() as folder, open_store(database.url, run_id=run_id) as store:
        copy = shutil.copy(WORK[persons], Path(folder) / "work.duckdb")
        with duckdb.connect(str(copy)) as work:
            store.apply(as_change(work), run(run_id)) if change else store.replace(work, run(run_id))


def told(database: Database) -> Contents:
    """Everything but what the ledger says of which tables had to be written."""
    return {name: rows for name, rows in database.contents().items() if name != "ledger.written"}


def pipeline(database: Database, folder: Path, exports: Path) -> None:
    """A whole build from FHIR."""
    landed = None if database.kind == "duckdb" else folder / "instance"
    sources = [Source("S", path) for path in sorted(exports.iterdir())]
    etl.pipeline.build(sources, database=database.url, settings=Settings(key="k", landed=landed))


def cdm(database: Database) -> Contents:
    """The tables of the CDM and of lineage; the vocabulary's are long and always the same."""
    names = ("cdm.person", "cdm.measurement", "cdm.observation_period", "lineage.")
    return {name: rows for name, rows in database.contents().items() if name.startswith(names)}


def expect(held: bool, what: str) -> None:
    """Raises DifferentError."""
    if not held:
        raise DifferentError(what)


# Forked processes ----------------------------------------------------------------------------------------------------


def forked(do: Callable[[], Any]) -> Any:
    """What a function gives back that runs in a process of its own; raises DifferentError with what it raised."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            answer: tuple[bool, Any] = (True, do())
        except BaseException:
            answer = (False, traceback.format_exc(limit=-4))
        with os.fdopen(write, "wb") as stream:
            pickle.dump(answer, stream)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        data = stream.read()
    os.waitpid(child, 0)
    ok, answer = pickle.loads(data)
    if not ok:
        raise DifferentError(answer)
    return answer


def kill(do: Callable[[], None], place: str = "", after: float = 0.0) -> bool:
    """Runs a function in a process that is killed at a place, or after so many seconds; whether it was killed."""
    child = os.fork()
    if child == 0:

        def reached(name: str) -> None:
            if name == place:
                os.kill(os.getpid(), signal.SIGKILL)

        steps.reached = reached
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 2)
        try:
            do()
        finally:
            os._exit(0)
    if not place:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


# The databases -------------------------------------------------------------------------------------------------------


@dataclass
class Ground:
    """Where a kind of database is tried: a folder, and for PostgreSQL a server; each try begins from a template."""

    kind: str
    folder: Path
    url: str
    before: Contents = field(default_factory=dict)
    after: Contents = field(default_factory=dict)
    seconds: float = 0.0
    number: int = 0

    def prepare(self) -> None:
        """Makes the template, and learns what an undisturbed run leaves and how long it takes."""
        template = self.new(empty=True)
        forked(lambda: build(template, "r1", 2))
        self._keep(template)
        other = self.new()
        self.before = forked(lambda: told(other))
        started = time.monotonic()
        forked(lambda: build(other, "r2", PERSONS))
        self.seconds = time.monotonic() - started
        self.after = forked(lambda: told(other))
        expect(self.before != self.after, "the run changes nothing: nothing would be tested")

    def new(self, *, empty: bool = False) -> Database:
        """A database as the template is."""
        self.number += 1
        if self.kind == "duckdb":
            place = self.folder / f"try{self.number}"
            place.mkdir()
            if not empty:
                shutil.copy(self.folder / "template.duckdb", place / "omop.duckdb")
            return Database(f"duckdb:///{place / 'omop.duckdb'}")
        name = f"crash_{self.number}"
        self._sql(f"CREATE DATABASE {name} TEMPLATE {'template0' if empty else 'crash_template'} ENCODING 'UTF8'")
        (self.folder / f"try{self.number}").mkdir()
        return Database(self.url + name)

    def place(self, database: Database) -> Path:
        """The folder of a try."""
        return self.folder / f"try{self.number}" if database else self.folder

    def drop(self, database: Database) -> None:
        """Removes a try."""
        shutil.rmtree(self.folder / f"try{self.number}", ignore_errors=True)
        if self.kind != "duckdb":
            self._sql(f"DROP DATABASE {database.url.rsplit('/', 1)[1]} WITH (FORCE)")

    def _keep(self, database: Database) -> None:
        if self.kind == "duckdb":
            shutil.copy(database.url.removeprefix("duckdb:///"), self.folder / "template.duckdb")
        else:
            self._sql(f"ALTER DATABASE {database.url.rsplit('/', 1)[1]} RENAME TO crash_template")

    def _sql(self, statement: str) -> None:
        with psycopg.connect(f"{self.url}postgres", autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def grounds(kinds: list[str]) -> Iterator[list[Ground]]:
    """The kinds of databases, prepared."""
    with tempfile.TemporaryDirectory(prefix="blina-crash-") as made:
        folder = Path(made)
        for kind in kinds:
            (folder / kind).mkdir()
        forked(lambda: make_works(folder))
        WORK.update({persons: folder / f"work{persons}.duckdb" for persons in (2, PERSONS)})
        found = [Ground(kind, folder / kind, "") for kind in kinds if kind == "duckdb"]
        if "postgresql" not in kinds:
            for ground in found:
                ground.prepare()
            yield found
            return
        with server() as url:
            found.append(Ground("postgresql", folder / "postgresql", url))
            for ground in found:
                ground.prepare()
            yield found


# The tries -----------------------------------------------------------------------------------------------------------


def try_build(ground: Ground, place: str, after: float) -> bool:
    """A build is killed: whole before or after, and the next one ends equal."""
    database = ground.new()
    change = "exchanged" in place
    killed = kill(lambda: build(database, "r2", PERSONS, change=change), place, after)

    def check() -> None:
        with open_store(database.url):  # a server may take a moment to notice; a file's log is read again
            pass
        expect(told(database) in (ground.before, ground.after), "the database is torn")
        build(database, "r2", PERSONS)
        expect(told(database) == ground.after, "the next run ends otherwise")

    forked(check)
    ground.drop(database)
    return killed


def try_release(ground: Ground, place: str, after: float) -> bool:
    """A publication is killed: only whole releases, and the next one leaves nothing else."""
    database = ground.new()
    folder = ground.place(database) / "releases"
    forked(lambda: publish(database.url, folder, keep=1).name)
    killed = kill(lambda: void(publish(database.url, folder, keep=1)), place, after)

    def check() -> None:
        left = releases(folder)
        expect(bool(left), "no release is left")
        for release in left:
            verify(release)
        last = publish(database.url, folder, keep=1)
        verify(last)
        expect({path.name for path in folder.iterdir() if path.is_dir()} == {last.name}, "something else is left")
        expect(last.manifest["rows"] == left[0].manifest["rows"], "the release has other rows")

    forked(check)
    ground.drop(database)
    return killed


def try_backup(ground: Ground, place: str, after: float) -> bool:
    """A backup is killed: the old one or the new one is there, whole, and the next one is whole."""
    database = ground.new()
    file = ground.place(database) / "kept.zip"
    other = Database(f"duckdb:///{ground.place(database)}/restored.duckdb")
    forked(lambda: void(backup(database.url, file)))
    forked(lambda: build(database, "r2", PERSONS))
    killed = kill(lambda: void(backup(database.url, file)), place, after)

    def check() -> None:
        restore(file, other.url)
        expect(told(other) in (ground.before, ground.after), "the backup is torn")
        backup(database.url, file)
        restore(file, other.url, overwrite=True)
        expect(told(other) == ground.after, "the next backup is another one")

    forked(check)
    ground.drop(database)
    return killed


def try_restore(ground: Ground, place: str, after: float) -> bool:
    """A restore is killed: the database of before or the restored one, and the next restore ends equal."""
    database = ground.new()
    file = ground.place(database) / "kept.zip"
    forked(lambda: void(backup(database.url, file)))
    forked(lambda: build(database, "r2", PERSONS))
    killed = kill(lambda: void(restore(file, database.url, overwrite=True)), place, after)

    def check() -> None:
        with open_store(database.url):
            pass
        expect(told(database) in (ground.before, ground.after), "the database is torn")
        restore(file, database.url, overwrite=True)
        expect(told(database) == ground.before, "the next restore ends otherwise")

    forked(check)
    ground.drop(database)
    return killed


def void(_: object) -> None:
    """Nothing: what a forked process gives back must be small."""


TRIES: dict[str, Callable[[Ground, str, float], bool]] = {
    "release": try_release, "backup": try_backup, "restore": try_restore,
}  # fmt: skip


def hit_places(ground: Ground, times: int, counts: Counter[str]) -> None:
    """Every place that this kind of database has, so many times."""
    for name in steps.NAMES:
        part = name.split(":")[0]
        if part in {"duckdb", "postgres"} and not ground.kind.startswith(part):
            continue
        for _ in range(times):
            expect(TRIES.get(part, try_build)(ground, name, 0.0), f"{name}: was never reached")
            counts[f"{ground.kind} at {name}"] += 1
        say(ground.kind, f"{name} ({sum(counts.values()):,} killed)")


def hit_moments(ground: Ground, times: int, chance: random.Random, counts: Counter[str]) -> None:
    """Builds of the store, killed at moments from their beginning to a little after their end."""
    while times:
        killed = try_build(ground, "", chance.uniform(0, ground.seconds))
        counts[f"{ground.kind} at any moment" if killed else f"{ground.kind} had ended"] += 1
        times -= killed
        if killed and times % 20 == 0:
            say(ground.kind, f"{sum(counts.values()):,} killed, {times} moments to come")


def hit_pipelines(ground: Ground, times: int, chance: random.Random, counts: Counter[str]) -> None:
    """Whole builds from FHIR, killed at any moment: the next one ends as one that was never disturbed."""
    if not times:
        return
    exports = ground.folder / "exports"
    exports.mkdir()
    for night in range(2):
        (exports / f"{night}.json").write_text(json.dumps(_bundle(night)))
    whole = ground.new(empty=True)
    started = time.monotonic()
    forked(lambda: pipeline(whole, ground.place(whole), exports))
    seconds = time.monotonic() - started
    expected = forked(lambda: cdm(whole))
    expect(len(expected.get("cdm.measurement", ())) == 40, "the example has no measurements")
    ground.drop(whole)
    for _ in range(times):
        database = ground.new(empty=True)
        place = ground.place(database)
        # The first third of a build is the start of the work database and the vocabulary; it is killed there, too.
        killed = kill(lambda d=database, p=place: pipeline(d, p, exports), "", chance.uniform(0, seconds))  # type: ignore[misc]

        def check(d: Database = database, p: Path = place) -> None:
            pipeline(d, p, exports)
            found = cdm(d)
            expect(_ordered(found) == _ordered(expected), "the next build ends otherwise")
            left = [path.name for path in p.rglob(".blina-work-*")]
            expect(not left, "a work folder is left")

        forked(check)
        counts[f"{ground.kind} whole builds" if killed else f"{ground.kind} had ended"] += 1
        ground.drop(database)


def _ordered(contents: Contents) -> dict[str, list[str]]:
    """Rows as text. Files that a killed build received have other numbers, so resource numbers are left out."""
    return {
        name: sorted(repr(row) for row in rows) for name, rows in contents.items()
        if name not in {"lineage.resource", "lineage.cdm_row"}
    }  # fmt: skip


def _bundle(night: int) -> dict[str, Any]:
    child = {"resourceType": "Patient", "id": f"c{night}", "birthDate": "2019-03-04", "gender": "female"}
    weights = [
        {
            "resourceType": "Observation", "id": f"w{night}-{n}", "status": "final", "effectiveDateTime": "2024-01-01",
            "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
            "subject": {"reference": f"Patient/c{night}"},
            "valueQuantity": {"value": 10 + n, "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"},
        }
        for n in range(20)
    ]  # fmt: skip
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in [child, *weights]]}


def campaign(kinds: list[str], times: int, at_random: int, pipelines: int, seed: int) -> Counter[str]:
    """Runs the campaign; processes killed, by kind of database and place. Raises DifferentError at the first fault."""
    counts: Counter[str] = Counter()
    chance = random.Random(seed)
    with grounds(kinds) as found:
        for ground in found:
            hit_places(ground, times, counts)
            say(ground.kind, f"{sum(counts.values()):,} killed at named places so far")
            hit_moments(ground, at_random, chance, counts)
            say(ground.kind, f"{sum(counts.values()):,} killed so far")
            hit_pipelines(ground, pipelines, chance, counts)
    return counts


def say(kind: str, text: str) -> None:
    """A line of progress."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {kind}: {text}\n")


def main() -> None:
    """Runs and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--times", type=int, default=3, help="how often each named place is hit")
    parser.add_argument("--random", type=int, default=200, help="kills at random moments on each database")
    parser.add_argument("--pipelines", type=int, default=20, help="whole builds killed on each database")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--only", choices=("duckdb", "postgresql"), help="one kind of database")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    kinds = [given.only] if given.only else ["duckdb", "postgresql"]
    started = time.monotonic()
    try:
        counts = campaign(kinds, given.times, given.random, given.pipelines, given.seed)
    except DifferentError as error:
        sys.stderr.write(f"DIFFERENT (seed {given.seed}): {error}\n")
        sys.exit(1)
    killed = {name: n for name, n in counts.items() if not name.endswith("had ended")}
    if given.json:
        show(json.dumps({"seed": given.seed, "killed": killed, "all": sum(killed.values())}, indent=1))
        return
    places = {name.split(" at ", 1)[1] for name in killed if ": " in name}
    for kind in kinds:
        named = sum(n for name, n in killed.items() if name.startswith(f"{kind} at ") and ": " in name)
        show(
            f"{kind}: {named:,} killed at named places, {killed.get(f'{kind} at any moment', 0):,} at any moment, "
            f"{killed.get(f'{kind} whole builds', 0):,} whole builds; {counts[f'{kind} had ended']:,} had ended before"
        )
    show(
        f"processes killed: {sum(killed.values()):,}, at {len(places)} named places; every database whole, every next "
        f"run equal (seed {given.seed}, {time.monotonic() - started:.0f} s)"
    )


def show(text: str) -> None:
    """A line of the result."""
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
