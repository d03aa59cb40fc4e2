"""The review sheets say what the mapping files say, and the checked-in ones are up to date."""

import pytest

from etl.mapping.language import load_mappings
from etl.mapping.review import main, review_sheets
from etl.mapping.words import FormWords
from etl.vocabulary import shipped_folder

CASE = """\
title: A result keeps its number
given: []
expect: {measurement: [{measurement_id: "ref:o1", value_as_number: 5}]}
skip: {cancelled: 1}
"""


@pytest.fixture
def sheets(ground, tmp_path):
    ground.write("vocabulary/CONCEPT.csv", "concept_id\tconcept_name\n32856\tLab\n")
    ground.write("cases/observation/number.yaml", CASE)
    return review_sheets(ground.folder, tmp_path / "cases")


def test_a_column_is_told_in_words_with_path_list_and_case(sheets) -> None:
    observation = sheets["observation.md"].splitlines()
    assert "| value_as_number | as a number | `value.ofType(Quantity).value` |  | 1 |" in observation
    assert "| measurement_type_concept_id | always 32856 (Lab) |  |  |  |" in observation
    assert (
        "| measurement_date | day of `$start`, local to the site | `effective.ofType(dateTime)` |  |  |" in observation
    )
    assert "1. A result keeps its number" in observation
    gender = "| gender_concept_id | looked up in gender; else 0 | `gender` | [gender](../codes/gender.csv) |  |"
    assert gender in sheets["patient.md"].splitlines()


def test_skips_departures_and_routing_are_told(sheets) -> None:
    observation = sheets["observation.md"]
    assert "| skipped | *cancelled* | when `status = 'cancelled'` | 1 |" in observation
    assert "| rejected | *missing start* | when `$start` has no value |  |" in observation
    assert "| f2o-080 | method is not carried | no column |" in observation
    assert "standard concept of domain Measurement, or none at all" in observation


def test_the_two_visit_columns_say_which_row_they_mean() -> None:
    mapping = load_mappings(shipped_folder().parent).base["Condition"]
    words = FormWords(mapping, mapping.rules["condition_occurrence"], {})
    assert "the whole visit" in words.column("$visit", "visit_occurrence_id").words
    assert words.column("$visit", "visit_detail_id").words.startswith("visit detail of the Encounter referred to")
    assert words.column("$provider", "provider_id").words == (
        "row of the Practitioner or PractitionerRole referred to (who asserts it, else who wrote it down; "
        "of both the one who is said to be a practitioner)"
    )


def test_the_index_lists_every_resource(sheets) -> None:
    assert "| [Observation](observation.md) | measurement, observation | 1 | 1 |  |" in sheets["README.md"]
    assert "[Patient](patient.md)" in sheets["README.md"]


def test_a_pipe_in_an_expression_does_not_break_the_table(ground, tmp_path) -> None:
    ground.write("vocabulary/CONCEPT.csv", "concept_id\tconcept_name\n")
    ground.change("resources/observation.yaml", "status = 'cancelled'", "status in ('a' | 'b')")
    sheet = review_sheets(ground.folder, tmp_path / "cases")["observation.md"]
    assert r"when `status in ('a' \| 'b')`" in sheet


def test_the_sheets_in_the_repository_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().out
