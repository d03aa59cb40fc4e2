"""Two sets of definitions on one CDM: only what differs, with how much, and who is classified otherwise."""

import polars as pl
import pytest

from analytics import compare_studies, load_study
from analytics.compare import ROWS, compare_tables
from analytics.study import Parameter

FAST = Parameter("statistics", 1, {"permutations": 50, "bootstrap": 20, "concordance_bootstrap": 2})


def _quick(study):
    """The study with few repeats, so that comparing it is quick."""
    from dataclasses import replace

    return replace(study, parameters={**study.parameters, "statistics": FAST})


@pytest.fixture(scope="module")
def compared(truth_cdm):
    base = _quick(load_study())
    return compare_studies(truth_cdm, base, base.varied({"stratum.rule": "indication", "complete_course.share": 0.8}))


def test_the_same_study_twice_differs_in_nothing(truth_cdm):
    study = _quick(load_study())
    found = compare_studies(truth_cdm, study, study)
    assert (found.definitions.height, found.rows.height, found.moved.height) == (0, 0, 0)
    assert "nothing" in found.text()


def test_the_definitions_that_differ_are_listed(compared):
    assert compared.definitions.select("name", "a", "b").rows() == [
        ("complete_course.share", "0.9", "0.8"), ("stratum.rule", "stratum", "indication"),
    ]  # fmt: skip


def test_who_moved_is_counted(compared):
    strata = compared.moved.filter(pl.col("variable") == "km_stratum")
    assert strata.select("a", "b", "n").rows() == [
        ("CR_MRDneg", "CHEMO_DELAY", 45), ("CR_MRDpos", "CHEMO_DELAY", 9),
    ]  # fmt: skip


def test_only_rows_that_differ_are_there_and_differences_are_b_minus_a(compared):
    assert dict(compared.rows.schema) == ROWS
    assert compared.rows.filter(pl.col("a") == pl.col("b")).is_empty()
    row = compared.rows.filter(
        (pl.col("analysis") == "survival_at") & pl.col("row").str.contains("EFS.*365") & (pl.col("column") == "n")
    )
    assert ("45", "–", None) in row.select("a", "b", "difference").rows()
    assert ("30", "21", -9.0) in row.select("a", "b", "difference").rows()
    assert "attrition" not in compared.rows["analysis"].to_list()


def test_everything_includes_what_is_equal():
    table = pl.DataFrame({"step": ["FAS"], "unit": ["patient"], "n": [3], "excluded": [0], "reason": [""]})
    assert compare_tables({"attrition": table}, {"attrition": table}).is_empty()
    rows = compare_tables({"attrition": table}, {"attrition": table}, everything=True)
    assert rows.select("column", "a", "b", "difference").rows() == [("n", "3", "3", 0.0), ("excluded", "0", "0", 0.0)]


def test_the_text_is_short_and_the_page_loads_nothing(compared):
    text, page = compared.text(most=3), compared.html()
    assert "more values" in text
    assert len(text.splitlines()) < 150
    assert "http" not in page.replace("http-equiv", "")
    assert "complete_course.share" in page
