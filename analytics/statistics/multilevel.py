"""Several courses of one patient: GEE for MRD kept negative (A3), a mixed model for T cells over all courses (A9)."""

import math
import warnings

import numpy as np
import polars as pl
import statsmodels.api as sm
from scipy import stats
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from analytics.statistics.frames import StudyFrames
from analytics.statistics.paired import ANALYTES
from analytics.statistics.parameters import StatisticsParameters
from analytics.statistics.proportions import disease_courses, each_patient_once
from analytics.statistics.tables import tidy

GEE = (
    "GEE, binomial, logit link, exchangeable within the patient (moment estimate, no degrees-of-freedom correction, "
    "as R's geepack), robust SE (statsmodels)"
)
MIXED = "linear mixed model of ln(after/before), random intercept per patient, REML (statsmodels)"
CODING = "courses clustered by patient"
_GEE_TOLERANCE, _GEE_STEPS = (
    1e-10,
    500,
)  # of the score's norm; statsmodels' own 1e-6 stops before the correlation settles
_FEWEST = 3  # patients below which neither model says anything


def multilevel_models(frames: StudyFrames, parameters: StatisticsParameters) -> pl.DataFrame:
    """Rows of `models`: `gee` (percent, 0–100) and `mixed` (ratio after/before, one row per T-cell subset).

    What cannot be estimated is a row with the reason in `note`, never a NaN.
    """
    negative = frames.courses.filter(pl.col("state_pre") == "MRDneg").with_columns(good=pl.col("mrd_neg_post"))
    rows = [_gee("mrd_neg_post", "MRDneg courses that stay MRD-negative, %", negative, parameters)]
    disease = disease_courses(frames)
    if not each_patient_once(disease):
        answered = disease.with_columns(good=pl.col("responded"))
        rows.append(_gee("response", "courses for disease with response, %", answered, parameters))
    rows += [_mixed(analyte, _ratios(frames, analyte), parameters) for analyte in ANALYTES]
    return tidy("models", rows)


def _gee(outcome: str, label: str, courses: pl.DataFrame, parameters: StatisticsParameters) -> dict[str, object]:
    known = courses.filter(pl.col("good").is_not_null()).sort("person_id", "course_no")
    good = int(known["good"].sum() or 0)
    row: dict[str, object] = {
        "model": "gee", "outcome": outcome, "coding": CODING, "term": "percent", "label": label, "n": known.height,
        "events": known.height - good, "method": GEE,
    }  # fmt: skip
    patients = known["person_id"].n_unique()
    if good in (0, known.height) or patients < _FEWEST:
        return row | {"note": "not estimable: all courses alike, or too few patients; see the exact interval (A3)"}
    target = known["good"].cast(pl.Float64).to_numpy()
    model = sm.GEE(
        target, np.ones((known.height, 1)), groups=known["person_id"].to_numpy(),
        family=sm.families.Binomial(), cov_struct=sm.cov_struct.Exchangeable(),
    )  # fmt: skip
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # ddof_scale=0: divided by the pairs, as geepack does; statsmodels' default is pairs minus parameters
        fit = model.fit(ddof_scale=0, ctol=_GEE_TOLERANCE, maxiter=_GEE_STEPS)
    coef, se = float(fit.params[0]), float(fit.bse[0])
    if not (math.isfinite(coef) and math.isfinite(se) and se > 0) or not fit.converged:
        return row | {"note": "not estimable: the estimating equations did not converge"}
    z = stats.norm.ppf(0.5 + parameters.confidence / 2)
    low, middle, high = (100 / (1 + math.exp(-x)) for x in (coef - z * se, coef, coef + z * se))
    correlation = float(model.cov_struct.dep_params)
    note = f"{patients} patients, working correlation {correlation:.3f}; events = failures"
    if any(issubclass(one.category, ConvergenceWarning) for one in caught):
        note += "; statsmodels warns of convergence"
    return row | {"estimate": middle, "lower": low, "upper": high, "coef": coef, "se": se, "note": note}


def _ratios(frames: StudyFrames, analyte: str) -> pl.DataFrame:
    """person_id, log_ratio of every course with both windows filled by positive, uncensored values."""
    exact = pl.col("operator").is_null() | pl.col("operator").is_in(["", "="])
    rows = frames.lab_windows.filter((pl.col("analyte") == analyte) & exact & (pl.col("value") > 0))
    keys = ["person_id", "course_no"]
    before, after = (rows.filter(pl.col("window") == one).select(*keys, "value") for one in ("pre", "post"))
    both = before.join(after, on=keys, suffix="_after").sort(keys)
    return both.select("person_id", log_ratio=(pl.col("value_after") / pl.col("value")).log())


def _mixed(analyte: str, ratios: pl.DataFrame, parameters: StatisticsParameters) -> dict[str, object]:
    patients = ratios["person_id"].n_unique()
    row: dict[str, object] = {
        "model": "mixed", "outcome": f"{analyte} after/before", "coding": "all courses", "term": "ratio",
        "label": f"{analyte}, geometric mean ratio after/before over all courses", "n": ratios.height, "method": MIXED,
    }  # fmt: skip
    if patients < _FEWEST or ratios["log_ratio"].n_unique() < _FEWEST or patients == ratios.height:
        return row | {"note": "not fitted: too few courses, or no patient with several; see the paired table"}
    model = sm.MixedLM(
        ratios["log_ratio"].to_numpy(), np.ones((ratios.height, 1)), groups=ratios["person_id"].to_numpy()
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fit = model.fit(reml=True, method=["lbfgs", "powell"])
        except (np.linalg.LinAlgError, ValueError) as error:
            return row | {"note": f"not estimable: {type(error).__name__} in the fit"}
    coef, se = float(fit.fe_params[0]), float(fit.bse_fe[0])
    if not fit.converged or not (math.isfinite(coef) and math.isfinite(se) and se > 0):
        return row | {"note": "not estimable: the fit did not converge"}
    z = stats.norm.ppf(0.5 + parameters.confidence / 2)
    between = float(np.asarray(fit.cov_re)[0, 0])
    total = between + float(fit.scale)
    note = f"{patients} patients; share of the variance between patients {between / total:.3f}" if total > 0 else None
    if between <= 1e-8 or any(issubclass(one.category, ConvergenceWarning) for one in caught):
        note = f"{note}; the variance between patients lies on or near its boundary 0"
    return row | {
        "estimate": math.exp(coef), "lower": math.exp(coef - z * se), "upper": math.exp(coef + z * se),
        "p": float(2 * stats.norm.sf(abs(coef / se))), "coef": coef, "se": se, "note": note,
    }  # fmt: skip
