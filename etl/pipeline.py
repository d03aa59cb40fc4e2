"""The whole ETL as one function that reads like the picture: land, map, derive, store.

    sources → landing (gate, validation) → transform (mapping, vocabulary) → derived tables → store (one transaction)

Every landed resource is kept, skipped (with a reason) or rejected (with a reason), and the three add up to what landed.
Nothing here knows Prefect, a terminal or a study.
"""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from importlib.metadata import version
from importlib.resources import as_file, files
from pathlib import Path

import duckdb
import polars as pl

from etl.build_report import COUNT_COLUMNS, BuildReport, standard_share, sums
from etl.errors import CdmError, SettingsError
from etl.landing import Landed, Limits, Reject, RejectWriter, Source, land
from etl.landing.leaving import find_leaving, without
from etl.landing.received import forget, keep, open_received, sites_received
from etl.landing.withdrawn import read_withdrawn
from etl.mapping.language import load_mappings
from etl.settings import Settings
from etl.store import Home, Run, Written, create_work_schema, disk, home_of, insert_frame, new_run_id, open_store
from etl.transform.derived import derive_condition_eras, derive_drug_eras, derive_observation_periods, write_cdm_source
from etl.transform.transform import Transformed, compile_mappings, transform
from etl.vocabulary import CodeMaps, load_code_maps, load_vocabulary, preflight, shipped_folder

Progress = Callable[[str], None]


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
    workers: int = 1,
    limits: Limits = Limits(),  # noqa: B008  frozen
    progress: Progress = lambda _: None,
) -> BuildReport:
    """Makes the OMOP CDM at `database` equal to all that was ever received, the sources included, in one transaction.

    Files that came before are not read again; `anew` forgets what came before. A site's resources are known by site,
    type and id: the newest version counts, whichever file brought it.
    `vocabulary` are Athena folders; the vocabulary that comes with blina is always added. Raises BlinaError's kinds;
    bad files and resources never raise, they are counted and written to `rejects`.
    """
    if not settings.key:
        raise SettingsError("no key for the ids: set instance.key in the settings file, or BLINA_KEY")
    clock = _Clock(progress)
    run_id = new_run_id()
    home = home_of(database, settings.landed)
    place = home.landed
    sites = tuple(dict.fromkeys([*(source.site for source in sources), *([] if anew else sites_received(place))]))
    with clock("check mappings"):
        rules = load_mappings(mappings or default_mappings(), settings.policies)
        stages = compile_mappings(rules, sites)
    with open_store(database, run_id=run_id) as store, _work_folder(home) as folder, _work_database(folder) as work:
        with RejectWriter(rejects or folder / "rejects", settings.key) as writer:
            with clock("land"):
                earlier = open_received(place, store.run_ids())
                before = earlier.forgotten() if anew else earlier
                new = before.unknown(sources)
                fresh = land(new, folder / "landed", set(rules.base), limits, writer, before.next_number, workers)
                fresh = _without_the_withdrawn(fresh, home, settings)
                landed = keep(before, run_id, fresh).landed
            create_work_schema(work)
            with clock("load vocabulary"):
                release = load_vocabulary(work, [*vocabulary, shipped_folder()])
                code_maps = load_code_maps(work, rules.folder, sites)
                work.execute("INSERT INTO out.source_to_concept_map BY NAME FROM vocab.source_to_concept_map")
            run = Run(
                version("blina"),
                rules.sha,
                settings_hash(settings),
                release.version,
                run_id=run_id,
                policies={**rules.policies, "received": "anew" if anew or not before.runs else "added"},
            )
            insert_frame(work, "led.file", landed.files)
            with clock("transform"):
                done = transform(work, stages, landed, rules, settings, progress)
            _write_late_rejects(work, writer)
        with clock("derive"):
            _derive(work, settings, run, sites, done.data_until)
        counts = _all_counts(work, landed, done)
        with clock("store"):
            written = store.replace(work, run)
        if anew:
            forget(earlier.runs)
        return _report(work, run, counts, written, clock.seconds, fresh, done, code_maps, rejects)


class _Clock:
    """Seconds by stage, and the progress lines."""

    def __init__(self, progress: Progress) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self._progress(stage)
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started


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


@contextmanager
def _work_folder(home: Home) -> Iterator[Path]:
    """A private folder for what a run needs only while it works; removed at the end, and those that killed runs left.

    Call it under the lock of the database.
    """
    home.claim()
    beside = home.folder.resolve()
    try:
        disk.clear(beside, home.work_prefix)
        folder = Path(tempfile.mkdtemp(prefix=home.work_prefix, dir=beside))
    except OSError as error:
        raise CdmError(f"{beside}: no work folder can be made here ({error.strerror})") from None
    try:
        with disk.room(beside):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _work_database(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect(str(folder / "work.duckdb"))
    try:
        connection.execute(f"SET temp_directory = '{folder / 'spill'}'")
        connection.execute("SET preserve_insertion_order = false")
        connection.execute("SET TimeZone = 'UTC'")
        yield connection
    finally:
        connection.close()


def _all_counts(work: duckdb.DuckDBPyConnection, landed: Landed, done: Transformed) -> pl.DataFrame:
    """The fate of every landed resource: refused or left aside at landing, and by the mapping."""
    early = landed.counts.filter(pl.col("outcome") != "landed").select(COUNT_COLUMNS)
    late = done.outcomes.select(COUNT_COLUMNS).with_columns(pl.col("n").cast(early.schema["n"]))
    counts = pl.concat([early, late], how="vertical_relaxed").group_by(COUNT_COLUMNS[:-1]).agg(pl.col("n").sum())
    counts = counts.sort(COUNT_COLUMNS[:-1])
    insert_frame(work, "led.count", counts)
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


def _derive(work: duckdb.DuckDBPyConnection, settings: Settings, run: Run, sites: Sequence[str], until: date) -> None:
    derive_observation_periods(work, key=settings.key, extraction_date=until)
    derive_condition_eras(work, key=settings.key)
    derive_drug_eras(work, key=settings.key)
    write_cdm_source(
        work, settings, vocabulary_version=run.vocabulary_release or "", software_version=run.software_version,
        mapping_sha=run.mapping_sha, source_release_date=until, cdm_release_date=until, sites=sites,
    )  # fmt: skip


def _rejected_now(work: duckdb.DuckDBPyConnection, fresh: Landed) -> int:
    """Resources and files of this run that were refused, at landing or by the mapping."""
    if fresh.files.is_empty():
        return 0
    early = fresh.counts.filter(pl.col("outcome") == "rejected")["n"].sum()
    late = work.execute(
        "SELECT count(*) FROM led.resource WHERE outcome = 'rejected' AND file >= ?", [fresh.files["file"].min()]
    ).fetchone()
    return int(early) + (int(late[0]) if late else 0)


def _report(
    work: duckdb.DuckDBPyConnection, run: Run, counts: pl.DataFrame, written: Sequence[Written],
    seconds: dict[str, float], landed: Landed, done: Transformed, code_maps: CodeMaps, rejects: Path | None,
) -> BuildReport:  # fmt: skip
    unmapped = work.execute(
        "SELECT count(*) FROM (SELECT DISTINCT site, source_vocabulary_id, source_code FROM lin.unmapped)"
    )
    found = unmapped.fetchone()
    return BuildReport(
        run_id=run.run_id,
        counts=counts,
        rows={one.table: one.rows for one in written if one.schema == "cdm" and one.rows},
        changed_tables=tuple(f"{one.schema}.{one.table}" for one in written if one.replaced),
        seconds=seconds,
        files=landed.files.height,
        bytes=int(landed.files["bytes"].sum() or 0),
        rejected_now=_rejected_now(work, landed),
        standard_share=standard_share(work),
        unmapped=int(found[0]) if found else 0,
        vocabulary_warnings=tuple(preflight(work)),
        unresolved_codes=tuple(str(one) for one in code_maps.unresolved),
        incomplete_rows=done.incomplete_rows,
        reversed_ends=done.reversed_ends,
        noted=done.noted,
        unresolved_references=sums(
            [(f"{kind}.{element}", n) for _, kind, element, n in done.unresolved_references.iter_rows()]
        ),
        decoded=dict(landed.files.drop_nulls("decoded_from").group_by("decoded_from").len().iter_rows()),
        rejects=rejects,
        vocabulary_release=run.vocabulary_release or "",
        mapping_sha=run.mapping_sha,
    )
