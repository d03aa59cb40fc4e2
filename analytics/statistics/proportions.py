"""Proportions with exact and score intervals, differences of two, and the response tables A2 and A3."""

from collections.abc import Iterator

import numpy as np
import polars as pl
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from analytics.statistics.frames import StudyFrames
from analytics.statistics.parameters import StatisticsParameters
from analytics.statistics.tables import tidy

ALL_SITES = "all"


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of k of n as fractions; n must be at least 1."""
    lower, upper = proportion_confint(k, n, alpha=1 - confidence, method="beta")
    return float(lower), float(upper)


def wilson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of k of n as fractions; n must be at least 1."""
    lower, upper = proportion_confint(k, n, alpha=1 - confidence, method="wilson")
    return max(0.0, float(lower)), min(1.0, float(upper))


def newcombe(k1: int, n1: int, k2: int, n2: int, confidence: float = 0.95) -> tuple[float, float, float]:
    """Risk difference k1/n1 − k2/n2 with Newcombe's hybrid score interval, as fractions; both n at least 1."""
    lower, upper = confint_proportions_2indep(k1, n1, k2, n2, method="newcomb", compare="diff", alpha=1 - confidence)
    return k1 / n1 - k2 / n2, float(lower), float(upper)


def proportion_row(k: int, n: int, confidence: float = 0.95) -> dict[str, object]:
    """k, n, percent and both intervals in percent; all but k and n are null when n is 0."""
    row: dict[str, object] = {"k": k, "n": n}
    if n == 0:
        return row
    exact, score = clopper_pearson(k, n, confidence), wilson(k, n, confidence)
    row |= {"percent": 100 * k / n, "cp_lower": 100 * exact[0], "cp_upper": 100 * exact[1]}
    row |= {"wilson_lower": 100 * score[0], "wilson_upper": 100 * score[1]}
    return row


def disease_courses(frames: StudyFrames) -> pl.DataFrame:
    """Evaluable-or-not courses given for disease (`state_pre` RR or MRDpos) with `responded` by the primary rule.

    A missing post marrow counts as non-response in MRDpos and as missing in RR (PROTOCOL A25).
    """
    missing_is_failure = pl.col("response_cr").is_null() & (pl.col("state_pre") == "MRDpos")
    return frames.courses.filter(pl.col("state_pre").is_in(["RR", "MRDpos"])).with_columns(
        responded=pl.when(missing_is_failure).then(0).otherwise(pl.col("response_cr")).cast(pl.Int8)
    )


def each_patient_once(courses: pl.DataFrame) -> bool:
    """Whether the courses given for disease hold each patient once (PROTOCOL section 4)."""
    return courses["person_id"].n_unique() == courses.height


def cluster_bootstrap(successes: pl.DataFrame, repeats: int, seed: int, confidence: float) -> tuple[float, float]:
    """Percentile interval (percent) of a proportion over persons resampled whole.

    `successes` has one row per person: k, n. The seed is fixed, so the interval is the same in every run.
    """
    k, n = successes["k"].to_numpy(), successes["n"].to_numpy()
    drawn = np.random.default_rng(seed).integers(0, len(k), size=(repeats, len(k)))
    shares = 100 * k[drawn].sum(axis=1) / n[drawn].sum(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(shares, [tail, 1 - tail])
    return float(low), float(high)


def _count(frame: pl.DataFrame, column: str) -> tuple[int, int]:
    known = frame[column].drop_nulls()
    return int(known.sum()), known.len()


def _by_site(frame: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    yield ALL_SITES, frame
    for site in sorted(frame["site"].drop_nulls().unique()):
        yield site, frame.filter(pl.col("site") == site)


def response_table(frames: StudyFrames, parameters: StatisticsParameters) -> pl.DataFrame:
    """A2 and A3: response by state and kept MRD negativity, over all sites and by site.

    Groups: RR (complete remission), MRDpos (MRD clearance), MRDneg (courses that stay MRD-negative). The analysis ids:
    A2, A2-complete-case, A3, A3-first-course, A3-course1, A3-all-courses.
    """
    rows: list[dict[str, object]] = []

    def add(analysis: str, population: str, unit: str, group: str, frame: pl.DataFrame, column: str) -> None:
        for site, part in _by_site(frame):
            k, n = _count(part, column)
            head = {"analysis_id": analysis, "population": population, "unit_of_analysis": unit}
            rows.append(head | {"group": group, "site": site} | proportion_row(k, n, parameters.confidence))

    disease = disease_courses(frames)
    first = disease.unique("person_id", keep="first", maintain_order=True)
    for group, what in (("RR", "state RR, complete remission"), ("MRDpos", "state MRDpos, MRD clearance")):
        state = first.filter(pl.col("state_pre") == group)
        add("A2", f"first course in {what}", "patient", group, state, "responded")
        seen = state.filter(pl.col("assessment_day").is_not_null())
        add("A2-complete-case", f"{what}, post-course marrow present", "patient", group, seen, "response_cr")
    negative = frames.courses.filter(pl.col("state_pre") == "MRDneg")
    add("A3", "courses in state MRDneg", "course", "MRDneg", negative, "mrd_neg_post")
    leading = negative.unique("person_id", keep="first", maintain_order=True)
    add("A3-first-course", "first MRDneg course of each patient", "patient", "MRDneg", leading, "mrd_neg_post")
    course1 = negative.filter(pl.col("course_no") == 1)
    add("A3-course1", "course 1 in state MRDneg", "patient", "MRDneg", course1, "mrd_neg_post")
    whole = negative.group_by("person_id", maintain_order=True).agg(
        pl.col("site").first(), kept=pl.col("mrd_neg_post").min()
    )
    add("A3-all-courses", "all MRDneg courses of the patient kept", "patient", "MRDneg", whole, "kept")
    return tidy("response", rows)


def clustered_models(frames: StudyFrames, parameters: StatisticsParameters) -> pl.DataFrame:
    """Proportions with the courses of one patient kept together: percentage and cluster-bootstrap interval.

    A3 (MRDneg courses kept) always; the response of courses given for disease only if a patient has several of them.
    """
    negative = frames.courses.filter(pl.col("state_pre") == "MRDneg").with_columns(good=pl.col("mrd_neg_post"))
    disease = disease_courses(frames)
    rows = _clustered("mrd_neg_post", "MRDneg courses that stay MRD-negative, %", negative, parameters)
    if not each_patient_once(disease):
        answered = disease.with_columns(good=pl.col("responded"))
        rows += _clustered("response", "courses for disease with response, %", answered, parameters)
    return tidy("models", rows)


def _clustered(
    outcome: str, label: str, courses: pl.DataFrame, parameters: StatisticsParameters
) -> list[dict[str, object]]:
    known = courses.filter(pl.col("good").is_not_null())
    per_person = known.group_by("person_id", maintain_order=True).agg(k=pl.col("good").sum(), n=pl.len())
    if per_person.is_empty() or parameters.bootstrap == 0:
        return []
    low, high = cluster_bootstrap(per_person, parameters.bootstrap, parameters.seed, parameters.confidence)
    good, several = int(per_person["k"].sum()), per_person.filter(pl.col("n") >= 2).height
    return [{
        "model": "cluster_bootstrap", "outcome": outcome, "coding": "courses clustered by patient", "term": "percent",
        "label": label, "estimate": 100 * good / known.height, "lower": low, "upper": high, "n": known.height,
        "events": known.height - good,
        "method": f"percentile bootstrap over patients, {parameters.bootstrap} repeats, seed {parameters.seed}",
        "note": f"{per_person.height} patients, {several} with at least 2 such courses; events = failures",
    }]  # fmt: skip
