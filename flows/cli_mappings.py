"""`blina mappings …`: for the data manager who owns the mapping files."""

from pathlib import Path
from typing import Annotated

import typer

from flows.console import say, show, show_json, table
from flows.options import Database, Json

mappings_app = typer.Typer(help="Check and read the mapping files.", no_args_is_help=True)
Folder = Annotated[Path | None, typer.Option("--mappings", help="Mappings folder; default: the one of blina.")]


@mappings_app.command("check")
def check(
    folder: Folder = None,
    vocabulary: Annotated[
        list[Path] | None, typer.Option(help="Folder of an Athena download that code maps point into.")
    ] = None,
) -> None:
    """Refuses mappings that cannot be right, all faults at once, with file and line (exit code 11)."""
    import duckdb

    from etl.mapping.checker import check_mappings
    from etl.pipeline import default_mappings
    from etl.vocabulary import load_vocabulary, shipped_folder

    chosen = folder or default_mappings()
    if vocabulary:
        with duckdb.connect() as connection:
            load_vocabulary(connection, [*vocabulary, shipped_folder()])
            check_mappings(chosen, connection)
    else:
        check_mappings(chosen)
    show(f"{chosen}: no fault found")


@mappings_app.command("show")
def show_one(
    resource: Annotated[str, typer.Argument(help="A FHIR resource type, e.g. Observation.")],
    site: Annotated[str | None, typer.Option(help="As it holds for this site.")] = None,
    folder: Folder = None,
) -> None:
    """Prints the mapping of a resource type, each line with the file it comes from."""
    from etl.mapping.compare import show_mapping

    show(show_mapping(resource, site, folder))


@mappings_app.command("diff")
def diff(
    before: Annotated[Path, typer.Argument(help="A mappings folder.")],
    after: Annotated[Path, typer.Argument(help="Another mappings folder.")],
) -> None:
    """Prints what differs between two mappings folders, by file and key."""
    from etl.mapping.compare import diff_mappings

    for line in diff_mappings(before, after):
        show(line)


@mappings_app.command("worklist")
def worklist(
    db: Database,
    site: Annotated[str | None, typer.Option(help="Only this site.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write a CSV for Usagi, with candidate concepts and the words without a code.")
    ] = None,
    rare_texts: Annotated[bool, typer.Option("--rare-texts", help="Also result texts that came only once.")] = False,
    folder: Folder = None,
    as_json: Json = False,
) -> None:
    """Lists the source codes without a standard concept, the most frequent first.

    Texts that stand in place of a code are not printed (they may be free text); the CSV of --out has those that are
    words and no single patient's result. `blina mappings accept` takes the reviewed CSV back.
    """
    if out is not None:
        from flows.data_manager import write_worklist

        write_worklist(db, out, site, folder, rare_texts)
        return
    from flows.worklist import unmapped_codes

    found = unmapped_codes(db, site)
    if as_json:
        show_json({"codes": found.codes.to_dicts(), "texts_not_shown": found.texts})
        return
    if found.codes.is_empty():
        show("every code has a standard concept")
    else:
        show(table(("site", "resource type", "vocabulary", "code", "rows"), found.codes.rows()))
    if found.texts:
        say(
            f"blina: {found.texts:,} texts without a code are not shown; --out FILE has those that are no single result"
        )
