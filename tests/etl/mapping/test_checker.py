"""Each refusal of the mapping checker: a small mapping made wrong in one place, with file, line and hint."""

import shutil
from pathlib import Path

import pytest

from etl.build_report import BuildReport
from etl.errors import MappingError
from etl.landing import Source
from etl.mapping.checker import check_mappings, find_problems, main
from etl.pipeline import build
from etl.settings import Settings
from etl.vocabulary import shipped_folder

# What is replaced in observation.yaml, by what, the text whose line is told, and what the refusal says.
REFUSALS = {
    "an element the resource does not have": (
        "value.ofType(Quantity).value", "valu.ofType(Quantity).value", "valu.", "did you mean 'value'?"),
    "a choice type without ofType": (
        "effective.ofType(dateTime), as", "effective, as", "start:", "effective[x] needs ofType"),
    "a type that a choice never has": (
        "effective.ofType(dateTime)", "effective.ofType(datetime)", "start:", "did you mean 'dateTime'?"),
    "a path over a repeating element": (
        "value.ofType(Quantity).value, as", "component.value.ofType(Quantity).value, as", "component", "repeats"),
    "an expression that is no FHIRPath": (
        "status = 'cancelled'", "status = ", "skip:", "is missing at the end"),
    "a criterion that is no yes/no": ("status = 'cancelled'", "status", "skip:", "is not a yes/no expression"),
    "an unknown function": (
        "status = 'cancelled'", "status.exist()", "skip:", "did you mean 'exists'?"),
    "an unknown table": (
        "  observation:\n    concept", "  observations:\n    concept", "  observations:",
        "did you mean 'observation'?"),
    "an unknown column": (
        "value_as_number:", "value_as_numeric:", "value_as_numeric", "did you mean 'value_as_number'?"),
    "a required column left out": (
        "      measurement_date: $start.date\n", "", "    columns:", "measurement_date is required by the CDM"),
    "an unknown field": (
        "measurement_date: $start.date", "measurement_date: $begin.date", "$begin", "no such field or concept"),
    "an unknown part": (
        "measurement_date: $start.date", "measurement_date: $start.day_", "$start.day_", "did you mean 'day'?"),
    "an unknown cast": ("as: datetime", "as: datetimes", "start:", "did you mean 'datetime'?"),
    "an unknown key of a field": (
        "as: datetime", "as: datetime, requird: true", "start:", "did you mean 'required'?"),
    "an unknown key of a rule": ("    unmapped: true", "    unmaped: true", "unmaped", "did you mean 'unmapped'?"),
    "an unknown key of a rule's own concept": (
        "    unmapped: true", "    unmapped: true\n    concepts: {code: {from: code, perfer: [LOINC]}}", "perfer",
        "did you mean 'prefer'?"),
    "an unknown key of a column": (
        "value.ofType(Quantity).value, as: number", "value.ofType(Quantity).value, defalt: 0", "defalt:",
        "did you mean 'default'?"),
    "an unknown kind of concept": (
        "{from: code, prefer", "{from: code, kind: values, prefer", "code: {", "did you mean 'value'?"),
    "a required field that is none": ("require: [start]", "require: [strat]", "require:", "did you mean 'start'?"),
    "a key that stands twice": (
        "purpose: Results.", "purpose: Results.\npurpose: Again.", "Again", "purpose stands twice"),
    "a date where a time belongs": (
        "measurement_date: $start.date", "measurement_date: $start.datetime", "$start.datetime",
        "takes date, but $start.datetime is a datetime"),
    "a text where a concept belongs": (
        "measurement_type_concept_id: 32856", "measurement_type_concept_id: lab", ": lab",
        "takes concept, but 'lab' is a text"),
    "a text where a number belongs": (
        "value.ofType(Quantity).value, as: number", "value.ofType(string)", "value_as_number",
        "takes integer or number, but value.ofType(string) is a text"),
    "a row of another type's resource": (
        "person_id: $person\n      measurement_concept_id",
        "person_id: {row_of: measurement, of: $person}\n      measurement_concept_id",
        "of: $person", "$person is no reference from Observation to Observation"),
    "a row of a field that is none": (
        "person_id: $person\n      measurement_concept_id",
        "person_id: {row_of: measurement, of: $persn}\n      measurement_concept_id",
        "of: $persn", "did you mean '$person'?"),
    "the text of what is no attachment": (
        "value_as_number: {path: value.ofType(Quantity).value, as: number}", "value_source_value: {text_of: code}",
        "text_of: code", "code is a CodeableConcept, not an Attachment"),
    "a concept where an id belongs": (
        "person_id: $person\n      measurement_concept_id", "person_id: $code.standard\n      measurement_concept_id",
        "person_id: $code", "takes id, but $code.standard is a concept"),
    "days that are no number": (
        "measurement_date: $start.date", "measurement_date: {plus_days: [$start.date, $code.source_value]}",
        "plus_days", "plus_days: takes an integer here, but $code.source_value is a text"),
    "an element with parts": (
        "value.ofType(Quantity).value, as", "value.ofType(Quantity), as", "value_as_number",
        "is a Quantity; say which"),
    "a concept that the vocabulary does not have": (
        "measurement_type_concept_id: 32856", "measurement_type_concept_id: 999999999", "999999999",
        "concept 999999999 is not in the vocabulary"),
    "a concept of another domain": (
        "measurement_type_concept_id: 32856", "measurement_type_concept_id: 8507", "8507",
        "concept 8507 is of domain Gender, measurement.measurement_type_concept_id asks for Type Concept"),
    "a domain that is none": (
        "domain: [Observation]", "domain: [Observations]", "[Observations]", "did you mean 'Observation'?"),
    "a vocabulary that is none": ("prefer: [LOINC", "prefer: [LONIC", "LONIC", "did you mean 'LOINC'?"),
    "a domain of another table": (
        "domain: [Observation]", "domain: [Observation, Condition]", "Condition]",
        "concepts of domain Condition belong to condition_occurrence"),
    "two rules for one row": (
        "    domain: [Observation]\n", "    table: measurement\n    domain: [Measurement]\n", "  observation:",
        "could write the same measurement row as measurement"),
    "two takers of codes without concept": (
        "    domain: [Observation]\n", "    domain: [Observation]\n    unmapped: true # 2\n", "# 2",
        "measurement takes the codes without a concept already"),
    "codes without concept that nobody takes": (
        "    unmapped: true\n", "", "  measurement:", "one rule needs `unmapped: true`"),
    "a departure from an unknown rule": ("rule: f2o-080", "rule: f2o-880", "f2o-880", "did you mean 'f2o-080'?"),
    "a departure without reason": (", why: no column", "", "f2o-080", "why is missing"),
    "a list where names belong": ("fields:\n  start: {path: effective.ofType(dateTime), as: datetime}\n  person:",
                                  "fields:\n  - start\nx:\n  person:", "fields:", "must be a mapping of names"),
    "a field that is only a path": (
        "start: {path: effective.ofType(dateTime), as: datetime}", "start: effective", "start:", "must be a mapping"),
    "a resource type that does not exist": (
        "resource: Observation", "resource: Observatoin", "resource:", "is no FHIR R4 resource type"),
    "no resource type": ("resource: Observation\n", "", "purpose", "the FHIR resource type is missing"),
}  # fmt: skip


@pytest.mark.parametrize("refusal", REFUSALS)
def test_refuses(refusal: str, ground) -> None:
    old, new, at, message = REFUSALS[refusal]
    ground.change("resources/observation.yaml", old, new)
    place = f"observation.yaml:{ground.line('resources/observation.yaml', at)}: "
    found = [problem for problem in ground.problems() if problem.startswith(place)]
    assert any(message in problem for problem in found), ground.problems()


def test_a_right_folder_has_no_fault(ground) -> None:
    assert ground.problems() == []


def test_the_shipped_mappings_have_no_fault() -> None:
    check_mappings(shipped_folder().parent)


def test_all_faults_come_at_once_in_order_of_line(ground) -> None:
    ground.change("resources/observation.yaml", "rule: f2o-080", "rule: f2o-880")
    ground.change("resources/observation.yaml", "value_as_number:", "value_as_numeric:")
    ground.change("resources/patient.yaml", "path: gender", "path: gander")
    ground.change("codes/gender.csv", "8532", "eight")
    with pytest.raises(MappingError) as refused:
        check_mappings(ground.folder, ground.vocabulary)
    places = [problem.split(": ")[0] for problem in refused.value.problems]
    assert places == ["codes/gender.csv:3", "observation.yaml:4", "observation.yaml:23", "patient.yaml:7"]
    assert refused.value.exit_code == 11


LIST_FAULTS = {
    "an unknown column": ("comment", "coment", 1, "did you mean 'comment'?"),
    "a column that is missing": ("target_concept_id", "target_concept", 1, "column target_concept_id is missing"),
    "a code that stands twice": ("female,", "male,", 3, "'male' stands twice (the other at codes/gender.csv:2)"),
    "a target that is no number": ("8532", "eight", 3, "target_concept_id 'eight' is no concept id"),
    "a target that the vocabulary does not have": ("8532", "85320000", 3, "concept 85320000 is not in the vocabulary"),
    "a target of another domain": ("8532", "8515", 3, "is of domain Race, person.gender_concept_id asks for Gender"),
}


@pytest.mark.parametrize("fault", LIST_FAULTS)
def test_refuses_in_a_code_list(fault: str, ground) -> None:
    old, new, line, message = LIST_FAULTS[fault]
    ground.change("codes/gender.csv", old, new)
    assert [one for one in ground.problems() if one.startswith(f"codes/gender.csv:{line}: ") and message in one]


def test_refuses_a_lookup_without_list(ground) -> None:
    ground.change("resources/patient.yaml", "lookup: gender", "lookup: genders")
    (found,) = ground.problems()
    assert found.startswith("patient.yaml:7: ")
    assert "did you mean 'gender'?" in found


def test_refuses_an_alias_of_no_unit(ground) -> None:
    ground.change("codes/units.csv", "percent,%", "percent,%%")
    assert ground.problems() == ["codes/units.csv:2: %% is no UCUM unit of the vocabulary (did you mean '%'?)"]


def test_refuses_a_code_map_target_that_is_not_there(ground) -> None:
    header = "source_code,source_vocabulary_id,target_vocabulary_id,target_concept_code\n"
    ground.write("sites/S1/codes/source_to_concept_map.csv", header + "X1,BLINA_S1,BLINA,NO_SUCH_THING\n")
    (found,) = ground.problems()
    assert found.startswith("sites/S1/codes/source_to_concept_map.csv:2: ")
    assert "not in the loaded vocabulary" in found


def test_a_code_without_meaning_on_purpose_is_no_fault(ground) -> None:
    header = "source_code,source_vocabulary_id,target_vocabulary_id,target_concept_code\n"
    ground.write("sites/S1/codes/source_to_concept_map.csv", header + "X1,BLINA_S1,None,No matching concept\n")
    assert ground.problems() == []


TYPE = "rules.measurement.columns.measurement_type_concept_id"
OVERRIDES = {
    "without why": (
        "rules: {measurement: {columns: {measurement_type_concept_id: 32817}}}", f"2: {TYPE}: a change needs `why:`"),
    "that changes nothing": (
        "why: x\nrules: {measurement: {columns: {measurement_type_concept_id: 32856}}}", f"3: {TYPE}: changes nothing"),
    "with a skip that is there": (
        "skip:\n  - {when: \"status = 'cancelled'\", reason: cancelled, why: x}", "3: skip.0: changes nothing"),
    "with an unknown column": (
        "rules: {measurement: {why: x, columns: {value_as_numbr: 1}}}", "2: rules.measurement.columns.value_as_numbr"),
    "of another resource": ("resource: Patient", "2: resource: an override cannot change"),
}  # fmt: skip


@pytest.mark.parametrize("override", OVERRIDES)
def test_refuses_a_site_override(override: str, ground) -> None:
    content, message = OVERRIDES[override]
    ground.write("sites/S1/observation.yaml", f"extends: observation\n{content}\n")
    assert [one for one in ground.problems() if one.startswith(f"S1/observation.yaml:{message}")]


def test_refuses_an_override_of_no_file(ground) -> None:
    ground.write("sites/S1/observation.yaml", "extends: observatoin\nwhy: x\n")
    assert ground.problems() == [
        "S1/observation.yaml:1: extends 'observatoin', which is no file (did you mean 'observation'?)"
    ]


def test_an_explained_override_is_no_fault(ground) -> None:
    start = "{first_of: [effective.ofType(Period).start, issued], why: this hospital sends no dateTime}"
    ground.write("sites/S1/observation.yaml", f"extends: observation\nfields:\n  start: {start}\n")
    assert ground.problems() == []


def test_a_folder_without_resources_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="no mappings folder"):
        find_problems(tmp_path)


def test_the_command_gives_the_exit_code(ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.change("resources/observation.yaml", "value_as_number:", "value_as_numeric:")
    assert main([str(ground.folder)]) == 11
    assert "value_as_numeric" in capsys.readouterr().err


def _build_with_type(type_concept: int, place: Path) -> BuildReport:
    """A build with a mapping that gives administrations this type concept."""
    folder = place / "mappings"
    shutil.copytree(shipped_folder().parent, folder)
    file = folder / "resources" / "medication_administration.yaml"
    text = file.read_text(encoding="utf-8").replace("type_concept_id: 32818", f"type_concept_id: {type_concept}", 1)
    file.write_text(text, encoding="utf-8")
    (place / "p.json").write_text('{"resourceType": "Patient", "id": "p", "birthDate": "2015-03-09"}')
    database = f"duckdb:///{place / 'o.duckdb'}"
    return build([Source("S", place / "p.json")], database=database, settings=Settings(key="k"), mappings=folder)


def test_a_build_refuses_an_id_that_the_loaded_vocabulary_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(MappingError) as raised:
        _build_with_type(99999999, tmp_path)
    place, said = raised.value.problems[0].split(": ", 1)
    assert place.startswith("medication_administration.yaml:")
    assert said == "rules.drug_exposure.columns.drug_type_concept_id: concept 99999999 is not in the vocabulary"


def test_a_build_tells_an_id_of_another_domain(tmp_path: Path) -> None:
    (told,) = [one for one in _build_with_type(8507, tmp_path).vocabulary_warnings if "8507" in one]
    assert told.endswith("concept 8507 is of domain Gender, drug_exposure.drug_type_concept_id asks for Type Concept")
