"""A small work database and a run, as the transform would leave them."""

from datetime import datetime

import duckdb
import polars as pl

from etl.store import Run, create_work_schema, insert_frame

STARTED = datetime(2026, 11, 24, 3, 0)  # noqa: DTZ001  # the ledger keeps UTC without a zone


def run(run_id: str = "r1", **policies: object) -> Run:
    return Run(
        run_id=run_id,
        started_at=STARTED,
        software_version="0.1.0",
        mapping_sha="m",
        settings_sha="s",
        policies=policies or {"gap_days": 548},
    )


def make_work(*, persons: int = 2, outcome: str = "kept") -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    create_work_schema(connection)
    connection.execute(
        "INSERT INTO out.person BY NAME SELECT i + 5000000000 AS person_id, 8507 AS gender_concept_id,"
        " 2000 AS year_of_birth, 0 AS race_concept_id, 0 AS ethnicity_concept_id FROM range(?) AS numbers(i)",
        [persons],
    )
    files = pl.DataFrame(
        {"file": [1], "site": ["A"], "name": ["Jane Doe.json"], "sha256": ["f" * 64], "bytes": [10], "resources": [2]}
    )
    resources = pl.DataFrame(
        {
            "site": ["A", "A"],
            "resource_type": ["Patient", "Claim"],
            "fhir_id": ["p1", None],
            "content_hash": ["h1", "h2"],
            "file": [1, 1],
            "at": [1, 2],
            "outcome": [outcome, "skipped"],
            "reason": [None, "no mapping"],
            "not a column of the ledger": [1, 2],
        }
    )
    counts = resources.group_by("site", "resource_type", "outcome", "reason").agg(pl.len().alias("n"))
    insert_frame(connection, "led.file", files)
    insert_frame(connection, "led.resource", resources)
    insert_frame(connection, "led.count", counts)
    connection.execute("INSERT INTO lin.person_source VALUES (5000000000, 'A', 'p1', TRUE)")
    return connection


def make_linked_work(*, persons: int = 2) -> duckdb.DuckDBPyConnection:
    """The same with lineage: every person was made by rule `person` of the mapping of Patient."""
    work = make_work(persons=persons)
    work.execute("INSERT INTO lin.resource VALUES (1, 'A', 'Patient', 'p1', NULL, NULL, NULL, 1)")
    work.execute("INSERT INTO lin.rule VALUES (7, 'Patient', 'person', 'person', 'm')")
    work.execute("INSERT INTO lin.cdm_row SELECT 'person', person_id, 7, 1 FROM out.person")
    return work


def as_change(work: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """The same as an increment leaves it: every person is touched, and comes again."""
    work.execute(
        """CREATE SCHEMA chg;
           CREATE TABLE chg.numbers AS SELECT 1::BIGINT AS n;
           CREATE TABLE chg.touched AS SELECT 1::BIGINT AS key;
           CREATE TABLE chg.patients AS SELECT 'A|p1' AS patient;
           CREATE TABLE chg.persons AS SELECT i + 5000000000 AS person_id FROM range(5000) AS numbers(i);
           CREATE TABLE chg.gone AS SELECT 'person' AS table_name, person_id AS row_id FROM chg.persons"""
    )
    return work
