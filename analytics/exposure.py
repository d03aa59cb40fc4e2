"""Bags: one row per administered blinatumomab bag with a start and an end (`course@1`, steps 1 to 4).

A bag without a recorded end lasts the hours that its text states, else `bag_hours.default`, and never beyond the next
bag's start. Orders are used only for persons without any administration (A10).
"""

from datetime import time

import polars as pl

from analytics.concept_sets import ConceptSets
from analytics.findings import Findings
from analytics.records import Records
from analytics.study import Study

HOUR = 3_600_000_000
"""Microseconds of an hour."""


def derive_bags(records: Records, sets: ConceptSets, study: Study, findings: Findings) -> pl.DataFrame:
    """The bags in order of time, overlaps clipped.

    Columns: person_id, drug_exposure_id, visit_occurrence_id, start, end (naive local datetimes), quantity,
    dose_unit_source_value, sig, grade (A administration, B order), time_imputed, end_imputed.
    """
    rows = records.drugs.filter(_is_blinatumomab(sets))
    if records.lock is not None:
        rows = rows.filter(pl.col("drug_exposure_start_date") <= records.lock)
    bags = _timed(_one_per_bag(_evidence_level(rows, study, findings), findings), study)
    return _clipped(bags, findings)


def blinatumomab_orders(records: Records, sets: ConceptSets, study: Study) -> pl.DataFrame:
    """The drug_exposure rows that order blinatumomab."""
    types = study.get("exposure_type.order_type_concept_ids")
    return records.drugs.filter(_is_blinatumomab(sets), pl.col("drug_type_concept_id").is_in(types))


def _is_blinatumomab(sets: ConceptSets) -> pl.Expr:
    return sets.within("drug_concept_id", "CS_BLINATUMOMAB") | sets.within("drug_source_concept_id", "CS_BLINATUMOMAB")


def _evidence_level(rows: pl.DataFrame, study: Study, findings: Findings) -> pl.DataFrame:
    given = rows.filter(
        pl.col("drug_type_concept_id").is_in(study.get("exposure_type.administration_type_concept_ids"))
    )
    ordered = rows.filter(pl.col("drug_type_concept_id").is_in(study.get("exposure_type.order_type_concept_ids")))
    only_ordered = ordered.join(given, on="person_id", how="anti")
    findings.count("dq_exposure_low_evidence", only_ordered.unique("person_id"), rows.unique("person_id"))
    return pl.concat([given.with_columns(grade=pl.lit("A")), only_ordered.with_columns(grade=pl.lit("B"))])


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
    recorded = pl.coalesce("drug_exposure_end_datetime", pl.col("drug_exposure_end_date").dt.combine(noon))
    timed = rows.with_columns(
        start=start,
        recorded=recorded,
        time_imputed=pl.col("drug_exposure_start_datetime").is_null(),
        stated_hours=stated_hours(study),
    ).with_columns(end_imputed=(pl.col("recorded") <= pl.col("start")).fill_null(value=True))
    hours = pl.col("stated_hours").fill_null(float(study.get("bag_hours.default")))
    imputed = pl.col("start") + pl.duration(microseconds=(hours * HOUR).round().cast(pl.Int64))
    return timed.with_columns(end=pl.when("end_imputed").then(imputed).otherwise("recorded"))


def stated_hours(study: Study) -> pl.Expr:
    """Hours of a bag that its `sig` states (not the hours of a rate), null when it states none or too many."""
    rateless = pl.col("sig").str.replace_all(study.get("dose_convert.rate_pattern"), " ")
    found = [rateless.str.extract(pattern, 1).cast(pl.Float64) for pattern in study.get("bag_hours.patterns")]
    hours = pl.coalesce(found)
    return pl.when(hours.is_between(0, study.get("bag_hours.longest"), closed="right")).then(hours)


def _clipped(bags: pl.DataFrame, findings: Findings) -> pl.DataFrame:
    """Step 3's cap and step 4: no bag lasts beyond the start of the next one."""
    bags = bags.sort("person_id", "start", "drug_exposure_id")
    next_start = pl.col("start").shift(-1).over("person_id")
    over = (pl.col("end") > next_start).fill_null(value=False)
    clipped = bags.with_columns(over=over, end=pl.when(over).then(next_start).otherwise("end"))
    clipped = clipped.filter(pl.col("end") > pl.col("start"))
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
        "quantity",
        "dose_unit_source_value",
        "sig",
        "grade",
        "time_imputed",
        "end_imputed",
    )
