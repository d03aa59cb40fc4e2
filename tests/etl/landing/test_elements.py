"""The elements that landing knows are those of the `fhir.resources` models, and sound input needs no model at all."""

import subprocess
import sys
from datetime import date
from importlib.metadata import version

import msgspec
import pytest

from etl.landing import describe, elements
from etl.landing.elements import Unknown, elements_of, is_r4b_resource, is_resource_type
from etl.landing.structure import PRIMITIVES


def test_the_file_is_what_the_models_say(tmp_path, monkeypatch, capsys) -> None:
    text = describe.described(version("fhir.resources"))
    assert elements.FILE.read_text(encoding="utf-8") == text, "stale: python -m etl.landing.describe"
    assert text.count("\n") > 600
    stale = tmp_path / "elements_r4b.txt"
    stale.write_text(text.replace("Patient+ id:id", "Patient+ id:string"), encoding="utf-8")
    monkeypatch.setattr(describe, "FILE", stale)
    assert describe.main(["--check"]) == 1
    assert "stale" in capsys.readouterr().err
    assert describe.main([]) == describe.main(["--check"]) == 0


def test_another_version_of_the_models_is_asked_itself(tmp_path, monkeypatch) -> None:
    old = tmp_path / "elements_r4b.txt"
    old.write_text(elements.heading("0.1") + "\nPatient+ id:id\n", encoding="utf-8")
    monkeypatch.setattr(elements, "FILE", old)
    asked = elements._lines.__wrapped__()
    assert "birthDate:date" in asked["Patient+"].split()


def test_elements_have_type_cardinality_choice_and_codes() -> None:
    observation = elements_of("Observation")
    assert list(observation)[:3] == ["id", "meta", "implicitRules"]
    assert observation["status"].required
    assert "final" in (observation["status"].codes or ())
    assert observation["valueQuantity"].choice == "value"
    assert observation["component"].type == "ObservationComponent"
    assert observation["component"].is_list
    assert not observation["component"].primitive
    assert observation["valueString"].extensible
    assert not observation["id"].extensible
    assert elements_of("Encounter")["class"].required
    with pytest.raises(Unknown):
        elements_of("Pateint")


def test_resources_are_told_from_other_types() -> None:
    assert is_r4b_resource("Patient")
    assert not is_r4b_resource("Coding")
    assert not is_r4b_resource("MedicinalProduct")
    assert is_resource_type("MedicinalProduct")
    assert not is_resource_type("Coding")
    assert not is_resource_type("Pateint")


def test_sound_input_is_landed_without_building_a_model(ground, make) -> None:
    # the line break in the text makes the strict types look at the 29th of February, too
    told = {"text": {"status": "generated", "div": "<div>one\nand another</div>"}, "deceasedDateTime": "2020-02-29"}
    ground.drop("a.json", make["bundle"](make["patient"](1) | told, make["observation"](1), {"resourceType": "Claim"}))
    program = (
        "import sys; from pathlib import Path; from etl.landing import Source, land;"
        f"landed = land([Source('S', Path({str(ground.sources)!r}))], Path({str(ground.folder / 'o')!r}),"
        " ['Patient', 'Observation']);"
        "assert landed.counts.filter(outcome='landed')['n'].sum() == 3;"
        "sys.exit(any(name.split('.')[0] in ('fhir', 'pydantic') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-W", "error", "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("kind", ["date", "dateTime", "instant"])
def test_the_strict_types_know_the_days_that_there_are(kind) -> None:
    strict = msgspec.json.Decoder(PRIMITIVES[kind])
    ending = "T12:00:00Z" if kind == "instant" else ""
    days = [f"{year:04}-{day}" for year in range(1890, 2110) for day in ("02-28", "02-29", "02-30", "04-31", "12-31")]
    for day in days:
        try:
            strict.decode(f'"{day}{ending}"')
            taken = True
        except msgspec.ValidationError:
            taken = False
        try:
            date.fromisoformat(day)
            there_is = True
        except ValueError:
            there_is = False
        assert taken == there_is, day
