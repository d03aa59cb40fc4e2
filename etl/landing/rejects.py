"""The rejects file: what was refused, where it stands and why, without a word about a patient.

One JSON object per line: resource_type, key, stage, reason, detail, place. `key` is a keyed hash of site, type and id:
who has the key and the id can find the line, nobody else can. `place` is "file number # entry or line"; file names are
left out because hospitals put patients' names into them, the table of files has number, name and sha256.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from etl.errors import SourceError

FILE_NAME: Final = "rejects.ndjson"


@dataclass(frozen=True)
class Reject:
    """One refusal. `at` is the entry or line, counted from 1; 0 is the file as a whole. `detail` holds paths only."""

    site: str
    resource_type: str
    resource_id: str | None
    stage: str
    reason: str
    detail: str
    file: int
    at: int


class RejectWriter:
    """Writes `rejects.ndjson` into a folder; a context manager."""

    def __init__(self, folder: Path, key: str) -> None:
        """`key` is the instance's secret; it must be the one that makes the OMOP ids if both shall be compared."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE_NAME
        self.count = 0
        self._key = hashlib.sha256(key.encode()).digest()
        self._stream = self.path.open("wb")

    def write(self, reject: Reject) -> None:
        """Append one refusal."""
        line = {
            "resource_type": reject.resource_type,
            "key": self.opaque(reject.site, reject.resource_type, reject.resource_id),
            "stage": reject.stage,
            "reason": reject.reason,
            "detail": reject.detail,
            "site": reject.site,
            "place": f"{reject.file}#{reject.at}" if reject.at else f"{reject.file}",
        }
        self._stream.write(msgspec.json.encode(line) + b"\n")
        self.count += 1

    def opaque(self, site: str, resource_type: str, resource_id: str | None) -> str | None:
        """The keyed hash that stands for a resource (32 hex digits); None without an id."""
        return None if resource_id is None else opaque(self._key, site, resource_type, resource_id)

    def close(self) -> None:
        """Flush and close the file."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def drop_rejects(folder: Path, key: str, resources: Collection[tuple[str, str, str]]) -> int:
    """Removes the lines of resources (site, type, id) from the rejects in a folder; gives back how many there were.

    Raises SourceError when there is no such file.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise SourceError(f"{path}: there is no such file")
    keys = {opaque(hashlib.sha256(key.encode()).digest(), *one) for one in resources}
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if msgspec.json.decode(line)["key"] not in keys]
    made = path.with_name(f".{FILE_NAME}")
    made.write_bytes(b"".join(kept))
    made.replace(path)
    return len(lines) - len(kept)


def opaque(key: bytes, site: str, resource_type: str, resource_id: str) -> str:
    """The keyed hash that stands for a resource (32 hex digits)."""
    name = "\x1f".join((site, resource_type, resource_id)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(name, key=key, digest_size=16).hexdigest()
