"""Single methods against values of the literature or counted by hand."""

import math

import numpy as np
import polars as pl
import pytest

from analytics.statistics.paired import hodges_lehmann, log_ratio, signed_rank_exact
from analytics.statistics.prediction import prediction_interval
from analytics.statistics.proportions import clopper_pearson, cluster_bootstrap, newcombe, wilson
from analytics.statistics.sensitivity import censored_at_transplant, refractory_at_zero
from analytics.statistics.tests import barnard, benjamini_hochberg, chi_square, fisher, fisher_mid


def test_newcombes_interval_is_that_of_his_first_example() -> None:
    # Newcombe 1998, Statistics in Medicine 17:873, example a, method 10: 56/70 against 48/80
    assert newcombe(56, 70, 48, 80) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_intervals_of_nothing_and_everything_stay_between_zero_and_one() -> None:
    assert clopper_pearson(0, 27) == pytest.approx((0.0, 0.127703), abs=1e-6)
    assert clopper_pearson(27, 27) == pytest.approx((0.872297, 1.0), abs=1e-6)
    low, high = wilson(27, 27)
    assert 0 < low < high <= 1


def test_mid_p_lies_below_fishers_p_by_half_of_the_observed_table() -> None:
    chance = math.comb(9, 3) * math.comb(42, 2) / math.comb(51, 5)
    assert fisher(3, 6, 2, 40) - fisher_mid(3, 6, 2, 40) == pytest.approx(chance / 2)


def test_barnards_p_of_the_published_example() -> None:
    assert barnard(7, 8, 12, 3) == pytest.approx(0.0682, abs=1e-3)  # Mehta and Senchaudhuri 2003, pooled: 0.0341 × 2


def test_tables_with_an_empty_margin_have_no_chi_square() -> None:
    assert chi_square(0, 9, 0, 42, yates=False) is None
    assert barnard(0, 9, 0, 42) is None
    assert fisher(0, 9, 0, 42) == 1.0


def test_benjamini_hochberg_leaves_missing_values_out() -> None:
    assert benjamini_hochberg([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.04, 0.04])
    assert benjamini_hochberg([None]) == [None]


def test_the_shift_is_the_median_of_the_walsh_averages() -> None:
    shift, low, high = hodges_lehmann(np.array([1.0, 2.0, 6.0]), 0.95)
    assert shift == 2.75  # of 1, 1.5, 2, 3.5, 4, 6
    assert low <= shift <= high


def test_the_geometric_mean_ratio_needs_positive_values() -> None:
    found = log_ratio(np.array([1.0, 2.0]), np.array([2.0, 8.0]), 0.95)
    assert found is not None
    assert found[0] == pytest.approx(math.sqrt(8))
    assert log_ratio(np.array([0.0, 1.0]), np.array([1.0, 1.0]), 0.95) is None


def test_the_exact_signed_rank_p_holds_with_ties() -> None:
    # three equal positive differences: 2 of the 8 sign patterns are as extreme
    assert signed_rank_exact(np.array([0.1, 0.1, 0.1])) == pytest.approx(0.25)


def test_prediction_of_an_empty_new_site_is_zero() -> None:
    assert prediction_interval(9, 11, 0) == (0, 0)


def test_the_cluster_bootstrap_is_wider_than_independent_courses_and_repeatable() -> None:
    clustered = pl.DataFrame({"k": [3, 0] * 10, "n": [3, 3] * 10})
    single = pl.DataFrame({"k": [1, 0] * 30, "n": [1, 1] * 30})
    wide, narrow = (cluster_bootstrap(frame, 500, 7, 0.95) for frame in (clustered, single))
    assert wide[1] - wide[0] > narrow[1] - narrow[0]
    assert cluster_bootstrap(clustered, 500, 7, 0.95) == wide


def test_censoring_at_transplant_leaves_an_event_of_the_same_day() -> None:
    patients = pl.DataFrame({
        "hsct_day": [50, 100, None], "cart_day": [None, None, 20], "efs_days": [100, 100, 90], "efs_event": [1, 1, 1],
    })  # fmt: skip
    found = censored_at_transplant(patients)
    assert found["efs_days"].to_list() == [50, 100, 20]
    assert found["efs_event"].to_list() == [0, 1, 0]


def test_only_refractory_events_move_to_day_zero() -> None:
    kinds = ["refractory", "relapse", None]
    patients = pl.DataFrame({"efs_event_type": kinds, "efs_event": [1, 1, 0], "efs_days": [29, 60, 500]})
    assert refractory_at_zero(patients)["efs_days"].to_list() == [0, 60, 500]
