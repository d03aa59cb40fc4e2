"""Condition eras and drug eras: events that follow each other within 30 days, merged.

Definition and treatment of missing ends as in OHDSI's reference scripts for the CDM 5.4 (CommonDataModel, "CDM Derived
Elements"; DECISIONS 47): an era goes on while the next event starts at most 30 days after the last day so far. Dose
eras are off.
"""

import duckdb

from etl.cdm.keys import key_sql
from etl.sql import quote

PERSISTENCE_DAYS = 30
"""The gap, in days, that does not end an era."""


def derive_condition_eras(
    work: duckdb.DuckDBPyConnection, *, key: str, persistence_days: int = PERSISTENCE_DAYS, events: str = "out"
) -> int:
    """Fills out.condition_era anew from condition_occurrence of schema `events`; gives back the number of eras.

    Conditions without a standard concept (0) have no era. A condition without an end lasts until the next day.
    """
    return _derive(work, "condition_era", _CONDITION_ERAS, key, persistence_days, events)


def derive_drug_eras(
    work: duckdb.DuckDBPyConnection, *, key: str, persistence_days: int = PERSISTENCE_DAYS, events: str = "out"
) -> int:
    """Fills out.drug_era anew from drug_exposure of schema `events`; gives back the number of eras.

    Eras are those of ingredients: the standard concepts of class Ingredient that vocab.concept_ancestor places above
    the drug, and the drug itself when it is one. A drug without an ingredient has no era. `gap_days` is the number of
    days of the era in which no exposure ran.
    """
    return _derive(work, "drug_era", _DRUG_ERAS, key, persistence_days, events)


def _derive(
    work: duckdb.DuckDBPyConnection, table: str, insert: str, key: str, persistence_days: int, events: str
) -> int:
    era_id = key_sql(quote(key), f"'{table}'", "person_id", "concept_id", "era_start")
    work.execute(f"DELETE FROM out.{table}")
    work.execute(insert.format(eras=_ERAS.format(days=int(persistence_days)), id=era_id, schema=events))
    counted = work.execute(f"SELECT count(*) FROM out.{table}").fetchone()
    return int(counted[0]) if counted else 0


# From `events` (person_id, concept_id, start_date, end_date) to `eras`. `covered_until` is the last day of all earlier
# events of the person and concept, not of the previous one only: a short event inside a long one ends nothing. Equal
# events are one with a count, because two windows may order ties differently.
_ERAS = """
    distinct_events AS (
        SELECT person_id, concept_id, start_date, end_date, count(*) AS n FROM events GROUP BY ALL
    ), running AS (
        SELECT
            *,
            max(end_date) OVER (
                PARTITION BY person_id, concept_id ORDER BY start_date, end_date
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS covered_until
        FROM distinct_events
    ), opened AS (
        SELECT
            *,
            covered_until IS NULL OR start_date - covered_until > {days} AS opens,
            count(*) FILTER (covered_until IS NULL OR start_date - covered_until > {days}) OVER (
                PARTITION BY person_id, concept_id ORDER BY start_date, end_date ROWS UNBOUNDED PRECEDING
            ) AS era_no
        FROM running
    ), eras AS (
        SELECT
            person_id,
            concept_id,
            min(start_date) AS era_start,
            max(end_date) AS era_end,
            sum(n) AS events,
            coalesce(sum(start_date - covered_until) FILTER (NOT opens AND start_date > covered_until), 0) AS gap_days
        FROM opened GROUP BY person_id, concept_id, era_no
    )
"""

_CONDITION_ERAS = """
INSERT INTO out.condition_era BY NAME
WITH events AS (
    SELECT
        person_id,
        condition_concept_id AS concept_id,
        condition_start_date AS start_date,
        greatest(condition_start_date, coalesce(condition_end_date, condition_start_date + 1)) AS end_date
    FROM {schema}.condition_occurrence
    WHERE condition_concept_id <> 0
), {eras}
SELECT
    {id} AS condition_era_id,
    person_id,
    concept_id AS condition_concept_id,
    era_start AS condition_era_start_date,
    era_end AS condition_era_end_date,
    events AS condition_occurrence_count
FROM eras
"""

_DRUG_ERAS = """
INSERT INTO out.drug_era BY NAME
WITH drugs AS (
    SELECT DISTINCT drug_concept_id FROM {schema}.drug_exposure WHERE drug_concept_id <> 0
), ingredients AS (
    SELECT concept_id FROM vocab.concept
    WHERE concept_class_id = 'Ingredient' AND standard_concept = 'S' AND domain_id = 'Drug'
), ingredients_of AS (
    SELECT drug_concept_id, ancestor_concept_id AS concept_id
    FROM drugs JOIN vocab.concept_ancestor ON descendant_concept_id = drug_concept_id
    SEMI JOIN ingredients ON ingredients.concept_id = ancestor_concept_id
    UNION
    SELECT drug_concept_id, drug_concept_id FROM drugs SEMI JOIN ingredients ON concept_id = drug_concept_id
), events AS (
    SELECT
        person_id,
        concept_id,
        drug_exposure_start_date AS start_date,
        greatest(
            drug_exposure_start_date,
            coalesce(drug_exposure_end_date, drug_exposure_start_date + coalesce(nullif(days_supply, 0), 1))
        ) AS end_date
    FROM {schema}.drug_exposure JOIN ingredients_of USING (drug_concept_id)
), {eras}
SELECT
    {id} AS drug_era_id,
    person_id,
    concept_id AS drug_concept_id,
    era_start AS drug_era_start_date,
    era_end AS drug_era_end_date,
    events AS drug_exposure_count,
    gap_days
FROM eras
"""
