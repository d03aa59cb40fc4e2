"""One test for each software trap of PROTOCOL section 9: what the library does, and that we do not."""

import inspect
import warnings
from pathlib import Path

import lifelines
import numpy as np
import polars as pl
import pytest
from firthmodels import FirthLogisticRegression
from lifelines.exceptions import ConvergenceError
from lifelines.statistics import multivariate_logrank_test

from analytics.statistics import cox as cox_module
from analytics.statistics.competing import aalen_johansen
from analytics.statistics.cox import RETRIED, cox
from analytics.statistics.firth import NO_VARIATION, firth_cox, firth_logistic
from analytics.statistics.frames import Survival, survival_of, usable
from analytics.statistics.logrank import log_rank, permutation
from analytics.statistics.paired import limits_reached, rounded_differences, signed_rank
from analytics.statistics.survival import EXACT, kaplan_meier, survival_point
from analytics.statistics.timedep import counting_process, fit_time_dependent

NAMES = ["high_mrd_ge1pct", "bcr_abl1", "poor_cytogenetics"]
Truth = dict[str, pl.DataFrame]
Tables = dict[str, pl.DataFrame]


def test_a_cox_fit_that_does_not_converge_is_repeated_with_a_smaller_step(
    truth: Truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stubborn(lifelines.CoxPHFitter):
        def fit(self, *args: object, fit_options: dict[str, float], **options: object) -> object:
            if "step_size" not in fit_options:
                raise ConvergenceError("diverged")
            return super().fit(*args, fit_options=fit_options, **options)

    monkeypatch.setattr(cox_module, "CoxPHFitter", Stubborn)
    fit = cox(usable(truth["patients"], "EFS"), NAMES)
    assert RETRIED in (fit.terms[0].note or "")
    assert fit.terms[0].ratio == pytest.approx(4.4748, rel=1e-4)


def test_a_cox_fit_that_never_converges_is_reported_not_raised(truth: Truth, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hopeless(lifelines.CoxPHFitter):
        def fit(self, *args: object, **options: object) -> object:
            raise ConvergenceError("diverged")

    monkeypatch.setattr(cox_module, "CoxPHFitter", Hopeless)
    fit = cox(usable(truth["patients"], "EFS"), NAMES)
    assert fit.fitter is None
    assert "no convergence" in (fit.terms[0].note or "")
    assert fit.terms[0].ratio is None


def test_a_stratum_without_events_gets_exact_limits_where_lifelines_gives_one_to_one(truth: Truth) -> None:
    data = survival_of(truth["patients"], "OS").of("CR_MRDpos")
    library = lifelines.KaplanMeierFitter().fit(data.time, data.event).confidence_interval_.iloc[-1]
    assert library.to_list() == [1.0, 1.0]
    point = survival_point(kaplan_meier(data.time, data.event), 365, 0.95)
    assert (point.ci_method, point.at_risk) == (EXACT, 27)
    assert point.lower == pytest.approx(0.87230, abs=1e-5)


def test_with_nobody_censored_before_the_day_the_exact_limits_use_the_whole_stratum() -> None:
    time, event = np.full(30, 400.0), np.zeros(30, dtype=bool)
    assert survival_point(kaplan_meier(time, event), 365, 0.95).lower == pytest.approx(0.88430, abs=1e-5)


def test_hazard_ratios_of_a_stratum_without_events_are_finite_by_firth(tables: Tables) -> None:
    row = tables["models"].filter(
        (pl.col("model") == "firth_cox") & (pl.col("outcome") == "OS") & (pl.col("term") == "CR_MRDpos")
    )
    assert row["estimate"][0] == pytest.approx(0.49087, rel=1e-4)
    assert row["p"][0] == pytest.approx(0.646274, rel=1e-4)


def test_the_greenwood_error_comes_from_the_event_table() -> None:
    time, event = np.arange(1.0, 11.0), np.array([True, False] * 5)
    point = survival_point(kaplan_meier(time, event), 5, 0.95)
    expected = (9 / 10) * (7 / 8) * (5 / 6)
    assert point.survival == pytest.approx(expected)
    assert point.se == pytest.approx(expected * (1 / 90 + 1 / 56 + 1 / 30) ** 0.5)


def test_our_log_log_limits_are_those_of_lifelines(truth: Truth) -> None:
    data = survival_of(truth["patients"], "EFS").of("RR")
    library = lifelines.KaplanMeierFitter().fit(data.time, data.event).confidence_interval_
    curve = kaplan_meier(data.time, data.event)
    for day in (182, 365, 730):
        low, high = library[library.index <= day].iloc[-1]
        point = survival_point(curve, day, 0.95)
        assert (point.lower, point.upper) == pytest.approx((low, high), abs=1e-9)


def test_differences_are_rounded_before_ranking(tables: Tables) -> None:
    before, after = np.array([0.10]), np.array([0.30])
    assert (after - before)[0] != 0.2
    assert rounded_differences(before, after, 0.01)[0] == 0.2
    assert tables["paired"].filter(pl.col("analyte") == "CD3")["p"][0] == pytest.approx(0.015949, rel=1e-4)


def test_the_wilcoxon_method_and_correction_are_pinned_and_printed(tables: Tables) -> None:
    small = np.array([0.1, -0.2, 0.3, 0.4, 0.5])  # scipy alone would switch to the exact method here
    assert signed_rank(small) != signed_rank(small, correction=True)
    method = tables["paired"]["method"][0]
    assert "without correction" in method
    assert "rounded to 0.01" in method


def test_a_difference_of_zero_is_dropped_and_all_zero_gives_no_p() -> None:
    assert signed_rank(np.array([0.0, 0.1, -0.2, 0.3])) == signed_rank(np.array([0.1, -0.2, 0.3]))
    assert signed_rank(np.zeros(4)) is None


def test_firth_is_not_a_ridge_penalty(truth: Truth) -> None:
    firth = [term.coef for term in firth_cox(truth["patients"], "EFS", NAMES)]
    frame = usable(truth["patients"], "EFS").select("time", "event", *NAMES).to_pandas()
    ridge = lifelines.CoxPHFitter(penalizer=0.1).fit(frame, "time", "event").params_.to_list()
    assert max(abs(a - b) for a, b in zip(firth, ridge, strict=True) if a is not None) > 0.1


def test_firth_limits_are_profile_likelihood_and_the_intercept_is_left_out() -> None:
    frame = pl.DataFrame({"y": [1, 1, 1, 0, 0, 0, 0, 0, 1, 0], "x": [1, 1, 1, 0, 0, 0, 0, 0, 0, 1]})
    terms = firth_logistic(frame, "y", ["x"])
    model = FirthLogisticRegression().fit(frame.select("x").to_numpy(), frame["y"].to_numpy())
    assert len(terms) == 1
    assert len(model.conf_int(method="pl")) == 2  # the intercept comes last
    assert terms[0].lower == pytest.approx(model.conf_int(method="pl")[0, 0])
    assert terms[0].lower != pytest.approx(model.conf_int()[0, 0], abs=1e-3)


def test_monotone_likelihood_has_a_finite_estimate() -> None:
    patients = pl.DataFrame({"os_days": list(range(10, 30)), "os_event": [1, 0] * 10, "x": [1, 0] * 10})
    term = firth_cox(patients, "OS", ["x"])[0]
    assert term.ratio is not None
    assert term.ratio > 1
    assert term.p is not None


def test_rho_1_is_not_lifelines_peto(truth: Truth) -> None:
    data = survival_of(truth["patients"], "EFS")
    peto = multivariate_logrank_test(data.time, data.stratum, data.event, weightings="peto").p_value
    assert peto == pytest.approx(0.0011740, abs=5e-7)
    assert log_rank(data, rho=1).p == pytest.approx(0.0011699, abs=5e-7)


def test_tied_competing_events_are_not_jittered() -> None:
    time = np.array([5.0, 5.0, 5.0, 8.0, 9.0])
    cause = np.array([1.0, 2.0, 0.0, 1.0, 0.0])
    first, second = (aalen_johansen(time, cause, 1) for _ in range(2))
    assert first.cif.tolist() == second.cif.tolist()
    assert first.cif.tolist() == pytest.approx([0.2, 0.2 + 0.6 * 0.5])


def test_time_dependent_treatment_splits_the_person_at_its_day(truth: Truth) -> None:
    efs = usable(truth["patients"], "EFS").with_columns(RR=pl.lit(1))
    intervals = counting_process(efs, "hsct_day")
    treated = efs.filter(pl.col("hsct_day").is_not_null() & (pl.col("hsct_day") < pl.col("time")))
    assert intervals.height == efs.height + treated.height
    assert intervals["event"].sum() == efs["event"].sum()
    assert (intervals["stop"] > intervals["start"]).all()
    days = intervals.select((pl.col("stop") - pl.col("start")).sum()).item()
    assert days == efs["time"].sum()


def test_an_event_on_day_365_counts_at_one_year_and_one_on_day_366_does_not() -> None:
    time, event = np.array([365.0, 366.0, 400.0, 500.0]), np.array([True, True, False, False])
    data = Survival("EFS", time, event, np.array(["a", "a", "b", "b"]), 0)
    assert data.until(365).event.tolist() == [True, False, False, False]
    assert survival_point(kaplan_meier(time, event), 365, 0.95).survival == pytest.approx(0.75)
    assert survival_point(kaplan_meier(time, event), 364, 0.95).survival == 1.0


def test_events_come_before_censorings_of_the_same_day() -> None:
    curve = kaplan_meier(np.array([10.0, 10.0, 20.0]), np.array([True, False, False]))
    assert survival_point(curve, 10, 0.95).survival == pytest.approx(2 / 3)


def test_day_zero_counts_as_half_a_day() -> None:
    patients = pl.DataFrame({"efs_days": [0, 5, -1, None], "efs_event": [1, 0, 1, 0], "km_stratum": ["RR"] * 4})
    data = survival_of(patients, "EFS")
    assert data.time.tolist() == [0.5, 5.0]
    assert data.dropped == 2


def test_the_child_with_the_early_next_course_is_not_a_pair(tables: Tables) -> None:
    assert tables["paired"]["n_pairs"].to_list() == [85, 85, 85]


def test_courses_of_one_patient_are_counted_by_patient_too(tables: Tables) -> None:
    response = tables["response"].filter(pl.col("site") == "all")
    n = dict(zip(response["analysis_id"], response["n"], strict=True))
    assert (n["A3"], n["A3-first-course"], n["A3-course1"]) == (74, 60, 54)
    assert "cluster_bootstrap" in tables["models"]["model"].to_list()


def test_both_codings_of_genetics_are_there_and_labelled(tables: Tables) -> None:
    bcr = tables["models"].filter((pl.col("model") == "firth_logistic") & (pl.col("term") == "bcr_abl1"))
    found = dict(zip(bcr["coding"], bcr["estimate"], strict=True))
    assert found["nested"] == pytest.approx(3.47426, rel=1e-4)
    assert found["exclusive"] == pytest.approx(35.3336, rel=1e-4)
    notes = dict(zip(bcr["coding"], bcr["note"], strict=True))
    assert notes["nested"].startswith("nested coding, for the published comparison only")


def test_ever_never_is_a_warning_beside_the_time_dependent_ratio(tables: Tables) -> None:
    rows = tables["models"].filter(pl.col("term") == "hsct")
    found = {row["model"]: row for row in rows.iter_rows(named=True)}
    assert found["hsct_naive"]["estimate"] == pytest.approx(0.8364, rel=1e-3)
    assert "immortal-time bias" in found["hsct_naive"]["note"]
    assert found["hsct_td"]["estimate"] == pytest.approx(1.2365, rel=1e-3)


def test_factors_without_variation_or_collinear_are_said_not_fitted() -> None:
    patients = pl.DataFrame({"os_days": [10, 20, 30, 40], "os_event": [1, 1, 0, 1], "a": [1, 0, 1, 0]})
    patients = patients.with_columns(b=pl.col("a"), c=pl.lit(0))
    assert firth_cox(patients, "OS", ["a", "c"])[1].note == NO_VARIATION
    notes = {term.note for term in firth_cox(patients, "OS", ["a", "b"])}
    assert notes == {"not estimable: factors collinear"}


def test_the_permutation_p_is_the_same_in_every_run(truth: Truth) -> None:
    data = survival_of(truth["patients"], "EFS")
    first, second = (permutation(data, 500, seed=3) for _ in range(2))
    assert first.p == second.p
    assert first.statistic == pytest.approx(13.8956, abs=1e-4)


def test_library_warnings_end_in_the_note() -> None:
    frame = pl.DataFrame({"time": list(range(1, 21)), "event": [True] * 10 + [False] * 10, "x": [1] * 10 + [0] * 10})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = cox(frame, ["x"])
    assert "separation" in (fit.terms[0].note or "") or "no convergence" in (fit.terms[0].note or "")


def test_phreg_which_may_return_nan_in_silence_is_not_used() -> None:
    sources = Path(cox_module.__file__).parent.glob("*.py")
    assert not any("PHReg" in path.read_text(encoding="utf-8") for path in sources)


def test_the_second_position_of_the_time_varying_fitter_is_not_the_id(truth: Truth) -> None:
    positions = list(inspect.signature(lifelines.CoxTimeVaryingFitter.fit).parameters)
    assert positions[2] == "event_col"  # a positional id would be taken for the event
    efs = usable(truth["patients"], "EFS").with_columns(RR=(pl.col("km_stratum") == "RR").cast(pl.Int8))
    term = fit_time_dependent(counting_process(efs, "hsct_day"), ["treated"], 0.95)[0]
    assert (term.n, term.events) == (105, 15)


def test_a_time_dependent_model_whose_matrix_is_singular_is_not_estimable(monkeypatch):
    def refuse(*_args, **_keywords):
        raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr("analytics.statistics.timedep.CoxTimeVaryingFitter.fit", refuse)
    rows = [(i, 0.0, 10.0 + i, i % 2 == 0, i % 3 == 0) for i in range(8)]
    schema = ["person_id", "start", "stop", "event", "treated"]
    (term,) = fit_time_dependent(pl.DataFrame(rows, schema=schema, orient="row"), ["treated"], 0.95)
    assert (term.coef, term.note) == (None, "not estimable: no convergence")


def test_five_pairs_have_no_limits_of_95_percent_and_six_have() -> None:
    assert [limits_reached(n, 0.95) for n in (1, 5, 6, 85)] == [False, False, True, True]
