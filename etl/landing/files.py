"""Input files: found in a fixed order, read with limits, decompressed while counting, decoded.

A folder is walked recursively and by name, so that the same folder always gives the same file numbers. What is inside
a file is decided by its content; its name only says whether it is worth opening.
"""

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from etl.errors import SourceError
from etl.landing.gate import Limits, Refused

LINES: Final = (".ndjson", ".jsonl")
WHOLE: Final = (".json",)
_BLOCK: Final = 2**20
_RATIO_FREE_BYTES: Final = 2**20
"""Below this size a gzip may expand as it likes: small files compress oddly."""
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Source:
    """FHIR of one site: a file, or a folder that is read recursively."""

    site: str
    path: Path


@dataclass(frozen=True)
class FoundFile:
    """One file to land: its number in the run, its site, where it is, and its name within the source."""

    number: int
    site: str
    path: Path
    name: str


@dataclass(frozen=True)
class Decoded:
    """The bytes of a file or line as UTF-8, and the encoding they came in (None: UTF-8)."""

    data: bytes
    decoded_from: str | None


def find_files(sources: Sequence[Source], first_number: int) -> tuple[list[FoundFile], list[tuple[str, str]]]:
    """All files to land in order of source and name, and the (site, name) of those left aside in folders.

    A file that is named itself is always opened; in a folder only .json, .ndjson, .jsonl and .gz are. Raises
    SourceError when a path does not exist.
    """
    missing = [str(source.path) for source in sources if not source.path.exists()]
    if missing:
        raise SourceError("Some sources do not exist.", problems=missing)
    found: list[FoundFile] = []
    ignored: list[tuple[str, str]] = []
    for source in sources:
        if source.path.is_file():
            found.append(FoundFile(first_number + len(found), source.site, source.path, source.path.name))
            continue
        for path in sorted(source.path.rglob("*"), key=lambda path: path.relative_to(source.path).as_posix()):
            if any(part.startswith(".") for part in path.relative_to(source.path).parts):
                continue  # hidden: no export hides its files, and blina's own work folder may lie here
            name = path.relative_to(source.path).as_posix()
            if not path.is_file():
                continue
            if path.name.startswith(".") or path.suffix.lower() not in (*LINES, *WHOLE, ".gz"):
                ignored.append((source.site, name))
            else:
                found.append(FoundFile(first_number + len(found), source.site, path, name))
    return found, ignored


def is_lines(path: Path) -> bool:
    """Whether the name says one resource per line."""
    return Path(path.name.lower().removesuffix(".gz")).suffix in LINES


def blocks(path: Path, limits: Limits, digest: "hashlib._Hash") -> Iterator[bytes]:
    """The decompressed content in blocks of some megabytes; raises `Refused` at the limit, the ratio, a broken gzip.

    `digest` sees the bytes as they lie on disk.
    """
    with path.open("rb") as stream:
        start = stream.read(2)
        stream.seek(0)
        total = 0
        for block in _gunzip(stream, limits, digest) if start == b"\x1f\x8b" else _plain(stream, digest):
            total += len(block)
            if total > limits.max_file_bytes:
                raise Refused("too_large")
            yield block


def _plain(stream: BinaryIO, digest: "hashlib._Hash") -> Iterator[bytes]:
    while block := stream.read(_BLOCK):
        digest.update(block)
        yield block


def _gunzip(stream: BinaryIO, limits: Limits, digest: "hashlib._Hash") -> Iterator[bytes]:
    """Each gzip member in turn; the ratio is watched while it expands, so a bomb never unfolds."""
    read = written = 0
    unzip = zlib.decompressobj(wbits=31)
    while packed := stream.read(2**18):
        digest.update(packed)
        read += len(packed)
        while packed:
            try:
                block = unzip.decompress(packed, _BLOCK)
            except zlib.error:
                raise Refused("gzip_broken") from None
            written += len(block)
            if written > _RATIO_FREE_BYTES and written > read * limits.max_gzip_ratio:
                raise Refused("gzip_ratio")
            if block:
                yield block
            packed = unzip.unconsumed_tail
            if unzip.eof:
                packed = unzip.unused_data.lstrip(b"\0")
                unzip = zlib.decompressobj(wbits=31)
                if packed and not packed.startswith(b"\x1f"):
                    raise Refused("gzip_broken")
                fresh = not packed
            else:
                fresh = False
        finished = fresh
    if read and not finished:
        raise Refused("gzip_broken")


def to_utf8(data: bytes) -> Decoded:
    """The bytes as UTF-8: as they are, without a byte order mark, or transcoded from GB18030; raises `Refused`.

    A BOM is cut off (RFC 8259 lets a reader do so). GB18030 is believed only if at least nine of ten characters beyond
    ASCII are GB 2312, and there are two at least: a flipped byte in UTF-8 text also "decodes" as GB18030, into
    characters that nobody writes.
    """
    data = data.removeprefix(_BOM)
    if data.isascii():
        return Decoded(data, None)
    try:
        data.decode()
    except UnicodeDecodeError:
        return Decoded(_from_gb18030(data), "gb18030")
    return Decoded(data, None)


def _from_gb18030(data: bytes) -> bytes:
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError:
        raise Refused("invalid_utf8") from None
    beyond = "".join(character for character in text if character > "\x7f")
    usual = len(beyond.encode("gb2312", "ignore")) // 2
    if len(beyond) < 2 or usual < 0.9 * len(beyond):
        raise Refused("invalid_utf8")
    return text.encode()
