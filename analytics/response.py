"""State before and response after every course, from its two marrows (PROTOCOL.md 5.2: marrow_pre … response)."""

import polars as pl

from analytics.courses import days_between
from analytics.findings import Findings
from analytics.marrow import blasts_from, blasts_shown, mrd_is_positive, mrd_percent
from analytics.mrd import INDETERMINATE
from analytics.study import Study

RR, MRDPOS, MRDNEG, UNKNOWN = "RR", "MRDpos", "MRDneg", "UNKNOWN"
_KEYS = ["person_id", "course_no"]


def derive_responses(
    courses: pl.DataFrame,
    assessments: pl.DataFrame,
    counts: pl.DataFrame,
    events: pl.DataFrame,
    study: Study,
    findings: Findings,
) -> pl.DataFrame:
    """The courses with their marrows, states and responses.

    `assessments` of marrow.py, `counts` ANC and PLT of counts.py, `events` of disease.py. Adds pre_date,
    assessment_date, assessment_day, blasts_pre_pct, mrd_pre_pct, blasts_post_pct, mrd_post_pct, mrd_pre_kind,
    mrd_post_kind, pre_m_class, post_m_class (M1 to M3, by blasts), state_pre, state_grade, response_cr, mrd_neg_post,
    cr_depth, counts_missing, evaluable.
    """  # fmt: skip
    assessments = _judged(assessments, study)
    before, after = _before(courses, assessments, study), _after(courses, assessments, study)
    courses = courses.join(before, on=_KEYS, how="left").join(after, on=_KEYS, how="left")
    courses = courses.with_columns(_state()).with_columns(
        assessment_date=pl.col("post_date"),
        assessment_day=days_between(pl.col("start_date") - pl.duration(days="start_day"), pl.col("post_date")),
    )
    courses = _counts_recovered(courses, counts, study)
    courses = courses.join(_extramedullary(courses, events, study), on=_KEYS, how="left")
    courses = courses.with_columns(_mrd_negative_after()).with_columns(
        response_cr=_response(study), cr_depth=_depth(study)
    )
    evaluable = (pl.col("infusion_days") > study.get("evaluable_course.more_than_days")) & pl.all_horizontal(
        pl.col(one).is_not_null() for one in ("pre_date", "post_date")
    )
    courses = courses.with_columns(evaluable=evaluable.cast(pl.Int8))
    _record(courses, assessments, study, findings)
    return courses


def _judged(assessments: pl.DataFrame, study: Study) -> pl.DataFrame:
    """The marrows with mrd_shown, positive, m1 and m1_grade.

    Without a blast count that tells the class an MRD below `mrd_state_rr` is M1 and one from there is not, grade B.
    """
    marrows = assessments.with_columns(mrd_shown=mrd_percent(), positive=mrd_is_positive(study))
    by_blasts = ~blasts_from(study.get("m_class.m2_from_pct"))
    high = (pl.col("mrd_shown") >= study.get("mrd_state_rr.from_pct")) & pl.col("positive")
    by_mrd = pl.when(pl.col("positive").is_not_null()).then(~high.fill_null(value=False))
    m2, m3 = (blasts_from(study.get(f"m_class.{one}_from_pct")) for one in ("m2", "m3"))
    m_class = pl.when(m3).then(pl.lit("M3")).when(m2 & ~m3).then(pl.lit("M2")).when(~m2).then(pl.lit("M1"))
    return marrows.with_columns(
        m_class=m_class,
        m1=pl.coalesce(by_blasts, by_mrd),
        m1_grade=pl.when(by_blasts.is_null()).then(pl.lit("B")).otherwise("blasts_grade"),
        blasts_shown=blasts_shown(),
    )


def _before(courses: pl.DataFrame, assessments: pl.DataFrame, study: Study) -> pl.DataFrame:
    """`marrow_pre@1`: the last adequate marrow in the window around the first bag."""
    rule = study.get("marrow_pre")
    near = courses.select(*_KEYS, "start_date").join(assessments, on="person_id")
    day = days_between(pl.col("start_date"), pl.col("date"))
    near = near.filter(day.is_between(rule["first_day"], rule["last_day"]))
    return _chosen(near.sort("date", descending=True), "pre")


def _after(courses: pl.DataFrame, assessments: pl.DataFrame, study: Study) -> pl.DataFrame:
    """`marrow_post@1`: the first adequate marrow from course end, else the last just before it."""
    rule = study.get("marrow_post")
    near = courses.select(*_KEYS, "start_date", "end_date", "next_start_date").join(assessments, on="person_id")
    day = days_between(pl.col("end_date"), pl.col("date"))
    is_late = day.is_between(rule["first_day"], rule["last_day"])
    # A marrow just before the end of a short course could be the one before its start: that one is never "after".
    began = days_between(pl.col("start_date"), pl.col("date")) > study.get("marrow_pre.last_day")
    is_early = day.is_between(rule["else_first_day"], rule["else_last_day"]) & began
    past_next = days_between(pl.col("next_start_date"), pl.col("date")) > rule["days_after_next_bag"]
    near = near.filter((is_late | is_early) & ~past_next.fill_null(value=False)).with_columns(is_late=is_late)
    distance = days_between(pl.col("end_date"), pl.col("date")).abs()
    return _chosen(near.sort(pl.col("is_late"), -distance, descending=True), "post")


def _chosen(ordered: pl.DataFrame, when: str) -> pl.DataFrame:
    first = ordered.unique(_KEYS, keep="first", maintain_order=True)
    names = {
        name: f"{when}_{name}"
        for name in (
            "date",
            "blasts_id",
            "mrd_id",
            "mrd_operator",
            "cd19_gated",
            "positive",
            "m1",
            "m1_grade",
            "m_class",
        )
    }
    names |= {"blasts_shown": f"blasts_{when}_pct", "mrd_shown": f"mrd_{when}_pct", "mrd_kind": f"mrd_{when}_kind"}
    return first.select(*_KEYS, *(pl.col(old).alias(new) for old, new in names.items()))


def _state() -> list[pl.Expr]:
    """`state_pre@1` and its grade: by blasts and MRD; without blasts by MRD alone, grade B (A19)."""
    state = (
        pl.when(~pl.col("pre_m1"))
        .then(pl.lit(RR))
        .when(pl.col("pre_positive"))
        .then(pl.lit(MRDPOS))
        .when(~pl.col("pre_positive"))
        .then(pl.lit(MRDNEG))
        .otherwise(pl.lit(UNKNOWN))
    )
    return [state.alias("state_pre"), pl.col("pre_m1_grade").fill_null("B").alias("state_grade")]


def _counts_recovered(courses: pl.DataFrame, counts: pl.DataFrame, study: Study) -> pl.DataFrame:
    """Adds anc, plt (10*9/L, nearest the post marrow, the earlier on a tie: A16) and counts_missing."""
    rule = study.get("cr")
    near = courses.select(*_KEYS, "post_date").join(counts, on="person_id")
    distance = days_between(pl.col("post_date"), pl.col("date"))
    near = near.filter(distance.is_between(rule["first_day"], rule["last_day"]))
    nearest = near.sort(distance.abs(), "date", "measurement_id").unique(
        [*_KEYS, "analyte"], keep="first", maintain_order=True
    )
    for name in ("ANC", "PLT"):
        values = nearest.filter(pl.col("analyte") == name).select(*_KEYS, pl.col("value").alias(name.lower()))
        courses = courses.join(values, on=_KEYS, how="left")
    return courses.with_columns(counts_missing=pl.col("anc").is_null() | pl.col("plt").is_null())


def _extramedullary(courses: pl.DataFrame, events: pl.DataFrame, study: Study) -> pl.DataFrame:
    """person_id, course_no, extramedullary of courses with such a record up to the last day counted for the marrow."""
    records = events.filter(pl.col("event") == "extramedullary").select("person_id", "date")
    joined = courses.select(*_KEYS, "start_date", "post_date").join(records, on="person_id")
    last = pl.col("post_date") + pl.duration(days=study.get("cr.last_day"))
    during = joined.filter(pl.col("date").is_between(pl.col("start_date"), last))
    return during.select(_KEYS).unique().with_columns(extramedullary=pl.lit(value=True))


def _mrd_negative_after() -> pl.Expr:
    """`mrd_neg_post`: 1 or 0 by the post marrow's MRD, null without one (A09)."""
    return (~pl.col("post_positive")).cast(pl.Int8).alias("mrd_neg_post")


def _response(study: Study) -> pl.Expr:
    """`response@1`: `cr@1` in state RR, `mrd_response@1` in state MRDpos, else null."""
    rule = study.get("cr")
    m1 = pl.col("post_m1")
    recovered = (pl.col("anc") > rule["anc_above"]) & (pl.col("plt") > rule["plt_above"])
    enough = pl.col("counts_missing") | recovered if rule["use_counts"] else pl.lit(value=True)
    complete = pl.when(m1.is_not_null()).then(m1 & enough & pl.col("extramedullary").is_null())
    missing = pl.lit(0 if study.get("mrd_response.missing_is_nonresponse") else None, dtype=pl.Int8)
    undecided = pl.col("mrd_post_kind") == INDETERMINATE
    cleared = pl.when(undecided.fill_null(value=False)).then(None).otherwise(pl.coalesce("mrd_neg_post", missing))
    return (
        pl.when(pl.col("state_pre") == RR)
        .then(complete.cast(pl.Int8))
        .when(pl.col("state_pre") == MRDPOS)
        .then(cleared)
        .cast(pl.Int8)
    )


def _depth(study: Study) -> pl.Expr:
    """Secondary listing: CR, CRh or CRi of an M1 marrow after state RR; null when the counts are missing."""
    limits = [study.get(name) for name in ("cr", "crh")]
    full, half = ((pl.col("anc") > one["anc_above"]) & (pl.col("plt") > one["plt_above"]) for one in limits)
    m1 = pl.col("post_m1") & (pl.col("state_pre") == RR)
    depth = pl.when(full).then(pl.lit("CR")).when(half).then(pl.lit("CRh")).otherwise(pl.lit("CRi"))
    return pl.when(m1 & ~pl.col("counts_missing")).then(depth)


def _record(courses: pl.DataFrame, assessments: pl.DataFrame, study: Study, findings: Findings) -> None:
    findings.count("dq_counts_missing", courses.filter((pl.col("state_pre") == RR) & pl.col("counts_missing")), courses)
    used = pl.concat([courses.select("person_id", date=one) for one in ("pre_date", "post_date")]).drop_nulls().unique()
    unused = assessments.join(used, on=["person_id", "date"], how="anti")
    findings.count("dq_marrow_out_of_window", unused, assessments)
    for when, field in (("pre", "state_pre"), ("post", "response_cr")):
        ids = pl.concat_list(f"{when}_blasts_id", f"{when}_mrd_id").list.drop_nulls()
        findings.evidence(
            courses.filter(pl.col(f"{when}_date").is_not_null()).with_columns(marrow_ids=ids),
            table="study_course",
            field=field,
            rule=study.rule("marrow_pre" if when == "pre" else "marrow_post"),
            source_table="measurement",
            source_id="marrow_ids",
            grade=pl.col("state_grade") if when == "pre" else "B",
            key=("person_id", "course_no"),
        )
