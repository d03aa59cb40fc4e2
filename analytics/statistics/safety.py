"""CRS and ICANS by grade, per course and per patient (worst grade), and rates per 100 infusion days (A11)."""

import polars as pl
from scipy import stats

from analytics.statistics.frames import StudyFrames
from analytics.statistics.parameters import StatisticsParameters
from analytics.statistics.proportions import clopper_pearson
from analytics.statistics.tables import tidy

EVENTS = {"CRS": "crs_grade", "ICANS": "icans_grade"}
GRADES = ("0", "1", "2", "3", "4", "5")
GROUPED = {"any (>= 1)": 1, ">= 3": 3}


def poisson_limits(events: int, exposure: float, confidence: float) -> tuple[float, float]:
    """Exact (Garwood) limits of a rate; with no event the lower limit is 0 and the upper one still exists."""
    tail = (1 - confidence) / 2
    low = float(stats.chi2.ppf(tail, 2 * events) / 2) if events else 0.0
    return low / exposure, float(stats.chi2.ppf(1 - tail, 2 * (events + 1)) / 2) / exposure


def _grade_rows(event: str, unit: str, grades: pl.Series, confidence: float) -> list[dict[str, object]]:
    known = grades.drop_nulls()
    counts: dict[str, int] = {grade: int((known == int(grade)).sum()) for grade in GRADES}
    counts |= {name: int((known >= least).sum()) for name, least in GROUPED.items()}
    rows: list[dict[str, object]] = []
    for grade, n in counts.items():
        row: dict[str, object] = {"event": event, "grade": grade, "unit_of_analysis": unit, "n": n}
        row["denominator"] = known.len()
        if known.len():
            low, high = clopper_pearson(n, known.len(), confidence)
            row |= {"percent": 100 * n / known.len(), "lower": 100 * low, "upper": 100 * high}
        rows.append(row)
    # an ungraded or unrecorded event is a row of its own, never grade 0 (PROTOCOL A04)
    missing = {"event": event, "grade": "missing", "unit_of_analysis": unit, "n": grades.null_count()}
    return [*rows, missing | {"denominator": grades.len()}]


def safety_table(frames: StudyFrames, parameters: StatisticsParameters) -> pl.DataFrame:
    """A11: counts and exact percentages by grade; the patient's grade is the worst of the courses with a grade."""
    rows: list[dict[str, object]] = []
    for event, column in EVENTS.items():
        worst = frames.courses.group_by("person_id").agg(pl.col(column).max())
        rows += _grade_rows(event, "patient", worst[column], parameters.confidence)
        rows += _grade_rows(event, "course", frames.courses[column], parameters.confidence)
    return tidy("safety", rows)


def rates_table(frames: StudyFrames, parameters: StatisticsParameters) -> pl.DataFrame:
    """A11: courses with the event per 100 days of infusion, exact Poisson limits."""
    rows: list[dict[str, object]] = []
    for event, column in EVENTS.items():
        known = frames.courses.filter(pl.col(column).is_not_null() & pl.col("infusion_days").is_not_null())
        days = float(known["infusion_days"].sum() or 0)
        for name, least in GROUPED.items():
            events = int((known[column] >= least).sum())
            row: dict[str, object] = {"event": event, "grade": name, "events": events, "infusion_days": days}
            if days > 0:
                low, high = poisson_limits(events, days, parameters.confidence)
                row |= {"rate_per_100_days": 100 * events / days, "lower": 100 * low, "upper": 100 * high}
            rows.append(row | {"method": "courses with the event per 100 delivered days, exact Poisson limits"})
    return tidy("rates", rows)
