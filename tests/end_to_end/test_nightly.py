"""Night after night: the database equals what one build of everything received so far gives."""

import json
import random
from pathlib import Path

import duckdb
import pytest

import etl.cdm
from etl.errors import CdmError
from etl.landing import Source
from etl.pipeline import build
from etl.settings import Settings, load_settings
from etl.store import home_of
from tests.end_to_end.conftest import SAMPLE, Built, sample_sources

SETTINGS = load_settings(SAMPLE / "blina.yaml")
FILES = [
    Source(source.site, path)
    for source in sample_sources(SETTINGS)
    for path in sorted(source.path.rglob("*"))
    if path.is_file()
]


def differences(one: Path, other: Path) -> list[str]:
    """The CDM tables in which two databases differ."""
    found = []
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{one}' AS one (READ_ONLY); ATTACH '{other}' AS other (READ_ONLY)")
        for table in etl.cdm.TABLES:
            for a, b in (("one", "other"), ("other", "one")):
                query = f"SELECT count(*) FROM (FROM {a}.cdm.{table} EXCEPT ALL FROM {b}.cdm.{table})"
                if connection.execute(query).fetchone() != (0,):
                    found.append(table)
    return sorted(set(found))


def patient(one: str) -> dict[str, object]:
    """A child."""
    return {"resourceType": "Patient", "id": one, "birthDate": "2019-03-04", "gender": "female"}


def weight(one: str, value: float = 12.5, **changes: object) -> dict[str, object]:
    """A weight of child `c`."""
    return {
        "resourceType": "Observation",
        "id": one,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
        "subject": {"reference": "Patient/c"},
        "effectiveDateTime": "2024-01-01",
        "valueQuantity": {"value": value, "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"},
    } | changes


class Hospital:
    """A hospital that sends something each night."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "omop.duckdb"
        self.nights = 0

    def sends(self, *entries: dict[str, object]) -> None:
        """One night's Bundle; an entry without resourceType is taken as a whole entry."""
        self.nights += 1
        bundle = [entry if "resourceType" not in entry else {"resource": entry} for entry in entries]
        night = self.folder / f"night{self.nights}"
        night.mkdir()
        text = json.dumps({"resourceType": "Bundle", "type": "history", "entry": bundle})
        (night / "export.json").write_text(text)
        build([Source("S", night)], database=f"duckdb:///{self.database}", settings=Settings(key="k"))

    def weights(self) -> list[float]:
        """The weights in the CDM."""
        with duckdb.connect(str(self.database), read_only=True) as connection:
            rows = connection.execute("SELECT value_as_number FROM cdm.measurement ORDER BY 1").fetchall()
        return [row[0] for row in rows]


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    """A hospital with an empty database."""
    return Hospital(tmp_path)


def test_files_that_come_in_any_order_over_several_nights_give_the_same_database(built: Built, tmp_path: Path) -> None:
    files = FILES[:]
    random.Random(7).shuffle(files)
    database = f"duckdb:///{tmp_path / 'nights.duckdb'}"
    for night in (files[:40], files[40:90], files[80:]):  # some files come twice
        report = build(night, database=database, settings=SETTINGS)
    assert differences(tmp_path / "nights.duckdb", built.path) == []
    assert report.totals["landed"] == built.report.totals["landed"]


def test_a_result_may_come_before_its_patient(hospital: Hospital) -> None:
    hospital.sends(weight("w"))
    assert hospital.weights() == []
    hospital.sends(patient("c"))
    assert hospital.weights() == [12.5]


def test_a_correction_replaces_and_an_older_version_never_does(hospital: Hospital) -> None:
    hospital.sends(patient("c"), weight("w", 12.5, meta={"versionId": "2", "lastUpdated": "2024-02-02T00:00:00Z"}))
    hospital.sends(weight("w", 99.0, meta={"versionId": "1", "lastUpdated": "2024-02-01T00:00:00Z"}))
    assert hospital.weights() == [12.5]
    hospital.sends(weight("w", 13.0, meta={"versionId": "3", "lastUpdated": "2024-02-03T00:00:00Z"}))
    assert hospital.weights() == [13.0]


def test_a_mistake_takes_its_row_away_again(hospital: Hospital) -> None:
    hospital.sends(patient("c"), weight("w"))
    hospital.sends(weight("w", status="entered-in-error"))
    assert hospital.weights() == []


def test_what_is_deleted_goes_and_may_come_back(hospital: Hospital) -> None:
    hospital.sends(patient("c"), weight("w"))
    hospital.sends({"request": {"method": "DELETE", "url": "Observation/w"}})
    assert hospital.weights() == []
    hospital.sends(weight("w", 14.0))
    assert hospital.weights() == [14.0]


def test_a_database_that_lost_what_it_was_built_from_is_not_built_on(hospital: Hospital) -> None:
    hospital.sends(patient("c"), weight("w"))
    hospital.sends(weight("w2", 20.0))
    landed = home_of(f"duckdb:///{hospital.database}").landed
    landed.rename(hospital.folder / "away")
    with pytest.raises(CdmError, match="what 2 of 2 earlier runs received is missing"):
        hospital.sends(weight("w3", 30.0))
    assert not landed.exists()  # an empty one would catch what somebody moves back
    (hospital.folder / "away").rename(landed)
    (landed / "copy of somebody").mkdir()
    first = min(landed.glob("2*"))
    first.rename(hospital.folder / "moved")
    with pytest.raises(CdmError, match="what 1 of 2 earlier runs received is missing"):
        hospital.sends(weight("w3", 30.0))
    assert hospital.weights() == [12.5, 20.0]
    (hospital.folder / "moved").rename(first)
    hospital.sends(weight("w4", 40.0))
    assert hospital.weights() == [12.5, 20.0, 40.0]
    assert (landed / "copy of somebody").exists()


def test_several_workers_change_no_row(built: Built, tmp_path: Path) -> None:
    database = tmp_path / "three.duckdb"
    build(sample_sources(SETTINGS), database=f"duckdb:///{database}", settings=SETTINGS, workers=3)
    assert differences(database, built.path) == []


def test_a_run_that_never_committed_leaves_nothing(hospital: Hospital) -> None:
    hospital.sends(patient("c"), weight("w"))
    lost = home_of(f"duckdb:///{hospital.database}").landed / "20990101T000000Z-dead"
    lost.mkdir()
    (lost / "Observation.000.ndjson").write_text("torn")
    hospital.sends(weight("w2", 20.0))
    assert hospital.weights() == [12.5, 20.0]
    assert not lost.exists()


def test_beginning_anew_forgets_what_came_before(hospital: Hospital) -> None:
    hospital.sends(patient("c"), weight("w"))
    night = hospital.folder / "anew"
    night.mkdir()
    (night / "p.json").write_text(json.dumps(patient("c")))
    database = f"duckdb:///{hospital.database}"
    build([Source("S", night)], database=database, settings=Settings(key="k"), anew=True)
    assert hospital.weights() == []
    hospital.sends(weight("w3", 21.0))
    assert hospital.weights() == [21.0]


def test_a_build_that_finds_too_little_memory_begins_again_with_more(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etl.workplace._WORK_MEMORY", 60)
    said: list[str] = []
    url = f"duckdb:///{tmp_path / 'small.duckdb'}"
    report = build(sample_sources(SETTINGS), database=url, settings=SETTINGS, progress=said.append)
    assert "begin again with more memory" in said
    assert report.totals == built.report.totals
    assert differences(tmp_path / "small.duckdb", built.path) == []
