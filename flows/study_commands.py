"""`blina study compare`, `blina study assure`, `blina study export`: for those who work on the definitions."""

from pathlib import Path
from typing import Annotated

import typer

from etl.errors import StudyError, UsageError
from flows.console import say, show, show_json
from flows.options import Database, Json


def register(study_app: typer.Typer) -> None:
    """Adds the commands to `blina study`."""
    study_app.command("compare")(compare)
    study_app.command("assure")(assure)
    study_app.command("export")(export)


def compare(
    a: Annotated[str, typer.Argument(help="A study: its name, its folder, or a YAML file (it may extend another).")],
    b: Annotated[str, typer.Argument(help="The study to lay beside it.")],
    db: Database,
    out: Annotated[Path | None, typer.Option(help="Folder for compare.csv, compare.parquet and compare.html.")] = None,
    settings: Annotated[
        Path | None,
        typer.Option(help="Settings, as given to `blina study run`: data lock, time zones, decimal separators."),
    ] = None,
    everything: Annotated[bool, typer.Option("--everything", help="Also show what does not differ.")] = False,
    as_json: Json = False,
) -> None:
    """What a changed definition does to attrition and to every estimate; only what differs is shown."""
    from analytics import compare_studies, load_study, open_cdm
    from etl.settings import load_settings

    studies = load_study(a), load_study(b)
    if settings is not None:
        instance = load_settings(settings)
        studies = studies[0].for_settings(instance), studies[1].for_settings(instance)
    with open_cdm(db) as cdm:
        found = compare_studies(cdm, *studies, everything=everything)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        found.rows.write_csv(out / "compare.csv")
        found.rows.write_parquet(out / "compare.parquet")
        (out / "compare.html").write_text(found.html(), encoding="utf-8")
    if as_json:
        names = ("definitions", "moved", "rows")
        show_json({"a": found.name_a, "b": found.name_b, **{name: getattr(found, name).to_dicts() for name in names}})
        return
    show(found.text())
    if out is not None:
        say(f"written: {out / 'compare.html'}")


def assure(
    study: Annotated[str, typer.Argument(help="A study: its name, its folder, or a YAML file.")] = "blinatumomab",
    examples: Annotated[Path | None, typer.Option(help="Another folder of examples.")] = None,
    as_json: Json = False,
) -> None:
    """Runs the study's own examples: invented children and what must come out; exit code 16 when a value differs."""
    from analytics import load_study
    from analytics.assure import assure as run_examples

    if examples is not None and not examples.is_dir():
        raise UsageError(f"{examples}: no such folder")
    found = run_examples(load_study(study), examples)
    if as_json:
        show_json({"holds": found.holds, "values": found.lines.to_dicts()})
    else:
        show(found.words())
    if not found.holds:
        raise typer.Exit(StudyError.exit_code)


def export(
    results: Annotated[Path, typer.Argument(help="Folder of the result tables (of `blina study run --out`).")],
    out: Annotated[Path, typer.Option(help="Folder for the tables.")],
    docx: Annotated[bool, typer.Option("--docx", help="One Word document: tables, footnotes, figures.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="One LaTeX file per table; the default.")] = False,
    html: Annotated[bool, typer.Option("--html", help="One HTML fragment per table.")] = False,
    csv: Annotated[
        bool, typer.Option("--csv", help="CSV and JSON to share: all tables, the definitions and their hash.")
    ] = False,
    min_cell_count: Annotated[int, typer.Option(min=0, help="Hide counts below this and what gives them away.")] = 0,
) -> None:
    """Writes the result tables for a manuscript, or to share. Tables with rows of single persons are left out."""
    from analytics.exports import export_tables, read_meta, read_tables

    tables, meta = read_tables(results), read_meta(results)
    chosen = {"docx": docx, "latex": latex or not (docx or html or csv), "html": html, "csv": csv}
    if csv and min_cell_count <= 1:
        say("note: no small count is hidden; --min-cell-count 5 hides counts below 5 and what gives them away")
    for form in (name for name, wanted in chosen.items() if wanted):
        written = export_tables(tables, out, form, meta=meta, min_cell_count=min_cell_count)
        show(
            str(written[0])
            if form == "docx"
            else f"{len(written)} {form} {'files' if form == 'csv' else 'tables'}: {out}"
        )
