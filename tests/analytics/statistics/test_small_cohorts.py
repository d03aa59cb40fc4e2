"""A hospital with a handful of children gets tables, with reasons where nothing can be estimated; never a traceback."""

import random

import polars as pl
import pytest

from analytics.derive import Derived
from analytics.statistics.run import run_analyses

QUICK = {"statistics": {"permutations": 20, "bootstrap": 10, "concordance_bootstrap": 2}}
FRAMES = ("patients", "courses", "lab_windows", "events", "bags", "course_times")


def _part(derived: Derived, persons: int, seed: int) -> dict[str, pl.DataFrame]:
    chosen = random.Random(seed).sample(derived.patients["person_id"].to_list(), persons)
    part = {name: getattr(derived, name).filter(pl.col("person_id").is_in(chosen)) for name in FRAMES}
    return part | {"attrition": derived.attrition}


@pytest.mark.parametrize(
    ("persons", "seed"), [(0, 1), (1, 1), (2, 1), (5, 1), (5, 2), (12, 1), (12, 2), (20, 1), (20, 3)]
)
def test_every_table_is_made_and_holds_numbers_or_reasons(derived: Derived, persons: int, seed: int) -> None:
    part = _part(derived, persons, seed)
    tables = run_analyses(part, QUICK, {"S10-same": part})
    assert tables["models"].filter(pl.col("estimate").is_null())["note"].null_count() == 0
    for name, table in tables.items():
        for column in table.select(pl.col(pl.Float64)).iter_columns():
            assert not column.drop_nulls().is_nan().any(), f"{name}.{column.name}"
            assert not column.drop_nulls().is_infinite().any(), f"{name}.{column.name}"
