"""HSCT and CAR-T as time-dependent covariates (A8), the day-90 landmark, and the naive comparison as a warning."""

import dataclasses
import warnings

import numpy as np
import polars as pl
from lifelines import CoxTimeVaryingFitter
from lifelines.exceptions import ConvergenceError, ConvergenceWarning
from scipy import stats

from analytics.statistics.cox import PRECISE, RETRIED, cox
from analytics.statistics.firth import NO_VARIATION, Term, firth_cox
from analytics.statistics.frames import StudyFrames, usable
from analytics.statistics.parameters import StatisticsParameters
from analytics.statistics.regression import COX_METHOD, FIRTH_METHOD, model_rows
from analytics.statistics.tables import tidy

POPULATION = ("RR", "CR_MRDpos")
LABELS = {"RR": "stratum RR vs CR_MRDpos", "hsct": "HSCT", "cart": "CAR-T"}
IMMORTAL = (
    "WARNING, not to be interpreted: ever/never comparison; those treated later had to live event-free until then"
    " (immortal-time bias)"
)


def counting_process(patients: pl.DataFrame, day_column: str) -> pl.DataFrame:
    """One row per person and interval (start, stop] with `event` and `treated`; treatment on day d counts after d.

    A treatment on the day of the event, of censoring, or later leaves a single untreated interval.
    """
    day = pl.col(day_column).cast(pl.Float64)
    switches = day.is_not_null() & (day < pl.col("time"))
    # treatment on day 0: the untreated interval would be empty, so it is treated throughout
    base = patients.with_columns(switch=pl.when(switches).then(day))
    before = base.with_columns(
        start=pl.lit(0.0), stop=pl.coalesce("switch", "time"), treated=pl.lit(0, pl.Int8),
        event=pl.col("event") & pl.col("switch").is_null(),
    ).filter(pl.col("stop") > 0)  # fmt: skip
    after = base.filter(pl.col("switch").is_not_null()).with_columns(
        start=pl.col("switch"), stop=pl.col("time"), treated=pl.lit(1, pl.Int8)
    )
    columns = ["person_id", "start", "stop", "event", "treated", "RR"]
    return pl.concat([before.select(columns), after.select(columns)]).sort("person_id", "start")


def fit_time_dependent(intervals: pl.DataFrame, names: list[str], confidence: float) -> list[Term]:
    """Cox with counting-process intervals; keywords only, because lifelines takes a positional id as the event."""
    n, events = intervals["person_id"].n_unique(), int(intervals["event"].sum())
    if not events or any(intervals[name].n_unique() < 2 for name in names):
        return [Term(name, n=n, events=events, note=NO_VARIATION if events else "no events") for name in names]
    table = intervals.select("person_id", "start", "stop", "event", *names).to_pandas()
    keys = {"id_col": "person_id", "start_col": "start", "stop_col": "stop", "event_col": "event"}
    note = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        fitter = CoxTimeVaryingFitter()
        try:
            fitter.fit(table, fit_options=PRECISE, **keys)
        except (ConvergenceError, np.linalg.LinAlgError):
            note = RETRIED
            try:
                fitter.fit(table, fit_options=PRECISE | {"step_size": 0.5}, **keys)
            except (ConvergenceError, np.linalg.LinAlgError):
                return [Term(name, n=n, events=events, note="not estimable: no convergence") for name in names]
    if any(issubclass(w.category, ConvergenceWarning) for w in caught):
        note = "; ".join(filter(None, [note, "lifelines warns of (near) separation"]))
    z = stats.norm.ppf(0.5 + confidence / 2)
    terms = []
    for name in names:
        coef, se = float(fitter.params_[name]), float(fitter.standard_errors_[name])
        p = float(fitter.summary.loc[name, "p"])
        terms.append(Term(name, coef, coef - z * se, coef + z * se, se, p, n, events, note))
    return terms


def _renamed(terms: list[Term], name: str) -> list[Term]:
    return [dataclasses.replace(term, name=name) if term.name == "treated" else term for term in terms]


def transplant_models(frames: StudyFrames, parameters: StatisticsParameters) -> pl.DataFrame:
    """A8 among the strata RR and CR_MRDpos: time-dependent HR, landmark, and the naive HR labelled as a warning."""
    confidence = parameters.confidence
    efs = usable(frames.patients, "EFS").filter(pl.col("km_stratum").is_in(POPULATION))
    efs = efs.with_columns(RR=(pl.col("km_stratum") == "RR").cast(pl.Int8))
    rows: list[dict[str, object]] = []
    who = "strata RR and CR_MRDpos; adjusted for stratum; no causal reading"
    for name, column in (("hsct", "hsct_day"), ("cart", "cart_day")):
        fitted = fit_time_dependent(counting_process(efs, column), ["treated", "RR"], confidence)
        method = "Cox with time-dependent covariate, Efron ties (lifelines CoxTimeVaryingFitter)"
        rows += model_rows(f"{name}_td", "EFS", "time-dependent", _renamed(fitted, name), method, who, LABELS)
        ever = efs.with_columns(treated=pl.col(column).is_not_null().cast(pl.Int8))
        naive = cox(ever, ["treated", "RR"], confidence=confidence).terms
        rows += model_rows(f"{name}_naive", "EFS", "ever/never", _renamed(naive, name), COX_METHOD, IMMORTAL, LABELS)
        rows += _landmark(efs, name, column, parameters, who)
    return tidy("models", rows)


def _landmark(
    efs: pl.DataFrame, name: str, column: str, parameters: StatisticsParameters, who: str
) -> list[dict[str, object]]:
    """Those still event-free and followed after the landmark day, by treatment up to that day; clock starts there."""
    day = parameters.landmark_days
    alive = efs.filter(pl.col("time") > day).with_columns(
        treated=(pl.col(column).is_not_null() & (pl.col(column) <= day)).cast(pl.Int8),
        efs_days=pl.col("time") - day,
        efs_event=pl.col("event").cast(pl.Int8),
    )
    terms = _renamed(firth_cox(alive, "EFS", ["treated", "RR"], confidence=parameters.confidence), name)
    return model_rows(f"{name}_landmark", "EFS", f"landmark day {day}", terms, FIRTH_METHOD, who, LABELS)
