"""Releases without some persons: each that holds one of them is written anew, under its name, and exchanged."""

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from etl.cdm import VOCABULARY_TABLES
from etl.store import disk
from etl.store.postgres_layout import quoted
from etl.store.releases import MAKING, REMOVING, Release, finish_release, releases, write_parquet

_ROWS_BY: dict[str, tuple[str, ...]] = {
    "cost": ("cost_event_id",),
    "fact_relationship": ("fact_id_1", "fact_id_2"),
    "note_nlp": ("note_id",),
    "episode_event": ("episode_id", "event_id"),
    "cdm_row": ("row_id",),
}
"""Tables without a person: the columns that name a row of one."""


def leave_releases(folder: Path, persons: Sequence[int], rows: Sequence[int]) -> list[dict[str, Any]]:
    """Takes persons, and rows (by key) that tell of them elsewhere, out of every release in a folder.

    Gives back, for each release, its name, whether it held anything of theirs, and the rows removed by table.

    Results are emptied where a person was in the CDM: they were counted with that person. The caller holds the lock of
    the folder. Killed, it leaves a release as it was or as it shall be.
    """
    with disk.told(folder):
        disk.clear(folder, MAKING, REMOVING)
        return [_leave(release, persons, rows) for release in releases(folder)]


def _leave(release: Release, persons: Sequence[int], rows_of_theirs: Sequence[int]) -> dict[str, Any]:
    making = release.path.with_name(f"{MAKING}{release.name}")
    making.mkdir()
    path = str(release.database).replace("'", "''")
    with duckdb.connect(str(making / "omop.duckdb")) as work:
        work.execute(f"ATTACH '{path}' AS old (READ_ONLY)")
        _find(work, persons, rows_of_theirs)
        if work.execute("SELECT count(*) FROM cdm_ids").fetchone() == (0,):
            found = False
        else:
            found = True
            rows = _copy(work)
        work.execute("DETACH old")
        if found:
            write_parquet(work, making / "parquet")
    if not found:
        shutil.rmtree(making)
        return {"release": release.name, "rewritten": False, "rows_removed": {}}
    old = release.manifest
    removed = {name: n - rows[name] for name, n in old["rows"].items() if n != rows[name]}
    kept = {name: value for name, value in old.items() if name not in {"rows", "files"}}
    finish_release(making, {**kept, "rows": rows, "withdrawn_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"})
    aside = release.path.with_name(f"{REMOVING}{release.name}")
    release.path.rename(aside)
    disk.move_in(making, release.path)
    shutil.rmtree(aside)
    return {"release": release.name, "rewritten": True, "rows_removed": removed}


def _find(work: duckdb.DuckDBPyConnection, persons: Sequence[int], rows: Sequence[int]) -> None:
    """The table `cdm_ids`: persons that are there, and the keys of their rows; empty when no row is theirs."""
    for name, ids in (("persons", persons), ("theirs", rows)):
        work.execute(f"CREATE TEMP TABLE {name} AS SELECT unnest(?::BIGINT[]) AS id", [list(ids)])
    work.execute("CREATE TEMP TABLE cdm_ids (id BIGINT)")
    for table, columns in _columns(work, "cdm").items():
        key, person = f"{table}_id", _person_column(columns)
        if person and key in columns:
            work.execute(
                f"INSERT INTO cdm_ids SELECT DISTINCT unnest([{quoted(key)}, {person}]) FROM old.cdm.{quoted(table)} "
                f"WHERE {person} IN (SELECT id FROM persons)"
            )
        if key in columns and table not in VOCABULARY_TABLES:
            work.execute(
                f"INSERT INTO cdm_ids SELECT {quoted(key)} FROM old.cdm.{quoted(table)} "
                f"WHERE {quoted(key)} IN (SELECT id FROM theirs)"
            )


def _person_column(columns: Sequence[str]) -> str:
    return next((one for one in ("person_id", "subject_id") if one in columns), "")


def _columns(work: duckdb.DuckDBPyConnection, schema: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    rows = work.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = 'old' AND schema_name = ?"
        " ORDER BY table_name, column_index",
        [schema],
    ).fetchall()
    for table, column in rows:
        found.setdefault(table, []).append(column)
    return found


def _copy(work: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Every table of the old release without their rows; the rows of each."""
    counts = {}
    made = work.execute(
        "SELECT schema_name, table_name, sql FROM duckdb_tables() WHERE database_name = 'old' ORDER BY 1, 2"
    ).fetchall()
    for schema, table, statement in made:
        work.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
        work.execute(statement)
        place, source = quoted(schema, table), f"old.{quoted(schema, table)}"
        work.execute(f"INSERT INTO {place} SELECT * FROM {source} WHERE {_stays(work, schema, table)}")
        row = work.execute(f"SELECT count(*) FROM {place}").fetchone()
        counts[f"{schema}.{table}"] = int(row[0]) if row else 0
    return counts


def _stays(work: duckdb.DuckDBPyConnection, schema: str, table: str) -> str:
    """The condition for a row to stay."""
    if schema == "results":
        return "false"
    theirs = "(SELECT id FROM cdm_ids)"
    columns = _columns(work, schema)[table]
    by = _ROWS_BY.get(table, ())
    if schema == "cdm" and (person := _person_column(columns)):
        key = f" AND {quoted(f'{table}_id')} NOT IN {theirs}" if f"{table}_id" in columns else ""
        return f"coalesce({person} NOT IN (SELECT id FROM persons), true){key}"
    if table == "location":
        person_places = "SELECT location_id FROM old.cdm.person WHERE location_id IS NOT NULL AND person_id"
        return (
            f"location_id NOT IN ({person_places} IN (SELECT id FROM persons) EXCEPT ({person_places} NOT IN "
            "(SELECT id FROM persons) UNION SELECT location_id FROM old.cdm.care_site WHERE location_id IS NOT NULL))"
        )
    return " AND ".join(f"coalesce({column} NOT IN {theirs}, true)" for column in by) or "true"
