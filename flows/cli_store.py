"""`blina publish`, `diff`, `backup`, `restore`, `roles`, `withdraw`: for those who run the database."""

from pathlib import Path
from typing import Annotated

import typer

from flows.console import progress, say, show, show_json, table
from flows.options import Database, Json, LandedFolder


def register(app: typer.Typer) -> None:
    """Adds the commands to `blina`."""
    for command in (publish, diff, backup, restore, roles, withdraw):
        app.command(command.__name__)(command)


def publish(
    db: Database,
    to: Annotated[Path, typer.Option(help="Folder of the releases.")],
    keep: Annotated[int, typer.Option(min=1, help="How many releases stay; older ones are removed.")] = 5,
    as_json: Json = False,
) -> None:
    """Makes a release for readers: a DuckDB file and Parquet, with a manifest, never changed afterwards.

    It appears whole, by one rename, and holds cdm and results, but no FHIR id. Exit code 14 when there is nothing to
    publish, 17 while a run writes the database.
    """
    from etl.store.releases import publish as publish_release
    from etl.store.releases import releases

    made = publish_release(db, to, keep)
    kept = [one.name for one in releases(to)]
    if as_json:
        show_json({"release": str(made.path), "kept": kept, "manifest": made.manifest})
        return
    rows = sum(n for name, n in made.manifest["rows"].items() if name.startswith("cdm."))
    show(f"release: {made.path} ({rows:,} rows of cdm, run {made.manifest['run_id']}); {len(kept):,} kept")


def diff(
    before: Annotated[Path, typer.Argument(metavar="RELEASE", help="The folder of a release.")],
    after: Annotated[Path, typer.Argument(metavar="RELEASE", help="The folder of another release.")],
    as_json: Json = False,
) -> None:
    """What changed from one release to another: rows added, removed and changed, by table and mapping rule.

    The files of both are checked against their manifests first: exit code 14 when one is damaged.
    """
    from etl.store.release_diff import diff_releases
    from etl.store.releases import read_release, verify

    one, other = read_release(before), read_release(after)
    for release in (one, other):
        verify(release)
    found = diff_releases(one, other)
    if as_json:
        show_json({"before": one.name, "after": other.name, "differences": found.to_dicts()})
    elif found.is_empty():
        show("no difference")
    else:
        show(table(found.columns, [tuple("" if cell is None else cell for cell in row) for row in found.iter_rows()]))


def backup(
    db: Database,
    to: Annotated[Path, typer.Option(help="The backup file; it is replaced when it is there.")],
    landed: LandedFolder = None,
    as_json: Json = False,
) -> None:
    """Writes one file with the whole database and everything received; either kind of database takes it back.

    It holds the patients' data: keep it like the exports. The key of the ids is not in it: keep that elsewhere.
    """
    from etl.store.backup import backup as back_up
    from etl.store.place import home_of

    home = home_of(db, landed)
    manifest = back_up(db, to, home.folders())
    if as_json:
        show_json({"backup": str(to), "manifest": manifest})
        return
    show(f"backup: {to} ({to.stat().st_size:,} bytes, {len(manifest['members']):,} parts, run {manifest['run_id']})")
    if home.key.is_file():
        say(f"blina: the key of the ids, {home.key}, is not in the backup: keep it, too, and in another place")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of `blina backup`.")],
    db: Database,
    landed: LandedFolder = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a database that holds runs.")] = False,
    as_json: Json = False,
) -> None:
    """Makes the database, and what was received, what they were when the backup was made.

    The file is checked whole first: exit code 14 when it is torn, or when the database holds runs (see --overwrite).
    """
    from etl.landing.withdrawn import read_withdrawn
    from etl.store.backup import restore as put_back
    from etl.store.place import home_of

    home = home_of(db, landed)
    before = read_withdrawn(home.withdrawn)
    manifest = put_back(file, db, home.folders(), overwrite=overwrite)
    home.claim()
    restored = read_withdrawn(home.withdrawn)
    missing = before.missing_in(restored)
    if missing:
        restored.plus(before.patients, before.marks).write(home.withdrawn)
    if as_json:
        show_json({"database": home.database, "to_withdraw_again": missing, "manifest": manifest})
    else:
        rows = sum(n for name, n in manifest["rows"].items() if name.startswith("cdm."))
        show(f"restored: {home.database} ({rows:,} rows of cdm, run {manifest['run_id']}, of {manifest['made_at']})")
    if missing:
        say(
            f"blina: {missing:,} patients who withdrew after the backup was made are in it again: "
            "run `blina withdraw` without --list now"
        )


def roles(
    db: Annotated[str, typer.Option("--db", help="The database: postgresql://SUPERUSER@HOST/NAME.")],
    only_print: Annotated[bool, typer.Option("--print", help="Only print the SQL; nothing is changed.")] = False,
    timeout: Annotated[int, typer.Option(min=1, help="Seconds after which a reader's query is stopped.")] = 300,
    as_json: Json = False,
) -> None:
    """Makes the roles of a PostgreSQL database: blina_etl writes, blina_research and blina_mapping read their part.

    Only a superuser may do that; --print shows the SQL for the administrator. Run it again after an upgrade.
    """
    from etl.errors import UsageError
    from etl.store import roles as made
    from etl.store.place import is_server, name_of

    if not is_server(db):
        raise UsageError("only PostgreSQL has roles; who reads a DuckDB file is a matter of the file's rights")
    if only_print:
        statements = made.role_statements(name_of(db), research_timeout_seconds=timeout)
        show_json({"statements": statements}) if as_json else show("".join(f"{one};\n" for one in statements).rstrip())
        return
    made.create_roles(db, research_timeout_seconds=timeout)
    reads = {role: [*made.READABLE.get(role, ()), *map(".".join, made.READABLE_TABLES.get(role, ()))]
             for role in made.ROLES}  # fmt: skip
    reads[made.ETL] = ["everything"]
    if as_json:
        show_json({"roles": reads})
        return
    show(table(("role", "reads"), [(role, ", ".join(what)) for role, what in reads.items()]))
    say(f"blina: they have no password yet: ALTER ROLE {made.RESEARCH} PASSWORD '…', or map users in pg_hba.conf")


def withdraw(
    db: Database,
    listed: Annotated[
        Path | None,
        typer.Option("--list", help="Who: lines SITE<TAB>Patient id, or a CSV with the columns site and id."),
    ] = None,
    settings: Annotated[Path | None, typer.Option(help="Settings file, as given to `blina build`.")] = None,
    vocabulary: Annotated[
        list[Path] | None, typer.Option(help="Athena folder, as given to `blina build`; may be given again.")
    ] = None,
    mappings: Annotated[Path | None, typer.Option(help="Mappings folder; default: the one of blina.")] = None,
    landed: LandedFolder = None,
    releases: Annotated[Path | None, typer.Option(help="Folder of the releases, which are rewritten, too.")] = None,
    rejects: Annotated[
        Path | None, typer.Option(help="Folder of the list of rejects, which is rewritten, too.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Takes patients out of everything: what was received, ledger, cdm, lineage, results, releases; for good.

    What comes of them later is skipped, with the reason "withdrawn". A certificate with counts is written. All others'
    rows stay as they are; results are emptied, so run the study again. Without --list, those who withdrew before are
    taken out again: after an interruption, or after restoring an older backup.
    """
    from etl.withdraw import STEPS
    from etl.withdraw import withdraw as take_out
    from flows.instance import find_settings
    from flows.withdrawal_list import read_list

    people = read_list(listed) if listed else []
    chosen = find_settings(settings, db, landed)
    with progress("withdraw", STEPS) as stage:
        done = take_out(
            people, database=db, settings=chosen, vocabulary=vocabulary or [], mappings=mappings, releases=releases,
            rejects=rejects, progress=stage,
        )  # fmt: skip
    if as_json:
        show_json(done.as_dict())
    else:
        show(done.words().rstrip())
    say(f"blina: certificate: {done.path} (and .json)")
    if releases is None:
        say("blina: no folder of releases was named: releases, if there are any, still hold them (--releases)")
