"""Observation periods by hand-made persons, and what must hold of the periods of any person."""

from collections.abc import Iterator
from datetime import date, timedelta
from itertools import pairwise

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.store import create_work_schema
from etl.transform.derived import derive_observation_periods

START = date(2020, 1, 1)
EXTRACTION = date(2025, 1, 31)
Event = tuple[str, date, date | None]
Period = tuple[date, date]


def day(number: int) -> date:
    return START + timedelta(days=number)


class People:
    """A work database with persons, to which events are added by short words."""

    def __init__(self) -> None:
        self.work = duckdb.connect()
        create_work_schema(self.work)
        self._row = 0

    def person(self, person_id: int = 1, birth: date | None = date(2010, 5, 5), death: date | None = None) -> None:
        parts = (birth.year, birth.month, birth.day) if birth else (2010, None, None)
        self.work.execute(
            "INSERT INTO out.person (person_id, year_of_birth, month_of_birth, day_of_birth) VALUES (?, ?, ?, ?)",
            [person_id, *parts],
        )
        if death:
            self.work.execute("INSERT INTO out.death (person_id, death_date) VALUES (?, ?)", [person_id, death])

    def _add(self, table: str, **values: object) -> None:
        self._row += 1
        columns = {f"{table}_id": self._row, "person_id": 1} | values
        names, marks = ", ".join(columns), ", ".join("?" for _ in columns)
        self.work.execute(f"INSERT INTO out.{table} ({names}) VALUES ({marks})", list(columns.values()))

    def visit(self, start: date, end: date | None = None, **values: object) -> None:
        self._add("visit_occurrence", visit_start_date=start, visit_end_date=end or start, **values)

    def measurement(self, on: date, **values: object) -> None:
        self._add("measurement", measurement_date=on, **values)

    def drug(self, start: date, end: date | None) -> None:
        self._add("drug_exposure", drug_exposure_start_date=start, drug_exposure_end_date=end)

    def condition(self, start: date, end: date | None = None, **values: object) -> None:
        self._add("condition_occurrence", condition_start_date=start, condition_end_date=end, **values)

    def periods(self, extraction_date: date | None = EXTRACTION, gap_days: int = 548) -> list[Period]:
        derive_observation_periods(self.work, key="k", extraction_date=extraction_date, gap_days=gap_days)
        return self.work.execute(
            "SELECT observation_period_start_date, observation_period_end_date FROM out.observation_period"
            " ORDER BY person_id, 1"
        ).fetchall()


@pytest.fixture
def people() -> Iterator[People]:
    made = People()
    yield made
    made.work.close()


def test_one_period_over_all_kinds_of_events(people: People) -> None:
    people.person()
    people.visit(day(10), day(12))
    people.measurement(day(3))
    people.drug(day(40), day(70))
    assert people.periods() == [(day(3), day(70))]


def test_a_gap_of_547_days_does_not_end_a_period(people: People) -> None:
    people.person()
    people.visit(day(0))
    people.visit(day(547))
    assert people.periods() == [(day(0), day(547))]


def test_a_gap_of_548_days_opens_a_new_period(people: People) -> None:
    people.person()
    people.visit(day(0))
    people.visit(day(548))
    assert people.periods() == [(day(0), day(0)), (day(548), day(548))]


def test_the_gap_counts_from_the_last_day_seen_and_not_from_the_last_event(people: People) -> None:
    people.person()
    people.visit(day(0), day(900))
    people.visit(day(10), day(20))
    people.visit(day(1000))
    assert people.periods() == [(day(0), day(1000))]


def test_events_are_believed_until_60_days_after_death(people: People) -> None:
    people.person(death=day(100))
    people.visit(day(0))
    people.measurement(day(160))
    assert people.periods() == [(day(0), day(160))]


def test_events_later_than_60_days_after_death_are_not(people: People) -> None:
    people.person(death=day(100))
    people.visit(day(0))
    people.measurement(day(161))
    assert people.periods() == [(day(0), day(0))]


def test_a_period_is_cut_60_days_after_death_and_at_the_extraction(people: People) -> None:
    people.person(1, death=day(100))
    people.visit(day(0), day(400))
    people.person(2)
    people.visit(day(1800), day(2000), person_id=2)
    people.visit(EXTRACTION + timedelta(days=1), person_id=2)
    assert people.periods() == [(day(0), day(160)), (day(1800), EXTRACTION)]


def test_without_an_extraction_date_nothing_is_cut(people: People) -> None:
    people.person()
    people.visit(day(1800), day(3000))
    assert people.periods(extraction_date=None) == [(day(1800), day(3000))]


def test_two_rows_of_death_count_once_and_the_first_one_cuts(people: People) -> None:
    people.person(death=day(100))
    people.work.execute("INSERT INTO out.death (person_id, death_date) VALUES (1, ?)", [day(90)])
    people.visit(day(0), day(400))
    assert people.periods() == [(day(0), day(150))]


def test_a_death_alone_makes_no_period(people: People) -> None:
    people.person(death=day(100))
    assert people.periods() == []


def test_rows_dated_at_birth_open_no_period_but_a_visit_at_birth_does(people: People) -> None:
    people.person(1, birth=date(2015, 3, 1))
    people.condition(date(2015, 3, 1))
    people.visit(day(0))
    people.person(2, birth=day(5))
    people.visit(day(5), person_id=2)
    people.measurement(day(9), person_id=2)
    assert people.periods() == [(day(0), day(0)), (day(5), day(9))]


def test_rows_before_birth_never_count(people: People) -> None:
    people.person(birth=day(0))
    people.measurement(day(-1))
    assert people.periods() == []


def test_problem_list_entries_without_a_visit_open_no_period_and_those_of_a_visit_do(people: People) -> None:
    people.person()
    people.condition(date(2012, 1, 1), condition_type_concept_id=32840)
    people.condition(day(0), condition_type_concept_id=32840, visit_occurrence_id=7)
    people.visit(day(3))
    assert people.periods() == [(day(0), day(3))]


def test_a_person_with_nothing_but_history_still_has_a_period(people: People) -> None:
    people.person(birth=day(0))
    people.measurement(day(0))
    people.condition(day(20), condition_type_concept_id=32840)
    assert people.periods() == [(day(0), day(20))]


def test_the_years_of_a_chronic_condition_are_not_observed(people: People) -> None:
    people.person()
    people.condition(day(0), day(1500))
    assert people.periods() == [(day(0), day(0)), (day(1500), day(1500))]


def test_an_end_before_the_start_and_a_missing_end_mean_the_start(people: People) -> None:
    people.person()
    people.visit(day(5), day(2))
    people.drug(day(9), None)
    assert people.periods() == [(day(5), day(9))]


def test_birth_known_by_its_year_only_begins_in_january(people: People) -> None:
    people.person(birth=None)
    people.measurement(date(2010, 2, 1))
    people.measurement(date(2009, 12, 31))
    assert people.periods() == [(date(2010, 2, 1), date(2010, 2, 1))]


def test_a_gap_that_would_let_periods_touch_is_refused(people: People) -> None:
    with pytest.raises(ValueError, match="gap_days"):
        people.periods(gap_days=1)


def test_keys_are_stable_positive_and_depend_on_the_secret(people: People) -> None:
    people.person()
    people.visit(day(0))
    people.periods()
    keys = []
    for secret in ("k", "k", "other"):
        derive_observation_periods(people.work, key=secret, extraction_date=None)
        row = people.work.execute("SELECT observation_period_id FROM out.observation_period").fetchone()
        assert row is not None
        keys.append(row[0])
    assert keys[0] == keys[1] != keys[2]
    assert all(0 < key < 2**63 for key in keys)


events = st.lists(st.tuples(st.integers(-30, 2500), st.integers(-5, 400)), max_size=12)


@settings(max_examples=60, deadline=None)
@given(events, st.integers(2, 60), st.one_of(st.none(), st.integers(0, 2500)))
def test_periods_never_overlap_or_touch_and_hold_every_event_that_counts(
    spans: list[tuple[int, int]], gap_days: int, death: int | None
) -> None:
    people = People()
    people.person(birth=day(-10), death=None if death is None else day(death))
    for start, length in spans:
        people.visit(day(start), day(start + length))
    periods = people.periods(gap_days=gap_days)
    last = min(EXTRACTION, EXTRACTION if death is None else day(death + 60))
    for (_, end), (start, _) in pairwise(periods):
        assert (start - end).days >= gap_days
    assert all(day(-10) <= start <= end <= last for start, end in periods)
    for start, _ in spans:
        held = any(begin <= day(start) <= end for begin, end in periods)
        assert held == (day(-10) <= day(start) <= last)
    people.work.close()
