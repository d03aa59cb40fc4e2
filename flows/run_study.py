"""The study as a Prefect flow: quality gate, then `flows.study_run.run_study`. Prefect sees paths and counts only."""

import flows.quiet  # noqa: F401  telemetry off, before any library is imported

# isort: split
from pathlib import Path
from typing import Any

from prefect import State, Task, flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun

from flows.build_cdm import check_database
from flows.shielded import FlowLockedError, shielded


async def _is_locked(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether the task failed because another run held the database; nothing else gets better by waiting."""
    return isinstance(await state.aresult(raise_on_failure=False), FlowLockedError)


# Safe to try again: it reads the CDM, and what it writes it replaces in one transaction.
@task(
    cache_policy=NO_CACHE, persist_result=False, log_prints=False,
    retries=3, retry_delay_seconds=300, retry_condition_fn=_is_locked,
)  # fmt: skip
def analyse_database(database: str, out: str, report: str | None, study: str, settings: str | None) -> dict[str, Any]:
    """Numbers of patients and courses, published values by match, and where the report is."""
    with shielded():
        from etl.settings import load_settings
        from etl.store.place import refuse_password
        from flows.study_run import run_study as run

        refuse_password(database)
        done = run(
            database, Path(out), report=Path(report) if report else None, study=study,
            settings=load_settings(Path(settings)) if settings else None, progress=get_run_logger().info,
        )  # fmt: skip
    return done.as_dict()


@flow(name="run_study", persist_result=False, retries=0, log_prints=False, validate_parameters=True)
def run_study(
    database: str,
    out: str,
    report: str | None = None,
    study: str = "blinatumomab",
    settings: str | None = None,
    check_first: bool = True,
) -> dict[str, Any]:
    """Quality gate, courses, outcomes, statistics, report; gives back counts and paths."""
    log = get_run_logger()
    if check_first:
        checks = check_database(database, out, "")
        log.info("quality: %s", ", ".join(f"{n} {status}" for status, n in checks.items()))
    done = analyse_database(database, out, report, study, settings)
    log.info("%d patients, %d courses", done["patients"], done["courses"])
    return done
