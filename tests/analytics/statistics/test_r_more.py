"""The same numbers as R (etm, exactRankTests, brglm, metafor, geepack, nlme, survival): what test_r_values.py lacks.

tests/oracle/r_values.json was written by tests/oracle/r_values.R; R is not needed here. Where two libraries stop their
iterations at different points, the tolerance is that of the looser one and is said.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from lifelines.datasets import load_rossi, load_stanford_heart_transplants
from statsmodels.stats.multitest import multipletests

from analytics.statistics.competing import aalen_johansen
from analytics.statistics.cox import cox
from analytics.statistics.firth import firth_cox, firth_logistic
from analytics.statistics.frames import study_frames
from analytics.statistics.multilevel import _gee, _mixed
from analytics.statistics.paired import (
    hodges_lehmann,
    log_ratio,
    rounded_differences,
    signed_rank,
    signed_rank_exact,
)
from analytics.statistics.parameters import StatisticsParameters
from analytics.statistics.pooling import pooled
from analytics.statistics.proportions import clopper_pearson, disease_courses, newcombe, wilson
from analytics.statistics.regression import stratum_indicators
from analytics.statistics.tests import benjamini_hochberg, chi_square, fisher_mid
from analytics.statistics.timedep import fit_time_dependent

R: dict[str, Any] = json.loads((Path(__file__).parents[2] / "oracle" / "r_values.json").read_text())
Frames = dict[str, pl.DataFrame]


def check_terms(terms: Any, expected: dict[str, Any], rel: float = 1e-6) -> None:
    assert [t.coef for t in terms] == pytest.approx(expected["coef"], rel=rel)
    assert [t.se for t in terms] == pytest.approx(expected["se"], rel=rel)
    assert [t.p for t in terms] == pytest.approx(expected["p"], rel=10 * rel)


@pytest.fixture(scope="module")
def late_rossi() -> pl.DataFrame:
    rossi = pl.from_pandas(load_rossi()).rename({"week": "time", "arrest": "event"})
    return rossi.with_columns(entry=(pl.col("time") / 3).floor()).filter(pl.col("entry") < pl.col("time"))


def test_cox_with_ties_and_left_truncation(late_rossi: pl.DataFrame) -> None:
    check_terms(cox(late_rossi, ["fin", "prio"], entry="entry").terms, R["rossi_truncated_cox"])


def test_cox_with_ties_left_truncation_and_strata(late_rossi: pl.DataFrame) -> None:
    fit = cox(late_rossi, ["age", "prio"], entry="entry", strata="wexp")
    check_terms(fit.terms, R["rossi_truncated_strata"])


def test_a_covariate_that_changes_with_time() -> None:
    heart = pl.from_pandas(load_stanford_heart_transplants()).rename({"id": "person_id"})
    terms = fit_time_dependent(heart, ["transplant", "surgery"], 0.95)
    check_terms(terms, R["heart"])


def test_cumulative_incidence_with_ties_has_the_greenwood_type_variance(truth: Frames) -> None:
    rossi, patients = load_rossi(), truth["patients"]
    invented = np.where(rossi["arrest"] == 0, 0.0, np.where(rossi["age"] < 23, 1.0, 2.0))
    died = (patients["efs_event_type"] == "death_in_remission").fill_null(False).to_numpy()
    causes = np.where(patients["efs_event"].to_numpy() == 0, 0.0, np.where(died, 2.0, 1.0))
    for name, time, cause in (
        ("rossi_competing", rossi["week"].to_numpy().astype(float), invented),
        ("truth_competing", patients["efs_days"].to_numpy().astype(float), causes),
    ):
        for k in (1, 2):
            found = aalen_johansen(time, cause, k)
            at = [int(np.searchsorted(found.time, day, side="right")) - 1 for day in R[name]["time"]]
            assert found.cif[at] == pytest.approx(R[name]["cif"][k - 1], rel=1e-9)
            assert found.se[at] ** 2 == pytest.approx(R[name]["variance"][k - 1], rel=1e-9)


def test_proportions_and_their_difference() -> None:
    for row in R["proportions"]:
        assert clopper_pearson(row["k"], row["n"]) == pytest.approx(tuple(row["exact"]), abs=1e-9)
        assert wilson(row["k"], row["n"]) == pytest.approx(tuple(row["wilson"]), abs=1e-9)
    for row in R["newcombe"]:
        assert newcombe(*row["counts"]) == pytest.approx(tuple(row["value"]), abs=1e-9)


def test_mid_p_and_yates() -> None:
    for row in R["mid_p"]:
        assert fisher_mid(*row["counts"]) == pytest.approx(row["value"], rel=1e-9)
    assert chi_square(8, 1, 7, 35, yates=True) == pytest.approx(R["yates"], rel=1e-9)


def test_adjusted_p_values() -> None:
    expected = R["adjusted"]
    assert benjamini_hochberg(expected["p"]) == pytest.approx(expected["bh"])
    assert multipletests(expected["p"], method="holm")[1] == pytest.approx(expected["holm"])


def test_signed_ranks_with_ties_and_a_zero_are_exact_after_rounding() -> None:
    before, after = (np.array(R["tied"][name]) for name in ("before", "after"))
    rounded = rounded_differences(before, after, 0.01)
    assert signed_rank_exact(rounded) == pytest.approx(R["tied"]["exact"], rel=1e-12)
    assert signed_rank(rounded) == pytest.approx(R["tied"]["normal"], rel=1e-9)
    assert signed_rank(after - before) != pytest.approx(R["tied"]["normal"], rel=1e-3)  # the trap that rounding avoids


def test_the_shift_has_rs_exact_limits() -> None:
    pair = R["signed_rank"]
    for differences, expected in (
        (np.array(pair["after"]) - np.array(pair["before"]), R["shift"]),
        (np.array(R["shift_31"]["differences"]), R["shift_31"]),
    ):
        shift, low, high = hodges_lehmann(differences, 0.95)
        assert [shift, low, high] == pytest.approx([expected["estimate"], *expected["limits"]], abs=1e-9)


def test_the_geometric_mean_ratio_has_t_limits() -> None:
    pair = R["signed_rank"]
    assert log_ratio(np.array(pair["before"]), np.array(pair["after"]), 0.95) == pytest.approx(tuple(R["ratio"]))


def check_firth(terms: Any, expected: list[dict[str, float]]) -> None:
    """firthmodels stops at a step of 1e-6 and profiles to about 1e-4."""
    for term, value in zip(terms, expected, strict=True):
        assert term.coef == pytest.approx(value["coef"], abs=2e-5)
        assert [term.lower, term.upper] == pytest.approx([value["lower"], value["upper"]], abs=5e-4)
        assert term.p == pytest.approx(value["p"], rel=1e-4)


def test_firths_cox_is_the_maximum_of_rs_penalised_likelihood(truth: Frames) -> None:
    frames = study_frames(truth)
    nested = ("high_mrd", "bcr_abl1", "poor_cytogenetics")
    check_firth(firth_cox(frames.patients, "EFS", nested), R["firth_cox"])
    strata = stratum_indicators(frames.patients)
    check_firth(firth_cox(strata, "OS", ("CR_MRDpos", "RR")), R["firth_cox_os"])  # a stratum without a death


def test_firths_logistic_is_the_maximum_of_rs_penalised_likelihood_and_brglms(truth: Frames) -> None:
    courses = disease_courses(study_frames(truth))
    terms = firth_logistic(courses, "responded", ("high_mrd", "bcr_abl1", "poor_cytogenetics"), failure=0)
    check_firth(terms, R["firth_logistic"])
    assert [term.coef for term in terms] == pytest.approx(R["brglm"], abs=2e-5)


def check_gee(courses: pl.DataFrame, expected: dict[str, Any]) -> None:
    row = _gee("mrd_neg_post", "", courses, StatisticsParameters())
    assert [row["coef"], row["se"]] == pytest.approx([expected["coef"], expected["se"]], rel=1e-6)
    assert f"working correlation {expected['correlation']:.3f}" in str(row["note"])


def test_courses_of_one_patient_by_gee(truth: Frames) -> None:
    negative = truth["courses"].filter(pl.col("state_pre") == "MRDneg").with_columns(good=pl.col("mrd_neg_post"))
    check_gee(negative, R["gee"])


def test_many_courses_of_one_patient_that_are_alike_by_gee() -> None:
    alike = R["gee_alike"]
    courses = pl.DataFrame({"person_id": alike["person"], "good": alike["outcome"]}).with_columns(
        course_no=pl.int_range(pl.len()).over("person_id") + 1
    )
    check_gee(courses, alike)


def test_all_courses_by_a_mixed_model() -> None:
    expected = R["mixed"]
    ratios = pl.DataFrame({"person_id": expected["person"], "log_ratio": expected["log_ratio"]})
    row = _mixed("CD3", ratios, StatisticsParameters())
    assert row["coef"] == pytest.approx(expected["coef"], abs=1e-5)
    # statsmodels takes the SE from the Hessian, nlme from the variance components (which agree)
    assert row["se"] == pytest.approx(expected["se"], rel=2e-3)


def test_sites_pooled_by_paule_and_mandel() -> None:
    expected = R["pooled"]
    found = pooled(expected["effect"], expected["variance"], 0.95)
    assert found is not None
    assert [found.effect, found.tau2, found.q] == pytest.approx([expected[k] for k in ("mean", "tau2", "q")], rel=1e-5)
    assert found.q_p == pytest.approx(expected["q_p"], rel=1e-6)
    widest = max((expected["knha"], expected["normal"]), key=lambda limits: limits[1] - limits[0])
    assert [found.lower, found.upper] == pytest.approx(widest, rel=1e-4)
