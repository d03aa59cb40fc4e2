"""Hospitals pooled by random effects, with their heterogeneity (A12): `statsmodels.combine_effects`.

Proportions are pooled as log odds with half a success and half a failure added (a site with 0 or all stays in); log
odds ratios and log hazard ratios as Firth's estimates of each site. Between-site variance by Paule and Mandel; with so
few sites the interval is Hartung, Knapp, Sidik and Jonkman's, never narrower than the normal one.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from analytics.statistics.frames import StudyFrames
from analytics.statistics.parameters import StatisticsParameters
from analytics.statistics.proportions import ALL_SITES, response_table
from analytics.statistics.tables import tidy

METHOD = "random effects, Paule-Mandel, Hartung-Knapp interval (statsmodels combine_effects)"
METHOD_SHARE = f"{METHOD} of log odds, half a success and half a failure added per site: few courses draw it to 50%"
FEWEST_SITES = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Pooled:
    """The pooled effect on its own scale with limits, and how much the sites differ."""

    effect: float
    se: float
    lower: float
    upper: float
    q: float
    q_p: float
    i2: float
    tau2: float
    sites: int


def pooled(effects: Sequence[float], variances: Sequence[float], confidence: float) -> Pooled | None:
    """Random-effects mean of the sites' effects; None with fewer than two sites."""
    if len(effects) < FEWEST_SITES:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):  # statsmodels divides by Q even when all sites agree
        result = combine_effects(np.asarray(effects), np.asarray(variances), method_re="pm", use_t=True)
    effect, k = float(result.mean_effect_re), len(effects)
    plain, hksj = float(result.sd_eff_w_re), float(result.sd_eff_w_re_hksj)
    normal = float(stats.norm.ppf(0.5 + confidence / 2)) * plain
    half = max(float(stats.t.ppf(0.5 + confidence / 2, k - 1)) * hksj, normal)
    q = float(result.q)
    i2 = max(0.0, 100 * (q - (k - 1)) / q) if q > 0 else 0.0
    tau2 = max(0.0, float(result.tau2))
    return Pooled(
        effect, max(plain, hksj), effect - half, effect + half, q, float(stats.chi2.sf(q, k - 1)), i2, tau2, k
    )


def pooled_tables(
    frames: StudyFrames, by_site: pl.DataFrame, parameters: StatisticsParameters
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of `models` (model `random_effects`) and of `model_fit` (Q, its P, I² in %, τ²).

    `by_site`: the rows of `regression.site_models`.
    """
    models: list[dict[str, object]] = []
    fits: list[dict[str, object]] = []
    for outcome, coding, term, label, table, is_share in _effects(frames, by_site, parameters):
        head: dict[str, object] = {"model": "random_effects", "outcome": outcome, "coding": coding}
        found = pooled(table["effect"].to_list(), table["variance"].to_list(), parameters.confidence)
        counts = {"n": int(table["n"].sum()), "events": int(table["events"].sum())}
        row = head | counts | {"term": term, "label": label, "method": METHOD_SHARE if is_share else METHOD}
        if found is None:
            models.append(row | {"note": f"not pooled: {table.height} site with an estimate"})
            continue
        limits = [_shown(x, is_share=is_share) for x in (found.effect, found.lower, found.upper)]
        note = f"{found.sites} sites; " + (
            "percent; events = successes" if is_share else "ratio; descriptive, single sites are small"
        )
        models.append(row | {"estimate": limits[0], "lower": limits[1], "upper": limits[2], "coef": found.effect,
                             "se": found.se, "note": note})  # fmt: skip
        measures = {"Q": found.q, "P of Q": found.q_p, "I2, %": found.i2, "tau2": found.tau2}
        fits += [
            head | counts | {"quantity": f"{term}: {name}", "value": value, "method": METHOD}
            for name, value in measures.items()
        ]
    return tidy("models", models), tidy("model_fit", fits)


def _shown(value: float, *, is_share: bool) -> float:
    return 100 / (1 + math.exp(-value)) if is_share else math.exp(value)


_Effects = list[tuple[str, str, str, str, pl.DataFrame, bool]]


def _effects(frames: StudyFrames, by_site: pl.DataFrame, parameters: StatisticsParameters) -> _Effects:
    """outcome, coding, term, label, frame (effect, variance, n, events), whether a proportion."""
    found: _Effects = []
    table = response_table(frames, parameters).filter((pl.col("site") != ALL_SITES) & (pl.col("n") > 0))
    for (analysis, group), part in table.group_by("analysis_id", "group", maintain_order=True):
        if analysis in ("A2", "A3"):
            success, failure = pl.col("k") + 0.5, pl.col("n") - pl.col("k") + 0.5
            effects = part.select("n", effect=(success / failure).log(), variance=1 / success + 1 / failure, events="k")
            found.append((f"response, {group}", "by site", "percent", str(part["population"][0]), effects, True))
    models = by_site.filter(pl.col("coef").is_not_null() & (pl.col("se") > 0))
    for (model, outcome, term), part in models.group_by("model", "outcome", "term", maintain_order=True):
        effects = part.select("n", "events", effect="coef", variance=pl.col("se") ** 2)
        kind = "OR" if model == "firth_logistic_site" else "HR"
        found.append((f"{outcome}, {kind}", "exclusive", str(term), str(part["label"][0]), effects, False))
    return found
