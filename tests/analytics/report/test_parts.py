"""Small parts of the report."""

import polars as pl
import pytest

from analytics.figures.replication import leading_percent
from analytics.report.definitions import readable
from analytics.report.landing import landing_table, with_landing
from analytics.report.quality import described
from analytics.report.replication import Remarks, verdict
from analytics.report.sensitivity import analysis_name
from analytics.report.tables import Column, html_table


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ('{"first_day": -28, "last_day": 1}', "first day −28; last day 1"),
        ('{"date": null, "on": true, "ids": [1, 2], "none": []}', "date not set; on yes; ids 1, 2; none none"),
        (
            '{"from_pct": 0.01, "more_than_days": 7, "anc_above": 1}',
            "from 0.01%; more than 7 days; neutrophils above 1",
        ),
        ('{"m2_from_pct": 5, "anc_above": 1.0}', "M2 from 5%; neutrophils above 1.0"),
        ("plain text", "plain text"),
        ("", ""),
    ],
)
def test_parameter_values_read_as_words(stored: str, shown: str) -> None:
    assert readable(stored) == shown


def test_verdicts() -> None:
    assert [verdict(m) for m in ("yes", "no", True, "not computable", None)] == [
        "same",
        "differs",
        "same",
        "not computable",
        "–",
    ]


def test_only_percentages_go_into_the_figure() -> None:
    assert [leading_percent(t) for t in ("97.8% ± 2.2%", "0.016", "100%", None)] == [97.8, None, 100.0, None]


def test_tables_escape_cells_and_keep_row_heads() -> None:
    rows = [{"name": "<b>", "n": "< 1", "block": "A & B"}]
    html = html_table(rows, [Column("name", "Name", "left"), Column("n", "<i>n</i>")], stub="name", group="block")
    assert "&lt;b&gt;" in html
    assert "&lt; 1" in html
    assert "A &amp; B" in html
    assert '<th scope="row"' in html
    assert "<i>n</i>" in html
    assert "style=" not in html


def test_a_remark_is_taken_apart() -> None:
    said = Remarks.of(
        "published: test not named; R1: 9 of 11 is compatible with the 95% beta-binomial prediction 5-11 from the "
        "derived count 9/11; own 95% CI 48.2-97.7%; R4: a published P value is not a target; attainability: not so"
    )
    assert (said.interval, said.prediction, said.verdict) == ("48.2–97.7", "5–11", "; compatible")
    assert said.rest == ("Test not named", "Attainability: not so")
    assert Remarks.of(None) == Remarks("", "", "", ())


def test_a_count_that_is_not_compatible_is_said_so() -> None:
    text = "R1: 2 of 11 is not compatible with the 95% beta-binomial prediction 5-11 from the derived count 9/11"
    assert Remarks.of(text).verdict == "; not compatible"


def test_analyses_are_named_by_their_number() -> None:
    row = {"analysis_id": "S9-without-SITE1", "definition": "without SITE1"}
    assert analysis_name(row) == "S9: without SITE1"


def test_counters_have_words_and_unknown_ones_keep_their_name() -> None:
    assert described("dq_bag_overlap")[1].startswith("bags that overlapped")
    assert described("dq_something_new") == ("Other counters", "something new")


def test_the_landing_names_the_most_frequent_reasons() -> None:
    rows = [("kept", None, 90), ("skipped", "a", 5), ("skipped", "b", 2), ("skipped", "c", 1), ("skipped", "d", 1)]
    counts = pl.DataFrame([*rows, ("rejected", "broken", 1)], schema=["outcome", "reason", "n"], orient="row")
    landing = landing_table(counts)
    assert landing["n"].to_list() == [100, 99, 90]
    assert landing["reason"].to_list() == ["", "broken (1)", "a (5); b (2); c (1); other reasons (1)"]


def test_the_landing_stands_before_the_attrition() -> None:
    row = [("persons in the CDM", "patient", 3, 0, "")]
    attrition = pl.DataFrame(row, schema=["step", "unit", "n", "excluded", "reason"], orient="row")
    landing = pl.DataFrame({"step": ["received", "kept"], "n": [10, 8], "reason": ["", "broken"]})
    whole = with_landing(attrition, landing)
    assert whole["excluded"].to_list() == [0, 2, 0]
    assert whole["unit"].to_list() == ["resource", "resource", "patient"]
    assert with_landing(attrition, None).equals(attrition)
