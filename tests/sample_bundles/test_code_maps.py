"""Every local code or text in the bundles has a row in the map of its site, and every row leads to a known concept."""

import csv
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import ROOT, SITES, Export

MAPS = ROOT / "mappings"
COLUMNS = [
    "source_code", "source_concept_id", "source_vocabulary_id", "source_code_description", "target_vocabulary_id",
    "target_concept_code", "target_concept_id", "unit_default", "valid_start_date", "valid_end_date", "invalid_reason",
]  # fmt: skip
INTERNATIONAL = {
    "http://www.whocc.no/atc": "ATC",
    "http://hl7.org/fhir/sid/icd-10": "ICD10",
    "http://hl7.org/fhir/sid/icd-10-cm": "ICD10CM",
    "http://terminology.hl7.org/CodeSystem/icd-o-3": "ICDO3",
}
"""Vocabularies whose codes the shipped vocabulary does not hold: the project-wide map leads on."""
NUMBER = re.compile(r"<?[\d.]+(e-\d+)?(%|×10\^-4)?")
"""What mrd_parse@1 reads as a number."""
FREE_TEXTS = {"fever", "closing of the account", "unsatisfactory specimen", "标本不合格"}
"""Texts that no rule reads: reasons of administrations not given, bills, failed samples."""


def read_map(path: Any) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def site_map(site: str) -> list[dict[str, str]]:
    return read_map(MAPS / "sites" / site / "codes" / "source_to_concept_map.csv")


def codings(element: Any) -> Iterator[dict[str, str]]:
    """Every coding with a code, and every text that stands without a coding, as {system: '', code: text}."""
    if isinstance(element, list):
        for one in element:
            yield from codings(one)
    elif isinstance(element, dict):
        yield from element.get("coding", [])
        if "text" in element and "coding" not in element and set(element) == {"text"}:
            yield {"system": "", "code": element["text"]}
        for one in element.values():
            yield from codings(one)


def words(resource: dict[str, Any]) -> Iterator[str]:
    """Results in words: strings of observations that are no number."""
    for part in [resource, *resource.get("component", [])]:
        text = unicodedata.normalize("NFKC", part.get("valueString", "0"))
        if not NUMBER.fullmatch(text):
            yield text


@pytest.mark.parametrize("site", SITES)
def test_every_local_code_and_text_has_a_row(export: Export, site: str) -> None:
    known = {row["source_code"] for row in site_map(site)}
    used = set()
    for one in export.delivered:
        if one.site != site or one.resource["resourceType"] == "Practitioner":
            continue
        used |= {
            unicodedata.normalize("NFKC", coding["code"]).strip()
            for coding in codings(one.resource)
            if coding["system"] == "" or coding["system"].startswith("urn:blina:")
        }
        if one.resource["resourceType"] == "Observation":
            used |= set(words(one.resource))
    assert used - FREE_TEXTS <= known


def test_every_international_code_without_a_concept_has_a_row(export: Export) -> None:
    known = {
        (row["source_vocabulary_id"], row["source_code"]) for row in read_map(MAPS / "codes/source_to_concept_map.csv")
    }
    used = {
        (INTERNATIONAL[coding["system"]], coding["code"])
        for one in export.delivered
        for coding in codings(one.resource)
        if coding.get("system") in INTERNATIONAL
    }
    assert used <= known
    assert len(used) > 10


@pytest.mark.parametrize("path", ["codes", *(f"sites/{site}/codes" for site in SITES)])
def test_every_row_is_complete_and_leads_to_a_concept_of_the_shipped_vocabulary(path: str) -> None:
    concepts = (MAPS / "vocabulary" / "CONCEPT.csv").read_text(encoding="utf-8").splitlines()
    known = {(line.split("\t")[3], line.split("\t")[6]) for line in concepts}
    found = read_map(MAPS / path / "source_to_concept_map.csv")
    assert list(found[0]) == COLUMNS
    assert {(row["target_vocabulary_id"], row["target_concept_code"]) for row in found} <= known
    keys = [
        tuple(
            row[name] for name in ("source_vocabulary_id", "source_code", "target_vocabulary_id", "target_concept_code")
        )
        for row in found
    ]
    assert len(keys) == len(set(keys))
    assert all(row["source_code"] == unicodedata.normalize("NFKC", row["source_code"]).strip() for row in found)


@pytest.mark.parametrize("site", SITES)
def test_the_local_vocabulary_of_a_site_bears_its_name(site: str) -> None:
    assert {row["source_vocabulary_id"] for row in site_map(site)} == {f"BLINA_{site}"}


def test_only_a_bare_number_of_site3_gets_a_unit_from_the_map() -> None:
    units = {
        (site, row["source_code"]): row["unit_default"]
        for site in SITES
        for row in site_map(site)
        if row["unit_default"]
    }
    assert units == {("SITE3", "GS001"): "%", ("SITE3", "GS002"): "1"}
