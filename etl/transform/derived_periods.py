"""Observation periods: the time in which an event of a person would have reached us.

DECISIONS 34 (HL7 f2o-090): over all clinical events of the CDM, cut 60 days after death and at the extraction date; a
gap of 548 days or more opens a new period. Rows that only tell of the past do not count, unless there is nothing else.
"""

from collections.abc import Sequence
from datetime import date

import duckdb

import etl.cdm
from etl.cdm.keys import key_sql
from etl.sql import quote

HISTORY_TYPES: tuple[int, ...] = (32840, 32865)
"""Type concepts of rows that may tell of the past: EHR problem list, patient self-report."""

DAYS_AFTER_DEATH = 60
"""Events are believed until so many days after death, as in DQD's plausibleBeforeDeath."""

_TYPE_COLUMNS = {
    name: next(column.name for column in etl.cdm.TABLES[name].columns if column.name.endswith("_type_concept_id"))
    for name in etl.cdm.EVENT_DATES
}
_VISITS = ("visit_occurrence", "visit_detail")
_TOLD_AFTERWARDS = ("condition_occurrence",)


def derive_observation_periods(
    work: duckdb.DuckDBPyConnection,
    *,
    key: str,
    extraction_date: date | None,
    gap_days: int = 548,
    period_type_concept_id: int = 32882,
    history_types: Sequence[int] = HISTORY_TYPES,
    events: str = "out",
) -> int:
    """Fills out.observation_period anew from the events in schema `events`; gives back the number of periods.

    Periods of a person never overlap or touch: between two lie at least `gap_days` (≥ 2) days. Not counted, as long as
    the person has any other event: rows dated on the day of birth (visits excepted: a newborn is seen) and rows of a
    history type without a visit. Never counted: rows before birth, after `extraction_date`, or more than 60 days after
    death. A death alone makes no period. A condition counts on its first and last day and not in between: nobody
    watched all the years of a chronic disease. `key` is the instance's secret for ids; 32882 is "Standard algorithm
    from EHR".
    """
    if gap_days < 2:
        raise ValueError("gap_days must be at least 2: periods with a smaller gap would touch")
    work.execute("DELETE FROM out.observation_period")
    work.execute(
        _PERIODS.format(
            days_after_death=DAYS_AFTER_DEATH,
            events=" UNION ALL ".join(_events(events, history_types)),
            schema=events,
            id=key_sql(quote(key), "'observation_period'", *_KEY),
            extraction="NULL" if extraction_date is None else quote(extraction_date.isoformat()),
            gap_days=gap_days,
            type=period_type_concept_id,
        )
    )
    counted = work.execute("SELECT count(*) FROM out.observation_period").fetchone()
    return int(counted[0]) if counted else 0


_KEY = ("person_id", "period_start")


def _events(schema: str, history_types: Sequence[int]) -> list[str]:
    """One SELECT per event table: person_id, start_date, end_date, visit (is it one), history (does it tell of one)."""
    selects = []
    told = ", ".join(str(int(one)) for one in history_types)
    for table, (start, end) in etl.cdm.EVENT_DATES.items():
        columns = etl.cdm.TABLES[table].columns
        unseen = "visit_occurrence_id IS NULL" if "visit_occurrence_id" in columns else "TRUE"
        visit = table in _VISITS
        history = "FALSE" if visit else f"coalesce(list_contains([{told}], {_TYPE_COLUMNS[table]}), FALSE) AND {unseen}"
        last = end if end and table not in _TOLD_AFTERWARDS else start
        facts = f"{visit} AS visit, {history} AS history FROM {schema}.{table}"
        selects.append(f"SELECT person_id, {start} AS start_date, coalesce({last}, {start}) AS end_date, {facts}")
        if table in _TOLD_AFTERWARDS:
            selects.append(f"SELECT person_id, {end}, {end}, {facts} WHERE {end} IS NOT NULL")
    return selects


# `bounds`: the days between which a person's events are believed. Birth is 1 January if only its year is known.
# `believed`: events inside the bounds. `telling`: those that count; a person without any keeps all believed ones.
# `days`: each pair of dates once, because two windows may order ties differently.
# `running`: the last day seen before each event; `opened`: whether the event opens a period.
_PERIODS = """
INSERT INTO out.observation_period BY NAME
WITH deaths AS (
    SELECT person_id, min(death_date) AS death_date FROM {schema}.death GROUP BY person_id
), bounds AS (
    SELECT
        person_id,
        coalesce(
            CAST(birth_datetime AS DATE),
            make_date(CAST(year_of_birth AS BIGINT), coalesce(month_of_birth, 1), coalesce(day_of_birth, 1))
        ) AS birth_date,
        least(death_date + {days_after_death}, CAST({extraction} AS DATE)) AS last_date
    FROM {schema}.person LEFT JOIN deaths USING (person_id)
), events AS (
    {events}
), believed AS (
    SELECT
        person_id,
        start_date,
        least(greatest(start_date, end_date), last_date) AS end_date,
        history OR (NOT visit AND start_date = birth_date) AS of_the_past
    FROM events JOIN bounds USING (person_id)
    WHERE start_date >= coalesce(birth_date, start_date) AND start_date <= coalesce(last_date, start_date)
), telling AS (
    SELECT * FROM believed
    QUALIFY NOT of_the_past OR bool_and(of_the_past) OVER (PARTITION BY person_id)
), days AS (
    SELECT DISTINCT person_id, start_date, end_date FROM telling
), running AS (
    SELECT
        *,
        max(end_date) OVER (
            PARTITION BY person_id ORDER BY start_date, end_date ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS seen_until
    FROM days
), opened AS (
    SELECT
        *,
        count(*) FILTER (seen_until IS NULL OR start_date - seen_until >= {gap_days}) OVER (
            PARTITION BY person_id ORDER BY start_date, end_date ROWS UNBOUNDED PRECEDING
        ) AS period_no
    FROM running
), periods AS (
    SELECT person_id, min(start_date) AS period_start, max(end_date) AS period_end
    FROM opened GROUP BY person_id, period_no
)
SELECT
    {id} AS observation_period_id,
    person_id,
    period_start AS observation_period_start_date,
    period_end AS observation_period_end_date,
    {type} AS period_type_concept_id
FROM periods
"""
