"""The command line. Heavy libraries are imported inside the command that needs them: `--help` must be quick."""

import flows.quiet  # noqa: F401  telemetry off, before any library is imported

# isort: split

import sys
from pathlib import Path
from typing import Annotated

import typer

from etl.errors import BlinaError, SourceError
from flows import cli_mappings, cli_store, cli_study, data_manager
from flows.console import explain, progress, say, show, show_json, speak_utf8
from flows.options import Database, Json, LandedFolder
from flows.stopping import Stopped, stoppable

app = typer.Typer(
    name="blina",
    help="Hospital FHIR R4 to the outcomes of blinatumomab treatment, on the OMOP CDM 5.4.",
    epilog="Exit codes: 0 done, 2 usage, 10 settings, 11 mapping, 12 FHIR input (or something was rejected), "
    "13 vocabulary, 14 OMOP database, 15 quality gate, 16 study, 17 locked by another run, 18 network, "
    "130 Ctrl-C, 143 SIGTERM, 1 an error of blina's own.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(cli_study.study_app, name="study")
app.add_typer(cli_mappings.mappings_app, name="mappings")
app.add_typer(data_manager.vocabulary_app, name="vocabulary")
app.command("quality")(cli_study.quality)
app.command("explain")(data_manager.explain)
cli_store.register(app)
cli_mappings.mappings_app.command("accept")(data_manager.accept)


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show whole tracebacks. They may hold values of patients.")
    ] = False,
) -> None:
    """Options of every command."""


@app.command()
def build(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="FHIR files or folders.")],
    db: Database,
    vocabulary: Annotated[
        list[Path] | None, typer.Option(help="Folder of an Athena download; may be given again.")
    ] = None,
    site: Annotated[str | None, typer.Option(help="The site all paths belong to.")] = None,
    settings: Annotated[Path | None, typer.Option(help="Settings file; default: blina.yaml in the folder.")] = None,
    mappings: Annotated[Path | None, typer.Option(help="Mappings folder; default: the one of blina.")] = None,
    rejects: Annotated[Path | None, typer.Option(help="Folder for the list of what was rejected.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that read, and threads that compute.")] = 1,
    cluster: Annotated[str | None, typer.Option(help="Address of a Dask scheduler whose workers read.")] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Compute everything, not only what the files touch.")] = False,
    landed: LandedFolder = None,
    anew: Annotated[bool, typer.Option("--anew", help="Forget everything received before.")] = False,
    accept_rejects: Annotated[bool, typer.Option("--accept-rejects", help="Exit code 0 despite rejects.")] = False,
    as_json: Json = False,
) -> None:
    """Makes the OMOP CDM equal to all FHIR received so far, these files included, in one transaction.

    A file or entry that cannot be read is rejected with a reason and never stops the rest. When something was rejected,
    everything else is loaded and committed, and the exit code is 12 (0 with --accept-rejects). Without --site, a folder
    that holds the sites' folders of the settings means all of them.
    """
    from etl.pipeline import STEPS
    from etl.pipeline import build as build_database
    from flows.instance import find_instance
    from flows.words import build_words

    instance = find_instance(paths, site=site, settings=settings, database=db, landed=landed)
    for note in instance.notes:
        say(f"blina: {note}")
    with progress("build", STEPS) as stage:
        report = build_database(
            instance.sources, database=db, settings=instance.settings, vocabulary=vocabulary or [],
            mappings=mappings, rejects=rejects, anew=anew, whole=whole, workers=workers,
            cluster=cluster, progress=stage,
        )  # fmt: skip
    if as_json:
        show_json(report.as_dict())
    else:
        show(build_words(report))
    if report.rejected_now and not accept_rejects:
        say(f"blina: {report.rejected_now:,} rejected, the rest is loaded (exit code {SourceError.exit_code})")
        raise typer.Exit(SourceError.exit_code)


@app.command()
def demo(
    to: Annotated[Path, typer.Option(help="Folder for the database, the reports and the results.")] = Path("demo"),
    as_json: Json = False,
) -> None:
    """Builds four invented hospitals, checks them, runs the study; prints where the report is."""
    from flows.demo import STEPS, run_demo
    from flows.words import build_words

    with progress("demo", STEPS) as stage:
        done = run_demo(to, stage)
    if as_json:
        show_json(done.as_dict())
    else:
        show(build_words(done.build))
        show("")
        show(done.words())


@app.command()
def doctor(
    db: Annotated[str | None, typer.Option(help="Also look at this database.")] = None,
    vocabulary: Annotated[Path | None, typer.Option(help="Also look at this Athena folder.")] = None,
    as_json: Json = False,
) -> None:
    """Looks whether this machine can run blina: Python, libraries, database, disk, vocabulary, telemetry, browser."""
    from flows.doctor import examine

    findings = examine(db, vocabulary)
    if as_json:
        show_json({"ok": all(one.ok for one in findings), "findings": [vars(one) for one in findings]})
    else:
        for one in findings:
            show(f"{'ok   ' if one.ok else 'wrong'}  {one.what}: {one.detail}")
    for one in findings:
        if not one.ok:
            raise typer.Exit(one.exit_code)


@app.command()
def version() -> None:
    """Prints the version."""
    from importlib.metadata import version as installed

    show(f"blina {installed('blina')}")


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and ends the process with the exit code of `etl.errors`."""
    if arguments is None:
        speak_utf8()
    given = sys.argv[1:] if arguments is None else arguments
    with stoppable() as stop:
        try:
            app(args=given, prog_name="blina")
        except (Exception, Stopped) as error:
            if stop.signal is None and "--debug" in given and not isinstance(error, BlinaError):
                raise
            message, code = (stop.words(), stop.exit_code) if stop.signal else explain(error)
            say(message)
            if "--json" in given:
                kind = "Stopped" if stop.signal else type(error).__name__
                show_json({"error": kind, "exit_code": code, "message": message.removeprefix("blina: ")})
            sys.exit(code)


if __name__ == "__main__":
    main()
