"""Condition and drug eras by hand-made events, and OHDSI's own eras of a small CDM."""

import os
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest

import etl.cdm
from etl.store import create_work_schema
from etl.transform.derived import derive_condition_eras, derive_drug_eras

START = date(2024, 1, 1)
SYNTHEA27NJ = Path(os.environ.get("BLINA_SHARED", "/work/shared")) / "ohdsi" / "synthea27nj-5.4"

# drug 11 and 12 contain ingredient 1; drug 12 contains 2 as well; 3 is an ingredient of a class OMOP does not use
ANCESTORS = [(1, 11), (1, 12), (2, 12), (1, 1), (9, 11)]
CONCEPTS = [(1, "Ingredient", "S"), (2, "Ingredient", "S"), (9, "ATC 5th", "C"), (11, "Clinical Drug", "S")]


def day(number: int) -> date:
    return START + timedelta(days=number)


@pytest.fixture
def work() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    create_work_schema(connection)
    connection.execute("CREATE SCHEMA vocab")
    for name in ("concept", "concept_ancestor"):
        connection.execute(etl.cdm.create_table(etl.cdm.TABLES[name], "vocab", required=False))
    connection.executemany(
        "INSERT INTO vocab.concept (concept_id, concept_class_id, standard_concept, domain_id)"
        " VALUES (?, ?, ?, 'Drug')",
        CONCEPTS,
    )
    connection.executemany(
        "INSERT INTO vocab.concept_ancestor (ancestor_concept_id, descendant_concept_id) VALUES (?, ?)", ANCESTORS
    )
    return connection


def conditions(work: duckdb.DuckDBPyConnection, *rows: tuple[int, int, int | None]) -> list[tuple[object, ...]]:
    """Rows of (concept, first day, last day) as the conditions of one person; gives back the eras."""
    work.executemany(
        "INSERT INTO out.condition_occurrence"
        " (condition_occurrence_id, person_id, condition_concept_id, condition_start_date, condition_end_date)"
        " VALUES (?, 1, ?, ?, ?)",
        [[n, concept, day(start), None if end is None else day(end)] for n, (concept, start, end) in enumerate(rows)],
    )
    derive_condition_eras(work, key="k")
    return work.execute(
        "SELECT condition_concept_id, condition_era_start_date - ?, condition_era_end_date - ?,"
        " condition_occurrence_count FROM out.condition_era ORDER BY 1, 2",
        [START, START],
    ).fetchall()


def drugs(work: duckdb.DuckDBPyConnection, *rows: tuple[int, int, int | None]) -> list[tuple[object, ...]]:
    work.executemany(
        "INSERT INTO out.drug_exposure"
        " (drug_exposure_id, person_id, drug_concept_id, drug_exposure_start_date, drug_exposure_end_date)"
        " VALUES (?, 1, ?, ?, ?)",
        [[n, concept, day(start), None if end is None else day(end)] for n, (concept, start, end) in enumerate(rows)],
    )
    derive_drug_eras(work, key="k")
    return work.execute(
        "SELECT drug_concept_id, drug_era_start_date - ?, drug_era_end_date - ?, drug_exposure_count, gap_days"
        " FROM out.drug_era ORDER BY 1, 2",
        [START, START],
    ).fetchall()


def test_a_gap_of_30_days_continues_a_condition_era(work: duckdb.DuckDBPyConnection) -> None:
    assert conditions(work, (5, 0, 10), (5, 40, 45)) == [(5, 0, 45, 2)]


def test_a_gap_of_31_days_ends_a_condition_era(work: duckdb.DuckDBPyConnection) -> None:
    assert conditions(work, (5, 0, 10), (5, 41, 45)) == [(5, 0, 10, 1), (5, 41, 45, 1)]


def test_a_condition_without_an_end_lasts_until_the_next_day(work: duckdb.DuckDBPyConnection) -> None:
    assert conditions(work, (5, 0, None), (5, 31, 31)) == [(5, 0, 31, 2)]


def test_a_short_condition_inside_a_long_one_ends_nothing(work: duckdb.DuckDBPyConnection) -> None:
    assert conditions(work, (5, 0, 100), (5, 10, 12), (5, 120, 121)) == [(5, 0, 121, 3)]


def test_concepts_are_kept_apart_and_concept_0_has_no_era(work: duckdb.DuckDBPyConnection) -> None:
    assert conditions(work, (5, 0, 1), (6, 1, 2), (0, 2, 3)) == [(5, 0, 1, 1), (6, 1, 2, 1)]


def test_drugs_of_one_ingredient_make_one_era_and_the_ingredient_itself_belongs_to_it(
    work: duckdb.DuckDBPyConnection,
) -> None:
    assert drugs(work, (11, 0, 4), (1, 4, 10), (11, 20, 25)) == [(1, 0, 25, 3, 10)]


def test_a_drug_of_two_ingredients_makes_an_era_of_each(work: duckdb.DuckDBPyConnection) -> None:
    assert drugs(work, (12, 0, 4)) == [(1, 0, 4, 1, 0), (2, 0, 4, 1, 0)]


def test_a_gap_of_30_days_continues_a_drug_era_and_counts_as_gap_days(work: duckdb.DuckDBPyConnection) -> None:
    assert drugs(work, (11, 0, 5), (11, 35, 40)) == [(1, 0, 40, 2, 30)]


def test_a_gap_of_31_days_ends_a_drug_era(work: duckdb.DuckDBPyConnection) -> None:
    assert drugs(work, (11, 0, 5), (11, 36, 40)) == [(1, 0, 5, 1, 0), (1, 36, 40, 1, 0)]


def test_overlapping_exposures_have_no_gap(work: duckdb.DuckDBPyConnection) -> None:
    assert drugs(work, (11, 0, 20), (11, 2, 5), (11, 18, 30)) == [(1, 0, 30, 3, 0)]


def test_a_drug_without_an_ingredient_has_no_era(work: duckdb.DuckDBPyConnection) -> None:
    assert drugs(work, (0, 0, 5), (77, 0, 5)) == []


def test_eras_are_made_anew_with_the_same_keys(work: duckdb.DuckDBPyConnection) -> None:
    drugs(work, (11, 0, 20), (12, 60, 70))
    before = work.execute("FROM out.drug_era ORDER BY drug_era_id").fetchall()
    assert derive_drug_eras(work, key="k") == len(before) == 3
    assert work.execute("FROM out.drug_era ORDER BY drug_era_id").fetchall() == before


@pytest.mark.skipif(not SYNTHEA27NJ.exists(), reason=f"OHDSI's small CDM is not on this machine ({SYNTHEA27NJ})")
def test_condition_eras_equal_those_ohdsi_made_for_synthea27nj(work: duckdb.DuckDBPyConnection) -> None:
    read = "SELECT * FROM read_csv(?, header = true)"
    work.execute(
        f"INSERT INTO out.condition_occurrence BY NAME {read}", [str(SYNTHEA27NJ / "CONDITION_OCCURRENCE.csv.gz")]
    )
    assert derive_condition_eras(work, key="k") == 469
    columns = (
        "person_id, condition_concept_id, CAST(condition_era_start_date AS DATE),"
        " CAST(condition_era_end_date AS DATE), condition_occurrence_count"
    )
    theirs = work.execute(
        f"SELECT {columns} FROM ({read}) ORDER BY ALL", [str(SYNTHEA27NJ / "CONDITION_ERA.csv.gz")]
    ).fetchall()
    assert work.execute(f"SELECT {columns} FROM out.condition_era ORDER BY ALL").fetchall() == theirs
