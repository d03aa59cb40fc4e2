"""The vocabulary is loaded once per release, not every night: a read-only database beside the OMOP database.

The cache is a folder with one DuckDB file, named by the fingerprint of the vocabulary folders' files. A build attaches
it; schema `vocab` of the work database holds views on its tables. Another fingerprint (other files, another order of
folders, another loader) has another file, which is made whole beside it and moved in by one rename: what a killed run
leaves is never believed. Reading gigabytes only to see that nothing has changed would take longer than the rest of a
nightly build, so the hash of each file is remembered with its size and time of change, and read again when one differs.
"""

import fcntl
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import duckdb

from etl.errors import VocabularyError
from etl.store import disk, insert_rows
from etl.vocabulary.athena import FolderRelease, Release, athena_files, load_vocabulary, release_of
from etl.vocabulary.preflight import preflight
from etl.vocabulary.tables import TABLES

ATTACHED = "blina_vocabulary"
"""The name under which the work database knows the cache."""

_HASHES = "hashes.json"
_FILLING = ".filling-"
_LOADER = ("athena.py", "tables.py", "meanings.py", "preflight.py", "cache.py")
"""What decides how files become tables: a change here makes every cache anew."""

_MEMORY = "750MB"
"""What reading a release holds in memory; a whole Athena download spills the rest beside the cache."""

_ROW_GROUP = 16_384
"""Rows to which one set of smallest and largest values belongs."""

_Remembered = tuple[int, int, str]
"""Size, time of last change (ns), SHA-256."""

_SETTLED_NS = 2_000_000_000
"""A file that changed so short a time ago may change again within the same tick of its clock: it is not remembered."""


def attach_vocabulary(work: duckdb.DuckDBPyConnection, folders: Sequence[Path], cache: Path) -> Release:
    """The release of `folders`, with schema `vocab` of the work database as views on it.

    `cache` is a folder, made when missing; runs that use the same one take turns until each has attached its file. The
    release has the fingerprint of the content and what `preflight` says about it. Raises VocabularyError as
    `load_vocabulary` does, CdmError when the cache cannot be written.
    """
    found = [athena_files(Path(folder)) for folder in folders]
    with _turn(cache):
        fingerprint = _fingerprint(found, cache / _HASHES)
        file = cache / f"{fingerprint}.duckdb"
        if not _is_attached(work, file):
            with disk.told(cache):
                _fill(folders, file)
                _attach(work, file)
    work.execute("CREATE SCHEMA IF NOT EXISTS vocab")
    for table in (*TABLES, "meaning"):
        work.execute(f"CREATE OR REPLACE VIEW vocab.{table} AS FROM {ATTACHED}.vocab.{table}")
    return _release(work, folders, fingerprint)


def _is_attached(work: duckdb.DuckDBPyConnection, file: Path) -> bool:
    """Whether the file was there and could be attached; one that DuckDB cannot read is as good as missing."""
    if not file.exists():
        return False
    try:
        _attach(work, file)
    except duckdb.Error:
        return False
    return True


def _attach(work: duckdb.DuckDBPyConnection, file: Path) -> None:
    work.execute(f"ATTACH '{_escaped(file)}' AS {ATTACHED} (READ_ONLY)")


def _escaped(path: Path) -> str:
    return str(path).replace("'", "''")


def _release(work: duckdb.DuckDBPyConnection, folders: Sequence[Path], fingerprint: str) -> Release:
    """What the attached file says about itself; the folders are told as they were named now."""
    rows = work.execute(
        f"SELECT version, concepts_read, concepts FROM {ATTACHED}.vocab.loaded_folder ORDER BY position"
    ).fetchall()
    loaded = tuple(FolderRelease(Path(folder), *row) for folder, row in zip(folders, rows, strict=True))
    problems = work.execute(f"SELECT problem FROM {ATTACHED}.vocab.problem ORDER BY position").fetchall()
    return Release(release_of(loaded), loaded, fingerprint, tuple(problem for (problem,) in problems))


@contextmanager
def _turn(cache: Path) -> Iterator[None]:
    """Holds the lock of the cache, which the operating system takes back when a process ends, however it ends."""
    with disk.told(cache):
        cache.mkdir(parents=True, exist_ok=True)
        lock = (cache / "lock").open("a")
    with lock:
        with disk.told(cache):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# --- is it the same? -------------------------------------------------------------------------------------------


def _fingerprint(found: Sequence[dict[str, Path]], remembered: Path) -> str:
    """One hash over the loader and over name, size and content of every file, in the order of the folders."""
    digest = hashlib.sha256(duckdb.__version__.encode())  # its hash() stands in the file
    for name in _LOADER:
        digest.update((files("etl.vocabulary") / name).read_bytes())
    known = _known(remembered)
    now: dict[str, _Remembered] = {}
    for tables in found:
        digest.update(b"\0folder")
        for table, path in tables.items():
            place, one = _look_at(path, known)
            digest.update(f"\0{table}\0{path.suffix.lower()}\0{one[0]}\0{one[2]}".encode())
            if time.time_ns() - one[1] > _SETTLED_NS:
                now[place] = one
    if now != known:
        _remember(now, remembered)
    return digest.hexdigest()


def _look_at(path: Path, known: dict[str, _Remembered]) -> tuple[str, _Remembered]:
    """A file's place, and its size, time of change and hash; read only if one of the first two is not as known."""
    try:
        status, place = path.stat(), str(path.resolve())
        one = known.get(place)
        if one is None or one[:2] != (status.st_size, status.st_mtime_ns):
            one = (status.st_size, status.st_mtime_ns, disk.sha256(path))
    except OSError as error:
        raise VocabularyError(f"{path}: cannot be read ({error.strerror})") from None
    return place, one


def _remember(now: dict[str, _Remembered], remembered: Path) -> None:
    with disk.told(remembered):
        made = remembered.with_suffix(".new")
        made.write_text(json.dumps(now, indent=1), encoding="utf-8")
        made.replace(remembered)


def _known(remembered: Path) -> dict[str, _Remembered]:
    """What was remembered, by place; nothing when that cannot be read."""
    try:
        written = json.loads(remembered.read_text(encoding="utf-8"))
        return {
            str(place): (int(size), int(changed), str(content)) for place, (size, changed, content) in written.items()
        }
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}


# --- making it -------------------------------------------------------------------------------------------------


def _fill(folders: Sequence[Path], file: Path) -> None:
    """Loads the folders into a new file and moves it in; then removes what else lies in the cache."""
    disk.clear(file.parent, _FILLING)  # of killed runs: the lock is ours
    making = Path(tempfile.mkdtemp(prefix=_FILLING, dir=file.parent))
    try:
        made = making / file.name
        with duckdb.connect() as connection:
            connection.execute(f"SET temp_directory = '{_escaped(making / 'spill')}'; SET memory_limit = '{_MEMORY}'")
            connection.execute("SET preserve_insertion_order = false")
            connection.execute(f"ATTACH '{_escaped(made)}' AS made (ROW_GROUP_SIZE {_ROW_GROUP})")
            connection.execute("USE made")
            load_vocabulary(connection, folders)
            _note_problems(connection)
            connection.execute("USE memory")
            connection.execute("DETACH made")
        disk.move_in(made, file)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    for other in file.parent.glob("*.duckdb*"):
        if other != file:
            other.unlink(missing_ok=True)


def _note_problems(connection: duckdb.DuckDBPyConnection) -> None:
    """`vocab.problem`: what `preflight` says; asking again every night would read every table of the release."""
    connection.execute("CREATE TABLE vocab.problem (position INTEGER, problem VARCHAR)")
    insert_rows(connection, "vocab.problem", list(enumerate(preflight(connection))))
