"""Every line of the MRD grammar (PROTOCOL.md section 5.3)."""

import pytest

from analytics import load_study
from analytics.mrd import (
    BELOW_CUTOFF,
    INADEQUATE,
    INDETERMINATE,
    NEGATIVE,
    POS_BQ,
    POSITIVE,
    UNPARSED,
    normalise,
    parse_mrd,
)

STUDY = load_study()


def read(text=None, number=None, unit=None, operator=None, separator="."):
    result = parse_mrd(
        text,
        number,
        unit,
        operator,
        STUDY.get("mrd_parse"),
        cutoff_pct=STUDY.get("mrd_positive.from_pct"),
        inadequate=tuple(STUDY.get("marrow_inadequate.words")),
        decimal_separator=separator,
    )
    return result.value, result.operator, result.kind


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<0.01%", (0.01, "<", NEGATIVE)),
        ("＜0.01％", (0.01, "<", NEGATIVE)),
        ("< 0.01 %", (0.01, "<", NEGATIVE)),
        ("<1.0×10^-4", (0.01, "<", NEGATIVE)),
        ("<1.0×10⁻⁴", (0.01, "<", NEGATIVE)),
        ("<1.0x10-4", (0.01, "<", NEGATIVE)),
        ("<1.0*10^−4", (0.01, "<", NEGATIVE)),
        ("<0.1%", (0.1, "<", INDETERMINATE)),
        ("0.01%", (0.01, "=", POSITIVE)),
        ("0.0099%", (0.0099, "=", BELOW_CUTOFF)),
        ("０．０１％", (0.01, "=", POSITIVE)),
        ("0.12%", (0.12, "=", POSITIVE)),
        ("3.4×10^-4", (0.034, "=", POSITIVE)),
        ("3.4×10⁻⁴", (0.034, "=", POSITIVE)),
        ("5902.00×10^-4", (59.02, "=", POSITIVE)),
        ("1.0×10^-4", (0.01, "=", POSITIVE)),
        ("10^-4", (0.01, "=", POSITIVE)),
        ("10⁻⁴", (0.01, "=", POSITIVE)),
        ("-4 log", (0.01, "=", POSITIVE)),
        ("120/10^6", (0.012, "=", POSITIVE)),
        ("12/10⁶", (0.0012, "=", BELOW_CUTOFF)),
        ("1,200/10^6", (0.12, "=", POSITIVE)),
        ("阴性", (None, None, NEGATIVE)),
        ("未检出", (None, None, NEGATIVE)),
        ("negative", (None, None, NEGATIVE)),
        ("NEG", (None, None, NEGATIVE)),
        ("not detected", (None, None, NEGATIVE)),
        ("(-)", (None, None, NEGATIVE)),
        ("（－）", (None, None, NEGATIVE)),
        ("0", (0.0, "=", NEGATIVE)),
        ("0.00%", (0.0, "=", NEGATIVE)),
        ("阳性", (None, None, POSITIVE)),
        ("positive", (None, None, POSITIVE)),
        ("（＋）", (None, None, POSITIVE)),
        ("positive, below quantification", (None, None, POS_BQ)),
        ("阳性，低于定量限", (None, None, POS_BQ)),
        (">5%", (5.0, ">", POSITIVE)),
        ("标本稀释", (None, None, INADEQUATE)),
        ("insufficient", (None, None, INADEQUATE)),
        ("see report", (None, None, UNPARSED)),
        ("0.5", (None, None, UNPARSED)),
        ("", (None, None, UNPARSED)),
        (None, (None, None, UNPARSED)),
    ],
)
def test_a_text_is_read_by_the_grammar(text, expected):
    value, operator, kind = read(text)
    assert (operator, kind) == expected[1:]
    assert value == pytest.approx(expected[0])


@pytest.mark.parametrize(
    ("number", "unit", "operator", "expected"),
    [
        (0.01, "%", None, (0.01, "=", POSITIVE)),
        (0.009, "%", None, (0.009, "=", BELOW_CUTOFF)),
        (0.01, "%", "<", (0.01, "<", NEGATIVE)),
        (0.1, "%", "<", (0.1, "<", INDETERMINATE)),
        (1, "%", ">", (1, ">", POSITIVE)),
        (0.0738, "1", None, (7.38, "=", POSITIVE)),
        (150, "/10*6", None, (0.015, "=", POSITIVE)),
        (0, None, None, (0.0, "=", NEGATIVE)),
        (0.5, None, None, (None, None, UNPARSED)),
        (0.5, "mg/L", None, (None, None, UNPARSED)),
    ],
)
def test_a_number_needs_a_unit_that_is_known(number, unit, operator, expected):
    value, sign, kind = read("whatever", number, unit, operator)
    assert (sign, kind) == expected[1:]
    assert value == pytest.approx(expected[0])


def test_a_bare_fraction_is_read_where_the_site_says_fraction():
    assert read("7.38e-01", unit="1") == (pytest.approx(73.8), "=", POSITIVE)


def test_a_decimal_comma_is_read_where_the_site_declares_it():
    assert read("0,12%", separator=",")[0] == pytest.approx(0.12)
    assert read("1.200/10^6", separator=",")[0] == pytest.approx(0.12)
    assert read("0,12%")[2] == UNPARSED


def test_the_cut_off_can_be_switched():
    result = parse_mrd("0.05%", None, None, None, STUDY.get("mrd_parse"), cutoff_pct=0.1)
    assert result.kind == BELOW_CUTOFF


def test_superscripts_are_rewritten_before_nfkc_loses_them():
    assert normalise("3.4×10⁻⁴") == "3.4×10^-4"
