"""The mapping files that come with blina: they compile, their constants exist, and each has golden cases."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from etl.mapping.language import ResourceMapping, load_mappings
from etl.transform.transform import compile_mappings
from etl.vocabulary import load_vocabulary, shipped_folder

MAPPINGS = load_mappings(shipped_folder().parent)
CASES = Path(__file__).parents[2] / "cases"


def constants(form: Any) -> Iterator[int]:
    """The concept ids that a column form can write by itself."""
    if isinstance(form, bool | str) or form is None:
        return
    if isinstance(form, int):
        yield form
    elif isinstance(form, list):
        for one in form:
            yield from constants(one)
    else:
        for key in ("first", "default", "value"):
            yield from constants(form.get(key))


def test_every_file_compiles_for_every_site() -> None:
    sites = sorted(path.name for path in (MAPPINGS.folder / "sites").iterdir() if path.is_dir())
    assert {stage.resource for stage in compile_mappings(MAPPINGS, sites)} == set(MAPPINGS.base)


def test_every_constant_concept_is_a_shipped_standard_one() -> None:
    vocab = duckdb.connect()
    load_vocabulary(vocab, [shipped_folder()])
    query = "SELECT concept_id FROM vocab.concept WHERE standard_concept = 'S' OR concept_id = 0"
    known = {one for (one,) in vocab.execute(query).fetchall()}
    unknown = [
        f"{mapping.resource}.{rule.name}.{column}: {concept_id}"
        for mapping in MAPPINGS.base.values()
        for rule in mapping.rules.values()
        for column, form in rule.columns.items()
        if column.endswith("_concept_id")
        for concept_id in constants(form)
        if concept_id not in known
    ]
    assert unknown == []


@pytest.mark.parametrize("mapping", MAPPINGS.base.values(), ids=list(MAPPINGS.base))
def test_every_resource_with_rules_refuses_what_it_cannot_understand(mapping: ResourceMapping) -> None:
    reasons = {one.reason for one in mapping.reject}
    assert not mapping.rules or reasons >= {"unknown modifier extension", "implicit rules"}


@pytest.mark.parametrize("mapping", MAPPINGS.base.values(), ids=list(MAPPINGS.base))
def test_every_resource_leaves_out_what_was_entered_in_error(mapping: ResourceMapping) -> None:
    text = mapping.file.read_text(encoding="utf-8")
    without_status = {"Patient", "Organization", "Location", "Practitioner", "PractitionerRole", "AdverseEvent"}
    assert not mapping.rules or mapping.resource in without_status or "'entered-in-error'" in text


@pytest.mark.parametrize("mapping", MAPPINGS.base.values(), ids=list(MAPPINGS.base))
def test_every_departure_says_what_and_why(mapping: ResourceMapping) -> None:
    assert mapping.purpose
    assert all(set(one) == {"rule", "what", "why"} and all(one.values()) for one in mapping.departs_from)


@pytest.mark.parametrize("mapping", MAPPINGS.base.values(), ids=list(MAPPINGS.base))
def test_every_resource_has_golden_cases(mapping: ResourceMapping) -> None:
    assert mapping.resource == "Medication" or list((CASES / mapping.file.stem).glob("*.yaml"))


@pytest.mark.parametrize("path", sorted(CASES.glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_golden_case_is_well_formed(path: Path) -> None:
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    known = set(
        "title site time_zone given vocabulary code_map modifiers policies data_lock expect skip reject".split()
    )
    assert set(case) <= known
    assert case["title"]
    assert case["given"]
    assert isinstance(case["expect"], dict)
