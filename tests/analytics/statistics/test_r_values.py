"""The same numbers as R survival 3.5 on public data with ties, strata, left truncation, and on the synthetic truth.

tests/oracle/r_values.json was written by tests/oracle/r_values.R; R is not needed here.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from lifelines.datasets import load_larynx, load_lung, load_rossi

from analytics.statistics.competing import aalen_johansen
from analytics.statistics.cox import cox, zph
from analytics.statistics.cytokines import censored_mean
from analytics.statistics.frames import Survival, usable
from analytics.statistics.logrank import _deaths, _difference_and_variance, _one_hot, _statistics, log_rank
from analytics.statistics.paired import signed_rank, signed_rank_exact
from analytics.statistics.safety import poisson_limits
from analytics.statistics.survival import kaplan_meier, median_follow_up, restricted_mean, survival_point
from analytics.statistics.tests import chi_square, fisher

R: dict[str, Any] = json.loads((Path(__file__).parents[2] / "oracle" / "r_values.json").read_text())


def survival(frame: pl.DataFrame, group: str | None = None) -> Survival:
    strata = frame[group].cast(pl.String) if group else pl.Series([""] * frame.height)
    time, event = frame["time"].to_numpy().astype(float), frame["event"].to_numpy().astype(bool)
    return Survival("", time, event, strata.to_numpy().astype(np.str_), 0)


@pytest.fixture(scope="module")
def rossi() -> pl.DataFrame:
    return pl.from_pandas(load_rossi()).rename({"week": "time", "arrest": "event"})


@pytest.fixture(scope="module")
def lung() -> pl.DataFrame:
    return pl.from_pandas(load_lung()).rename({"status": "event"})


def check_cox(fit: Any, expected: dict[str, Any]) -> None:
    assert [t.coef for t in fit.terms] == pytest.approx(expected["coef"], rel=1e-6)
    assert [t.se for t in fit.terms] == pytest.approx(expected["se"], rel=1e-6)
    assert [t.p for t in fit.terms] == pytest.approx(expected["p"], rel=1e-4)
    assert [fit.loglik_null, fit.loglik] == pytest.approx(expected["loglik"], abs=1e-5)


def test_cox_with_tied_events_is_efrons(rossi: pl.DataFrame) -> None:
    fit = cox(rossi, ["fin", "age", "prio"])
    check_cox(fit, R["rossi_cox"])
    assert fit.concordance == pytest.approx(R["rossi_cox"]["concordance"], abs=1e-6)


def test_cox_with_strata(rossi: pl.DataFrame) -> None:
    check_cox(cox(rossi, ["age", "prio"], strata="wexp"), R["rossi_cox_strata"])


def test_cox_of_the_lung_data(lung: pl.DataFrame) -> None:
    check_cox(cox(lung.drop_nulls(["age", "sex", "ph.ecog"]), ["age", "sex", "ph.ecog"]), R["lung_cox"])


def test_cox_of_the_synthetic_truth(truth: dict[str, pl.DataFrame]) -> None:
    names = ["high_mrd_ge1pct", "bcr_abl1", "poor_cytogenetics"]
    efs = usable(truth["patients"], "EFS")
    check_cox(cox(efs, names), R["truth_cox"])
    check_cox(cox(efs, names, strata="site"), R["truth_stratified"])


@pytest.mark.parametrize("name", ["rossi", "lung"])
def test_the_proportional_hazards_test_is_cox_zph(name: str, rossi: pl.DataFrame, lung: pl.DataFrame) -> None:
    expected = R[f"{name}_zph"]
    names = expected["names"][:-1]
    frame = rossi if name == "rossi" else lung.drop_nulls(names)
    fit = cox(frame, names)
    found = zph(frame, names, np.array([t.coef for t in fit.terms]))
    assert [found[n][0] for n in expected["names"]] == pytest.approx(expected["chisq"], rel=1e-6)
    assert [found[n][1] for n in expected["names"]] == pytest.approx(expected["p"], rel=1e-6)


def test_the_proportional_hazards_test_without_ties_is_exact(truth: dict[str, pl.DataFrame]) -> None:
    expected = R["truth_zph"]
    efs = usable(truth["patients"], "EFS")
    found = zph(efs, expected["names"][:-1], np.array(R["truth_cox"]["coef"]))
    assert [chisq for chisq, _ in found.values()] == pytest.approx(expected["chisq"], rel=1e-6)


def check_curve(frame: pl.DataFrame, expected: dict[str, Any]) -> None:
    entry = frame["entry"].to_numpy().astype(float) if "entry" in frame.columns else None
    data = survival(frame)
    curve = kaplan_meier(data.time, data.event, entry)
    points = [survival_point(curve, day, 0.95) for day in expected["time"]]
    for name in ("survival", "se", "lower", "upper", "at_risk"):
        assert [getattr(p, name) for p in points] == pytest.approx(expected[name], abs=1e-9), name


def test_survival_greenwood_and_log_log_limits(rossi: pl.DataFrame, lung: pl.DataFrame) -> None:
    check_curve(rossi, R["rossi_km"])
    for sex, expected in zip((1, 2), R["lung_km"], strict=True):
        check_curve(lung.filter(pl.col("sex") == sex), expected)


def test_survival_with_late_entry(rossi: pl.DataFrame) -> None:
    late = rossi.with_columns(entry=(pl.col("time") / 3).floor()).filter(pl.col("entry") < pl.col("time"))
    check_curve(late, R["rossi_truncated_km"])


def test_log_rank_and_rho_1(rossi: pl.DataFrame, lung: pl.DataFrame) -> None:
    for frame, group, expected in ((rossi, "fin", R["rossi_logrank"]), (lung, "sex", R["lung_logrank"])):
        data = survival(frame, group)
        assert log_rank(data).statistic == pytest.approx(expected["chisq"], rel=1e-6)
        assert log_rank(data, rho=1).statistic == pytest.approx(expected["rho1"], rel=1e-6)


def test_trend_and_the_vectorised_log_rank() -> None:
    larynx = pl.from_pandas(load_larynx())
    stage = (larynx["Stage_II"] + 2 * larynx["Stage_III"] + 3 * larynx["Stage_IV"]).to_numpy().astype(np.int64)
    deaths = _deaths(larynx["time"].to_numpy(), larynx["death"].to_numpy().astype(bool))
    difference, variance = _difference_and_variance(deaths, _one_hot(stage, 4))
    scores = np.arange(4.0)
    trend = (scores @ difference) ** 2 / (scores @ variance @ scores)
    assert trend == pytest.approx(R["larynx_trend"]["trend"], rel=1e-9)
    assert float(_statistics(difference, variance)) == pytest.approx(R["larynx_trend"]["global"], rel=1e-9)


def test_restricted_mean_and_its_error(rossi: pl.DataFrame, truth: dict[str, pl.DataFrame]) -> None:
    data = survival(rossi)
    area, se = restricted_mean(kaplan_meier(data.time, data.event), 40)
    assert [area, se] == pytest.approx(list(R["rossi_rmst"].values()), rel=1e-9)
    efs = usable(truth["patients"], "EFS")
    for stratum, expected in R["truth_rmst"].items():
        part = survival(efs.filter(pl.col("km_stratum") == stratum))
        found = restricted_mean(kaplan_meier(part.time, part.event), 365)
        assert found == pytest.approx(tuple(expected.values()), rel=1e-9)


def test_median_follow_up_by_the_reverse_curve(lung: pl.DataFrame) -> None:
    data = survival(lung)
    assert median_follow_up(data.time, data.event, 0.95) == pytest.approx(tuple(R["lung_follow_up"].values()))


def test_cumulative_incidence_and_its_error(truth: dict[str, pl.DataFrame]) -> None:
    efs = usable(truth["patients"], "EFS")
    kind = pl.when(~pl.col("event")).then(0.0).when(pl.col("efs_event_type") == "death_in_remission").then(2.0)
    efs = efs.with_columns(cause=kind.otherwise(1.0))
    for stratum, expected in R["cif"].items():
        part = efs.filter(pl.col("km_stratum") == stratum)
        for cause in (1, 2):
            found = aalen_johansen(part["time"].to_numpy(), part["cause"].to_numpy(), cause)
            for row, day in enumerate((182, 365, 730)):
                place = int(np.searchsorted(found.time, day, side="right")) - 1
                assert found.cif[place] == pytest.approx(expected["pstate"][row][cause], abs=1e-12)
                assert found.se[place] == pytest.approx(expected["se"][row][cause], rel=0.01, abs=1e-12)


def test_signed_rank_exact_normal_and_corrected() -> None:
    expected = R["signed_rank"]
    differences = np.round(np.array(expected["after"]) - np.array(expected["before"]), 10)
    assert signed_rank_exact(differences) == pytest.approx(expected["exact"])
    assert signed_rank(differences) == pytest.approx(expected["normal"])
    assert signed_rank(differences, correction=True) == pytest.approx(expected["corrected"])


def test_two_by_two_and_rates() -> None:
    assert fisher(8, 1, 7, 35) == pytest.approx(R["mid"]["fisher"], rel=1e-9)
    assert chi_square(8, 1, 7, 35, yates=False) == pytest.approx(R["mid"]["pearson"], rel=1e-9)
    assert poisson_limits(3, 120, 0.95) == pytest.approx(tuple(R["poisson"]["three"]), rel=1e-9)
    assert poisson_limits(0, 120, 0.95) == pytest.approx(tuple(R["poisson"]["none"]), rel=1e-9)


def test_the_censored_mean_is_survregs() -> None:
    expected = R["interval_regression"]
    lower = np.array([-np.inf if v is None else v for v in expected["low"]])
    upper = np.array([np.inf if v is None else v for v in expected["high"]])
    found = censored_mean(lower, upper)
    assert found is not None
    assert found.mean == pytest.approx(expected["mean"], abs=2e-4)
    assert found.se == pytest.approx(expected["se"], abs=2e-4)
