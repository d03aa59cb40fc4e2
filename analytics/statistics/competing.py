"""Cumulative incidence of competing events: the Aalen–Johansen estimator in closed form (A7).

lifelines jitters tied times at random; this one does not, so equal input gives equal output.
"""

import dataclasses
import math

import numpy as np
import polars as pl
from scipy import stats

from analytics.statistics.frames import Floats, StudyFrames, usable
from analytics.statistics.parameters import StatisticsParameters
from analytics.statistics.proportions import clopper_pearson
from analytics.statistics.tables import tidy

# the types of efs_event_type by competing event; what is not listed is its own event
EVENTS = {
    "refractory": "relapse or refractory",
    "relapse": "relapse or refractory",
    "death_in_remission": "death in remission",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Incidence:
    """Steps of one event's cumulative incidence: days, fraction, SE, at risk and events on that day."""

    time: Floats
    cif: Floats
    se: Floats
    at_risk: Floats
    events: Floats


def aalen_johansen(time: Floats, cause: Floats, of: int) -> Incidence:
    """Cumulative incidence of cause `of` (0 = censored), variance by the Greenwood-type (delta-method) formula.

    Var F(t) = Σ (F(t) − F(s))² d/(n(n−d)) + Σ S(s−)² d₁(n−d₁)/n³ − 2 Σ (F(t) − F(s)) S(s−) d₁/n²
    (Marubini & Valsecchi 1995, equation 10.12); events come before censorings on a tie.
    """
    moments = np.unique(time[cause > 0])
    at_risk = np.array([(time >= t).sum() for t in moments], dtype=np.float64)
    any_event = np.array([((time == t) & (cause > 0)).sum() for t in moments], dtype=np.float64)
    this_event = np.array([((time == t) & (cause == of)).sum() for t in moments], dtype=np.float64)
    if not len(moments):
        nothing = np.zeros(0)
        return Incidence(nothing, nothing, nothing, nothing, nothing)
    before = np.concatenate([[1.0], np.cumprod(1 - any_event / at_risk)[:-1]])
    cif = np.cumsum(before * this_event / at_risk)
    with np.errstate(divide="ignore", invalid="ignore"):
        greenwood = any_event / (at_risk * (at_risk - any_event))
    greenwood = np.where(np.isfinite(greenwood), greenwood, 0.0)  # the last to leave: F(t) − F(s) is 0 there anyway
    own = before**2 * this_event * (at_risk - this_event) / at_risk**3
    shared = before * this_event / at_risk**2
    variance = np.array([
        ((cif[i] - cif[: i + 1]) ** 2 * greenwood[: i + 1]).sum()
        + own[: i + 1].sum()
        - 2 * ((cif[i] - cif[: i + 1]) * shared[: i + 1]).sum()
        for i in range(len(moments))
    ])  # fmt: skip
    return Incidence(moments, cif, np.sqrt(np.maximum(variance, 0.0)), at_risk, this_event)


LOG_LOG, EXACT = "log-log (Greenwood-type)", "Clopper-Pearson (at risk)"


def _limits(cif: float, se: float, at_risk: int, confidence: float) -> tuple[float | None, float | None, str | None]:
    """Log-log interval of an incidence and its name; without an event yet the exact one of 0 of those at risk."""
    if cif == 0 and at_risk:
        return 0.0, clopper_pearson(0, at_risk, confidence)[1], EXACT
    if not 0 < cif < 1 or se == 0:
        return None, None, None
    spread = float(stats.norm.ppf(0.5 + confidence / 2)) * se / (cif * math.log(cif))
    low, high = sorted((cif ** math.exp(spread), cif ** math.exp(-spread)))
    return low, high, LOG_LOG


def competing_tables(frames: StudyFrames, parameters: StatisticsParameters) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`cumulative_incidence` by stratum, and the cause-specific counts as rows of `tests` with test "count".

    Each curve starts at day 0 and has a row at every event time of the stratum and at the reported days.
    """
    known = usable(frames.patients, "EFS").with_columns(
        kind=pl.when(pl.col("event")).then(pl.col("efs_event_type").replace(EVENTS).fill_null("event of unknown kind")),
        km_stratum=pl.col("km_stratum").fill_null("UNKNOWN"),
    )
    kinds = list(dict.fromkeys([*EVENTS.values(), *sorted(known["kind"].drop_nulls().unique())]))
    rows: list[dict[str, object]] = []
    counts: list[dict[str, object]] = []
    for stratum in sorted(known["km_stratum"].unique()):
        part = known.filter(pl.col("km_stratum") == stratum)
        time = part["time"].to_numpy().astype(np.float64)
        cause = part["kind"].replace_strict({k: i + 1 for i, k in enumerate(kinds)}, default=0, return_dtype=pl.Int64)
        codes = cause.fill_null(0).to_numpy().astype(np.float64)
        for code, kind in enumerate(kinds, start=1):
            found = aalen_johansen(time, codes, code)
            rows += _incidence_rows(stratum, kind, found, time, parameters)
            counts.append({
                "analysis_id": "A7", "comparison": f"{stratum}: {kind}", "test": "cause-specific count",
                "n": part.height, "events": int((codes == code).sum()), "unit_of_analysis": "patient",
                "note": "first event of EFS; no test is made",
            })  # fmt: skip
    return tidy("cumulative_incidence", rows), tidy("tests", counts)


def _incidence_rows(
    stratum: str, kind: str, found: Incidence, time: Floats, parameters: StatisticsParameters
) -> list[dict[str, object]]:
    last = float(time.max())
    days = sorted({0.0, *found.time.tolist(), *(float(d) for d in parameters.survival_days if d <= last)})
    rows = []
    for day in days:
        place = int(np.searchsorted(found.time, day, side="right")) - 1
        cif, se = (float(found.cif[place]), float(found.se[place])) if place >= 0 else (0.0, 0.0)
        at_risk = int((time >= day).sum())
        low, high, method = _limits(cif, se, at_risk, parameters.confidence)
        here = place >= 0 and found.time[place] == day
        rows.append({
            "stratum": stratum, "event": kind, "time": day, "cif": cif, "se": se, "lower": low, "upper": high,
            "ci_method": method, "at_risk": at_risk, "events": int(found.events[place]) if here else 0,
        })  # fmt: skip
    return rows
