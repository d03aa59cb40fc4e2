"""Every rule of every mapping file is proven by a golden case; the conformance page is up to date."""

import importlib.util
import json
import shutil
import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import etl.cdm
from etl.errors import MappingError
from etl.mapping.check_forms import STATEMENTS
from etl.mapping.conformance import conformance_files, main
from etl.mapping.language import Mappings, load_mappings
from etl.transform.transform import compile_mappings
from etl.vocabulary import shipped_folder

FOLDER = shipped_folder().parent
CASES = FOLDER.parent / "tests" / "cases"
POLICIES = yaml.safe_load((FOLDER / "policies.yaml").read_text(encoding="utf-8"))
SWITCHED = [
    (name, str(option)) for name, one in POLICIES.items() for option in one["options"] if option != one["default"]
]


@cache
def _mappings(*policy: str) -> Mappings:
    """The mappings, with at most one policy and its option not at the default."""
    return load_mappings(FOLDER, dict([policy]) if policy else None)


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """The generated files as they would be written now."""
    return conformance_files(FOLDER, CASES)


# --- the page and the manifest ----------------------------------------------------------------------------------------


def test_the_checked_in_files_are_up_to_date() -> None:
    assert main(["--check"]) == 0


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the mappings folder, to be made wrong."""
    shutil.copytree(FOLDER, tmp_path / "mappings", ignore=shutil.ignore_patterns("vocabulary", "review"))
    return tmp_path / "mappings"


def _judge(copy: Path, change: dict[str, dict[str, Any]]) -> list[str]:
    path = copy / "conformance.yaml"
    judged = yaml.safe_load(path.read_text(encoding="utf-8"))
    for one in judged["statements"].values():
        one["files"] = []
        one["cases"] = ["condition/diagnosis"]
    for name, keys in change.items():
        judged["statements"].setdefault(name, {}).update(keys)
    path.write_text(yaml.safe_dump(judged, allow_unicode=True), encoding="utf-8")
    with pytest.raises(MappingError) as raised:
        conformance_files(copy, CASES)
    return list(raised.value.problems)


def test_unknown_statements_verdicts_and_keys_are_refused(copy: Path) -> None:
    problems = _judge(copy, {"f2o-999": {"verdict": "meet", "about": "x", "why": "y", "case": []}})
    assert problems == [
        "f2o-999: is no statement of the guide (did you mean 'f2o-093'?)",
        "f2o-999: unknown key 'case' (did you mean 'cases'?)",
        "f2o-999: verdict 'meet' is unknown (did you mean 'met'?)",
    ]


def test_a_verdict_without_evidence_is_refused(copy: Path) -> None:
    problems = _judge(
        copy,
        {"f2o-001": {"cases": ["condition/none_such"]}, "f2o-002": {"cases": []}, "f2o-003": {"files": ["etl/x.py"]}},
    )
    assert problems == [
        "f2o-001: there is no case condition/none_such",
        "f2o-002: no evidence; name cases or files",
        "f2o-003: there is no file etl/x.py",
    ]


def test_an_element_that_is_neither_read_nor_named_is_refused(copy: Path) -> None:
    path = copy / "resources" / "organization.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("type, telecom, alias", "type, alias"), encoding="utf-8")
    judged = copy / "conformance.yaml"
    text = judged.read_text(encoding="utf-8").replace("  telecom: names people (f2o-022)\n", "")
    judged.write_text(text, encoding="utf-8")
    with pytest.raises(MappingError) as raised:
        conformance_files(copy, CASES)
    named = [line for line in raised.value.problems if line.startswith("organization.yaml")]
    assert named == ["organization.yaml: neither read nor named under departs_from or not_read: telecom"]


def test_a_column_that_nobody_fills_needs_a_reason_and_a_filled_one_has_none(copy: Path) -> None:
    judged = copy / "conformance.yaml"
    text = judged.read_text(encoding="utf-8").replace("    npi: ", "    gender_concept_id: ")
    judged.write_text(text, encoding="utf-8")
    with pytest.raises(MappingError) as raised:
        conformance_files(copy, CASES)
    assert [line for line in raised.value.problems if line.startswith("never_filled")] == [
        "never_filled: provider.npi: no rule fills it; say why",
        "never_filled: provider.gender_concept_id: a rule fills it",
    ]


def test_every_statement_is_on_the_page_with_the_titles_of_its_cases(made: dict[str, str]) -> None:
    page = made["CONFORMANCE.md"]
    for name in STATEMENTS:
        assert f"| {name} |" in page
    assert "“An order not to give is no exposure, however it is said (guide P12a)”" in page
    assert "(departures: " in page


def test_the_manifest_says_what_is_taken_and_filled(made: dict[str, str]) -> None:
    manifest = json.loads(made["manifest.json"])
    assert manifest["resource_types"].keys() == _mappings().base.keys()
    assert manifest["tables"].keys() == etl.cdm.TABLES.keys()
    assert manifest["tables"]["note"] == {"filled": "not at all", "unless_policy": "notes: inline_text"}
    assert manifest["tables"]["cost"] == {"filled": "not at all"}
    assert "person_source_value" in manifest["tables"]["person"]["never_filled"]
    assert {"note_text", "provider_name", "npi"}.isdisjoint(column for rule in _rules() for column in rule.columns)
    assert manifest["policies"].keys() == POLICIES.keys()


def _rules() -> list[Any]:
    return [rule for mapping in _mappings().base.values() for rule in mapping.rules.values()]


# --- policies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "option"), SWITCHED)
def test_every_other_option_of_a_policy_compiles(name: str, option: str) -> None:
    mappings = _mappings(name, option)
    assert mappings.policies[name] == option
    assert compile_mappings(mappings, ["HERE"])


def _outcomes(name: str, option: str, resource: str) -> tuple[set[str], set[str]]:
    mapping = _mappings(name, option).base[resource]
    return {one.reason for one in mapping.skip}, set(mapping.rules)


@pytest.mark.parametrize(
    ("name", "option", "resource", "reason"),
    [
        ("medication_requests", "instance_order", "MedicationRequest", "no instance order"),
        ("stopped_administrations", "skip", "MedicationAdministration", "stopped"),
        ("medication_statements", "skip", "MedicationStatement", "statements are off"),
        ("medication_dispenses", "skip", "MedicationDispense", "dispenses are off"),
        ("family_history", "skip", "FamilyMemberHistory", "family history is off"),
        ("persons_without_gender", "skip", "Patient", "gender not known"),
    ],
)
def test_a_stricter_policy_adds_its_reason(name: str, option: str, resource: str, reason: str) -> None:
    default = str(POLICIES[name]["default"])
    assert reason in _outcomes(name, option, resource)[0] - _outcomes(name, default, resource)[0]


def test_a_looser_policy_lifts_its_reason() -> None:
    assert {"provisional", "differential"} <= _outcomes("provisional_conditions", "skip", "Condition")[0]
    assert not {"provisional", "differential"} & _outcomes("provisional_conditions", "load", "Condition")[0]


def test_parts_of_visits_are_details_or_visits() -> None:
    details = {"visit_occurrence", "visit_detail", "part_alone", "reason"}
    assert _outcomes("parts_of_visits", "visit_detail", "Encounter")[1] == details
    assert _outcomes("parts_of_visits", "flatten", "Encounter")[1] == {"visit_occurrence", "visit_of_part", "reason"}


def test_orders_can_be_off_while_their_reasons_are_read() -> None:
    rules = _outcomes("medication_requests", "none", "MedicationRequest")[1]
    assert "drug_exposure" not in rules
    assert "indication" in rules


# --- golden cases cover the mappings ----------------------------------------------------------------------------------


@dataclass
class Covered:
    """What the golden cases exercise: rules by resource type, reasons by folder."""

    rules: set[tuple[str, str]] = field(default_factory=set)
    reasons: dict[str, set[str]] = field(default_factory=dict)


def _runner() -> ModuleType:
    """The module that runs the golden cases."""
    place = Path(__file__).parents[1] / "test_cases.py"
    spec = importlib.util.spec_from_file_location("golden_cases", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["golden_cases"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def covered(tmp_path_factory: pytest.TempPathFactory) -> Covered:
    runner = _runner()
    done = Covered()
    for group in runner._groups(runner.CASES):
        found = runner._run(tmp_path_factory.mktemp("covered"), group, runner.mappings_for(group))
        for case in group:
            resources = [
                one["resource"] if outer["resourceType"] == "Bundle" else one
                for outer in case.content["given"]
                for one in outer.get("entry", [outer])
            ]
            types = {one["id"]: one["resourceType"] for one in resources if "id" in one}
            for table, rows in found.rows[case.name].items():
                if table == "death":  # its row id is the person's
                    done.rules.add(("Patient", "death"))
                    continue
                for row in rows:
                    fhir_id, rule = found.owners[row[etl.cdm.ROW_KEYS[table]]]
                    done.rules.add((types[fhir_id], rule))
            reasons = done.reasons.setdefault(case.path.parent.name, set())
            reasons.update(case.content.get("skip") or {}, case.content.get("reject") or {})
    return done


@pytest.mark.parametrize("policy", [(), *SWITCHED])
def test_every_rule_writes_a_row_in_some_case(covered: Covered, policy: tuple[str, ...]) -> None:
    every = {(kind, rule) for kind, mapping in _mappings(*policy).base.items() for rule in mapping.rules}
    assert sorted(every - covered.rules) == []


@pytest.mark.parametrize(("name", "option"), SWITCHED)
def test_every_other_option_of_a_policy_has_a_case_of_its_own(name: str, option: str) -> None:
    cases = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in CASES.rglob("*.yaml")]
    assert [case["title"] for case in cases if (case.get("policies") or {}).get(name) == option]


def test_every_reason_to_write_nothing_is_met_in_some_case(covered: Covered) -> None:
    lacking = []
    for mapping in (one for policy in [(), *SWITCHED] for one in _mappings(*policy).base.values()):
        wanted = {one.reason for one in (*mapping.skip, *mapping.reject)} | {
            f"missing {name}" for name in mapping.require
        }
        met = covered.reasons.get(mapping.file.stem, set())
        lacking += [f"{mapping.resource}: {reason}" for reason in sorted(wanted - met)]
    assert sorted(set(lacking)) == []


def test_there_are_enough_cases_and_a_third_is_about_what_is_not_written() -> None:
    kinds: Counter[bool] = Counter()
    for path in CASES.rglob("*.yaml"):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        kinds[bool(content.get("skip") or content.get("reject"))] += 1
    assert kinds.total() >= 200
    assert kinds[True] * 3 >= kinds.total()
