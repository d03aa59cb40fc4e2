"""Drugs beside blinatumomab: systemic chemotherapy, also around T-cell draws; TKIs (`tki@1`).

A child of whom no such drug is recorded is not a child without it: 0 is said only where such records are kept.
"""

import polars as pl

from analytics.concept_sets import ConceptSets
from analytics.courses import days_between
from analytics.findings import Findings
from analytics.records import Records
from analytics.study import Study

_START = pl.col("drug_exposure_start_date")


def drug_in(sets: ConceptSets, *names: str) -> pl.Expr:
    """Whether a drug's standard or source concept is in one of these sets."""
    return pl.any_horizontal(sets.within(one, *names) for one in ("drug_concept_id", "drug_source_concept_id"))


def counted_exposures(drugs: pl.DataFrame, records: Records, study: Study) -> pl.DataFrame:
    """Administrations; orders of persons of whom no administration of any drug is known (as for bags, A10)."""
    kinds = study.get("exposure_type")
    is_given = pl.col("drug_type_concept_id").is_in(kinds["administration_type_concept_ids"])
    charted = records.drugs.filter(is_given).select("person_id").unique()
    ordered = drugs.filter(pl.col("drug_type_concept_id").is_in(kinds["order_type_concept_ids"]))
    return pl.concat([drugs.filter(is_given), ordered.join(charted, on="person_id", how="anti")])


def premedication(doses: pl.DataFrame, bags: pl.DataFrame, study: Study) -> pl.DataFrame:
    """drug_exposure_id of the doses that were given shortly before a bag (`steroid_role@1`; `bags`: with start)."""
    hours = study.get("steroid_role.premedication_hours")
    at = pl.coalesce("drug_exposure_start_datetime", _START.cast(pl.Datetime("us")))
    before = (pl.col("start") - at).is_between(pl.duration(), pl.duration(hours=hours))
    near = doses.join(bags.select("person_id", "start"), on="person_id").filter(before)
    return near.select("drug_exposure_id").unique()


def is_systemic_chemotherapy(sets: ConceptSets, study: Study) -> pl.Expr:
    """Whether a drug exposure is CS_CHEMO by another route than the intrathecal one."""
    words = "|".join(study.get("intrathecal_words.words"))
    intrathecal = sets.within("route_concept_id", "CS_ROUTE_INTRATHECAL") | (
        pl.col("route_source_value").str.contains(words).fill_null(value=False)
    )
    return drug_in(sets, "CS_CHEMO") & ~intrathecal


def systemic_chemotherapy(records: Records, sets: ConceptSets, study: Study) -> pl.DataFrame:
    """person_id, chemo_date, drug_exposure_id of every counted systemic chemotherapy, whenever it was given."""
    given = counted_exposures(records.drugs, records, study).filter(is_systemic_chemotherapy(sets, study))
    return given.select("person_id", "drug_exposure_id", chemo_date=_START)


def with_chemotherapy_before(values: pl.DataFrame, chemotherapy: pl.DataFrame, study: Study) -> pl.DataFrame:
    """The results (person_id, date, …) with `days_since_chemo` and `chemo_ids` of `tcell_chemotherapy@1`.

    Days from the last systemic chemotherapy on or before the draw, up to `within_days`; null when none is recorded.
    """
    moments = values.select("person_id", "date").unique()
    near = moments.join(chemotherapy, on="person_id").with_columns(
        since=days_between(pl.col("chemo_date"), pl.col("date"))
    )
    near = near.filter(pl.col("since").is_between(0, study.get("tcell_chemotherapy.within_days")))
    found = near.group_by("person_id", "date").agg(
        days_since_chemo=pl.col("since").min(), chemo_ids=pl.col("drug_exposure_id").sort()
    )
    return values.join(found, on=["person_id", "date"], how="left")


def derive_tki(
    patients: pl.DataFrame, courses: pl.DataFrame, records: Records, sets: ConceptSets, study: Study, findings: Findings
) -> pl.DataFrame:
    """`patients` with `tki` (`tki@1`): 1 with a TKI on record from shortly before the first bag to the last one's end.

    0 only for a child with BCR::ABL1 in a hospital that records TKIs of anybody; null: not recorded, or no BCR::ABL1.
    """
    ends = courses.group_by("person_id").agg(last_end=pl.col("end_date").max())
    recorded = records.drugs.filter(drug_in(sets, "CS_TKI")).join(
        patients.select("person_id", "site", "first_blina_date"), on="person_id"
    )
    supplied = _START + pl.duration(days=pl.col("days_supply").fill_null(1).clip(1) - 1)
    until = pl.max_horizontal(_START, "drug_exposure_end_date", supplied)
    first = pl.col("first_blina_date") + pl.duration(days=study.get("tki.first_day"))
    beside = recorded.join(ends, on="person_id").filter(pl.col("last_end") >= _START, until >= first)
    given = pl.col("drug_type_concept_id").is_in(study.get("exposure_type.administration_type_concept_ids"))
    found = beside.group_by("person_id").agg(
        tki_ids=pl.col("drug_exposure_id").sort(),
        tki_grade=pl.when(given.any()).then(pl.lit("A")).otherwise(pl.lit("B")),
    )
    patients = patients.join(found, on="person_id", how="left")
    findings.evidence(
        patients.filter(pl.col("tki_ids").is_not_null()),
        table="study_patient",
        field="tki",
        rule=study.rule("tki"),
        grade=pl.col("tki_grade"),
        source_table="drug_exposure",
        source_id="tki_ids",
    )
    keeps_records = pl.col("site").is_in(recorded["site"].drop_nulls().unique().implode()).fill_null(value=False)
    is_without = keeps_records & (pl.col("bcr_abl1") == 1)
    patients = patients.with_columns(
        tki=pl.when(pl.col("tki_ids").is_not_null()).then(1).when(is_without).then(0).cast(pl.Int8)
    )
    ph_positive = patients.filter(pl.col("bcr_abl1") == 1)
    findings.count("dq_tki_not_recorded", ph_positive.filter(pl.col("tki").is_null()), ph_positive)
    return patients.drop("tki_ids", "tki_grade")


def with_chemotherapy_recorded(patients: pl.DataFrame, chemotherapy: pl.DataFrame, findings: Findings) -> pl.DataFrame:
    """`patients` with `chemo_recorded`: 1 if any systemic chemotherapy of the child stands in the CDM, else 0.

    Says what the records hold, not what the child was given: nearly every child of this study had chemotherapy.
    """
    known = pl.col("person_id").is_in(chemotherapy["person_id"].unique().implode())
    patients = patients.with_columns(chemo_recorded=known.cast(pl.Int8))
    findings.count("dq_chemotherapy_not_recorded", patients.filter(pl.col("chemo_recorded") == 0), patients)
    return patients
