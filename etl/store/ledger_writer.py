"""Writes what a run has to tell into the ledger, inside the transaction that replaces the CDM."""

import json

import duckdb

from etl.store.store import Run, Written, utc_now

# A resource version is the same when it is the same bytes at the same place of the same file. When a run meets a file
# twice under two names, its resources are there twice; the copy that was kept is the one to remember.
_MET = """
CREATE OR REPLACE TEMP TABLE blina_met AS
SELECT resource.* EXCLUDE (file), file.sha256 AS file_sha256
FROM led.resource JOIN led.file USING (file)
QUALIFY row_number() OVER (
    PARTITION BY resource.site, resource_type, fhir_id, content_hash, file.sha256, resource."at"
    ORDER BY outcome = 'kept' DESC, outcome, reason
) = 1
"""

_SAME = """
    known.site = met.site AND known.resource_type = met.resource_type AND known.file_sha256 = met.file_sha256
    AND known."at" = met."at" AND known.fhir_id IS NOT DISTINCT FROM met.fhir_id
    AND known.content_hash IS NOT DISTINCT FROM met.content_hash
"""

_CHANGED_OUTCOMES = f"""
UPDATE {{ledger}}.resource AS known SET outcome = met.outcome, reason = met.reason, run_id = $run
FROM temp.blina_met AS met
WHERE {_SAME}
    AND (known.outcome IS DISTINCT FROM met.outcome OR known.reason IS DISTINCT FROM met.reason)
"""

_NEW_RESOURCES = f"""
INSERT INTO {{ledger}}.resource BY NAME
SELECT met.*, $run AS run_id
FROM temp.blina_met AS met ANTI JOIN {{ledger}}.resource AS known ON {_SAME}
"""

_NEW_FILES = """
INSERT INTO {ledger}.file BY NAME
SELECT met.site, met.sha256, any_value(met.bytes) AS bytes, left(sha256(coalesce(min(met.name), '')), 16) AS name_hash,
    $run AS first_run, any_value(met.resources) AS resources
FROM led.file AS met ANTI JOIN {ledger}.file AS known ON known.site = met.site AND known.sha256 = met.sha256
GROUP BY met.site, met.sha256
"""

_COUNTS = "INSERT INTO {ledger}.count BY NAME SELECT $run AS run_id, * FROM led.count"


def write_ledger(work: duckdb.DuckDBPyConnection, target: str, run: Run, written: list[Written]) -> None:
    """Adds the run, its new files, resource versions, counts and written tables to `target`.ledger.

    Files and resource versions that are already known stay as they are; a version whose outcome changed (another
    mapping, another vocabulary) gets the new one and this run's id. The same run id again replaces what it said.
    """
    ledger = f"{target}.ledger"
    work.execute(_MET)
    for table in ("run", "count", "written"):
        work.execute(f'DELETE FROM {ledger}."{table}" WHERE run_id = ?', [run.run_id])
    _insert_run(work, ledger, run)
    for statement in (_NEW_FILES, _CHANGED_OUTCOMES, _NEW_RESOURCES, _COUNTS):
        work.execute(statement.format(ledger=ledger), {"run": run.run_id})
    work.executemany(
        f"INSERT INTO {ledger}.written VALUES (?, ?, ?, ?, ?)",
        [[run.run_id, one.schema, one.table, one.rows, "replaced" if one.replaced else "unchanged"] for one in written],
    )
    work.execute("DROP TABLE temp.blina_met")


def _insert_run(work: duckdb.DuckDBPyConnection, ledger: str, run: Run) -> None:
    row = {
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
    names, marks = ", ".join(row), ", ".join("?" for _ in row)
    work.execute(f"INSERT INTO {ledger}.run ({names}) VALUES ({marks})", list(row.values()))
