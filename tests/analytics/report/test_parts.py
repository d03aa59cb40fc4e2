"""Small parts of the report."""

import pytest

from analytics.figures.replication import leading_percent
from analytics.report.provenance import readable
from analytics.report.replication import verdict
from analytics.report.tables import Column, html_table


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ('{"first_day": -28, "last_day": 1}', "first day −28; last day 1"),
        ('{"date": null, "on": true, "ids": [1, 2], "none": []}', "date not set; on yes; ids 1, 2; none none"),
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
