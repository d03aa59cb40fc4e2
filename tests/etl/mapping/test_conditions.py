"""Named conditions: said once at the head of a file, the same SQL as if spelt out, every fault at its place."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from etl.errors import MappingError
from etl.mapping.compare import diff_mappings, show_mapping
from etl.mapping.language import load_mappings
from etl.mapping.review import review_sheets
from etl.transform.transform import compile_mappings

FILE = "resources/observation.yaml"
WITHDRAWN = "%resource.status in ('cancelled' | 'unknown')"


@pytest.fixture
def named(ground: Any) -> Any:
    """A mapping whose skip and whose measurement rule ask for the same condition by name."""
    head = f'conditions:\n  withdrawn: {{why: nobody stands by it, is: "{WITHDRAWN}"}}\nfields:\n'
    ground.change(FILE, "fields:\n", head)
    ground.change(FILE, "\"status = 'cancelled'\"", '"%withdrawn"')
    ground.change(FILE, "    unmapped: true\n", '    unmapped: true\n    when: "value.exists() and %withdrawn.not()"\n')
    return ground


def _sql(folder: Path) -> list[Any]:
    stages = compile_mappings(load_mappings(folder), ["S", ""])
    plans = [(stage.resource, stage.plan) for stage in stages]
    return [
        (name, one.expressions, one.outcome, [(rule.when, rule.columns) for rule in one.rules]) for name, one in plans
    ]


def _spelt_out(folder: Path, place: Path, name: str, path: str) -> Path:
    """The same mappings with a path in brackets wherever its name is said, and without the conditions."""
    shutil.copytree(folder, place)
    file = place / FILE
    head, rest = file.read_text(encoding="utf-8").split("conditions:\n")
    rest = rest[rest.index("fields:\n") :]
    file.write_text(head + rest.replace(f"%{name}", f"({path})"), encoding="utf-8")
    return place


def test_a_name_is_the_same_sql_as_its_path_in_brackets(named: Any, tmp_path: Path) -> None:
    assert named.problems() == []
    other = _spelt_out(named.folder, tmp_path / "other", "withdrawn", WITHDRAWN)
    assert _sql(named.folder) == _sql(other)


def test_a_condition_starts_where_it_stands_and_may_name_another_one(named: Any, tmp_path: Path) -> None:
    named.change(FILE, "value.exists() and %withdrawn.not()", "%counts")
    named.change(FILE, "    unmapped: true\n", "    unmapped: true\n    for_each: component\n")
    named.change(
        FILE,
        "    concept: code\n    domain: [Observation]",
        '    when: "%counts"\n    unmapped: true\n    concept: code\n    domain: [Observation]',
    )
    counts = "value.exists() and %withdrawn.not()"
    named.change(FILE, "fields:\n", f'  counts: {{why: it may be counted, is: "{counts}"}}\nfields:\n')
    assert named.problems() == []
    once = _spelt_out(named.folder, tmp_path / "once", "counts", counts)
    text = (once / FILE).read_text(encoding="utf-8").replace("%withdrawn", f"({WITHDRAWN})")
    (once / FILE).write_text(text, encoding="utf-8")
    assert _sql(named.folder) == _sql(once)
    component, whole = [rule.when for rule in _stage(named.folder, "Observation").plan.rules]
    assert component.startswith("e.")
    assert whole.startswith("s.")


def _stage(folder: Path, resource: str) -> Any:
    return next(one for one in compile_mappings(load_mappings(folder), [""]) if one.resource == resource)


# What is replaced in the file, by what, the text whose line is told, the condition under which, and what is said.
REFUSALS = {
    "a name that nobody knows": ('"%withdrawn"', '"%withdrawm"', "skip:", "skip", "did you mean '%withdrawn'?"),
    "a name within a condition that nobody knows": (
        "%resource.status in", "%harmles and %resource.status in", "withdrawn: {", "conditions.withdrawn",
        "%harmles: unknown here"),
    "a name that no path says": (
        "conditions:\n", 'conditions:\n  spare: {why: nothing, is: "value.exists()"}\n', "spare:", "conditions.spare",
        "no path of this file says %spare"),
    "a name that only an unused one says": (
        "conditions:\n",
        'conditions:\n  one: {why: nothing, is: "%two"}\n  two: {why: nothing, is: "value.exists()"}\n', "two:",
        "conditions.two", "no path of this file says %two"),
    "a circle": (
        WITHDRAWN, "%over", "withdrawn: {", "conditions.over", "goes round in a circle: %over → %withdrawn → %over"),
    "itself": (
        WITHDRAWN, "%withdrawn", "withdrawn: {", "conditions.withdrawn", "circle: %withdrawn → %withdrawn"),
    "an element's name": (
        "conditions:\n", 'conditions:\n  status: {why: nothing, is: "value.exists()"}\n', "  status:",
        "conditions.status", "status is an element of Observation"),
    "a field's name": (
        "conditions:\n", 'conditions:\n  start: {why: nothing, is: "value.exists()"}\n', "  start:",
        "conditions.start", "start is a field of this file"),
    "a concept's name": (
        "concepts:\n  code:", "concepts:\n  withdrawn: {from: method}\n  code:", "withdrawn: {why",
        "conditions.withdrawn", "withdrawn is a concept of this file"),
    "the name of what every mapping has": (
        "conditions:\n", 'conditions:\n  site: {why: nothing, is: "value.exists()"}\n', "  site:", "conditions.site",
        "site is what every mapping has as %… already"),
    "a name that FHIRPath has": (
        "conditions:\n", 'conditions:\n  context: {why: nothing, is: "value.exists()"}\n', "  context:",
        "conditions.context", "what FHIRPath has"),
    "a name with a hyphen": (
        "conditions:\n", 'conditions:\n  not-sure: {why: nothing, is: "value.exists()"}\n', "not-sure",
        "conditions.not-sure", "small letters, digits and _ only"),
    "no words": ("why: nobody stands by it, ", "", "withdrawn: {", "conditions.withdrawn", "needs `why:`"),
    "no path": (f'is: "{WITHDRAWN}"', "is: true", "withdrawn: {", "conditions.withdrawn", "must be a path"),
    "an unknown key": ("why: nobody", "says: nobody", "withdrawn: {", "conditions.withdrawn", "unknown key 'says'"),
    "an element that is not there": (
        "%resource.status in", "%resource.statu in", "withdrawn: {", "conditions.withdrawn", "did you mean 'status'?"),
    "no FHIRPath": (WITHDRAWN, "%resource.status in (", "withdrawn: {", "conditions.withdrawn", "missing"),
    "no yes or no": (
        WITHDRAWN, "%resource.status", "withdrawn: {", "conditions.withdrawn", "is not a yes/no expression"),
}  # fmt: skip


@pytest.mark.parametrize("refusal", REFUSALS)
def test_refuses(refusal: str, named: Any) -> None:
    old, new, where, keys, said = REFUSALS[refusal]
    if refusal == "a circle":
        named.change(FILE, "fields:\n", '  over: {why: it is over, is: "%withdrawn"}\nfields:\n')
    named.change(FILE, old, new)
    found = [one for one in named.problems() if said in one]
    assert len(found) == 1, named.problems()
    line = named.line(FILE, "  over:" if refusal == "a circle" else where)
    assert found[0].startswith(f"observation.yaml:{line}: {keys}: ")


def test_every_fault_is_told_once_and_all_at_the_same_time(named: Any) -> None:
    named.change(FILE, WITHDRAWN, "statu = 'x'")
    named.change(FILE, "conditions:\n", 'conditions:\n  a_b: {is: "%b_a"}\n  b_a: {why: words, is: "%a_b"}\n')
    problems = named.problems()
    for said in (
        "Observation has no element 'statu'",
        "goes round in a circle",
        "needs `why:`",
        "says %a_b",
        "says %b_a",
    ):
        assert len([one for one in problems if said in one]) == 1, (said, problems)
    with pytest.raises(MappingError) as raised:
        load_mappings(named.folder)
    assert len(raised.value.problems) == 4  # whether a path fits the resource is seen when it is compiled


@pytest.mark.parametrize("content", ["conditions: [withdrawn]\n", 'conditions: {withdrawn: "value.exists()"}\n'])
def test_conditions_that_are_no_mapping_of_names_are_refused(ground: Any, content: str) -> None:
    ground.change(FILE, "fields:\n", f"{content}fields:\n")
    (problem,) = [one for one in ground.problems() if one.startswith("observation.yaml")]
    assert "must be a mapping" in problem
    assert problem.startswith(f"observation.yaml:{ground.line(FILE, 'conditions:')}: conditions")


def test_a_condition_that_only_a_rule_of_another_policy_asks_is_used(named: Any) -> None:
    named.write(
        "policies.yaml",
        "strict: {what: it, default: no_row, options: {row: a, no_row: b}, decision: 1, statements: []}\n",
    )
    named.change(FILE, '"%withdrawn"', "\"status = 'cancelled'\"")
    named.change(
        FILE, '    when: "value.exists() and %withdrawn.not()"\n', '    when: "%withdrawn"\n    policy: {strict: row}\n'
    )
    assert not [one for one in named.problems() if "withdrawn" in one]
    named.change(FILE, WITHDRAWN, "%resource.status in (")
    assert [one for one in named.problems() if "conditions.withdrawn: " in one]


def test_a_site_changes_a_condition_by_its_name(named: Any) -> None:
    own = "extends: observation\nconditions:\n  withdrawn: {is: \"status = 'unknown'\", why: cancelled is right here}\n"
    named.write("sites/S1/observation.yaml", own)
    assert named.problems() == []
    mappings = load_mappings(named.folder)
    assert mappings.base["Observation"].conditions["withdrawn"].path == WITHDRAWN
    changed = mappings.by_site["S1"]["Observation"].conditions["withdrawn"]
    assert (changed.path, changed.why) == ("status = 'unknown'", "cancelled is right here")
    shown = show_mapping("observation", "S1", named.folder)
    line = next(one for one in shown.splitlines() if "conditions.withdrawn" in one)
    assert line.startswith("S1/observation.yaml:3 ")
    assert "cancelled is right here" in line


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("withdrawn: {is: \"status = 'unknown'\"}", "a change needs `why:` beside it"),
        (f'withdrawn: {{is: "{WITHDRAWN}", why: the same}}', "changes nothing"),
        ('more: {is: "value.exists()", why: nothing}', "no path of this file says %more"),
    ],
)
def test_a_site_s_condition_is_checked_like_its_other_changes(named: Any, entry: str, said: str) -> None:
    named.write("sites/S1/observation.yaml", f"extends: observation\nconditions:\n  {entry}\n")
    (problem,) = named.problems()
    assert problem.startswith("S1/observation.yaml:3: conditions.")
    assert said in problem


def test_a_site_may_name_a_condition_where_the_base_has_none(ground: Any) -> None:
    own = "extends: observation\nconditions:\n  gone: {is: \"status = 'unknown'\", why: it is gone}\n"
    ground.write("sites/S1/observation.yaml", own + 'skip:\n  - {when: "%gone", reason: gone, why: as asked}\n')
    assert ground.problems() == []


def test_two_rules_for_one_row_are_seen_through_the_name(named: Any) -> None:
    named.change(FILE, "value.exists() and %withdrawn.not()", "%withdrawn")
    same = f'    table: measurement\n    when: "({WITHDRAWN})"\n    domain: [Measurement]\n'
    named.change(FILE, "    domain: [Observation]\n", same)
    assert any("could write the same measurement row" in one for one in named.problems())


def test_diff_tells_a_change_at_every_entry_that_says_the_name(named: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(named.folder, other, ignore=shutil.ignore_patterns("other"))
    assert diff_mappings(named.folder, other) == []
    file = other / FILE
    file.write_text(file.read_text(encoding="utf-8").replace("'unknown')", "'draft')"), encoding="utf-8")
    lines = diff_mappings(named.folder, other)
    assert [line.split(": ")[0] for line in lines] == [
        "~ observation.yaml conditions.withdrawn",
        "~ observation.yaml rules.measurement.when",
        "~ observation.yaml skip.1",
    ]
    assert "'unknown'" in lines[0].replace("''", "'")
    assert lines[1].endswith(": value.exists() and %withdrawn.not() (through %withdrawn)")


def test_the_review_sheet_says_what_it_means_and_who_asks(named: Any, tmp_path: Path) -> None:
    named.write("vocabulary/CONCEPT.csv", "concept_id\tconcept_name\n")
    sheet = review_sheets(named.folder, tmp_path / "cases")["observation.md"]
    path = WITHDRAWN.replace("|", "\\|")
    row = f"| %withdrawn | nobody stands by it | `{path}` | skipped: *cancelled*, rule `measurement` |"
    assert row in sheet.splitlines()
    assert "when `value.exists() and %withdrawn.not()`" in sheet
