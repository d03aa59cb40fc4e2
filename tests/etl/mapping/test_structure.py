"""The elements of FHIR that a build reads are those of the models, and a build makes no model."""

import subprocess
import sys

import pytest

from etl.mapping.structure import Choice, Element, elements, is_type

COMPILE = """
import sys
from etl.mapping.language import load_mappings
from etl.pipeline import default_mappings
from etl.transform.transform import compile_mappings
assert compile_mappings(load_mappings(default_mappings()), ["A"])
print(*(name for name in sys.modules if name.startswith("fhir.resources.R4B.")))
"""


def test_elements_have_types_repetition_and_choices() -> None:
    observation = elements("Observation")
    assert observation["component"] == Element("component", "ObservationComponent", many=True)
    assert observation["status"] == Element("status", "code", many=False)
    value = observation["value"]
    assert isinstance(value, Choice)
    assert value.by_type["CodeableConcept"] == Element("valueCodeableConcept", "CodeableConcept", many=False)
    assert value.by_type["dateTime"].name == "valueDateTime"
    assert is_type("ObservationComponent")
    assert not is_type("Observatory")
    assert not is_type("string")
    with pytest.raises(KeyError):
        elements("Observatory")


def test_compiling_the_mappings_builds_no_model() -> None:
    done = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
