"""Everything received so far: one folder per run beside the database, so that every build sees all of it.

A hospital sends what changed, night by night; a build makes the database equal to all that ever came. A run's folder
is put in its place by one rename before the database commits. A folder whose run the ledger does not know was left by
a run that did not reach its commit: it is removed at the next start, and its files are read again.
"""

import hashlib
import re
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from etl.errors import CdmError
from etl.landing.answer import Landed, landed_of
from etl.landing.files import Source, find_files

_RUN = re.compile(r"\d{8}T\d{6}(\.\d{6})?Z-[0-9a-f]+")
"""What the folder of a run is called (`etl.store.new_run_id`, also as it was before it counted microseconds)."""

_FRAMES = ("files", "deleted", "counts", "ignored")


@dataclass(frozen=True)
class Received:
    """What lies in the folder of an instance: runs in order of arrival, all they landed, and the next file number."""

    folder: Path
    runs: tuple[Path, ...]
    landed: Landed
    next_number: int

    def forgotten(self) -> "Received":
        """The same without anything received: a build that begins anew. File numbers go on."""
        return Received(self.folder, (), _together(self.folder, ()), self.next_number)

    def unknown(self, sources: Sequence[Source]) -> tuple[list[Source], int]:
        """The files of the sources that did not come before, each as a source of its own; equal files are one.

        Also how many files of folders were left aside, because they are no FHIR by name. Raises SourceError when a
        source does not exist.
        """
        known = set(self.landed.files.select("site", "sha256").iter_rows())
        new: list[Source] = []
        found, ignored = find_files(sources, 1)
        for file in found:
            key = (file.site, _digest(file.path))
            if key not in known:
                known.add(key)
                new.append(Source(file.site, file.path))
        return new, len(ignored)


def sites_received(folder: Path) -> list[str]:
    """The sites of everything that lies in the folder."""
    sites = [pl.read_parquet(path, columns=["site"])["site"] for path in sorted(folder.glob("*/files.parquet"))]
    return sorted(set(pl.concat(sites))) if sites else []


def open_received(folder: Path, committed: Collection[str]) -> Received:
    """What earlier runs landed; the folders of runs that never committed are removed, and nothing that is no run's."""
    try:
        runs = []
        for path in sorted(folder.iterdir()) if folder.exists() else []:
            if path.name in committed:
                runs.append(path)
            elif _RUN.fullmatch(path.name):
                shutil.rmtree(path)
    except OSError as error:
        raise CdmError(f"{folder}: what was received before cannot be read ({error.strerror})") from None
    landed = _together(folder, runs)
    highest = landed.files["file"].max()
    return Received(folder, tuple(runs), landed, int(highest) + 1 if isinstance(highest, int) else 1)


def keep(received: Received, run_id: str, landed: Landed) -> tuple[Received, Landed]:
    """Puts a run's landed files in their place; call it before the database commits.

    Gives back everything received, and what was landed where it lies now.
    """
    if landed.files.is_empty():
        return received, landed
    frames = {"files": landed.files, "deleted": landed.deleted, "counts": landed.counts, "ignored": landed.ignored}
    try:
        for name, frame in frames.items():
            frame.write_parquet(landed.folder / f"{name}.parquet")
        received.folder.mkdir(mode=0o700, exist_ok=True)
        place = received.folder / run_id
        landed.folder.rename(place)
    except OSError as error:
        raise CdmError(f"{received.folder}: what was received cannot be kept ({error.strerror})") from None
    runs = (*received.runs, place)
    highest = landed.files["file"].max()
    assert isinstance(highest, int)
    moved = {kind: [place / path.name for path in paths] for kind, paths in landed.shards.items()}
    together = Received(received.folder, runs, _together(received.folder, runs), highest + 1)
    return together, replace(landed, folder=place, shards=moved)


def forget(runs: Sequence[Path]) -> None:
    """Removes runs for good; call it after the database has committed without them.

    Killed before its end, it leaves folders that `open_received` removes: the ledger knows which run began anew.
    """
    for path in runs:
        shutil.rmtree(path)


def _together(folder: Path, runs: Sequence[Path]) -> Landed:
    """One `Landed` of several runs."""
    shards: dict[str, list[Path]] = {}
    frames: dict[str, list[pl.DataFrame]] = {name: [] for name in _FRAMES}
    for run in runs:
        for path in sorted(run.glob("*.ndjson")):
            shards.setdefault(path.name.split(".")[0], []).append(path)
        for name in _FRAMES:
            frames[name].append(pl.read_parquet(run / f"{name}.parquet"))
    empty = landed_of(folder, {}, [], [])
    nothing = {
        "files": empty.files,
        "deleted": empty.deleted,
        "counts": empty.counts,
        "ignored": empty.ignored,
    }
    whole = {name: pl.concat([nothing[name], *frames[name]]) for name in _FRAMES}
    return Landed(folder=folder, shards=shards, **whole)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
