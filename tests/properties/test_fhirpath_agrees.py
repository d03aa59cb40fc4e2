"""The SQL of the FHIRPath subset gives what FHIRPath gives: against fhirpathpy on real resources, and HL7's own tests.

An expression that the mapping language does not have is refused with a PathError; whatever it accepts must agree.
"""

import json
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import fhirpathpy
import pytest
from fhirpathpy.models import models
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl.mapping.fhirpath_sql import FUNCTIONS, PathError, PathSyntaxError, Translator, Value, quote

ROOT = Path(__file__).parents[2]
SAMPLES = sorted((ROOT / "sample_bundles").glob("site*/*.json"))
SHARED = Path("/work/shared/data")
OFFICIAL = SHARED / "fhirpath-r4" / "tests-fhir-r4.xml"
REFUSED = (PathError, PathSyntaxError)


# --- evaluation by both ------------------------------------------------------------------------------------------


def by_sql(expressions: Sequence[str], resources: Sequence[dict[str, Any]], folder: Path) -> list[list[list[Any]]]:
    """The collections that our SQL gives: one list per resource, of one list of values per expression."""
    translator = Translator(resources[0]["resourceType"])
    columns = ", ".join(f"{_as_list(translator.translate(one))} AS c{n}" for n, one in enumerate(expressions))
    path = folder / "resources.ndjson"
    path.write_text("".join(json.dumps({"n": n, "r": one}) + "\n" for n, one in enumerate(resources)))
    structure = translator.need.sql_type() if translator.need.children else "JSON"
    with duckdb.connect() as connection:
        found = connection.execute(
            f"SELECT {columns} FROM read_json({quote(str(path))}, format = 'newline_delimited', "
            f"columns = {{'n': 'BIGINT', 'r': {quote(structure)}}}) ORDER BY n"
        ).fetchall()
    return [[[_plain(value) for value in values or ()] for values in row] for row in found]


def _as_list(value: Value) -> str:
    return value.sql if value.many else f"CASE WHEN ({value.sql}) IS NOT NULL THEN [{value.sql}] ELSE [] END"


def by_fhirpathpy(expression: str, resource: dict[str, Any]) -> list[Any]:
    return [_plain(one) for one in fhirpathpy.evaluate(resource, expression, {"resource": resource}, models["r4"])]


def _plain(value: Any) -> Any:
    """Numbers as float, complex values only as such: their members are compared by the paths that read them."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float | Decimal):
        return float(value)
    if isinstance(value, str):
        return "complex" if value.startswith(("{", "[")) else value
    return "complex"


def same(ours: list[Any], theirs: list[Any]) -> bool:
    if len(ours) != len(theirs):
        return False
    return all(
        math.isclose(one, other, rel_tol=1e-9) if isinstance(one, float) and isinstance(other, float) else one == other
        for one, other in zip(ours, theirs, strict=True)
    )


# --- HL7's tests -------------------------------------------------------------------------------------------------


def official_tests() -> Iterator[tuple[str, str, str, str, bool, list[tuple[str, str]]]]:
    """(name, input, expression, invalid, predicate, outputs) of each test."""
    for test in ElementTree.parse(OFFICIAL).iter("test"):
        expression = test.find("expression")
        assert expression is not None
        outputs = [(one.get("type", ""), one.text or "") for one in test.findall("output")]
        yield (
            test.get("name", ""), test.get("inputfile", ""), expression.text or "", expression.get("invalid", ""),
            test.get("predicate") == "true", outputs,
        )  # fmt: skip


DEPARTURES = {
    "testDecimalLiteralToString": "a decimal does not keep how many digits it was written with",
    "testToString4": "a decimal does not keep how many digits it was written with",
    "testPrimitiveExtensions": "a primitive that has only an extension is no item of a collection",
    "testFHIRPathAsFunction14": "the suite's JSON input says another version than its XML input",
    "testFHIRPathAsFunction19": "the suite's JSON input says another version than its XML input",
}


def _expected(kind: str, text: str) -> Any:
    if kind == "boolean":
        return text == "true"
    if kind in {"integer", "decimal"}:
        return float(text)
    return text.removeprefix("@") if kind in {"date", "dateTime"} else text


def _official_result(expression: str, resource: dict[str, Any], *, predicate: bool, folder: Path) -> list[Any]:
    found = by_sql([expression], [resource], folder)[0][0]
    return [bool(found)] if predicate else found


@pytest.mark.skipif(not OFFICIAL.exists(), reason="HL7's FHIRPath tests are not on this machine")
def test_hl7_tests_of_supported_expressions_pass(tmp_path: Path) -> None:
    wrong, passed, refused = {}, 0, 0
    for name, file, expression, invalid, predicate, outputs in official_tests():
        path = OFFICIAL.parent / "input" / (file.replace(".xml", ".json") or "patient-example.json")
        if not path.exists():
            continue
        resource = json.loads(path.read_text(encoding="utf-8"))
        try:
            Translator(resource["resourceType"]).translate(expression)
        except REFUSED:
            refused += 1
            continue
        expected = [_expected(*one) for one in outputs]
        found = _official_result(expression, resource, predicate=predicate, folder=tmp_path)
        if invalid or not same(found, expected):
            wrong[name] = f"{expression}: {expected} expected{' to be refused' if invalid else ''}, {found} found"
        else:
            passed += 1
    assert {name: text for name, text in wrong.items() if name not in DEPARTURES} == {}
    assert set(wrong) == set(DEPARTURES), "a departure that is none any more"
    assert passed > 300
    assert refused > 0


# --- real resources ----------------------------------------------------------------------------------------------

EXPRESSIONS: dict[str, list[str]] = {
    "Patient": [
        "birthDate", "gender = 'male'", "gender != 'male'", "gender ~ 'MALE'", "gender !~ 'MALE'", "name.given", "name.given.first()",
        "name.given.last()", "name[0].family", "name.given.count()", "name.exists(use = 'official')", "name.all(given.exists())",
        "name.where(use = 'official').given.join(' ')", "name.select(given.first())", "name.select(given | family)",
        "(name.given | name.family).count()", "(name.given | name.family).distinct()", "name.given.distinct()", "name.tail().given",
        "name.skip(1).given", "name.take(2).given", "telecom.where(system = 'phone').value.first()", "telecom.use contains 'home'",
        "'work' in telecom.use", "gender in ('male' | 'female')", "gender in ('other' | 'unknown')", "active and gender = 'male'",
        "active or gender = 'female'", "active xor gender = 'male'", "active implies gender = 'male'", "active.not()", "active = true",
        "deceased.exists()", "deceased.empty()", "deceased.ofType(boolean)", "deceased.ofType(dateTime)", "deceased.as(boolean)",
        "deceased is boolean", "deceased.is(dateTime)", "birthDate.substring(0, 4)", "birthDate.substring(5, 2)", "birthDate.substring(99)",
        "birthDate.length()", "birthDate.length() > 4", "birthDate.length() + 1", "birthDate.length() - 3", "birthDate.length() * 2",
        "birthDate.length() / 4", "birthDate.length() div 3", "birthDate.length() mod 3", "-birthDate.length()", "birthDate.length() <= 10",
        "birthDate.length() >= 10", "birthDate.length() < 10", "birthDate & '!'", "birthDate + '!'", "maritalStatus.text & '!'",
        "gender.startsWith('ma')", "gender.endsWith('ale')", "gender.contains('em')", "gender.matches('^(fe)?male$')", "gender.indexOf('a')",
        "gender.replace('male', 'x')", "gender.upper()", "gender.upper().lower()", "name.family.first().trim()",
        "birthDate.substring(0, 4).toInteger()", "birthDate.toInteger()", "birthDate.substring(0, 4).toDecimal()",
        "multipleBirth.ofType(integer)", "multipleBirth.ofType(integer).toString()", "iif(active, 'yes', 'no')", "iif(gender = 'male', 'm')",
        "identifier.where(system.exists() and value.exists()).value", "name.given.select($this & '!')", "name.where($this.use = 'usual').exists()",
        "name.select(given.exists()).allTrue()", "name.select(period.exists()).anyTrue()", "%resource.gender", "Patient.name.family",
        "extension('http://hl7.org/fhir/us/core/StructureDefinition/us-core-race').extension.count()",
        "extension.where(url.startsWith('http')).url", "contact.name.family", "address.where(city.exists()).country", "name.period.start",
        "gender.select($this & '?')", "gender.where($this = 'male')", "maritalStatus.exists($this.text.exists())", "birthDate.extension('x').exists()",
    ],
    "Observation": [
        "value.exists()", "value.empty()", "value.ofType(Quantity).value", "value.ofType(Quantity).value > 5", "value.ofType(Quantity).unit",
        "value.ofType(string)", "value.ofType(CodeableConcept).coding.code", "value.is(Quantity)", "component.count()", "component.code.coding.code",
        "component.where(value.exists()).code.coding.code.first()", "component.value.ofType(Quantity).value", "component.value.exists()",
        "component.value.empty()", "status in ('final' | 'amended')", "category.coding.where(code = 'laboratory').code.first()",
        "effective.ofType(dateTime)", "effective.ofType(Period).start", "effective.exists() or issued.exists()",
        "referenceRange.where(appliesTo.empty() and age.empty()).low.value.first()", "referenceRange.low.value", "code.coding.display",
        "code.text.exists() and code.coding.exists().not()", "component.all(value.exists() or dataAbsentReason.exists())",
        "value.ofType(Quantity).value * 2 + 1", "value.ofType(Quantity).value / 0", "value.ofType(Quantity).value mod 3",
        "value.ofType(Quantity).comparator = '<'", "performer.reference.first().startsWith('Practitioner/')", "code.coding.system contains 'http://loinc.org'",
        "interpretation.coding.code.join(',')", "value.ofType(Quantity).code in ('mg' | 'kg')", "component.select(code.coding.code | code.text)",
        "component.code.coding.where(system = 'http://loinc.org').code.distinct()",
    ],
    "MedicationAdministration": [
        "effective.ofType(Period).start", "effective.ofType(Period).end.empty()", "effective.ofType(dateTime)", "dosage.dose.value",
        "dosage.rate.ofType(Ratio).numerator.value", "dosage.rate.ofType(Quantity).code", "dosage.text", "dosage.route.coding.code.first()",
        "medication.ofType(CodeableConcept).coding.code", "medication.ofType(Reference).reference", "status = 'on-hold' and effective.ofType(Period).end.empty()",
        "iif(dosage.rate.ofType(Quantity).code.exists(), dosage.rate.ofType(Quantity).code, dosage.rate.ofType(Quantity).unit)",
        "statusReason.coding.display.first()", "performer.actor.reference.first()", "dosage.exists(text.exists())", "dosage.select(text)",
    ],
    "Encounter": [
        "class.code", "period.start", "period.end", "hospitalization.dischargeDisposition.coding.code.first()", "partOf.exists()",
        "type.coding.code", "participant.individual.reference.first()", "period.start < '2020'", "status.substring(0, 3).upper()",
        "period.where(end.empty()).start", "period.all(start.exists())", "location.location.reference",
    ],
}  # fmt: skip


def _entries(path: Path) -> list[dict[str, Any]]:
    try:
        return list(json.loads(path.read_text(encoding="utf-8")).get("entry", []))
    except ValueError:
        return []  # one of the broken files that the samples have on purpose


def _resources(kind: str, most: int) -> list[dict[str, Any]]:
    """Resources of a type: a few of the sample hospitals', and HL7's examples where they are on this machine."""
    found: list[dict[str, Any]] = []
    for path in SAMPLES[:: max(1, len(SAMPLES) // 40)]:
        entries = _entries(path)
        mine = [one["resource"] for one in entries if one.get("resource", {}).get("resourceType") == kind]
        found += mine[:3]
    for path in sorted((SHARED / "r4-examples").glob(f"{kind}-*.json")):
        found.append(json.loads(path.read_text(encoding="utf-8")))
    return found[-most:]


def _theirs(expression: str, resource: dict[str, Any]) -> list[Any] | None:
    """fhirpathpy's answer; None where it has none (not implemented, an error while it runs)."""
    try:
        return by_fhirpathpy(expression, resource)
    except Exception:
        return None


def _disagreements(expressions: list[str], resources: list[dict[str, Any]], folder: Path) -> tuple[list[str], int]:
    ours = by_sql(expressions, resources, folder)
    wrong, compared = [], 0
    for resource, answers in zip(resources, ours, strict=True):
        for expression, answer in zip(expressions, answers, strict=True):
            theirs = _theirs(expression, resource)
            if theirs is None:
                continue
            compared += 1
            if not same(answer, theirs):
                wrong.append(f"{resource.get('id')}: {expression}: {theirs} there, {answer} here")
    return wrong, compared


@pytest.mark.parametrize("kind", EXPRESSIONS)
def test_sql_gives_what_fhirpathpy_gives(kind: str, tmp_path: Path) -> None:
    resources = _resources(kind, 40)
    assert resources
    wrong, compared = _disagreements(EXPRESSIONS[kind], resources, tmp_path)
    assert wrong == []
    assert compared > len(resources) * len(EXPRESSIONS[kind]) // 2


def test_every_function_is_compared() -> None:
    written = " ".join(expression for several in EXPRESSIONS.values() for expression in several)
    untested = {name for name in FUNCTIONS if f"{name}(" not in written}
    assert untested == {"hasValue"}, "fhirpathpy has no hasValue(); HL7's tests have"
