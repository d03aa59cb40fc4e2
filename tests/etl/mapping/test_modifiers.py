"""The registry of modifier extensions: what it may say, which types and sites it holds for, where it is shown."""

from typing import TYPE_CHECKING

import pytest

from etl.mapping.compare import diff_mappings, show_mapping
from etl.mapping.language import load_mappings

if TYPE_CHECKING:
    from conftest import Ground

KNOWN = '"http://a.example/checked": {resources: [Observation], means: nothing, why: told}\n'
REFUSED = {
    "a type that FHIR lacks": ("[Observation]", "[Observations]", "Observations is no FHIR R4 resource type"),
    "a type without a mapping": ("[Observation]", "[Condition]", "Condition has no mapping file"),
    "types that are no list": ("[Observation]", "Observation", "`resources` must be a list"),
    "an unknown meaning": ("means: nothing", "means: nothin", "did you mean 'nothing'?"),
    "an unknown key": ("resources:", "resource:", "did you mean 'resources'?"),
    "no why": (", why: told", "", "needs `why:`"),
    "a skip without reason": ("means: nothing", "means: skip", "`reason` is needed"),
    "a reason that is never counted": ("means: nothing", "means: nothing, reason: x", "only there"),
    "refuted where nothing is ever refuted": ("means: nothing", "means: refuted", "has no rule for what is refuted"),
    "what is no URL": ("http://a.example/checked", "http://a.example/it's", "is no URL"),
    "a bare word": ("{resources: [Observation], means: nothing, why: told}", "nothing", "must be {resources:"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals_come_with_file_and_line(ground: "Ground", old: str, new: str, message: str) -> None:
    ground.write("modifiers.yaml", "# known\n" + KNOWN)
    assert ground.problems() == []
    ground.change("modifiers.yaml", old, new)
    assert any(one.startswith("modifiers.yaml:2: ") and message in one for one in ground.problems())


def test_an_entry_holds_for_its_types_only(ground: "Ground") -> None:
    ground.write("modifiers.yaml", KNOWN)
    base = load_mappings(ground.folder).base
    assert [one.url for one in base["Observation"].modifiers] == ["http://a.example/checked"]
    assert base["Patient"].modifiers == ()


def test_a_site_adds_to_the_registry_or_changes_an_entry(ground: "Ground") -> None:
    ground.write("modifiers.yaml", KNOWN)
    own = KNOWN.replace("means: nothing", "means: skip, reason: a relative's")
    ground.write("sites/HERE/modifiers.yaml", own + KNOWN.replace("checked", "own"))
    assert ground.problems() == []
    mappings = load_mappings(ground.folder)
    assert mappings.by_site["HERE"].keys() == {"Observation"}
    here = mappings.by_site["HERE"]["Observation"]
    assert {one.url.rpartition("/")[2]: one.means for one in here.modifiers} == {"checked": "skip", "own": "nothing"}
    assert here.skip[0].reason == "a relative's"
    assert mappings.base["Observation"].skip[0].reason == "cancelled"


def test_a_site_that_says_the_same_again_is_refused(ground: "Ground") -> None:
    ground.write("modifiers.yaml", KNOWN)
    ground.write("sites/HERE/modifiers.yaml", KNOWN)
    assert ground.problems() == ["HERE/modifiers.yaml:1: http://a.example/checked: changes nothing"]


def test_a_resource_file_cannot_keep_a_registry_of_its_own(ground: "Ground") -> None:
    ground.change("resources/observation.yaml", "require: [start]", "require: [start]\nmodifiers: {}")
    assert [one.partition(": ")[2] for one in ground.problems()] == ["modifiers: belong into modifiers.yaml"]


def test_the_variables_of_paths_are_told_when_one_is_wrong(ground: "Ground") -> None:
    criterion = "modifierExtension.all(url in %known_modifiers).not()"
    ground.change("resources/observation.yaml", "status = 'cancelled'", criterion)
    assert any("%known_modifiers: unknown here" in one and "%understood_modifiers" in one for one in ground.problems())


def test_show_and_diff_name_the_registry(ground: "Ground") -> None:
    ground.write("modifiers.yaml", KNOWN)
    ground.write("sites/HERE/modifiers.yaml", KNOWN.replace("checked", "own"))
    shown = show_mapping("Observation", "HERE", ground.folder)
    assert "HERE/modifiers.yaml:1" in shown
    assert "modifiers.http://a.example/own.means" in shown
    assert not any("modifiers.http" in line for line in diff_mappings(ground.folder, ground.folder))
