"""Two-by-two tests, and the univariate predictors of non-response (A4, S15)."""

import numpy as np
import polars as pl
from scipy import stats

from analytics.statistics.firth import firth_logistic
from analytics.statistics.frames import StudyFrames
from analytics.statistics.parameters import StatisticsParameters
from analytics.statistics.proportions import disease_courses, each_patient_once, newcombe
from analytics.statistics.tables import finite, tidy

REFUSED = (
    "refused: the courses given for disease do not hold each patient once (PROTOCOL section 4);"
    " see the clustered analysis"
)


def fisher(a: int, b: int, c: int, d: int) -> float:
    """Two-sided Fisher P of the table [[a, b], [c, d]] (sum of tables no more likely than the observed)."""
    return float(stats.fisher_exact([[a, b], [c, d]]).pvalue)


def fisher_mid(a: int, b: int, c: int, d: int) -> float:
    """Two-sided mid-P: like Fisher's, but tables exactly as likely as the observed count one half."""
    row, column, total = a + b, a + c, a + b + c + d
    support = np.arange(max(0, row + column - total), min(row, column) + 1)
    chance = stats.hypergeom.pmf(support, total, column, row)
    observed = stats.hypergeom.pmf(a, total, column, row)
    equal = np.isclose(chance, observed, rtol=1e-9, atol=0)
    return float(chance[(chance < observed) & ~equal].sum() + 0.5 * chance[equal].sum())


def chi_square(a: int, b: int, c: int, d: int, *, yates: bool) -> float | None:
    """Pearson's chi-square P, with Yates' correction if asked; None when a margin is zero."""
    table = np.array([[a, b], [c, d]])
    if 0 in table.sum(axis=0) or 0 in table.sum(axis=1):
        return None
    return float(stats.chi2_contingency(table, correction=yates).pvalue)


def barnard(a: int, b: int, c: int, d: int) -> float | None:
    """Barnard's unconditional exact P (Wald statistic, pooled); None when a margin is zero."""
    table = np.array([[a, b], [c, d]])
    if 0 in table.sum(axis=0) or 0 in table.sum(axis=1):
        return None
    # the statistic is 0/0 in corners of the sample space; scipy puts NaN there and leaves them out
    with np.errstate(divide="ignore", invalid="ignore"):
        return finite(stats.barnard_exact(table.T, n=64).pvalue)


def benjamini_hochberg(values: list[float | None]) -> list[float | None]:
    """P values adjusted within one family; missing ones stay missing and do not count."""
    known = [value for value in values if value is not None]
    if not known:
        return list(values)
    adjusted = iter(stats.false_discovery_control(known, method="bh").tolist())
    return [None if value is None else next(adjusted) for value in values]


# factor, coding, column, restriction: the exclusive coding compares with NONE only
FACTORS: tuple[tuple[str, str, str, str | None], ...] = (
    ("poor_cytogenetics", "nested", "poor_cytogenetics", None),
    ("bcr_abl1", "nested", "bcr_abl1", None),
    ("bcr_abl1", "exclusive", "bcr_abl1", "BCR::ABL1"),
    ("other_poor", "exclusive", "other_poor", "OTHER_POOR"),
    ("high_mrd", "as derived", "high_mrd", None),
    ("cd19_loss_2missing", "peripheral B cells", "cd19_loss_2missing", None),
    ("cd19_loss_complete", "antigen on blasts", "cd19_loss_complete", None),
)


def two_by_two(courses: pl.DataFrame, column: str) -> tuple[int, int, int, int]:
    """Exposed and all of the non-responders, exposed and all of the responders; rows without either value left out."""
    known = courses.filter(pl.col(column).is_not_null() & pl.col("responded").is_not_null())
    failed, answered = known.filter(pl.col("responded") == 0), known.filter(pl.col("responded") == 1)
    return int(failed[column].sum()), failed.height, int(answered[column].sum()), answered.height


def _predictor(courses: pl.DataFrame, column: str, parameters: StatisticsParameters) -> dict[str, object]:
    exposed, total, exposed_r, total_r = two_by_two(courses, column)
    row: dict[str, object] = {
        "nonresponse_exposed": exposed, "nonresponse_total": total,
        "response_exposed": exposed_r, "response_total": total_r,
    }  # fmt: skip
    if not total or not total_r:
        return row | {"note": "not estimable: all or none responded"}
    cells = (exposed, total - exposed, exposed_r, total_r - exposed_r)
    row |= {"fisher_p": fisher(*cells), "midp_p": fisher_mid(*cells), "barnard_p": barnard(*cells)}
    row |= {"pearson_p": chi_square(*cells, yates=False), "yates_p": chi_square(*cells, yates=True)}
    with_factor, without = exposed + exposed_r, total + total_r - exposed - exposed_r
    if with_factor and without:
        # the counts read as the published table does; the risk is that of non-response, with and without the factor
        difference, low, high = newcombe(exposed, with_factor, total - exposed, without, parameters.confidence)
        row |= {"risk_difference": difference, "rd_lower": low, "rd_upper": high}
    known = courses.filter(pl.col(column).is_not_null() & pl.col("responded").is_not_null())
    fit = firth_logistic(known, "responded", (column,), failure=0, confidence=parameters.confidence)[0]
    row |= {"odds_ratio": fit.ratio, "or_lower": fit.ratio_lower, "or_upper": fit.ratio_upper}
    return row | {"note": "odds ratio: Firth, profile-likelihood interval"}


def predictors_table(frames: StudyFrames, parameters: StatisticsParameters) -> pl.DataFrame:
    """A4: each factor against non-response among courses given for disease; refused if a patient comes twice."""
    courses = disease_courses(frames)
    refused = not each_patient_once(courses)
    rows: list[dict[str, object]] = []
    for factor, coding, column, level in FACTORS:
        head: dict[str, object] = {"factor": factor, "coding": coding}
        if refused:
            rows.append(head | {"note": REFUSED})
            continue
        part = courses if level is None else courses.filter(pl.col("genetics").is_in(["NONE", level]))
        rows.append(head | _predictor(part, column, parameters))
    adjusted = benjamini_hochberg([finite(row.get("fisher_p")) for row in rows])
    return tidy("predictors", [row | {"fisher_p_adjusted": p} for row, p in zip(rows, adjusted, strict=True)])


def response_tests(frames: StudyFrames) -> pl.DataFrame:
    """A2: response in RR against MRDpos by Fisher's test, shown only beside the published P (endpoints differ)."""
    courses = disease_courses(frames)
    head: dict[str, object] = {
        "analysis_id": "A2", "comparison": "response in state RR vs MRDpos", "test": "Fisher exact, two-sided",
        "unit_of_analysis": "patient",
    }  # fmt: skip
    if not each_patient_once(courses):
        return tidy("tests", [head | {"note": REFUSED}])
    known = courses.filter(pl.col("responded").is_not_null())
    counts = [known.filter(pl.col("state_pre") == state)["responded"] for state in ("RR", "MRDpos")]
    cells = [(int(part.sum()), part.len() - int(part.sum())) for part in counts]
    p = fisher(*cells[0], *cells[1]) if all(sum(pair) for pair in cells) else None
    note = "the two endpoints differ (remission, MRD clearance); shown for comparison with the published P only"
    return tidy("tests", [head | {"p": p, "n": known.height, "events": int(known["responded"].sum()), "note": note}])
