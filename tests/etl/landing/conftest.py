"""Builders of good and faulty input for the landing tests."""

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from etl.landing import Landed, Limits, RejectWriter, Source, Workers, land

MAPPED = ("Patient", "Encounter", "Condition", "Observation", "MedicationAdministration", "DiagnosticReport")


def patient(number: int, **more: Any) -> dict[str, Any]:
    """A small valid Patient."""
    return {"resourceType": "Patient", "id": f"p{number}", "gender": "female", "birthDate": "2015-02-03", **more}


def observation(number: int, **more: Any) -> dict[str, Any]:
    """A small valid Observation."""
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]},
        "subject": {"reference": f"Patient/p{number}"},
        "effectiveDateTime": "2024-03-01T08:00:00+08:00",
        "valueQuantity": {"value": 11.5, "unit": "g/dL"},
        **more,
    }


def bundle(*resources: Any, kind: str = "collection") -> dict[str, Any]:
    """A Bundle whose entries are these resources (dicts)."""
    return {"resourceType": "Bundle", "type": kind, "entry": [{"resource": resource} for resource in resources]}


class Ground:
    """A folder to drop files into, and the landing of it."""

    def __init__(self, folder: Path) -> None:
        self.sources = folder / "in"
        self.sources.mkdir()
        self.folder = folder
        self.runs = 0

    def drop(self, name: str, content: bytes | str | dict[str, Any]) -> Path:
        """Write a file; a dict as JSON, a name ending in .gz packed."""
        data = json.dumps(content, ensure_ascii=False) if isinstance(content, dict) else content
        data = data.encode() if isinstance(data, str) else data
        path = self.sources / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    def land(
        self,
        limits: Limits | None = None,
        workers: int = 1,
        mapped: tuple[str, ...] = MAPPED,
        cluster: str | None = None,
    ) -> Landed:
        """Land everything that was dropped."""
        self.runs += 1
        out = self.folder / f"out{self.runs}"
        with RejectWriter(out / "rejects", "key") as rejects:
            self.rejects_path = rejects.path
            with Workers(workers) as crew:
                return land(
                    [Source("SITE1", self.sources)], out, mapped, limits or Limits(), rejects=rejects, workers=crew,
                    cluster=cluster,
                )  # fmt: skip

    def rejects(self) -> list[dict[str, Any]]:
        """The lines of the last rejects file."""
        return [json.loads(line) for line in self.rejects_path.read_text().splitlines()]


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def lines_of(landed: Landed) -> Iterator[dict[str, Any]]:
    """All landed lines, parsed."""
    for paths in landed.shards.values():
        for path in paths:
            for line in path.read_bytes().splitlines():
                yield json.loads(line)


def outcomes(landed: Landed) -> Counter[tuple[str, str]]:
    """n by (outcome, reason)."""
    found: Counter[tuple[str, str]] = Counter()
    for row in landed.counts.iter_rows(named=True):
        found[row["outcome"], row["reason"]] += row["n"]
    return found


def balanced(landed: Landed) -> bool:
    """Whether kept + skipped + rejected = landed, for every type."""
    total: Counter[str] = Counter()
    for row in landed.counts.iter_rows(named=True):
        total[row["resource_type"]] += row["n"] if row["outcome"] == "landed" else -row["n"]
    kept = Counter(
        {kind: sum(path.read_bytes().count(b"\n") for path in paths) for kind, paths in landed.shards.items()}
    )
    return all(total[kind] == kept[kind] for kind in total.keys() | kept.keys())


@pytest.fixture
def make() -> dict[str, Callable[..., Any]]:
    return {
        "patient": patient, "observation": observation, "bundle": bundle, "lines_of": lines_of, "outcomes": outcomes,
        "balanced": balanced,
    }  # fmt: skip
