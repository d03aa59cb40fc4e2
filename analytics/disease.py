"""What is recorded about the disease: diagnosis, relapse, refractory disease, remission, second malignancy.

A code that hospitals chart by default (C91.01, "in remission") never says anything about a state (REALITIES.md R36).
"""

import polars as pl

from analytics.concept_sets import ConceptSets
from analytics.findings import Findings
from analytics.records import CONDITION_FIELD, Records
from analytics.study import Study

_CONDITIONS = {
    "CS_BALL_RELAPSE": "relapse",
    "CS_BALL_REFRACTORY": "refractory",
    "CS_BALL_REMISSION": "remission",
    "CS_EXTRAMEDULLARY": "extramedullary",
    "CS_SECOND_MALIGNANCY": "second_malignancy",
}
_STATUSES = {
    "CS_STATUS_RELAPSE": "relapse",
    "CS_STATUS_REFRACTORY": "refractory",
    "CS_STATUS_REMISSION": "remission",
}
_COLUMNS = ("person_id", "event", "date", "grade", "source_table", "source_id")


def condition_in(sets: ConceptSets, *names: str) -> pl.Expr:
    """Whether a condition's standard or source concept is in one of these sets."""
    columns = ("condition_concept_id", "condition_source_concept_id")
    return pl.any_horizontal(sets.within(column, *names) for column in columns)


def derive_disease_events(records: Records, sets: ConceptSets, study: Study, findings: Findings) -> pl.DataFrame:
    """person_id, event, date, grade (A coded, C read from words), source_table, source_id; in order of time."""
    conditions = records.conditions
    if records.lock is not None:
        conditions = conditions.filter(pl.col("condition_start_date") <= records.lock)
    # By its words too: the loaded vocabulary may lack the code, and the row then has no source concept.
    codes = study.members.filter(pl.col("concept_set") == "CS_BALL_DEFAULT_REMISSION")["concept_code"].to_list()
    written = pl.col("condition_source_value").is_in(codes).fill_null(value=False)
    default = condition_in(sets, "CS_BALL_DEFAULT_REMISSION") | written
    findings.count("dq_default_remission_code", conditions.filter(default), conditions)
    coded = pl.col("condition_source_value").str.contains(study.get("indication.coded_pattern"))
    recorded = [
        conditions.filter(
            condition_in(sets, name) & ~(default if event == "remission" else pl.lit(value=False))
        ).select(
            "person_id",
            event=pl.lit(event),
            date="condition_start_date",
            grade=pl.when(coded.fill_null(value=True)).then(pl.lit("A")).otherwise(pl.lit("C")),
            source_table=pl.lit("condition_occurrence"),
            source_id="condition_occurrence_id",
        )
        for name, event in _CONDITIONS.items()
    ]
    events = pl.concat([*recorded, _statuses(records, sets)]).select(_COLUMNS)
    from_text = events.filter((pl.col("event") == "relapse") & (pl.col("grade") == "C"))
    findings.count("dq_relapse_from_text", from_text, events.filter(pl.col("event") == "relapse"))
    return events.sort("person_id", "date", "event", "grade", "source_table", "source_id")


def _statuses(records: Records, sets: ConceptSets) -> pl.DataFrame:
    rows = records.observations.filter(sets.within("observation_concept_id", "CS_DISEASE_STATUS"))
    if records.lock is not None:
        rows = rows.filter(pl.col("observation_date") <= records.lock)
    event = sets.choose("value_as_concept_id", _STATUSES).cast(pl.String)
    return (
        rows.with_columns(event=event)
        .filter(pl.col("event").is_not_null())
        .select(
            "person_id",
            "event",
            date="observation_date",
            grade=pl.lit("A"),
            source_table=pl.lit("observation"),
            source_id="observation_id",
        )
    )


def derive_diagnoses(records: Records, sets: ConceptSets) -> pl.DataFrame:
    """person_id, first_ball_date (any B-ALL record), diagnosis_date (the first that is no relapse; else null, A06)."""
    of_relapse = records.observations.filter(
        sets.within("observation_concept_id", "CS_DISEASE_STATUS"),
        sets.within("value_as_concept_id", "CS_STATUS_RELAPSE", "CS_STATUS_REFRACTORY"),
        pl.col("obs_event_field_concept_id") == CONDITION_FIELD,
    )["observation_event_id"]
    is_relapse = condition_in(sets, "CS_BALL_RELAPSE", "CS_BALL_REFRACTORY") | pl.col("condition_occurrence_id").is_in(
        of_relapse.implode()
    )
    rows = records.conditions.filter(condition_in(sets, "CS_BALL")).with_columns(is_relapse=is_relapse)
    day = pl.col("condition_start_date")
    return (
        rows.sort("condition_start_date", "condition_occurrence_id")
        .group_by("person_id")
        .agg(
            first_ball_date=day.first(),
            diagnosis_date=day.filter(~pl.col("is_relapse")).first(),
            diagnosis_id=pl.col("condition_occurrence_id").filter(~pl.col("is_relapse")).first(),
        )
    )
