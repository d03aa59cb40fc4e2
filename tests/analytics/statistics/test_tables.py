"""What holds for every table: no NaN, an interval for every estimate, and an answer for cohorts of any shape."""

import math
from dataclasses import dataclass

import polars as pl
import pytest

from analytics.results import all_results
from analytics.statistics import StatisticsParameters, run_analyses
from analytics.statistics.cytokines import cytokine_table
from analytics.statistics.frames import study_frames, survival_of
from analytics.statistics.logrank import log_rank_tests
from analytics.statistics.parameters import settings_table, statistics_parameters
from analytics.statistics.proportions import clustered_models, response_table
from analytics.statistics.regression import response_models
from analytics.statistics.survival import survival_tables
from analytics.statistics.tables import SCHEMAS, tidy
from analytics.statistics.tests import predictors_table, response_tests
from analytics.study import load_study
from etl.errors import StudyError

Frames = dict[str, pl.DataFrame]
QUICK = StatisticsParameters(permutations=100, bootstrap=50, concordance_bootstrap=5)
FAST = {"statistics": {"permutations": 100, "bootstrap": 50, "concordance_bootstrap": 5}}
PLAN = {
    "attrition", "baseline", "classification", "exposure", "response", "tests", "predictors", "models",
    "survival_curves", "risk_table", "survival_at", "cumulative_incidence", "paired", "safety", "settings",
}  # fmt: skip


def numbers_are_finite(tables: Frames) -> None:
    for name, table in tables.items():
        for column in table.select(pl.col(pl.Float64)).iter_columns():
            assert all(math.isfinite(value) for value in column.drop_nulls()), f"{name}.{column.name}"


def test_the_tables_of_the_plan_are_there_with_their_columns(tables: Frames) -> None:
    assert set(tables) >= PLAN
    for name, table in tables.items():
        assert dict(table.schema) == SCHEMAS[name]
        # the truth has no bags, no operators and no counts between the windows
        assert table.height > 0 or name in ("swimmer", "mrd_change", "cell_trajectory"), name
    numbers_are_finite(tables)


def test_every_estimate_has_an_interval_or_says_why_not(tables: Frames) -> None:
    limits = {
        "models": ("estimate", "lower", "upper"),
        "response": ("percent", "cp_lower", "cp_upper"),
        "survival_at": ("survival", "lower", "upper"),
        "survival_curves": ("survival", "lower", "upper"),
        "safety": ("percent", "lower", "upper"),
        "rates": ("rate_per_100_days", "lower", "upper"),
        "predictors": ("risk_difference", "rd_lower", "rd_upper"),
        "paired": ("shift", "shift_lower", "shift_upper"),
        "cytokines": ("ratio", "ratio_lower", "ratio_upper"),
    }
    for name, (estimate, low, high) in limits.items():
        told = pl.col("note").is_not_null() if "note" in tables[name].columns else pl.lit(False)
        given = tables[name].filter(pl.col(estimate).is_not_null())
        bare = given.filter((pl.col(low).is_null() | pl.col(high).is_null()) & ~told)
        assert bare.is_empty(), f"{name}: {bare.height}"
        inside = given.filter((pl.col(low) > pl.col(estimate) + 1e-9) | (pl.col(high) < pl.col(estimate) - 1e-9))
        assert inside.is_empty(), f"{name}: {inside.height}"


def test_curves_start_at_day_zero_and_never_rise(tables: Frames) -> None:
    for (_, _), curve in tables["survival_curves"].group_by("endpoint", "stratum"):
        ordered = curve.sort("time")
        assert ordered["time"][0] == 0
        assert ordered["survival"][0] == 1
        assert (ordered["survival"].diff().drop_nulls() <= 1e-12).all()
        assert ordered["events"].sum() + ordered["censored"].sum() == ordered["at_risk"][0]


def test_cumulative_incidences_and_survival_add_up_to_one(tables: Frames) -> None:
    total = (
        tables["cumulative_incidence"].filter(pl.col("time") == 365).group_by("stratum").agg(cif=pl.col("cif").sum())
    )
    efs = tables["survival_at"].filter((pl.col("endpoint") == "EFS") & (pl.col("time") == 365))
    both = total.join(efs, on="stratum")
    assert both.height == 3
    assert (both["cif"] + both["survival"]).to_list() == pytest.approx([1.0] * 3)


def test_p_values_name_n_events_and_unit(tables: Frames) -> None:
    made = tables["tests"].filter(pl.col("p").is_not_null())
    for column in ("n", "events", "unit_of_analysis", "test"):
        assert made[column].null_count() == 0


def test_percentages_of_a_variable_add_up_to_one_hundred(tables: Frames) -> None:
    for variable in ("sex", "site", "genetic_subtype", "mrd_level"):
        part = tables["baseline"].filter((pl.col("variable") == variable) & (pl.col("group") == "overall"))
        assert part["percent"].sum() == pytest.approx(100)


def only(truth: Frames, persons: pl.Expr) -> Frames:
    keep = truth["patients"].filter(persons)["person_id"].implode()
    return {
        name: frame.filter(pl.col("person_id").is_in(keep)) if "person_id" in frame.columns else frame
        for name, frame in truth.items()
    }


COHORTS = {
    "nobody": lambda t: only(t, pl.lit(False)),
    "one child": lambda t: only(t, pl.col("person_id") == 1),
    "ten children": lambda t: only(t, pl.col("person_id") <= 10),
    "one stratum": lambda t: only(t, pl.col("km_stratum") == "CR_MRDneg"),
    "no events": lambda t: t | {"patients": t["patients"].with_columns(efs_event=pl.lit(0), os_event=pl.lit(0))},
    "all events": lambda t: t | {"patients": t["patients"].with_columns(efs_event=pl.lit(1), os_event=pl.lit(1))},
    "all on day 0": lambda t: t | {"patients": t["patients"].with_columns(efs_days=pl.lit(0), os_days=pl.lit(0))},
    "everything missing": lambda t: (
        t
        | {
            name: t[name].with_columns(
                pl.lit(None, kind).alias(c) for c, kind in t[name].schema.items() if c not in keys
            )
            for name, keys in (("patients", {"person_id"}), ("courses", {"person_id", "course_no"}))
        }
    ),
}


@pytest.mark.parametrize("cohort", COHORTS)
def test_any_cohort_gives_tables_without_an_error(cohort: str, truth: Frames) -> None:
    tables = all_results(COHORTS[cohort](truth), FAST)
    numbers_are_finite(tables)
    assert set(tables) >= PLAN


def test_a_patient_with_two_courses_for_disease_refuses_the_two_by_two_tests(truth: Frames) -> None:
    again = truth["courses"].filter(pl.col("state_pre") == "RR").with_columns(pl.col("course_no") + 1)
    frames = study_frames(truth | {"courses": pl.concat([truth["courses"], again])})
    predictors = predictors_table(frames, QUICK)
    assert predictors["fisher_p"].null_count() == predictors.height
    assert all(note.startswith("refused") for note in predictors["note"])
    fisher = response_tests(frames)
    assert fisher["p"][0] is None
    assert fisher["note"][0].startswith("refused")
    assert response_models(frames, QUICK)["estimate"].null_count() == 6
    clustered = clustered_models(frames, QUICK).filter(pl.col("outcome") == "response")
    assert clustered["estimate"][0] == pytest.approx(100 * 51 / 62)


def test_the_unknown_stratum_is_shown_but_not_compared(truth: Frames) -> None:
    unknown = pl.when(pl.col("person_id") == 3).then(pl.lit("UNKNOWN")).otherwise("km_stratum")
    efs = survival_of(truth["patients"].with_columns(km_stratum=unknown), "EFS")
    assert "UNKNOWN" in survival_tables(efs, QUICK)["survival_at"]["stratum"].to_list()
    row = log_rank_tests(efs, QUICK).filter(pl.col("test") == "log-rank").row(0, named=True)
    assert row["n"] == 104
    assert "1 of UNKNOWN stratum left out" in row["note"]


def test_a_missing_post_marrow_is_non_response_in_mrdpos_and_missing_in_rr(truth: Frames) -> None:
    first = pl.col("course_no") == 1
    blank = [pl.when(first).then(None).otherwise(pl.col(c)).alias(c) for c in ("response_cr", "assessment_day")]
    response = response_table(study_frames(truth | {"courses": truth["courses"].with_columns(blank)}), QUICK)
    found = {
        (row["analysis_id"], row["group"]): (row["k"], row["n"])
        for row in response.filter(pl.col("site") == "all").iter_rows(named=True)
    }
    assert found["A2", "RR"] == (0, 0)
    assert found["A2", "MRDpos"] == (0, 40)
    assert found["A2-complete-case", "MRDpos"] == (0, 0)


def test_censored_cytokines_raise_the_ratio_and_are_counted(truth: Frames, tables: Frames) -> None:
    low = (pl.col("analyte") == "IL-6") & (pl.col("window") == "baseline") & (pl.col("value") < 2)
    marked = truth["lab_windows"].with_columns(operator=pl.when(low).then(pl.lit("<")))
    row = cytokine_table(study_frames(truth | {"lab_windows": marked}), QUICK).row(0, named=True)
    assert row["n_censored"] == truth["lab_windows"].filter(low).height
    assert row["ratio"] > tables["cytokines"]["ratio"][0]
    assert "tobit" in row["method"]


def test_missing_exposures_are_set_for_and_against_an_association(tables: Frames) -> None:
    rows = tables["sensitivity"].filter(pl.col("analysis_id") == "S15")
    assert rows["note"].to_list() == ["2 missing; 4/9 vs 5/42", "2 missing; 4/9 vs 7/42"]
    assert rows["p"][0] < rows["p"][1]


def test_numbers_that_are_not_finite_become_null_and_the_note_says_which() -> None:
    row = {"model": "m", "estimate": float("inf"), "lower": float("nan"), "upper": 2.0, "note": "small"}
    table = tidy("models", [row])
    assert table.select("estimate", "lower", "upper").row(0) == (None, None, 2.0)
    assert table["note"][0] == "small; not estimable: estimate, lower"


def test_a_column_that_the_table_does_not_have_is_an_error() -> None:
    with pytest.raises(KeyError, match="hazard"):
        tidy("models", [{"hazard": 1.0}])


def test_missing_frames_and_columns_are_all_named(truth: Frames) -> None:
    broken = {"patients": truth["patients"].drop("efs_days", "sex"), "courses": truth["courses"]}
    with pytest.raises(StudyError) as caught:
        run_analyses(broken)
    assert set(caught.value.problems) == {
        "patients.efs_days: no such column", "patients.sex: no such column", "lab_windows: no such frame",
    }  # fmt: skip


def test_an_unknown_parameter_of_the_statistics_is_refused_with_a_hint() -> None:
    with pytest.raises(StudyError, match="did you mean 'permutations'"):
        statistics_parameters({"statistics": {"permutation": 10}})
    assert statistics_parameters({"statistics": {"survival_days": [90]}}).survival_days == (90,)
    with pytest.raises(StudyError, match="confidence"):
        StatisticsParameters(confidence=0.3)


def test_the_settings_name_every_parameter_and_one_hash() -> None:
    study = load_study()
    table = settings_table(study)
    assert set(study.parameters) <= set(table["name"])
    assert "statistics.seed" in table["name"].to_list()
    assert table["param_hash"].unique().to_list() == [study.param_hash]
    one, other = settings_table({"efs@1": "a"}), settings_table({"efs@1": "b"})
    assert one["param_hash"][0] != other["param_hash"][0]
    assert one.filter(pl.col("name") == "efs")["version"][0] == "1"


def test_the_settings_are_those_that_the_frames_were_derived_with() -> None:
    @dataclass
    class Made:
        parameters: pl.DataFrame
        param_hash: str

    made = Made(pl.DataFrame({"name": ["efs"], "version": ["1"], "value": ['"S2"']}), "feed")
    table = settings_table(load_study(), made)
    assert table["param_hash"].unique().to_list() == ["feed"]
    assert table.filter(~pl.col("name").str.starts_with("statistics."))["name"].to_list() == ["efs"]
