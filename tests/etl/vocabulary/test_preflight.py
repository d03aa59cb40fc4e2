"""`blina vocabulary check`: what would make a build go wrong quietly."""

import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from etl.errors import VocabularyError
from etl.store import database_path
from etl.vocabulary.preflight import check_vocabulary

WANTED = ("SNOMED", "LOINC", "RxNorm", "UCUM")


@pytest.fixture
def athena(hospital: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(hospital.athena, tmp_path / "athena"))


def change(athena: Path, file: str, old: str, new: str) -> None:
    path = athena / f"{file}.csv"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def problems(athena: Path, **options: Any) -> str:
    return "\n".join(check_vocabulary([athena], **({"required": WANTED} | options)).problems)


def test_a_whole_download_has_no_problem(athena: Path) -> None:
    assert problems(athena) == ""


def test_vocabularies_of_the_study_are_missed_even_where_blina_ships_some_of_their_concepts(athena: Path) -> None:
    text = "\n".join(check_vocabulary([athena]).problems)
    for vocabulary in ("HemOnc", "NDC", "ATC"):
        assert f"vocabulary '{vocabulary}' has no concept" in text


def test_vocabularies_that_the_data_asks_for_are_missed(hospital: Any, athena: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.duckdb"
    shutil.copy(database_path(hospital.database), copy)
    with duckdb.connect(str(copy)) as connection:
        connection.execute(
            "INSERT INTO lineage.unmapped VALUES (1, 'SITE9', 'Condition', 'code', 'ICD10GM', 'D46', 'x', 3)"
        )
    text = problems(athena, database=f"duckdb:///{copy}")
    assert text == "vocabulary 'ICD10GM' is missing, and 1 codes of the data (3 times) are of it"


@pytest.mark.parametrize("word", ['""', "NULL", "\\N", "nan"])
def test_a_word_that_should_be_nothing_is_found(athena: Path, word: str) -> None:
    change(
        athena,
        "CONCEPT",
        "Broken toe\tCondition\tSNOMED\tDisorder\tS",
        f"Broken toe\tCondition\tSNOMED\tDisorder\t{word}",
    )
    assert "standard_concept is " in problems(athena)
    assert "only S, C or nothing at all is right there" in problems(athena)


def test_a_release_that_is_missing_or_another_one_is_found(hospital: Any, athena: Path) -> None:
    change(athena, "VOCABULARY", "01-JAN-26", "01-FEB-26")
    text = problems(athena, database=hospital.database)
    assert "built with release 'v5.0 01-JAN-26', these folders are 'v5.0 01-FEB-26'" in text
    change(athena, "VOCABULARY", "v5.0 01-FEB-26", "")
    assert "states no release" in problems(athena)


def test_folders_of_different_releases_are_found(hospital: Any, athena: Path) -> None:
    change(athena, "VOCABULARY", "01-JAN-26", "01-FEB-26")
    found = check_vocabulary([hospital.athena, athena], required=WANTED)
    assert any("different releases: v5.0 01-FEB-26, v5.0 01-JAN-26" in one for one in found.problems)


def test_cpt4_without_names_names_the_tool_that_fills_them(athena: Path) -> None:
    with (athena / "CONCEPT.csv").open("a", encoding="utf-8") as lines:
        lines.write("901\t\tProcedure\tCPT4\tCPT4\t\t99213\t19700101\t20991231\t\n")
    assert "CPT4: 1 concepts without a name: run the tool" in problems(athena)


def test_links_to_nowhere_and_to_what_is_not_standard_are_found(athena: Path) -> None:
    with (athena / "CONCEPT_RELATIONSHIP.csv").open("a", encoding="utf-8") as lines:
        lines.write("201\t9999\tMaps to\t19700101\t20991231\t\n105\t106\tMaps to\t19700101\t20991231\t\n")
    text = problems(athena)
    assert "CONCEPT_RELATIONSHIP.csv: 1 rows name a concept that CONCEPT.csv does not have" in text
    assert "1 `Maps to` rows lead to a concept that is not standard" in text


@pytest.mark.parametrize("file", ["CONCEPT_RELATIONSHIP", "CONCEPT_ANCESTOR", "VOCABULARY"])
def test_a_missing_file_is_found(athena: Path, file: str) -> None:
    (athena / f"{file}.csv").unlink()
    assert f"{file}.csv is missing" in problems(athena)


def test_all_problems_are_told_at_once_with_exit_code_13(athena: Path) -> None:
    (athena / "VOCABULARY.csv").unlink()
    (athena / "CONCEPT_ANCESTOR.csv").unlink()
    with pytest.raises(VocabularyError) as caught:
        check_vocabulary([athena], required=["NDC"]).refuse()
    assert caught.value.exit_code == 13
    assert len(caught.value.problems) >= 3
