"""From counts to a status: not applicable, error, failed, passed; and the scores.

The rules are DQD's (2.8.4): a threshold is the percentage of violations allowed; a check fails when it is exceeded,
never at equality. The comparison is made in whole numbers, so equality is exact. Thresholds can be changed and the
status found again without asking the database.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from etl.errors import SettingsError, did_you_mean
from etl.quality.catalogue import Check
from etl.quality.counting import Count, has
from etl.quality.terms import Place

RESULT_SCHEMA: dict[str, pl.DataType] = {
    "run_id": pl.String(),
    "check_id": pl.String(),
    "check_name": pl.String(),
    "level": pl.String(),
    "table": pl.String(),
    "field": pl.String(),
    "concept": pl.Int64(),
    "category": pl.String(),
    "subcategory": pl.String(),
    "severity": pl.String(),
    "gate": pl.Boolean(),
    "violated": pl.Int64(),
    "denominator": pl.Int64(),
    "percent": pl.Float64(),
    "threshold": pl.Float64(),
    "status": pl.String(),
    "note": pl.String(),
    "meaning": pl.String(),
    "advice": pl.String(),
}
"""The long result table `results.quality_check`: one row per check; `threshold` and `percent` in percent."""

STATUSES = ("failed", "error", "passed", "not_applicable")

# 10^6 steps of a percent: thresholds are compared as whole numbers, violated * 100 * 10^6 against step * denominator.
_STEPS_PER_PERCENT = 1_000_000

BURDEN = (
    pl.when((pl.col("denominator") == 0) & (pl.col("threshold") > 0))
    .then(0)
    .otherwise(pl.col("violated") * (100 * _STEPS_PER_PERCENT))
    .cast(pl.Int64)
    .alias("burden")
)
"""Violations, and `ALLOWED` violations, on one whole-number scale: a check fails when burden > allowed."""

ALLOWED = ((pl.col("threshold") * _STEPS_PER_PERCENT).round(0).cast(pl.Int64) * pl.col("denominator")).alias("allowed")


@dataclass(frozen=True)
class Score:
    """How many of a group of checks hold. Headline counts NA and errors as passed, as DQD's overview does."""

    total: int
    passed: int
    failed: int
    errors: int
    not_applicable: int

    @property
    def headline(self) -> float | None:
        """Percent of all checks that did not fail."""
        return 100.0 * (self.total - self.failed) / self.total if self.total else None

    @property
    def corrected(self) -> float | None:
        """Percent passed of the checks that could be asked: without NA, without errors."""
        asked = self.total - self.errors - self.not_applicable
        return 100.0 * self.passed / asked if asked else None


def score(frame: pl.DataFrame) -> Score:
    """The score of the checks in a result frame."""
    counts = dict(frame.group_by("status").len().iter_rows())
    return Score(
        total=frame.height,
        passed=counts.get("passed", 0),
        failed=counts.get("failed", 0),
        errors=counts.get("error", 0),
        not_applicable=counts.get("not_applicable", 0),
    )


def frame_of(
    run_id: str, checks: Sequence[Check], counts: Mapping[str, Count], notes: Mapping[str, str]
) -> pl.DataFrame:
    """The result frame of counted checks. `notes` holds why a check is not applicable, by check id."""
    return evaluate(pl.DataFrame([_row(run_id, check, counts, notes) for check in checks], RESULT_SCHEMA, orient="row"))


def _row(run_id: str, check: Check, counts: Mapping[str, Count], notes: Mapping[str, str]) -> tuple[object, ...]:
    count = counts.get(check.check_id, Count())
    if check.check_id in notes:
        status, note = "not_applicable", notes[check.check_id]
    elif count.error:
        status, note = "error", count.error
    else:
        status, note = "passed", None
    violated, denominator = count.violated, count.denominator
    percent = (
        None if violated is None or denominator is None else 100.0 * violated / denominator if denominator else 0.0
    )
    return (
        run_id,
        check.check_id,
        check.check_name,
        check.level,
        check.table,
        check.field,
        check.concept,
        check.category,
        check.subcategory,
        check.severity,
        check.gate,
        violated,
        denominator,
        percent,
        check.threshold,
        status,
        note,
        check.meaning,
        check.advice,
    )


def not_applicable(checks: Sequence[Check], counts: Mapping[str, Count], place: Place) -> dict[str, str]:
    """Why checks do not apply, by check id; DQD's second pass over the counts (first rule that holds)."""
    rows: dict[str, int] = {}
    filled: dict[tuple[str, str], bool] = {}
    for check in checks:
        count = counts.get(check.check_id)
        if check.check_name == "measureValueCompleteness" and count and count.denominator is not None:
            rows[check.table] = count.denominator
            filled[check.table, check.field or ""] = (count.violated or 0) < count.denominator
    notes = {check.check_id: _why_not(check, counts, place, rows, filled) for check in checks}
    return {check_id: note for check_id, note in notes.items() if note}


def _why_not(
    check: Check,
    counts: Mapping[str, Count],
    place: Place,
    rows: Mapping[str, int],
    filled: Mapping[tuple[str, str], bool],
) -> str | None:
    if check.check_name == "cdmTable":
        return None
    if check.check_name == "measureConditionEraCompleteness" and not rows.get("condition_occurrence"):
        return "condition_occurrence is missing or empty"
    if not has(place, check.table):
        return f"the table {check.table} is missing"
    if check.check_name in {"cdmField", "measurePersonCompleteness", "measureConditionEraCompleteness"}:
        # An empty table is no excuse here: a person without a row in it is just what is looked for.
        return None
    if not has(place, check.table, check.field):
        return f"the column {check.field} is missing"
    if check.check_id in counts and counts[check.check_id].error:
        return None
    if rows.get(check.table) == 0:
        return f"the table {check.table} is empty"
    if check.check_name == "measureValueCompleteness":
        return None
    if check.field and not filled.get((check.table, check.field), True):
        return f"the column {check.field} is empty"
    return None


def evaluate(frame: pl.DataFrame, thresholds: Mapping[str, float] | None = None) -> pl.DataFrame:
    """The frame with status found anew from its counts, under other thresholds where given.

    `thresholds`: percent by check id or by check name; the id wins. Raises SettingsError for names that no check has.
    Not applicable and error stay what they are.
    """
    if thresholds:
        frame = frame.with_columns(threshold=_replaced(frame, thresholds))
    judged = pl.col("status").is_in(["passed", "failed"])
    failed = pl.when(BURDEN > ALLOWED).then(pl.lit("failed")).otherwise(pl.lit("passed"))
    return frame.with_columns(status=pl.when(judged).then(failed).otherwise(pl.col("status")))


def _replaced(frame: pl.DataFrame, thresholds: Mapping[str, float]) -> pl.Series:
    known = [*frame["check_id"].to_list(), *frame["check_name"].unique().to_list()]
    problems = [f"{name}: no such check{did_you_mean(name, known)}" for name in thresholds if name not in set(known)]
    problems += [f"{name}: {value} is no percentage" for name, value in thresholds.items() if not 0 <= value <= 100]
    if problems:
        raise SettingsError("quality thresholds cannot be used", problems=problems)
    pairs = zip(frame["check_id"], frame["check_name"], frame["threshold"], strict=True)
    return pl.Series("threshold", [thresholds.get(i, thresholds.get(n, t)) for i, n, t in pairs], dtype=pl.Float64)
