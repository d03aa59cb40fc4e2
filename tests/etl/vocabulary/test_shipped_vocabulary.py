"""The shipped concepts and code lists: closed, with provenance, and without invented OMOP ids."""

import csv
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from etl.vocabulary import load_code_maps, load_vocabulary, preflight, shipped_folder

MAPPINGS = shipped_folder().parent
OWN = 2_000_000_000


@pytest.fixture(scope="module")
def vocab() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    load_vocabulary(connection, [shipped_folder()])
    return connection


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def provenance() -> dict[int, dict[str, str]]:
    return {int(row["concept_id"]): row for row in read(shipped_folder() / "provenance.csv")}


def lookups() -> Iterator[tuple[str, int]]:
    for path in sorted((MAPPINGS / "codes").glob("*.csv")):
        for row in read(path):
            if "target_concept_id" in row and "source_vocabulary_id" not in row:
                yield f"{path.name}: {row['source_code']}", int(row["target_concept_id"])


def test_it_passes_its_own_preflight(vocab: duckdb.DuckDBPyConnection) -> None:
    assert preflight(vocab) == []


def test_each_code_stands_once(vocab: duckdb.DuckDBPyConnection) -> None:
    twice = "SELECT vocabulary_id, concept_code FROM vocab.concept GROUP BY ALL HAVING count(*) > 1"
    assert vocab.execute(twice).fetchall() == []


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("concept_relationship", "concept_id_1"),
        ("concept_relationship", "concept_id_2"),
        ("concept_ancestor", "ancestor_concept_id"),
        ("concept_ancestor", "descendant_concept_id"),
    ],
)
def test_every_link_has_both_ends(vocab: duckdb.DuckDBPyConnection, table: str, column: str) -> None:
    query = f"SELECT {column} FROM vocab.{table} WHERE {column} NOT IN (SELECT concept_id FROM vocab.concept)"
    assert vocab.execute(query).fetchall() == []


def test_every_relationship_has_its_reverse(vocab: duckdb.DuckDBPyConnection) -> None:
    query = """SELECT r.* FROM vocab.concept_relationship r JOIN vocab.relationship USING (relationship_id)
               ANTI JOIN vocab.concept_relationship back ON back.concept_id_1 = r.concept_id_2
                 AND back.concept_id_2 = r.concept_id_1 AND back.relationship_id = reverse_relationship_id"""
    assert vocab.execute(query).fetchall() == []


@pytest.mark.parametrize("name", ["domain", "vocabulary", "concept_class"])
def test_every_word_of_a_concept_is_defined(vocab: duckdb.DuckDBPyConnection, name: str) -> None:
    query = f"SELECT concept_id FROM vocab.concept ANTI JOIN vocab.{name} USING ({name}_id)"
    assert vocab.execute(query).fetchall() == []


def test_every_standard_concept_is_its_own_ancestor(vocab: duckdb.DuckDBPyConnection) -> None:
    query = """SELECT concept_id FROM vocab.concept WHERE standard_concept = 'S' AND (concept_id, concept_id) NOT IN (
               SELECT (ancestor_concept_id, descendant_concept_id) FROM vocab.concept_ancestor)"""
    assert vocab.execute(query).fetchall() == []


def test_every_concept_has_a_provenance(vocab: duckdb.DuckDBPyConnection) -> None:
    ids = {one for (one,) in vocab.execute("SELECT concept_id FROM vocab.concept").fetchall()}
    assert ids == set(provenance())
    assert all(row["source"] and row["confidence"] for row in provenance().values())


def test_own_ids_are_local_and_fit_an_integer(vocab: duckdb.DuckDBPyConnection) -> None:
    own = {one for one, row in provenance().items() if row["confidence"].startswith("own")}
    assert own == {one for one in provenance() if one >= OWN}
    assert max(own) < 2**31
    rows = vocab.execute(
        "SELECT concept_id, standard_concept FROM vocab.concept WHERE vocabulary_id = 'BLINA'"
    ).fetchall()
    assert all(concept_id >= OWN and standard == "S" for concept_id, standard in rows)


def test_a_placeholder_code_carries_its_own_id(vocab: duckdb.DuckDBPyConnection) -> None:
    rows = vocab.execute("SELECT concept_id, concept_code FROM vocab.concept WHERE concept_code LIKE 'id:%'").fetchall()
    assert rows
    assert all(code == f"id:{concept_id}" for concept_id, code in rows)


def test_no_licensed_code_system_is_shipped(vocab: duckdb.DuckDBPyConnection) -> None:
    assert vocab.execute("SELECT * FROM vocab.concept WHERE vocabulary_id = 'CPT4'").fetchall() == []


def test_every_lookup_ends_in_a_standard_concept(vocab: duckdb.DuckDBPyConnection) -> None:
    known = {
        one for (one,) in vocab.execute("SELECT concept_id FROM vocab.concept WHERE standard_concept = 'S'").fetchall()
    }
    assert [place for place, target in lookups() if target not in known | {0}] == []


def test_every_unit_spelling_ends_in_a_ucum_concept_and_is_none_itself(vocab: duckdb.DuckDBPyConnection) -> None:
    ucum = {
        one
        for (one,) in vocab.execute("SELECT concept_code FROM vocab.concept WHERE vocabulary_id = 'UCUM'").fetchall()
    }
    rows = read(MAPPINGS / "codes" / "units.csv")
    assert [row["source_code"] for row in rows if row["target_concept_code"] not in ucum] == []
    assert [row["source_code"] for row in rows if row["source_code"] in ucum] == []
    assert len({row["source_code"] for row in rows}) == len(rows)


def test_every_system_stands_once() -> None:
    systems = [row["source_code"] for row in read(MAPPINGS / "codes" / "systems.csv")]
    assert len(systems) == len(set(systems))


def test_every_code_map_of_the_project_and_its_sites_is_resolved(vocab: duckdb.DuckDBPyConnection) -> None:
    sites = [path.name for path in sorted((MAPPINGS / "sites").iterdir()) if path.is_dir()]
    assert [str(one) for one in load_code_maps(vocab, MAPPINGS, sites).unresolved] == []
