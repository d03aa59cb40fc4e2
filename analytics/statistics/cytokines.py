"""Cytokine peaks against the course's baseline on the log scale, censored values by likelihood (A10)."""

import dataclasses
import math

import numpy as np
import polars as pl
from scipy import stats

from analytics.statistics.frames import Floats, StudyFrames
from analytics.statistics.parameters import StatisticsParameters
from analytics.statistics.tables import tidy

BELOW, ABOVE = ("<", "<=", "≤"), (">", ">=", "≥")


@dataclasses.dataclass(frozen=True, slots=True)
class LogRatio:
    """Mean of ln(peak/baseline), its SE and how it was found."""

    mean: float
    se: float
    method: str


def ratio_bounds(baseline: pl.Series, low_op: pl.Series, peak: pl.Series, high_op: pl.Series) -> tuple[Floats, Floats]:
    """Lower and upper bound of ln(peak/baseline) for every pair; equal bounds mean an exact ratio.

    "<" on the baseline makes the ratio larger than peak/limit; "<" on the peak makes it smaller; ">" the other way.
    """
    ratio = np.log(peak.to_numpy().astype(np.float64) / baseline.to_numpy().astype(np.float64))
    before, after = low_op.fill_null("=").to_list(), high_op.fill_null("=").to_list()
    unbounded_up = np.array([b in BELOW or a in ABOVE for b, a in zip(before, after, strict=True)])
    unbounded_down = np.array([b in ABOVE or a in BELOW for b, a in zip(before, after, strict=True)])
    return np.where(unbounded_down, -np.inf, ratio), np.where(unbounded_up, np.inf, ratio)


def censored_mean(lower: Floats, upper: Floats) -> LogRatio | None:
    """Maximum-likelihood mean of a normal variable known exactly or only to lie between bounds (natural logs).

    Pairs unbounded on both sides say nothing and are left out. None with fewer than two exact values: then neither
    mean nor spread can be told.
    """
    informative = np.isfinite(lower) | np.isfinite(upper)
    lower, upper = lower[informative], upper[informative]
    exact = lower == upper
    if exact.sum() < 2 or lower[exact].std() == 0:
        return None
    if exact.all():
        return LogRatio(float(lower.mean()), float(lower.std(ddof=1) / math.sqrt(len(lower))), "exact values, t limits")
    data = stats.CensoredData(
        uncensored=lower[exact],
        left=upper[~exact & np.isneginf(lower)],
        right=lower[~exact & np.isposinf(upper)],
    )
    mean, spread = stats.norm.fit(data)
    return LogRatio(
        float(mean), _information_se(lower, upper, float(mean), float(spread)), "censored likelihood (tobit)"
    )


def _information_se(lower: Floats, upper: Floats, mean: float, spread: float) -> float:
    """SE of the mean from the numerical Hessian of the log-likelihood in (mean, ln spread)."""

    def minus_log_likelihood(at: Floats) -> float:
        location, scale = at[0], math.exp(at[1])
        exact = lower == upper
        total = stats.norm.logpdf(lower[exact], location, scale).sum()
        total += stats.norm.logcdf(upper[np.isneginf(lower)], location, scale).sum()
        total += stats.norm.logsf(lower[np.isposinf(upper)], location, scale).sum()
        return -float(total)

    centre, step = np.array([mean, math.log(spread)]), 1e-4
    hessian = np.empty((2, 2))
    for i in range(2):
        for j in range(2):
            a, b = np.eye(2)[i] * step, np.eye(2)[j] * step
            f = [minus_log_likelihood(centre + s * a + t * b) for s, t in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
            hessian[i, j] = (f[0] - f[1] - f[2] + f[3]) / (4 * step**2)
    return math.sqrt(np.linalg.inv(hessian)[0, 0])


def _matched(windows: pl.DataFrame, analyte: str) -> pl.DataFrame:
    rows = windows.filter((pl.col("analyte") == analyte) & pl.col("value").is_not_null() & (pl.col("value") > 0))
    before = rows.filter(pl.col("window") == "baseline")
    peak = rows.filter(pl.col("window") == "peak")
    key = ["person_id", "course_no"]
    return before.select(*key, "unit", baseline="value", baseline_op="operator").join(
        peak.select(*key, peak="value", peak_op="operator"), on=key
    ).sort(key)  # fmt: skip


def _cytokine_row(analyte: str, population: str, matched: pl.DataFrame, confidence: float) -> dict[str, object]:
    row: dict[str, object] = {"analyte": analyte, "population": population, "n": matched.height}
    if matched.is_empty():
        return row | {"note": "no course has both a baseline and a peak"}
    lower, upper = ratio_bounds(*(matched[c] for c in ("baseline", "baseline_op", "peak", "peak_op")))
    censored = int((lower != upper).sum())
    row |= {"unit": matched["unit"][0], "n_censored": censored}
    for name in ("baseline", "peak"):
        values = matched[name]
        row |= {f"{name}_median": values.median(), f"{name}_minimum": values.min(), f"{name}_maximum": values.max()}
    found = censored_mean(lower, upper)
    if found is None:
        return row | {"note": "ratio not estimable: fewer than two different exact values"}
    n = matched.height
    quantile = float(stats.t.ppf(0.5 + confidence / 2, n - 1))
    low, high = found.mean - quantile * found.se, found.mean + quantile * found.se
    p = float(2 * stats.t.sf(abs(found.mean) / found.se, n - 1))
    row |= {"ratio": math.exp(found.mean), "ratio_lower": math.exp(low), "ratio_upper": math.exp(high), "p": p}
    note = "courses of one patient taken as independent" if population.startswith("all") else None
    if censored:
        note = "; ".join(filter(None, [note, "medians take a limit at its own value"]))
    return row | {"method": f"geometric mean of peak/baseline, log scale, {found.method}", "note": note}


def cytokine_table(frames: StudyFrames, parameters: StatisticsParameters) -> pl.DataFrame:
    """A10: peak against baseline over all courses, over first courses, and by CRS grade of the course."""
    grades = frames.courses.select("person_id", "course_no", "crs_grade")
    windows = frames.lab_windows.filter(pl.col("window").is_in(["baseline", "peak"]))
    rows: list[dict[str, object]] = []
    for analyte in sorted(windows["analyte"].unique()):
        matched = _matched(windows, analyte).join(grades, on=["person_id", "course_no"], how="left")
        rows.append(_cytokine_row(analyte, "all courses", matched, parameters.confidence))
        first = matched.filter(pl.col("course_no") == 1)
        rows.append(_cytokine_row(analyte, "course 1", first, parameters.confidence))
        for grade in sorted(matched["crs_grade"].drop_nulls().unique()):
            part = matched.filter(pl.col("crs_grade") == grade)
            rows.append(_cytokine_row(analyte, f"all courses, CRS grade {grade}", part, parameters.confidence))
    return tidy("cytokines", rows)
