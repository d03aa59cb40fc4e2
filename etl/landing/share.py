"""One share of the files, landed by one process: lines and indexes into the folder, everything else into an answer.

Each file is landed by itself: `land_file` depends on the file alone, so files can be shared out to processes and the
result does not depend on how. Memory is bounded by the largest Bundle file (Limits.max_file_bytes) or, for NDJSON, by
a block of lines. What a worker imports is kept small: it starts in a third of a second.
"""

import gc
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from etl.landing.answer import FileResult
from etl.landing.files import Decoded, FoundFile, to_utf8
from etl.landing.gate import Limits, Refused, examine
from etl.landing.judge import Judge
from etl.landing.lines import PART, ShardWriter
from etl.landing.reading import Content, line_blocks, read_ahead
from etl.landing.split import Unfolded, Unit, compact, is_bulk_manifest, kind_of, type_of, unfold, unfold_tolerantly

_FAULTS: Final = (msgspec.DecodeError, RecursionError)


class Share(msgspec.Struct, frozen=True):
    """Files to land, and where the lines go."""

    folder: Path
    number: int
    found: list[FoundFile]
    mapped: frozenset[str]
    limits: Limits

    @property
    def answer(self) -> Path:
        """Where the answer is written."""
        return self.folder / f".share.{self.number:03d}.answer"


class Answer(msgspec.Struct, frozen=True):
    """What a share gave beside its lines, and the NDJSON files by resource type."""

    results: list[FileResult]
    paths: dict[str, Path]


def land_share(share: Share) -> int:
    """Land a share in this process; its number. Lines and answer get their names when they are whole.

    Landing a share again writes the same bytes under the same names.
    """
    collecting = gc.isenabled()
    gc.disable()  # millions of short-lived objects, no cycles among them: collecting took a tenth of the time
    try:
        with ShardWriter(share.folder, share.number) as writer:
            results = [
                land_file(file, content, writer, share.mapped, share.limits)
                for file, content in read_ahead(share.found, share.limits)
            ]
    finally:
        if collecting:
            gc.enable()
    part = share.folder / f"{share.answer.name}.{uuid.uuid4().hex}{PART}"
    part.write_bytes(msgspec.msgpack.encode(Answer(results, writer.paths), enc_hook=str))
    os.replace(part, share.answer)
    return share.number


def answer_of(share: Share) -> Answer:
    """The answer of a share that was landed; its file is removed."""
    answer = msgspec.msgpack.decode(share.answer.read_bytes(), type=Answer, dec_hook=_decoded)
    share.answer.unlink()
    return answer


def _decoded(kind: type, value: Any) -> Any:
    assert kind is Path
    return Path(value)


def land_file(
    file: FoundFile, content: Content, writer: ShardWriter, mapped: frozenset[str], limits: Limits
) -> FileResult:
    """Land one file: its lines go to the writer, everything else into the result."""
    result = FileResult(file)
    judge = Judge(file.number, file.site, mapped, limits)
    try:
        if content.whole is not None:
            result.bytes = len(content.whole)
            _land_whole(content.whole, judge, limits, result)
        else:
            _land_lines(line_blocks(_sized(content.stream, result), limits), judge, writer, result)
    except Refused as refused:
        judge.refuse_file(refused)
    except OSError:
        judge.refuse_file(Refused("unreadable"))
    writer.write(judge.verdicts.lines)
    result.sha256 = content.digest.hexdigest()
    result.resources = judge.verdicts.resources
    result.counts = judge.verdicts.counts
    result.rejects = judge.verdicts.rejects
    return result


def _land_whole(raw: bytes, judge: Judge, limits: Limits, result: FileResult) -> None:
    """Land a file that is one JSON value, or lines under another name."""
    if not raw.strip():
        raise Refused("empty_file")
    decoded = _decode(raw, result)
    if decoded.lstrip()[:1] not in (b"{", b"["):
        raise Refused("not_fhir")
    try:
        data = compact(decoded)
        kind = type_of(data)
        unfolded = unfold(data) if kind == "Bundle" else None
    except _FAULTS:
        _land_broken(decoded, judge, limits, result)
        return
    if unfolded is not None:
        judge.judge(unfolded.units, data)
        result.deleted += unfolded.deleted
    elif kind is None and is_bulk_manifest(data):
        result.manifest = True
    elif kind is None:
        examine(data, limits)
        raise Refused("not_fhir")
    else:
        judge.judge([Unit(data, None, 1, kind)])


def _land_broken(data: bytes, judge: Judge, limits: Limits, result: FileResult) -> None:
    """Land what no strict parser reads as one value: lines, or a Bundle with a bad value in some entry."""
    first, _, rest = data.lstrip().partition(b"\n")
    if rest.strip() and _is_object(first):
        judge.judge(_units_of_lines(data.split(b"\n"), 1, judge, result))
        return
    unfolded = unfold_tolerantly(data) if b'"Bundle"' in data else Unfolded([], [])
    if not unfolded.units:
        examine(data, limits)
        raise Refused("invalid_json")
    judge.judge(unfolded.units)
    result.deleted += unfolded.deleted


def _unfold_line(line: bytes, number: int) -> Unfolded:
    """The resources of a Bundle in one line, whether or not some entry holds a bad value."""
    try:
        return unfold(line, number)
    except _FAULTS:
        return unfold_tolerantly(line, number)


def _is_object(line: bytes) -> bool:
    try:
        return line.lstrip()[:1] == b"{" and bool(msgspec.json.decode(line, type=dict[str, msgspec.Raw]))
    except (*_FAULTS, UnicodeDecodeError):
        return False


def _decode(raw: bytes, result: FileResult) -> bytes:
    decoded: Decoded = to_utf8(raw)
    result.decoded_from = decoded.decoded_from or result.decoded_from
    return decoded.data


def _sized(stream: Iterator[bytes], result: FileResult) -> Iterator[bytes]:
    """The stream, its bytes counted in passing."""
    for block in stream:
        result.bytes += len(block)
        yield block


def _land_lines(line_blocks: Iterator[list[bytes]], judge: Judge, writer: ShardWriter, result: FileResult) -> None:
    """Land NDJSON, block by block."""
    number = 1
    any_line = False
    for lines in line_blocks:
        units = _units_of_lines(lines, number, judge, result)
        any_line = any_line or any(line.strip() for line in lines)
        judge.judge(units)
        writer.write(judge.verdicts.lines)
        number += len(lines)
    if not any_line:
        raise Refused("empty_file")


def _units_of_lines(lines: Sequence[bytes], first: int, judge: Judge, result: FileResult) -> list[Unit]:
    """The resources of some lines; Bundles in a line are unfolded; what is no UTF-8 is left for the judge to refuse."""
    units: list[Unit] = []
    for number, line in enumerate(lines, start=first):
        if not line or line.isspace():
            continue
        try:
            line = line if line.isascii() else _decode(line, result)
            kind = kind_of(line)
            if kind == "Bundle":
                unfolded = _unfold_line(line, number)
                units += unfolded.units
                before = judge.verdicts.resources + len(units) - len(unfolded.units)
                result.deleted += [one._replace(after=before + one.after) for one in unfolded.deleted]
                continue
        except Refused:
            kind = None  # the judge examines the line and names the reason
        units.append(Unit(line, None, number, kind))
    return units
