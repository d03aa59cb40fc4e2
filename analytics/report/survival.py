"""Event-free and overall survival (T6, F3) and competing risks (F4)."""

from collections.abc import Callable
from html import escape
from typing import Any

import polars as pl

from analytics.figures.incidence import draw_incidence
from analytics.figures.survival import draw_survival
from analytics.figures.wording import (
    DASH,
    STRATA,
    Row,
    count,
    hundred,
    in_order,
    interval,
    is_number,
    number,
    p_value,
    sentence,
    word,
)
from analytics.report.material import Material, Section, some
from analytics.report.tables import Column, html_table

_HOLM = "log-rank, pairwise Holm"
_ORDER = (*STRATA, "all")
_FOOT = (
    "Time zero: calendar day of the first bag of course 1, never diagnosis. Shaded: 95% confidence band (log-log); "
    "vertical ticks: censored; before its first event a curve has the exact interval of the number still at risk. Grey "
    "line: 1 year. Transplant and CAR-T do not censor."
)


def curves(endpoint: str) -> Callable[[Material], str]:
    """F3 of one endpoint."""

    def build(material: Material) -> str:
        need = material.need
        steps = need("survival_curves", "endpoint", "stratum", "time", "survival", "lower", "upper", "censored")
        risk = need("risk_table", "endpoint", "stratum", "time", "at_risk")
        at = need(
            "survival_at", "endpoint", "stratum", "time", "survival", "se", "lower", "upper", "at_risk", "n", "events"
        )
        for table in (steps, risk, at):
            some(table.filter(pl.col("endpoint") == endpoint), word(endpoint).lower())
        tests = material.maybe("tests", "comparison", "test", "horizon", "p", "n", "events")
        return material.figure(draw_survival(endpoint, steps, risk, at, tests), [_FOOT])

    return build


def estimates(material: Material) -> str:
    """T6: survival at fixed times with standard error, interval and number at risk."""
    table = material.need(
        "survival_at",
        *("endpoint stratum time survival se lower upper ci_method at_risk n events").split(),
    )
    rows = []
    for endpoint in in_order(table["endpoint"].to_list(), ("EFS", "OS")):
        for stratum in in_order(table["stratum"].to_list(), _ORDER):
            part = table.filter((pl.col("endpoint") == endpoint) & (pl.col("stratum") == stratum)).sort("time")
            rows += [_estimate(row) for row in part.to_dicts()]
    columns = [
        Column("stratum", "Stratum (n)", "left"),
        Column("day", "Day"),
        Column("risk", "At risk"),
        Column("events", "Events so far"),
        Column("survival", "Survival ± SE (%)"),
        Column("ci", "95% CI (%)"),
        Column("method", "Interval", "left"),
    ]
    note = (
        "Unit: patient. SE: Greenwood. Events on the named day count. A stratum without an event gets an exact "
        "interval."
    )
    body = html_table(rows, columns, stub="stratum", group="endpoint")
    return material.table("Survival at fixed times", body, [note, _follow_up(material)])


def _estimate(row: Row) -> dict[str, Any]:
    return {
        "endpoint": word(row["endpoint"]),
        "stratum": f"{word(row['stratum'])} ({count(row['n'])})",
        "day": count(row["time"]),
        "risk": count(row["at_risk"]),
        "events": count(row["events"]),
        "survival": f"{number(hundred(row['survival']))}{_error(row)}",
        "ci": interval(hundred(row["lower"]), hundred(row["upper"])) if is_number(row["survival"]) else DASH,
        "method": row["ci_method"] if is_number(row["survival"]) else "",
    }


def _follow_up(material: Material) -> str:
    table = material.maybe("survival_summary", "endpoint", "stratum", "measure", "estimate", "lower", "upper")
    if table is None:
        return ""
    rows = table.filter((pl.col("measure") == "median follow-up") & (pl.col("stratum") == "all")).to_dicts()
    said = [
        f"{row['endpoint']} {count(row['estimate'])} days (95% CI {interval(row['lower'], row['upper'], 0)})"
        for row in rows
    ]
    return f"Median follow-up (reverse Kaplan–Meier): {'; '.join(said)}." if said else ""


def summaries(material: Material) -> str:
    """T6: restricted mean survival time and median follow-up."""
    table = material.need("survival_summary", *"endpoint stratum measure horizon estimate lower upper n events".split())
    rows = []
    for endpoint in in_order(table["endpoint"].to_list(), ("EFS", "OS")):
        for stratum in in_order(table["stratum"].to_list(), _ORDER):
            part = table.filter((pl.col("endpoint") == endpoint) & (pl.col("stratum") == stratum)).to_dicts()
            cells = {row["measure"]: row for row in part}
            if cells:
                size = part[0]
                rows.append(
                    {
                        "endpoint": word(endpoint),
                        "stratum": word(stratum),
                        "n": count(size["n"]),
                        "events": count(size["events"]),
                        "mean": _days(cells.get("RMST")),
                        "follow": _days(cells.get("median follow-up")),
                    }
                )
    horizon = max(table["horizon"].drop_nulls().to_list(), default=365)
    columns = [
        Column("stratum", "Stratum", "left"),
        Column("n", "Patients"),
        Column("events", "Events"),
        Column("mean", f"Restricted mean to day {count(horizon)}, days (95% CI)"),
        Column("follow", "Median follow-up, days (95% CI)"),
    ]
    note = (
        "Unit: patient. Restricted mean: area under Kaplan–Meier, Greenwood-type variance. Follow-up: reverse "
        "Kaplan–Meier, log-log limits. Without an event before the horizon the restricted mean has no interval."
    )
    body = html_table(rows, columns, stub="stratum", group="endpoint")
    return material.table("Restricted mean survival time and follow-up", body, [note])


def _days(row: Row | None) -> str:
    if row is None or not is_number(row["estimate"]):
        return DASH
    if not is_number(row["lower"]) or row["lower"] == row["upper"]:
        return number(row["estimate"], 0)
    return f"{number(row['estimate'], 0)} ({interval(row['lower'], row['upper'], 0)})"


def comparisons(material: Material) -> str:
    """T6: the tests between the strata."""
    table = material.need(
        "tests",
        *("analysis_id comparison test statistic df p n events horizon").split(),
    )
    table = table.filter(pl.col("analysis_id") == "A5")
    holm = {row["comparison"]: row["p"] for row in table.filter(pl.col("test") == _HOLM).to_dicts()}
    rows = [
        {
            "endpoint": word(str(row["comparison"]).split(":")[0].split(" ")[0]),
            "test": sentence(str(row["test"])),
            "comparison": _strata(str(row["comparison"])),
            "horizon": "All follow-up" if row["horizon"] is None else f"{count(row['horizon'])} days",
            "statistic": "" if not is_number(row["statistic"]) else number(row["statistic"], 2),
            "df": count(row["df"]) if is_number(row["df"]) else "",
            "p": p_value(row["p"]),
            "holm": p_value(holm[row["comparison"]]) if row["test"] == "log-rank, pairwise" and holm else "",
            "n": count(row["n"]),
            "events": count(row["events"]),
        }
        for row in table.filter(pl.col("test") != _HOLM).to_dicts()
    ]
    columns = [
        Column("test", "Test", "left"),
        Column("comparison", "Strata", "left"),
        Column("horizon", "Horizon", "left"),
        Column("n", "Patients"),
        Column("events", "Events"),
        Column("statistic", "χ²"),
        Column("df", "df"),
        Column("p", "<i>P</i>"),
        Column("holm", "<i>P</i>, Holm"),
    ]
    permuted = table.filter(pl.col("test") == "log-rank, permutation") if "note" in table.columns else table.clear()
    note = (
        "Unit: patient. Strata are prognostic groups; no comparison is causal. All but the first row of each endpoint "
        "are secondary. Trend: scores 0, 1, 2 in the order CR-MRDneg, CR-MRDpos, R/R. Rho = 1: Fleming–Harrington, "
        "p = 1, q = 0. Horizon: censored at that day, whose events count. Permutation: "
        f"{escape(str(permuted['note'][0] or 'see the parameters')) if permuted.height else 'see the parameters'}."
    )
    body = html_table(rows, columns, stub="test", group="endpoint")
    return material.table("Comparison of the strata", body, [note])


def _strata(comparison: str) -> str:
    """ "EFS: RR vs CR_MRDneg" as "R/R vs CR-MRDneg"."""
    _, _, strata = comparison.partition(": ")
    return " vs ".join(word(part) for part in strata.split(" vs ")) if strata else comparison


def incidence(material: Material) -> str:
    """F4."""
    table = material.need("cumulative_incidence", "stratum", "event", "time", "cif")
    table = some(table.filter(pl.col("stratum") != "all"), "stratum")
    return material.figure(draw_incidence(table), ["Aalen–Johansen estimates; the areas are stacked. Unit: patient."])


def incidence_at(material: Material) -> str:
    """T6: cumulative incidence at the fixed days, with standard error, interval and number at risk."""
    need = "stratum event time cif se at_risk events"
    table = material.need("cumulative_incidence", *need.split())
    days = material.need("survival_at", "time")["time"].unique().sort().to_list()
    table = some(table.filter(pl.col("time").is_in(days)), "incidence at the fixed days")
    rows = [
        {
            "stratum": word(stratum),
            "event": sentence(word(row["event"])),
            "day": count(row["time"]),
            "risk": count(row["at_risk"]),
            "cif": f"{number(hundred(row['cif']))}{_error(row)}",
            "ci": interval(hundred(row["lower"]), hundred(row["upper"])) if is_number(row.get("upper")) else DASH,
            "method": row.get("ci_method") or "",
        }
        for stratum in in_order(table["stratum"].to_list(), _ORDER)
        for row in table.filter(pl.col("stratum") == stratum).sort("event", "time", descending=[True, False]).to_dicts()
    ]
    columns = [
        Column("event", "Event", "left"),
        Column("day", "Day"),
        Column("risk", "At risk"),
        Column("cif", "Cumulative incidence ± SE (%)"),
        Column("ci", "95% CI (%)"),
        Column("method", "Interval", "left"),
    ]
    body = html_table(rows, columns, stub="event", group="stratum")
    note = (
        "Unit: patient. Aalen–Johansen; events on the named day count. Without an event yet: the exact interval of "
        "none among those at risk."
    )
    return material.table("Cumulative incidence of competing events at fixed times", body, [note])


def _error(row: Row) -> str:
    return f" ± {number(hundred(row['se']))}" if is_number(row["se"]) and row["se"] > 0 else ""


SURVIVAL = Section(
    "survival",
    "Survival",
    (
        ("Event-free survival", curves("EFS")),
        ("Overall survival", curves("OS")),
        ("Survival at fixed times", estimates),
        ("Restricted mean and follow-up", summaries),
        ("Comparison of the strata", comparisons),
        ("Cumulative incidence", incidence),
        ("Cumulative incidence at fixed times", incidence_at),
    ),
    "Endpoints are counted per patient, from the first bag of course 1, by stratum.",
)
