"""Landing: files of many shapes in, one NDJSON file per resource type out, everything counted.

Each file is landed by itself: `land_file` depends on the file alone, so files can be shared out to processes and the
result does not depend on how. Memory is bounded by the largest Bundle file (Limits.max_file_bytes) or, for NDJSON, by
a block of lines.
"""

import gc
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import msgspec

from etl.landing.answer import FileResult, Landed, landed_of
from etl.landing.files import Decoded, FoundFile, Source, find_files, to_utf8
from etl.landing.gate import Limits, Refused, examine
from etl.landing.judge import Judge
from etl.landing.lines import ShardWriter
from etl.landing.reading import Content, line_blocks, read_ahead
from etl.landing.rejects import RejectWriter
from etl.landing.split import Unfolded, Unit, compact, is_bulk_manifest, kind_of, type_of, unfold, unfold_tolerantly

_FAULTS: Final = (msgspec.DecodeError, RecursionError)


def land(
    sources: Sequence[Source],
    folder: Path,
    mapped_types: Collection[str],
    limits: Limits = Limits(),  # noqa: B008  frozen
    rejects: RejectWriter | None = None,
    first_number: int = 1,
    workers: int = 1,
) -> Landed:
    """Land all files of the sources into `folder`; bad files and entries are counted and never stop the rest.

    `first_number` is the number of the first file; a resource's n is file number * 2**32 + its position, so neither
    the order nor the number of workers changes it. Raises SourceError when a source does not exist.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found, ignored = find_files(sources, first_number)
    mapped = frozenset(mapped_types)
    shares = [(folder, number, share, mapped, limits) for number, share in enumerate(_share_out(found, workers))]
    if len(shares) <= 1:
        answers = [_land_share(*share) for share in shares]
    else:
        with ProcessPoolExecutor(len(shares), mp_context=get_context("spawn")) as pool:
            answers = list(pool.map(_land_share, *zip(*shares, strict=True)))
    results = sorted((result for each, _ in answers for result in each), key=lambda result: result.found.number)
    shards: dict[str, list[Path]] = {}
    for _, paths in answers:
        for kind, path in paths.items():
            shards.setdefault(kind, []).append(path)
    if rejects is not None:
        for result in results:
            for reject in result.rejects:
                rejects.write(reject)
    ignored += [(result.found.site, result.found.name) for result in results if result.manifest]
    return landed_of(folder, dict(sorted(shards.items())), results, ignored)


def _share_out(found: Sequence[FoundFile], workers: int) -> list[list[FoundFile]]:
    """The files in shares of about the same size on disk, the largest first; each share in order of number."""
    shares: list[list[FoundFile]] = [[] for _ in range(max(1, min(workers, len(found))))]
    sizes = [0] * len(shares)
    for size, file in sorted(((_size(file), file) for file in found), key=lambda pair: (-pair[0], pair[1].number)):
        smallest = sizes.index(min(sizes))
        shares[smallest].append(file)
        sizes[smallest] += size
    return [sorted(share, key=lambda file: file.number) for share in shares]


def _size(file: FoundFile) -> int:
    try:
        return file.path.stat().st_size
    except OSError:
        return 0


def _land_share(
    folder: Path, share: int, found: Sequence[FoundFile], mapped: frozenset[str], limits: Limits
) -> tuple[list[FileResult], dict[str, Path]]:
    """Land some files in this process; their results and the NDJSON files written."""
    collecting = gc.isenabled()
    gc.disable()  # millions of short-lived objects, no cycles among them: collecting took a tenth of the time
    try:
        with ShardWriter(folder, share) as writer:
            results = [land_file(file, content, writer, mapped, limits) for file, content in read_ahead(found, limits)]
    finally:
        if collecting:
            gc.enable()
    return results, writer.paths


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
        result.deleted += unfolded.deleted
        judge.judge(unfolded.units, data)
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
