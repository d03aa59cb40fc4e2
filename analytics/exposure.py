"""Bags: one row per administered blinatumomab bag with a start and an end (`course@1`, steps 1 to 4).

A bag without a recorded end lasts the hours that its text states, else `bag_hours.default`, and never beyond the next
bag's start. Orders are used only for persons without any administration, and what else says that the drug was given
(a dispense, a statement) only for persons without an order too (A10).
"""

from datetime import time
from typing import Any

import polars as pl

from analytics.concept_sets import ConceptSets
from analytics.findings import Findings
from analytics.records import Records
from analytics.study import Study

HOUR = 3_600_000_000
"""Microseconds of an hour."""


def derive_bags(records: Records, sets: ConceptSets, study: Study, findings: Findings) -> pl.DataFrame:
    """The bags in order of time, overlaps clipped.

    Columns: person_id, drug_exposure_id, visit_occurrence_id, start, end (naive local datetimes), start_at, end_at (the
    same moments in UTC where `time_zone` knows the site's zone, else as they are: hours are counted in these),
    zone, quantity, dose_unit_source_value, sig, grade (A administration, B order or less), time_imputed, end_imputed.
    """
    rows = records.drugs.filter(_is_blinatumomab(sets))
    if records.lock is not None:
        rows = rows.filter(pl.col("drug_exposure_start_date") <= records.lock)
    rows = _one_per_bag(_evidence_level(rows, study, findings), findings)
    return _clipped(in_real_time(_timed(rows, study), records, study), findings)


def blinatumomab_orders(records: Records, sets: ConceptSets, study: Study) -> pl.DataFrame:
    """The drug_exposure rows that order blinatumomab."""
    types = study.get("exposure_type.order_type_concept_ids")
    return records.drugs.filter(_is_blinatumomab(sets), pl.col("drug_type_concept_id").is_in(types))


def _is_blinatumomab(sets: ConceptSets) -> pl.Expr:
    return sets.within("drug_concept_id", "CS_BLINATUMOMAB") | sets.within("drug_source_concept_id", "CS_BLINATUMOMAB")


def _evidence_level(rows: pl.DataFrame, study: Study, findings: Findings) -> pl.DataFrame:
    kinds = study.get("exposure_type")
    names = ("administration_type_concept_ids", "order_type_concept_ids", "other_type_concept_ids")
    given, *lower = (rows.filter(pl.col("drug_type_concept_id").is_in(kinds[name])) for name in names)
    levels = [given.with_columns(grade=pl.lit("A"))]
    for level in lower:
        known = pl.concat(levels).select("person_id").unique()
        levels.append(level.join(known, on="person_id", how="anti").with_columns(grade=pl.lit("B")))
    used = pl.concat(levels)
    findings.count(
        "dq_exposure_low_evidence", used.filter(pl.col("grade") != "A").unique("person_id"), rows.unique("person_id")
    )
    return used


def _one_per_bag(rows: pl.DataFrame, findings: Findings) -> pl.DataFrame:
    """Step 2: the same person, start and dose is one bag; the largest id stays (tie rule of section 5.1)."""
    same = ["person_id", "drug_exposure_start_date", "drug_exposure_start_datetime", "quantity", "sig"]
    kept = rows.sort("drug_exposure_id").unique(same, keep="last", maintain_order=True)
    findings.count("dq_duplicate_admin", rows.join(kept, on="drug_exposure_id", how="anti"), rows)
    return kept


def _timed(rows: pl.DataFrame, study: Study) -> pl.DataFrame:
    """Step 3 without the cap: start and end of every bag."""
    noon = time(study.get("time_imputed.hour"))
    start = pl.coalesce("drug_exposure_start_datetime", pl.col("drug_exposure_start_date").dt.combine(noon))
    # An end that is only start + days of supply is told by the days; the CDM's date has no hour.
    by_supply = pl.col("drug_exposure_end_datetime").is_null() & (pl.col("days_supply") > 0).fill_null(value=False)
    of_day = pl.when(~by_supply).then(pl.col("drug_exposure_end_date").dt.combine(noon))
    recorded = pl.coalesce("drug_exposure_end_datetime", of_day)
    timed = rows.with_columns(
        start=start,
        recorded=recorded,
        time_imputed=pl.col("drug_exposure_start_datetime").is_null(),
        stated_hours=pl.coalesce(pl.when(by_supply).then(pl.col("days_supply") * 24.0), stated_hours(study)),
    ).with_columns(end_imputed=(pl.col("recorded") <= pl.col("start")).fill_null(value=True))
    hours = pl.col("stated_hours").fill_null(float(study.get("bag_hours.default")))
    imputed = pl.col("start") + pl.duration(microseconds=(hours * HOUR).round().cast(pl.Int64))
    return timed.with_columns(end=pl.when("end_imputed").then(imputed).otherwise("recorded"))


def stated_hours(study: Study) -> pl.Expr:
    """Hours of a bag that its `sig` states (not the hours of a rate), null when it states none or too many."""
    rateless = pl.col("sig").str.normalize("NFKC").str.replace_all(study.get("dose_convert.rate_pattern"), " ")
    found = [rateless.str.extract(pattern, 1).cast(pl.Float64) for pattern in study.get("bag_hours.patterns")]
    hours = pl.coalesce(found)
    return pl.when(hours.is_between(0, study.get("bag_hours.longest"), closed="right")).then(hours)


def in_real_time(bags: pl.DataFrame, records: Records, study: Study) -> pl.DataFrame:
    """The bags with start_at and end_at: moments between which hours can be counted, also over a change of clocks.

    The zone is that of the hospital of the bag's visit, else the default; an hour that the clock skips moves forward.
    """
    rule = study.get("time_zone")
    visits = records.visits.select("visit_occurrence_id", "site").unique("visit_occurrence_id")
    zones = pl.col("site").replace_strict(rule["sites"] or {}, default=rule["default"], return_dtype=pl.String)
    rows = bags.join(visits, on="visit_occurrence_id", how="left").with_columns(zone=zones).drop("site")
    parts = [
        part.with_columns(start_at=_moment("start", zone), end_at=_moment("end", zone))
        for (zone,), part in rows.group_by("zone", maintain_order=True)
    ]
    return pl.concat([rows.clear().with_columns(start_at="start", end_at="end"), *parts])


def _moment(column: str, zone: Any) -> pl.Expr:
    if zone is None:
        return pl.col(column)
    local = pl.col(column).dt.replace_time_zone(str(zone), ambiguous="earliest", non_existent="null")
    skipped = (pl.col(column) + pl.duration(hours=1)).dt.replace_time_zone(
        str(zone), ambiguous="earliest", non_existent="null"
    )
    return pl.coalesce(local, skipped).dt.convert_time_zone("UTC").dt.replace_time_zone(None)


def _clipped(bags: pl.DataFrame, findings: Findings) -> pl.DataFrame:
    """Step 3's cap and step 4: no bag lasts beyond the start of the next one."""
    bags = bags.sort("person_id", "start_at", "drug_exposure_id")
    next_start, next_at = (pl.col(one).shift(-1).over("person_id") for one in ("start", "start_at"))
    over = (pl.col("end_at") > next_at).fill_null(value=False)
    clipped = bags.with_columns(
        over=over,
        end=pl.when(over).then(next_start).otherwise("end"),
        end_at=pl.when(over).then(next_at).otherwise("end_at"),
    )
    clipped = clipped.filter(pl.col("end_at") > pl.col("start_at"))
    findings.count("dq_bag_overlap", clipped.filter(pl.col("over") & ~pl.col("end_imputed")), bags)
    findings.count("dq_bag_end_imputed", clipped.filter("end_imputed"), bags)
    findings.count(
        "dq_bag_hours_default", clipped.filter(pl.col("end_imputed") & pl.col("stated_hours").is_null()), bags
    )
    unseen = clipped.filter(pl.col("end_imputed") & pl.col("stated_hours").is_null() & next_start.is_null())
    findings.count("dq_course_end_unseen", unseen, clipped.unique("person_id"))
    findings.count("dq_time_imputed", clipped.filter("time_imputed"), bags)
    return clipped.select(
        "person_id",
        "drug_exposure_id",
        "visit_occurrence_id",
        "start",
        "end",
        "start_at",
        "end_at",
        "zone",
        "quantity",
        "dose_unit_source_value",
        "sig",
        "grade",
        "time_imputed",
        "end_imputed",
    )
