"""The whole ETL as one function that reads like the picture: land, map, derive, store.

    sources → landing (gate, validation) → transform (mapping, vocabulary) → derived tables → store (one transaction)

Every landed resource is kept, skipped (with a reason) or rejected (with a reason), and the three add up to what landed.
Nothing here knows Prefect, a terminal or a study.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from importlib.metadata import version
from importlib.resources import as_file, files
from pathlib import Path

import duckdb
import polars as pl

from etl.beginning import existing_folder, files_not_known, received_earlier, refuse_another_key, reject_writer
from etl.build_report import (
    COUNT_COLUMNS,
    BuildReport,
    identifier_systems,
    rows_by_table,
    standard_share,
    sums,
    unmapped_codes,
)
from etl.errors import SettingsError
from etl.ground import MORE_ROOM, Ground, prepared_ground
from etl.increment import ENGINE, KEY_MARK, Basis, Inputs, compute_changes, key_mark, why_not
from etl.landing import Landed, Limits, Reject, RejectWriter, Source, Workers, land
from etl.landing.leaving import find_leaving, without
from etl.landing.received import Received, forget, keep, sites_received
from etl.landing.withdrawn import read_withdrawn
from etl.mapping.language import Mappings, load_mappings
from etl.settings import Settings
from etl.store import (
    Home,
    Run,
    Store,
    Written,
    home_of,
    insert_frame,
    new_run_id,
    open_store,
)
from etl.transform.derived import derive_condition_eras, derive_drug_eras, derive_observation_periods, write_cdm_source
from etl.transform.stage import Stage
from etl.transform.transform import Transformed, compile_mappings, transform
from etl.vocabulary import CodeMaps, Release
from etl.workplace import Clock, Progress, make_room, work_folder

STEPS = (
    "check mappings", "find new files", "load vocabulary", "land", "transform", "derive", "store",
)  # fmt: skip
"""The stages that `build` announces, in order; an increment has no "derive" of its own."""


def default_mappings() -> Path:
    """The mappings that come with blina."""
    with as_file(files("mappings")) as folder:
        return Path(folder)


def build(
    sources: Sequence[Source],
    *,
    database: str,
    settings: Settings,
    vocabulary: Sequence[Path] = (),
    mappings: Path | None = None,
    rejects: Path | None = None,
    anew: bool = False,
    whole: bool = False,
    workers: int = 1,
    cluster: str | None = None,
    limits: Limits = Limits(),  # noqa: B008  frozen
    progress: Progress = lambda _: None,
) -> BuildReport:
    """Makes the OMOP CDM at `database` equal to all that was ever received, the sources included, in one transaction.

    Files that came before are not read again; `anew` forgets what came before. Only what the new files touch is
    computed, unless something beside the data changed since the last run (mapping, settings, vocabulary, software,
    sites), much has come at once, or `whole` asks for everything; the result is the same. A site's resources are known
    by site, type and id: the newest version counts, whichever file brought it.
    `workers` processes of this machine read, and as many threads compute; with `cluster`, the address of a Dask
    scheduler, its workers read. Neither changes a row.
    `vocabulary` are Athena folders; the vocabulary that comes with blina is always added. Raises BlinaError's kinds;
    bad files and resources never raise, they are counted and written to `rejects`.
    """
    if not settings.key:
        raise SettingsError("no key for the ids: set instance.key in the settings file, or BLINA_KEY")
    clock = Clock(progress)
    run_id = new_run_id()
    home = home_of(database, settings.landed)
    earlier_sites = [] if anew else sites_received(home.landed)
    sites = tuple(sorted({*(source.site for source in sources), *earlier_sites}))
    with Workers(workers if cluster is None else 1) as crew:
        with clock("check mappings"):
            rules = load_mappings(existing_folder(mappings) or default_mappings(), settings.policies)
            stages = compile_mappings(rules, sites)
        with (
            open_store(database, run_id=run_id) as store,
            work_folder(home) as folder,
            reject_writer(rejects or folder / "rejects", settings.key) as writer,
        ):
            with clock("find new files"):
                if not anew:
                    refuse_another_key(store, home, settings.key)
                earlier = received_earlier(store, home, anew=anew)
                before = earlier.forgotten() if anew else earlier
                new, left_aside = files_not_known(before, sources)
            # Before anything is read: a fault of the vocabulary or of a mapping's ids is told at once.
            prepare = partial(prepared_ground, folder, home, rules, sites, vocabulary, clock, workers)
            with prepare() as ground:
                with clock("land"):
                    types, number = set(rules.base), before.next_number
                    fresh = land(new, folder / "landed", types, limits, writer, number, crew, cluster)
                    fresh = _without_the_withdrawn(fresh, home, settings)
                    received, fresh = keep(before, run_id, fresh)
                given = _Given(
                    store, folder, settings, rules, stages, received, fresh, sites, run_id, clock, rejects, left_aside,
                    why="told to" if whole or anew else None, begins_anew=anew or not before.runs,
                )  # fmt: skip
                make_room(ground.work, workers, sum(received.landed.sizes().values()))
                try:
                    report = _build(given, ground, writer)
                except duckdb.OutOfMemoryException:  # what cannot be spilled: resources of unusual size
                    progress("begin again with more memory")
                    ground.work.close()
                    with prepare(times=MORE_ROOM) as roomier:
                        report = _build(given, roomier, writer)
            if anew:
                forget(earlier.runs)
            return report


def _build(given: "_Given", ground: Ground, writer: RejectWriter) -> BuildReport:
    """Maps, derives and stores what was landed."""
    insert_frame(ground.work, "led.file", given.received.landed.files)
    basis = Basis(
        version("blina"), ENGINE, given.rules.sha, settings_hash(given.settings), ground.release.fingerprint,
        given.sites,
    )  # fmt: skip
    job = _Job(**vars(given), work=ground.work, release=ground.release, basis=basis)
    made = given.why or _increment(job)
    if isinstance(made, str):
        made = _whole(job, made)
    _write_late_rejects(job.work, writer)
    with given.store.reading():
        return _report(job, made, ground.code_maps)


@dataclass(frozen=True)
class _Given:
    """What a build works on once its inputs are landed. `why` everything is to be computed; None: what changed."""

    store: Store
    folder: Path
    settings: Settings
    rules: Mappings
    stages: Sequence[Stage]
    received: Received
    fresh: Landed
    sites: tuple[str, ...]
    run_id: str
    clock: Clock
    rejects: Path | None
    left_aside: int
    why: str | None
    begins_anew: bool


@dataclass(frozen=True)
class _Job(_Given):
    """One try to build it, in a work database."""

    work: duckdb.DuckDBPyConnection
    release: Release
    basis: Basis

    def run(self, received: str, computed: str, until: date) -> Run:
        """The run as the ledger remembers it; the next one reads there on what it may build."""
        key = {KEY_MARK: key_mark(self.settings.key)}
        basis = self.basis.as_dict() | {"data_until": until.isoformat()} | key
        told = {"received": received, "computed": computed, "basis": basis}
        return Run(
            self.basis.software_version, self.rules.sha, self.basis.settings_sha, self.release.version,
            run_id=self.run_id, policies={**self.rules.policies, **told},
        )  # fmt: skip


@dataclass(frozen=True)
class _Made:
    """What was computed and written."""

    run: Run
    done: Transformed
    counts: pl.DataFrame
    written: Sequence[Written]
    computed: str


def _increment(job: _Job) -> "_Made | str":
    """Computes and writes what the changes touch; a text says why everything must be computed instead."""
    then = job.store.last_basis()
    refused = why_not(job.basis, then)
    if refused is not None or then is None:
        return refused or ""
    if all(run.name == job.run_id for run in job.received.runs):
        return "nothing is here that came before"
    with job.clock("transform"):
        inputs = Inputs(job.received.landed, job.fresh, date.fromisoformat(then["data_until"]), job.folder)
        computed = compute_changes(
            job.work, job.store, job.stages, job.rules, job.settings, inputs, partial(_derive, job, "whole"),
            job.clock.progress,
        )  # fmt: skip
    if isinstance(computed, str):
        return computed
    run = job.run("added", "changes", computed.done.data_until)
    counts = _all_counts(job, computed.counts)
    with job.clock("store"):
        _write_cdm_source(job, run, computed.done.data_until)
        written = job.store.apply(job.work, run)
    return _Made(run, computed.done, counts, written, "changes")


def _whole(job: _Job, why: str) -> _Made:
    """Computes and writes everything received so far."""
    with job.clock("transform"):
        done = transform(job.work, job.stages, job.received.landed, job.rules, job.settings, job.clock.progress)
    run = job.run("anew" if job.begins_anew else "added", f"everything: {why}", done.data_until)
    with job.clock("derive"):
        _derive(job, "out", done.data_until)
        _write_cdm_source(job, run, done.data_until)
    counts = _all_counts(job, done.outcomes)
    with job.clock("store"):
        written = job.store.replace(job.work, run, vocabulary=not _has_vocabulary(job))
    return _Made(run, done, counts, written, run.policies["computed"])


def _has_vocabulary(job: _Job) -> bool:
    """Whether the database holds the vocabulary of this run: comparing millions of rows would take long."""
    with job.store.reading():
        then = job.store.last_basis()
        there = job.store.rows("SELECT count(*) FROM cdm.concept")[0][0] > 0
    return bool(there and then and then["vocabulary_sha"] == job.basis.vocabulary_sha)


def _without_the_withdrawn(fresh: Landed, home: Home, settings: Settings) -> Landed:
    """What came without the resources of patients that withdrew; how to know them by what came now is remembered."""
    withdrawn = read_withdrawn(home.withdrawn)
    if not withdrawn.marks:
        return fresh
    leaving = find_leaving(fresh.shards, withdrawn, settings.key, settings.link_persons_by)
    if leaving.withdrawn != withdrawn:
        leaving.withdrawn.write(home.withdrawn)
    return without(fresh, leaving, fresh.folder)


def settings_hash(settings: Settings) -> str:
    """One hash over the settings, without the secret key and the place of the instance."""
    shown = {name: value for name, value in asdict(settings).items() if name != "landed"} | {"key": ""}
    return hashlib.sha256(json.dumps(shown, default=str, sort_keys=True).encode()).hexdigest()


def _all_counts(job: _Job, late: pl.DataFrame) -> pl.DataFrame:
    """The fate of every landed resource: refused or left aside at landing, and by the mapping (`late`)."""
    early = job.received.landed.counts.filter(pl.col("outcome") != "landed").select(COUNT_COLUMNS)
    late = late.select(COUNT_COLUMNS).with_columns(pl.col("n").cast(early.schema["n"]))
    counts = pl.concat([early, late], how="vertical_relaxed").group_by(COUNT_COLUMNS[:-1]).agg(pl.col("n").sum())
    counts = counts.sort(COUNT_COLUMNS[:-1])
    insert_frame(job.work, "led.count", counts)
    return counts


def _write_late_rejects(work: duckdb.DuckDBPyConnection, writer: RejectWriter) -> None:
    """Rejects of the mapping (no person, no date, ...), beside those of the landing."""
    for site, kind, one, reason, file, at in work.execute(
        """SELECT site, resource_type, fhir_id, reason, file, "at" FROM led.resource
           WHERE outcome = 'rejected' ORDER BY ALL"""
    ).fetchall():
        writer.write(Reject(site, kind, one, "mapping", reason_code(reason), "", file, at))


def reason_code(reason: str) -> str:
    """A reason in words as the code that stands in the rejects file: "person not found" → person_not_found."""
    return "_".join(reason.lower().split())


def _derive(job: _Job, events: str, until: date) -> None:
    """Periods and eras of the persons whose events stand in schema `events`."""
    derive_observation_periods(job.work, key=job.settings.key, extraction_date=until, events=events)
    derive_condition_eras(job.work, key=job.settings.key, events=events)
    derive_drug_eras(job.work, key=job.settings.key, events=events)


def _write_cdm_source(job: _Job, run: Run, until: date) -> None:
    write_cdm_source(
        job.work, job.settings, vocabulary_version=run.vocabulary_release or "", software_version=run.software_version,
        mapping_sha=run.mapping_sha, source_release_date=until, cdm_release_date=until, sites=job.basis.sites,
    )  # fmt: skip


def _rejected_now(work: duckdb.DuckDBPyConnection, fresh: Landed) -> int:
    """Resources and files of this run that were refused, at landing or by the mapping."""
    if fresh.files.is_empty():
        return 0
    early = fresh.counts.filter(pl.col("outcome") == "rejected")["n"].sum()
    first = fresh.files.select(pl.col("file").min()).item()
    late = work.execute(
        f"SELECT count(*) FROM led.resource WHERE outcome = 'rejected' AND file >= {int(first)}"
    ).fetchone()
    return int(early) + (int(late[0]) if late else 0)


def _report(job: _Job, made: _Made, code_maps: CodeMaps) -> BuildReport:
    done, landed = made.done, job.fresh
    rows = rows_by_table(job.store)
    return BuildReport(
        run_id=made.run.run_id,
        computed=made.computed,
        counts=made.counts,
        rows={table: n for table, n in rows.items() if n},
        changed_tables=tuple(f"{one.schema}.{one.table}" for one in made.written if one.replaced),
        seconds=job.clock.seconds,
        files=landed.files.height,
        bytes=int(landed.files["bytes"].sum() or 0),
        left_aside=job.left_aside + landed.ignored.height,
        rejected_now=_rejected_now(job.work, landed),
        standard_share=standard_share(job.store, rows),
        unmapped=unmapped_codes(job.store),
        vocabulary_warnings=job.release.problems,
        unresolved_codes=tuple(str(one) for one in code_maps.unresolved),
        incomplete_rows=done.incomplete_rows,
        reversed_ends=done.reversed_ends,
        noted=done.noted,
        unresolved_references=sums(
            [(f"{kind}.{element}", n) for _, kind, element, n in done.unresolved_references.iter_rows()]
        ),
        decoded=dict(landed.files.drop_nulls("decoded_from").group_by("decoded_from").len().iter_rows()),
        identifier_systems=identifier_systems(job.store, job.settings.link_persons_by),
        rejects=job.rejects,
        vocabulary_release=made.run.vocabulary_release or "",
        mapping_sha=made.run.mapping_sha,
    )
