"""Log-rank tests: global by lifelines; trend, pairwise with Holm, rho = 1, horizon and permutation."""

import dataclasses
from itertools import combinations

import numpy as np
import numpy.typing as npt
import polars as pl
from lifelines.statistics import logrank_test, multivariate_logrank_test
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analytics.statistics.frames import STRATA, Flags, Floats, Survival
from analytics.statistics.parameters import StatisticsParameters
from analytics.statistics.tables import tidy

_CHUNK = 2_000  # permutations worked on at a time: memory stays near 2,000 × event times × strata floats


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """One test: statistic, degrees of freedom, P; None where it cannot be made, and why."""

    statistic: float | None
    df: float | None
    p: float | None
    note: str | None = None


def log_rank(endpoint: Survival, *, rho: int = 0) -> Outcome:
    """The log-rank test over all strata; `rho=1` is R's Peto–Peto: Fleming–Harrington p=1, q=0, not lifelines' peto."""
    reason = _no_test(endpoint)
    if reason:
        return Outcome(None, None, None, reason)
    options: dict[str, object] = {"weightings": "fleming-harrington", "p": rho, "q": 0} if rho else {}
    result = multivariate_logrank_test(endpoint.time, endpoint.stratum, endpoint.event, **options)
    return Outcome(float(result.test_statistic), float(len(endpoint.strata) - 1), float(result.p_value))


def _no_test(endpoint: Survival) -> str | None:
    if len(endpoint.strata) < 2:
        return "no test: fewer than two strata"
    return None if endpoint.event.any() else "no test: no events"


@dataclasses.dataclass(frozen=True, slots=True)
class _Deaths:
    """What the log-rank needs at the distinct event times; rows are event times, columns persons."""

    at_risk: Floats  # 0/1
    died: Floats  # 0/1
    n: Floats
    d: Floats


def _deaths(time: Floats, event: Flags) -> _Deaths:
    moments = np.unique(time[event])
    at_risk = (time[None, :] >= moments[:, None]).astype(np.float64)
    died = ((time[None, :] == moments[:, None]) & event[None, :]).astype(np.float64)
    return _Deaths(at_risk, died, at_risk.sum(axis=1), died.sum(axis=1))


def _difference_and_variance(deaths: _Deaths, groups: Floats) -> tuple[Floats, Floats]:
    """O − E and its hypergeometric covariance; `groups` (…, persons, strata) one-hot, leading axes are permutations."""
    at_risk = deaths.at_risk @ groups  # (…, times, strata)
    expected = at_risk * (deaths.d / deaths.n)[:, None]
    difference = (deaths.died @ groups - expected).sum(axis=-2)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(deaths.n > 1, deaths.d * (deaths.n - deaths.d) / (deaths.n**2 * (deaths.n - 1)), 0.0)
    diagonal = np.einsum("...tg,t->...g", at_risk, factor * deaths.n)
    cross = np.einsum("...tg,...th,t->...gh", at_risk, at_risk, factor)
    identity = np.eye(groups.shape[-1])
    return difference, diagonal[..., :, None] * identity - cross


def _one_hot(codes: npt.NDArray[np.int64], count: int) -> Floats:
    return np.eye(count, dtype=np.float64)[codes]


def _statistics(difference: Floats, variance: Floats) -> Floats:
    """Quadratic form over all strata but the last (the covariance has rank strata − 1)."""
    u, v = difference[..., :-1], variance[..., :-1, :-1]
    return np.asarray(np.einsum("...g,...gh,...h->...", u, np.linalg.pinv(v, hermitian=True), u))


def trend(endpoint: Survival) -> Outcome:
    """Score test for trend with scores 0, 1, 2 in the order CR_MRDneg, CR_MRDpos, RR (one degree of freedom)."""
    ordered = tuple(s for s in STRATA if s in endpoint.strata)
    part = endpoint.of(*ordered)
    reason = _no_test(part)
    if reason:
        return Outcome(None, None, None, reason)
    codes = np.array([ordered.index(str(s)) for s in part.stratum], dtype=np.int64)
    difference, variance = _difference_and_variance(_deaths(part.time, part.event), _one_hot(codes, len(ordered)))
    scores = np.array([STRATA.index(s) for s in ordered], dtype=np.float64)
    statistic = float((scores @ difference) ** 2 / (scores @ variance @ scores))
    return Outcome(statistic, 1.0, float(stats.chi2.sf(statistic, 1)))


def permutation(endpoint: Survival, repeats: int, seed: int) -> Outcome:
    """Permutation P of the log-rank: strata shuffled over the persons, (k + 1) / (repeats + 1); same seed, same P."""
    reason = _no_test(endpoint) or (None if repeats else "not run: no permutations asked for")
    if reason:
        return Outcome(None, None, None, reason)
    strata = endpoint.strata
    codes = np.array([strata.index(str(s)) for s in endpoint.stratum], dtype=np.int64)
    deaths = _deaths(endpoint.time, endpoint.event)
    observed = float(_statistics(*_difference_and_variance(deaths, _one_hot(codes, len(strata)))))
    generator = np.random.default_rng(seed)
    as_large = 0
    for start in range(0, repeats, _CHUNK):
        shuffled = generator.permuted(np.tile(codes, (min(_CHUNK, repeats - start), 1)), axis=1)
        found = _statistics(*_difference_and_variance(deaths, _one_hot(shuffled, len(strata))))
        as_large += int((found >= observed - 1e-9).sum())
    return Outcome(
        observed, float(len(strata) - 1), (as_large + 1) / (repeats + 1), f"{repeats} permutations, seed {seed}"
    )


def pairwise(endpoint: Survival) -> list[tuple[str, str, Outcome, float | None]]:
    """Each pair of strata: names, unadjusted log-rank, Holm-adjusted P."""
    found: list[tuple[str, str, Outcome]] = []
    for first, second in combinations(endpoint.strata, 2):
        pair = endpoint.of(first, second)
        if not pair.event.any():
            found.append((first, second, Outcome(None, None, None, "no test: no events")))
            continue
        a, b = pair.of(first), pair.of(second)
        result = logrank_test(a.time, b.time, a.event, b.event)
        found.append((first, second, Outcome(float(result.test_statistic), 1.0, float(result.p_value))))
    known = [outcome.p for _, _, outcome in found if outcome.p is not None]
    holm = iter(multipletests(known, method="holm")[1].tolist() if known else [])
    return [(a, b, outcome, None if outcome.p is None else next(holm)) for a, b, outcome in found]


def log_rank_tests(endpoint: Survival, parameters: StatisticsParameters) -> pl.DataFrame:
    """A5: every comparison of the strata of one endpoint. UNKNOWN is not compared; how many is said in the note."""
    known = tuple(s for s in endpoint.strata if s != "UNKNOWN")
    part = endpoint.of(*known)
    left_out = len(endpoint.time) - len(part.time)
    horizon = float(parameters.horizon_days)
    compared = " vs ".join(known)
    rows: list[dict[str, object]] = []

    def add(test: str, outcome: Outcome, data: Survival, until: float | None = None, *, of: str = compared,
            note: str | None = None) -> None:  # fmt: skip
        said = [text for text in (outcome.note, note, f"{left_out} of UNKNOWN stratum left out" if left_out else None)
                if text]  # fmt: skip
        rows.append({
            "analysis_id": "A5", "comparison": f"{endpoint.name}: {of}", "test": test, "statistic": outcome.statistic,
            "df": outcome.df, "p": outcome.p, "n": len(data.time), "events": int(data.event.sum()),
            "unit_of_analysis": "patient", "horizon": until, "note": "; ".join(said) or None,
        })  # fmt: skip

    add("log-rank", log_rank(part), part, note="over all follow-up")
    early = part.until(horizon)
    add("log-rank, horizon", log_rank(early), early, horizon, note="administrative censoring, that day's events count")
    add("log-rank, trend", trend(part), part, note="scores 0, 1, 2; secondary")
    add("log-rank, rho = 1", log_rank(part, rho=1), part, note="Fleming-Harrington p = 1, q = 0")
    add("log-rank, permutation", permutation(part, parameters.permutations, parameters.seed), part)
    for first, second, outcome, holm in pairwise(part):
        data, of = part.of(first, second), f"{first} vs {second}"
        add("log-rank, pairwise", outcome, data, of=of, note="unadjusted")
        add("log-rank, pairwise Holm", dataclasses.replace(outcome, p=holm), data, of=of, note="Holm-adjusted")
    return tidy("tests", rows)
