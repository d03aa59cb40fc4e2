"""Ordinary Cox models by lifelines (Efron), their proportional-hazards tests, and the C-index with its optimism.

lifelines' Newton step fails on sparse data that R fits; then it is repeated with step size 0.5 and the note says so
(PROTOCOL section 9). The test of proportional hazards is R's `cox.zph` (score test), which no library here has.
"""

import dataclasses
import math
import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from firthmodels import FirthCoxPH
from lifelines import CoxPHFitter
from lifelines.exceptions import ConvergenceError, ConvergenceWarning
from lifelines.statistics import proportional_hazard_test
from lifelines.utils import concordance_index
from scipy import stats
from scipy.linalg import LinAlgError

from analytics.statistics.firth import NO_VARIATION, Term, survival_y
from analytics.statistics.frames import Flags, Floats

# lifelines stops at five good digits; these stop at eight, where R with a small eps stops as well
PRECISE = {"precision": 1e-15, "r_precision": 1e-17}
RETRIED = "lifelines did not converge with its own step; fitted again with step size 0.5"


@dataclasses.dataclass(frozen=True, slots=True)
class CoxFit:
    """A fitted Cox model: its terms, log partial likelihoods, concordance; `fitter` is lifelines' own, or None."""

    terms: list[Term]
    loglik: float | None = None
    loglik_null: float | None = None
    concordance: float | None = None
    fitter: CoxPHFitter | None = None


def _fitted(frame: pl.DataFrame, **options: object) -> tuple[CoxPHFitter, str | None]:
    """lifelines' fit, retried with the smaller step; its low-variance and convergence warnings become the note."""
    table = frame.to_pandas()
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        # cluster-robust fits announce that the printed log-likelihood test is not robust; it is not used
        warnings.simplefilter("always", RuntimeWarning)
        fitter = CoxPHFitter()
        try:
            fitter.fit(table, "time", "event", fit_options=PRECISE, **options)
        except ConvergenceError:
            fitter = CoxPHFitter()
            fitter.fit(table, "time", "event", fit_options=PRECISE | {"step_size": 0.5}, **options)
            notes.append(RETRIED)
    if any(issubclass(w.category, ConvergenceWarning) for w in caught):
        notes.append("lifelines warns of (near) separation; see the Firth model")
    return fitter, "; ".join(notes) or None


def cox(
    frame: pl.DataFrame, names: Sequence[str], *, strata: str | None = None, cluster: str | None = None,
    entry: str | None = None, confidence: float = 0.95,
) -> CoxFit:  # fmt: skip
    """Cox model of `time` (days) and `event` on the 0/1 columns `names`; rows with missing values are left out.
    `entry`: the column of the day from which a person is at risk (left truncation).

    A factor without variation, no events, or failure after the retry give terms without numbers and the reason.
    """
    extra = [column for column in (strata, cluster, entry) if column]
    known = frame.select("time", "event", *names, *extra).drop_nulls()
    n, events = known.height, int(known["event"].sum())

    def nothing(reason: str) -> CoxFit:
        return CoxFit([Term(name, n=n, events=events, note=reason) for name in names])

    if not events:
        return nothing("not estimable: no events")
    if any(known[name].n_unique() < 2 for name in names):
        return nothing(NO_VARIATION)
    options = {
        key: value for key, value in (("strata", strata), ("cluster_col", cluster), ("entry_col", entry)) if value
    }
    try:
        fitter, note = _fitted(known, **options)
    except ConvergenceError:
        return nothing("not estimable: no convergence, also not with step size 0.5")
    z = stats.norm.ppf(0.5 + confidence / 2)
    terms = []
    for name in names:
        coef, se = float(fitter.params_[name]), float(fitter.standard_errors_[name])
        p = float(fitter.summary.loc[name, "p"])
        terms.append(Term(name, coef, coef - z * se, coef + z * se, se, p, n, events, note))
    null = float(fitter.log_likelihood_) - float(fitter.log_likelihood_ratio_test().test_statistic) / 2
    return CoxFit(terms, float(fitter.log_likelihood_), null, float(fitter.concordance_index_), fitter)


def schoenfeld_p(frame: pl.DataFrame, names: Sequence[str], fit: CoxFit, transform: str) -> dict[str, float]:
    """lifelines' proportional-hazards test on scaled Schoenfeld residuals, P by factor."""
    known = frame.select("time", "event", *names).drop_nulls().to_pandas()
    result = proportional_hazard_test(fit.fitter, known, time_transform=transform)
    found = result.summary["p"]
    return {name: float(found[name]) for name in names}


def _risk_set_moments(x: Floats, time: Floats, event: Flags, risk: Floats) -> tuple[Floats, list[Floats], list[Floats]]:
    """At each event (in time order, Efron's weights on ties): its time, x − mean and the weighted covariance."""
    moments: list[float] = []
    residuals: list[Floats] = []
    covariances: list[Floats] = []
    for moment in np.unique(time[event]):
        at_risk, died = time >= moment, (time == moment) & event
        deaths = int(died.sum())
        for step, place in enumerate(np.flatnonzero(died)):
            weight = np.where(at_risk, risk, 0.0) - np.where(died, risk * step / deaths, 0.0)
            weight = weight / weight.sum()
            mean = weight @ x
            centred = x - mean
            moments.append(float(moment))
            residuals.append(x[place] - mean)
            covariances.append((centred * weight[:, None]).T @ centred)
    return np.array(moments), residuals, covariances


def _left_continuous_km(time: Floats, event: Flags) -> dict[float, float]:
    """1 − KM just before each event time: the default time scale of `cox.zph`."""
    survival, scale = 1.0, {}
    for moment in np.unique(time[event]):
        scale[float(moment)] = 1 - survival
        survival *= 1 - ((time == moment) & event).sum() / (time >= moment).sum()
    return scale


def zph(frame: pl.DataFrame, names: Sequence[str], coefficients: Floats) -> dict[str, tuple[float, float]]:
    """R's `cox.zph` (transform "km"): chi-square and P by factor, and under "GLOBAL" with as many degrees of freedom.

    The score test of adding x·g(t) to the fitted model (Grambsch & Therneau 1994, as in survival 3.x).
    """
    known = frame.select("time", "event", *names).drop_nulls()
    x = known.select(names).to_numpy().astype(np.float64)
    time, event = known["time"].to_numpy().astype(np.float64), known["event"].to_numpy().astype(np.bool_)
    moments, residuals, covariances = _risk_set_moments(x, time, event, np.exp(x @ coefficients))
    scale = _left_continuous_km(time, event)
    g = np.array([scale[float(moment)] for moment in moments])
    g = g - g.mean()
    p = len(names)
    information = np.zeros((2 * p, 2 * p))
    score = np.zeros(2 * p)
    for weight, residual, covariance in zip(g, residuals, covariances, strict=True):
        information += np.kron(np.array([[1.0, weight], [weight, weight**2]]), covariance)
        score[:p] += residual
        score[p:] += weight * residual
    score[:p] = 0.0  # zero at the maximum; the rounding of the fit is not carried on
    found: dict[str, tuple[float, float]] = {}
    for i, name in enumerate(names):
        rows = [*range(p), p + i]
        statistic = float(score[rows] @ np.linalg.pinv(information[np.ix_(rows, rows)]) @ score[rows])
        found[name] = (statistic, float(stats.chi2.sf(statistic, 1)))
    total = float(score @ np.linalg.pinv(information) @ score)
    found["GLOBAL"] = (total, float(stats.chi2.sf(total, p)))
    return found


def corrected_concordance(
    frame: pl.DataFrame, names: Sequence[str], repeats: int, seed: int, confidence: float
) -> tuple[float, float | None, float | None, float | None]:
    """C-index of the Firth Cox model: apparent, optimism-corrected (Harrell), and the bootstrap percentile limits.

    Resamples without events or variation are left out; Firth's penalty keeps the others estimable.
    """
    known = frame.select("time", "event", *names).drop_nulls()
    x = known.select(names).to_numpy().astype(np.float64)
    time, event = known["time"].to_numpy().astype(np.float64), known["event"].to_numpy().astype(np.bool_)

    def fit(rows: npt.NDArray[np.int64]) -> Floats:
        return np.asarray(FirthCoxPH(backend="numpy").fit(x[rows], survival_y(time[rows], event[rows])).coef_)

    everybody = np.arange(len(time))
    generator = np.random.default_rng(seed)
    optimism, sampled = [], []
    with warnings.catch_warnings():
        # a fit in which the Firth iteration stops early still gives a usable ranking
        warnings.filterwarnings("ignore", "Step-halving failed|Maximum number of iterations", UserWarning)
        apparent = float(concordance_index(time, -(x @ fit(everybody)), event))
        for _ in range(repeats):
            rows = generator.integers(0, len(time), len(time))
            if not event[rows].any() or (x[rows].std(axis=0) == 0).any():
                continue
            try:
                coefficients = fit(rows)
            except (LinAlgError, np.linalg.LinAlgError):
                continue  # collinear factors in this resample
            inside = float(concordance_index(time[rows], -(x[rows] @ coefficients), event[rows]))
            optimism.append(inside - float(concordance_index(time, -(x @ coefficients), event)))
            sampled.append(inside)
    if not optimism:
        return apparent, None, None, None
    shift, tail = float(np.mean(optimism)), (1 - confidence) / 2
    low, high = np.quantile(np.array(sampled) - shift, [tail, 1 - tail])
    return apparent, apparent - shift, float(low), min(1.0, float(high)) if math.isfinite(high) else None
