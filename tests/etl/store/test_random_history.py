"""Whatever a hospital sends, in whatever portions: the database equals a build of everything at once."""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import hypothesis
import pytest
from databases import Database
from history import RACES, History, full_url
from hypothesis import strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import etl.cdm
from etl.landing import Source
from etl.pipeline import build
from etl.settings import Settings

LOCK = date(2025, 1, 1)
PORTIONS = (700, 620, 30, 5, 200, 45, 400)  # 2,000 changes: large and small nights
_MINE = [name for name in etl.cdm.TABLES if name not in etl.cdm.VOCABULARY_TABLES]
_ROWS = """
    SELECT r.site, r.resource_type, r.fhir_id, l.rule, c.table_name, c.row_id FROM lineage.cdm_row c
    JOIN lineage.resource r ON r.resource_no = c.resource_no JOIN lineage.rule l ON l.rule_id = c.rule_id
"""
_WEIGHTS = """
    SELECT r.fhir_id, m.value_as_number FROM cdm.measurement m
    JOIN lineage.cdm_row c ON c.table_name = 'measurement' AND c.row_id = m.measurement_id
    JOIN lineage.resource r ON r.resource_no = c.resource_no
"""
_RACE_DAYS = "SELECT DISTINCT observation_date FROM cdm.observation WHERE observation_concept_id = 3046853"


class Nights:
    """A hospital's nights, and the database that they build."""

    def __init__(self, folder: Path, database: Database, **more: Any) -> None:
        self.folder = folder
        self.database = database
        self.sources: list[Source] = []
        self.computed: list[str] = []
        landed = folder / "instance" if database.kind != "duckdb" else None
        self.more = more
        self.settings = Settings(key="k", data_lock=LOCK, landed=landed, **more)

    def sends(self, entries: Sequence[dict[str, Any]], site: str = "S") -> dict[tuple[str, ...], int]:
        """Builds one night's portion onto the others; gives back the fate of everything so far."""
        night = self.folder / f"night{len(self.sources):03d}"
        night.mkdir()
        (night / "export.json").write_text(json.dumps({"resourceType": "Bundle", "type": "batch", "entry": entries}))
        self.sources.append(Source(site, night))
        report = build(self.sources[-1:], database=self.database.url, settings=self.settings)
        self.computed.append(report.computed)
        return {tuple(row[:-1]): row[-1] for row in report.counts.iter_rows()}

    def built_at_once(self, name: str) -> tuple[Database, dict[tuple[str, ...], int]]:
        """Another database, built from all portions in one run."""
        whole = Database(f"duckdb:///{self.folder / name}.duckdb")
        settings = Settings(key="k", data_lock=LOCK, **self.more)
        report = build(self.sources, database=whole.url, settings=settings)
        return whole, {tuple(row[:-1]): row[-1] for row in report.counts.iter_rows()}


def rows(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the CDM, and of what lineage says of them; numbers that depend on the run left out."""
    with database.reading() as ask:
        found = {name: ask(f"SELECT * FROM cdm.{name}") for name in _MINE if name != "cdm_source"}
        found["lineage of rows"] = ask(_ROWS)
        for name, columns in (("identifier", "*"), ("row_of", "*"), ("person_source", "*")):
            found[name] = ask(f"SELECT {columns} FROM lineage.{name}")
        found["unmapped"] = ask("SELECT site, resource_type, element, source_code, sum(n)::BIGINT FROM lineage.unmapped"
                                " GROUP BY site, resource_type, element, source_code")  # fmt: skip
        found["reference"] = ask("SELECT resource_key, element, to_type, to_key, text_key, text FROM lineage.reference")
    return {name: sorted(map(_plain, of), key=repr) for name, of in found.items()}


def _plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(float(value) if isinstance(value, int | float) else value for value in row)


@pytest.fixture(params=["duckdb", "postgres"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """An empty database of each kind."""
    if request.param == "postgres":
        found: Database = request.getfixturevalue("postgres")
        return found
    return Database(f"duckdb:///{tmp_path / 'nights.duckdb'}")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_thousand_changes_in_portions_equal_one_build(empty: Database, tmp_path: Path) -> None:
    history, nights = History(20261128), Nights(tmp_path, empty)
    for portion in PORTIONS:
        fates = nights.sends(history.changes(portion))
    assert nights.computed.count("changes") >= 4
    whole, fates_at_once = nights.built_at_once("whole")
    assert rows(empty) == rows(whole)
    assert fates == fates_at_once
    standing = dict(empty.read(_WEIGHTS))
    expected = history.expected_weights()
    assert len(expected) > 8
    assert {one: standing.get(one) for one in expected} == expected


class Hospital(RuleBasedStateMachine):
    """Portions of any size of a history from any seed; after each the increments equal a build at once."""

    folder: Path

    @initialize(seed=strategies.integers(0, 10**6))
    def begin(self, seed: int) -> None:
        place = self.folder / f"hospital{len(list(self.folder.iterdir())):03d}"
        place.mkdir()
        self.history = History(seed)
        self.nights = Nights(place, Database(f"duckdb:///{place / 'nights.duckdb'}"))
        self.sends(120)

    @rule(size=strategies.integers(1, 60))
    def sends(self, size: int) -> None:
        self.fates = self.nights.sends(self.history.changes(size))

    @invariant()
    def equals_a_build_at_once(self) -> None:
        if hasattr(self, "nights"):
            whole, fates = self.nights.built_at_once(f"whole{len(self.nights.sources)}")
            assert rows(self.nights.database) == rows(whole)
            assert self.fates == fates


@pytest.mark.long
@pytest.mark.timeout(900)
def test_any_history_in_any_portions(tmp_path: Path) -> None:
    Hospital.folder = tmp_path
    hypothesis.stateful.run_state_machine_as_test(
        Hospital,
        settings=hypothesis.settings(
            max_examples=3, stateful_step_count=3, deadline=None, database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )  # fmt: skip


def test_a_day_later_what_goes_on_goes_on(tmp_path: Path) -> None:
    """Without a data lock the data reaches until today: an open stay moves its end, though nothing came."""
    stay = {
        "resourceType": "Encounter", "id": "e", "status": "in-progress", "subject": {"reference": "Patient/p"},
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
        "period": {"start": "2024-03-01"},
    }  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps(stay))
    (tmp_path / "b.json").write_text(json.dumps({"resourceType": "Patient", "id": "p", "birthDate": "2015-01-01"}))
    database = f"duckdb:///{tmp_path / 'o.duckdb'}"
    ends = []
    for day in (date(2024, 5, 1), date(2024, 5, 2)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("etl.transform.transform.today", lambda day=day: day)
            build([Source("S", tmp_path)], database=database, settings=Settings(key="k"))
        with duckdb.connect(database.removeprefix("duckdb:///"), read_only=True) as connection:
            ends += connection.execute("SELECT visit_end_date, observation_period_end_date FROM cdm.visit_occurrence "
                                       "JOIN cdm.observation_period USING (person_id)").fetchall()  # fmt: skip
    assert ends == [(date(2024, 5, 1),) * 2, (date(2024, 5, 2),) * 2]


def sent(kind: str, one: str, version: int, **content: Any) -> dict[str, Any]:
    """A Bundle entry with a version of a resource."""
    meta = {"versionId": str(version), "lastUpdated": f"2024-12-01T00:00:{version:02d}Z"}
    return {
        "fullUrl": full_url(kind, one),
        "resource": {"resourceType": kind, "id": one, "meta": meta} | content,
    }


def visit(one: str, version: int, day: str, patient: str = "p") -> dict[str, Any]:
    """An Encounter of a day."""
    return sent(
        "Encounter", one, version, status="finished", subject={"reference": f"Patient/{patient}"},
        period={"start": day, "end": day},
        **{"class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"}},
    )  # fmt: skip


def patient(version: int, **content: Any) -> dict[str, Any]:
    """A Patient of two races."""
    return sent("Patient", "p", version, birthDate="2015-02-03", gender="female", extension=[RACES], **content)


def test_the_day_of_the_last_visit_holds_from_night_to_night(tmp_path: Path) -> None:
    nights = Nights(tmp_path, Database(f"duckdb:///{tmp_path / 'nights.duckdb'}"))
    others = [sent("Organization", str(one), 1, name="North") for one in range(40)]
    elsewhere = {"link": [{"other": {"reference": "Patient/q"}, "type": "seealso"}]}
    portions: list[tuple[list[dict[str, Any]], date]] = [
        ([patient(1), visit("a", 1, "2024-03-01"), visit("c", 1, "2024-02-01"), *others], date(2024, 3, 1)),
        ([visit("b", 1, "2024-06-01")], date(2024, 6, 1)),
        ([patient(2, maritalStatus={"text": "x"})], date(2024, 6, 1)),
        ([visit("b", 2, "2024-02-15")], date(2024, 3, 1)),
        ([visit("a", 2, "2024-03-01", patient="nobody")], date(2024, 2, 15)),
        ([{"request": {"method": "DELETE", "url": "Encounter/b"}}], date(2024, 2, 1)),
        ([sent("Patient", "q", 1, birthDate="2015-02-03", gender="female")], date(2024, 2, 1)),
        ([patient(3, **elsewhere), visit("d", 1, "2024-09-01", patient="q")], date(2024, 9, 1)),
    ]
    for entries, day in portions:
        nights.sends(entries)
        assert nights.database.read(_RACE_DAYS) == [(day,)]
    assert nights.computed.count("changes") == len(portions) - 1
    whole, _ = nights.built_at_once("whole")
    assert rows(nights.database) == rows(whole)


def test_two_hospitals_find_out_one_night_that_they_know_the_same_child(tmp_path: Path) -> None:
    """A study number links records across sites: one comes that another site's record bears, and goes again."""
    nights = Nights(tmp_path, Database(f"duckdb:///{tmp_path / 'nights.duckdb'}"), link_persons_by=("urn:number",))
    number = {"identifier": [{"system": "urn:number", "value": "7"}]}
    others = [sent("Organization", str(one), 1, name="North") for one in range(40)]
    nights.sends([patient(1, **number), visit("a", 1, "2024-03-01"), *others], "S")
    nights.sends([sent("Patient", "other", 1, birthDate="2014", gender="male")], "T")  # a new site: everything anew
    persons = []
    for known in ({}, number, {}):
        version = len(persons) + 1
        nights.sends([sent("Patient", "a", version, birthDate="2015-02-03", gender="female", **known)], "T")
        persons += nights.database.read("SELECT count(*) FROM cdm.person")
        assert nights.computed[-1] == "changes"
        whole, _ = nights.built_at_once(f"whole{version}")
        assert rows(nights.database) == rows(whole)
    assert persons == [(3,), (2,), (3,)]


def test_what_happened_in_a_cancelled_part_of_a_visit_counts_to_the_visit_also_in_an_increment(tmp_path: Path) -> None:
    """The cancelled part has no row; no other part of a visit is read again in the night in which a result comes."""
    nights = Nights(tmp_path, Database(f"duckdb:///{tmp_path / 'nights.duckdb'}"))
    others = [sent("Organization", str(one), 1, name="North") for one in range(40)]
    part = {"partOf": {"reference": "Encounter/a"}}
    ward, cancelled = visit("ward", 1, "2024-03-01"), visit("off", 1, "2024-03-01")
    ward["resource"] |= part
    cancelled["resource"] |= part | {"status": "cancelled"}
    nights.sends([patient(1), visit("a", 1, "2024-03-01"), ward, cancelled, *others])
    weight = sent(
        "Observation", "o", 1, status="final", subject={"reference": "Patient/p"}, effectiveDateTime="2024-03-01",
        encounter={"reference": "Encounter/off"}, valueQuantity={"value": 20, "unit": "kg", "code": "kg"},
        code={"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
    )  # fmt: skip
    nights.sends([weight])
    assert nights.computed[-1] == "changes"
    found = nights.database.read(
        "SELECT count(*) FROM cdm.measurement JOIN cdm.visit_occurrence USING (visit_occurrence_id)"
    )
    assert found == [(1,)]
    whole, _ = nights.built_at_once("whole")
    assert rows(nights.database) == rows(whole)
