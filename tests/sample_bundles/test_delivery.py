"""The committed files are what the renderer makes, in the form each hospital delivers, and valid FHIR R4."""

import importlib
import json
from typing import Any

import pytest

from sample_bundles.render.__main__ import main
from sample_bundles.render.write import differences, render

from .conftest import SAMPLE, Export, decode

LIMIT_BYTES = 25_000_000


def bundles(site: str) -> dict[str, dict[str, Any]]:
    return {path.name: json.loads(decode(path)) for path in sorted((SAMPLE / site).glob("*.json"))}


def test_the_committed_files_are_the_renderers_output() -> None:
    assert differences(SAMPLE, render()) == []


def test_check_names_the_differing_files_and_nothing_of_their_content(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--to", str(tmp_path)]) == 0
    (tmp_path / "site1" / "P001.json").write_text("{}")
    (tmp_path / "site2" / "superfluous.json").write_text("{}")
    (tmp_path / "plants.json").unlink()
    assert main(["--check", "--to", str(tmp_path)]) == 1
    assert capsys.readouterr().out.split() == ["plants.json", "site1/P001.json", "site2/superfluous.json"]
    assert main(["--to", str(tmp_path)]) == 0
    assert main(["--check", "--to", str(tmp_path)]) == 0


def test_all_files_together_stay_small() -> None:
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file()) < LIMIT_BYTES


def test_every_resource_is_valid_r4b(export: Export) -> None:
    models: dict[str, Any] = {}
    for one in export.delivered:
        name = one.resource["resourceType"]
        if name not in models:
            models[name] = getattr(importlib.import_module(f"fhir.resources.R4B.{name.lower()}"), name)
        models[name].model_validate(one.resource)


def test_site1_sends_transactions_that_refer_by_urn_or_by_condition() -> None:
    found = bundles("site1")
    known = {f"{one['resource']['resourceType']}?identifier={token(one)}" for one in found["hospital.json"]["entry"]}
    for bundle in found.values():
        assert bundle["type"] == "transaction"
        inside = {entry["fullUrl"] for entry in bundle["entry"]}
        assert all(url.startswith("urn:uuid:") for url in inside)
        assert all(entry["request"]["method"] == "POST" for entry in bundle["entry"])
        assert set(references(bundle)) <= inside | known


def token(entry: dict[str, Any]) -> str:
    number = entry["resource"]["identifier"][0]
    return f"{number['system']}|{number['value']}"


def test_site2_sends_collections_with_relative_and_contained_references() -> None:
    found = bundles("site2")
    assert {bundle["type"] for bundle in found.values()} == {"collection"}
    everywhere = {
        f"{one['resource']['resourceType']}/{one['resource']['id']}" for b in found.values() for one in b["entry"]
    }
    used = {name for bundle in found.values() for name in references(bundle)}
    assert used - {"#drug"} <= everywhere
    assert "#drug" in used


def test_site3_sends_pages_of_fifty_with_absolute_urls() -> None:
    found = bundles("site3")
    urls = {entry["fullUrl"] for bundle in found.values() for entry in bundle["entry"]}
    nexts, selves = set(), set()
    for bundle in found.values():
        assert bundle["type"] == "searchset"
        assert 1 <= len(bundle["entry"]) <= 50
        assert set(references(bundle)) <= urls
        links = {link["relation"]: link["url"] for link in bundle["link"]}
        selves.add(links["self"])
        nexts |= {links["next"]} if "next" in links else set()
    assert nexts <= selves
    assert len(selves) == len(found)


def test_site4_sends_one_ndjson_file_per_type_and_one_more_for_what_came_twice() -> None:
    for path in (SAMPLE / "site4").iterdir():
        types = {json.loads(line)["resourceType"] for line in path.read_text(encoding="utf-8").splitlines()}
        assert types == {path.name.split(".")[0]}
    assert len(list((SAMPLE / "site4").glob("*.2.ndjson"))) == 1


def references(element: Any) -> list[str]:
    if isinstance(element, list):
        return [name for one in element for name in references(one)]
    if not isinstance(element, dict):
        return []
    here = [element["reference"]] if isinstance(element.get("reference"), str) else []
    return here + [name for one in element.values() for name in references(one)]
