"""A patient withdraws: what was received is rewritten without the patient's resources, and everything is built anew.

    list → marks → landed files without theirs → ledger without theirs → one full build → releases → certificate

The build is the ordinary one, from nothing but the rewritten landed files, so the database equals what it would be if
the patient had never been sent. A DuckDB file is built as a new file that takes the place of the old one; on PostgreSQL
new tables take the place of the old ones. Killed anywhere, the same command again does the rest.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import duckdb
import polars as pl
from sqlalchemy import Table

import etl.cdm
from etl.beginning import refuse_another_key
from etl.certificate import Certificate, unfinished
from etl.errors import CdmError, UsageError, VocabularyError
from etl.landing.leaving import Leaving, find_leaving, frames_without, without
from etl.landing.received import Received, open_received
from etl.landing.rejects import drop_rejects
from etl.landing.withdrawn import Marker, Withdrawn, read_withdrawn
from etl.pipeline import build
from etl.settings import Settings
from etl.store import Home, Store, database_path, disk, home_of, new_run_id, open_store
from etl.store.lock import RunLock
from etl.store.place import is_server
from etl.store.postgres_vacuum import vacuum
from etl.store.reading import reading
from etl.store.release_without import leave_releases
from etl.store.snapshot import snapshot, table_of
from etl.store.sources import SCHEMAS, Place
from etl.transform.macros import create_macros
from etl.vocabulary import load_vocabulary, shipped_folder

Progress = Callable[[str], None]
STEPS = ("look for the patients", "rewrite what was received", "build anew", "rewrite the releases", "certify")
_KEPT = ("run", "file", "count", "written", "resource")
"""Tables of the ledger that remember; all others are made again by the build."""


def withdraw(
    listed: Sequence[tuple[str, str]],
    *,
    database: str,
    settings: Settings,
    vocabulary: Sequence[Path] = (),
    mappings: Path | None = None,
    releases: Path | None = None,
    rejects: Path | None = None,
    progress: Progress = lambda _: None,
) -> Certificate:
    """Takes patients (site, FHIR id of the Patient) out of everything the instance holds; gives back the certificate.

    All that were withdrawn before are taken out again, so an empty list finishes what was interrupted or restored.
    `vocabulary` must be what the last build had. Raises UsageError when nobody ever withdrew, VocabularyError for
    another vocabulary, LockError when a run or a reader holds the database, CdmError.
    """
    home, run_id, mark = home_of(database, settings.landed), new_run_id(), Marker(settings.key)
    own = {mark.patient(*one) for one in listed}
    with _releases_locked(releases):
        with open_store(database, run_id=run_id) as store, _private_folder(home) as folder:
            progress(STEPS[0])
            refuse_another_key(store, home, settings.key)
            _refuse_other_vocabulary(database, vocabulary)
            withdrawn = read_withdrawn(home.withdrawn).plus(own, own)
            if not withdrawn.patients:
                raise UsageError("nobody is to be withdrawn: the list is empty, and nobody withdrew before")
            received = open_received(home.landed, store.run_ids())
            leaving = find_leaving(received.landed.shards, withdrawn, settings.key, settings.link_persons_by)
            known = {(site, one) for site, one in listed} | leaving.patients
            certificate = unfinished(home, run_id, withdrawn.patients, listed=len(set(listed)))
            certificate.add_landed(leaving.counts)
            if unknown := set(listed) - leaving.patients:
                certificate.notes.append(f"{len(unknown):,} of the list are no Patients of what is kept here")
            certificate.add_rows("before", _row_counts(database))
            certificate.row_ids = sorted({*certificate.row_ids, *_row_ids(database, leaving)})
            leaving.withdrawn.write(home.withdrawn)
            certificate.save()
            progress(STEPS[1])
            landed = _rewrite(received, leaving, folder / "omop.duckdb.landed")
            if is_server(database):
                _exchange(landed, home.landed)
                _leave_ledger(database, store, home.landed)
            else:
                progress(STEPS[2])
                certificate.run_id = _build_file(database, folder, settings, vocabulary, mappings, leaving.withdrawn)
                _exchange(landed, home.landed)
                _move_in(folder / "omop.duckdb", database_path(database))
        if is_server(database):
            progress(STEPS[2])
            report = build(
                [], database=database, settings=settings, vocabulary=vocabulary, mappings=mappings, whole=True
            )
            certificate.run_id = report.run_id
            certificate.notes += vacuum(database)
        progress(STEPS[3])
        persons = _person_ids(known, settings.key)
        certificate.releases = leave_releases(releases, persons, certificate.row_ids) if releases else []
        certificate.rejects = drop_rejects(rejects, settings.key, leaving.ids) if rejects else 0
    progress(STEPS[4])
    _refuse_left(database, persons)
    certificate.add_rows("after", _row_counts(database))
    certificate.finish(home)
    return certificate


@contextmanager
def _releases_locked(folder: Path | None) -> Iterator[None]:
    """Nobody publishes meanwhile: a release of the old database would appear behind our back."""
    if folder is None:
        yield
        return
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder of releases")
    lock = RunLock(folder / "releases", "withdraw")
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _private_folder(home: Home) -> Iterator[Path]:
    """A folder beside what will be replaced; what killed runs left beside the database is removed, too."""
    home.claim()
    prefix = f".withdrawing-{home.file.name if home.file else ''}~"
    with disk.told(home.folder):
        disk.clear(home.folder, prefix, home.work_prefix, f".aside-{home.landed.name}")
        if home.file:
            disk.clear(
                home.folder, f".restoring-{home.file.name}", f".replaced-{home.landed.name}", f"{home.file.name}.tmp"
            )
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=home.folder))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _refuse_other_vocabulary(database: str, vocabulary: Sequence[Path]) -> None:
    """A build with another vocabulary would change everybody's rows."""
    with snapshot(database) as found:
        rows = found.rows("SELECT vocabulary_release FROM ledger.run ORDER BY started_at DESC, run_id DESC LIMIT 1")
    with duckdb.connect() as work:
        release = load_vocabulary(work, [*vocabulary, shipped_folder()])
    if rows and (rows[0][0] or "") != (release.version or ""):
        raise VocabularyError(
            f"the database was built with the vocabulary {rows[0][0]!r}, this one is {release.version!r}: "
            "name the same folder with --vocabulary"
        )


def _row_counts(database: str) -> dict[str, int]:
    """The rows of every table of cdm, lineage and results, and of ledger.resource."""
    with snapshot(database) as found:
        places = [*found.tables(("cdm", "lineage", "results")), ("ledger", "resource")]
        return {f"{a}.{b}": int(found.rows(f'SELECT count(*) FROM {a}."{b}"')[0][0]) for a, b in places}


def _row_ids(database: str, leaving: Leaving) -> list[int]:
    """The keys of all rows of the CDM that were made from what leaves."""
    with reading(database, [("lineage", "cdm_row"), ("lineage", "resource")]) as connection:
        names = dict.fromkeys(("site", "resource_type", "fhir_id"), pl.String)
        theirs = pl.DataFrame(sorted(leaving.ids), names, orient="row")
        connection.register("theirs", theirs.to_arrow())
        rows = connection.execute(
            """SELECT DISTINCT row_id FROM lineage.cdm_row JOIN lineage.resource USING (resource_no)
               SEMI JOIN theirs USING (site, resource_type, fhir_id)"""
        ).fetchall()
    return [row[0] for row in rows]


def _rewrite(received: Received, leaving: Leaving, folder: Path) -> Path:
    """All that was received, run by run, without what leaves and without any file name."""
    folder.mkdir(mode=0o700)
    for run in received.runs:
        place = folder / run.name
        place.mkdir(mode=0o700)
        frames = {path.stem: pl.read_parquet(path) for path in run.glob("*.parquet")}
        shards: dict[str, list[Path]] = {}
        for path in sorted(run.glob("*.ndjson")):
            shards.setdefault(path.name.split(".")[0], []).append(path)
        landed = replace(received.landed, folder=run, shards=shards, **frames)
        without(landed, leaving, place)
        frames |= frames_without(landed, leaving)
        nameless = pl.lit(None, pl.String).alias("name")
        frames |= {name: frames[name].with_columns(nameless) for name in ("files", "ignored")}
        for name, frame in frames.items():
            frame.write_parquet(place / f"{name}.parquet")
    return folder


def _exchange(made: Path, place: Path) -> None:
    """Puts the rewritten folder in the place of the old one, which is removed."""
    aside = place.with_name(f".aside-{place.name}")
    with disk.told(place):
        if place.exists():
            place.rename(aside)
        disk.move_in(made, place)
        if aside.exists():
            shutil.rmtree(aside)


def _move_in(made: Path, place: Path) -> None:
    """Puts the new database file in the place of the old one; its log has been worked in when the lock was taken."""
    with disk.told(place):
        place.with_name(f"{place.name}.wal").unlink(missing_ok=True)
        made.chmod(place.stat().st_mode & 0o777)
        disk.move_in(made, place)


def _build_file(
    database: str, folder: Path, settings: Settings, vocabulary: Sequence[Path], mappings: Path | None, known: Withdrawn
) -> str:
    """The new DuckDB file, from a ledger without what leaves and the rewritten landed files beside it; its run's id."""
    url = f"duckdb:///{folder / 'omop.duckdb'}"
    known.write(home_of(url).withdrawn)
    with open_store(url) as store:
        _leave_ledger(database, store, home_of(url).landed)
    report = build([], database=url, settings=settings, vocabulary=vocabulary, mappings=mappings, whole=True)
    if not report.rows.get("person") and any(home_of(url).landed.glob("*/Patient.*")):
        raise CdmError("the new database came out empty; nothing was changed")
    return report.run_id


def _leave_ledger(database: str, store: Store, landed: Path) -> None:
    """Fills the ledger of a store with what the one at `database` knows of lines that are still there, and no names.

    Results go: they were counted with the patient. Everything else of the ledger is left empty, for the build to make.
    """
    with duckdb.connect() as work:
        with snapshot(database) as found:
            for name in _KEPT:
                found.copy(work, ("ledger", name))
            results = [place for place in found.tables(("results",)) if is_server(database)]
            for place in results:
                found.copy(work, place)
        _only_what_is_there(work, landed)
        tables: dict[Place, tuple[Table, str]] = {}
        tables |= {("ledger", name): (SCHEMAS["ledger"][name], f"ledger.{name}") for name in _KEPT}
        for name, table in SCHEMAS["ledger"].items():
            if name not in _KEPT:
                work.execute(etl.cdm.create_table(table, "ledger", required=False))
                tables["ledger", name] = (table, f'ledger."{name}"')
        for _, name in results:
            tables["results", name] = (table_of(work, name, f'results."{name}"'), f'(FROM results."{name}" LIMIT 0)')
        store.fill(work, tables)


def _only_what_is_there(work: duckdb.DuckDBPyConnection, landed: Path) -> None:
    """Removes from `ledger.resource` what has no landed line any more, and the hashes of file names."""
    work.execute("CREATE TEMP TABLE there (site VARCHAR, resource_type VARCHAR, id VARCHAR, hash VARCHAR)")
    shards: dict[str, list[str]] = {}
    for path in landed.glob("*/*.ndjson"):
        shards.setdefault(path.name.split(".")[0], []).append(str(path))
    for kind, paths in shards.items():
        work.execute(
            "INSERT INTO there SELECT DISTINCT site, ?, id, hash FROM read_ndjson(?, columns = "
            "{'site': 'VARCHAR', 'id': 'VARCHAR', 'hash': 'VARCHAR'}, maximum_object_size = 134217728)",
            [kind, paths],
        )
    work.execute(
        """DELETE FROM ledger.resource AS r WHERE NOT EXISTS (
             SELECT 1 FROM there t WHERE t.site = r.site AND t.resource_type = r.resource_type
               AND t.id = r.fhir_id AND t.hash = r.content_hash)"""
    )
    work.execute("UPDATE ledger.file SET name_hash = left(sha256(''), 16)")


def _person_ids(patients: set[tuple[str, str]], key: str) -> list[int]:
    """The person ids that these Patients have or had, whichever of them was the canonical one."""
    with duckdb.connect() as work:
        create_macros(work, key)
        query = "SELECT row_key(?, 'Patient', ?, 'person', '')"
        return sorted(int(work.execute(query, list(one)).fetchall()[0][0]) for one in patients)


def _refuse_left(database: str, persons: Sequence[int]) -> None:
    """Raises CdmError when a row of theirs is still in the database: there must be none."""
    wanted = ", ".join(map(str, persons)) or "NULL"
    with snapshot(database) as found:
        left = [
            name
            for name, table in etl.cdm.TABLES.items()
            for column in ("person_id", "subject_id")
            if column in table.columns
            and found.rows(f'SELECT count(*) FROM cdm."{name}" WHERE {column} IN ({wanted})') != [(0,)]
        ]
    if left:
        raise CdmError("rows of withdrawn patients are still in the database", problems=left)
