"""Kaplan–Meier by lifelines, with what lifelines lacks: Greenwood SE, exact limits without events, own risk tables.

R's conventions: at risk at t are those with time ≥ t; events come before censorings on the same day; the curve at t
includes day t.
"""

import dataclasses
import math

import numpy as np
import polars as pl
from lifelines import KaplanMeierFitter
from scipy import stats

from analytics.statistics.frames import Flags, Floats, Survival
from analytics.statistics.parameters import StatisticsParameters
from analytics.statistics.proportions import clopper_pearson
from analytics.statistics.tables import tidy

LOG_LOG, EXACT, NONE_AT_RISK = "log-log (Greenwood)", "Clopper-Pearson (at risk)", "none: nobody at risk"
ALL_STRATA = "all"


@dataclasses.dataclass(frozen=True, slots=True)
class Curve:
    """One Kaplan–Meier curve at its distinct times, starting at day 0."""

    time: Floats
    survival: Floats
    greenwood: Floats  # Σ d / (n (n − d)); NaN once everybody at risk had the event
    at_risk: Floats
    events: Floats
    censored: Floats

    def index(self, day: float) -> int:
        """The last step at or before `day`."""
        return int(np.searchsorted(self.time, day, side="right")) - 1

    def at_risk_on(self, day: float) -> int:
        """How many have a time of `day` or later."""
        position = int(np.searchsorted(self.time, day, side="left"))
        return int(self.at_risk[position]) if position < len(self.time) else 0

    def counted_until(self, day: float) -> tuple[int, int]:
        """Events and censorings up to and including `day`."""
        last = self.index(day) + 1
        return int(self.events[:last].sum()), int(self.censored[:last].sum())


def kaplan_meier(time: Floats, event: Flags, entry: Floats | None = None) -> Curve:
    """The curve of these times (days); `entry` gives delayed entry (left truncation)."""
    fitter = KaplanMeierFitter().fit(time, event_observed=event, entry=entry)
    table = fitter.event_table
    moments = table.index.to_numpy().astype(np.float64)
    # lifelines counts those who enter on a day as at risk that day; as in R they are so only afterwards
    entering = np.where(moments > 0, table["entrance"].to_numpy(), 0)
    at_risk = table["at_risk"].to_numpy().astype(np.float64) - entering
    deaths = table["observed"].to_numpy().astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(deaths > 0, deaths / (at_risk * (at_risk - deaths)), 0.0)
    survival = fitter.survival_function_.iloc[:, 0].to_numpy().astype(np.float64)
    greenwood = np.where(np.isfinite(np.cumsum(steps)), np.cumsum(steps), np.nan)
    return Curve(
        moments, survival, greenwood, at_risk, deaths,
        table["censored"].to_numpy().astype(np.float64),
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class SurvivalPoint:
    """Survival on one day as fractions, its SE and interval and how that was made."""

    survival: float | None
    se: float | None
    lower: float | None
    upper: float | None
    ci_method: str
    at_risk: int
    note: str | None = None


def survival_point(curve: Curve, day: float, confidence: float) -> SurvivalPoint:
    """S(day) with Greenwood SE and log-log interval.

    Before the first event the log-log interval does not exist (lifelines prints [1, 1], R prints NA): there the limit
    is Clopper–Pearson's of n/n with n at risk on that day. Beyond the last follow-up nothing is estimated.
    """
    at_risk = curve.at_risk_on(day)
    place = curve.index(day)
    survival, greenwood = float(curve.survival[place]), float(curve.greenwood[place])
    if at_risk == 0 and survival > 0:
        return SurvivalPoint(None, None, None, None, NONE_AT_RISK, 0, "follow-up ends before this day")
    if survival == 1.0:
        return SurvivalPoint(1.0, 0.0, clopper_pearson(at_risk, at_risk, confidence)[0], 1.0, EXACT, at_risk)
    if survival <= 0.0 or not math.isfinite(greenwood):
        return SurvivalPoint(survival, None, None, None, LOG_LOG, at_risk, "no interval: everybody had the event")
    z = stats.norm.ppf(0.5 + confidence / 2)
    theta = z * math.sqrt(greenwood) / abs(math.log(survival))
    limits = sorted((survival ** math.exp(theta), survival ** math.exp(-theta)))
    return SurvivalPoint(survival, survival * math.sqrt(greenwood), limits[0], limits[1], LOG_LOG, at_risk)


def restricted_mean(curve: Curve, horizon: float) -> tuple[float, float]:
    """Area under the curve up to `horizon` days and its SE (Greenwood-type, as in R survival's `rmean`)."""
    inside = curve.time < horizon
    edges = np.append(curve.time[inside], horizon)
    widths = np.diff(edges)
    areas = widths * curve.survival[inside]
    remaining = np.cumsum(areas[::-1])[::-1]
    steps = np.diff(np.append(0.0, curve.greenwood[inside]))
    variance = float(np.nansum(remaining**2 * steps))
    return float(areas.sum()), math.sqrt(variance)


def median_follow_up(time: Floats, event: Flags, confidence: float) -> tuple[float | None, float | None, float | None]:
    """Reverse Kaplan–Meier median of follow-up in days with its log-log limits (None where not reached).

    Events and censorings change places; the reversed event comes first on a tie: R's survfit(Surv(time, 1 - event)).
    """
    curve = kaplan_meier(time, ~event)
    reached = curve.time[curve.survival <= 0.5]
    points = [survival_point(curve, day, confidence) for day in curve.time]
    low = [t for t, p in zip(curve.time, points, strict=True) if p.lower is not None and p.lower <= 0.5]
    high = [t for t, p in zip(curve.time, points, strict=True) if p.upper is not None and p.upper <= 0.5]
    return tuple(float(found[0]) if len(found) else None for found in (reached, low, high))  # type: ignore[return-value]


def _curve_rows(name: str, stratum: str, curve: Curve, confidence: float) -> list[dict[str, object]]:
    rows = []
    for i, day in enumerate(curve.time):
        point = survival_point(curve, float(day), confidence)
        rows.append({
            "endpoint": name, "stratum": stratum, "time": float(day), "survival": float(curve.survival[i]),
            "lower": point.lower, "upper": point.upper, "at_risk": int(curve.at_risk[i]),
            "events": int(curve.events[i]), "censored": int(curve.censored[i]),
        })  # fmt: skip
    return rows


def survival_tables(endpoint: Survival, parameters: StatisticsParameters) -> dict[str, pl.DataFrame]:
    """A5 of one endpoint: survival_curves, risk_table, survival_at and survival_summary, by stratum.

    `survival_at` and `survival_summary` also hold the stratum "all"; its curve and numbers at risk stand apart, in
    overall_curves and overall_risk_table. Events in `survival_at` are those up to that day.
    """
    confidence = parameters.confidence
    whole: dict[str, list[dict[str, object]]] = {"curves": [], "risks": []}
    curves: list[dict[str, object]] = []
    risks: list[dict[str, object]] = []
    points: list[dict[str, object]] = []
    summary: list[dict[str, object]] = []
    for stratum in (*endpoint.strata, ALL_STRATA):
        part = endpoint if stratum == ALL_STRATA else endpoint.of(stratum)
        if not len(part.time):
            continue
        curve = kaplan_meier(part.time, part.event)
        head: dict[str, object] = {"endpoint": endpoint.name, "stratum": stratum}
        counts = {"n": len(part.time), "events": int(part.event.sum())}
        for day in parameters.survival_days:
            point = dataclasses.asdict(survival_point(curve, day, confidence))
            seen = {"n": counts["n"], "events": curve.counted_until(day)[0]}
            points.append(head | {"time": float(day)} | point | seen)
        summary += [head | row | counts for row in _summary_rows(part, curve, parameters)]
        steps = _curve_rows(endpoint.name, stratum, curve, confidence)
        (whole["curves"] if stratum == ALL_STRATA else curves).extend(steps)
        (whole["risks"] if stratum == ALL_STRATA else risks).extend(_risk_rows(head, curve, parameters))
    return {
        "overall_curves": tidy("overall_curves", whole["curves"]),
        "overall_risk_table": tidy("overall_risk_table", whole["risks"]),
        "survival_curves": tidy("survival_curves", curves), "risk_table": tidy("risk_table", risks),
        "survival_at": tidy("survival_at", points), "survival_summary": tidy("survival_summary", summary),
    }  # fmt: skip


def _risk_rows(head: dict[str, object], curve: Curve, parameters: StatisticsParameters) -> list[dict[str, object]]:
    rows = []
    for day in parameters.risk_table_days:
        events, censored = curve.counted_until(day)
        rows.append(head | {"time": float(day), "at_risk": curve.at_risk_on(day),
                            "cumulative_events": events, "cumulative_censored": censored})  # fmt: skip
    return rows


def _summary_rows(part: Survival, curve: Curve, parameters: StatisticsParameters) -> list[dict[str, object]]:
    horizon = float(parameters.horizon_days)
    z = stats.norm.ppf(0.5 + parameters.confidence / 2)
    area, se = restricted_mean(curve, horizon)
    note = None if float(part.time.max()) >= horizon else "follow-up ends before the horizon; the curve is carried on"
    rmst: dict[str, object] = {
        "measure": "RMST", "horizon": horizon, "estimate": area, "se": se, "lower": max(0.0, area - z * se),
        "upper": min(horizon, area + z * se), "method": "area under Kaplan-Meier, Greenwood-type variance",
        "note": note if se else "no event before the horizon: the interval has no width",
    }  # fmt: skip
    middle, low, high = median_follow_up(part.time, part.event, parameters.confidence)
    follow_up: dict[str, object] = {
        "measure": "median follow-up", "estimate": middle, "lower": low, "upper": high,
        "method": "reverse Kaplan-Meier, log-log limits", "note": None if middle is not None else "not reached",
    }  # fmt: skip
    return [rmst, follow_up]
