"""Policies: contested decisions as switches that the settings choose and mapping entries obey."""

from pathlib import Path

import pytest

from etl.errors import MappingError
from etl.mapping.language import load_mappings

POLICIES = """
provisional_conditions:
  options: [skip, load]
  default: skip
"""
CONDITION = """
resource: Condition
skip:
  - {when: "recordedDate.empty()", reason: no date}
  - {when: "verificationStatus.exists()", reason: provisional, policy: {provisional_conditions: skip}}
rules:
  condition_occurrence:
    policy: {provisional_conditions: [skip, load]}
    columns: {}
  observation:
    policy: {provisional_conditions: load}
    columns: {}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A mappings folder with one policy and one file that obeys it."""
    (tmp_path / "resources").mkdir()
    (tmp_path / "policies.yaml").write_text(POLICIES)
    (tmp_path / "resources" / "condition.yaml").write_text(CONDITION)
    return tmp_path


def test_the_default_holds_when_nothing_is_chosen(folder: Path) -> None:
    mapping = load_mappings(folder).base["Condition"]
    assert [one.reason for one in mapping.skip] == ["no date", "provisional"]
    assert list(mapping.rules) == ["condition_occurrence"]


def test_a_chosen_value_switches_entries_and_rules(folder: Path) -> None:
    mappings = load_mappings(folder, {"provisional_conditions": "load"})
    mapping = mappings.base["Condition"]
    assert [one.reason for one in mapping.skip] == ["no date"]
    assert list(mapping.rules) == ["condition_occurrence", "observation"]
    assert mappings.policies == {"provisional_conditions": "load"}


def test_unknown_policies_and_values_are_refused_with_hints(folder: Path) -> None:
    with pytest.raises(MappingError, match="did you mean 'provisional_conditions'"):
        load_mappings(folder, {"provisional_condition": "load"})
    with pytest.raises(MappingError, match="'lod' is no option"):
        load_mappings(folder, {"provisional_conditions": "lod"})
    (folder / "policies.yaml").unlink()
    with pytest.raises(MappingError, match=r"is not in policies\.yaml"):
        load_mappings(folder)
