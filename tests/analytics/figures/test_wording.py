"""How numbers and categories are written."""

import math

import pytest

from analytics.figures import wording as w


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.0159, "0.016"), (0.0009, "< 0.001"), (0.001, "0.001"), (1.0, "1.000"), (None, "–"), (math.nan, "–")],
)
def test_p_values_have_three_decimals(value: float | None, written: str) -> None:
    assert w.p_value(value) == written


def test_p_in_a_sentence() -> None:
    assert (w.p_phrase(0.0001), w.p_phrase(0.5)) == ("P < 0.001", "P = 0.500")


def test_one_thing_is_not_several() -> None:
    assert [w.plural(n, "child") for n in (1, 2)] == ["1 child", "2 children"]
    assert [w.plural(n, "course") for n in (1, 0)] == ["1 course", "0 courses"]


def test_shares_carry_numerator_denominator_and_percent() -> None:
    assert (w.share(9, 11), w.share(0, 0), w.share(None, 3)) == ("9/11 (81.8%)", "0/0", "–")


def test_intervals_use_an_en_dash_unless_a_sign_stands_there() -> None:
    assert (w.interval(48.22, 97.7), w.interval(-1.04, 3)) == ("48.2–97.7", "−1.0 to 3.0")
    assert (w.interval(None, 3), w.interval(0, math.inf), w.interval(math.nan, 1)) == (
        w.NOT_ESTIMABLE,
        "0.0–∞",
        w.NOT_ESTIMABLE,
    )


def test_numbers_group_thousands_and_never_print_minus_zero() -> None:
    assert (w.number(12345.6), w.number(-0.01), w.number(-2.5)) == ("12\u202f345.6", "0.0", "−2.5")


def test_ratios_show_small_limits() -> None:
    assert w.ratio_interval(0.00336, 9.2025) == "0.003–9.20"
    assert w.ratio(math.inf) == w.NOT_ESTIMABLE


def test_unknown_levels_are_shown_not_lost() -> None:
    assert (w.word("SOMETHING_NEW"), w.word(None), w.word("RR")) == ("SOMETHING NEW", "–", "R/R")
    assert w.in_order(["new", "RR", "CR_MRDneg"]) == ["CR_MRDneg", "RR", "new"]


def test_codes_in_free_text_are_spelled() -> None:
    assert w.spell("stratum RR vs CR_MRDneg, grade >= 3") == "stratum R/R vs CR-MRDneg, grade ≥ 3"


def test_clearance_is_not_called_remission_without_saying_who_does() -> None:
    assert w.quantity("CR rate in CR-MRDpos") == "MRD clearance in CR-MRDpos (called CR in the paper)"


def test_days_are_whole_months() -> None:
    assert [w.months(day) for day in (0, 90, 182, 365, 730, 1095)] == ["0", "3", "6", "12", "24", "36"]
