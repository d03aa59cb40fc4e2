"""Published against computed: every entry, the printed forms, the rounding, the wording."""

import re
from fractions import Fraction

import polars as pl
import pytest

from analytics.derived_aggregates import derived_vs_computed, not_stated
from analytics.replication import SYNTHETIC_SENTENCE, as_printed, load_published, published_vs_computed, rounded
from etl.errors import StudyError

Tables = dict[str, pl.DataFrame]


@pytest.fixture(scope="module")
def compared(tables: Tables) -> pl.DataFrame:
    return published_vs_computed(tables)


def test_every_published_entry_agrees_on_the_synthetic_cohort(compared: pl.DataFrame) -> None:
    entries = [entry["id"] for entry in load_published()["published"]]
    assert len(entries) == 37
    agreeing = compared.filter(pl.col("match") == "yes")
    assert agreeing["id"].to_list() == entries


def test_both_readings_of_cd19_loss_are_shown_and_one_agrees(compared: pl.DataFrame) -> None:
    rows = compared.filter(pl.col("id").str.starts_with("PUB-UNI-CD19"))
    assert rows["computed"].to_list() == ["0.046", "0.033"]
    assert rows["match"].to_list() == ["yes", "no"]
    assert "4/9 vs 5/40" in rows["note"][0]


def test_derived_numbers_stand_apart_and_are_called_derived(tables: Tables) -> None:
    derived = derived_vs_computed(tables)
    assert derived.height == 14
    assert set(derived["match"]) == {"yes"}
    assert all(note.startswith("derived, not printed") for note in derived["note"])
    assert not_stated().height == 12


@pytest.mark.parametrize(
    ("printed", "values", "expected"),
    [
        ("97.8% ± 2.2%", [97.777, 2.1974], "97.8% ± 2.2%"),
        ("100%", [100.0, 0.0], "100%"),
        ("0.96 (0.03–3.79)", [0.955, 0.034, 3.786], "0.96 (0.03–3.79)"),
        ("1.000", [1.0], "1.000"),
        ("4 affiliations", [3], "3 affiliations"),
        ("81.8%", [Fraction(900, 11)], "81.8%"),
        ("97.8% ± 2.2%", [97.7, None], None),
    ],
)
def test_values_are_written_as_printed(printed: str, values: list[float | None], expected: str | None) -> None:
    assert as_printed({"value_printed": printed}, values) == expected


@pytest.mark.parametrize(
    ("value", "decimals", "expected"),
    [
        (Fraction(1, 8), 2, "0.13"),  # half away from zero, not to even
        (Fraction(-1, 8), 2, "-0.13"),
        (0.345, 2, "0.35"),  # binary 0.34499999999999997
        (2.5, 0, "3"),
        (-0.0001, 2, "0.00"),
        (Fraction(825, 10), 1, "82.5"),
    ],
)
def test_rounding_is_half_away_from_zero_on_the_exact_value(
    value: Fraction | float, decimals: int, expected: str
) -> None:
    assert rounded(value, decimals) == expected


def test_the_wording_rules_hold(compared: pl.DataFrame, tables: Tables) -> None:
    texts = [*compared["quantity"], *compared["note"].drop_nulls(), *derived_vs_computed(tables)["note"]]
    for text in texts:
        assert not re.search(r"replicated|reproduced|confirmed", text)
        assert "the paper's definition" not in text
    assert "is not evidence" in SYNTHETIC_SENTENCE
    clearance = compared.filter(pl.col("id") == "PUB-CR-MRD")["quantity"][0]
    assert clearance.startswith("MRD clearance (called CR in the paper)")


def test_unattainable_p_values_carry_their_note(compared: pl.DataFrame) -> None:
    for identifier in ("PUB-EFS-P", "PUB-OS-P"):
        note = compared.filter(pl.col("id") == identifier)["note"][0]
        assert "NOT attainable" in note
        assert "n 105" in note
        assert "not a target" in note


def test_proportions_carry_the_prediction_of_rule_r1(compared: pl.DataFrame) -> None:
    note = compared.filter(pl.col("id") == "PUB-CR-RR")["note"][0]
    assert "9 of 11 is compatible with the 95% beta-binomial prediction 5-11" in note


def test_another_cohort_is_not_said_to_agree(tables: Tables) -> None:
    other = dict(tables)
    other["classification"] = tables["classification"].with_columns(pl.col("n") + 1)
    compared = published_vs_computed(other)
    assert compared.filter(pl.col("id") == "PUB-N-PAT")["match"][0] == "no"


def test_missing_rows_are_not_computable(tables: Tables) -> None:
    other = tables | {name: tables[name].clear() for name in ("paired", "survival_at", "predictors", "models", "tests")}
    compared = published_vs_computed(other)
    match = dict(zip(compared["id"], compared["match"], strict=True))
    assert {match[name] for name in ("PUB-T-CD3-PRE", "PUB-EFS1Y-RR", "PUB-UNI-CD19", "PUB-COX-MRD", "PUB-EFS-P")} == {
        "not computable"
    }


def test_an_unknown_published_entry_is_refused(tables: Tables) -> None:
    with pytest.raises(StudyError, match="PUB-NEW"):
        published_vs_computed(tables, {"published": [{"id": "PUB-NEW"}]})
