"""How cost grows with the data: `python benchmarks/scale.py [FOLDER] [--times 1 3 10] [--workers 1 2] [--json]`.

Builds the folder as it is, and several times over (as so many sites, whose patients are then different ones), each in
a process of its own; prints wall and CPU seconds, peak memory, and the exponent of wall seconds against size.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def one_build(folder: Path, times: int, workers: int) -> dict[str, Any]:
    """Seconds and memory of one build in this process."""
    from benchmarks.build import peak_megabytes
    from etl.landing import Source
    from etl.pipeline import build
    from etl.settings import Settings

    with tempfile.TemporaryDirectory() as place:
        sources = [Source(f"SITE{number}", folder) for number in range(1, times + 1)]
        started, before = time.perf_counter(), os.times()
        report = build(
            sources, database=f"duckdb:///{place}/omop.duckdb", settings=Settings(key="scale"), workers=workers
        )
        seconds, after = time.perf_counter() - started, os.times()
    cpu = sum(after[:4]) - sum(before[:4])
    return {
        "times": times, "workers": workers, "resources": report.totals["landed"], "rows": sum(report.rows.values()),
        "seconds": seconds, "cpu_seconds": cpu, "peak_megabytes": peak_megabytes(), "stages": report.seconds,
    }  # fmt: skip


def in_a_process(folder: Path, times: int, workers: int) -> dict[str, Any]:
    """The same in a process of its own, so that memory is its own."""
    command = [sys.executable, __file__, str(folder), "--one", str(times), str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def exponent(figures: list[dict[str, Any]]) -> float:
    """The slope of log seconds against log size, by least squares."""
    points = [(math.log(one["times"]), math.log(one["seconds"])) for one in figures]
    x, y = (sum(part) / len(points) for part in zip(*points, strict=True))
    return float(sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points))


def words(figures: list[dict[str, Any]]) -> str:
    """The figures for a reader."""
    lines = ["times  workers  resources       rows     wall      CPU    peak memory"]
    lines += [
        f"{one['times']:5}{one['workers']:9}{one['resources']:11,}{one['rows']:11,}{one['seconds']:8.1f} s"
        f"{one['cpu_seconds']:8.1f} s{one['peak_megabytes']:11,.0f} MB"
        for one in figures
    ]
    for workers in sorted({one["workers"] for one in figures}):
        mine = [one for one in figures if one["workers"] == workers]
        if len(mine) > 1:
            peak = mine[-1]["peak_megabytes"] / mine[0]["peak_megabytes"]
            lines.append(
                f"{workers} worker(s): exponent {exponent(mine):.2f}; peak memory {peak:.2f} times the smallest"
            )
    return "\n".join(lines)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "sample_bundles" / "site1")
    parser.add_argument("--times", type=int, nargs="+", default=[1, 3, 10])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--one", type=int, nargs=2, metavar=("TIMES", "WORKERS"), help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one_build(given.folder, *given.one)))
        return
    figures = [in_a_process(given.folder, times, workers) for workers in given.workers for times in given.times]
    print(json.dumps(figures, indent=1) if given.json else words(figures))


if __name__ == "__main__":
    main()
