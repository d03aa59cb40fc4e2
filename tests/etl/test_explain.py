"""One row explained, back to its resource and rule, without a patient's value unless asked for."""

import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

import etl.cdm
from etl.errors import CdmError, UsageError
from etl.explain import explain_row
from etl.explain_derived import DERIVED
from etl.pipeline import default_mappings
from etl.store import database_path


def row_id(hospital: Any, table: str, where: str = "true") -> int:
    with duckdb.connect(str(database_path(hospital.database)), read_only=True) as connection:
        key = etl.cdm.ROW_KEYS[table]
        found = connection.execute(f"SELECT {key} FROM cdm.{table} WHERE {where} ORDER BY 1").fetchone()
    assert found is not None, f"{table} where {where}: no row"
    return int(found[0])


def explained(hospital: Any, table: str, where: str = "true", **options: Any) -> str:
    return explain_row(hospital.database, table, row_id(hospital, table, where), **options)


def test_a_row_leads_to_its_resource_rule_paths_and_chain_of_concepts(hospital: Any) -> None:
    text = explained(hospital, "condition_occurrence", "condition_source_value = 'D64.99'")
    for words in (
        "from    SITE9: Condition no. ",
        "entry or line ",
        "rule    condition_occurrence, condition.yaml:",
        "condition_concept_id: standard concept of $code, 0 if none; from code",
        "onset.ofType(dateTime)",
        "  %refuted means: there is no such disease: ",
        "(the source gave only the month)",
        "code list mappings/codes/reported_by_patient.csv, mappings/codes/condition_category.csv",
        "source 'D64.99' → source concept 201 ICD10CM D64.99 Anemia, billed [Condition] → Maps to → standard",
        "standard concept 102 SNOMED 900002 Anemia of the small hospital [Condition] → table condition_occurrence",
    ):
        assert words in text


def test_ids_dates_and_texts_of_the_patient_are_shown_only_on_demand(hospital: Any) -> None:
    which = "condition_source_value LIKE '=leuk%'"
    hidden = explained(hospital, "condition_occurrence", which)
    shown = explained(hospital, "condition_occurrence", which, values=True)
    for secret in ("geheim-4711", "2024-03", "=leukaemia of the house"):
        assert secret not in hidden
        assert secret in shown
    assert "source text (hidden: --values) → 0: no standard concept, on the work list" in hidden


def test_a_code_that_no_vocabulary_has_is_still_a_code(hospital: Any) -> None:
    text = explained(hospital, "condition_occurrence", "condition_source_value = '99999999'")
    assert "source '99999999' → 0: no standard concept, on the work list" in text


def test_a_standard_code_is_said_once(hospital: Any) -> None:
    text = explained(hospital, "measurement", "value_as_number = 7.5")
    chain = next(line for line in text.splitlines() if line.startswith("  measurement_concept_id: source"))
    assert chain.count("concept 301") == 1
    assert "is standard itself" in chain
    assert "source 'mg/dL'" in text


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("observation_period", "condition_occurrence, 5 rows: "),
        ("condition_era", "condition_occurrence, 2 rows: "),
        ("drug_era", "drug_exposure, 1 rows: "),
    ],
)
def test_a_derived_row_says_how_and_from_which_rows(hospital: Any, table: str, words: str) -> None:
    text = explained(hospital, table)
    assert f"derived: {table} " in text
    assert words in text


def test_a_column_that_a_lookup_fills_names_its_code_list(hospital: Any) -> None:
    text = explained(hospital, "person")
    assert "code list mappings/codes/gender.csv → standard concept 8532" in text
    words_of_the_mapping = "%born_female", "birth sex says female", "stated as male or female", "'female'"
    for words in words_of_the_mapping:
        text = text.replace(words, "")
    assert "female" not in text


def test_rows_of_every_table_can_be_explained(hospital: Any) -> None:
    with duckdb.connect(str(database_path(hospital.database)), read_only=True) as connection:
        tables = [name for name in etl.cdm.ROW_KEYS if name not in etl.cdm.VOCABULARY_TABLES]
        rows = [
            (table, number)
            for table in tables
            for (number,) in connection.execute(f"SELECT {etl.cdm.ROW_KEYS[table]} FROM cdm.{table} LIMIT 2").fetchall()
        ]
    for table, number in rows:
        text = explain_row(hospital.database, table, number)
        assert ("derived: " if table in DERIVED else "\nrule    ") in text, f"{table}: {text}"


def test_a_mapping_that_has_changed_since_is_told(hospital: Any, tmp_path: Path) -> None:
    changed = Path(shutil.copytree(default_mappings(), tmp_path / "mappings"))
    file = changed / "resources" / "condition.yaml"
    file.write_text(file.read_text(encoding="utf-8") + "# later\n", encoding="utf-8")
    assert "have changed since this build" in explained(hospital, "condition_occurrence", mappings=changed)
    assert "have changed since this build" not in explained(hospital, "condition_occurrence")


@pytest.mark.parametrize(
    ("table", "number", "words"),
    [
        ("mesurement", 1, "no such table in the OMOP CDM .did you mean 'measurement'"),
        ("measurement", 1, "measurement has no row 1"),
        ("measurement", "abc", "measurement_id is a whole number"),
        ("concept", 1, "come from the vocabulary folder"),
        ("cohort", 1, "come from the study"),
    ],
)
def test_what_is_not_there_is_a_mistake_of_the_command_line(hospital: Any, table: str, number: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        explain_row(hospital.database, table, number)


def test_an_id_of_another_table_is_recognised(hospital: Any) -> None:
    with pytest.raises(UsageError, match="did you mean 'person'"):
        explain_row(hospital.database, "measurement", row_id(hospital, "person"))


def test_a_database_of_someone_else_is_refused(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
        connection.execute("CREATE SCHEMA cdm")
    with pytest.raises(CdmError, match="blina did not build it"):
        explain_row(f"duckdb:///{tmp_path / 'x.duckdb'}", "person", 1)
