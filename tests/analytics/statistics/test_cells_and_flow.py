"""Cells by window and day (T8, F6), the flow of the states (F8), prior relapse (T1), each site's prediction (F10)."""

import polars as pl
import pytest

from analytics.statistics.cells import cell_tables
from analytics.statistics.competing import _limits
from analytics.statistics.describe import baseline_table
from analytics.statistics.flow import COURSE, EVENT, HSCT, NONE, state_flow
from analytics.statistics.frames import study_frames
from analytics.statistics.parameters import StatisticsParameters
from analytics.statistics.sensitivity_variants import delayed_entry_rows
from analytics.statistics.tests import predictors_table

Frames = dict[str, pl.DataFrame]
QUICK = StatisticsParameters(permutations=0, bootstrap=0, concordance_bootstrap=0)


def days(*rows: tuple[int, str, int, float, str | None]) -> pl.DataFrame:
    schema = ["person_id", "analyte", "day", "value", "operator"]
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(unit=pl.lit("10*9/L"), course_no=pl.lit(1))


def test_a_child_counts_once_in_a_span_of_days(truth: Frames) -> None:
    cells = days((1, "CD3", -2, 1.0, None), (1, "CD3", 0, 3.0, None), (2, "CD3", -1, 4.0, None),
                 (1, "CD3", 1, 0.5, "<"), (2, "CD19", 40, 0.01, None))  # fmt: skip
    table = cell_tables(study_frames(truth | {"lab_points": cells}), QUICK)["cell_trajectory"]
    rows = {(row["analyte"], row["days"]): row for row in table.iter_rows(named=True)}
    before = rows["CD3", "to 0"]
    assert (before["n"], before["median"], before["minimum"], before["maximum"]) == (2, 3.0, 2.0, 4.0)
    assert (rows["CD3", "1 to 7"]["n_censored"], rows["CD3", "1 to 7"]["median"]) == (1, 0.5)
    assert rows["CD19", "from 29"]["day"] == 40
    assert set(rows) == {("CD3", "to 0"), ("CD3", "1 to 7"), ("CD19", "from 29")}


def test_windows_are_described_whether_paired_or_not(truth: Frames) -> None:
    extra = truth["lab_windows"].filter((pl.col("analyte") == "CD3") & (pl.col("window") == "post")).head(3)
    extra = extra.with_columns(analyte=pl.lit("CD19"), value=pl.lit(0.004), course_no=pl.lit(1, pl.Int32))
    windows = pl.concat([truth["lab_windows"], extra])
    table = cell_tables(study_frames(truth | {"lab_windows": windows}), QUICK)["cell_windows"]
    row = table.filter(pl.col("analyte") == "CD19").row(0, named=True)
    assert (row["window"], row["n"], row["median"]) == ("post", 3, 0.004)
    first = truth["lab_windows"].filter((pl.col("course_no") == 1) & (pl.col("window") == "pre"))
    shown = table.filter((pl.col("analyte") == "CD4") & (pl.col("window") == "pre")).row(0, named=True)
    values = first.filter(pl.col("analyte") == "CD4")["value"]
    assert (shown["n"], shown["median"]) == (values.len(), values.median())


def test_every_course_is_in_the_flow_once_and_what_came_first_counts(truth: Frames) -> None:
    flow = state_flow(study_frames(truth), QUICK)
    assert flow["n"].sum() == truth["courses"].height
    before = dict(flow.group_by("state_pre").agg(pl.col("n").sum()).iter_rows())
    assert before == {"RR": 11, "MRDpos": 40, "MRDneg": 74}
    further = flow.filter(pl.col("next_therapy") == COURSE)["n"].sum()
    assert further == truth["courses"].height - truth["patients"].height
    person = truth["courses"].filter(pl.col("course_no") == 1)["person_id"][0]
    one = {name: truth[name].filter(pl.col("person_id") == person) for name in ("patients", "courses", "lab_windows")}
    end = one["courses"]["end_day"].max()
    for hsct, efs, expected in ((end + 5, end + 9, HSCT), (end + 9, end + 5, EVENT), (end - 1, None, NONE)):
        patients = one["patients"].with_columns(
            hsct_day=pl.lit(hsct, pl.Int32), cart_day=pl.lit(None, pl.Int32), efs_days=pl.lit(efs, pl.Int32),
            efs_event=pl.lit(0 if efs is None else 1, pl.Int8),
        )  # fmt: skip
        last = state_flow(study_frames(one | {"patients": patients}), QUICK)
        assert last.filter(pl.col("next_therapy") != COURSE)["next_therapy"].to_list() == [expected]


def test_a_relapse_before_the_first_bag_is_counted_once_and_a_later_one_not(truth: Frames) -> None:
    rows = [(1, "relapse", "recorded", -45), (1, "relapse", "recorded", -45), (2, "relapse", "recorded", 30),
            (3, "refractory", "recorded", -9), (4, "relapse", "outcome", 0)]  # fmt: skip
    events = pl.DataFrame(rows, schema=["person_id", "event", "label", "day"], orient="row")
    table = baseline_table(study_frames(truth | {"events": events}))
    relapsed = table.filter((pl.col("variable") == "prior_relapse") & (pl.col("group") == "overall"))
    assert dict(relapsed.select("level", "n").iter_rows()) == {"0": 104, "1": 1}
    nothing = baseline_table(study_frames(truth)).filter(pl.col("variable") == "prior_relapse")
    assert nothing.is_empty()  # no events derived: unknown, not none


def test_the_risk_difference_is_that_of_non_response(truth: Frames) -> None:
    row = predictors_table(study_frames(truth), QUICK).filter(pl.col("coding") == "nested").row(0, named=True)
    assert row["factor"] == "poor_cytogenetics"
    assert row["risk_difference"] == pytest.approx(8 / 15 - 1 / 36)


def test_no_event_yet_has_the_exact_upper_limit() -> None:
    low, high, method = _limits(0.0, 0.0, 39, 0.95)
    assert (low, method) == (0.0, "Clopper-Pearson (at risk)")
    assert high == pytest.approx(1 - 0.025 ** (1 / 39))
    assert _limits(0.0, 0.0, 0, 0.95) == (None, None, None)


def test_an_unstable_ratio_of_delayed_entry_is_given_as_an_interval_only(truth: Frames) -> None:
    rows = {(row["endpoint"], row["stratum"]): row for row in delayed_entry_rows(study_frames(truth), QUICK)}
    wild, calm = rows["EFS", "RR"], rows["EFS", "CR_MRDpos"]
    assert wild["estimate"] is None
    assert wild["upper"] / wild["lower"] > 100
    assert wild["note"].startswith("no stable estimate")
    assert calm["lower"] < calm["estimate"] < calm["upper"]
    assert "at risk (delayed entry)" in calm["note"]
