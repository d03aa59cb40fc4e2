"""Makes the tables in `tables/` again: `python tests/analytics/report/make_tables.py duckdb:////path/to/target.duckdb`.

The database is the CDM of the sample hospitals (`blina build sample_bundles`). The tables hold synthetic data only. The
attrition is written here, because the sample hospitals leave nobody out.
"""

import sys
from pathlib import Path

import polars as pl
from sqlalchemy import create_engine, text

from analytics import derive, derive_variants, load_study, open_cdm
from analytics.report.landing import landing_table
from analytics.results import all_results
from analytics.statistics.tables import tidy
from etl.settings import load_settings

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
COUNTS = (
    "SELECT site, resource_type, outcome, reason, n FROM ledger.count "
    "WHERE run_id = (SELECT max(run_id) FROM ledger.count)"
)


def _attrition() -> pl.DataFrame:
    steps = [
        ("persons in the CDM", "patient", 112, 0, ""),
        ("with a B-ALL record", "patient", 110, 2, "no B-ALL record"),
        ("with a blinatumomab record", "patient", 109, 1, "never given blinatumomab"),
        ("with a valid bag", "patient", 107, 2, "no valid bag"),
        ("with B-ALL", "patient", 107, 0, "no B-ALL"),
        ("FAS", "patient", 105, 2, "not a child at the first bag"),
        ("courses of the FAS", "course", 125, 0, ""),
        ("EVAL", "course", 125, 0, "too short, or no adequate marrow before and after"),
        ("IMM", "patient", 85, 20, "first course without both T-cell windows"),
    ]
    return tidy(
        "attrition", [dict(zip(("step", "unit", "n", "excluded", "reason"), step, strict=True)) for step in steps]
    )


def _counts(url: str) -> pl.DataFrame:
    with create_engine(url, connect_args={"read_only": True}).connect() as connection:
        rows = [tuple(row) for row in connection.execute(text(COUNTS))]
    return pl.DataFrame(rows, schema=["site", "resource_type", "outcome", "reason", "n"], orient="row")


def main(url: str) -> None:
    """Writes one CSV per table."""
    study = load_study("blinatumomab").for_settings(load_settings(ROOT / "sample_bundles" / "blina.yaml"))
    with open_cdm(url) as cdm:
        derived = derive(cdm, study)
        variants = derive_variants(cdm, study)
    tables = all_results(derived, study, variants=variants) | {"counters": derived.counters, "attrition": _attrition()}
    tables["landing"] = landing_table(_counts(url))
    for name, table in tables.items():
        table.write_csv(HERE / "tables" / f"{name}.csv")


if __name__ == "__main__":
    main(sys.argv[1])
