"""`blina study assure`, `compare` and `export` as a user meets them."""

import pytest

from analytics.invented import Children
from tests.flows.conftest import blina

CHANGED = "extends: blinatumomab\nparameters:\n  gap_bag_change_h: {value: 2, why: shorter bag changes}\n"


@pytest.fixture
def database(tmp_path):
    """Two children, one with a gap of three hours."""
    kids = Children()
    kids.add("one").course()
    child = kids.add("two")
    child.bag(0, 96)
    child.bag(99, 96)
    return kids.cdm.write(tmp_path / "omop.duckdb")


@pytest.fixture
def changed(tmp_path):
    path = tmp_path / "changed.yaml"
    path.write_text(CHANGED, encoding="utf-8")
    return path


def test_assure_holds_for_the_study_and_says_so():
    ended = blina("study", "assure")
    assert ended.code == 0, ended.err
    assert "0 not" in ended.out


def test_assure_ends_with_16_when_a_definition_changes_an_example(changed):
    ended = blina("study", "assure", changed, "--json")
    assert ended.code == 16
    differing = [row for row in ended.json["values"] if not row["same"]]
    assert [row["obtained"] for row in differing] == ["8", "3.9"]


def test_compare_shows_only_what_differs_and_writes_it(database, changed, tmp_path):
    ended = blina("study", "compare", "blinatumomab", changed, "--db", database, "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
    assert "gap_bag_change_h: 4 → 2  (shorter bag changes)" in ended.out
    assert "interrupted: n 0 → 1  (+1)" in ended.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "compare.csv", "compare.html", "compare.parquet",
    ]  # fmt: skip
    assert "bag changes" in (tmp_path / "out" / "compare.html").read_text(encoding="utf-8")


def test_compare_refuses_a_study_that_is_not_there(database):
    ended = blina("study", "compare", "blinatumomab", "other.yaml", "--db", database)
    assert ended.code == 16
    assert "other.yaml" in ended.err


def test_export_refuses_a_folder_without_results(tmp_path):
    ended = blina("study", "export", tmp_path, "--out", tmp_path / "tables", "--latex")
    assert ended.code == 16
    assert not (tmp_path / "tables").exists()
