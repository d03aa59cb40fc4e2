"""The build as a Prefect flow: `etl.pipeline.build`, then the quality gate. Prefect sees paths and counts only.

Nothing is cached, persisted or retried: the build replaces the CDM in one transaction, so the next night's run is the
retry, and a gate that refused would refuse again.
"""

import flows.quiet  # noqa: F401  telemetry off, before any library is imported

# isort: split
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows.shielded import shielded


@task(cache_policy=NO_CACHE, persist_result=False, retries=0, log_prints=False)
def build_database(
    paths: list[str], database: str, settings: str | None, site: str | None, vocabulary: list[str],
    rejects: str | None, workers: int,
) -> dict[str, Any]:  # fmt: skip
    """Run id, totals, rows by table and seconds by stage of the build."""
    with shielded():
        from etl.pipeline import build
        from etl.store.place import refuse_password
        from flows.instance import find_instance

        refuse_password(database)
        instance = find_instance(
            [Path(path) for path in paths], site=site, settings=Path(settings) if settings else None, database=database
        )
        for note in instance.notes:
            get_run_logger().info(note)
        report = build(
            instance.sources, database=database, settings=instance.settings,
            vocabulary=[Path(folder) for folder in vocabulary], rejects=Path(rejects) if rejects else None,
            workers=workers, progress=get_run_logger().info,
        )  # fmt: skip
    return {
        "run_id": report.run_id, "totals": report.totals, "rejected_now": report.rejected_now, "rows": report.rows,
        "seconds": report.seconds,
    }  # fmt: skip


@task(cache_policy=NO_CACHE, persist_result=False, retries=0, log_prints=False)
def check_database(database: str, reports: str, run_id: str) -> dict[str, int]:
    """Checks by outcome; fails when the gate is shut."""
    with shielded():
        from etl.store.place import refuse_password
        from flows.study_run import check_quality

        refuse_password(database)
        folder = Path(reports)
        verdict = check_quality(
            database, json_path=folder / "quality.json", html_path=folder / "quality.html", title="Quality of the CDM",
            run_id=run_id,
        )  # fmt: skip
    score = verdict.overall
    return {"passed": score.passed, "failed": score.failed, "not_applicable": score.not_applicable}


@flow(name="build_cdm", persist_result=False, retries=0, log_prints=False, validate_parameters=True)
def build_cdm(
    paths: list[str],
    database: str,
    reports: str,
    settings: str | None = None,
    site: str | None = None,
    vocabulary: list[str] | None = None,
    rejects: str | None = None,
    workers: int = 1,
    accept_rejects: bool = False,
) -> dict[str, Any]:
    """Builds the OMOP CDM from FHIR and checks it; gives back counts.

    Fails after the data are committed and checked when something of this run was rejected, unless `accept_rejects`.
    """
    log = get_run_logger()
    built = build_database(paths, database, settings, site, vocabulary or [], rejects, workers)
    totals = built["totals"]
    log.info("run %s: %s", built["run_id"], ", ".join(f"{n} {outcome}" for outcome, n in totals.items()))
    checks = check_database(database, reports, built["run_id"])
    log.info("quality: %s", ", ".join(f"{n} {status}" for status, n in checks.items()))
    rejected = built["rejected_now"]
    if rejected and not accept_rejects:
        with shielded():
            from etl.errors import SourceError

            raise SourceError(f"{rejected} resources or files were rejected; everything else is loaded")
    return {**built, "checks": checks}
