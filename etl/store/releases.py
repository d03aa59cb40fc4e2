"""Releases: immutable copies of the CDM and of the results, for everybody who reads.

A release is a folder `<UTC time>-<run>` with `omop.duckdb`, `parquet/<schema>.<table>.parquet` and `manifest.json`. It
appears whole, by one rename, and is never changed. It holds `cdm`, `results`, and from `lineage` only which rule made
which row: no FHIR id.
"""

import json
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb

from etl.errors import CdmError
from etl.store import disk, steps
from etl.store.lock import RunLock
from etl.store.postgres_layout import quoted
from etl.store.snapshot import Snapshot, snapshot

FORMAT = "blina release 1"
MAKING, REMOVING = ".publishing-", ".removing-"
_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z-.+")
_RULES = {("lineage", "rule"): (), ("lineage", "cdm_row"): ("table_name", "row_id", "rule_id")}
_RUN = ("run_id", "outcome", "software_version", "mapping_sha", "settings_sha", "vocabulary_release")


@dataclass(frozen=True)
class Release:
    """A release in its folder, and what its manifest says."""

    path: Path
    manifest: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of the folder; sorts by time."""
        return self.path.name

    @property
    def database(self) -> Path:
        """The DuckDB file."""
        return self.path / "omop.duckdb"


def publish(database: str, folder: Path, keep: int = 5) -> Release:
    """Makes a release of the database at a URL in `folder` and removes all but the newest `keep` (at least 1).

    Raises CdmError when there is nothing to publish or the folder cannot be written, LockError when another process
    publishes there or the database is being written.
    """
    if keep < 1:
        raise CdmError("at least one release must be kept")
    with disk.told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = RunLock(folder / "releases", "publish")
        try:
            disk.clear(folder, MAKING, REMOVING)
            place = _make(database, folder)
            for old in releases(folder)[:-keep]:
                aside = folder / f"{REMOVING}{old.name}"
                old.path.rename(aside)
                steps.reached("release: old one set aside")
                shutil.rmtree(aside)
            steps.reached("release: old ones removed")
        except BaseException:
            disk.clear(folder, MAKING, REMOVING)  # half a release would keep the room that was lacking
            raise
        finally:
            lock.release()
    return read_release(place)


def releases(folder: Path) -> list[Release]:
    """The releases in a folder, oldest first. Raises CdmError when one of them is damaged."""
    if not folder.is_dir():
        return []
    return [read_release(path) for path in sorted(folder.iterdir()) if _NAME.fullmatch(path.name)]


def read_release(path: Path) -> Release:
    """The release in a folder; its files are not read (see `verify`)."""
    try:
        manifest = json.loads((path / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError):
        raise CdmError(f"{path}: has no manifest that can be read; it is no release") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CdmError(f"{path}: is not a release of this version of blina")
    return Release(path, manifest)


def verify(release: Release) -> None:
    """Raises CdmError, a line per file, when a file of a release is missing, changed, or not its own."""
    wanted: dict[str, Any] = release.manifest["files"]
    there = {str(path.relative_to(release.path)) for path in release.path.rglob("*") if path.is_file()}
    faults = [f"{name}: not there" for name in sorted(wanted.keys() - there)]
    faults += [f"{name}: not in the manifest" for name in sorted(there - wanted.keys() - {"manifest.json"})]
    faults += [
        f"{name}: changed"
        for name in sorted(wanted.keys() & there)
        if disk.sha256(release.path / name) != wanted[name]["sha256"]
    ]
    if faults:
        raise CdmError(f"{release.path}: this release is damaged", problems=faults)


def last_run(found: Snapshot) -> dict[str, Any]:
    """What the ledger says of the newest run; raises CdmError when there was none."""
    rows = found.rows(f"SELECT {', '.join(_RUN)} FROM ledger.run ORDER BY started_at DESC, run_id DESC LIMIT 1")
    if not rows:
        raise CdmError("the database holds no run yet: there is nothing to publish")
    return dict(zip(_RUN, rows[0], strict=True))


def write_parquet(work: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Every table of a DuckDB connection as `<schema>.<table>.parquet`."""
    folder.mkdir()
    for schema, name in work.execute("SELECT schema_name, table_name FROM duckdb_tables() ORDER BY 1, 2").fetchall():
        work.execute(f"COPY {quoted(schema, name)} TO ? (FORMAT parquet, COMPRESSION zstd)", [
            str(folder / f"{schema}.{name}.parquet")
        ])  # fmt: skip


def _make(database: str, folder: Path) -> Path:
    """Makes a release beside its place and moves it in; gives back the place."""
    with snapshot(database) as found:
        run = last_run(found)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{run['run_id']}"
        making = folder / f"{MAKING}{name}"
        making.mkdir()
        steps.reached("release: folder made")
        with duckdb.connect(str(making / "omop.duckdb")) as work:
            rows = {
                ".".join(place): found.copy(work, place, _RULES.get(place, ()))
                for place in [*found.tables(("cdm", "results")), *_RULES]
            }
            steps.reached("release: tables copied")
            write_parquet(work, making / "parquet")
    steps.reached("release: parquet written")
    finish_release(making, {
        "format": FORMAT,
        "name": name,
        "published_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "published_by": f"blina {version('blina')}",
        **run,
        "rows": rows,
    })  # fmt: skip
    steps.reached("release: manifest written")
    disk.move_in(making, folder / name)
    steps.reached("release: moved in")
    return folder / name


def finish_release(making: Path, manifest: dict[str, Any]) -> None:
    """Hashes the files of a release, writes its manifest, and takes the right to write from the files."""
    files = {
        str(path.relative_to(making)): {"sha256": disk.sha256(path), "bytes": path.stat().st_size}
        for path in sorted(making.rglob("*"))
        if path.is_file()
    }
    text = json.dumps({**manifest, "files": files}, indent=1, sort_keys=True)
    (making / "manifest.json").write_text(text, "utf-8")
    for path in making.rglob("*"):
        if path.is_file():
            path.chmod(0o444)
