"""Who belongs to the study: FAS, EVAL and IMM, and how many were left out at each step (PROTOCOL.md section 4)."""

import polars as pl

from analytics.cdm import Cdm, number_list
from analytics.concept_sets import ConceptSets
from analytics.courses import days_between
from analytics.disease import condition_in
from analytics.findings import Findings
from analytics.records import Records
from analytics.study import Study

_TREATED = "with a blinatumomab record"

ATTRITION = {"step": pl.String, "unit": pl.String, "n": pl.Int64, "excluded": pl.Int64, "reason": pl.String}


def derive_full_analysis_set(
    courses: pl.DataFrame,
    diagnoses: pl.DataFrame,
    records: Records,
    sets: ConceptSets,
    study: Study,
    findings: Findings,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The FAS, and the steps to it.

    First frame: person_id, site, sex, birth_date, diagnosis_date, first_blina_date, age_years (at the first bag).
    Second: `ATTRITION`, from persons with B-ALL and any blinatumomab record to the FAS.
    """
    first = courses.filter(pl.col("course_no") == 1).select("person_id", "site", first_blina_date="start_date")
    persons = records.persons.join(first, on="person_id", how="left").join(diagnoses, on="person_id", how="left")
    age = days_between(pl.col("birth_date"), pl.col("first_blina_date")) / 365.25
    birthday = pl.col("birth_date").dt.offset_by(f"{study.get('fas.age_below_years')}y")
    is_child = pl.col("first_blina_date") < birthday
    limit = pl.col("first_blina_date") + pl.duration(days=study.get("ball.days_after_first_bag"))
    steps: list[tuple[str, str, pl.Expr]] = [
        ("with a valid bag", "no valid bag", pl.col("first_blina_date").is_not_null()),
        (
            "with B-ALL in time",
            "B-ALL only recorded later",
            (pl.col("first_ball_date") <= limit).fill_null(value=False),
        ),
        ("FAS", "not a child at the first bag", is_child.fill_null(value=False)),
    ]
    down = _down_syndrome(records, sets)
    if not study.get("fas.down_syndrome"):
        steps.append(("FAS without Down syndrome", "Down syndrome", ~pl.col("person_id").is_in(down.implode())))
    kept = persons.filter(pl.col("first_ball_date").is_not_null())
    rows = [(_TREATED, "patient", kept.height, 0, "")]
    for step, reason, holds in steps:
        before, kept = kept.height, kept.filter(holds)
        rows.append((step, "patient", kept.height, before - kept.height, reason))
    findings.count("dq_diagnosis_absent", kept.filter(pl.col("diagnosis_date").is_null()), kept)
    # Twins, or one child under two numbers: only listed, never merged by a birth date (K18).
    twins = kept.filter(pl.len().over("birth_date") > 1)
    findings.count("dq_person_possible_duplicate", twins, kept)
    findings.count("dq_down_syndrome", kept.filter(pl.col("person_id").is_in(down.implode())), kept)
    findings.count("dq_sex_missing", kept.filter(pl.col("sex").is_null()), kept)
    fas = kept.with_columns(age_years=age.round(2)).select(
        "person_id", "site", "sex", "birth_date", "diagnosis_date", "diagnosis_id", "first_blina_date", "age_years"
    )
    return fas.sort("person_id"), pl.DataFrame(rows, schema=ATTRITION, orient="row")


def _down_syndrome(records: Records, sets: ConceptSets) -> pl.Series:
    """The persons with a record of it, as a diagnosis or as an observation."""
    said = [
        records.conditions.filter(condition_in(sets, "CS_DOWN_SYNDROME")),
        records.observations.filter(
            pl.any_horizontal(
                sets.within(one, "CS_DOWN_SYNDROME")
                for one in ("observation_concept_id", "observation_source_concept_id", "value_as_concept_id")
            )
        ),
    ]
    return pl.concat([rows.select("person_id") for rows in said])["person_id"].unique()


def with_site(courses: pl.DataFrame, bags: pl.DataFrame, records: Records, findings: Findings) -> pl.DataFrame:
    """The courses with `site`: the care site of the visit of the person's first bag, never of the person."""
    of_bag = bags.join(records.visits.select("visit_occurrence_id", "site"), on="visit_occurrence_id", how="left")
    sites = (
        of_bag.sort("person_id", "start")
        .group_by("person_id", maintain_order=True)
        .agg(site=pl.col("site").drop_nulls().first())
    )
    several = (
        of_bag.group_by("person_id", "course_no").agg(pl.col("site").drop_nulls().n_unique()).filter(pl.col("site") > 1)
    )
    findings.count("dq_course_multi_site", several, courses)
    return courses.join(sites, on="person_id", how="left")


def whole_attrition(
    cdm: Cdm, sets: ConceptSets, steps: pl.DataFrame, courses: pl.DataFrame, n_pairs: int
) -> pl.DataFrame:
    """`steps` with all persons of the CDM and those with B-ALL before it, and EVAL and IMM after it."""
    ball = number_list(sets.ids("CS_BALL"))
    persons = cdm.count("person")
    with_ball = cdm.count(
        "condition_occurrence",
        "DISTINCT person_id",
        where=f"condition_concept_id IN ({ball}) OR condition_source_concept_id IN ({ball})",
    )
    treated = int(steps["n"][0])
    evaluable = courses.filter(pl.col("evaluable") == 1).height
    first = courses.filter(pl.col("course_no") == 1).height
    before = [
        ("persons in the CDM", "patient", persons, 0, ""),
        ("with a B-ALL record", "patient", with_ball, persons - with_ball, "no B-ALL record"),
    ]
    after = [
        ("courses of the FAS", "course", courses.height, 0, ""),
        ("EVAL", "course", evaluable, courses.height - evaluable, "too short, or no adequate marrow before and after"),
        ("IMM", "patient", n_pairs, first - n_pairs, "first course without both T-cell windows"),
    ]
    is_treated = pl.col("step") == _TREATED
    steps = steps.with_columns(
        excluded=pl.when(is_treated).then(max(with_ball - treated, 0)).otherwise("excluded"),
        reason=pl.when(is_treated).then(pl.lit("never given blinatumomab")).otherwise("reason"),
    )
    frames = [pl.DataFrame(rows, schema=ATTRITION, orient="row") for rows in (before, after)]
    return pl.concat([frames[0], steps.cast(ATTRITION), frames[1]])  # type: ignore[arg-type]


def imm_pairs(pairs: pl.DataFrame) -> int:
    """How many first courses are in IMM."""
    return pairs.filter(pl.col("course_no") == 1).height
