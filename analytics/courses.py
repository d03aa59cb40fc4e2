"""Courses from bags (`course@1`, steps 5 to 7): bag changes are filled, short gaps interrupt, long gaps start anew."""

import polars as pl

from analytics.exposure import HOUR
from analytics.findings import Findings
from analytics.study import Study

COURSE_RULE = "course@1"
"""The algorithm of PROTOCOL.md 5.4 as a rule id; its numbers are parameters of their own."""


def number_courses(bags: pl.DataFrame, study: Study) -> pl.DataFrame:
    """The bags with gap_hours (to the bag before, null for the first), course_no (from 1) and interruption_hours.

    Edges: a gap of exactly `gap_bag_change_h` interrupts; a gap of exactly `gap_new_course_d` stays in the course. Gaps
    at a time that was imputed are compared in days: below one day is a bag change (PROTOCOL.md 5.4, "Missing").
    """
    change_h, new_h = study.get("gap_bag_change_h"), 24 * study.get("gap_new_course_d")
    gap = (pl.col("start_at") - pl.col("end_at").shift(1).over("person_id")).dt.total_microseconds() / HOUR
    imputed = pl.col("time_imputed") | pl.col("time_imputed").shift(1).over("person_id")
    bags = bags.sort("person_id", "start_at").with_columns(gap_hours=gap, imputed_gap=imputed.fill_null(value=False))
    shortest = pl.when("imputed_gap").then(max(24, change_h)).otherwise(change_h)
    is_new = pl.col("gap_hours").is_null() | (pl.col("gap_hours") > new_h)
    return bags.with_columns(
        course_no=is_new.cast(pl.Int32).cum_sum().over("person_id"),
        interruption_hours=pl.when(is_new | (pl.col("gap_hours") < shortest)).then(0.0).otherwise("gap_hours"),
    ).drop("imputed_gap")


def derive_courses(bags: pl.DataFrame, orders: pl.DataFrame, study: Study, findings: Findings) -> pl.DataFrame:
    """One row per course, from numbered bags and blinatumomab orders (`blinatumomab_orders`).

    Columns: person_id, course_no, start, end (datetimes), start_date, end_date, start_day, end_day (days from the first
    bag of course 1), infusion_days (one decimal), interruption_hours, n_bags, bag_ids, time_imputed, planned_days,
    complete, next_start_date.
    """
    hours = (pl.col("end_at").max() - pl.col("start_at").min()).dt.total_microseconds() / HOUR
    courses = bags.group_by("person_id", "course_no").agg(
        start=pl.col("start").min(),
        end=pl.col("end").sort_by("end_at").last(),
        infusion_days=((hours - pl.col("interruption_hours").sum()) / 24).round(1),
        interruption_hours=pl.col("interruption_hours").sum().round(2),
        n_bags=pl.len(),
        bag_ids=pl.col("drug_exposure_id").sort_by("start"),
        time_imputed=pl.col("time_imputed").any(),
        end_at=pl.col("end_at").max(),
        zone=pl.col("zone").sort_by("start_at").first(),
    )
    courses = (
        _in_first_zone(courses)
        .sort("person_id", "course_no")
        .with_columns(start_date=pl.col("start").dt.date(), end_date=pl.col("end").dt.date())
    )
    time_zero = pl.col("start_date").first().over("person_id", order_by="course_no")
    courses = courses.with_columns(
        start_day=days_between(time_zero, pl.col("start_date")),
        end_day=days_between(time_zero, pl.col("end_date")),
        next_start_date=pl.col("start_date").shift(-1).over("person_id", order_by="course_no"),
    )
    courses = _planned(courses, orders, study, findings)
    _count(courses, bags, findings)
    findings.evidence(
        courses,
        table="study_course",
        field="start_date,end_date,infusion_days,interruption_hours",
        rule=COURSE_RULE,
        source_table="drug_exposure",
        source_id="bag_ids",
        key=("person_id", "course_no"),
    )
    return courses


def _in_first_zone(courses: pl.DataFrame) -> pl.DataFrame:
    """A course over two sites ends on the day of its first bag's site (A23)."""
    parts = []
    for (zone,), part in courses.group_by("zone", maintain_order=True):
        if zone is not None:
            moment = pl.col("end_at").dt.replace_time_zone("UTC").dt.convert_time_zone(str(zone))
            part = part.with_columns(end=moment.dt.replace_time_zone(None))
        parts.append(part)
    return pl.concat([courses.clear(), *parts]).drop("end_at", "zone")


def days_between(first: pl.Expr, second: pl.Expr) -> pl.Expr:
    """Whole calendar days from one date to another, Int32; null if either is null."""
    return (second - first).dt.total_days().cast(pl.Int32)


def _planned(courses: pl.DataFrame, orders: pl.DataFrame, study: Study, findings: Findings) -> pl.DataFrame:
    """`planned_days@1` and `complete_course@1`."""
    rule = study.get("planned_days")
    delivered, lengths = pl.col("infusion_days"), sorted(rule["lengths"])
    inferred = pl.lit(lengths[-1])
    for length in reversed(lengths):
        inferred = pl.when(delivered - rule["tolerance_d"] <= length).then(pl.lit(length)).otherwise(inferred)
    courses = courses.join(_ordered_days(courses, orders, study), on=["person_id", "course_no"], how="left")
    planned = pl.coalesce("ordered_days", inferred).cast(pl.Int32)
    courses = courses.with_columns(planned_days=planned).with_columns(
        complete=(delivered >= study.get("complete_course.share") * pl.col("planned_days")).cast(pl.Int8)
    )
    findings.count("dq_planned_days_inferred", courses.filter(pl.col("ordered_days").is_null()), courses)
    longer = courses.filter(delivered - rule["tolerance_d"] > lengths[-1])
    findings.count("dq_course_longer_than_planned", longer, courses)
    return courses.drop("ordered_days")


def _ordered_days(courses: pl.DataFrame, orders: pl.DataFrame, study: Study) -> pl.DataFrame:
    """person_id, course_no, ordered_days: the days_supply of the last blinatumomab order before the course."""
    rule = study.get("planned_days")
    near = courses.select("person_id", "course_no", "start_date").join(orders, on="person_id")
    near = near.filter(
        pl.col("days_supply").is_between(rule["order_shortest_d"], rule["order_longest_d"]),
        days_between(pl.col("start_date"), pl.col("drug_exposure_start_date")).is_between(
            rule["order_first_day"], rule["order_last_day"]
        ),
    )
    return (
        near.sort("drug_exposure_start_date", "drug_exposure_id")
        .group_by("person_id", "course_no")
        .agg(ordered_days=pl.col("days_supply").last().cast(pl.Int32))
    )


def _count(courses: pl.DataFrame, bags: pl.DataFrame, findings: Findings) -> None:
    """The counters of REALITIES.md that courses show."""
    findings.count("dq_bags_per_course", bags, None)
    findings.count("dq_interruptions", bags.filter(pl.col("interruption_hours") > 0), bags)
    findings.count("dq_course_split_gt7d", courses.filter(pl.col("course_no") > 1), courses)
