"""How long the study takes from the CDM to its tables: `python benchmarks/study.py CDM.duckdb [--times 100]`.

Measures the cohort as it is and the same cohort that many times: the persons are replicated with other ids in a DuckDB
file of its own. Seconds per stage (read and derive, variants, statistics, files, with --report the report). The goals:
30 s for the cohort, 300 s for a hundred times the cohort.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
GOALS = {1: 30.0, 100: 300.0}
LINKS = ("person_id", "visit_occurrence_id", "measurement_event_id", "observation_event_id")
"""Columns that name rows of a person's own, besides each table's key."""


def replicate(source: Path, target: Path, times: int) -> None:
    """Writes `times` copies of every person of the CDM `source` into the new DuckDB file `target`."""
    with duckdb.connect(target) as connection:
        connection.execute(f"ATTACH '{source}' AS source (READ_ONLY)")
        tables = connection.execute(
            "SELECT table_schema, table_name, list(column_name) FROM information_schema.columns "
            "WHERE table_catalog = 'source' AND table_schema IN ('cdm', 'lineage') GROUP BY ALL"
        ).fetchall()
        for schema in sorted({row[0] for row in tables}):
            connection.execute(f"CREATE SCHEMA {schema}")
        for schema, table, columns in tables:
            keys = [one for one in columns if one in (*LINKS, f"{table}_id", "row_id")]
            name = f"{schema}.{table}"
            if not {"person_id", "row_id"} & set(columns):
                connection.execute(f"CREATE TABLE {name} AS SELECT * FROM source.{name}")
                continue
            # The same id always becomes the same number within a copy: links between tables hold.
            shifted = ", ".join(
                f"CASE WHEN copy = 0 OR {key} IS NULL THEN {key} ELSE (hash({key}, copy) >> 2)::BIGINT END AS {key}"
                for key in keys
            )
            connection.execute(
                f"CREATE TABLE {name} AS SELECT source.* REPLACE ({shifted}) "
                f"FROM source.{name} AS source, range({times}) AS copies(copy)"
            )


def measure(database: Path, *, report: Path | None) -> dict[str, float]:
    """Seconds of each stage, CPU seconds of all, peak memory in MB, and how many patients and courses there are."""
    from analytics import all_results, derive, derive_variants, load_study, open_cdm
    from analytics.results import write_results

    seconds: dict[str, float] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        seconds[name] = round(time.perf_counter() - began, 2)

    busy = time.process_time()
    study = load_study()
    with open_cdm(f"duckdb:///{database}") as cdm:
        with stage("derive"):
            derived = derive(cdm, study)
        with stage("variants"):
            variants = derive_variants(cdm, study)
    with stage("statistics"):
        tables = all_results(derived, study, variants=variants)
    with stage("files"), tempfile.TemporaryDirectory() as folder:
        write_results(tables, Path(folder), cdm_name="benchmark", synthetic=True)
    if report is not None:
        from analytics.report import ReportMeta, write_report

        meta = ReportMeta(synthetic=True, param_hash=derived.param_hash, cdm_name="benchmark")
        with stage("report"):
            write_report({**tables, "counters": derived.counters}, meta, report)
    total = round(sum(seconds.values()), 2)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    counts = {"patients": derived.patients.height, "courses": derived.courses.height}
    cpu = round(time.process_time() - busy, 2)
    return {**counts, **seconds, "total": total, "cpu": cpu, "peak_mb": round(peak)}


def main() -> int:
    """Prints the seconds; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("database", type=Path, help="a DuckDB file with a CDM that blina built")
    parser.add_argument("--times", type=int, default=100, help="how many times the cohort (1: only as it is)")
    parser.add_argument("--report", action="store_true", help="also make the report")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for times in dict.fromkeys((1, given.times)):
            database = given.database
            if times > 1:
                database = Path(folder) / "many.duckdb"
                replicate(given.database, database, times)
            found[times] = measure(database, report=Path(folder) / "report.html" if given.report else None)
            if not given.json:
                print(f"{times} ×: " + ", ".join(f"{name} {value:g}" for name, value in found[times].items()))
    if given.json:
        print(json.dumps(found))
    return int(any(found[times]["total"] > goal for times, goal in GOALS.items() if times in found))


if __name__ == "__main__":
    sys.exit(main())
