"""Writes tables/*.csv, the result tables that the tests of figures and report read. Run by hand after a schema change:

    .venv/bin/python tests/analytics/report/make_tables.py

They are what `analytics.statistics.run_analyses` makes of the synthetic truth (through the frames of the statistics'
own tests), with an invented attrition, two counters, and the sheet filled with the published values. Aggregates of a
synthetic cohort; no row is a person.
"""

import importlib.util
import json
from pathlib import Path

import polars as pl

from analytics.statistics import StatisticsParameters, run_analyses
from analytics.statistics.tables import tidy

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


def _frames() -> dict[str, pl.DataFrame]:
    path = ROOT / "tests" / "analytics" / "statistics" / "conftest.py"
    spec = importlib.util.spec_from_file_location("statistics_conftest", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    frames: dict[str, pl.DataFrame] = module.truth.__wrapped__()  # the function inside the fixture
    return frames | {"attrition": _attrition()}


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


def _sheet() -> pl.DataFrame:
    published = json.loads((ROOT / "analytics/studies/blinatumomab/published.json").read_text(encoding="utf-8"))
    rows = [
        {
            "id": p["id"],
            "quantity": p["quantity"],
            "unit_of_analysis": p["unit"],
            "published": p["value_printed"],
            "computed": p["value_printed"],
            "match": "yes",
            "note": "" if p["attainable"] == "attainable" else p["attainable"],
        }
        for p in published["published"]
    ]
    return tidy("published_vs_computed", rows)


def main() -> None:
    """Writes one CSV per table."""
    tables = dict(run_analyses(_frames(), StatisticsParameters()))
    tables["published_vs_computed"] = _sheet()
    tables["settings"] = tidy(
        "settings",
        [
            {"name": name, "version": "1", "value": value, "param_hash": "0f3a9c1d"}
            for name, value in (("mrd_positive", "0.01 %"), ("gap_new_course_d", "7"), ("stratum", "stratum"))
        ],
    )
    tables["counters"] = pl.DataFrame(
        {
            "counter": ["dq_bag_overlap", "dq_zone_assumed"],
            "site": ["SITE1", "SITE2"],
            "n": [2, 4],
            "denominator": [900, 1200],
        }
    )
    for name, table in tables.items():
        table.write_csv(HERE / "tables" / f"{name}.csv")


if __name__ == "__main__":
    main()
