"""The committed sample bundles, read by nothing but json, and the truth they must contain."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "sample_bundles"
SITES = ("SITE1", "SITE2", "SITE3", "SITE4")


@dataclass(frozen=True)
class Delivered:
    """One resource as it lies in a file; `urls` maps what a reference may say to `Type/id`."""

    site: str
    file: str
    resource: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.resource['resourceType']}/{self.resource['id']}"


def decode(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("gb18030")


def read(site: str) -> Iterator[tuple[Delivered, str | None]]:
    for path in sorted((SAMPLE / site.lower()).iterdir()):
        text = decode(path)
        if path.suffix == ".ndjson":
            entries = [{"resource": json.loads(line)} for line in text.splitlines()]
        else:
            entries = json.loads(text)["entry"]
        for entry in entries:
            yield Delivered(site, path.name, entry["resource"]), entry.get("fullUrl")


@dataclass(frozen=True)
class Export:
    """Everything the four hospitals delivered."""

    delivered: list[Delivered]
    urls: dict[str, str]

    def of_type(self, *types: str) -> list[Delivered]:
        return [one for one in self.delivered if one.resource["resourceType"] in types]

    def current(self, *types: str) -> list[Delivered]:
        """One per site and id (the later version), and one per business identifier."""
        found: dict[tuple[str, str], Delivered] = {}
        for one in self.of_type(*types):
            key = (one.site, one.name)
            if key not in found or version(one) > version(found[key]):
                found[key] = one
        last: dict[tuple[str, ...], Delivered] = {}
        for one in found.values():
            numbers = one.resource.get("identifier") or [{"system": "", "value": one.name}]
            key = (one.site, one.resource["resourceType"], numbers[0]["system"], numbers[0]["value"])
            if key not in last or version(one) > version(last[key]):
                last[key] = one
        return list(last.values())

    def target(self, reference: str) -> str:
        """`Type/id` of a reference in any of the four forms."""
        return self.urls.get(reference, reference)

    def child(self, one: Delivered) -> str:
        """The study id of the child a resource belongs to (P031-B and P091-S1 are second records)."""
        subject = one.resource.get("subject") or one.resource["patient"]
        return self.target(subject["reference"]).removeprefix("Patient/")[:4]


def version(one: Delivered) -> str:
    return str(one.resource.get("meta", {}).get("lastUpdated", ""))


@pytest.fixture(scope="session")
def export() -> Export:
    pairs = [pair for site in SITES for pair in read(site)]
    urls = {url: one.name for one, url in pairs if url is not None}
    return Export([one for one, _ in pairs], urls)


def rows(name: str) -> list[dict[str, str]]:
    with (SAMPLE / "truth" / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="session")
def patients() -> dict[str, dict[str, str]]:
    return {row["patient_id"]: row for row in rows("patients.csv")}


@pytest.fixture(scope="session")
def courses() -> list[dict[str, str]]:
    return rows("courses.csv")


@pytest.fixture(scope="session")
def labs() -> list[dict[str, str]]:
    return rows("labs.csv")


@pytest.fixture(scope="session")
def planted() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((SAMPLE / "plants.json").read_text(encoding="utf-8"))
    return content
