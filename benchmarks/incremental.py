"""What a night costs when a hundredth changed: `python benchmarks/incremental.py [FOLDER] [--times 1] [--json]`.

Builds the folder, changes a share of its resources (a new version with another note, text or value), builds those onto
it, and prints the ratio of the two wall times, measured in one process and run. `--times`
takes the folder as so many sites. `--check` also builds everything at once and compares all CDM tables row by row.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import orjson

if TYPE_CHECKING:
    from etl.landing import Source

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def changed_resources(sources: Sequence["Source"], share: float) -> list[bytes]:
    """Every n-th resource of the sources as a new version: a later lastUpdated, and another content."""
    from benchmarks.build import pieces, read, resources

    every, found, number = round(1 / share), [], 0
    for _, data in read(sources):
        for piece in pieces(data):
            for one in resources(orjson.loads(piece)):
                number += 1
                if number % every == 0:
                    found.append(orjson.dumps(_changed(one)))
    return found


def _changed(resource: dict[str, Any]) -> dict[str, Any]:
    meta = {**resource.get("meta", {}), "lastUpdated": "2099-01-01T00:00:00Z", "versionId": "2"}
    if "valueQuantity" in resource:
        quantity = resource["valueQuantity"]
        return {**resource, "meta": meta, "valueQuantity": {**quantity, "value": quantity.get("value", 0) + 1}}
    return {**resource, "meta": meta, "language": "en"}


def measure(folder: Path, share: float, workers: int, times: int, *, check: bool) -> dict[str, Any]:
    """Seconds of the whole build and of the increment, their ratio, and what the increment did."""
    from etl.landing import Source
    from etl.pipeline import build
    from etl.settings import Settings
    from flows.instance import find_instance

    with tempfile.TemporaryDirectory() as place:
        database = f"duckdb:///{place}/omop.duckdb"
        instance = find_instance([folder], site=None, settings=None, database=database)
        everything, settings = list(instance.sources), instance.settings
        if times > 1:  # as so many hospitals, whose patients are then different ones
            sites = [f"{source.site}_{number}" for number in range(times) for source in everything]
            everything = [Source(site, source.path) for site, source in zip(sites, everything * times, strict=True)]
            settings = Settings(key="increment")
        night = Path(place) / "night.ndjson"
        lines = changed_resources(everything[: len(everything) // times], share)
        night.write_bytes(b"\n".join(lines) + b"\n")
        started = time.perf_counter()
        whole = build(everything, database=database, settings=settings, workers=workers)
        seconds = time.perf_counter() - started
        changes = [Source(everything[number * len(instance.sources)].site, night) for number in range(times)]
        started = time.perf_counter()
        change = build(changes, database=database, settings=settings, workers=workers)
        increment = time.perf_counter() - started
        figures: dict[str, Any] = {
            "folder": str(folder), "workers": workers, "resources": whole.totals["landed"],
            "changed": len(lines) * times,
            "seconds": seconds, "stages": whole.seconds, "increment_seconds": increment,
            "increment_stages": change.seconds, "ratio": increment / seconds, "computed": change.computed,
        }  # fmt: skip
        if check:
            other = f"duckdb:///{place}/at_once.duckdb"
            build([*everything, *changes], database=other, settings=settings, workers=workers)
            figures["differing_tables"] = differing(f"{place}/omop.duckdb", f"{place}/at_once.duckdb")
    return figures


def differing(one: str, other: str) -> list[str]:
    """The CDM tables in which two databases differ."""
    import etl.cdm

    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{one}' AS one (READ_ONLY); ATTACH '{other}' AS other (READ_ONLY)")
        return [
            table
            for table in etl.cdm.TABLES
            for a, b in (("one", "other"), ("other", "one"))
            if connection.execute(
                f"SELECT count(*) FROM (FROM {a}.cdm.{table} EXCEPT ALL FROM {b}.cdm.{table})"
            ).fetchone()
            != (0,)
        ]


def words(figures: dict[str, Any]) -> str:
    """The figures for a reader."""
    head = (
        f"{figures['folder']}: {figures['resources']:,} resources, {figures['changed']:,} changed "
        f"({figures['workers']} worker(s); computed: {figures['computed']})"
    )
    lines = [
        head,
        f"  {'':<18}{'whole':>9}{'increment':>12}",
        *(
            f"  {stage:<18}{took:8.2f} s{figures['increment_stages'].get(stage, 0):10.2f} s"
            for stage, took in figures["stages"].items()
        ),
        f"  {'all':<18}{figures['seconds']:8.2f} s{figures['increment_seconds']:10.2f} s",
        f"  ratio: {100 * figures['ratio']:.1f} %",
    ]
    if "differing_tables" in figures:
        lines.append(f"  tables that differ from a build at once: {figures['differing_tables'] or 'none'}")
    return "\n".join(lines)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "sample_bundles")
    parser.add_argument("--share", type=float, default=0.01)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--times", type=int, default=1, help="the folder as so many hospitals")
    parser.add_argument("--check", action="store_true", help="also compare with a build of everything at once")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    figures = measure(given.folder, given.share, given.workers, given.times, check=given.check)
    print(json.dumps(figures, indent=1) if given.json else words(figures))


if __name__ == "__main__":
    main()
