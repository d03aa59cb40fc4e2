"""Broken files among good ones: the good ones load, each bad one has its reason, no value leaks into the rejects."""

import gzip
import json
from pathlib import Path

import duckdb
import pytest

from etl.build_report import BuildReport
from etl.landing import Source
from etl.pipeline import build
from etl.settings import Settings
from tests.end_to_end.conftest import SAMPLE

GOOD = sorted((SAMPLE / "site2").glob("*.json"))[:3]


def _bundle(*resources: dict[str, object]) -> str:
    entries = [{"fullUrl": f"http://h.example/{r['resourceType']}/{r['id']}", "resource": r} for r in resources]
    return json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries})


def _weight(one: str, **changes: object) -> dict[str, object]:
    return {
        "resourceType": "Observation",
        "id": one,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
        "subject": {"reference": "Patient/SECRET-CHILD"},
        "effectiveDateTime": "2024-01-01",
        "valueQuantity": {"value": 12.5, "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"},
    } | changes


PATIENT = {"resourceType": "Patient", "id": "SECRET-CHILD", "birthDate": "2019-03-04", "gender": "female"}


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """A folder with good files and one fault of each kind."""
    folder = tmp_path / "in"
    folder.mkdir()
    for file in GOOD:
        (folder / file.name).write_bytes(file.read_bytes())
    flipped = bytearray(GOOD[0].read_bytes())
    flipped[flipped.index(b'"entry"')] = 0xFF
    (folder / "flipped.json").write_bytes(bytes(flipped))
    without_subject = {key: value for key, value in _weight("W2").items() if key != "subject"}
    (folder / "subject.json").write_text(_bundle(PATIENT, _weight("W1"), without_subject))
    digits = _bundle(_weight("W3"), _weight("W4")).replace("12.5", "7" * 400, 1)
    (folder / "digits.json").write_text(digits)
    doubled = _bundle(_weight("W5"), _weight("W6")).replace(
        '"status": "final"', '"status": "final", "status": "final"', 1
    )
    (folder / "doubled.json").write_text(doubled)
    (folder / "bomb.json.gz").write_bytes(gzip.compress(b" " * 300_000_000))
    (folder / "empty.json").write_bytes(b"")
    (folder / "other.json").write_text('{"name": "not FHIR"}')
    return folder


def _build(folder: Path, to: Path) -> BuildReport:
    source = [Source("SITE2", folder)]
    return build(source, database=f"duckdb:///{to / 'o.duckdb'}", settings=Settings(key="k"), rejects=to / "rejects")


def test_each_fault_has_its_reason_and_the_good_ones_load(faulty: Path, tmp_path: Path) -> None:
    report = _build(faulty, tmp_path)
    reasons = [
        json.loads(line)["reason"] for line in (tmp_path / "rejects" / "rejects.ndjson").read_text().splitlines()
    ]
    assert sorted(reasons) == [
        "duplicate_key",
        "empty_file",
        "gzip_ratio",
        "invalid_utf8",
        "missing_person",
        "not_fhir",
        "number_too_long",
    ]
    assert report.totals["rejected"] == len(reasons)
    with duckdb.connect(str(tmp_path / "o.duckdb"), read_only=True) as connection:
        persons = connection.execute("SELECT count(*) FROM cdm.person").fetchone()
        weights = connection.execute(
            "SELECT fhir_id FROM lineage.resource WHERE fhir_id LIKE 'W_' ORDER BY 1"
        ).fetchall()
    assert persons == (len(GOOD) + 1,)
    assert weights == [("W1",), ("W4",), ("W6",)]


def test_the_rejects_hold_no_value_of_a_patient(faulty: Path, tmp_path: Path) -> None:
    _build(faulty, tmp_path)
    text = (tmp_path / "rejects" / "rejects.ndjson").read_text()
    for secret in ("SECRET-CHILD", "2019-03-04", "12.5", "7777", "W2", "W3"):
        assert secret not in text
