"""The regression tables A4–A6: which model, on whom, with which coding; the fits themselves are in firth and cox.

Codings: *exclusive* (primary) has BCR::ABL1 and the other poor findings as separate levels; *nested* counts BCR::ABL1
among the poor findings as well and is used for the published comparison only. Both carry their name in every row.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl

from analytics.statistics.cox import CoxFit, corrected_concordance, cox, schoenfeld_p, zph
from analytics.statistics.firth import Term, firth_cox, firth_logistic
from analytics.statistics.frames import STRATA, StudyFrames, usable
from analytics.statistics.parameters import StatisticsParameters
from analytics.statistics.proportions import disease_courses, each_patient_once
from analytics.statistics.tables import tidy

CODINGS: dict[str, tuple[str, ...]] = {
    "exclusive": ("high_mrd", "bcr_abl1", "other_poor"),
    "nested": ("high_mrd", "bcr_abl1", "poor_cytogenetics"),
}
LABELS = {
    "high_mrd": "high MRD (≥ 1%) before course 1", "bcr_abl1": "BCR::ABL1",
    "other_poor": "other poor cytogenetics", "poor_cytogenetics": "poor cytogenetics (with BCR::ABL1)",
    "RR": "stratum RR vs CR_MRDneg", "CR_MRDpos": "stratum CR_MRDpos vs CR_MRDneg",
}  # fmt: skip
_CODING_NOTE = {
    "exclusive": "primary coding; reference: neither BCR::ABL1 nor other poor cytogenetics",
    "nested": "nested coding, for the published comparison only: poor cytogenetics includes BCR::ABL1",
}
FIRTH_METHOD = "Firth (firthmodels), profile-likelihood interval, penalised likelihood-ratio P"
COX_METHOD = "Cox, Efron ties (lifelines), Wald interval and P"


def model_rows(
    model: str, outcome: str, coding: str, terms: Iterable[Term], method: str, note: str | None = None,
    labels: Mapping[str, str] = LABELS,
) -> list[dict[str, object]]:  # fmt: skip
    """Rows of the table `models`, one per term: ratio with limits, coefficient, SE, P."""
    rows: list[dict[str, object]] = []
    for term in terms:
        said = "; ".join(text for text in (note, term.note) if text) or None
        rows.append({
            "model": model, "outcome": outcome, "coding": coding, "term": term.name,
            "label": labels.get(term.name, term.name), "estimate": term.ratio, "lower": term.ratio_lower,
            "upper": term.ratio_upper, "p": term.p, "coef": term.coef, "se": term.se, "n": term.n,
            "events": term.events, "method": method, "note": said,
        })  # fmt: skip
    return rows


def response_models(frames: StudyFrames, parameters: StatisticsParameters) -> pl.DataFrame:
    """A4: Firth logistic of non-response among the courses given for disease, both codings."""
    courses = disease_courses(frames)
    rows: list[dict[str, object]] = []
    for coding, names in CODINGS.items():
        note = _CODING_NOTE[coding]
        if each_patient_once(courses):
            terms = firth_logistic(courses, "responded", names, failure=0, confidence=parameters.confidence)
            note += f"; {_per_parameter(terms)}"
        else:
            terms = [Term(name, note="refused: a patient has several courses for disease") for name in names]
        rows += model_rows("firth_logistic", "non-response", coding, terms, FIRTH_METHOD, note)
    return tidy("models", rows)


def _per_parameter(terms: Sequence[Term]) -> str:
    return f"{terms[0].events / len(terms):.1f} events per parameter"


def stratum_indicators(patients: pl.DataFrame) -> pl.DataFrame:
    """The patients of a known stratum with 0/1 columns for CR_MRDpos and RR (reference CR_MRDneg)."""
    known = patients.filter(pl.col("km_stratum").is_in(STRATA))
    return known.with_columns((pl.col("km_stratum") == s).cast(pl.Int8).alias(s) for s in STRATA[1:])


def survival_models(frames: StudyFrames, parameters: StatisticsParameters) -> pl.DataFrame:
    """A5 and A6: Firth Cox by stratum; Firth and ordinary Cox of EFS on the pre-specified factors; variants."""
    confidence = parameters.confidence
    rows: list[dict[str, object]] = []
    strata = stratum_indicators(frames.patients)
    for endpoint in ("EFS", "OS"):
        terms = firth_cox(strata, endpoint, STRATA[1:], confidence=confidence)
        rows += model_rows("firth_cox", endpoint, "stratum", terms, FIRTH_METHOD, "prognostic strata, not causes")
    efs = usable(frames.patients, "EFS")
    for coding, names in CODINGS.items():
        note = _CODING_NOTE[coding]
        terms = firth_cox(frames.patients, "EFS", names, confidence=confidence)
        note = f"{note}; {_per_parameter(terms)}"
        rows += model_rows("firth_cox", "EFS", coding, terms, FIRTH_METHOD, note)
        rows += model_rows("cox", "EFS", coding, cox(efs, names, confidence=confidence).terms, COX_METHOD, note)
        stratified = cox(efs, names, strata="site", confidence=confidence).terms
        rows += model_rows("cox_site_stratified", "EFS", coding, stratified, COX_METHOD + ", stratified by site", note)
    return tidy("models", [*rows, *_nested_variants(frames, efs, confidence)])


def _nested_variants(frames: StudyFrames, efs: pl.DataFrame, confidence: float) -> list[dict[str, object]]:
    """Those treated for disease only, and the cluster-robust SE that is shown as a warning."""
    names = CODINGS["nested"]
    treated = disease_courses(frames)["person_id"].unique()
    ill = efs.filter(pl.col("person_id").is_in(treated.implode()))
    sites = efs["site"].n_unique()
    warning = f"WARNING, not to be interpreted: {sites} clusters are far too few for a cluster-robust SE"
    rows = model_rows(
        "cox_treated_for_disease", "EFS", "nested", cox(ill, names, confidence=confidence).terms, COX_METHOD,
        "only patients with a course in state RR or MRDpos; few events, see firth_cox",
    )  # fmt: skip
    robust = cox(efs, names, cluster="site", confidence=confidence).terms if sites > 1 else []
    return rows + model_rows("cox_cluster_robust", "EFS", "nested", robust, COX_METHOD + ", robust SE by site", warning)


_AGAINST_NONE = {"bcr_abl1": "BCR::ABL1", "other_poor": "OTHER_POOR"}


def site_models(frames: StudyFrames, parameters: StatisticsParameters) -> pl.DataFrame:
    """A12: each factor by itself, site by site (`firth_logistic_site`, `firth_cox_site`); a site without events stays.

    One factor at a time, because a site has about one event per parameter of the joint model; a genetic group is
    compared with those of the site who have neither. The site stands in `coding`, after the coding.
    """
    confidence = parameters.confidence
    disease = disease_courses(frames)
    once = each_patient_once(disease)
    note = "one factor at a time, not adjusted; descriptive: one site alone is too small"
    rows: list[dict[str, object]] = []
    for site in sorted(frames.patients["site"].drop_nulls().unique()):
        patients, courses = (frame.filter(pl.col("site") == site) for frame in (frames.patients, disease))
        coding = f"exclusive, {site}"
        names = CODINGS["exclusive"]
        if once:
            odds = [firth_logistic(_compared(courses, n), "responded", (n,), failure=0, confidence=confidence)[0]
                    for n in names]  # fmt: skip
            rows += model_rows("firth_logistic_site", "non-response", coding, odds, FIRTH_METHOD, note)
        hazards = [firth_cox(_compared(patients, n), "EFS", (n,), confidence=confidence)[0] for n in names]
        rows += model_rows("firth_cox_site", "EFS", coding, hazards, FIRTH_METHOD, note)
    return tidy("models", rows)


def _compared(frame: pl.DataFrame, factor: str) -> pl.DataFrame:
    """The rows among which a factor is compared: a genetic group against NONE, any other factor in all."""
    level = _AGAINST_NONE.get(factor)
    return frame if level is None else frame.filter(pl.col("genetics").is_in(["NONE", level]))


def hazard_checks(frames: StudyFrames, parameters: StatisticsParameters) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A6: tests of proportional hazards (rows of `tests`) and fit measures with the C-index (`model_fit`)."""
    efs = usable(frames.patients, "EFS")
    tests: list[dict[str, object]] = []
    fits: list[dict[str, object]] = []
    for coding, names in CODINGS.items():
        fit = cox(efs, names, confidence=parameters.confidence)
        if fit.fitter is None:
            continue
        tests += _proportionality(efs, coding, names, fit)
        fits += _fit_rows(efs, coding, names, fit, parameters)
    return tidy("tests", tests), tidy("model_fit", fits)


def _proportionality(efs: pl.DataFrame, coding: str, names: Sequence[str], fit: CoxFit) -> list[dict[str, object]]:
    n, events = fit.terms[0].n, fit.terms[0].events
    head: dict[str, object] = {"analysis_id": "A6", "n": n, "events": events, "unit_of_analysis": "patient"}
    coefficients = np.array([term.coef for term in fit.terms], dtype=np.float64)
    rows = []
    for name, (statistic, p) in zip((*names, "GLOBAL"), zph(efs, names, coefficients).values(), strict=True):
        df = float(len(names)) if name == "GLOBAL" else 1.0
        found = {"statistic": statistic, "df": df, "p": p, "note": "score test as in R survival 3.x"}
        rows.append(
            head | found | {"comparison": f"EFS, {coding}: {name}", "test": "proportional hazards, cox.zph (km)"}
        )
    for transform in ("rank", "km"):
        for name, p in schoenfeld_p(efs, names, fit, transform).items():
            rows.append(head | {"comparison": f"EFS, {coding}: {name}", "df": 1.0, "p": p,
                                "test": f"proportional hazards, Schoenfeld ({transform})",
                                "note": "lifelines, scaled Schoenfeld residuals"})  # fmt: skip
    return rows


def _fit_rows(
    efs: pl.DataFrame, coding: str, names: Sequence[str], fit: CoxFit, parameters: StatisticsParameters
) -> list[dict[str, object]]:
    n, events = fit.terms[0].n, fit.terms[0].events
    head: dict[str, object] = {"model": "cox", "outcome": "EFS", "coding": coding, "n": n, "events": events}
    plain = {
        "log-likelihood, null": fit.loglik_null, "log-likelihood": fit.loglik, "concordance": fit.concordance,
        "events per parameter": events / len(names),
    }  # fmt: skip
    rows = [head | {"quantity": quantity, "value": value, "method": COX_METHOD} for quantity, value in plain.items()]
    repeats = parameters.concordance_bootstrap
    apparent, corrected, low, high = corrected_concordance(efs, names, repeats, parameters.seed, parameters.confidence)
    firth = head | {"model": "firth_cox", "method": f"Harrell's C; optimism by {repeats} bootstrap resamples"}
    rows.append(firth | {"quantity": "concordance", "value": apparent, "note": "apparent"})
    rows.append(firth | {"quantity": "concordance, optimism-corrected", "value": corrected, "lower": low, "upper": high,
                         "note": "percentile limits of the resamples, shifted by the optimism"})  # fmt: skip
    return rows
