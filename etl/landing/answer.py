"""What landing gives back: shards, and the frames of files, counts and deletions."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from etl.landing.files import FoundFile
from etl.landing.rejects import Reject
from etl.landing.split import Deletion

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Landed:
    """What landing gave.

    `shards`: NDJSON files by resource type, each with an index (`etl.landing.lines`); `files`: one row per file;
    `deleted`: what DELETE entries named, the number n of the last resource that came before, and the time they say;
    `counts`: n by site, resource_type, outcome (landed, skipped, rejected) and
    reason, where landed = kept + skipped + rejected; `ignored`: site and name of files in folders that are no FHIR by
    name (or a bulk manifest).
    """

    folder: Path
    shards: dict[str, list[Path]]
    files: "pl.DataFrame"
    deleted: "pl.DataFrame"
    counts: "pl.DataFrame"
    ignored: "pl.DataFrame"

    def sizes(self) -> dict[str, int]:
        """Bytes of the landed lines by resource type."""
        return {kind: sum(path.stat().st_size for path in paths) for kind, paths in self.shards.items()}


@dataclass
class FileResult:
    """What one file gave beside its lines."""

    found: FoundFile
    sha256: str = ""
    bytes: int = 0
    resources: int = 0
    decoded_from: str | None = None
    manifest: bool = False
    deleted: list[Deletion] = field(default_factory=list)
    counts: dict[tuple[str, str, str], int] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)


def landed_of(
    folder: Path, shards: dict[str, list[Path]], results: Sequence[FileResult], ignored: Sequence[tuple[str, str]]
) -> Landed:
    """The frames of the answer, in a fixed order."""
    import polars as pl  # a worker process has no use for it

    files = [
        (r.found.number, r.found.site, r.found.name, r.sha256, r.bytes, r.resources, r.decoded_from) for r in results
    ]
    deleted = {
        (r.found.site, *one.target.split("/", 1), (r.found.number << 32) + one.after, one.updated)
        for r in results
        for one in r.deleted
    }
    counts: Counter[tuple[str, str, str, str]] = Counter()
    for r in results:
        for (kind, outcome, reason), n in r.counts.items():
            counts[r.found.site, kind, outcome, reason] += n
    text = pl.String
    return Landed(
        folder=folder,
        shards=shards,
        files=pl.DataFrame(
            files,
            schema={
                "file": pl.Int64,
                "site": text,
                "name": text,
                "sha256": text,
                "bytes": pl.Int64,
                "resources": pl.Int64,
                "decoded_from": text,
            },
            orient="row",
        ),
        deleted=pl.DataFrame(
            sorted(deleted, key=repr),
            schema={"site": text, "resource_type": text, "id": text, "n": pl.Int64, "updated": text},
            orient="row",
        ),
        counts=pl.DataFrame(
            [(*key, n) for key, n in sorted(counts.items())],
            schema={"site": text, "resource_type": text, "outcome": text, "reason": text, "n": pl.Int64},
            orient="row",
        ),
        ignored=pl.DataFrame(sorted(ignored), schema={"site": text, "name": text}, orient="row"),
    )
