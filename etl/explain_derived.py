"""Rows that no resource gives but other rows do: eras, observation periods, episodes; how, and from which rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb

import etl.cdm

_SHOWN = 20


@dataclass(frozen=True)
class Derivation:
    """How a table is derived, in words, and the SQL (on `$row` values) of the rows that a row stands on.

    `source` gives table_name and row_id; NULL when there is nothing to look up.
    """

    words: str
    source: str | None = None


def _period_rows() -> str:
    parts = []
    for table, (start, _) in etl.cdm.EVENT_DATES.items():
        parts.append(
            f"SELECT '{table}' AS table_name, {etl.cdm.ROW_KEYS[table]} AS row_id FROM cdm.{table} "
            f"WHERE person_id = $person_id AND {start} "
            "BETWEEN $observation_period_start_date AND $observation_period_end_date"
        )
    return " UNION ALL ".join(parts)


DERIVED: dict[str, Derivation] = {
    "observation_period": Derivation(
        "spans the person's clinical events, cut 60 days after death and at the day until which the data reaches; a "
        "gap of 548 days or more opens a new period (DECISIONS 34, f2o-090; etl/transform/derived_periods.py)",
        _period_rows(),
    ),
    "condition_era": Derivation(
        "merges the person's rows of this standard concept while the next starts at most 30 days after the last day so "
        "far; a condition without an end lasts until the next day (OHDSI derived elements; "
        "etl/transform/derived_eras.py)",
        """SELECT 'condition_occurrence' AS table_name, condition_occurrence_id AS row_id FROM cdm.condition_occurrence
           WHERE person_id = $person_id AND condition_concept_id = $condition_concept_id
             AND condition_start_date BETWEEN $condition_era_start_date AND $condition_era_end_date""",
    ),
    "drug_era": Derivation(
        "merges the person's drugs that contain this ingredient (concept_ancestor) while the next starts at most 30 "
        "days after the last day so far (OHDSI derived elements; etl/transform/derived_eras.py)",
        """SELECT 'drug_exposure' AS table_name, drug_exposure_id AS row_id FROM cdm.drug_exposure
           WHERE person_id = $person_id AND drug_exposure_start_date
                   BETWEEN $drug_era_start_date AND $drug_era_end_date
             AND (drug_concept_id = $drug_concept_id OR drug_concept_id IN (
               SELECT descendant_concept_id FROM cdm.concept_ancestor WHERE ancestor_concept_id = $drug_concept_id))""",
    ),
    "dose_era": Derivation("is not filled: doses are not merged"),
    "episode": Derivation(
        "was written by the study from the rows below (episode_event), not by the build; a course of treatment has the "
        "regimen as its parent (study protocol, section 6; analytics/episodes.py)",
        """SELECT coalesce(f.concept_name, 'event') AS table_name, e.event_id AS row_id FROM cdm.episode_event e
           LEFT JOIN cdm.concept f ON f.concept_id = e.episode_event_field_concept_id
           WHERE e.episode_id = $episode_id""",
    ),
    "cohort_definition": Derivation("was written by the study: one of its populations (analytics/episodes.py)"),
}
"""The tables that are derived, by name."""


def explain_derived(connection: duckdb.DuckDBPyConnection, table: str, row: dict[str, Any]) -> Iterator[str]:
    """The lines that say how a derived row came about and on which rows it stands (ids only)."""
    derivation = DERIVED[table]
    yield f"derived: {table} {derivation.words}"
    if derivation.source is None:
        return
    used = {name: value for name, value in row.items() if f"${name}" in derivation.source}
    found = connection.execute(f"SELECT * FROM ({derivation.source}) ORDER BY ALL", used).fetchall()
    by_table: dict[str, list[int]] = {}
    for name, number in found:
        by_table.setdefault(name, []).append(number)
    yield "from"
    for name, numbers in by_table.items():
        more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
        yield f"  {name}, {len(numbers)} rows: {', '.join(map(str, numbers[:_SHOWN]))}{more}"
    if not by_table:
        yield "  no rows that are still there"
    yield f"`blina explain {next(iter(by_table), 'TABLE')} ID` goes on from there"
