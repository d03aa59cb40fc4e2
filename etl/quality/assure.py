"""Count, judge, report, refuse: the quality floor in four functions."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import polars as pl
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from etl.errors import CdmError, QualityGateError
from etl.quality.catalogue import cdm_checks
from etl.quality.counting import catalog_of, count_checks, find_place
from etl.quality.reports import write_reports
from etl.quality.status import RESULT_SCHEMA, evaluate, frame_of, not_applicable
from etl.quality.study import StudyCatalogue, count_study_checks, load_catalogue
from etl.quality.terms import quoted
from etl.quality.verdict import Verdict

_TYPES = {pl.String(): "VARCHAR", pl.Int64(): "BIGINT", pl.Float64(): "DOUBLE", pl.Boolean(): "BOOLEAN"}


def check(
    database: str | duckdb.DuckDBPyConnection,
    run_id: str,
    catalogue: StudyCatalogue | None = None,
    *,
    schema: str = "cdm",
    vocabulary_schema: str | None = None,
    results_schema: str | None = "results",
    today: date | None = None,
) -> pl.DataFrame:
    """The result frame (`RESULT_SCHEMA`, one row per check) of a CDM; also stored in `<results_schema>.quality_check`.

    `database`: a URL (`duckdb:///file`) or an open DuckDB connection. `catalogue`: the study's checks, by default the
    blinatumomab study's. `vocabulary_schema`: where CONCEPT stands if not in `schema`. `results_schema` None stores
    nothing and opens the file read-only (an open connection should not be inside a transaction: one query that fails
    would fail all that follow). `today` bounds dates in the future. Missing tables and columns are findings,
    not errors. Raises CdmError when the database cannot be opened or written.
    """
    day = today or datetime.now(tz=UTC).date()
    study = catalogue or load_catalogue()
    with _opened(database, read_only=results_schema is None) as connection:
        if results_schema is not None and _in_transaction(connection):
            raise CdmError("quality results cannot be stored inside another transaction; commit it first")
        place = find_place(connection, schema, vocabulary_schema or schema, day)
        checks = cdm_checks()
        counts = count_checks(connection, place, checks)
        notes = not_applicable(checks, counts, place)
        study_counts, study_notes = count_study_checks(connection, place, study)
        everything = [*checks, *(one.check for one in study.checks)]
        frame = frame_of(run_id, everything, counts | study_counts, notes | study_notes)
        if results_schema is not None:
            _store(connection, frame, results_schema, run_id)
    return frame


def judge(frame: pl.DataFrame, thresholds: Mapping[str, float] | None = None) -> Verdict:
    """The verdict of Great Expectations over a result frame, without asking the database again.

    `thresholds`: other allowed percentages by check id or check name (the id wins). Raises SettingsError for unknown
    names. Takes some seconds the first time: Great Expectations is imported here.
    """
    from etl.quality.expectations import judge_frame

    return judge_frame(evaluate(frame, thresholds))


def assure(
    database: str | duckdb.DuckDBPyConnection,
    run_id: str,
    *,
    json_path: Path,
    html_path: Path,
    title: str = "Quality of the CDM",
    catalogue: StudyCatalogue | None = None,
    thresholds: Mapping[str, float] | None = None,
    schema: str = "cdm",
    vocabulary_schema: str | None = None,
    results_schema: str | None = "results",
    today: date | None = None,
) -> Verdict:
    """Check, judge, write quality.json and the page, and open the gate or refuse.

    Raises QualityGateError (exit code 15) naming each refused check with its counts, after the reports are written.
    """
    frame = check(
        database,
        run_id,
        catalogue,
        schema=schema,
        vocabulary_schema=vocabulary_schema,
        results_schema=results_schema,
        today=today,
    )
    verdict = judge(frame, thresholds)
    frame = evaluate(frame, thresholds)
    write_reports(frame, verdict, json_path, html_path, title)
    if not verdict.gate_ok:
        raise QualityGateError(
            f"the quality gate refused the CDM: {len(verdict.refused)} checks; see {html_path}",
            problems=_refusals(frame, verdict),
        )
    return verdict


def _refusals(frame: pl.DataFrame, verdict: Verdict) -> list[str]:
    refused = frame.filter(pl.col("check_id").is_in(list(verdict.refused)))
    return [
        f"{row['check_id']}: {row['note']}"
        if row["status"] == "error"
        else f"{row['check_id']}: {row['violated']} of {row['denominator']}, allowed {row['threshold']:g} %"
        for row in refused.iter_rows(named=True)
    ]


def _store(connection: duckdb.DuckDBPyConnection, frame: pl.DataFrame, schema: str, run_id: str) -> None:
    """Put the rows of this run in place of earlier rows of the same run, in one transaction."""
    place = f"{quoted(catalog_of(connection))}.{quoted(schema)}"
    columns = ", ".join(f"{quoted(name)} {_TYPES[kind]}" for name, kind in RESULT_SCHEMA.items())
    try:
        connection.execute("BEGIN")
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {place}")
        connection.execute(f"CREATE TABLE IF NOT EXISTS {place}.quality_check ({columns})")
        connection.execute(f"DELETE FROM {place}.quality_check WHERE run_id = ?", [run_id])
        connection.register("_quality_check", frame.to_arrow())
        connection.execute(f"INSERT INTO {place}.quality_check BY NAME SELECT * FROM _quality_check")
        connection.unregister("_quality_check")
        connection.execute("COMMIT")
    except duckdb.Error as error:
        connection.execute("ROLLBACK")
        raise CdmError(f"{schema}.quality_check cannot be written ({type(error).__name__})") from None


def _in_transaction(connection: duckdb.DuckDBPyConnection) -> bool:
    # Two statements have two transaction ids, unless somebody's transaction holds both.
    ids = [connection.execute("SELECT txid_current()").fetchone() for _ in range(2)]
    return ids[0] == ids[1]


@contextmanager
def _opened(database: str | duckdb.DuckDBPyConnection, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    if isinstance(database, duckdb.DuckDBPyConnection):
        yield database
        return
    try:
        url = make_url(database)
    except ArgumentError:
        raise CdmError("this is no database URL; give duckdb:///FILE") from None
    if not url.drivername.startswith("duckdb"):
        raise CdmError(
            f"quality checks run on DuckDB, not on {url.drivername}: `blina quality` copies what blina built"
        )
    if not url.database or not Path(url.database).is_file():
        raise CdmError(f"there is no DuckDB file at {url.database}")
    try:
        connection = duckdb.connect(url.database, read_only=read_only)
    except duckdb.Error as error:
        raise CdmError(f"{url.database} cannot be opened ({type(error).__name__})") from None
    with connection:
        yield connection
