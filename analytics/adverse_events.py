"""Adverse events beyond CRS and ICANS, per course: recorded ones with their grade, liver and kidney values by CTCAE.

"None" (0) is said only where somebody could have seen and written the event; everything else is not recorded (null).
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

from analytics.concept_sets import ConceptSets
from analytics.courses import days_between
from analytics.disease import condition_in
from analytics.findings import Findings
from analytics.marrow import OPERATORS
from analytics.records import CONDITION_FIELD, Records
from analytics.safety import course_windows, graded_diagnoses, inpatient
from analytics.study import Study
from analytics.written import with_written_numbers

ADVERSE_EVENTS = {
    "person_id": pl.Int64, "course_no": pl.Int32, "site": pl.String, "event": pl.String, "kind": pl.String,
    "system": pl.String, "occurred": pl.Int8, "grade": pl.Int8,
}  # fmt: skip
"""Columns of the adverse events: one row per course and event; kind recorded or laboratory; occurred 1, 0 or null (not
recorded); grade 0–5 of the worst, null where it was told without a grade or not recorded."""
OTHER = "Other graded event"
TABLE = "study_adverse_event"
_KEYS = ["person_id", "course_no"]
_ELSEWHERE = ("CS_CRS", "CS_ICANS", "CS_BALL", "CS_BALL_RELAPSE", "CS_BALL_REFRACTORY", "CS_BALL_REMISSION",
              "CS_EXTRAMEDULLARY", "CS_SECOND_MALIGNANCY")  # fmt: skip


def derive_adverse_events(
    courses: pl.DataFrame, records: Records, sets: ConceptSets, study: Study, findings: Findings
) -> pl.DataFrame:
    """Columns `ADVERSE_EVENTS`; per course in the order of the definitions (`courses`: as `derive_courses` gives)."""
    parts = [_recorded(courses, records, sets, study, findings), _laboratory(courses, records, sets, study, findings)]
    sites = courses.select(*_KEYS, "site")
    found = pl.concat(parts).join(sites, on=_KEYS, how="left", maintain_order="left")
    return found.select(list(ADVERSE_EVENTS)).cast(ADVERSE_EVENTS)  # type: ignore[arg-type]


def _recorded(
    courses: pl.DataFrame, records: Records, sets: ConceptSets, study: Study, findings: Findings
) -> pl.DataFrame:
    """`adverse_event@1`: the worst grade of each kind of recorded event."""
    rule = study.get("adverse_event")
    end = days_between(pl.col("start_date"), pl.col("end_date"))
    windows = course_windows(courses, rule["first_day"], end + rule["days_after_end"])
    events = _events(records, sets, study)
    names = [*(one["event"] for one in rule["events"]), *([OTHER] if rule["other_graded"] else [])]
    inside = windows.join(events, on="person_id").filter(pl.col("date").is_between("first", "last"))
    findings.count("dq_adverse_event_ungraded", inside.filter(pl.col("grade").is_null()), inside)
    for (event, source_table), rows in inside.group_by("event", "source_table", maintain_order=True):
        findings.evidence(
            rows, table=TABLE, field=str(event), rule=study.rule("adverse_event"), grade="A",
            source_table=str(source_table), source_id="source_id", key=("person_id", "course_no"),
        )  # fmt: skip
    worst = (
        inside.sort("grade", "date", "source_id", descending=[True, False, False], nulls_last=True)
        .unique([*_KEYS, "event"], keep="first", maintain_order=True)
        .select(*_KEYS, "event", "system", "grade", recorded=pl.lit(value=True))
    )
    person_sites = courses.select("person_id", "site").unique("person_id")
    told = events.join(person_sites, on="person_id")["site"].drop_nulls().unique()
    looked_for = pl.col("site").is_in(told.implode()).fill_null(value=False) | pl.lit(
        not rule["silent_hospital_is_missing"]
    )
    grid = courses.select(*_KEYS, "site").join(
        pl.DataFrame({"event": names}, schema={"event": pl.String}), how="cross"
    )  # fmt: skip
    found = grid.join(worst, on=[*_KEYS, "event"], how="left", maintain_order="left").join(
        inpatient(windows, records, sets, study), on=_KEYS, how="left", maintain_order="left"
    )
    none = pl.col("seen").is_not_null() & looked_for
    occurred = pl.when(pl.col("recorded").is_not_null()).then(1).when(none).then(0)
    return found.with_columns(occurred=occurred).select(
        *_KEYS, "event", "system", "occurred",
        grade=pl.when(pl.col("occurred") == 0).then(0).otherwise("grade"), kind=pl.lit("recorded"),
    )  # fmt: skip


def _events(records: Records, sets: ConceptSets, study: Study) -> pl.DataFrame:
    """person_id, date, event, grade, system, source_table, source_id of everything that `adverse_event@1` counts."""
    rule = study.get("adverse_event")
    named = pl.lit(value=False)
    parts = []
    for one in rule["events"]:
        which = condition_in(sets, one["set"])
        if one.get("words"):
            words = "|".join(study.get(f"{one['words']}.words"))
            which |= pl.col("condition_source_value").str.contains(words).fill_null(value=False)
        named |= which
        diagnosed = graded_diagnoses(records, sets, which, study)
        charted = records.observations.filter(
            sets.within("observation_concept_id", one["set"]) | sets.within("value_as_concept_id", one["set"]),
            pl.col("obs_event_field_concept_id").fill_null(0) != CONDITION_FIELD,
        ).select(
            "person_id",
            system=pl.lit(None, dtype=pl.String),
            date="observation_date",
            grade=pl.lit(None, dtype=pl.Int32),
            source_table=pl.lit("observation"),
            source_id="observation_id",
        )
        parts.append(pl.concat([diagnosed, charted]).with_columns(event=pl.lit(one["event"])))
    if rule["other_graded"]:
        rest = graded_diagnoses(records, sets, ~(named | condition_in(sets, *_ELSEWHERE)), study)
        parts.append(rest.filter(pl.col("grade").is_not_null()).with_columns(event=pl.lit(OTHER)))
    return pl.concat(parts)


def _laboratory(
    courses: pl.DataFrame, records: Records, sets: ConceptSets, study: Study, findings: Findings
) -> pl.DataFrame:
    """`laboratory_event@1`: CTCAE grades of values against the upper limit that the laboratory gave with each."""
    rule = study.get("laboratory_event")
    values = _values(records, rule["events"], sets, findings)
    near = courses.select(*_KEYS, "start_date").join(values, on="person_id")
    day = days_between(pl.col("start_date"), pl.col("date"))
    before = near.filter(day.is_between(rule["baseline_first_day"], rule["first_day"], closed="left"))
    baseline = (
        before.filter(pl.col("operator").is_null())
        .sort("date", "time", "measurement_id", nulls_last=True)
        .group_by(*_KEYS, "event", maintain_order=True)
        .agg(baseline=pl.col("value").last(), baseline_abnormal=(pl.col("value") > pl.col("upper")).last())
    )
    end = days_between(pl.col("start_date"), pl.col("end_date"))
    windows = course_windows(courses, rule["first_day"], end + rule["days_after_end"])
    inside = windows.join(values, on="person_id").filter(pl.col("date").is_between("first", "last"))
    inside = inside.join(baseline, on=[*_KEYS, "event"], how="left")
    graded = [
        inside.filter(pl.col("event") == one["event"]).with_columns(grade=_ctcae(one)).drop_nulls("grade")
        for one in rule["events"]
    ]
    worst = (
        pl.concat(graded)
        .sort("grade", "date", "measurement_id", descending=[True, False, False])
        .unique([*_KEYS, "event"], keep="first", maintain_order=True)
    )
    for (event,), rows in worst.filter(pl.col("grade") > 0).group_by("event", maintain_order=True):
        findings.evidence(
            rows, table=TABLE, field=str(event), rule=study.rule("laboratory_event"), grade="B",
            source_table="measurement", source_id="measurement_id", key=("person_id", "course_no"),
        )  # fmt: skip
    names = pl.DataFrame({"event": [one["event"] for one in rule["events"]]}, schema={"event": pl.String})
    found = courses.select(_KEYS).join(names, how="cross")
    found = found.join(
        worst.select(*_KEYS, "event", "grade"), on=[*_KEYS, "event"], how="left", maintain_order="left"
    )  # fmt: skip
    return found.select(
        *_KEYS, "event", system=pl.when(pl.col("grade").is_not_null()).then(pl.lit(rule["system"])),
        occurred=(pl.col("grade") > 0).cast(pl.Int32), grade="grade", kind=pl.lit("laboratory"),
    )  # fmt: skip


def _values(records: Records, events: list[Mapping[str, Any]], sets: ConceptSets, findings: Findings) -> pl.DataFrame:
    """person_id, event, date, time, value, operator (null: exact), upper, measurement_id; those with an upper limit."""
    named = sets.choose("measurement_concept_id", {one["set"]: one["event"] for one in events})
    rows = records.measurements.with_columns(
        event=named.cast(pl.String), operator=sets.choose("operator_concept_id", OPERATORS).cast(pl.String)
    ).filter(pl.col("event").is_not_null())
    rows = with_written_numbers(rows).filter(pl.col("value_as_number").is_not_null())
    findings.count("dq_upper_limit_missing", rows.filter(~(pl.col("range_high") > 0).fill_null(value=False)), rows)
    return rows.filter(pl.col("range_high") > 0).select(
        "person_id", "event", "measurement_id", date="measurement_date", time="measurement_datetime",
        value="value_as_number", upper="range_high", operator=pl.when(pl.col("operator") != "=").then("operator"),
    )  # fmt: skip


def _ctcae(event: Mapping[str, Any]) -> pl.Expr:
    """The grade of a value by multiples of the upper limit, or of the baseline where that was abnormal.

    A limit ("<5") that could hide a grade gives none; one like ">1000" gives at least its grade.
    """
    value, times_upper = pl.col("value"), pl.col("value") / pl.col("upper")
    grade = _steps(times_upper, event["upper_limits"])
    times_baseline = value / pl.when(pl.col("baseline") > 0).then("baseline")
    if event.get("abnormal_baseline"):
        own = _steps(times_baseline, event["abnormal_baseline"])
        grade = pl.when(pl.col("baseline_abnormal").fill_null(value=False)).then(own).otherwise(grade)
    if event.get("times_baseline"):
        grade = pl.max_horizontal(grade, _steps(times_baseline, event["times_baseline"]).fill_null(0))
    is_below = pl.col("operator").is_in(["<", "<="]).fill_null(value=False)
    return pl.when(is_below & (grade > 0)).then(None).otherwise(grade).cast(pl.Int32)


def _steps(times: pl.Expr, limits: list[float | None]) -> pl.Expr:
    """The highest grade (1, 2, …) whose lower limit is exceeded; null limits are no grade.

    A first limit above 1 belongs to its grade ("1.5–3.0 × baseline"), all others do not ("> 3.0–5.0").
    """
    grade: pl.Expr = pl.when(times.is_not_null()).then(0)
    for number, limit in enumerate(limits, start=1):
        if limit is not None:
            reached = times >= limit if number == 1 and limit > 1 else times > limit
            grade = pl.when(reached).then(number).otherwise(grade)
    return grade
