"""A small mappings folder that is right, to be made wrong in one place; the shipped vocabulary, loaded once."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from etl.mapping.checker import find_problems
from etl.vocabulary import load_vocabulary, shipped_folder

PATIENT = """\
resource: Patient
purpose: Persons.
rules:
  person:
    columns:
      person_id: $person
      gender_concept_id: {lookup: gender, path: gender, default: 0}
      year_of_birth: {path: "birthDate.substring(0, 4)", as: integer}
      race_concept_id: 0
      ethnicity_concept_id: 0
"""
OBSERVATION = """\
resource: Observation
purpose: Results.
departs_from:
  - {rule: f2o-080, what: method is not carried, why: no column}
fields:
  start: {path: effective.ofType(dateTime), as: datetime}
  person: {reference: subject, to: Patient, required: true}
concepts:
  code: {from: code, prefer: [LOINC, local]}
skip:
  - {when: "status = 'cancelled'", reason: cancelled}
require: [start]
rules:
  measurement:
    concept: code
    domain: [Measurement]
    unmapped: true
    columns:
      person_id: $person
      measurement_concept_id: $code.standard
      measurement_date: $start.date
      measurement_type_concept_id: 32856
      value_as_number: {path: value.ofType(Quantity).value, as: number}
  observation:
    concept: code
    domain: [Observation]
    columns:
      person_id: $person
      observation_concept_id: $code.standard
      observation_date: $start.date
      observation_type_concept_id: 32817
"""
LISTS = {
    "gender": "source_code,target_concept_id,comment\nmale,8507,\nfemale,8532,\n",
    "systems": "source_code,target_vocabulary_id\nhttp://loinc.org,LOINC\n",
    "units": "source_code,target_concept_code\npercent,%\n",
}


class Ground:
    """A mappings folder below a temporary one."""

    def __init__(self, folder: Path, vocabulary: duckdb.DuckDBPyConnection) -> None:
        self.folder = folder
        self.vocabulary = vocabulary
        self.write("resources/patient.yaml", PATIENT)
        self.write("resources/observation.yaml", OBSERVATION)
        for name, content in LISTS.items():
            self.write(f"codes/{name}.csv", content)

    def write(self, name: str, content: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")

    def change(self, name: str, old: str, new: str) -> None:
        """Replace one piece of a file; it must be there."""
        content = (self.folder / name).read_text(encoding="utf-8")
        assert old in content
        self.write(name, content.replace(old, new, 1))

    def line(self, name: str, text: str) -> int:
        """The number of the first line that has a text."""
        lines = (self.folder / name).read_text(encoding="utf-8").splitlines()
        return next(number for number, line in enumerate(lines, 1) if text in line)

    def problems(self) -> list[str]:
        return find_problems(self.folder, self.vocabulary)


@pytest.fixture(scope="session")
def vocabulary() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        load_vocabulary(connection, [shipped_folder()])
        yield connection


@pytest.fixture
def ground(tmp_path: Path, vocabulary: duckdb.DuckDBPyConnection) -> Ground:
    return Ground(tmp_path, vocabulary)
