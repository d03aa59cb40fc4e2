"""The worklist for Usagi, and the way back of the reviewed file into a site's code map."""

import csv
import shutil
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from etl.errors import CdmError, MappingError
from etl.mapping.candidates import find_candidates
from etl.mapping.checker import check_mappings
from etl.mapping.reviewed import accept
from etl.mapping.worklist import INFO, Worklist, guarded, unguarded, worklist, write_worklist
from etl.pipeline import default_mappings
from etl.vocabulary import load_vocabulary, normalise_code, shipped_folder

Rows = list[dict[str, str]]


def read(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def save(path: Path, rows: Rows) -> Path:
    with path.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, list(dict.fromkeys(name for row in rows for name in row)), restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def rows(hospital: Any, tmp_path: Path) -> Rows:
    write_worklist(worklist(hospital.database), tmp_path / "list.csv")
    return read(tmp_path / "list.csv")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the mappings whose site maps may be written."""
    return Path(shutil.copytree(default_mappings(), tmp_path / "mappings"))


def approve(row: dict[str, str], concept_id: int, **changes: str) -> dict[str, str]:
    return row | {
        "mappingStatus": "APPROVED",
        "conceptId": str(concept_id),
        "statusSetBy": "mei",
        "statusSetOn": "1767225600000",
        **changes,
    }


def test_an_unknown_code_is_listed_with_its_count_and_the_concept_of_the_nearest_name(rows: Rows) -> None:
    one = next(row for row in rows if row["sourceCode"] == "99999999")
    assert (one["sourceName"], one["sourceFrequency"]) == ("Acute B cell leukemia", "2")
    assert (one[f"{INFO}sourceVocabulary"], one[f"{INFO}element"]) == ("SNOMED", "Condition.code")
    assert (one["conceptId"], one["mappingStatus"]) == ("103", "UNCHECKED")
    assert one[f"{INFO}candidate1"].startswith("103 | Acute leukemia of B cells | Condition | SNOMED 900003 | 0.")


def test_result_texts_that_may_tell_of_one_patient_are_only_counted(hospital: Any) -> None:
    found = worklist(hospital.database)
    codes = found.codes["source_code"].to_list()
    assert "sehr trueb" in codes
    assert not [code for code in codes if "Anna" in code or "friday" in code or "May" in code]
    assert found.left_out == 1  # the build itself leaves out texts with digits of any script


def test_rare_result_texts_are_listed_on_demand_but_never_with_digits(hospital: Any) -> None:
    codes = worklist(hospital.database, rare_texts=True).codes["source_code"].to_list()
    assert "the neighbour Anna saw it" in codes
    assert not [code for code in codes if "friday" in code]


def test_the_most_frequent_code_comes_first(rows: Rows) -> None:
    counts = [int(row["sourceFrequency"]) for row in rows]
    assert counts == sorted(counts, reverse=True)


def test_no_cell_is_a_formula_for_a_spreadsheet(rows: Rows) -> None:
    one = next(row for row in rows if "leukaemia" in row["sourceName"])
    assert one["sourceCode"] == "'=leukaemia of the house"


@pytest.mark.parametrize("text", ["=1", "+", "++", "-", "@x", "'quoted", "'=x", "plain", ""])
def test_a_guarded_cell_comes_back_as_it_was(text: str) -> None:
    assert unguarded(guarded(text)) == text


def test_a_code_with_a_quotation_mark_survives_programs_that_escape_it_differently(
    hospital: Any, folder: Path, tmp_path: Path
) -> None:
    codes = pl.DataFrame(
        {
            "item": [1], "site": ["SITE9"], "source_vocabulary_id": ["BLINA_SITE9"], "source_code": ['5" \\ b'],
            "source_name": ['5" b'], "n": [1], "elements": ["Observation.code"], "domains": [["Measurement"]],
        }
    )  # fmt: skip
    write_worklist(Worklist(codes, pl.DataFrame({"item": []}), 0), tmp_path / "list.csv")
    text = (tmp_path / "list.csv").read_text(encoding="utf-8")
    assert '"' not in text
    assert "\\" not in text
    back = save(tmp_path / "back.csv", [approve(one, 301) for one in read(tmp_path / "list.csv")])
    done = accept(back, "SITE9", database=hospital.database, mappings=folder)
    assert read(done.file)[0]["source_code"] == '5" \\ b'


def test_a_comment_as_usagi_escapes_it_does_not_break_the_row(hospital: Any, folder: Path, tmp_path: Path) -> None:
    back = tmp_path / "back.csv"
    back.write_text(
        'sourceCode,mappingStatus,comment,conceptId,statusSetBy\nX,APPROVED,"so \\"called\\", yes",103,mei\n',
        encoding="utf-8",
    )
    assert accept(back, "SITE9", database=hospital.database, mappings=folder).added == 1


def test_the_same_word_of_two_sites_stays_two_rows_in_usagi(tmp_path: Path) -> None:
    codes = pl.DataFrame(
        {
            "item": [1, 2], "site": ["A", "B"], "source_vocabulary_id": ["BLINA_A", "BLINA_B"],
            "source_code": ["neg", "neg"], "source_name": ["neg", "neg"], "n": [2, 1],
            "elements": ["Observation.value"] * 2, "domains": [["Meas Value"]] * 2,
        }
    )  # fmt: skip
    write_worklist(Worklist(codes, pl.DataFrame({"item": []}), 0), tmp_path / "list.csv")
    assert [row["sourceName"] for row in read(tmp_path / "list.csv")] == ["neg [A BLINA_A]", "neg [B BLINA_B]"]


def test_a_site_without_unmapped_codes_has_an_empty_list(hospital: Any, tmp_path: Path) -> None:
    write_worklist(worklist(hospital.database, "ELSEWHERE"), tmp_path / "list.csv")
    assert read(tmp_path / "list.csv") == []


def test_a_database_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CdmError, match="there is no such database"):
        worklist(f"duckdb:///{tmp_path / 'none.duckdb'}")


def test_names_are_found_despite_spelling_order_and_script() -> None:
    with duckdb.connect() as work:
        work.execute(
            """CREATE SCHEMA cdm;
               CREATE TABLE cdm.concept AS SELECT * FROM (VALUES
                 (1, 'blinatumomab', 'Drug', 'RxNorm', 'S', 'a', NULL),
                 (2, 'Fever', 'Condition', 'SNOMED', 'S', 'b', NULL),
                 (3, 'Leukemia of B cells', 'Condition', 'SNOMED', 'S', 'c', NULL),
                 (4, 'Leukemia, old', 'Condition', 'SNOMED', NULL, 'd', 'U'))
                 AS t (concept_id, concept_name, domain_id, vocabulary_id, standard_concept, concept_code,
                       invalid_reason);
               CREATE TABLE cdm.concept_synonym AS SELECT 2 AS concept_id, '発熱' AS concept_synonym_name"""
        )
        names = pl.DataFrame(
            {
                "item": [1, 2, 3, 4],
                "name": ["Blinatumumab", "発熱 (疑い)", "B cell leukemia", "LEUKEMIA OF B CELLS (disorder)"],
                "domains": [["Drug"], ["Condition"], [], ["Drug"]],
            }
        )
        found = find_candidates(work, names)
    best = {item: (concept, score) for item, rank, concept, score in found.select(
        "item", "rank", "concept_id", "score").iter_rows() if rank == 1}  # fmt: skip
    assert {item: concept for item, (concept, _) in best.items()} == {1: 1, 2: 2, 3: 3, 4: 3}
    assert best[4][1] == 0.7  # the same name, of a domain that the element does not take
    assert 4 not in found["concept_id"].to_list()


def test_approved_rows_go_into_the_code_map_and_the_next_build_uses_them(
    hospital: Any, rows: Rows, folder: Path, tmp_path: Path
) -> None:
    reviewed = [approve(row, 103) if "leuk" in row["sourceName"] else row for row in rows]
    done = accept(save(tmp_path / "back.csv", reviewed), "SITE9", database=hospital.database, mappings=folder)
    assert (done.added, done.not_approved) == (2, len(rows) - 2)
    written = {row["source_code"]: row for row in read(done.file)}
    assert written["=leukaemia of the house"]["source_vocabulary_id"] == "BLINA_SITE9"
    one = written["99999999"]
    assert (one["source_vocabulary_id"], one["target_vocabulary_id"], one["target_concept_code"]) == (
        "SNOMED", "SNOMED", "900003",
    )  # fmt: skip
    assert (one["reviewed_by"], one["reviewed_on"], one["target_concept_id"]) == ("mei", "2026-01-01", "")
    with duckdb.connect() as vocabulary:
        load_vocabulary(vocabulary, [hospital.athena, shipped_folder()])
        check_mappings(folder, vocabulary)
    again = hospital.build(tmp_path / "again.duckdb", hospital.athena, folder)
    assert "99999999" not in worklist(again, mappings=folder).codes["source_code"].to_list()


def test_accepting_twice_changes_nothing(hospital: Any, rows: Rows, folder: Path, tmp_path: Path) -> None:
    back = save(tmp_path / "back.csv", [approve(rows[0], 103)])
    first = accept(back, "SITE9", database=hospital.database, mappings=folder)
    text = first.file.read_text(encoding="utf-8")
    second = accept(back, "SITE9", vocabulary=[hospital.athena], mappings=folder)
    assert (second.added, second.present) == (0, 1)
    assert second.file.read_text(encoding="utf-8") == text


def test_a_new_review_replaces_the_targets_of_its_code_only(
    hospital: Any, rows: Rows, folder: Path, tmp_path: Path
) -> None:
    map_file = folder / "sites" / "SITE3" / "codes" / "source_to_concept_map.csv"
    before = read(map_file)
    old = before[0]
    row = rows[0] | {"sourceCode": old["source_code"], f"{INFO}site": "", f"{INFO}sourceVocabulary": ""}
    done = accept(
        save(tmp_path / "b.csv", [approve(row, 103)]), "SITE3", database=hospital.database, mappings=folder
    )  # fmt: skip
    after = read(map_file)
    same_code = normalise_code(old["source_code"])
    targets = [one["target_concept_code"] for one in after if normalise_code(one["source_code"]) == same_code]
    assert (done.added, targets) == (1, ["900003"])
    others = [one["source_code"] for one in before if normalise_code(one["source_code"]) != same_code]
    assert sorted(others) == sorted(one["source_code"] for one in after if one["target_concept_code"] != "900003")
    keys = [(one["source_vocabulary_id"], one["source_code"]) for one in after]
    assert keys == sorted(keys)


def test_all_faults_are_told_with_their_line_and_nothing_is_written(
    hospital: Any, rows: Rows, folder: Path, tmp_path: Path
) -> None:
    wrong = [
        approve(rows[0], 201), approve(rows[0], 77), approve(rows[0], 103, statusSetBy=""),
        approve(rows[0], 103, mappingType="MAPS_TO_VALUE"), approve(rows[0], 0), rows[0] | {"mappingStatus": "APROVED"},
    ]  # fmt: skip
    path = save(tmp_path / "back.csv", wrong)
    with pytest.raises(MappingError) as caught:
        accept(path, "SITE9", database=hospital.database, mappings=folder)
    told = "\n".join(caught.value.problems)
    for line, words in {
        2: "concept 201 is no standard concept", 3: "concept 77 is not in the loaded vocabulary", 4: "nobody signed it",
        5: "MAPS_TO_VALUE", 6: "'0' is no concept", 7: "did you mean 'APPROVED'",
    }.items():  # fmt: skip
        assert any(problem.startswith(f"{path}:{line}: ") and words in problem for problem in caught.value.problems), (
            told
        )
    assert not (folder / "sites" / "SITE9").exists()


def test_a_file_of_another_kind_is_refused_with_a_hint(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("sourcecode,mappingStatus,conceptId\n1,APPROVED,1\n", encoding="utf-8")
    with pytest.raises(MappingError, match=r"column sourceCode is missing.*did you mean 'sourcecode'"):
        accept(path, "SITE9", mappings=folder)
