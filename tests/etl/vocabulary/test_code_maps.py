"""Code maps: targets by code, fan-out, normalised texts, faults with file and line."""

from pathlib import Path

import duckdb
import pytest

from etl.errors import MappingError
from etl.vocabulary import load_code_maps, load_vocabulary, normalise_code, shipped_folder

HEADER = (
    "source_code,source_concept_id,source_vocabulary_id,source_code_description,target_vocabulary_id,"
    "target_concept_code,target_concept_id,unit_default,valid_start_date,valid_end_date,invalid_reason\n"
)


@pytest.fixture(scope="module")
def loaded() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    load_vocabulary(connection, [shipped_folder()])
    return connection


@pytest.fixture
def work(loaded: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    return loaded.cursor()


def mappings(at: Path, rows: str, site: str = "SITE9", header: str = HEADER) -> Path:
    codes = (at / "sites" / site / "codes") if site else at / "codes"
    codes.mkdir(parents=True)
    (codes / "source_to_concept_map.csv").write_text(header + rows, encoding="utf-8")
    return at


def rows_of(work: duckdb.DuckDBPyConnection, columns: str) -> list[tuple[object, ...]]:
    return work.execute(f"SELECT {columns} FROM vocab.code_map ORDER BY ALL").fetchall()


def test_a_target_is_found_by_its_code_whatever_id_stands_beside(
    work: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    given = mappings(tmp_path, "X0087,0,BLINA_SITE9,bag,RxNorm,1597258,99,,,,\n")
    result = load_code_maps(work, given, ["SITE9"])
    assert result.unresolved == ()
    assert rows_of(work, "site, source_code, target_concept_id") == [("SITE9", "X0087", 45892531)]


def test_several_rows_of_one_code_are_several_targets_in_order(work: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    rows = "CRS 2级,0,BLINA_SITE9,,BLINA,CRS,,,,,\nCRS 2级,0,BLINA_SITE9,,BLINA,GRADE_2,,,,,\n"
    load_code_maps(work, mappings(tmp_path, rows), ["SITE9"])
    assert rows_of(work, "ordinal, target_concept_code") == [(1, "CRS"), (2, "GRADE_2")]


def test_texts_are_compared_in_one_form(work: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    load_code_maps(
        work, mappings(tmp_path, " 化疗延迟（感染） ,0,BLINA_SITE9,,BLINA,IND_CHEMO_DELAY,,,,,\n"), ["SITE9"]
    )
    assert rows_of(work, "source_code") == [("化疗延迟(感染)",)]
    assert normalise_code("２．３％ ") == "2.3%"


def test_a_raised_exponent_stays_an_exponent() -> None:
    assert normalise_code("10⁹/L") == "10^9/L"
    assert normalise_code("<1.0×10⁻⁴") == "<1.0×10^-4"
    assert normalise_code("m²") == "m2"


def test_the_project_and_other_sites_are_kept_apart(work: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    mappings(tmp_path, "C91.0,0,ICD10,,SNOMED,277572006,,,,,\n", site="")
    mappings(tmp_path, "C91.0,0,ICD10,,SNOMED,277571004,,,,,\n", site="SITE9")
    mappings(tmp_path, "C91.0,0,ICD10,,SNOMED,277573001,,,,,\n", site="SITE8")
    load_code_maps(work, tmp_path, ["SITE9"])
    assert rows_of(work, "site, target_concept_code") == [("", "277572006"), ("SITE9", "277571004")]


def test_unknown_targets_and_units_are_listed_and_map_to_zero(work: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    rows = "A,0,BLINA_SITE9,,LOINC,99999-9,,,,,\nB,0,BLINA_SITE9,,BLINA,MRD_BM_FLOW,,furlong,,,\n"
    result = load_code_maps(work, mappings(tmp_path, rows), ["SITE9"])
    assert [str(one).partition("csv:")[2] for one in result.unresolved] == [
        "2: BLINA_SITE9 'A' → LOINC 99999-9: not in the loaded vocabulary",
        "3: BLINA_SITE9 'B' → UCUM furlong: not in the loaded vocabulary",
    ]
    assert rows_of(work, "target_concept_id")[0] == (0,)


def test_a_target_that_is_no_standard_concept_is_not_used(work: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    result = load_code_maps(work, mappings(tmp_path, "A,0,BLINA_SITE9,,ATC,L01FX07,,,,,\n"), ["SITE9"])
    assert [one.reason for one in result.unresolved] == ["not a standard concept"]


def test_no_matching_concept_is_a_decision_not_a_gap(work: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    rows = "BM01,0,BLINA_SITE9,heading,None,No matching concept,,,,,\n"
    assert load_code_maps(work, mappings(tmp_path, rows), ["SITE9"]).unresolved == ()


def test_withdrawn_rows_are_not_loaded(work: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    rows = "A,0,BLINA_SITE9,,BLINA,CRS,,,1970-01-01,2020-12-31,D\n"
    assert load_code_maps(work, mappings(tmp_path, rows), ["SITE9"]).rows == 0


def test_every_fault_is_named_by_file_and_line(work: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    rows = (
        ",0,BLINA_SITE9,,BLINA,CRS,,,,,\n"
        "A,0,BLINA_SITE9,,BLINA,,,,,,\n"
        "B,0,BLINA_SITE9,,BLINA,CRS,,,yesterday,,\n"
        "C,0,BLINA_SITE9,,BLINA,CRS,,,,,\n"
        "C,0,BLINA_SITE9,,BLINA,CRS,,,,,\n"
    )
    with pytest.raises(MappingError) as caught:
        load_code_maps(work, mappings(tmp_path, rows), ["SITE9"])
    assert [problem.partition("csv:")[2] for problem in caught.value.problems] == [
        "2: source_code is empty",
        "3: neither target_concept_code nor target_concept_id",
        "4: valid_start_date is no date (YYYY-MM-DD)",
        "6: the same row as line 5",
    ]


def test_a_misspelt_column_is_named(work: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    header = HEADER.replace("unit_default", "unit_defualt")
    with pytest.raises(MappingError, match="did you mean 'unit_default'"):
        load_code_maps(work, mappings(tmp_path, "", header=header), ["SITE9"])


def test_omops_own_table_is_filled_beside(work: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    load_code_maps(work, mappings(tmp_path, "A,0,BLINA_SITE9,,BLINA,CRS,,,,,\n"), ["SITE9"])
    row = work.execute(
        "SELECT source_code, target_concept_id, valid_start_date IS NOT NULL FROM vocab.source_to_concept_map"
    ).fetchone()
    assert row == ("A", 2_000_000_401, True)
