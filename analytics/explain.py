"""`blina explain course 12`: what was derived of a course, by which rule, how certain, and from which OMOP rows."""

import polars as pl

from analytics.cdm import Cdm
from analytics.derive import Derived, derive
from analytics.study import Study
from etl.errors import StudyError

_SHOWN = (
    "course_no start_day end_day infusion_days interruption_hours planned_days complete evaluable step_dose state_pre "
    "response_cr mrd_neg_post cd19_loss_complete cd19_loss_2missing crs_grade crs_recorded crs_system crs_astct "
    "crs_astct_basis crs_ctcae crs_ctcae_basis icans_grade"
).split()
_OF_PATIENT = (
    "indication pre_course1_state km_stratum n_courses tki hsct_day cart_day efs_days efs_event os_days os_event"
).split()
_GRADES = {"A": "coded", "B": "derived", "C": "text", "D": "manual"}


def explain_course(cdm: Cdm, study: Study, which: str, *, values: bool = False) -> str:
    """A course in words: each derived value with its rule, evidence and the ids of the OMOP rows it came from.

    `which` counts the courses by person and course, from 1, or is an episode_id that the study wrote. `values`: the
    derived values too, which are data of a patient. Raises StudyError for a number that is not there.
    """
    from analytics.episodes import episode_tables

    if not which.isdecimal():
        raise StudyError(f"{which!r} is no number of a course")
    number, derived = int(which), derive(cdm, study)
    courses = derived.courses.sort("person_id", "course_no")
    episodes = episode_tables(derived)["episode"].filter(pl.col("episode_id") == number)
    if episodes.height and episodes["episode_number"][0] is not None:
        own = (pl.col("person_id") == episodes["person_id"][0]) & (pl.col("course_no") == episodes["episode_number"][0])
        courses = courses.filter(own)
    elif 1 <= number <= courses.height:
        courses = courses[number - 1 : number]
    else:
        raise StudyError(f"there is no course {number}: the study has {courses.height}, numbered from 1")
    return _told(derived, courses, values)


def _told(derived: Derived, course: pl.DataFrame, values: bool) -> str:
    person, number = course.select("person_id", "course_no").row(0)
    evidence = derived.evidence.filter(pl.col("key").is_in([f"{person}:{number}", str(person)]))
    patient = derived.patients.filter(pl.col("person_id") == person)
    lines = [f"course {number} of person {person}, parameters {derived.param_hash}"]
    for title, row, names, table in (
        ("the course", course, _SHOWN, "study_course"),
        ("the child", patient, _OF_PATIENT, "study_patient"),
    ):
        lines += ["", title]
        rows = evidence.filter(pl.col("table") == table)
        lines += [line for name in names for line in _value(name, row[name][0] if values else "", rows)]
    lines += ["", "adverse events beside CRS and ICANS"]
    rows = evidence.filter(pl.col("table") == "study_adverse_event")
    own = (pl.col("person_id") == person) & (pl.col("course_no") == number)
    for event, occurred, worst in derived.adverse_events.filter(own).select("event", "occurred", "grade").iter_rows():
        told = "without a grade" if occurred and worst is None else worst
        lines += _value(event, told if values else "", rows)
    return "\n".join(lines)


def _value(name: str, value: object, evidence: pl.DataFrame) -> list[str]:
    """The value, and below it a line per rule and table that it came from."""
    shown = "not known" if value is None else value
    # One line of evidence may carry several fields: "start_date,end_date,infusion_days".
    fields = {name, name.replace("_day", "_date"), "efs_event" if name == "efs_days" else name}
    fields |= {"os_event"} if name == "os_days" else set()
    # By default the grade of the course is the recorded one, and its evidence stands once.
    fields |= {"crs_grade"} if name == "crs_recorded" else set()
    found = evidence.filter(pl.col("field").str.split(",").list.set_intersection(sorted(fields)).list.len() > 0)
    lines = [f"  {name}: {shown}".rstrip(" :")]
    for row in found.iter_rows(named=True):
        ids = row["source_ids"].split(" ")
        ids_shown = " ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
        grade = f"{row['grade']} ({_GRADES.get(row['grade'], 'unknown')})"
        lines.append(f"      {row['rule']}, evidence {grade}, {row['source_table']} {ids_shown}")
    return lines
