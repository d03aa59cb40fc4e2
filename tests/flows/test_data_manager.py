"""The data manager's commands, as they are typed."""

import csv
from pathlib import Path

import duckdb

from etl.vocabulary import shipped_folder
from tests.flows.conftest import blina


def test_explain_tells_where_a_row_comes_from(site2_database: Path) -> None:
    with duckdb.connect(str(site2_database), read_only=True) as connection:
        row = connection.execute("SELECT min(measurement_id) FROM cdm.measurement").fetchone()
    assert row is not None
    ended = blina("explain", "measurement", row[0], "--db", f"duckdb:///{site2_database}")
    assert ended.code == 0, ended.err
    assert "from    SITE2: Observation no. " in ended.out
    assert "rule    " in ended.out


def test_explain_says_by_which_definitions_where_no_study_was_run(site2_database: Path) -> None:
    ended = blina("explain", "course", 1, "--db", f"duckdb:///{site2_database}")
    assert ended.code == 0, ended.err
    assert "no results of a study can be read there; blina's own definitions explain the course" in ended.err
    assert "state_pre" in ended.out + ended.err


def test_explain_of_a_wrong_table_is_a_usage_error(site2_database: Path) -> None:
    ended = blina("explain", "measurment", 1, "--db", f"duckdb:///{site2_database}")
    assert ended.code == 2
    assert "did you mean 'measurement'" in ended.err


def test_the_worklist_is_written_as_usagi_saves_it(site2_database: Path, tmp_path: Path) -> None:
    out = tmp_path / "list.csv"
    ended = blina("mappings", "worklist", "--db", f"duckdb:///{site2_database}", "--out", out)
    assert ended.code == 0, ended.err
    with out.open(encoding="utf-8", newline="") as lines:
        header = next(csv.reader(lines))
    assert header[:4] == ["sourceCode", "sourceName", "sourceFrequency", "sourceAutoAssignedConceptIds"]
    assert {"mappingStatus", "conceptId", "matchScore", "ADD_INFO:site"} <= set(header)


def test_a_review_with_a_wrong_target_is_a_mapping_error(site2_database: Path, tmp_path: Path) -> None:
    reviewed = tmp_path / "back.csv"
    reviewed.write_text("sourceCode,mappingStatus,conceptId,statusSetBy\nX,APPROVED,123456789,mei\n", encoding="utf-8")
    ended = blina("mappings", "accept", reviewed, "--site", "SITE2", "--db", f"duckdb:///{site2_database}")
    assert ended.code == 11
    assert "back.csv:2: concept 123456789 is not in the loaded vocabulary" in ended.err


def test_vocabulary_check_ends_with_13_and_every_problem() -> None:
    ended = blina("vocabulary", "check", "--vocabulary", shipped_folder(), "--require", "NDC", "--require", "Read")
    assert ended.code == 13
    assert ended.err.count("has no concept: download it from Athena") == 2


def test_vocabulary_subset_writes_an_athena_folder(site2_database: Path, tmp_path: Path) -> None:
    database = f"duckdb:///{site2_database}"
    ended = blina(
        "vocabulary", "subset", "--vocabulary", shipped_folder(), "--db", database, "--out", tmp_path / "cut", "--json"
    )
    assert ended.code == 0, ended.err
    assert ended.json["rows"]["concept"] > 0
    assert (tmp_path / "cut" / "CONCEPT_RELATIONSHIP.csv").is_file()
