"""How fast the whole build is, as a ratio: `python benchmarks/build.py [FOLDER] [--workers N] [--json]`.

Prints bytes, resources, wall seconds per stage, peak memory, and the ratio of the whole build to one `orjson.loads`
pass over the same decompressed bytes, measured in the same run. `--usual N` also measures "the way most do it" on N
files: `fhir.resources` objects, row by row. Seconds depend on the machine; ratios carry over.
"""

import argparse
import gzip
import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from etl.landing import Source

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
MEGABYTE = 1_000_000


def read(sources: Sequence["Source"]) -> list[tuple[str, bytes]]:
    """(file name, decompressed bytes) of everything that the build would open."""
    from etl.landing.files import find_files

    found, _ = find_files(sources, 1)
    contents = []
    for file in found:
        data = file.path.read_bytes()
        contents.append((file.name, gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data))
    return contents


def parse_all(contents: list[tuple[str, bytes]]) -> float:
    """Seconds of one `orjson.loads` pass over all bytes: whole files, or line by line; nothing is kept."""
    parts = [piece for _, data in contents for piece in pieces(data)]
    started = time.perf_counter()
    for piece in parts:
        orjson.loads(piece)
    return time.perf_counter() - started


def pieces(data: bytes) -> list[bytes]:
    """What a JSON parser takes in one go. Other encodings are transcoded first, broken pieces left out."""
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = data.decode(encoding).encode()
            break
        except UnicodeDecodeError:
            continue
    else:
        return []
    for parts in ([text], [line for line in text.split(b"\n") if line.strip()]):
        try:
            for piece in parts:
                orjson.loads(piece)
        except orjson.JSONDecodeError:
            continue
        return parts
    return []


def usual_way(contents: list[tuple[str, bytes]], files: int) -> dict[str, Any]:
    """Seconds and bytes of `fhir.resources` objects, one by one, each written as a row, over the first files."""
    from fhir.resources.R4B import get_fhir_model_class

    measured = landed = refused = 0
    rows: list[tuple[str, str | None]] = []
    started = time.perf_counter()
    for _, data in contents[:files]:
        for piece in pieces(data):
            measured += len(piece)
            for one in resources(orjson.loads(piece)):
                landed += 1
                try:
                    model = get_fhir_model_class(one["resourceType"]).model_validate(one)
                except (ValueError, KeyError):
                    refused += 1
                    continue
                rows.append((one["resourceType"], getattr(model, "id", None)))
    seconds = time.perf_counter() - started
    return {"files": files, "bytes": measured, "resources": landed, "refused": refused, "seconds": seconds}


def resources(content: dict[str, Any]) -> list[dict[str, Any]]:
    if content.get("resourceType") != "Bundle":
        return [content]
    return [entry["resource"] for entry in content.get("entry", []) if "resource" in entry]


def peak_megabytes() -> float:
    """The most memory that this process, or any process it waited for, has held."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) * 1024 / MEGABYTE


def measure(folder: Path, workers: int, vocabulary: list[Path], usual: int) -> dict[str, Any]:
    """All figures of one run; memory is taken before the files are read for comparison."""
    from etl.pipeline import build
    from flows.instance import find_instance

    with tempfile.TemporaryDirectory() as place:
        database = f"duckdb:///{place}/omop.duckdb"
        instance = find_instance([folder], site=None, settings=None, database=database)
        started = time.perf_counter()
        report = build(
            instance.sources, database=database, settings=instance.settings, vocabulary=vocabulary, workers=workers
        )
        seconds = time.perf_counter() - started
    memory = peak_megabytes()
    contents = read(instance.sources)
    size = sum(len(data) for _, data in contents)
    parse = min(parse_all(contents) for _ in range(2))
    figures: dict[str, Any] = {
        "folder": str(folder), "workers": workers, "files": len(contents), "bytes": size,
        "resources": report.totals["landed"], "rows": sum(report.rows.values()), "seconds": seconds,
        "stages": report.seconds, "orjson_seconds": parse, "ratio": seconds / parse, "peak_megabytes": memory,
    }  # fmt: skip
    if usual:
        other = usual_way(contents, usual)
        figures["usual"] = other
        figures["usual_ratio"] = (other["seconds"] / other["bytes"]) / (parse / size)
    return figures


def words(figures: dict[str, Any]) -> str:
    """The figures for a reader."""
    size, seconds, parse = figures["bytes"], figures["seconds"], figures["orjson_seconds"]
    head = (
        f"{figures['folder']}: {figures['files']:,} files, {size:,} bytes, {figures['resources']:,} resources, "
        f"{figures['rows']:,} OMOP rows, {figures['workers']} worker(s)"
    )
    lines = [
        head,
        *(f"  {stage:<18}{took:8.2f} s{100 * took / seconds:7.1f} %" for stage, took in figures["stages"].items()),
        f"  {'whole build':<18}{seconds:8.2f} s  {size / seconds / MEGABYTE:.1f} MB/s",
        f"  {'orjson.loads':<18}{parse:8.2f} s  {size / parse / MEGABYTE:.1f} MB/s",
        f"  ratio of the build to one orjson.loads pass: {figures['ratio']:.2f}",
        f"  peak memory: {figures['peak_megabytes']:,.0f} MB",
    ]
    if "usual" in figures:
        other = figures["usual"]
        lines.append(
            f"  fhir.resources row by row, {other['files']} files: {other['seconds']:.2f} s for {other['bytes']:,} "
            f"bytes, {other['refused']} of {other['resources']:,} refused; "
            f"ratio to orjson.loads: {figures['usual_ratio']:.1f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "sample_bundles")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--vocabulary", type=Path, action="append", default=[])
    parser.add_argument("--usual", type=int, default=0, metavar="FILES", help="also fhir.resources on so many files")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    figures = measure(given.folder, given.workers, given.vocabulary, given.usual)
    print(json.dumps(figures, indent=1) if given.json else words(figures))


if __name__ == "__main__":
    main()
