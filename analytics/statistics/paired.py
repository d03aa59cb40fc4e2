"""Paired change of T cells in first courses (A9): signed-rank test, Hodges–Lehmann shift, geometric mean ratio.

Differences are rounded to the reporting precision (0.01 ×10⁹/L) before ranking: in floating point 0.30 − 0.10 is not
0.20, ties fall apart and the P value moves (PROTOCOL section 9).
"""

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy import stats

from analytics.statistics.frames import Floats, StudyFrames
from analytics.statistics.parameters import StatisticsParameters
from analytics.statistics.tables import tidy

ANALYTES = ("CD3", "CD4", "CD8")
EXACT_UP_TO = 50  # pairs; PROTOCOL A9


def rounded_differences(before: Floats, after: Floats, precision: float) -> Floats:
    """after − before on the grid of the reporting precision, as exact multiples of it."""
    return np.asarray(np.rint((after - before) / precision) * precision).round(10)


def signed_rank(differences: Floats, *, correction: bool = False) -> float | None:
    """Wilcoxon signed-rank P, normal approximation, zeros dropped, mid-ranks, no continuity correction by default."""
    if not np.any(differences != 0):
        return None
    result = stats.wilcoxon(differences, zero_method="wilcox", method="asymptotic", correction=correction)
    return float(result.pvalue)


def signed_rank_exact(differences: Floats) -> float | None:
    """Exact P over all sign changes of the mid-ranks (holds with ties); zeros dropped.

    The distribution of the rank sum is built by convolution over doubled mid-ranks, which are whole numbers.
    """
    known = differences[differences != 0]
    if not len(known):
        return None
    doubled = np.rint(2 * stats.rankdata(np.abs(known))).astype(int)
    chances = np.ones(1)
    for rank in doubled:
        longer = np.zeros(len(chances) + rank)
        longer[: len(chances)] += 0.5 * chances
        longer[rank:] += 0.5 * chances
        chances = longer
    observed = int(doubled[known > 0].sum())
    tail = min(chances[: observed + 1].sum(), chances[observed:].sum())
    return float(min(1.0, 2 * tail))


def hodges_lehmann(differences: Floats, confidence: float) -> tuple[float, float, float]:
    """Median of the Walsh averages (i = j included) and the limits by inverting the signed-rank test.

    The limits are order statistics of the Walsh averages at the normal quantile of the rank sum.
    """
    n = len(differences)
    i, j = np.triu_indices(n)
    averages = np.sort((differences[i] + differences[j]) / 2)
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    middle, spread = n * (n + 1) / 4, math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    place = max(0, math.floor(middle - z * spread))
    return float(np.median(averages)), float(averages[place]), float(averages[len(averages) - 1 - place])


def limits_reached(n: int, confidence: float) -> bool:
    """Whether n pairs allow limits of this confidence: the most extreme result has a chance of 2 × 0.5^n."""
    return bool(2 * 0.5**n <= 1 - confidence)


def log_ratio(before: Floats, after: Floats, confidence: float) -> tuple[float, float, float] | None:
    """Geometric mean of after/before with t limits; None with fewer than 2 pairs or a value that is not positive."""
    if len(before) < 2 or (before <= 0).any() or (after <= 0).any():
        return None
    logs = np.log(after / before)
    mean, se = float(logs.mean()), float(logs.std(ddof=1) / math.sqrt(len(logs)))
    t = float(stats.t.ppf(0.5 + confidence / 2, len(logs) - 1))
    return math.exp(mean), math.exp(mean - t * se), math.exp(mean + t * se)


def _spread(prefix: str, values: Floats) -> dict[str, object]:
    q1, median, q3 = np.quantile(values, [0.25, 0.5, 0.75])
    found = {"median": median, "minimum": values.min(), "maximum": values.max(), "q1": q1, "q3": q3}
    return {prefix + name: float(value) for name, value in found.items()}


def pairs(frames: StudyFrames, analyte: str, windows: tuple[str, str] = ("pre", "post")) -> pl.DataFrame:
    """First courses with both windows filled: person_id, before, after (exact values only), unit.

    Values with an operator other than "=" are limits, not measurements, and leave the pair out.
    """
    exact = pl.col("operator").is_null() | pl.col("operator").is_in(["", "="])
    rows = frames.lab_windows.filter(
        (pl.col("analyte") == analyte) & (pl.col("course_no") == 1) & pl.col("value").is_not_null() & exact
    )
    before, after = (rows.filter(pl.col("window") == window) for window in windows)
    return before.select("person_id", "unit", before="value").join(
        after.select("person_id", after="value"), on="person_id"
    ).sort("person_id")  # fmt: skip


def _paired_row(analyte: str, matched: pl.DataFrame, parameters: StatisticsParameters) -> dict[str, object]:
    n = matched.height
    row: dict[str, object] = {"analyte": analyte, "n_pairs": n}
    if n == 0:
        return row | {"note": "no first course has both windows filled"}
    before = matched["before"].to_numpy().astype(np.float64)
    after = matched["after"].to_numpy().astype(np.float64)
    differences = rounded_differences(before, after, parameters.reporting_precision)
    zeros = int((differences == 0).sum())
    nonzero = np.abs(differences[differences != 0])
    row |= {"unit": matched["unit"][0], "n_zero": zeros, "n_tied": len(nonzero) - len(np.unique(nonzero))}
    row |= _spread("pre_", before) | _spread("post_", after)
    shift, low, high = hodges_lehmann(differences, parameters.confidence)
    reached = limits_reached(n, parameters.confidence)
    row |= {"median_difference": float(np.median(differences)), "shift": shift}
    if reached:
        row |= {"shift_lower": low, "shift_upper": high}
    ratio = log_ratio(before, after, parameters.confidence)
    if ratio is not None:
        row |= {"ratio": ratio[0], "ratio_lower": ratio[1], "ratio_upper": ratio[2]}
    small = n <= EXACT_UP_TO
    row |= {
        "p": signed_rank_exact(differences) if small else signed_rank(differences),
        "p_correction": signed_rank(differences, correction=True),
        "method": f"Wilcoxon signed-rank, {'exact' if small else 'normal approximation without correction'}, "
        f"differences rounded to {parameters.reporting_precision:g}, zeros dropped, mid-ranks; "
        "p_correction: normal approximation with continuity correction",
    }
    missing = None if ratio is not None else "ratio not estimable: a value that is not positive, or one pair"
    unreached = None if reached else "limits of the shift not estimable: too few pairs for this confidence"
    return row | {"note": "; ".join(filter(None, (missing, unreached))) or None}


def paired_table(
    frames: StudyFrames, parameters: StatisticsParameters, analytes: Sequence[str] = ANALYTES
) -> pl.DataFrame:
    """A9: each T-cell subset before and after the first course, in the unit of the windows."""
    return tidy("paired", [_paired_row(a, pairs(frames, a), parameters) for a in analytes])
