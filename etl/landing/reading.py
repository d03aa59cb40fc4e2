"""Content of files, one file ahead of the landing."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from etl.landing.files import FoundFile, blocks, is_lines
from etl.landing.gate import Limits, Refused

_LINE_BLOCK: Final = 2 * 2**20  # larger blocks fall out of the processor's cache


@dataclass
class Content:
    """What a file holds: all of it, or (lines, and files that could not be read) a stream still to be read."""

    digest: "hashlib._Hash"
    stream: Iterator[bytes]
    whole: bytes | None = None


def read_ahead(found: Sequence[FoundFile], limits: Limits) -> Iterator[tuple[FoundFile, Content]]:
    """Each file with its content; the next one is read and decompressed in a thread meanwhile (zlib frees the GIL)."""
    with ThreadPoolExecutor(1) as thread:
        waiting = [thread.submit(_read, file, limits) for file in found[:1]]
        for number, file in enumerate(found):
            content = waiting.pop().result()
            if number + 1 < len(found):
                waiting.append(thread.submit(_read, found[number + 1], limits))
            yield file, content


def _read(file: FoundFile, limits: Limits) -> Content:
    """The content of a file; faults are left in the stream, for the landing of that file to meet."""
    digest = hashlib.sha256()
    content = Content(digest, blocks(file.path, limits, digest))
    if not is_lines(file.path):
        try:
            content.whole = b"".join(content.stream)
        except (Refused, OSError) as fault:
            content.stream = _raising(fault)
    return content


def _raising(fault: Exception) -> Iterator[bytes]:
    yield b""
    raise fault


def line_blocks(stream: Iterator[bytes], limits: Limits) -> Iterator[list[bytes]]:
    """The lines of a file in blocks of some megabytes."""
    waiting: list[bytes] = []
    size = 0
    for block in stream:
        waiting.append(block)
        size += len(block)
        if size >= _LINE_BLOCK and b"\n" in block:
            lines = b"".join(waiting).split(b"\n")
            waiting = [lines.pop()]
            size = len(waiting[0])
            yield lines
        elif size > limits.max_line_bytes:
            raise Refused("line_too_long")
    yield b"".join(waiting).split(b"\n")
