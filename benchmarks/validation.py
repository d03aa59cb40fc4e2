"""How fast landing and its validation are: `python benchmarks/validation.py [FOLDER] [--json]`.

For each file in turn, in CPU seconds of one process: one `orjson.loads` of its bytes, then each stage of landing. So
both meet the same machine, however busy it is. Printed are where landing's time goes, and the ratios of landing as a
whole, and of validation alone (typed decode, proof that no key is doubled, proof of spelling, over the resources of
mapped types), to the `orjson.loads` pass over all bytes; of validation also to `orjson.loads` of the same compacted
resources, one by one.

Python's garbage collector runs during orjson's passes, as it does for anyone who calls it, and not during landing,
which turns it off; with the collector off, `orjson.loads` of whole Bundles takes about half.
"""

import argparse
import gc
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from etl.landing.files import FoundFile, Source, blocks, find_files, to_utf8  # noqa: E402  after the path is set
from etl.landing.gate import Limits  # noqa: E402  after the path is set
from etl.landing.judge import Judge  # noqa: E402  after the path is set
from etl.landing.lines import ShardWriter  # noqa: E402  after the path is set
from etl.landing.split import Unit, compact, kind_of, type_of, unfold  # noqa: E402  after the path is set
from etl.landing.structure import decoder_of  # noqa: E402  after the path is set

VALIDATION = ("decode", "keys and spelling")


class Clock:
    """CPU seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts what happens inside."""
        started = time.process_time()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - started


class Measurement:
    """Lands files stage by stage."""

    def __init__(self, mapped: frozenset[str], folder: Path) -> None:
        self.clock = Clock()
        self.bytes = self.validated = self.resources = 0
        self._mapped = mapped
        self._limits = Limits()
        self.writer = ShardWriter(folder, 0)

    def measure(self, file: FoundFile) -> None:
        """One file: orjson, then landing."""
        stage = self.clock.stage
        with stage("read, gunzip, hash"):
            data = b"".join(blocks(file.path, self._limits, hashlib.sha256()))
        pieces = [data] if data[:1] == b"{" and b'"Bundle"' in data[:200] else data.split(b"\n")
        gc.enable()
        with stage("orjson"):
            for piece in pieces:
                if piece:
                    orjson.loads(piece)
        gc.disable()
        self.bytes += len(data)
        with stage("UTF-8"):
            pieces = [to_utf8(piece).data for piece in pieces]
        with stage("compact"):
            pieces = [compact(piece) for piece in pieces if piece.strip()]
        with stage("split"):
            units = [unit for number, piece in enumerate(pieces, 1) for unit in _units(piece, number)]
        self._judge(file, units, b"\n".join(pieces))

    def _judge(self, file: FoundFile, units: list[Unit], source: bytes) -> None:
        stage = self.clock.stage
        judge = Judge(file.number, file.site, self._mapped, self._limits)
        mapped = [unit for unit in units if unit.kind in self._mapped]
        gc.enable()
        with stage("orjson, mapped"):
            for unit in mapped:
                orjson.loads(unit.raw)
        gc.disable()
        with stage("gate"):
            judge._suspects(units, source)
        with stage("types without mapping"):
            judge._look_at([unit for unit in units if unit.kind not in self._mapped], set())
        with stage("decode"):
            found, encoded = judge._look_at(mapped, set())
        with stage("keys and spelling"):
            judge._doubt_keys_and_spelling(mapped, found, encoded)
        with stage("lines, hash"):
            for unit, one in zip(mapped, found, strict=True):
                judge.verdicts.resources += 1
                if one is not None:
                    judge._keep(unit, unit.kind or "", *one)
        with stage("write"):
            self.writer.write(judge.verdicts.lines)
        self.resources += len(units)
        self.validated += sum(len(unit.raw) for unit in mapped)

    def figures(self, folder: Path) -> dict[str, object]:
        """The seconds, and the ratios made of them."""
        seconds = dict(self.clock.seconds)
        whole, same = seconds.pop("orjson"), seconds.pop("orjson, mapped")
        landing, validation = sum(seconds.values()), sum(seconds[name] for name in VALIDATION)
        return {
            "folder": str(folder), "bytes": self.bytes, "resources": self.resources, "validated": self.validated,
            "orjson_seconds": whole, "orjson_mapped_seconds": same, "seconds": seconds,
            "landing_ratio": landing / whole, "validation_ratio": validation / same,
            "validation_of_whole": validation / whole,
        }  # fmt: skip


def _units(piece: bytes, number: int) -> list[Unit]:
    if type_of(piece) == "Bundle":
        return unfold(piece).units
    return [Unit(piece, None, number, kind_of(piece))]


def words(figures: dict[str, object]) -> str:
    """The figures for a reader."""
    seconds, whole = figures["seconds"], figures["orjson_seconds"]
    assert isinstance(seconds, dict)
    assert isinstance(whole, float)
    rows = [f"  {name:<24}{took:8.2f} s{took / whole:8.2f}" for name, took in seconds.items()]
    head = f"{figures['folder']}: {figures['bytes']:,} bytes, {figures['resources']:,} resources, "
    last = f"  validation to orjson.loads of all bytes: {figures['validation_of_whole']:.2f}; "
    return "\n".join(
        [
            head + f"{figures['validated']:,} bytes of mapped types",
            f"  {'orjson.loads, all':<24}{whole:8.2f} s    1.00",
            *rows,
            f"  landing to orjson.loads of all bytes: {figures['landing_ratio']:.2f}",
            last + f"of the compacted resources of mapped types, one by one: {figures['validation_ratio']:.2f}",
        ]
    )


def main() -> None:
    """Measures and prints. Damaged files are not for this benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "sample_bundles")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    types = [path.stem.title().replace("_", "") for path in (ROOT / "mappings" / "resources").glob("*.yaml")]
    for kind in types:
        decoder_of(kind)
    with tempfile.TemporaryDirectory() as place:
        measurement = Measurement(frozenset(types), Path(place))
        with measurement.writer:
            for file in find_files([Source("S", given.folder)], 1)[0]:
                measurement.measure(file)
    figures = measurement.figures(given.folder)
    print(json.dumps(figures, indent=1) if given.json else words(figures))


if __name__ == "__main__":
    main()
