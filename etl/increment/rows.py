"""From the rows of everything needed to those of what is touched, and which old rows they replace."""

from datetime import date

import duckdb

import etl.cdm
from etl.store import Store

PERSON_TABLES: tuple[str, ...] = ("person", "death", *etl.cdm.EVENT_DATES)
"""What periods and eras are derived from."""

_FILTER = """
CREATE TABLE chg.numbers AS SELECT n FROM chg.versions WHERE key IN (SELECT key FROM chg.touched);
CREATE TABLE chg.patients AS
    SELECT DISTINCT concat_ws('|', site, fhir_id) AS patient FROM (
        SELECT site, fhir_id, resource_key FROM old.resource WHERE resource_type = 'Patient'
        UNION ALL SELECT site, id, key FROM chg.fresh WHERE type = 'Patient')
    WHERE resource_key IN (SELECT key FROM chg.touched);
CREATE TABLE chg.gone AS SELECT DISTINCT table_name, row_id FROM old.cdm_row WHERE resource_no IN (FROM chg.numbers);
DELETE FROM lin.cdm_row WHERE resource_no NOT IN (FROM chg.numbers);
DELETE FROM lin.resource WHERE resource_no NOT IN (FROM chg.numbers);
DELETE FROM lin.unmapped WHERE resource_no NOT IN (FROM chg.numbers);
DELETE FROM led.resource WHERE resource_no NOT IN (FROM chg.numbers);
DELETE FROM lin.precision WHERE (table_name, row_id) NOT IN (SELECT (table_name, row_id) FROM lin.cdm_row);
DELETE FROM lin.person_source WHERE concat_ws('|', site, fhir_id) NOT IN (FROM chg.patients);
DELETE FROM lin.reference WHERE resource_key NOT IN (SELECT key FROM chg.touched);
DELETE FROM lin.identifier WHERE resource_key NOT IN (SELECT key FROM chg.touched);
DELETE FROM lin.row_of WHERE resource_key NOT IN (SELECT key FROM chg.touched);
INSERT INTO led.resource BY NAME
    SELECT n AS resource_no, site, type AS resource_type, id AS fhir_id, url, version, updated, hash AS content_hash,
           file, "at", 'skipped' AS outcome, 'same content again' AS reason
    FROM chg.fresh WHERE n NOT IN (FROM chg.numbers);
"""
# What came again with the content that it had is not read again; its newest copy is the one that came first.

_COUNTS = """
SELECT site, resource_type, outcome, reason, count(*) AS n FROM (
    SELECT site, resource_type, outcome, reason FROM old.resource
    WHERE resource_no NOT IN (SELECT resource_no FROM led.resource)
    UNION ALL SELECT site, resource_type, outcome, reason FROM led.resource)
GROUP BY ALL ORDER BY ALL
"""


def keep_touched(work: duckdb.DuckDBPyConnection, store: Store, until_then: date, until: date) -> None:
    """Leaves in `out`, `lin` and `led` what is to be written, and makes the sets that say what it replaces.

    `chg.numbers`: landed numbers of what is touched; `chg.gone`: the old rows of it; `chg.persons`: whose periods and
    eras are derived again; schema `whole`: all events of those persons, old and new.
    """
    filled = [row[0] for row in work.execute("SELECT DISTINCT table_name FROM lin.cdm_row").fetchall()]
    work.execute(_FILTER)
    for table in filled:
        mine = f"SELECT row_id FROM lin.cdm_row WHERE table_name = '{table}'"
        work.execute(f"DELETE FROM out.{table} WHERE {etl.cdm.ROW_KEYS[table]} NOT IN ({mine})")
    _find_persons(work, store, until_then, until)


def counts_of_all(work: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """site, resource_type, outcome, reason, n of everything received, as it stands after this run."""
    return work.execute(_COUNTS)


def _find_persons(work: duckdb.DuckDBPyConnection, store: Store, until_then: date, until: date) -> None:
    work.execute("CREATE SCHEMA gone; CREATE SCHEMA theirs; CREATE SCHEMA whole")
    sources = []
    for table in PERSON_TABLES:
        keys = f"SELECT row_id FROM chg.gone WHERE table_name = '{table}'"
        store.fetch(work, table, etl.cdm.ROW_KEYS[table], keys, f"gone.{table}")
        sources += [f"out.{table}", f"gone.{table}"]
    if until_then != until:
        sources += _cut_by_time(work, store, until_then, until)
    persons = " UNION ".join(f"SELECT person_id FROM {source}" for source in sources)
    work.execute(f"CREATE TABLE chg.persons AS {persons}")
    for table in PERSON_TABLES:
        key = etl.cdm.ROW_KEYS[table]
        store.fetch(work, table, "person_id", "FROM chg.persons", f"theirs.{table}")
        work.execute(
            f"CREATE VIEW whole.{table} AS FROM out.{table} UNION ALL BY NAME FROM theirs.{table} "
            f"WHERE {key} NOT IN (SELECT row_id FROM chg.gone WHERE table_name = '{table}')"
        )


def _cut_by_time(work: duckdb.DuckDBPyConnection, store: Store, until_then: date, until: date) -> list[str]:
    """Relations with the persons whose observation ended where the data ended, or who have events in the days since."""
    work.execute("CREATE SCHEMA cut")
    store.fetch(work, "observation_period", "observation_period_end_date", f"SELECT DATE '{until_then}'", "cut.periods")
    days = f"SELECT unnest(generate_series(DATE '{until_then}' + 1, DATE '{until}', INTERVAL 1 DAY))::DATE"
    for table, (start, _) in etl.cdm.EVENT_DATES.items():
        store.fetch(work, table, start, days, f"cut.{table}")
    return ["cut.periods", *(f"cut.{table}" for table in etl.cdm.EVENT_DATES)]
