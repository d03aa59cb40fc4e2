"""Small counts taken out of the result tables before they leave a hospital.

A count between 1 and the minimum − 1 becomes null, together with every number of its row from which it could be worked
out; so does a complement (n − k). Where exactly one row of a partition would be hidden, its smallest neighbour goes
with it, because the total would give it away; without a neighbour the total goes. A stratum that is too small is hidden
in every table, with the next smallest; pairs of strata and the first year are hidden where a stratum or the rest could
be worked out from them. Curves keep only steps that hold enough events and leavers. Minima and maxima are single
patients' values and always go, and so do notes with figures in them.

What this does not do: it does not look for differences between tables of two releases made with different definitions,
nor between a curve's steps and the fixed days of `survival_at` and `risk_table`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import polars as pl

from analytics.linked_counts import also_hidden
from analytics.small_counts import RULES, Row, Rule, neighbours, sensitive, small
from analytics.statistics.safety import AS_RECORDED
from analytics.statistics.survival import ALL_STRATA
from analytics.statistics.tables import CONTAINS_INDIVIDUALS, REAL, SCHEMAS, WHOLE
from etl.errors import StudyError

SUPPRESSED = "suppressed: small count"
CURVES = {
    "survival_curves": ("endpoint", "stratum"),
    "cumulative_incidence": ("stratum", "event"),
}
SINGLE_VALUES = (
    "minimum", "maximum", "pre_minimum", "pre_maximum", "post_minimum", "post_maximum", "baseline_minimum",
    "baseline_maximum", "peak_minimum", "peak_maximum",
)  # fmt: skip
TIMES = ("risk_table", "survival_at")
"""Rows in time: a step of fewer than the minimum from the last row shown would give that step away."""
OVERALL = ("overall_curves", "overall_risk_table")
WITHHELD = (
    "published_vs_computed", "derived_vs_computed", "site_prediction", "site_balance", *OVERALL, *CONTAINS_INDIVIDUALS,
)  # fmt: skip
"""Left out of a suppressed release: texts that repeat counts of other tables; differences between each two sites, from
which each site's shares could be worked out; the curve of all strata together, from which a hidden stratum could be
worked out; rows of single persons."""


def suppress(tables: Mapping[str, pl.DataFrame], min_cell_count: int) -> dict[str, pl.DataFrame]:
    """The tables fit for release with no count from 1 to `min_cell_count` − 1; with 0 or 1 they come back unchanged.

    Raises StudyError for a negative minimum, a table without a rule (nothing leaves because it was forgotten), and a
    study of fewer children than the minimum: even a 0 says something of each of them.
    """
    if min_cell_count < 0:
        raise StudyError("min_cell_count must not be negative")
    if min_cell_count <= 1:
        return dict(tables)
    known = {*RULES, *CURVES, *WITHHELD, "settings"}
    unknown = sorted(set(tables) - known)
    if unknown:
        raise StudyError("tables without a rule for small counts", problems=unknown)
    rows_of = {name: table.to_dicts() for name, table in tables.items() if name not in WITHHELD}
    if any(row["step"] == "FAS" and small(row["n"], min_cell_count) for row in rows_of.get("attrition", ())):
        raise StudyError(f"the study has fewer than {min_cell_count} children: nothing of it can be released")
    if "safety" in rows_of:
        # the recorded grades by system add up to those of all CRS: a hidden one could be worked out
        rows_of["safety"] = [row for row in rows_of["safety"] if not row["event"].endswith(AS_RECORDED)]
    secret = Secrets.of(rows_of, min_cell_count)
    hidden = _all_hidden(rows_of, secret, min_cell_count)
    released: dict[str, pl.DataFrame] = {}
    for name, rows in rows_of.items():
        if name in CURVES:
            open_ones = [row for row in rows if row["stratum"] not in secret.strata]
            rows = _thinned(open_ones, CURVES[name], min_cell_count)
        elif name in RULES:
            rows = _cleaned(rows, RULES[name], SCHEMAS[name], hidden[name])
        released[name] = pl.DataFrame(rows, schema=SCHEMAS[name], orient="row")
    return released


def _all_hidden(rows_of: Mapping[str, list[Row]], secret: "Secrets", minimum: int) -> dict[str, set[int]]:
    """The places of the rows to hide, by table: by each table's own rule, then by what adds up, then by estimates."""
    hidden: dict[str, set[int]] = {}
    for name, rows in rows_of.items():
        if name in RULES:
            more = secret.places(name, rows) | (_near_primary(rows, minimum) if name == "sensitivity" else set())
            hidden[name] = _hidden(rows, RULES[name], minimum, more)
    hidden = also_hidden(rows_of, hidden, minimum)
    for name, places in _telling_estimates(rows_of, hidden).items():
        hidden[name] |= places
    return hidden


def _telling_estimates(rows_of: Mapping[str, list[Row]], hidden: Mapping[str, set[int]]) -> dict[str, set[int]]:
    """Rows from whose P value or odds ratio, with the totals, the four counts behind a hidden factor can be found.

    Odds ratios by site rest on counts that no table shows: with several sites all of them go. A survival that is hidden
    on its day is hidden in the sensitivity table, where it would tell the events up to that day. The rate of an event
    goes with its count by course: the days of infusion behind it tell of how many courses it is known.
    """
    factors = {row["factor"] for i, row in enumerate(rows_of.get("predictors", ())) if i in hidden["predictors"]}
    sites = {row["level"] for row in rows_of.get("baseline", ()) if row["variable"] == "site"}
    survival = {
        (row["endpoint"], row["stratum"], row["survival"])
        for i, row in enumerate(rows_of.get("survival_at", ()))
        if i in hidden["survival_at"]
    }
    models = {
        i
        for i, row in enumerate(rows_of.get("models", ()))
        if (row["model"] == "firth_logistic_site" and (len(sites) > 1 or row["term"] in factors))
        or (row["model"] == "random_effects" and row["outcome"] == "non-response, OR" and row["term"] in factors)
    }
    tests = {
        i
        for i, row in enumerate(rows_of.get("sensitivity", ()))
        if (str(row["quantity"]).startswith("Fisher P ") and row["quantity"].removeprefix("Fisher P ") in factors)
        or (row["endpoint"], row["stratum"], row["estimate"]) in survival
    }
    courses = {
        (row["event"], row["grade"])
        for i, row in enumerate(rows_of.get("safety", ()))
        if i in hidden["safety"] and row["unit_of_analysis"] == "course"
    }
    rates = {i for i, row in enumerate(rows_of.get("rates", ())) if (row["event"], row["grade"]) in courses}
    found = (("models", models), ("sensitivity", tests), ("rates", rates))
    return {name: places for name, places in found if name in rows_of}


def _small_strata(rows: Sequence[Row], minimum: int) -> frozenset[str]:
    """Survival strata of too few patients; a single one takes the next smallest with it, as the total is known."""
    sizes: dict[str, int] = {}
    for row in rows:
        if row["stratum"] != ALL_STRATA:
            sizes[row["stratum"]] = max(sizes.get(row["stratum"], 0), row["n"] or 0)
    few = {stratum for stratum, n in sizes.items() if small(n, minimum)}
    others = sorted((n, stratum) for stratum, n in sizes.items() if stratum not in few and n)
    return frozenset(few | {others[0][1]} if len(few) == 1 and others else few)


@dataclass(frozen=True, slots=True)
class Secrets:
    """What several tables must hide together, so that none gives away what another hides."""

    strata: frozenset[str]
    times: frozenset[tuple[str, str, float]]  # endpoint, stratum, day
    endpoints: frozenset[tuple[str, str]]  # endpoint, stratum whose events over all follow-up are hidden
    early: frozenset[str]  # endpoints with few events after the horizon

    @classmethod
    def of(cls, rows_of: Mapping[str, list[Row]], minimum: int) -> "Secrets":
        """From the tables as they are, before anything is taken out."""
        summary = rows_of.get("survival_summary", [])
        strata = _small_strata([*summary, *rows_of.get("survival_at", [])], minimum)
        return cls(
            strata,
            _hidden_times(rows_of, strata, minimum),
            _hidden_endpoints(summary, strata, minimum),
            frozenset(_early_endpoints(rows_of.get("tests", []), minimum)),
        )

    def places(self, name: str, rows: Sequence[Row]) -> set[int]:
        """The places of the rows to hide in the table `name`, beyond what its own rule finds."""
        return {place for place, row in enumerate(rows) if self._tells(name, row)}

    def _tells(self, name: str, row: Row) -> bool:
        stratum = row.get("stratum")
        if stratum in self.strata:
            return True
        if name in TIMES:
            return (row["endpoint"], stratum, row["time"]) in self.times
        if name == "survival_summary":
            return (row["endpoint"], stratum) in self.endpoints
        if name != "tests" or row["analysis_id"] != "A5":
            return False
        endpoint, _, compared = str(row["comparison"]).partition(": ")
        pair = compared.split(" vs ")
        if row["horizon"] is not None and endpoint in self.early:
            return True
        return len(pair) == 2 and any((endpoint, one) in self.endpoints for one in pair)


def _hidden_endpoints(summary: Sequence[Row], strata: frozenset[str], minimum: int) -> frozenset[tuple[str, str]]:
    rule = RULES["survival_summary"]
    hide = {i for i, row in enumerate(summary) if row["stratum"] in strata or sensitive(row, rule, minimum)}
    hide |= neighbours(summary, rule, hide)
    return frozenset((summary[i]["endpoint"], summary[i]["stratum"]) for i in hide)


def _early_endpoints(tests: Sequence[Row], minimum: int) -> list[str]:
    """Endpoints whose events after the horizon are few: the two log-rank rows together would tell how many."""
    whole: dict[str, int] = {}
    for row in tests:
        endpoint = str(row["comparison"]).partition(": ")[0]
        if row["test"] == "log-rank" and row["events"] is not None:
            whole[endpoint] = row["events"]
    return [
        endpoint
        for row in tests
        if row["test"] == "log-rank, horizon" and row["events"] is not None
        for endpoint in [str(row["comparison"]).partition(": ")[0]]
        if endpoint in whole and small(whole[endpoint] - row["events"], minimum)
    ]


def _hidden_times(
    rows_of: Mapping[str, list[Row]], strata: frozenset[str], minimum: int
) -> frozenset[tuple[str, str, float]]:
    """The days to hide in `risk_table` and `survival_at` alike: one line of time per endpoint and stratum."""
    line: dict[tuple[str, str, float], Row] = {}
    for name in TIMES:
        for row in rows_of.get(name, []):
            if row["at_risk"] is None:
                continue  # hidden in an earlier release already
            at_risk, events = row["at_risk"], row["events"] if name == "survival_at" else row["cumulative_events"]
            left = row["n"] - at_risk - events if name == "survival_at" else row["cumulative_censored"]
            key = (row["endpoint"], row["stratum"], row["time"])
            line[key] = {"key": key, "counts": [abs(at_risk), abs(events), abs(left)], "at_risk": at_risk}
    hide: set[tuple[str, str, float]] = set()
    last: dict[tuple[str, str], Row] = {}
    for key in sorted(line, key=lambda key: (key[0], key[1], key[2])):
        counts, before = line[key]["counts"], last.get(key[:2])
        steps = [abs(a - b) for a, b in zip(counts, before["counts"], strict=True)] if before else []
        if key[1] in strata or any(small(value, minimum) for value in (*counts, *steps)):
            hide.add(key)
        else:
            last[key[:2]] = line[key]
    return frozenset(hide | _beside(line, hide))


def _beside(
    line: Mapping[tuple[str, str, float], Row], hide: set[tuple[str, str, float]]
) -> set[tuple[str, str, float]]:
    """Where one stratum alone is hidden on a day: the smallest other one, or the day of all strata together."""
    more: set[tuple[str, str, float]] = set()
    for endpoint, time in {(key[0], key[2]) for key in hide}:
        here = [key for key in line if key[0] == endpoint and key[2] == time]
        single = [key for key in here if key[1] != ALL_STRATA]
        if sum(key in hide for key in single) != 1:
            continue
        left = [key for key in single if key not in hide and line[key]["at_risk"]]
        more |= {min(left, key=lambda key: line[key]["at_risk"])} if left else set(here) - set(single)
    return more


def _hidden(rows: list[Row], rule: Rule, minimum: int, more: set[int]) -> set[int]:
    hide = more | {i for i, row in enumerate(rows) if sensitive(row, rule, minimum)}
    return hide if rule.partition is None else hide | neighbours(rows, rule, hide)


def _cleaned(rows: list[Row], rule: Rule, schema: Mapping[str, pl.DataType], hide: set[int]) -> list[Row]:
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
            if known and first is not None and small(abs(row[name] - first[name]), minimum):
                hide.add(i)
    return hide


def _thinned(rows: list[Row], keys: Sequence[str], minimum: int) -> list[Row]:
    """Curve rows at which, since the last one kept, no event or enough events happened and enough persons left."""
    kept: list[Row] = []
    for _, group in groupby(rows, key=lambda row: tuple(row[key] for key in keys)):
        events = censored = 0
        last: Row | None = None
        for row in group:
            if last is None:
                if small(row["at_risk"], minimum):
                    break
                last = row | {"events": 0} | ({"censored": 0} if "censored" in row else {})
                kept.append(last)
                events, censored = row["events"], row.get("censored") or 0
                continue
            events += row["events"]
            censored += row.get("censored") or 0
            if small(row["at_risk"], minimum):
                break
            left = last["at_risk"] - row["at_risk"]
            if small(events, minimum) or small(censored, minimum) or left < minimum:
                continue
            last = row | {"events": events} | ({"censored": censored} if "censored" in row else {})
            kept.append(last)
            events = censored = 0
    return kept
