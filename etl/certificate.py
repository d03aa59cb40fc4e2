"""The certificate of a withdrawal: what was taken out, in counts; no id of FHIR, no name, no value."""

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from etl.errors import CdmError
from etl.store import Home

FORMAT = "blina withdrawal 1"
_DRAFT = "unfinished.json"
OUTSIDE = (
    "the exports that the hospital sent",
    "backups made before (`blina backup`): make a new one and delete them",
    "results, tables and reports of studies that were run before: delete them, or keep them as the law allows",
    "copies of releases that left this folder",
    "blocks of the disk that the file system has freed but not overwritten, and its snapshots",
    "on PostgreSQL: the write-ahead log, its archive, base backups and replicas (etl/store/README.md)",
)
"""What blina cannot reach."""


@dataclass
class Certificate:
    """Counts of a withdrawal: landed resources by type, rows by table before and after, releases, rejects."""

    run_id: str
    patients: list[str]
    listed: int
    folder: Path
    landed: dict[str, int] = field(default_factory=dict)
    rows: dict[str, dict[str, int]] = field(default_factory=lambda: {"before": {}, "after": {}})
    releases: list[dict[str, Any]] = field(default_factory=list)
    rejects: int = 0
    notes: list[str] = field(default_factory=list)
    row_ids: list[int] = field(default_factory=list)  # keys of rows of the CDM, for the releases; not certified
    at: str = ""

    def add_landed(self, counts: Counter[tuple[int, str, str]]) -> None:
        """Adds landed resources; what an interrupted run has found already stays."""
        found: Counter[str] = Counter()
        for (_, _, kind), n in counts.items():
            found[kind] += n
        for kind, n in sorted(found.items()):
            self.landed[kind] = max(n, self.landed.get(kind, 0))

    def add_rows(self, when: str, counts: dict[str, int]) -> None:
        """Adds the rows of each table, before or after; before an interrupted run counts, not before the next one."""
        self.rows[when] = {**counts, **(self.rows["before"] if when == "before" else {})}

    def save(self) -> None:
        """Keeps what is known so far, for a run that has to finish what this one began."""
        (self.folder / _DRAFT).write_text(json.dumps({**self.as_dict(), "row_ids": self.row_ids}), "utf-8")

    def as_dict(self) -> dict[str, Any]:
        """The content of the JSON form."""
        before, after = self.rows["before"], self.rows["after"]
        return {
            "format": FORMAT,
            "run_id": self.run_id,
            "at": self.at,
            "made_by": f"blina {version('blina')}",
            "patients_listed": self.listed,
            "withdrawn_patients": self.patients,
            "landed_resources_removed": self.landed,
            "rows_before": before,
            "rows_after": after,
            "rows_removed": {name: n - after.get(name, 0) for name, n in before.items() if n != after.get(name, 0)},
            "releases": self.releases,
            "lines_of_rejects_removed": self.rejects,
            "notes": self.notes,
            "not_reached": list(OUTSIDE),
        }

    def words(self) -> str:
        """The text form."""
        one = self.as_dict()
        lines = [
            "Certificate of withdrawal",
            f"run {self.run_id}, {self.at}, {one['made_by']}",
            f"{self.listed:,} patients on the list, {len(self.patients):,} withdrawn so far (keyed hashes in the JSON)",
            "",
            "removed from what was received:",
            *(f"  {kind}: {n:,}" for kind, n in self.landed.items()),
            "rows removed from the database:",
            *(f"  {name}: {n:,}" for name, n in one["rows_removed"].items()),
            f"lines removed from the list of rejects: {self.rejects:,}",
            f"releases rewritten: {sum(release['rewritten'] for release in self.releases):,} of {len(self.releases):,}",
            *(f"note: {note}" for note in self.notes),
            "not reached:",
            *(f"  - {what}" for what in OUTSIDE),
        ]
        return "\n".join(lines) + "\n"

    def finish(self, home: Home) -> None:
        """Writes both forms into the instance's folder of withdrawals."""
        self.at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        try:
            for suffix, text in (("json", json.dumps(self.as_dict(), indent=1)), ("txt", self.words())):
                (home.withdrawn / f"certificate-{self.run_id}.{suffix}").write_text(text, "utf-8")
            (home.withdrawn / _DRAFT).unlink(missing_ok=True)
        except OSError as error:
            raise CdmError(f"{home.withdrawn}: the certificate cannot be written ({error.strerror})") from None

    @property
    def path(self) -> Path:
        """Where the text form is."""
        return self.folder / f"certificate-{self.run_id}.txt"


def unfinished(home: Home, run_id: str, patients: frozenset[str], *, listed: int) -> Certificate:
    """A certificate to fill, with the counts of an interrupted withdrawal when there was one."""
    made = Certificate(run_id, sorted(patients), listed, home.withdrawn)
    try:
        draft = json.loads((home.withdrawn / _DRAFT).read_text("utf-8"))
    except FileNotFoundError:
        return made
    except (OSError, ValueError):
        made.notes.append("an interrupted withdrawal left no counts that can be read; those here are of its rest")
        return made
    made.landed = draft["landed_resources_removed"]
    made.rows["before"] = draft["rows_before"]
    made.row_ids = draft["row_ids"]
    made.notes.append("finishes an interrupted withdrawal; its counts are included")
    return made
