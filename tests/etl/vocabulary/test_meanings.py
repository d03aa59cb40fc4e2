"""What a code means: found by the code, as joins over the vocabulary's own tables would find it."""

import duckdb
import pytest

from etl.vocabulary.meanings import LOOKED_FOR, find_meanings, make_meanings
from etl.vocabulary.tables import CREATE

DAYS = "DATE '1970-01-01', DATE '2099-12-31'"


@pytest.fixture
def work() -> duckdb.DuckDBPyConnection:
    """Codes of every kind: standard, mapped once and twice, mapped to what is invalid, invalid, doubled."""
    work = duckdb.connect()
    work.execute("CREATE SCHEMA vocab")
    for statement in CREATE:
        work.execute(statement)
    concepts = [
        (1, "SNOMED", "s1", "S", None, "Condition"), (2, "SNOMED", "s2", "S", None, "Drug"),
        (3, "SNOMED", "gone", "S", "U", "Condition"), (4, "ICD", "one", None, None, "Condition"),
        (5, "ICD", "two", None, None, "Condition"), (6, "ICD", "to gone", None, None, "Condition"),
        (7, "ICD", "value", None, None, "Condition"), (8, "ICD", "doubled", None, "U", "Condition"),
        (9, "ICD", "doubled", "S", None, "Condition"), (10, "ICD", "withdrawn map", None, None, "Condition"),
    ]  # fmt: skip
    for one, vocabulary, code, standard, invalid, domain in concepts:
        work.execute(
            f"INSERT INTO vocab.concept VALUES (?, 'x', ?, ?, 'c', ?, ?, {DAYS}, ?)",
            [one, domain, vocabulary, standard, code, invalid],
        )
    links = [(1, 1, "Maps to", None), (4, 1, "Maps to", None), (5, 2, "Maps to", None), (5, 1, "Maps to", None),
             (6, 3, "Maps to", None), (7, 1, "Maps to", None), (7, 2, "Maps to value", None),
             (10, 1, "Maps to", "D"), (4, 2, "Is a", None)]  # fmt: skip
    for one, two, kind, invalid in links:
        work.execute(f"INSERT INTO vocab.concept_relationship VALUES (?, ?, ?, {DAYS}, ?)", [one, two, kind, invalid])
    make_meanings(work)
    return work


def _found(work: duckdb.DuckDBPyConnection, columns: str, codes: str) -> dict[str, object]:
    find_meanings(work, codes, "found")
    return {
        code: rest for code, *rest in work.execute(f"SELECT concept_code, {columns} FROM found ORDER BY 1").fetchall()
    }


def test_targets_are_the_valid_standard_concepts_that_a_code_maps_to(work: duckdb.DuckDBPyConnection) -> None:
    codes = "SELECT vocabulary_id, concept_code FROM vocab.concept"
    ids = "source_id, [t.id for t in coalesce(targets, [])], value_id"
    assert _found(work, ids, codes) == {
        "s1": [1, [1], None],
        "s2": [2, [2], None],
        "gone": [3, [], None],
        "one": [4, [1], None],
        "two": [5, [1, 2], None],
        "to gone": [6, [], None],
        "value": [7, [1], 2],
        "doubled": [8, [], None],
        "withdrawn map": [10, [], None],
    }


def test_a_code_map_is_given_the_best_concept_of_a_doubled_code(work: duckdb.DuckDBPyConnection) -> None:
    own = "own_id, own_standard, own_invalid"
    assert _found(work, own, "SELECT 'ICD' AS vocabulary_id, 'doubled' AS concept_code") == {"doubled": [9, "S", None]}


def test_unknown_codes_and_other_vocabularies_find_nothing(work: duckdb.DuckDBPyConnection) -> None:
    codes = "SELECT unnest(['ICD', 'SNOMED', NULL]) AS vocabulary_id, unnest(['three', 'one', 'one']) AS concept_code"
    assert _found(work, "source_id", codes) == {}


def test_more_codes_than_are_looked_for_one_by_one_are_found_too(work: duckdb.DuckDBPyConnection) -> None:
    many = f"SELECT 'ICD' AS vocabulary_id, 'none ' || i AS concept_code FROM range({LOOKED_FOR + 10}) t(i)"
    assert _found(work, "source_id", f"{many} UNION ALL SELECT 'ICD', 'one'") == {"one": [4]}
