"""Realities that change no value but must be seen (REALITIES.md R12, R23, R38, R39, R41): counted, left alone."""

import polars as pl

from analytics.concept_sets import ConceptSets
from analytics.courses import days_between
from analytics.disease import condition_in
from analytics.findings import Findings
from analytics.records import Records
from analytics.study import Study


def count_realities(
    patients: pl.DataFrame, bags: pl.DataFrame, records: Records, sets: ConceptSets, study: Study, findings: Findings
) -> None:
    """Counts among the FAS; `patients` has person_id and last_contact_date, `bags` start and end."""
    persons = patients.select("person_id", "last_contact_date")
    drugs = records.drugs.join(persons, on="person_id")
    unmapped = drugs.filter(pl.col("drug_concept_id").fill_null(0) == 0)
    findings.count("dq_drug_unmapped", unmapped, drugs)
    ordered = drugs.filter(
        pl.col("drug_type_concept_id").is_in(study.get("exposure_type.order_type_concept_ids")),
    )
    later = ordered.filter(pl.col("drug_exposure_start_date") > pl.col("last_contact_date"))
    findings.count("dq_nonclinical_after_contact", later, ordered)
    sampled = records.measurements.join(persons, on="person_id").filter(pl.col("specimen_date").is_not_null())
    findings.count("dq_report_date_used", sampled.filter(pl.col("measurement_date") > pl.col("specimen_date")), sampled)
    findings.count("dq_sample_date_used", sampled.filter(pl.col("report_date") > pl.col("specimen_date")), sampled)
    unzoned = records.precision.filter(pl.col("table_name") == "drug_exposure", pl.col("precision") == "no zone")
    assumed = pl.col("drug_exposure_id").is_in(unzoned["row_id"].implode())
    findings.count("dq_zone_assumed", drugs.filter(assumed), drugs)
    _seizures(persons, bags, records, sets, study, findings)


def _seizures(
    persons: pl.DataFrame, bags: pl.DataFrame, records: Records, sets: ConceptSets, study: Study, findings: Findings
) -> None:
    """R41: a seizure within days of a bag without an ICANS record beside it; a physician must look at it."""
    rule = study.get("seizure")
    words = pl.col("condition_source_value").str.contains("|".join(rule["words"])).fill_null(value=False)
    seizures = records.conditions.filter(condition_in(sets, "CS_SEIZURE") | words).join(persons, on="person_id")
    date = pl.col("condition_start_date")
    near = seizures.join(bags.select("person_id", "start", "end"), on="person_id").filter(
        date >= pl.col("start").dt.date(), days_between(pl.col("end").dt.date(), date) <= rule["days_after_bag"]
    )
    near = near.unique("condition_occurrence_id", maintain_order=True)
    icans = records.conditions.filter(condition_in(sets, "CS_ICANS")).select("person_id", icans_date=date)
    classified = near.join(icans, on="person_id").filter(
        days_between(pl.col("icans_date"), date).abs() <= rule["icans_days"]
    )
    findings.count("dq_seizure_unclassified", near.join(classified, on="condition_occurrence_id", how="anti"), seizures)
