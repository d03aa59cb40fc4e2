"""Writes what a run has to tell into the ledger, inside the transaction that replaces the CDM.

The statements are the same for every database. `{ledger}` is its ledger schema, `{met}` and `{files}` are the tables
with what the run met, `{counts}` those of its counts, `{run}` the placeholder of the run id.
"""

import json
from typing import Any

import duckdb
import polars as pl

from etl.sql import quote
from etl.store.store import Run, Written, utc_now
from etl.store.work import insert_frame, insert_rows

# A resource version is the same when it is the same bytes at the same place of the same file. When a run meets a file
# twice under two names, its resources are there twice; the copy that was kept is the one to remember.
_ALL_MET = "SELECT resource.* EXCLUDE (file), file.sha256 AS file_sha256 FROM led.resource JOIN led.file USING (file)"
_PLACE = 'hash(site, resource_type, fhir_id, content_hash, file_sha256, "at") AS place'
_ANY_TWICE = f"SELECT 1 FROM (SELECT {_PLACE} FROM ({_ALL_MET})) GROUP BY place HAVING count(*) > 1 LIMIT 1"

MET = f"""
WITH met AS (
    SELECT *, {_PLACE} FROM ({_ALL_MET})
), twice AS (
    SELECT place FROM met GROUP BY place HAVING count(*) > 1
)
SELECT * EXCLUDE (place) FROM met ANTI JOIN twice USING (place)
UNION ALL
SELECT * EXCLUDE (place) FROM met SEMI JOIN twice USING (place)
QUALIFY row_number() OVER (
    PARTITION BY site, resource_type, fhir_id, content_hash, file_sha256, "at"
    ORDER BY outcome = 'kept' DESC, outcome, reason
) = 1
"""
"""The resource versions that a run met, from the work database."""

FILES = """
SELECT site, sha256, any_value(bytes) AS bytes, left(sha256(coalesce(min(name), '')), 16) AS name_hash,
    any_value(resources) AS resources
FROM led.file GROUP BY site, sha256
"""
"""The files that a run met, from the work database; the name leaves it as a hash only."""

_SAME = """
    known.site = met.site AND known.resource_type = met.resource_type AND known.file_sha256 = met.file_sha256
    AND known."at" = met."at" AND known.fhir_id IS NOT DISTINCT FROM met.fhir_id
    AND known.content_hash IS NOT DISTINCT FROM met.content_hash
"""

_COLUMNS = (
    'resource_no, site, resource_type, fhir_id, url, version, updated, content_hash, file_sha256, "at", outcome, reason'
)

_CHANGED_OUTCOMES = f"""
UPDATE {{ledger}}.resource AS known
SET outcome = met.outcome, reason = met.reason, run_id = {{run}}, resource_no = met.resource_no
FROM {{met}} AS met
WHERE {_SAME}
    AND (known.outcome IS DISTINCT FROM met.outcome OR known.reason IS DISTINCT FROM met.reason
        OR known.resource_no IS DISTINCT FROM met.resource_no)
"""

_NEW_RESOURCES = f"""
INSERT INTO {{ledger}}.resource ({_COLUMNS}, run_id)
SELECT {_COLUMNS}, {{run}} FROM {{met}} AS met
WHERE NOT EXISTS (SELECT 1 FROM {{ledger}}.resource AS known WHERE {_SAME})
"""

_NEW_FILES = """
INSERT INTO {ledger}.file (site, sha256, bytes, name_hash, resources, first_run)
SELECT site, sha256, bytes, name_hash, resources, {run} FROM {files} AS met
WHERE NOT EXISTS (SELECT 1 FROM {ledger}.file AS known WHERE known.site = met.site AND known.sha256 = met.sha256)
"""

_COUNTS = """
INSERT INTO {ledger}.count (run_id, site, resource_type, outcome, reason, n)
SELECT {run}, site, resource_type, outcome, reason, n FROM {counts}
"""

STATEMENTS: tuple[str, ...] = (_NEW_FILES, _CHANGED_OUTCOMES, _NEW_RESOURCES, _COUNTS)
"""Files and versions that are known stay as they are; a version whose outcome changed gets it and this run's id."""

OF_A_RUN: tuple[str, ...] = ("run", "count", "written")
"""The tables of which every run writes its own rows: the same run id again replaces what it said."""


def write_ledger(work: duckdb.DuckDBPyConnection, target: str, run: Run, written: list[Written]) -> None:
    """Adds the run, its new files, resource versions, counts and written tables to the attached `target`.ledger."""
    names = {"ledger": f"{target}.ledger", "met": "temp.blina_met", "files": "temp.blina_files", "counts": "led.count"}
    kind, met = ("TABLE", MET) if work.execute(_ANY_TWICE).fetchone() else ("VIEW", _ALL_MET)
    work.execute(f"CREATE OR REPLACE TEMP {kind} blina_met AS {met}")
    work.execute(f"CREATE OR REPLACE TEMP TABLE blina_files AS {FILES}")
    for table in OF_A_RUN:
        work.execute(f'DELETE FROM {target}.ledger."{table}" WHERE run_id = {quote(run.run_id)}')
    insert_frame(work, f"{target}.ledger.run", pl.DataFrame([run_row(run)]))
    for statement in STATEMENTS:
        work.execute(statement.format(**names, run=quote(run.run_id)))
    insert_rows(work, f"{target}.ledger.written", written_rows(run, written))
    work.execute(f"DROP {kind} temp.blina_met")
    work.execute("DROP TABLE temp.blina_files")


def run_row(run: Run) -> dict[str, Any]:
    """The row of a run that finishes now, by column of `ledger.run`."""
    return {
        "run_id": run.run_id,
        "started_at": run.started_at,
        "finished_at": utc_now(),
        "software_version": run.software_version,
        "mapping_sha": run.mapping_sha,
        "vocabulary_release": run.vocabulary_release,
        "settings_sha": run.settings_sha,
        "outcome": run.outcome,
        "policies": json.dumps(run.policies, sort_keys=True, ensure_ascii=False, default=str),
    }


def written_rows(run: Run, written: list[Written]) -> list[list[Any]]:
    """The rows of `ledger.written`, in its order of columns."""
    return [
        [run.run_id, one.schema, one.table, one.rows, "replaced" if one.replaced else "unchanged"] for one in written
    ]
