"""`blina explain`, `blina vocabulary …`, `blina mappings accept`: the tools of the data manager."""

from pathlib import Path
from typing import Annotated

import typer

from flows.console import say, show, show_json, table
from flows.options import Database, Json

vocabulary_app = typer.Typer(
    help="Look at an Athena download, or cut it to what this site needs.", no_args_is_help=True
)
Folder = Annotated[Path | None, typer.Option("--mappings", help="Mappings folder; default: the one of blina.")]
Athena = Annotated[list[Path], typer.Option("--vocabulary", help="Folder of an Athena download; may be given again.")]


def explain(
    table_name: Annotated[
        str, typer.Argument(metavar="TABLE", help="A CDM table, e.g. measurement; or the word course.")
    ],
    row_id: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="The row's id (of a death: the person's); a course's number from 1, or its episode_id."
        ),
    ],
    db: Database,
    values: Annotated[
        bool, typer.Option("--values", help="Also print the row's values and the FHIR id: data of a patient.")
    ] = False,
    folder: Folder = None,
) -> None:
    """Says where a row of the CDM comes from: resource, rule of each column in words, chain of concepts."""
    if table_name == "course":
        from analytics import load_study, open_cdm
        from analytics.explain import explain_course
        from etl.errors import CdmError
        from flows.results_store import is_ours, read_table

        study = load_study()
        if is_ours(db):
            # the definitions of the run whose results stand in the database, settings and changes included
            try:
                study = study.as_recorded(read_table(db, "results", "study_parameter"))
            except CdmError:
                say("blina: no results of a study can be read there; blina's own definitions explain the course")
        with open_cdm(db) as cdm:
            say(explain_course(cdm, study, row_id, values=values))
        return
    from etl.explain import explain_row

    show(explain_row(db, table_name, row_id, folder, values=values))


def accept(
    reviewed: Annotated[Path, typer.Argument(metavar="FILE", help="The worklist, reviewed and saved by Usagi.")],
    site: Annotated[str, typer.Option(help="The site whose code map takes the approved rows.")],
    db: Annotated[str | None, typer.Option("--db", help="Look the targets up in this database's vocabulary.")] = None,
    vocabulary: Annotated[
        list[Path] | None, typer.Option(help="... or in this folder of an Athena download; may be given again.")
    ] = None,
    reviewer: Annotated[str, typer.Option(help="Who reviewed, where the file does not say.")] = "",
    folder: Folder = None,
    as_json: Json = False,
) -> None:
    """Takes the APPROVED rows of a reviewed worklist into the site's code map.

    Every target must be a valid standard concept; otherwise nothing is written, and every fault is shown with its line
    (exit code 11). Accepting the same file again changes nothing.
    """
    from etl.mapping.reviewed import accept as accept_reviewed

    done = accept_reviewed(reviewed, site, database=db, vocabulary=vocabulary or [], mappings=folder, reviewer=reviewer)
    if as_json:
        show_json(vars(done))
    else:
        show(
            f"{done.file}: {done.added} added, {done.present} there already, {done.replaced} replaced; "
            f"{done.not_approved} rows are not approved"
        )


def write_worklist(db: str, out: Path, site: str | None, folder: Path | None, rare_texts: bool) -> None:
    """Writes the worklist for Usagi and says how long it is."""
    from etl.mapping.worklist import worklist, write_worklist

    found = worklist(db, site, folder, rare_texts=rare_texts)
    write_worklist(found, out)
    with_candidate = found.candidates["item"].n_unique()
    show(f"{out}: {found.codes.height:,} codes, {with_candidate:,} of them with candidate concepts")
    if found.left_out:
        say(f"blina: {found.left_out:,} texts are left out, because they may tell of one patient")


@vocabulary_app.command("check")
def check(
    vocabulary: Athena,
    db: Annotated[
        str | None, typer.Option("--db", help="Also ask which vocabularies this database's codes need.")
    ] = None,
    require: Annotated[
        list[str] | None, typer.Option(help="A vocabulary that must be there; default: those of the study.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Looks for what makes a build go wrong quietly, all problems at once (exit code 13)."""
    from etl.vocabulary.preflight import STUDY_VOCABULARIES, check_vocabulary

    found = check_vocabulary(vocabulary, database=db, required=require or STUDY_VOCABULARIES)
    found.refuse()
    if as_json:
        show_json(vars(found))
    else:
        show(f"{found.release}: {found.concepts:,} concepts, no problem found")


@vocabulary_app.command("subset")
def subset(
    vocabulary: Annotated[Path, typer.Option(help="Folder of an Athena download.")],
    out: Annotated[Path, typer.Option(help="The new folder for the cut.")],
    db: Annotated[str | None, typer.Option("--db", help="The database that was built with the download.")] = None,
    codes: Annotated[
        Path | None, typer.Option(help="Further codes: a CSV with vocabulary_id and concept_code.")
    ] = None,
    folder: Folder = None,
    as_json: Json = False,
) -> None:
    """Cuts the rows that this site needs out of its own Athena download; a build with them gives the same rows."""
    from etl.vocabulary.subset import write_subset

    done = write_subset(vocabulary, out, database=db, codes=codes, mappings=folder)
    if as_json:
        show_json({"folder": done.folder, "rows": {name: kept for name, (kept, _) in done.rows.items()}})
    else:
        show(table(("table", "kept", "of"), [(name, *counts) for name, counts in done.rows.items()]))
