"""A site's own cut of its Athena download."""

from pathlib import Path
from typing import Any

import duckdb
import pytest

import etl.cdm
from etl.errors import VocabularyError
from etl.landing import Source
from etl.pipeline import build
from etl.settings import Settings
from etl.store import database_path
from etl.vocabulary.preflight import check_vocabulary
from etl.vocabulary.subset import write_subset

SHARED = Path(__file__).parents[4] / "shared"


def ids(folder: Path) -> set[int]:
    lines = (folder / "CONCEPT.csv").read_text(encoding="utf-8").splitlines()[1:]
    return {int(line.split("\t")[0]) for line in lines}


def different_tables(one: str, two: str) -> list[str]:
    """The CDM tables, vocabulary aside, whose rows are not the same; and the work list."""
    with duckdb.connect() as work:
        work.execute(f"ATTACH '{database_path(one)}' AS a (READ_ONLY)")
        work.execute(f"ATTACH '{database_path(two)}' AS b (READ_ONLY)")
        tables = [f'cdm."{name}"' for name in etl.cdm.TABLES if name not in etl.cdm.VOCABULARY_TABLES]
        return [
            table
            for table in [*tables, "lineage.unmapped"]
            if work.execute(
                f"""SELECT count(*) FROM ((FROM a.{table} EXCEPT ALL FROM b.{table})
                    UNION ALL (FROM b.{table} EXCEPT ALL FROM a.{table}))"""
            ).fetchone()
            != (0,)
        ]


def test_used_codes_their_targets_ancestors_and_ingredients_are_kept(hospital: Any, tmp_path: Path) -> None:
    done = write_subset(hospital.athena, tmp_path / "cut", database=hospital.database)
    kept = ids(tmp_path / "cut")
    assert {0, 101, 102, 201, 301, 401, 402, 8840} <= kept
    assert not kept & {104, 105, 202, 302, 403}
    assert done.rows["concept"] == (len(kept), 15)


def test_a_build_with_the_cut_gives_the_same_rows(hospital: Any, tmp_path: Path) -> None:
    write_subset(hospital.athena, tmp_path / "cut", database=hospital.database)
    again = hospital.build(tmp_path / "again.duckdb", tmp_path / "cut")
    assert different_tables(hospital.database, again) == []


def test_the_cut_has_no_link_to_what_it_leaves_out_and_the_same_release(hospital: Any, tmp_path: Path) -> None:
    write_subset(hospital.athena, tmp_path / "cut", database=hospital.database)
    found = check_vocabulary([tmp_path / "cut"], database=hospital.database, required=["SNOMED"])
    assert (found.release, found.problems) == ("v5.0 01-JAN-26", ())


def test_codes_of_a_file_are_kept_with_what_they_map_to(hospital: Any, tmp_path: Path) -> None:
    codes = tmp_path / "codes.csv"
    codes.write_text("vocabulary_id,concept_code\nICD10CM,S92.99\nSNOMED,900006\n", encoding="utf-8")
    write_subset(hospital.athena, tmp_path / "cut", codes=codes)
    assert {202, 104, 106, 102, 101} <= ids(tmp_path / "cut")
    assert not ids(tmp_path / "cut") & {103, 201, 301}


def test_the_same_cut_has_the_same_bytes(hospital: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_subset(hospital.athena, tmp_path / name, database=hospital.database)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_names_with_quotes_are_copied_as_they_are(hospital: Any, tmp_path: Path) -> None:
    athena = tmp_path / "athena"
    athena.mkdir()
    for file in hospital.athena.iterdir():
        text = file.read_text(encoding="utf-8").replace("Broken toe", 'Broken "toe", and \\N')
        (athena / file.name).write_text(text, encoding="utf-8")
    codes = tmp_path / "codes.csv"
    codes.write_text("vocabulary_id,concept_code\nSNOMED,900004\n", encoding="utf-8")
    write_subset(athena, tmp_path / "cut", codes=codes)
    assert '104\tBroken "toe", and \\N\tCondition' in (tmp_path / "cut" / "CONCEPT.csv").read_text(encoding="utf-8")


def test_nothing_is_overwritten_and_nothing_is_guessed(hospital: Any, tmp_path: Path) -> None:
    with pytest.raises(VocabularyError, match="nothing says which codes are used"):
        write_subset(hospital.athena, tmp_path / "cut")
    with pytest.raises(VocabularyError, match="is not empty"):
        write_subset(hospital.athena, hospital.athena, database=hospital.database)
    wrong = tmp_path / "codes.csv"
    wrong.write_text("vocabulary,concept_code\nA,B\n", encoding="utf-8")
    with pytest.raises(VocabularyError, match=r"column vocabulary_id is missing.*did you mean 'vocabulary'"):
        write_subset(hospital.athena, tmp_path / "cut", codes=wrong)


@pytest.mark.skipif(not (SHARED / "data" / "synthea-bundles").is_dir(), reason="the shared material is not here")
def test_a_build_of_a_real_export_with_the_cut_gives_the_same_rows(tmp_path: Path) -> None:
    athena = SHARED / "vocabulary" / "athena"
    files = sorted((SHARED / "data" / "synthea-bundles").rglob("*.json*"), key=lambda file: (file.stat().st_size, file))
    sources = [Source("SYN", file) for file in files[:3]]

    def built(name: str, vocabulary: Path) -> str:
        url = f"duckdb:///{tmp_path / name}"
        build(sources, database=url, settings=Settings(key="k"), vocabulary=[vocabulary])
        return url

    whole = built("whole.duckdb", athena)
    done = write_subset(athena, tmp_path / "cut", database=whole)
    assert done.rows["concept"][0] < done.rows["concept"][1] / 2
    assert different_tables(whole, built("cut.duckdb", tmp_path / "cut")) == []
