"""The elements of FHIR that a build reads are those of the models, and a build makes no model."""

import subprocess
import sys
from pathlib import Path

import pytest

from etl.mapping import structure, structure_models
from etl.mapping.checker import main
from etl.mapping.structure import Choice, Element, elements, is_type
from etl.mapping.structure_models import stale, structure_file

COMPILE = """
import sys
from etl.mapping.language import load_mappings
from etl.pipeline import default_mappings
from etl.transform.transform import compile_mappings
assert compile_mappings(load_mappings(default_mappings()), ["A"])
print(*(name for name in sys.modules if name.startswith("fhir.resources.R4B.")))
"""


def test_the_file_says_what_the_models_say() -> None:
    assert stale(structure_file()) is None


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("value[x]:boolean|", "value[x]:"), ("code:CodeableConcept", "code:CodeableConcept*"), ("R4B", "R5"), ("\n", " ")],
)
def test_a_file_that_says_anything_else_is_stale(tmp_path: Path, right: str, wrong: str) -> None:
    copy = tmp_path / "structure.txt"
    text = structure_file().read_text(encoding="utf-8")
    assert right in text
    copy.write_text(text.replace(right, wrong, 1), encoding="utf-8")
    assert str(stale(copy)).startswith("structure.txt:1: is not what the fhir.resources models say")
    assert stale(tmp_path / "none.txt") is not None


def test_the_checker_refuses_a_stale_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("etl.mapping.checker.structure_file", lambda: tmp_path / "structure.txt")
    assert main([]) == 11
    assert "run python -m etl.mapping.structure_models" in capsys.readouterr().err


def test_the_program_tells_and_mends_a_stale_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure_models, "structure_file", lambda: tmp_path / "structure.txt")
    assert structure_models.main(["--check"]) == 1
    assert structure_models.main([]) == 0
    assert structure_models.main(["--check"]) == 0
    assert (tmp_path / "structure.txt").read_bytes() == structure_file().read_bytes()


def test_another_version_of_the_models_is_asked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    of_the_file = dict(structure._lines())
    asked: list[str] = []
    described = structure_models.described

    def listening(installed: str) -> str:
        asked.append(installed)
        return described(installed)

    monkeypatch.setattr(structure, "version", lambda _: "99.0")
    monkeypatch.setattr(structure_models, "described", listening)
    structure._lines.cache_clear()
    try:
        assert structure._lines() == of_the_file
    finally:
        structure._lines.cache_clear()
    assert asked == ["99.0"]


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
