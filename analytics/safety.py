"""Worst CRS and ICANS grade of each course (`crs@1`, `icans@1`): 0 only if somebody could have seen it.

CRS is also graded anew from what was charted (`analytics.crs_grades`); `crs.reading` says which grade counts.
"""

import polars as pl

from analytics.concept_sets import ConceptSets
from analytics.concomitant import premedication
from analytics.courses import days_between
from analytics.crs_grades import AT_LEAST, SYSTEMS, chosen_grade, derive_regraded
from analytics.disease import condition_in
from analytics.findings import Findings
from analytics.records import CONDITION_FIELD, Records
from analytics.study import Study

_KEYS = ["person_id", "course_no"]
_GRADED_BY = {"CRS": "CS_CRS_GRADE", "ICANS": "CS_ICANS_GRADE"}
_GRADES = {f"CS_GRADE_{grade}": grade for grade in range(1, 6)}


CRS_COLUMNS = ("crs_recorded", "crs_system", "crs_astct", "crs_astct_basis", "crs_ctcae", "crs_ctcae_basis")
"""Beside `crs_grade`: the worst grade as recorded and its system; the grades from signs and what they rest on, null
for a course without a CRS record."""


def derive_toxicity(
    courses: pl.DataFrame, bags: pl.DataFrame, records: Records, sets: ConceptSets, study: Study, findings: Findings
) -> pl.DataFrame:
    """person_id, course_no, crs_grade, icans_grade, and `CRS_COLUMNS`.

    No record: 0 if the person was an inpatient in the window, else null. Records without a grade: null, counted (A04).
    `crs_grade` is that of `crs.reading`.
    """
    result = courses.select(_KEYS)
    end = days_between(pl.col("start_date"), pl.col("end_date"))
    lasts = {"crs": pl.lit(study.get("crs.last_day")), "icans": end + study.get("icans.days_after_end")}
    for name, last in lasts.items():
        windows = course_windows(courses, study.get(f"{name}.first_day"), last)
        events = _graded(records, sets, name.upper(), study)
        inside = windows.join(events, on="person_id").filter(pl.col("date").is_between(pl.col("first"), pl.col("last")))
        _record(inside, name, study, findings)
        worst = inside.group_by(_KEYS).agg(grade=pl.col("grade").max(), recorded=pl.lit(value=True))
        seen = inpatient(windows, records, sets, study)
        joined = result.join(worst, on=_KEYS, how="left").join(seen, on=_KEYS, how="left")
        grade = pl.when(pl.col("recorded").is_null() & pl.col("seen").is_not_null()).then(0).otherwise("grade")
        result = joined.with_columns(grade.cast(pl.Int8).alias(f"{name}_grade")).drop("grade", "recorded", "seen")
        if name == "crs":
            found = derive_regraded(courses, windows, inside, bags, records, sets, study, findings)
            result = _with_systems(result, inside, found, study)
            _count_differing(result, findings)
    return result


def _with_systems(result: pl.DataFrame, events: pl.DataFrame, regraded: pl.DataFrame, study: Study) -> pl.DataFrame:
    """`result` with `CRS_COLUMNS`, and `crs_grade` by `crs.reading`; `events`: the CRS records of the courses."""
    graded = events.filter(pl.col("grade").is_not_null()).sort(
        "grade", "date", "source_id", descending=[True, False, False]
    )
    worst = graded.group_by(_KEYS, maintain_order=True).agg(
        pl.col("grade").first().cast(pl.Int8).alias("crs_recorded"), pl.col("system").first().alias("crs_system"),
        *(pl.col("grade").filter(pl.col("system") == system).first().cast(pl.Int8).alias(f"recorded_{name}")
          for name, system in SYSTEMS.items()),
    )  # fmt: skip
    result = result.join(worst, on=_KEYS, how="left").join(regraded, on=_KEYS, how="left")
    result = result.with_columns(crs_grade=chosen_grade(pl.col("crs_grade"), study.get("crs.reading"), study))
    return result.select(*_KEYS, "crs_grade", *CRS_COLUMNS)


def _count_differing(result: pl.DataFrame, findings: Findings) -> None:
    """R40: courses whose grade from signs is not that recorded; a lower limit differs only where it is above."""
    for name in SYSTEMS:
        known = result.drop_nulls(["crs_recorded", f"crs_{name}"])
        grade, recorded = pl.col(f"crs_{name}"), pl.col("crs_recorded")
        at_least = pl.col(f"crs_{name}_basis") == AT_LEAST
        differs = pl.when(at_least).then(grade > recorded).otherwise(grade != recorded)
        findings.count(f"dq_crs_differs_{name}", known.filter(differs), known)


def count_steroids(
    courses: pl.DataFrame, bags: pl.DataFrame, records: Records, sets: ConceptSets, study: Study, findings: Findings
) -> None:
    """R13: counts steroid doses around courses that are neither premedication of a bag nor treatment of a CRS."""
    rule = study.get("steroid_role")
    doses = records.drugs.filter(
        sets.within("drug_concept_id", "CS_STEROID"),
        pl.col("drug_type_concept_id").is_in(study.get("exposure_type.administration_type_concept_ids")),
    ).with_columns(date=pl.col("drug_exposure_start_date"))
    windows = courses.select("person_id", "start_date", "end_date").join(doses, on="person_id")
    day = days_between(pl.col("start_date"), pl.col("date"))
    near = windows.filter(day >= rule["first_day"], pl.col("date") <= pl.col("end_date")).unique("drug_exposure_id")
    crs = _graded(records, sets, "CRS", study).select("person_id", "grade", crs_date="date")
    crs = crs.filter((pl.col("grade") != 0).fill_null(value=True))
    distance = days_between(pl.col("crs_date"), pl.col("date")).abs()
    treatment = near.join(crs, on="person_id").filter(distance <= rule["crs_days"])
    explained = pl.concat([premedication(near, bags, study), treatment.select("drug_exposure_id")])
    findings.count("dq_steroid_role_unclear", near.join(explained, on="drug_exposure_id", how="anti"), near)


def course_windows(courses: pl.DataFrame, first_day: int, last_day: pl.Expr) -> pl.DataFrame:
    """person_id, course_no, first, last: the dates of a window, told in days from the course's first bag.

    A record from the next course's first bag on belongs to that course.
    """
    return courses.select(
        *_KEYS,
        first=pl.col("start_date") + pl.duration(days=first_day),
        last=pl.min_horizontal(
            pl.col("start_date") + pl.duration(days=last_day), pl.col("next_start_date") - pl.duration(days=1)
        ),
    )


def graded_diagnoses(records: Records, sets: ConceptSets, which: pl.Expr, study: Study) -> pl.DataFrame:
    """person_id, system, date, grade, source_table, source_id of the conditions that fit; grade null if none is told.

    The grade is that of a linked observation, else the one in the code itself (D89.832).
    """
    grade_of = [
        sets.choose(column, _GRADES).cast(pl.Int32) for column in ("observation_concept_id", "value_as_concept_id")
    ]
    linked = records.observations.filter(pl.col("obs_event_field_concept_id") == CONDITION_FIELD).with_columns(
        linked_grade=pl.coalesce(grade_of), system=_system(study)
    )
    linked = linked.group_by("observation_event_id").agg(
        pl.col("linked_grade").max(), pl.col("system").drop_nulls().first()
    )
    own = sets.choose("condition_source_concept_id", _GRADES).cast(pl.Int32)
    joined = records.conditions.filter(which).join(
        linked, left_on="condition_occurrence_id", right_on="observation_event_id", how="left"
    )
    return joined.select(
        "person_id",
        "system",
        date="condition_start_date",
        grade=pl.coalesce("linked_grade", own),
        source_table=pl.lit("condition_occurrence"),
        source_id="condition_occurrence_id",
    )


def _graded(records: Records, sets: ConceptSets, name: str, study: Study) -> pl.DataFrame:
    """person_id, date, grade (null if none), system, source_table, source_id of one kind of event (CRS, ICANS).

    A diagnosis with its linked grade, or a result that is the grade itself (a 0 is a grade).
    """
    diagnosed = graded_diagnoses(records, sets, condition_in(sets, f"CS_{name}"), study)
    results = records.observations.filter(
        sets.within("observation_concept_id", f"CS_{name}", _GRADED_BY[name]),
        pl.col("obs_event_field_concept_id").fill_null(0) != CONDITION_FIELD,
    )
    number = pl.when(pl.col("value_as_number").is_in([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])).then(
        pl.col("value_as_number").cast(pl.Int32)
    )
    told = pl.col("value_source_value").str.extract(study.get("grade_words.pattern"), 1).cast(pl.Int32)
    graded = results.select(
        "person_id",
        date="observation_date",
        grade=pl.coalesce(sets.choose("value_as_concept_id", _GRADES).cast(pl.Int32), number, told),
        system=_system(study),
        source_table=pl.lit("observation"),
        source_id="observation_id",
    )
    return pl.concat([diagnosed, graded.select(diagnosed.columns)])


def _system(study: Study) -> pl.Expr:
    words = pl.concat_str(
        "observation_source_value", "value_source_value", "qualifier_source_value", separator=" ", ignore_nulls=True
    )
    system = pl.lit(None, dtype=pl.String)
    for name, pattern in reversed(study.get("grading_system").items()):
        system = pl.when(words.str.contains(pattern)).then(pl.lit(name)).otherwise(system)
    return system


def inpatient(windows: pl.DataFrame, records: Records, sets: ConceptSets, study: Study) -> pl.DataFrame:
    """person_id, course_no, seen of the windows in which the person was an inpatient."""
    visits = records.visits.filter(sets.within("visit_concept_id", *study.get("inpatient.visit_concept_sets")))
    joined = windows.join(visits.select("person_id", "visit_start_date", "visit_end_date"), on="person_id")
    inside = joined.filter(
        pl.col("visit_start_date") <= pl.col("last"),
        pl.coalesce("visit_end_date", "visit_start_date") >= pl.col("first"),
    )
    return inside.select(_KEYS).unique().with_columns(seen=pl.lit(value=True))


def _record(events: pl.DataFrame, name: str, study: Study, findings: Findings) -> None:
    findings.count(f"dq_{name}_ungraded", events.filter(pl.col("grade").is_null()), events)
    findings.count(f"dq_{name}_system", events.filter(pl.col("system").is_not_null()), events)
    for system in study.get("grading_system"):
        slug = system.lower().replace(" ", "_")
        findings.count(f"dq_{name}_by_{slug}", events.filter(pl.col("system") == system), events)
    graded = events.filter(pl.col("grade").is_not_null())
    for (source_table,), rows in graded.group_by("source_table", maintain_order=True):
        findings.evidence(
            rows,
            table="study_course",
            field="crs_recorded" if name == "crs" and study.get("crs.reading") != "recorded" else f"{name}_grade",
            rule=study.rule(name),
            grade="A",
            source_table=str(source_table),
            source_id="source_id",
            key=("person_id", "course_no"),
        )
