"""The study as one function that reads like the picture, without Prefect: check, derive, analyse, compare, write.

CDM → quality gate → can it answer? → courses, outcomes → statistics → published beside computed → files, report
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path

import polars as pl

from analytics import (
    Derived,
    Study,
    StudyCheck,
    check_study,
    derive,
    derive_variants,
    episode_tables,
    load_study,
    open_cdm,
    results_tables,
)
from analytics.cdm import Cdm
from analytics.report import ReportMeta, write_report
from analytics.report.landing import landing_table
from analytics.results import all_results, summarised_result, write_results
from etl.errors import CdmError, QualityGateError, StudyError
from etl.quality import Verdict, assure
from etl.settings import Settings
from etl.store import new_run_id, open_store
from flows.results_store import checkable, is_ours, keep_results, last_counts, last_run, person_sources

Progress = Callable[[str], None]
STUDY_STEPS = ("check the study", "derive courses and outcomes", "analyse", "write results", "write the report")
"""The stages that `run_study` announces, in order."""


@dataclass(frozen=True)
class StudyRun:
    """What a run of the study left: counts, and where its files are."""

    run_id: str
    report: Path
    results: Path
    patients: int
    courses: int
    matches: dict[str, int]
    warnings: tuple[str, ...]
    stored: bool

    def as_dict(self) -> dict[str, object]:
        """For `--json`: run id, paths, numbers of patients and courses, published values by match."""
        return {
            "run_id": self.run_id,
            "report": str(self.report),
            "results": str(self.results),
            "patients": self.patients,
            "courses": self.courses,
            "published_vs_computed": self.matches,
            "warnings": list(self.warnings),
            "stored_in_database": self.stored,
        }

    def words(self) -> str:
        """The counts and the path of the report, which stands last."""
        matches = ", ".join(f"{n} {match}" for match, n in self.matches.items())
        lines = [f"note: {warning}" for warning in self.warnings]
        if not self.stored:
            lines.append("blina did not build this database: results are in files only, nothing was written to it")
        lines += [
            f"{self.patients:,} patients, {self.courses:,} courses; equal to the published value: {matches}",
            f"report: {self.report}",
        ]
        return "\n".join(lines)


def check_quality(database: str, *, json_path: Path, html_path: Path, title: str, run_id: str = "") -> Verdict:
    """The verdict on a CDM; its reports are written, its outcome stands in the ledger.

    Raises QualityGateError when the gate is shut (after writing everything), CdmError, LockError.
    """
    run = run_id or last_run(database).get("run_id", "")
    if not run:  # no build in a ledger to remember the outcome: someone else's CDM is read, not written
        none = new_run_id()
        return assure(database, none, json_path=json_path, html_path=html_path, title=title, results_schema=None)
    with open_store(database, run_id=run) as store, checkable(database, store) as place:
        try:
            verdict = assure(place, run, json_path=json_path, html_path=html_path, title=title)
        except QualityGateError:
            store.record_outcome(run, "refused by the quality gate")
            raise
        store.record_outcome(run, "passed the quality gate")
    return verdict


def ask_study(database: str, study: str | Path = "blinatumomab") -> StudyCheck:
    """Whether the CDM can answer the study. Raises CdmError and StudyError."""
    with open_cdm(database) as cdm:
        return check_study(cdm, load_study(study))


def run_study(
    database: str,
    out: Path,
    *,
    report: Path | None = None,
    study: str | Path = "blinatumomab",
    settings: Settings | None = None,
    synthetic: bool | None = None,
    progress: Progress = lambda _: None,
) -> StudyRun:
    """Runs the study on a CDM and leaves files in `out`, the report, and (in a database of blina's) results tables.

    `report`: where the page goes, by default `out`/report.html. `settings` give data lock and decimal separators.
    `synthetic` None: what the settings say, else the CDM's own name. Raises StudyError when the CDM cannot answer,
    CdmError, LockError.
    """
    plan = load_study(study)
    plan = plan.for_settings(settings) if settings else plan
    run = last_run(database)
    with open_cdm(database) as cdm:
        progress("check the study")
        warnings = _answerable(check_study(cdm, plan))
        progress("derive courses and outcomes")
        derived = derive(cdm, plan)
        variants = derive_variants(cdm, plan)
        source = _described(cdm)
    # A server lets a build commit between two of our queries (to hold a snapshot would make the build wait for us).
    if last_run(database) != run:
        raise CdmError("a build ended while the study read the database; run the study again")
    progress("analyse")
    tables = all_results(derived, plan, variants=variants)
    invented = _is_synthetic(synthetic, settings, source)
    progress("write results")
    run_id = run.get("run_id") or new_run_id()
    _write_tables(out, tables, source.name, synthetic=invented)
    _write_rows(out, derived, person_sources(database))
    stored = is_ours(database)
    if stored:
        stored_tables = results_tables(derived) | {"study_result": summarised_result(tables, source.name)}
        keep_results(database, run_id, stored_tables, episode_tables(derived))
    progress("write the report")
    meta = _meta(plan, derived, source, {**run, "run_id": run_id}, synthetic=invented)
    shown = {**tables, "counters": derived.counters}
    counts = last_counts(database)
    if counts.height:
        shown["landing"] = landing_table(counts)
    page = write_report(shown, meta, report or out / "report.html")
    matches = dict(tables["published_vs_computed"].group_by("match").len().sort("match", descending=True).iter_rows())
    return StudyRun(run_id, page, out, derived.patients.height, derived.courses.height, matches, warnings, stored)


def _answerable(check: StudyCheck) -> tuple[str, ...]:
    """The warnings; raises StudyError with every line that is missing."""
    lines = [
        f"{name}: {detail or n}" for name, _, n, detail in check.lines.filter(pl.col("status") != "ok").iter_rows()
    ]
    if not check.can_answer:
        raise StudyError("this CDM cannot answer the study", problems=lines)
    return tuple(lines)


@dataclass(frozen=True)
class _Source:
    """What the CDM says of itself in cdm_source."""

    name: str
    released: date | None
    vocabulary: str


def _described(cdm: Cdm) -> _Source:
    columns = ["cdm_source_name", "source_release_date", "vocabulary_version"]
    rows = cdm.read("cdm_source", columns)
    name, released, vocabulary = rows.row(0) if rows.height else (None, None, None)
    return _Source(name or "CDM without a name", released, vocabulary or "")


def _is_synthetic(chosen: bool | None, settings: Settings | None, source: _Source) -> bool:
    if chosen is not None:
        return chosen
    return bool(settings and settings.synthetic) or "synthetic" in source.name.lower()


def _write_tables(out: Path, tables: Mapping[str, pl.DataFrame], cdm_name: str, *, synthetic: bool) -> None:
    written = write_results(tables, out, cdm_name=cdm_name, synthetic=synthetic)
    for path in written:
        # Scripts rely on the same names whatever the data; the page and results.json say that it is synthetic.
        path.replace(path.with_name(path.name.removeprefix("synthetic_")))


def _write_rows(out: Path, derived: Derived, persons: pl.DataFrame) -> None:
    """patients.* and courses.*, a row each, with the FHIR id where there is lineage: never to leave the hospital."""
    keys = {"patients": ["person_id"], "courses": ["person_id", "course_no"]}
    for name, frame in (("patients", derived.patients), ("courses", derived.courses)):
        traced = frame.join(persons, on="person_id", how="left").select("fhir_id", pl.all().exclude("fhir_id"))
        # An empty text and nothing are the same to a reader of the CSV file, so they are in the Parquet file too.
        traced = traced.with_columns(pl.col(pl.String).replace("", None)).sort(keys[name])
        traced.write_parquet(out / f"{name}.parquet")
        traced.write_csv(out / f"{name}.csv")


def _meta(study: Study, derived: Derived, source: _Source, run: Mapping[str, str], *, synthetic: bool) -> ReportMeta:
    lock = study.get("data_lock.date")
    return ReportMeta(
        synthetic=synthetic,
        run_id=run.get("run_id", ""),
        study_version=f"{study.name} {study.version}",
        software=f"blina {version('blina')}",
        vocabulary_release=source.vocabulary,
        mapping_sha=run.get("mapping_sha", ""),
        param_hash=derived.param_hash,
        cdm_name=source.name,
        data_lock=lock if isinstance(lock, date) else source.released,
        created=datetime.now(UTC).replace(microsecond=0),
        definitions={name: parameter.text for name, parameter in study.parameters.items()},
    )
