"""Thresholds, the gate and the scores, on result frames made by hand; the frame is judged without a database."""

import os
import socket
import subprocess
import sys
from dataclasses import replace

import polars as pl
import pytest

from etl.errors import SettingsError
from etl.quality import evaluate, judge
from etl.quality.catalogue import Check
from etl.quality.counting import Count
from etl.quality.status import frame_of

CHECK = Check(
    check_id="a",
    check_name="kind",
    level="FIELD",
    table="person",
    field="person_id",
    category="Completeness",
    subcategory="",
    severity="convention",
    threshold=5.0,
    gate=False,
)


def frame(*entries: tuple[str, int, int, float], gate: bool = False) -> pl.DataFrame:
    """One check per (id, violated, denominator, threshold)."""
    checks = [replace(CHECK, check_id=name, threshold=threshold, gate=gate) for name, _, _, threshold in entries]
    return frame_of("r", checks, {name: Count(violated, of) for name, violated, of, _ in entries}, {})


@pytest.mark.parametrize(
    ("violated", "denominator", "threshold", "fails"),
    [
        (5, 100, 5.0, False),
        (6, 100, 5.0, True),
        (7, 100, 7.0, False),  # 7 / 100 * 100 is above 7 in floating point
        (29, 100, 29.0, False),  # and 29 / 100 * 100 below 29
        (1, 1000, 0.1, False),
        (2, 1000, 0.1, True),
        (1, 3, 33.333333, True),
        (0, 100, 0.0, False),
        (1, 1_000_000_000, 0.0, True),
        (100, 100, 100.0, False),
        (0, 0, 0.0, False),
        (0, 0, 5.0, False),
    ],
)
def test_a_check_fails_above_its_threshold_and_never_at_it(
    violated: int, denominator: int, threshold: float, fails: bool
) -> None:
    status = frame(("a", violated, denominator, threshold))["status"][0]
    assert status == ("failed" if fails else "passed")


def test_great_expectations_agrees_at_equality() -> None:
    verdict = judge(frame(("at", 7, 100, 7.0), ("above", 8, 100, 7.0), ("below", 6, 100, 7.0)))
    assert verdict.failed == ("above",)
    assert (verdict.passed, verdict.overall.failed) == (2, 1)
    assert verdict.gate_ok


def test_only_checks_with_a_gate_shut_it() -> None:
    assert judge(frame(("a", 8, 100, 7.0), gate=True)).refused == ("a",)
    assert judge(frame(("a", 8, 100, 7.0), gate=False)).gate_ok


def test_a_gating_check_that_met_an_error_shuts_the_gate() -> None:
    gated = replace(CHECK, gate=True)
    verdict = judge(frame_of("r", [gated], {"a": Count(error="SQL error: CatalogException")}, {}))
    assert verdict.errors == ("a",)
    assert verdict.refused == ("a",)


def test_a_check_that_does_not_apply_neither_fails_nor_shuts_the_gate() -> None:
    verdict = judge(frame_of("r", [replace(CHECK, gate=True)], {"a": Count(9, 9)}, {"a": "the table is empty"}))
    assert verdict.gate_ok
    assert verdict.overall.not_applicable == 1


def test_thresholds_change_without_counting_again() -> None:
    counted = frame(("a", 8, 100, 7.0), ("b", 8, 100, 7.0))
    assert evaluate(counted, {"kind": 8.0})["status"].to_list() == ["passed", "passed"]
    assert evaluate(counted, {"kind": 9.0, "a": 1.0})["status"].to_list() == ["failed", "passed"]
    assert judge(counted, {"kind": 9.0, "a": 1.0}).failed == ("a",)


def test_unknown_checks_in_thresholds_are_refused_with_a_hint() -> None:
    with pytest.raises(SettingsError, match="did you mean 'kind'"):
        evaluate(frame(("a", 1, 2, 3.0)), {"kint": 1.0})


def test_scores_count_as_the_dashboard_does() -> None:
    checks = [replace(CHECK, check_id=name) for name in "abcd"]
    counts = {"a": Count(0, 10), "b": Count(9, 10), "c": Count(0, 0), "d": Count(error="SQL error: x")}
    score = judge(frame_of("r", checks, counts, {"c": "the table is empty"})).cdm
    assert score.headline == 75.0  # (4 - 1 failed) of 4
    assert score.corrected == 50.0  # 1 passed of the 2 that could be asked


def test_judging_talks_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert judge(frame(("a", 0, 1, 0.0))).gate_ok
    assert os.environ["GX_ANALYTICS_ENABLED"] == "false"


def test_great_expectations_is_imported_only_to_judge() -> None:
    code = "import sys, etl.quality; sys.exit('great_expectations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
