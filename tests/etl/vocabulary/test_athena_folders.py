"""Athena folders: what is read, what a second folder may add, what is refused."""

import gzip
from pathlib import Path

import duckdb
import pytest

from etl.errors import VocabularyError
from etl.vocabulary import load_vocabulary, preflight

CONCEPT, LINK, VOCABULARY = (
    "\t".join(columns.split()) + "\n"
    for columns in (
        (
            "concept_id concept_name domain_id vocabulary_id concept_class_id standard_concept concept_code "
            "valid_start_date valid_end_date invalid_reason"
        ),
        "concept_id_1 concept_id_2 relationship_id valid_start_date valid_end_date invalid_reason",
        "vocabulary_id vocabulary_name vocabulary_reference vocabulary_version vocabulary_concept_id",
    )
)


def concept(concept_id: int, vocabulary: str, code: str, *, standard: str = "S", name: str = "x") -> str:
    return f"{concept_id}\t{name}\tMeasurement\t{vocabulary}\tLab\t{standard}\t{code}\t20200101\t20991231\t\n"


def link(one: int, two: int, kind: str = "Maps to") -> str:
    return f"{one}\t{two}\t{kind}\t19700101\t20991231\t\n"


@pytest.fixture
def work() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def folder(at: Path, name: str, **files: str) -> Path:
    made = at / name
    made.mkdir()
    for file, text in files.items():
        (made / f"{file}.csv").write_text(text, encoding="utf-8")
    return made


def test_codes_that_look_like_missing_values_stay_codes(work: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    rows = "".join(concept(n, "CVX", code) for n, code in enumerate(["08", "NA", "null", "None", '5" x'], 1))
    load_vocabulary(work, [folder(tmp_path, "a", CONCEPT=CONCEPT + rows)])
    codes = [code for (code,) in work.execute("SELECT concept_code FROM vocab.concept ORDER BY concept_id").fetchall()]
    assert codes == ["08", "NA", "null", "None", '5" x']


def test_empty_texts_become_null_and_dates_are_dates(work: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    load_vocabulary(work, [folder(tmp_path, "a", CONCEPT=CONCEPT + concept(1, "LOINC", "1-1", standard=""))])
    row = work.execute("SELECT standard_concept, invalid_reason, year(valid_start_date) FROM vocab.concept").fetchone()
    assert row == (None, None, 2020)


def test_the_release_is_the_first_that_a_folder_states(work: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    first = folder(tmp_path, "a", CONCEPT=CONCEPT + concept(1, "LOINC", "1-1"))
    second = folder(
        tmp_path,
        "b",
        CONCEPT=CONCEPT + concept(2, "LOINC", "2-2"),
        VOCABULARY=VOCABULARY + "None\tOMOP\t\tv5.0 30-AUG-24\t0\n",
    )
    release = load_vocabulary(work, [first, second])
    assert release.version == "v5.0 30-AUG-24"
    assert [one.concepts_added for one in release.folders] == [1, 1]


def test_a_later_folder_changes_nothing_that_is_there(work: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    first = folder(
        tmp_path, "a", CONCEPT=CONCEPT + concept(1, "LOINC", "1-1", name="real"), CONCEPT_RELATIONSHIP=LINK + link(1, 1)
    )
    second = folder(
        tmp_path,
        "b",
        CONCEPT=CONCEPT + concept(1, "LOINC", "1-1", name="later") + concept(2, "BLINA", "X"),
        CONCEPT_RELATIONSHIP=LINK + link(1, 2) + link(2, 2),
    )
    load_vocabulary(work, [first, second])
    assert work.execute("SELECT concept_name FROM vocab.concept WHERE concept_id = 1").fetchone() == ("real",)
    maps = work.execute("SELECT concept_id_1, concept_id_2 FROM vocab.concept_relationship ORDER BY ALL").fetchall()
    assert maps == [(1, 1), (2, 2)]


def test_an_own_id_gives_way_to_the_real_one_in_relationships(work: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    first = folder(tmp_path, "a", CONCEPT=CONCEPT + concept(7, "LOINC", "11150-0"))
    own = concept(2_000_000_601, "LOINC", "11150-0") + concept(2_000_000_002, "BLINA", "PANEL")
    second = folder(
        tmp_path,
        "b",
        CONCEPT=CONCEPT + own,
        CONCEPT_RELATIONSHIP=LINK + link(2_000_000_002, 2_000_000_601, "Panel contains"),
    )
    load_vocabulary(work, [first, second])
    assert work.execute("SELECT concept_id FROM vocab.concept WHERE concept_code = '11150-0'").fetchall() == [(7,)]
    assert work.execute("SELECT concept_id_2 FROM vocab.concept_relationship").fetchall() == [(7,)]


def test_an_own_id_that_another_folder_uses_is_refused(work: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    first = folder(tmp_path, "a", CONCEPT=CONCEPT + concept(2_000_000_001, "HOSPITAL", "A"))
    second = folder(tmp_path, "b", CONCEPT=CONCEPT + concept(2_000_000_001, "BLINA", "B"))
    with pytest.raises(VocabularyError, match="2000000001"):
        load_vocabulary(work, [first, second])


def test_a_packed_file_is_read(work: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    made = folder(tmp_path, "a")
    with gzip.open(made / "CONCEPT.csv.gz", "wt", encoding="utf-8") as packed:
        packed.write(CONCEPT + concept(1, "LOINC", "1-1"))
    assert load_vocabulary(work, [made]).concepts == 1


def test_all_faults_of_a_file_are_named_with_their_line(work: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    bad = concept(1, "LOINC", "1-1") + concept(2, "LOINC", "2-2").replace("20200101", "soon") + concept(3, "", "3-3")
    with pytest.raises(VocabularyError) as caught:
        load_vocabulary(work, [folder(tmp_path, "a", CONCEPT=CONCEPT + bad + concept(1, "LOINC", "4-4"))])
    text = str(caught.value)
    assert "CONCEPT.csv:3: valid_start_date" in text
    assert "CONCEPT.csv:4: vocabulary_id" in text
    assert "more than one row for concept_id = 1" in text


def test_a_missing_column_is_named(work: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    with pytest.raises(VocabularyError, match="concept_code is missing"):
        load_vocabulary(work, [folder(tmp_path, "a", CONCEPT=CONCEPT.replace("concept_code", "code"))])


def test_a_folder_without_concepts_is_refused(work: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    with pytest.raises(VocabularyError, match=r"CONCEPT\.csv is missing"):
        load_vocabulary(work, [folder(tmp_path, "a")])


def test_preflight_names_missing_vocabularies_release_and_self_maps(
    work: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    load_vocabulary(work, [folder(tmp_path, "a", CONCEPT=CONCEPT + concept(1, "LOINC", "1-1"))])
    problems = "\n".join(preflight(work, ["LOINC", "SNOMED"]))
    assert "'SNOMED' has no concept" in problems
    assert "'LOINC'" not in problems
    assert "concept 0" in problems
    assert "no release" in problems
    assert "1 standard concepts do not map to themselves" in problems


def test_preflight_refuses_a_mixed_release(work: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    folders = [
        folder(
            tmp_path,
            name,
            CONCEPT=CONCEPT + concept(number, "LOINC", f"{number}-1"),
            VOCABULARY=VOCABULARY + f"None\tOMOP\t\tv5.0 {name}\t0\n",
        )
        for number, name in enumerate(("AUG", "FEB"), 1)
    ]
    load_vocabulary(work, folders)
    assert any("different releases: v5.0 AUG, v5.0 FEB" in problem for problem in preflight(work, []))


def test_a_file_that_is_not_utf8_is_refused_without_quoting_it(work: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    made = folder(tmp_path, "a")
    (made / "CONCEPT.csv").write_bytes((CONCEPT + concept(1, "LOINC", "1-1", name="Mörk")).encode("latin-1"))
    with pytest.raises(VocabularyError, match=r"CONCEPT\.csv: not a tab-separated UTF-8 file") as caught:
        load_vocabulary(work, [made])
    assert "1-1" not in str(caught.value)


def test_a_row_with_too_few_columns_is_refused(work: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    with pytest.raises(VocabularyError, match=r"CONCEPT\.csv"):
        load_vocabulary(work, [folder(tmp_path, "a", CONCEPT=CONCEPT + concept(1, "LOINC", "1-1") + "2\tx\n")])
