"""Event-free and overall survival from the first bag, in whole days (PROTOCOL.md 5.5: efs, os, relapse, time_unit)."""

import polars as pl

from analytics.courses import days_between
from analytics.findings import Findings
from analytics.marrow import blasts_from
from analytics.response import RR
from analytics.study import Study

_TYPES = {
    "death": "death_in_remission",
    "second_malignancy": "second_malignancy",
    "relapse": "relapse",
    "refractory": "refractory",
    "mrd_reappearance": "mrd_reappearance",
}
"""The words of `efs_event_type`."""


def derive_outcomes(
    patients: pl.DataFrame,
    courses: pl.DataFrame,
    assessments: pl.DataFrame,
    events: pl.DataFrame,
    deaths: pl.DataFrame,
    study: Study,
    findings: Findings,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The patients with efs_days, efs_event, efs_event_type, os_days, os_event; and the events found.

    `patients` has person_id, first_blina_date, pre_course1_state, last_contact_date, hsct_day, cart_day. Days are whole
    numbers, 0 included (the statistics write 0.5 for it). Persons with a negative time get null and are counted.
    The second frame: person_id, event, date, source_table, source_id.
    """  # fmt: skip
    remission = _remissions(patients, courses)
    found = pl.concat(
        [
            _relapses(remission, assessments, events, study),
            _refractory(remission, courses, study),
            _second_malignancies(patients, events),
            deaths.select("person_id", event=pl.lit("death"), date="death_date", source_table="death_table",
                          source_id="death_id"),
            _mrd_reappearances(courses, assessments, study),
        ]
    ).join(patients.select("person_id", "first_blina_date"), on="person_id")  # fmt: skip
    in_time = found.filter(pl.col("date") >= pl.col("first_blina_date")).drop("first_blina_date")
    patients = _overall(patients, deaths)
    patients = _event_free(patients, in_time, study)
    negative = (pl.col("os_days") < 0) | (pl.col("efs_days") < 0)
    findings.count("dq_negative_survival_time", patients.filter(negative), patients)
    fields = ["efs_days", "efs_event", "os_days", "os_event"]
    return patients.with_columns(pl.when(~negative).then(pl.col(one)).alias(one) for one in fields), in_time


def _remissions(patients: pl.DataFrame, courses: pl.DataFrame) -> pl.DataFrame:
    """person_id, cr_date (null: no remission yet), always for patients who began in remission: their first bag.

    A patient in state RR reaches it at the post marrow with a CR, or at a later course's marrow that shows no RR.
    """
    answered = courses.filter((pl.col("state_pre") == RR) & (pl.col("response_cr") == 1)).select(
        "person_id", date="post_date"
    )
    later = courses.filter((pl.col("course_no") > 1) & pl.col("state_pre").is_in(["MRDpos", "MRDneg"])).select(
        "person_id", date="pre_date"
    )
    reached = pl.concat([answered, later]).group_by("person_id").agg(pl.col("date").min())
    joined = patients.select("person_id", "first_blina_date", "pre_course1_state").join(
        reached, on="person_id", how="left"
    )
    began_in_remission = (pl.col("pre_course1_state") != RR).fill_null(value=True)
    return joined.select(
        "person_id",
        "first_blina_date",
        "pre_course1_state",
        cr_date=pl.when(began_in_remission).then("first_blina_date").otherwise("date"),
    )


def _relapses(remission: pl.DataFrame, assessments: pl.DataFrame, events: pl.DataFrame, study: Study) -> pl.DataFrame:
    """`relapse@1`: a record, extramedullary disease, blasts ≥ 25 %, or 5–25 % with a second such marrow (A05)."""
    rule = study.get("relapse")
    recorded = events.filter(pl.col("event").is_in(["relapse", "extramedullary"])).select(
        "person_id", "date", "source_table", "source_id"
    )
    second, certain_at = rule["second_test_from_pct"], rule["certain_from_pct"]
    # The next adequate marrow decides: it is either the second positive test or shows a new remission.
    tested = (
        assessments.filter(pl.col("blasts_pct").is_not_null())
        .sort("person_id", "date")
        .with_columns(reached=blasts_from(second), certain=blasts_from(certain_at))
        .with_columns(confirmed=pl.col("reached").shift(-1).over("person_id"))
    )
    high = tested.filter("reached")
    certain = (pl.col("certain") | pl.col("confirmed")).fill_null(value=False)
    marrow = high.filter(certain).select("person_id", "date", source_table=pl.lit("measurement"), source_id="blasts_id")
    both = pl.concat([recorded, marrow]).join(remission, on="person_id")
    after = both.filter(pl.col("date") > pl.col("cr_date")).sort("person_id", "date", "source_table", "source_id")
    first = after.unique("person_id", keep="first", maintain_order=True)
    return first.select("person_id", pl.lit("relapse").alias("event"), "date", "source_table", "source_id")


def _refractory(remission: pl.DataFrame, courses: pl.DataFrame, study: Study) -> pl.DataFrame:
    """State RR, and no CR at the post marrow of the last course (A03); dated at that marrow, or at day 0 (S2)."""
    last = courses.sort("course_no").unique("person_id", keep="last", maintain_order=True)
    failed = last.filter((pl.col("state_pre") == RR) & (pl.col("response_cr") == 0)).join(
        remission.filter((pl.col("pre_course1_state") == RR) & pl.col("cr_date").is_null()), on="person_id"
    )
    day = "first_blina_date" if study.get("efs.refractory_at_zero") else "post_date"
    return failed.select(
        "person_id",
        pl.lit("refractory").alias("event"),
        pl.col(day).alias("date"),
        source_table=pl.lit("measurement"),
        source_id="post_blasts_id",
    )


def _second_malignancies(patients: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    joined = events.filter(pl.col("event") == "second_malignancy").join(patients, on="person_id", how="semi")
    return joined.select("person_id", "event", "date", "source_table", "source_id")


def _mrd_reappearances(courses: pl.DataFrame, assessments: pl.DataFrame, study: Study) -> pl.DataFrame:
    """S3: MRD positive after an MRD-negative marrow; no rows unless `efs.mrd_reappearance`."""
    negative = pl.concat(
        [
            courses.filter(pl.col("state_pre") == "MRDneg").select("person_id", since="pre_date"),
            courses.filter(pl.col("mrd_neg_post") == 1).select("person_id", since="post_date"),
        ]
    )
    first = negative.group_by("person_id").agg(pl.col("since").min())
    positive = assessments.filter(pl.col("mrd_kind") == "POSITIVE").join(first, on="person_id")
    again = positive.filter(pl.col("date") > pl.col("since")).sort("person_id", "date")
    again = again.unique("person_id", keep="first", maintain_order=True)
    if not study.get("efs.mrd_reappearance"):
        again = again.clear()
    return again.select(
        "person_id",
        pl.lit("mrd_reappearance").alias("event"),
        "date",
        source_table=pl.lit("measurement"),
        source_id="mrd_id",
    )


def _overall(patients: pl.DataFrame, deaths: pl.DataFrame) -> pl.DataFrame:
    joined = patients.join(deaths.select("person_id", "death_date"), on="person_id", how="left")
    died = pl.col("death_date").is_not_null()
    end = pl.coalesce("death_date", "last_contact_date")
    return joined.with_columns(os_event=died.cast(pl.Int8), os_days=days_between(pl.col("first_blina_date"), end)).drop(
        "death_date"
    )


def _event_free(patients: pl.DataFrame, found: pl.DataFrame, study: Study) -> pl.DataFrame:
    """The earliest event; on one day the label by `efs.label_order`. Censored at last contact, or therapy (S1)."""
    order = {name: rank for rank, name in enumerate([*study.get("efs.label_order"), "mrd_reappearance"])}
    ranked = found.with_columns(rank=pl.col("event").replace_strict(order, default=99, return_dtype=pl.Int32))
    first = ranked.sort("date", "rank").unique("person_id", keep="first", maintain_order=True)
    patients = patients.join(first.select("person_id", "event", event_date="date"), on="person_id", how="left")
    event_day = days_between(pl.col("first_blina_date"), pl.col("event_date"))
    censor_day = days_between(pl.col("first_blina_date"), pl.col("last_contact_date"))
    if study.get("efs.censor_at_transplant"):
        censor_day = pl.min_horizontal(censor_day, "hsct_day", "cart_day")
    happened = (event_day <= censor_day).fill_null(value=False)
    return patients.with_columns(
        efs_event=happened.cast(pl.Int8),
        efs_days=pl.when(happened).then(event_day).otherwise(censor_day),
        efs_event_type=pl.when(happened).then(pl.col("event").replace_strict(_TYPES)).otherwise(pl.lit("")),
    ).drop("event", "event_date")
