"""A code that nobody knows is on the work list, wherever in a resource it stands; files that nobody opens are told."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from etl.build_report import BuildReport
from etl.landing import Source
from etl.pipeline import build
from etl.settings import Settings
from flows.words import build_words

CHILD = {"resourceType": "Patient", "id": "p", "gender": "female", "birthDate": "2015-03-09"}
SUBJECT = {"subject": {"reference": "Patient/p"}}
PATIENT = {"patient": {"reference": "Patient/p"}}
DAY = "2021-03-01"


def _local(code: str) -> dict[str, Any]:
    return {"coding": [{"system": "http://hospital.example/codes", "code": code}]}


def _drug(kind: str, name: str, **more: Any) -> dict[str, Any]:
    drug = _local(f"{name}-drug")
    return {"resourceType": kind, "id": name, "status": "completed", "medicationCodeableConcept": drug} | more


GIVEN: list[dict[str, Any]] = [
    CHILD,
    {"resourceType": "Encounter", "id": "e", "status": "finished", "class": {"code": "enc-class"}, **SUBJECT,
     "period": {"start": DAY}, "reasonCode": [_local("enc-reason")], "hospitalization": {
         "admitSource": _local("enc-from"), "dischargeDisposition": {"text": "enc-to"}}},
    {"resourceType": "Condition", "id": "c", **SUBJECT, "code": _local("con-code"), "recordedDate": DAY,
     "severity": _local("con-severity"), "bodySite": [_local("con-site")], "stage": [{"summary": _local("con-stage")}]},
    {"resourceType": "Observation", "id": "o", "status": "final", **SUBJECT, "effectiveDateTime": DAY,
     "code": _local("obs-code"), "valueCodeableConcept": _local("obs-value"), "bodySite": _local("obs-site"),
     "method": _local("obs-method"), "component": [{"code": _local("obs-part"), "valueQuantity": {
         "value": 1, "unit": "obs-unit"}}]},
    {"resourceType": "Procedure", "id": "r", "status": "completed", **SUBJECT, "performedDateTime": DAY,
     "code": _local("pro-code"), "outcome": _local("pro-outcome"), "complication": [_local("pro-complication")],
     "reasonCode": [_local("pro-reason")], "bodySite": [_local("pro-site")]},
    _drug("MedicationRequest", "mr", intent="order", **SUBJECT, authoredOn=DAY, reasonCode=[_local("mr-reason")],
          dosageInstruction=[{"route": _local("mr-route")}]),
    _drug("MedicationAdministration", "ma", **SUBJECT, effectiveDateTime=DAY, reasonCode=[_local("ma-reason")],
          dosage={"route": _local("ma-route"), "dose": {"value": 1}}),
    _drug("MedicationStatement", "ms", **SUBJECT, effectiveDateTime=DAY, reasonCode=[_local("ms-reason")],
          dosage=[{"route": _local("ms-route")}]),
    _drug("MedicationDispense", "md", **SUBJECT, whenHandedOver="2021-03-01T10:00:00Z",
          dosageInstruction=[{"route": _local("md-route")}]),
    {"resourceType": "Immunization", "id": "i", "status": "completed", **PATIENT, "occurrenceDateTime": DAY,
     "vaccineCode": _local("imm-vaccine"), "reasonCode": [_local("imm-reason")], "route": _local("imm-route")},
    {"resourceType": "AllergyIntolerance", "id": "a", **PATIENT, "code": _local("all-code"), "recordedDate": DAY,
     "reaction": [{"manifestation": [_local("all-reaction")]}]},
    {"resourceType": "Specimen", "id": "s", **SUBJECT, "type": _local("spe-type"), "receivedTime": DAY,
     "collection": {"bodySite": _local("spe-site")}},
    {"resourceType": "DiagnosticReport", "id": "d", "status": "final", **SUBJECT, "effectiveDateTime": DAY,
     "code": _local("rep-code"), "conclusionCode": [_local("rep-first"), _local("rep-second")]},
    {"resourceType": "FamilyMemberHistory", "id": "f", "status": "completed", **PATIENT, "date": DAY,
     "relationship": {"text": "father"}, "condition": [{"code": _local("fam-disease")}]},
    {"resourceType": "Coverage", "id": "v", "status": "active", "beneficiary": PATIENT["patient"],
     "payor": [{"display": "x"}], "period": {"start": DAY}, "type": _local("cov-type")},
    {"resourceType": "AdverseEvent", "id": "ae", "actuality": "actual", **SUBJECT, "date": DAY,
     "event": _local("adv-event"), "outcome": _local("adv-outcome"), "severity": _local("adv-severity")},
    {"resourceType": "DeviceUseStatement", "id": "u", "status": "active", **SUBJECT, "timingDateTime": DAY,
     "device": {"reference": "#d"}, "contained": [{"resourceType": "Device", "id": "d", "type": _local("dev-type")}]},
    {"resourceType": "Practitioner", "id": "doc", "qualification": [{"code": _local("doc-specialty")}]},
    {"resourceType": "PractitionerRole", "id": "role", "code": [_local("role-code")]},
    {"resourceType": "Organization", "id": "org", "type": [_local("org-kind")]},
    {"resourceType": "Location", "id": "loc", "name": "A", "type": [_local("loc-kind")]},
]  # fmt: skip


def _codes(node: object) -> set[str]:
    """Every invented code in the resources."""
    if isinstance(node, dict):
        return {code for value in node.values() for code in _codes(value)}
    if isinstance(node, list):
        return {code for value in node for code in _codes(value)}
    return {node} if isinstance(node, str) and node.partition("-")[0].isalpha() and "-" in node else set()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[BuildReport, Path]:
    folder = tmp_path_factory.mktemp("unknown")
    (folder / "in").mkdir()
    lines = "".join(json.dumps(one) + "\n" for one in GIVEN)
    (folder / "in" / "export.ndjson").write_text(lines, encoding="utf-8")
    (folder / "in" / "read_me.txt").write_text("no FHIR")
    (folder / "in" / "Patient.xml").write_text("<Patient xmlns='http://hl7.org/fhir'/>")
    database = folder / "o.duckdb"
    report = build([Source("HERE", folder / "in")], database=f"duckdb:///{database}", settings=Settings(key="k"))
    return report, database


def test_every_code_that_nobody_knows_is_on_the_work_list(built: tuple[BuildReport, Path]) -> None:
    with duckdb.connect(str(built[1]), read_only=True) as connection:
        listed = {code for (code,) in connection.execute("SELECT source_code FROM lineage.unmapped").fetchall()}
    assert sorted(_codes(GIVEN) - listed) == []


def test_files_that_are_no_fhir_by_name_are_told_and_not_named(built: tuple[BuildReport, Path]) -> None:
    report = built[0]
    assert report.left_aside == report.as_dict()["files_left_aside"] == 2
    words = build_words(report)
    assert "told: 2 files were not read" in words
    assert "Patient.xml" not in words
