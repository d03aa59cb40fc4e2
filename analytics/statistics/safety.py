"""Adverse events by grade, per course and per patient (worst grade), and rates per 100 infusion days (A11).

CRS and ICANS come from the courses, all other events from `adverse_events`. What is not recorded of anybody has
one row, `missing`, and no rate: it is not 0. The grades of recorded CRS stand by grading system, too (`GRADINGS`).
"""

import polars as pl
from scipy import stats

from analytics.statistics.frames import StudyFrames
from analytics.statistics.parameters import StatisticsParameters
from analytics.statistics.proportions import clopper_pearson
from analytics.statistics.tables import tidy

EVENTS = {"CRS": "crs_grade", "ICANS": "icans_grade"}
GRADINGS = "CRS graded"
"""How the events begin that are the recorded CRS again, by one grading system; among those with a CRS record only."""
AS_RECORDED = "as recorded"
"""How the names of those events end that are recorded grades: by system they add up to all of them."""
_SIGNS = {"ASTCT": "crs_astct", "CTCAE": "crs_ctcae"}
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


def _told_rows(event: str, unit: str, events: pl.DataFrame, confidence: float) -> list[dict[str, object]]:
    """As `_grade_rows`, of `occurred` (1, 0, null: not recorded) and `grade`, which an event may lack (`ungraded`).

    All rows share one denominator, those of whom it is known; `>= 3` counts graded events only.
    """
    known = events.drop_nulls("occurred")
    missing = {"event": event, "grade": "missing", "unit_of_analysis": unit, "n": events.height - known.height}
    missing["denominator"] = events.height
    if known.is_empty():
        return [missing]
    happened = known["occurred"] == 1
    grades = known["grade"].fill_null(-1)
    counts: dict[str, int] = {grade: int((grades == int(grade)).sum()) for grade in GRADES}
    if ungraded := int((happened & (grades == -1)).sum()):
        counts["ungraded"] = ungraded
    counts |= {name: int((happened if least == 1 else grades >= least).sum()) for name, least in GROUPED.items()}
    rows: list[dict[str, object]] = []
    for grade, n in counts.items():
        low, high = clopper_pearson(n, known.height, confidence)
        rows.append(
            {"event": event, "grade": grade, "unit_of_analysis": unit, "n": n, "denominator": known.height,
             "percent": 100 * n / known.height, "lower": 100 * low, "upper": 100 * high}
        )  # fmt: skip
    return [*rows, missing]


def other_events(frames: StudyFrames) -> list[str]:
    """The names of the events beside CRS and ICANS, in the order of their definitions."""
    events = frames.adverse_events
    return [] if events.is_empty() else events["event"].unique(maintain_order=True).to_list()


def _gradings(courses: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """By name: person_id, grade, at_least of the courses with a CRS record, as recorded by each system and from signs.

    Recorded grades stand among the courses whose worst grade is of that system; grades from signs, and the recorded
    ones beside them, among all.
    """
    crs = courses.filter(pl.col("crs_astct_basis").is_not_null())
    sure = pl.lit(value=False)
    found = {f"{GRADINGS} {AS_RECORDED}": crs.select("person_id", grade="crs_recorded", at_least=sure)}
    for system in crs["crs_system"].drop_nulls().unique().sort():
        own = crs.filter(pl.col("crs_system") == system)
        found[f"{GRADINGS} by {system}, {AS_RECORDED}"] = own.select("person_id", grade="crs_recorded", at_least=sure)
    for system, column in _SIGNS.items():
        at_least = pl.col(f"{column}_basis") == "at least"
        found[f"{GRADINGS} by {system}, from signs"] = crs.select("person_id", grade=column, at_least=at_least)
    return found


def _grading_rows(event: str, courses: pl.DataFrame, confidence: float) -> list[dict[str, object]]:
    """As `_grade_rows`; a row `at least` counts the lower limits among them; what nobody has is only `missing`."""
    worst = courses.group_by("person_id", maintain_order=True).agg(
        pl.col("grade").max(),
        at_least=pl.col("at_least").filter(pl.col("grade") == pl.col("grade").max()).all() & pl.col("at_least").any(),
    )
    rows: list[dict[str, object]] = []
    for unit, frame in (("patient", worst), ("course", courses)):
        found = _grade_rows(event, unit, frame["grade"], confidence)
        known = frame.drop_nulls("grade")
        if known.is_empty():
            rows += found[-1:]
            continue
        limits = {"event": event, "grade": "at least", "unit_of_analysis": unit, "n": int(known["at_least"].sum())}
        rows += [*found[:-1], limits | {"denominator": known.height}, found[-1]]
    return rows


def safety_table(frames: StudyFrames, parameters: StatisticsParameters) -> pl.DataFrame:
    """A11: counts and exact percentages by grade; the patient's grade is the worst of the courses with a grade."""
    rows: list[dict[str, object]] = []
    for event, column in EVENTS.items():
        worst = frames.courses.group_by("person_id").agg(pl.col(column).max())
        rows += _grade_rows(event, "patient", worst[column], parameters.confidence)
        rows += _grade_rows(event, "course", frames.courses[column], parameters.confidence)
    for event in other_events(frames):
        courses = frames.adverse_events.filter(pl.col("event") == event)
        worst = courses.group_by("person_id").agg(pl.col("occurred", "grade").max())
        rows += _told_rows(event, "patient", worst, parameters.confidence)
        rows += _told_rows(event, "course", courses, parameters.confidence)
    for event, courses in _gradings(frames.courses).items():
        if not courses.is_empty():
            rows += _grading_rows(event, courses, parameters.confidence)
    return tidy("safety", rows)


def rates_table(frames: StudyFrames, parameters: StatisticsParameters) -> pl.DataFrame:
    """A11: courses with the event per 100 days of infusion, exact Poisson limits."""
    told = {
        event: frames.courses.select("infusion_days", grade=column, occurred=pl.col(column) >= 1)
        for event, column in EVENTS.items()
    }
    days = frames.courses.select("person_id", "course_no", "infusion_days")
    for event in other_events(frames):
        own = frames.adverse_events.filter(pl.col("event") == event)
        own = own.join(days, on=["person_id", "course_no"]).select("infusion_days", "grade", pl.col("occurred") == 1)
        if own["occurred"].null_count() < own.height:
            told[event] = own
    rows: list[dict[str, object]] = []
    for event, courses in told.items():
        rows += _rate_rows(event, courses.drop_nulls(["occurred", "infusion_days"]), parameters.confidence)
    return tidy("rates", rows)


def _rate_rows(event: str, known: pl.DataFrame, confidence: float) -> list[dict[str, object]]:
    days = float(known["infusion_days"].sum() or 0)
    rows: list[dict[str, object]] = []
    for name, least in GROUPED.items():
        events = int((known["occurred"] if least == 1 else (known["grade"] >= least).fill_null(value=False)).sum())
        row: dict[str, object] = {"event": event, "grade": name, "events": events, "infusion_days": days}
        if days > 0:
            low, high = poisson_limits(events, days, confidence)
            row |= {"rate_per_100_days": 100 * events / days, "lower": 100 * low, "upper": 100 * high}
        rows.append(row | {"method": "courses with the event per 100 delivered days, exact Poisson limits"})
    return rows
