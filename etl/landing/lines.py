"""Landed lines on disk: one NDJSON file per resource type and share, with an index; any lines of them by number.

Beside `TYPE.SSS.ndjson` lies `TYPE.SSS.index.npy`: int64, one row per line in the order of the file, with the landed
number n (which increases) and the offset of the line's first byte. Whoever needs some lines out of many reads those and
nothing else. Files get their names when they are whole: until then, and after a crash, they are `*.part`.
"""

import mmap
import os
import uuid
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

PART: Final = ".part"
"""How the name of a file ends that is still being written, or that a killed process left."""
_BUFFER: Final = 2**20
_ENCODE: Final = msgspec.json.Encoder()


class Line(msgspec.Struct, gc=False):
    """A landed line, in the form that the transform reads: number, site, id, …, the resource itself as it came."""

    n: int
    site: str
    id: str
    url: str | None
    bundle: int
    version: str | None
    updated: str | None
    hash: str
    file: int
    at: int
    r: msgspec.Raw


def index_path(shard: Path) -> Path:
    """Where the index of an NDJSON file lies."""
    return shard.with_name(shard.name.removesuffix(".ndjson") + ".index.npy")


class _OpenShard:
    """One NDJSON file under its temporary name, and its index so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._part = path.with_name(f".{path.name}.{uuid.uuid4().hex}{PART}")
        self._stream: BinaryIO = self._part.open("wb", buffering=_BUFFER)
        self._index: list[NDArray[np.int64]] = []
        self._offset = 0

    def write(self, lines: list[Line]) -> None:
        """Append the lines; no resource holds a line break."""
        texts = _ENCODE.encode_lines(lines)
        ends = np.flatnonzero(np.frombuffer(texts, np.uint8) == 10) + 1
        index = np.empty((len(lines), 2), np.int64)
        index[:, 0] = [line.n for line in lines]
        index[0, 1] = self._offset
        index[1:, 1] = ends[:-1] + self._offset
        self._index.append(index)
        self._offset += len(texts)
        self._stream.write(texts)

    def publish(self) -> None:
        """Give both files their names, the index first: a shard that is there has one."""
        self._stream.close()
        index = index_path(self.path)
        part = index.with_name(f".{index.name}.{uuid.uuid4().hex}{PART}")
        with part.open("wb") as stream:
            np.save(stream, np.concatenate(self._index))
        os.replace(part, index)
        os.replace(self._part, self.path)

    def drop(self) -> None:
        self._stream.close()
        self._part.unlink(missing_ok=True)


class ShardWriter:
    """One open NDJSON file per resource type in a folder; a context manager that names the files when all went well.

    Writing a share again replaces its files: a share that is repeated after a crash shows no trace of the first try.
    """

    def __init__(self, folder: Path, share: int) -> None:
        self.paths: dict[str, Path] = {}
        self._folder = folder
        self._share = share
        self._open: dict[str, _OpenShard] = {}

    def write(self, lines: dict[str, list[Line]]) -> None:
        """Append lines to their types' files and empty the dictionary."""
        for kind, waiting in lines.items():
            if kind not in self._open:
                self.paths[kind] = self._folder / f"{kind}.{self._share:03d}.ndjson"
                self._open[kind] = _OpenShard(self.paths[kind])
            self._open[kind].write(waiting)
        lines.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for shard in self._open.values():
            if error is None:
                shard.publish()
            else:
                shard.drop()


def read_lines(shards: Sequence[Path], numbers: NDArray[np.int64] | Collection[int]) -> Iterator[bytes]:
    """The lines of these landed numbers, each with its line break, in order of shard and number.

    Numbers that no shard has give nothing. A shard without an index raises FileNotFoundError.
    """
    for view, starts, ends in _picked(shards, numbers):
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            yield bytes(view[start:end])


def write_lines(shards: Sequence[Path], numbers: NDArray[np.int64] | Collection[int], target: Path) -> int:
    """Copy the lines of these landed numbers into a new NDJSON file; how many there were."""
    written = 0
    with target.open("wb", buffering=_BUFFER) as stream:
        for view, starts, ends in _picked(shards, numbers):
            written += len(starts)
            first = np.flatnonzero(np.append(True, starts[1:] != ends[:-1]))  # neighbours are copied in one piece
            last = np.append(first[1:], len(starts)) - 1
            for start, end in zip(starts[first].tolist(), ends[last].tolist(), strict=True):
                stream.write(view[start:end])
    return written


def longest_line(shard: Path) -> int:
    """Bytes of the longest line, its line break included; of a file without an index, the bytes of the file."""
    size = shard.stat().st_size
    try:
        index = np.load(index_path(shard), mmap_mode="r")
    except FileNotFoundError:
        return size
    return int(np.diff(index[:, 1], append=size).max(initial=0))


def _picked(
    shards: Sequence[Path], numbers: NDArray[np.int64] | Collection[int]
) -> Iterator[tuple[memoryview, NDArray[np.int64], NDArray[np.int64]]]:
    """Of each shard that has some of the numbers: its bytes, and where those lines start and end."""
    array_given = isinstance(numbers, np.ndarray)
    wanted = np.unique(np.asarray(numbers if array_given else list(numbers), np.int64))
    for shard in shards:
        index = np.load(index_path(shard), mmap_mode="r")
        if not len(index):
            continue
        low, high = np.searchsorted(wanted, (index[0, 0], index[-1, 0] + 1))
        here = wanted[low:high]
        if not len(here):
            continue
        rows = np.searchsorted(index[:, 0], here)
        rows = rows[index[rows, 0] == here]
        if not len(rows):
            continue
        with shard.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            after = np.minimum(rows + 1, len(index) - 1)
            ends = np.where(rows + 1 < len(index), index[after, 1], len(mapped))
            with memoryview(mapped) as view:
                yield view, np.asarray(index[rows, 1]), ends
