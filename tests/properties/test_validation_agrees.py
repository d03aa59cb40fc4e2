"""The fast validation and `fhir.resources` give the same verdict on real resources, whole and mutilated.

Known differences, all on purpose:

* refused here, accepted there: numbers and booleans as text (and the other way round), codes outside the required
  bindings that mappings rely on (root status, intent, gender; Quantity.comparator), ids of 65 to 255 characters, Python
  names of elements (`status__ext`), DSTU2 comments;
* accepted here, refused there: a string of nothing but exotic white space (no-break space, ideographic space).
"""

import copy
import json
import random
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B import get_fhir_model_class
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl.landing.explain import problems_of
from etl.landing.gate import Limits
from etl.landing.judge import Judge
from etl.landing.reasons import ZONE_ASSUMED
from etl.landing.split import Unit, kind_of

TYPES = (
    "Patient",
    "Encounter",
    "Condition",
    "Observation",
    "MedicationAdministration",
    "MedicationRequest",
    "Procedure",
    "Organization",
    "Practitioner",
    "Location",
    "Specimen",
    "DiagnosticReport",
    "Medication",
)
DATA = Path("/work/shared/data")
OWN = (
    {
        "resourceType": "Observation",
        "id": "o1",
        "meta": {"lastUpdated": "2024-01-02T03:04:05.678Z", "profile": ["http://a.example/p"]},
        "status": "final",
        "category": [{"coding": [{"system": "http://a.example", "code": "laboratory", "userSelected": True}]}],
        "code": {"coding": [{"code": "718-7"}], "text": "Hb"},
        "effectivePeriod": {"start": "2024-02", "end": "2024-02-29T10:00:00+08:00"},
        "valueQuantity": {"value": 11.5, "comparator": "<", "unit": "g/dL"},
        "component": [{"code": {"text": "x"}, "valueInteger": 3, "extension": [{"url": "u", "valueDecimal": 1.5}]}],
        "contained": [{"resourceType": "Patient", "id": "c", "birthDate": "2015"}],
    },
    {
        "resourceType": "Patient",
        "id": "p1",
        "gender": "female",
        "birthDate": "2015-02-03",
        "name": [{"given": ["A", None], "_given": [None, {"extension": [{"url": "u", "valueCode": "x"}]}]}],
        "multipleBirthInteger": 2,
        "photo": [{"contentType": "image/png", "data": "QUJD", "url": "Binary/1"}],
        "deceasedDateTime": "2024-03-04T05:06:07Z",
    },
)
DATES = (
    "2024 2024-13 2024-02 2024-02-29 2023-02-29 2024-02-30 2024-1-1 0000-01-01 2024-02-03T04:05:06Z 2024-02-03T04:05Z "
    "2024-02-03T04:05:06 2024-02-03t04:05:06z 2024-02-03T04:05:60Z 2024-02-03T24:00:00Z 2024-02-03T04:05:06+0800 "
    "2024-02-03T04:05:06+08:00 2024-02-03T04:05:06-15:00 2024-02-03T04:05:06+14:30 2024-02-03T04:05:06.1234567Z "
    "2024-02-03T04:05:06.1Z 10:00:00 10:00"
).split()
TEXTS = (
    "a 80 true final foo male QUJD QUJ http://a.example/b urn:uuid:53fefa32-fcbb-4ff8-8a92-55ee120877b7 urn:oid:1.2.3 "
    "Patient/1 #c a/b?c a_b"
).split()
BLANKS = ("", " ", "a b", "a ", " a", "a  b", "a\tb", "a\u00a0", "2024-02-03 04:05:06Z", "Q U J D", "http://a b")
OTHERS: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 1.5, 5.0, 2**31, 1e300, "a" * 64, "a" * 65),
    *([], {}, [None], [[]], ["a"], [{}], {"a": 1}, {"value": "80"}, {"value": 80, "comparator": "~"}),
    *({"reference": "Patient/1"}, {"coding": [{"code": "a "}]}, {"text": "x"}, {"extension": []}),
    {"start": "2024-02-30"},
)
VALUES: tuple[Any, ...] = (*OTHERS, *TEXTS, *BLANKS, *DATES)
PLACES = ("effectiveDateTime", "issued", "status", "valueQuantity", "valueString", "id", "language", "subject")
OWN_RULES = ("JSON type of", "not in the required value set", "longer than 64", "unknown element", "expected")


@cache
def real_resources() -> list[dict[str, Any]]:
    """Resources of the mapped types, in a fixed order."""
    found = list(OWN)
    for folder in ("r4-examples", "us-core", "ips", "mcode"):
        for path in sorted((DATA / folder).glob("*.json")):
            resource = json.loads(path.read_bytes())
            entries = [entry.get("resource") for entry in resource.get("entry", [])] or [resource]
            found += [each for each in entries if each and each.get("resourceType") in TYPES and "id" in each]
    return sorted(found, key=lambda each: random.Random(each["id"]).random())


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a JSON value."""
    found = []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        found.append((value, key))
        found += places(item)
    return found


def mutilate(resource: dict[str, Any], draw: Any) -> None:
    """One change somewhere."""
    container, key = draw(st.sampled_from(places(resource)))
    how = draw(st.sampled_from(["replace", "replace", "drop", "wrap", "rename", "add", "copy"]))
    if how == "replace":
        container[key] = copy.deepcopy(draw(st.sampled_from(VALUES)))  # later changes must not reach VALUES
    elif how == "drop":
        del container[key]
    elif how == "wrap":
        container[key] = [container[key]]
    elif how == "copy":
        container[key] = copy.deepcopy(draw(st.sampled_from(places(resource))))[0]
    elif isinstance(container, dict):
        name = draw(
            st.sampled_from(["status", "_status", "valueString", "value", "id", "extension", "class_fhir", "zz"])
        )
        if how == "rename":
            container[name] = container.pop(key)
        else:
            container[name] = copy.deepcopy(draw(st.sampled_from(VALUES)))


def landed(resource: dict[str, Any]) -> str | None:
    """The reason beside "landed" ("" when nothing was mended); None for a resource that is refused."""
    raw = json.dumps(resource).encode()
    judge = Judge(1, "S", frozenset(TYPES), Limits())
    judge.judge([Unit(raw, None, 1, kind_of(raw))])
    return (
        next(reason for _, outcome, reason in judge.verdicts.counts if outcome == "landed") if _lines(judge) else None
    )


def _lines(judge: Judge) -> bool:
    return any(judge.verdicts.lines.values())


def with_offsets(resource: dict[str, Any]) -> dict[str, Any]:
    """The resource as it is read where its times lack an offset: the one departure from the models (README)."""
    text = re.sub(r'"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(?:\.[0-9]{1,9})?)"', r'"\1Z"', json.dumps(resource))
    found: dict[str, Any] = json.loads(text)
    return found


def model_accepts(resource: dict[str, Any]) -> bool:
    try:
        get_fhir_model_class(resource["resourceType"]).model_validate(copy.deepcopy(resource))
    except (ValueError, KeyError, AttributeError, TypeError):
        return False
    return True


def agree(resource: dict[str, Any]) -> None:
    """The three verdicts fit together."""
    if resource.get("resourceType") not in TYPES:
        return
    reason = landed(resource)
    accepted = reason is not None
    if reason == ZONE_ASSUMED:
        resource = with_offsets(resource)
    problems = problems_of(resource["resourceType"], resource)
    assert accepted == (not problems), problems
    if accepted:
        assert model_accepts(resource)
    elif model_accepts(resource):
        assert any(rule in problem for problem in problems for rule in OWN_RULES), problems


@pytest.mark.parametrize("kind", TYPES)
def test_whole_real_resources_are_judged_alike(kind: str) -> None:
    some = [each for each in real_resources() if each["resourceType"] == kind][:40]
    if not some and kind not in {each["resourceType"] for each in OWN}:
        pytest.skip(f"no resources of type {kind}: {DATA} is not here")
    for resource in some:
        agree(resource)


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_mutilated_resources_are_judged_alike(data: Any) -> None:
    resource = copy.deepcopy(data.draw(st.sampled_from(real_resources())))
    for _ in range(data.draw(st.integers(1, 3))):
        mutilate(resource, data.draw)
        if not places(resource):
            return
    agree(resource)


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("where", PLACES)
def test_every_value_in_every_place_is_judged_alike(where: str, value: Any) -> None:
    resource = {key: inner for key, inner in OWN[0].items() if key not in ("effectivePeriod", "contained")}
    agree({**resource, where: value})
