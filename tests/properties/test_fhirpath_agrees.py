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
import yaml
from fhirpathpy.models import models
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl.mapping.fhirpath_sql import FUNCTIONS, PathError, PathSyntaxError, Translator, Value
from etl.sql import quote

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

EXPRESSIONS: dict[str, list[str]] = yaml.safe_load(Path(__file__).with_name("fhirpath_expressions.yaml").read_text())


LEFT_OUT = {"Patient-dicom.json": "fhirpathpy says that a primitive with an extension equals nothing"}


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
        if path.name not in LEFT_OUT:
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
    assert not wrong, "\n".join(wrong)
    assert compared > len(resources) * len(EXPRESSIONS[kind]) // 2


def test_every_function_is_compared() -> None:
    written = " ".join(expression for several in EXPRESSIONS.values() for expression in several)
    untested = {name for name in FUNCTIONS if f"{name}(" not in written}
    assert untested == {"hasValue"}, "fhirpathpy has no hasValue(); HL7's tests have"


# --- made-up expressions -----------------------------------------------------------------------------------------

SMALL = [
    {"resourceType": "Patient", "id": "a", "gender": "male", "birthDate": "2015-03-09", "active": True,
     "name": [{"family": "Ab", "given": ["C d", "e"], "use": "official"}, {"given": ["e"], "use": "usual"}]},
    {"resourceType": "Patient", "id": "b", "gender": "female", "active": False, "name": [{"family": "Ab"}]},
    {"resourceType": "Patient", "id": "c", "birthDate": "2015"},
]  # fmt: skip


def _texts(numbers: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    plain = st.sampled_from(
        ["gender", "birthDate", "name[0].family", "name.given.first()", "name.use.last()", "'a'", "'male'"]
    )
    return st.recursive(
        plain,
        lambda inner: st.one_of(
            st.builds("{}.{}()".format, inner, st.sampled_from(["lower", "upper", "trim"])),
            st.builds("{}.substring({}, {})".format, inner, numbers, numbers),
            st.builds("{}.replace('a', {})".format, inner, inner),
            st.builds("({} & {})".format, inner, inner),
            st.builds("({} + {})".format, inner, inner),
        ),
        max_leaves=3,
    )


NUMBERS = st.integers(0, 4).map(str)
TEXTS = _texts(NUMBERS)
LISTS = st.recursive(
    st.sampled_from(["name.given", "name.use", "name.family", "('a' | 'e')"]),
    lambda inner: st.one_of(
        st.builds("{}.{}()".format, inner, st.sampled_from(["distinct", "tail"])),
        st.builds("{}.{}({})".format, inner, st.sampled_from(["skip", "take"]), NUMBERS),
        st.builds("({} | {})".format, inner, inner),
        st.builds("{}.where($this {} {})".format, inner, st.sampled_from(["=", "!=", "<"]), TEXTS),
        st.builds("{}.select($this & {})".format, inner, TEXTS),
    ),
    max_leaves=3,
)
COUNTS = st.one_of(NUMBERS, st.builds("{}.count()".format, LISTS), st.builds("{}.length()".format, TEXTS))
TRUTHS = st.recursive(
    st.one_of(
        st.just("active"),
        st.builds("({} {} {})".format, TEXTS, st.sampled_from(["=", "!=", "<", ">=", "~"]), TEXTS),
        st.builds("({} {} {})".format, COUNTS, st.sampled_from(["=", "!=", "<", ">="]), COUNTS),
        st.builds("({} in {})".format, TEXTS, LISTS),
        st.builds("{}.{}()".format, LISTS, st.sampled_from(["exists", "empty"])),
        st.builds("{}.all($this.length() > {})".format, LISTS, NUMBERS),
        st.builds("{}.{}({})".format, TEXTS, st.sampled_from(["startsWith", "endsWith", "contains"]), TEXTS),
    ),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or", "xor", "implies"]), inner),
        st.builds("{}.not()".format, inner),
    ),
    max_leaves=4,
)
CHOICES = st.builds("iif({}, {}, {})".format, TRUTHS, TEXTS, TEXTS)
SUMS = st.builds("({} {} {})".format, COUNTS, st.sampled_from(["+", "-", "*", "/", "div", "mod"]), COUNTS)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(expressions=st.lists(st.one_of(TEXTS, LISTS, TRUTHS, CHOICES, SUMS), min_size=10, max_size=20))
def test_any_composition_agrees_or_is_refused(expressions: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    accepted = []
    for expression in expressions:
        try:
            Translator("Patient").translate(expression)
        except REFUSED:
            continue
        accepted.append(expression)
    if accepted:
        wrong, _ = _disagreements(accepted, SMALL, tmp_path_factory.mktemp("made-up"))
        assert not wrong, "\n".join(wrong)
