"""`blina quality` and `blina study …`."""

from pathlib import Path
from typing import Annotated

import typer

from etl.errors import StudyError, UsageError
from flows import study_commands
from flows.console import progress, say, show, show_json, table
from flows.options import Database, Json

study_app = typer.Typer(help="The study on an OMOP CDM.", no_args_is_help=True)
study_commands.register(study_app)
StudyFile = Annotated[
    Path | None, typer.Option("--study", help="Folder of a study, or its study.yaml; default: blina's own.")
]


def quality(
    db: Database,
    json_file: Annotated[
        Path | None, typer.Option(help="Where quality.json goes; default: beside the file (PostgreSQL: here).")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Where the page goes; default: beside the file (PostgreSQL: here).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Counts the checks, judges them, writes quality.json and a page; exit code 15 when the gate is shut."""
    from etl.store.place import beside, name_of
    from flows.study_run import check_quality

    json_path, html_path = json_file or beside(db) / "quality.json", html or beside(db) / "quality.html"
    with progress("quality", ("check",)) as stage:
        stage("check")
        verdict = check_quality(db, json_path=json_path, html_path=html_path, title=f"Quality of {name_of(db)}")
    score = verdict.overall
    if as_json:
        show_json(
            {
                "gate": "open",
                "checks": score.total,
                "passed": score.passed,
                "failed": list(verdict.failed),
                "errors": list(verdict.errors),
                "not_applicable": score.not_applicable,
                "json": str(json_path),
                "html": str(html_path),
            }
        )
        return
    show(
        f"{score.total:,} checks: {score.passed:,} passed, {score.failed:,} failed, "
        f"{score.not_applicable:,} not applicable"
    )
    show(f"the gate is open; page: {html_path}, all counts: {json_path}")


@study_app.command("run")
def run(
    db: Database,
    out: Annotated[Path, typer.Option(help="Folder for the result tables and the report.")],
    study: StudyFile = None,
    settings: Annotated[Path | None, typer.Option(help="Settings: data lock, time zones, decimal separators.")] = None,
    skip_quality: Annotated[bool, typer.Option("--skip-quality", help="Run although nobody checked the CDM.")] = False,
    synthetic: Annotated[
        bool | None,
        typer.Option("--synthetic/--real", help="Whether the patients are invented; default: the CDM's name says."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Quality gate, then courses, outcomes, statistics, result tables and the report; a shut gate ends with 15."""
    from etl.settings import load_settings
    from flows.study_run import STUDY_STEPS, check_quality, run_study

    with progress("study", ("check the quality", *STUDY_STEPS)) as stage:
        if not skip_quality:
            stage("check the quality")
            check_quality(
                db,
                json_path=out / "quality.json",
                html_path=out / "quality.html",
                title="Quality of the CDM before the study",
            )
        done = run_study(
            db, out, study=_study(study), settings=load_settings(settings) if settings else None, synthetic=synthetic,
            progress=stage,
        )  # fmt: skip
    if as_json:
        show_json(done.as_dict())
        return
    show(done.words())


@study_app.command("check")
def check(db: Database, study: StudyFile = None, as_json: Json = False) -> None:
    """Whether the CDM can answer the study: what is there, what is missing and what that costs; exit code 16 if not."""
    from flows.study_run import ask_study

    found = ask_study(db, _study(study))
    if as_json:
        show_json({"can_answer": found.can_answer, "checks": found.lines.to_dicts()})
    else:
        rows = [(name, status, "" if n is None else n, detail) for name, status, n, detail in found.lines.iter_rows()]
        show(table(("check", "status", "n", "detail"), rows))
        say("the CDM can answer the study" if found.can_answer else "the CDM cannot answer the study")
    if not found.can_answer:
        raise typer.Exit(StudyError.exit_code)


def _study(given: Path | None) -> str | Path:
    if given is None:
        return "blinatumomab"
    if not given.exists():
        raise UsageError(f"{given}: no such study folder or file")
    return given
