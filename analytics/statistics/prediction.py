"""What a new site may show: beta-binomial prediction intervals with Jeffreys' prior (A12, replication rule R1)."""

import polars as pl
from scipy import stats

from analytics.statistics.frames import STRATA, StudyFrames, survival_of
from analytics.statistics.parameters import StatisticsParameters
from analytics.statistics.survival import kaplan_meier
from analytics.statistics.tables import tidy

JEFFREYS = "beta-binomial prediction, Jeffreys prior Beta(k + 1/2, n - k + 1/2)"


def prediction_interval(k: int, n: int, new_n: int, confidence: float = 0.95) -> tuple[int, int]:
    """Counts between which a new count of `new_n` falls, predicted from k of n."""
    chance = stats.betabinom(new_n, k + 0.5, n - k + 0.5)
    tail = (1 - confidence) / 2
    return int(chance.ppf(tail)), int(chance.ppf(1 - tail))


def _row(quantity: str, unit: str, k: int, n: int, new_n: int, confidence: float) -> dict[str, object]:
    low, high = prediction_interval(k, n, new_n, confidence)
    return {"quantity": quantity, "unit_of_analysis": unit, "basis": f"{k}/{n}", "k": k, "n": n, "new_n": new_n,
            "lower": low, "upper": high, "method": JEFFREYS}  # fmt: skip


def prediction_table(frames: StudyFrames, response: pl.DataFrame, parameters: StatisticsParameters) -> pl.DataFrame:
    """Prediction for new sites of the configured sizes, from this cohort's counts over all sites.

    Event-free counts at the horizon are used only where nobody is censored before the last event of that time span;
    they are the Kaplan–Meier estimate times n then (rule R2).
    """
    rows: list[dict[str, object]] = []
    overall = response.filter((pl.col("site") == "all") & pl.col("analysis_id").is_in(["A2", "A3"]) & (pl.col("n") > 0))
    for found in overall.iter_rows(named=True):
        for size in parameters.new_site_sizes:
            unit = str(found["unit_of_analysis"])
            rows.append(_row(str(found["population"]), unit, found["k"], found["n"], size, parameters.confidence))
    horizon = float(parameters.horizon_days)
    for endpoint in ("EFS", "OS"):
        everybody = survival_of(frames.patients, endpoint)
        for stratum in (s for s in STRATA if s in everybody.strata):
            part = everybody.of(stratum)
            early = part.time[part.event & (part.time <= horizon)]
            if len(early) and (part.time[~part.event] < early.max()).any():
                continue
            n = len(part.time)
            free = n - kaplan_meier(part.time, part.event).counted_until(horizon)[0]
            name = f"{endpoint} event-free at day {horizon:g}, stratum {stratum}"
            rows += [_row(name, "patient", free, n, size, parameters.confidence) for size in parameters.new_site_sizes]
    return tidy("prediction", rows)
