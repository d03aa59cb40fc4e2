"""Small counts taken out of the result tables before they leave a hospital.

A count between 1 and the minimum − 1 becomes null, together with every number of its row from which it could be worked
out; so does a complement (n − k). Where exactly one row of a partition would be hidden, its smallest neighbour goes
with it, because the total would give it away. Curves keep only steps that hold enough events and leavers. Minima and
maxima are single patients' values and always go, and so do notes with figures in them.

What this does not do: it does not look for differences between tables of two releases made with different definitions.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import polars as pl

from analytics.statistics.tables import CONTAINS_INDIVIDUALS, REAL, SCHEMAS, WHOLE
from etl.errors import StudyError

Row = dict[str, Any]
SUPPRESSED = "suppressed: small count"


@dataclass(frozen=True, slots=True)
class Rule:
    """What is sensitive in a table: the counts, pairs (part, whole) with a complement, and rows that add up.

    `keep` are numeric columns that say nothing about counts (days, horizons). `partition` names the columns within
    which rows add up to a known total.
    """

    counts: tuple[str, ...] = ()
    complements: tuple[tuple[str, str], ...] = ()
    partition: tuple[str, ...] | None = None
    total: Callable[[Row], bool] = field(default=lambda row: False)
    keep: tuple[str, ...] = ()


RULES: dict[str, Rule] = {
    "attrition": Rule(("n", "excluded")),
    "baseline": Rule(("n", "missing", "denominator"), (("n", "denominator"),), ("variable", "group"),
                     lambda row: row["level"] is None),
    "site_balance": Rule(("n_a", "n_b")),
    "classification": Rule(("n",), partition=()),
    "exposure": Rule(("n", "denominator"), (("n", "denominator"),), ("variable",),
                     lambda row: row["value"] is not None),
    "response": Rule(("k", "n"), (("k", "n"),), ("analysis_id", "group"), lambda row: row["site"] == "all"),
    "tests": Rule(("n", "events"), keep=("horizon", "df")),
    "predictors": Rule(
        ("nonresponse_exposed", "nonresponse_total", "response_exposed", "response_total"),
        (("nonresponse_exposed", "nonresponse_total"), ("response_exposed", "response_total")),
    ),
    "models": Rule(("n", "events")),
    "model_fit": Rule(("n", "events")),
    "risk_table": Rule(("at_risk", "cumulative_events", "cumulative_censored"), keep=("time",)),
    "survival_at": Rule(("at_risk", "n", "events"), keep=("time",)),
    "survival_summary": Rule(("n", "events"), keep=("horizon",)),
    "paired": Rule(("n_pairs", "n_zero")),
    "cytokines": Rule(("n", "n_censored")),
    "cytokine_peaks": Rule(("n", "n_censored"), partition=("analyte",)),
    "safety": Rule(("n", "denominator"), (("n", "denominator"),), ("event", "unit_of_analysis"),
                   lambda row: not str(row["grade"]).isdigit()),
    "rates": Rule(("events",)),
    "sensitivity": Rule(("n", "events")),
    "prediction": Rule(("k", "n"), (("k", "n"),)),
}  # fmt: skip
CURVES = {
    "survival_curves": ("endpoint", "stratum"),
    "cumulative_incidence": ("stratum", "event"),
}
SINGLE_VALUES = (
    "minimum", "maximum", "pre_minimum", "pre_maximum", "post_minimum", "post_maximum", "baseline_minimum",
    "baseline_maximum", "peak_minimum", "peak_maximum",
)  # fmt: skip
SEQUENCES = {
    "risk_table": (("endpoint", "stratum"), ("at_risk", "cumulative_events", "cumulative_censored")),
    "survival_at": (("endpoint", "stratum"), ("at_risk", "events")),
}
"""Rows in time: a step of fewer than the minimum from the last row shown would give that step away."""
OVERALL = ("overall_curves", "overall_risk_table")
WITHHELD = ("published_vs_computed", "derived_vs_computed", *OVERALL, *CONTAINS_INDIVIDUALS)
"""Left out of a suppressed release: texts that repeat counts of other tables; the curve of all strata together, from
which a hidden stratum could be worked out; rows of single persons."""


def suppress(tables: Mapping[str, pl.DataFrame], min_cell_count: int) -> dict[str, pl.DataFrame]:
    """The tables fit for release with no count from 1 to `min_cell_count` − 1; with 0 or 1 they come back unchanged.

    Raises StudyError for a negative minimum or a table without a rule: nothing leaves because it was forgotten.
    """
    if min_cell_count < 0:
        raise StudyError("min_cell_count must not be negative")
    if min_cell_count <= 1:
        return dict(tables)
    known = {*RULES, *CURVES, *WITHHELD, "settings"}
    unknown = sorted(set(tables) - known)
    if unknown:
        raise StudyError("tables without a rule for small counts", problems=unknown)
    released: dict[str, pl.DataFrame] = {}
    for name, table in tables.items():
        if name in WITHHELD:
            continue
        if name in CURVES:
            rows = _thinned(table.to_dicts(), CURVES[name], min_cell_count)
        elif name in RULES:
            given = table.to_dicts()
            more = _small_steps(given, *SEQUENCES[name], min_cell_count) if name in SEQUENCES else set()
            if name == "sensitivity":
                more |= _near_primary(given, min_cell_count)
            rows = _hidden(given, RULES[name], SCHEMAS[name], min_cell_count, more)
        else:
            rows = table.to_dicts()
        released[name] = pl.DataFrame(rows, schema=SCHEMAS[name], orient="row")
    return released


def _small(value: object, minimum: int) -> bool:
    return isinstance(value, int) and 0 < value < minimum


def _sensitive(row: Row, rule: Rule, minimum: int) -> bool:
    if any(_small(row[name], minimum) for name in rule.counts):
        return True
    pairs = ((row[whole], row[part]) for part, whole in rule.complements)
    return any(whole is not None and part is not None and _small(whole - part, minimum) for whole, part in pairs)


def _hidden(rows: list[Row], rule: Rule, schema: Mapping[str, pl.DataType], minimum: int, more: set[int]) -> list[Row]:
    hide = more | {i for i, row in enumerate(rows) if _sensitive(row, rule, minimum)}
    if rule.partition is not None:
        hide |= _neighbours(rows, rule, hide)
    numbers = [n for n, kind in schema.items() if kind in (REAL, WHOLE) and n not in rule.keep]
    done = []
    for i, row in enumerate(rows):
        clean = row | {name: None for name in SINGLE_VALUES if name in row}
        if re.search(r"\d", str(row.get("note") or "")):
            clean["note"] = None  # a figure in a text may be a small count
        if i in hide:
            clean |= dict.fromkeys(numbers)
            if "note" in row:
                clean["note"] = SUPPRESSED
            if "basis" in row:  # says k/n in words
                clean["basis"] = None
        done.append(clean)
    return done


def _small_steps(rows: Sequence[Row], keys: Sequence[str], counts: Sequence[str], minimum: int) -> set[int]:
    """Places whose counts differ from the last place shown of the same curve by fewer than the minimum."""
    hide: set[int] = set()
    shown: dict[tuple[object, ...], Row] = {}
    for i, row in enumerate(rows):
        key = tuple(row[name] for name in keys)
        last = shown.get(key)
        if any(_small(row[name], minimum) for name in counts) or (
            last is not None and any(_small(abs(row[name] - last[name]), minimum) for name in counts)
        ):
            hide.add(i)
        else:
            shown[key] = row
    return hide


def _near_primary(rows: Sequence[Row], minimum: int) -> set[int]:
    """Sensitivity rows that differ from the primary analysis by fewer persons or events than the minimum."""

    def key(row: Row) -> tuple[object, ...]:
        return row["endpoint"], row["stratum"], row["quantity"]

    primary = {key(row): row for row in rows if row["analysis_id"] == "primary"}
    hide: set[int] = set()
    for i, row in enumerate(rows):
        first = primary.get(key(row))
        for name in ("n", "events"):
            known = first is not None and row[name] is not None and first[name] is not None
            if known and first is not None and _small(abs(row[name] - first[name]), minimum):
                hide.add(i)
    return hide


def _neighbours(rows: Sequence[Row], rule: Rule, hide: set[int]) -> set[int]:
    """One more row of every partition in which exactly one is hidden: the smallest that is left."""
    assert rule.partition is not None
    count = rule.counts[0]
    parts: dict[tuple[object, ...], list[int]] = {}
    for i, row in enumerate(rows):
        if not rule.total(row):
            parts.setdefault(tuple(row[name] for name in rule.partition), []).append(i)
    more: set[int] = set()
    for places in parts.values():
        hidden = [i for i in places if i in hide]
        left = [i for i in places if i not in hide and (rows[i][count] or 0) > 0]
        if len(hidden) == 1 and left:
            more.add(min(left, key=lambda i: rows[i][count]))
    return more


def _thinned(rows: list[Row], keys: Sequence[str], minimum: int) -> list[Row]:
    """Curve rows at which, since the last one kept, no event or enough events happened and enough persons left."""
    kept: list[Row] = []
    for _, group in groupby(rows, key=lambda row: tuple(row[key] for key in keys)):
        events = censored = 0
        last: Row | None = None
        for row in group:
            if last is None:
                if _small(row["at_risk"], minimum):
                    break
                last = row | {"events": 0} | ({"censored": 0} if "censored" in row else {})
                kept.append(last)
                events, censored = row["events"], row.get("censored") or 0
                continue
            events += row["events"]
            censored += row.get("censored") or 0
            if _small(row["at_risk"], minimum):
                break
            left = last["at_risk"] - row["at_risk"]
            if _small(events, minimum) or _small(censored, minimum) or left < minimum:
                continue
            last = row | {"events": events} | ({"censored": censored} if "censored" in row else {})
            kept.append(last)
            events = censored = 0
    return kept
