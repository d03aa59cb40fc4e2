"""Which counts of which result table are sensitive, and what else gives a hidden one away (see suppression.py)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from analytics.statistics.survival import ALL_STRATA

Row = dict[str, Any]


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
    "classification": Rule(("n",), partition=()),
    "exposure": Rule(("n", "denominator"), (("n", "denominator"),), ("variable",),
                     lambda row: row["value"] is not None),
    "response": Rule(("k", "n"), (("k", "n"),), ("analysis_id", "group"), lambda row: row["site"] == "all"),
    "tests": Rule(("n", "events"), (("events", "n"),), ("analysis_id", "test", "stratum"), keep=("horizon", "df"),
                  total=lambda row: row["test"] != "cause-specific count"),
    "predictors": Rule(
        ("nonresponse_exposed", "nonresponse_total", "response_exposed", "response_total"),
        (("nonresponse_exposed", "nonresponse_total"), ("response_exposed", "response_total")),
    ),
    "models": Rule(("n", "events"), (("events", "n"),), partition=("model", "outcome", "term"),
                   total=lambda row: not str(row["model"]).endswith("_site")),
    "model_fit": Rule(("n", "events")),
    "risk_table": Rule(("at_risk", "cumulative_events", "cumulative_censored"), keep=("time",)),
    "survival_at": Rule(("n", "at_risk", "events"), keep=("time",), partition=("endpoint", "time"),
                        total=lambda row: row["stratum"] == ALL_STRATA),
    "survival_summary": Rule(("n", "events"), keep=("horizon",), partition=("endpoint", "measure"),
                             total=lambda row: row["stratum"] == ALL_STRATA),
    "paired": Rule(("n_pairs", "n_zero")),
    "cytokines": Rule(("n", "n_censored")),
    "cytokine_peaks": Rule(("n", "n_censored"), partition=("analyte",)),
    "cell_windows": Rule(("n", "n_censored")),
    "cell_trajectory": Rule(("n", "n_censored"), keep=("day",)),
    "state_flow": Rule(("n",), partition=()),
    "safety": Rule(("n", "denominator"), (("n", "denominator"),), ("event", "unit_of_analysis"),
                   lambda row: not (str(row["grade"]).isdigit() or row["grade"] == "ungraded")),
    "rates": Rule(("events",)),
    "sensitivity": Rule(("n", "events"), (("events", "n"),), partition=("analysis_id", "endpoint", "quantity"),
                        total=lambda row: row["stratum"] is None),
    "prediction": Rule(("k", "n"), (("k", "n"),)),
}  # fmt: skip


def small(value: object, minimum: int) -> bool:
    return isinstance(value, int) and 0 < value < minimum


def sensitive(row: Row, rule: Rule, minimum: int) -> bool:
    if any(small(row[name], minimum) for name in rule.counts):
        return True
    pairs = ((row[whole], row[part]) for part, whole in rule.complements)
    return any(whole is not None and part is not None and small(whole - part, minimum) for whole, part in pairs)


def neighbours(rows: Sequence[Row], rule: Rule, hide: set[int]) -> set[int]:
    """One more row of every partition in which exactly one is hidden: the smallest left, else the rows of the total."""
    assert rule.partition is not None
    count = rule.counts[0]
    parts: dict[tuple[object, ...], list[int]] = {}
    totals: dict[tuple[object, ...], list[int]] = {}
    for i, row in enumerate(rows):
        kind = totals if rule.total(row) else parts
        kind.setdefault(tuple(_part(row, name) for name in rule.partition), []).append(i)
    more: set[int] = set()
    for key, places in parts.items():
        hidden = [i for i in places if i in hide]
        left = [i for i in places if i not in hide and (rows[i][count] or 0) > 0]
        if len(hidden) == 1:
            more |= {min(left, key=lambda i: rows[i][count])} if left else set(totals.get(key, []))
    return more


def _part(row: Row, name: str) -> object:
    """The value of a partition's column; the stratum of a cause-specific count stands in its comparison."""
    return row[name] if name in row else str(row["comparison"]).partition(":")[0]
