"""Where and when a run works: its private folder, its work database, and how long each stage takes."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from etl.errors import CdmError
from etl.store import Home, disk

Progress = Callable[[str], None]


class Clock:
    """Seconds by stage, and the progress lines."""

    def __init__(self, progress: Progress) -> None:
        self.seconds: dict[str, float] = {}
        self.progress = progress

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self.progress(stage)
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started


@contextmanager
def work_folder(home: Home) -> Iterator[Path]:
    """A private folder for what a run needs only while it works; removed at the end, and those that killed runs left.

    Call it under the lock of the database.
    """
    home.claim()
    beside = home.folder.resolve()
    try:
        disk.clear(beside, home.work_prefix)
        folder = Path(tempfile.mkdtemp(prefix=home.work_prefix, dir=beside))
    except OSError as error:
        raise CdmError(f"{beside}: no work folder can be made here ({error.strerror})") from None
    try:
        with disk.room(beside):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_WORK_MEMORY = 320
_MORE_MEMORY = 60
"""Megabytes that the work database holds, and for each further worker: statements side by side have buffers of their
own. The rest spills to the work folder, so that memory stays flat."""


_BYTES_FOR_IT = 2_000_000_000
_MOST_TIMES = 3
"""Bytes of landed lines for which that is enough (two million resources). Some millions more have indexes of references
that cannot be spilled; so the memory grows with the bytes, up to so many times."""


_SLOW_COMPRESSION = "fsst,dict_fsst,zstd"
"""Tried on every text column when a file is written: a third of the time of a commit, for a sixth of the disk."""


_RETURNED = "16MB"
"""So much freed at once goes back to the system. With DuckDB's own 512 MB a process keeps what it does not use: on ten
times the data, 700 MB where 640 do."""


_NOT_WORTH_IT = "in_clause"
"""Makes a join of each `x IN ('a', 'b', …)`: every column of a resource then goes through that join. Comparing a few
texts is quicker, by a seventh of the time to read Observations, and by half on a night's few."""


_NEVER = "1TB"
"""After so many changes DuckDB would tidy up its memory, at the end of whichever statement runs alone."""


@contextmanager
def work_database(folder: Path, workers: int, times: int = 1) -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database in memory, which spills to the folder beyond so many `times` of what it usually holds."""
    connection = duckdb.connect(":memory:")
    memory = times * _usual_memory(workers)
    try:
        connection.execute(
            f"SET temp_directory = '{folder / 'spill'}'; SET memory_limit = '{memory}MB'; "
            f"SET threads = {workers}; SET preserve_insertion_order = false; SET TimeZone = 'UTC'; "
            f"SET disabled_compression_methods = '{_SLOW_COMPRESSION}'; "
            f"SET disabled_optimizers = '{_NOT_WORTH_IT}'; "
            f"SET checkpoint_threshold = '{_NEVER}'; SET allocator_bulk_deallocation_flush_threshold = '{_RETURNED}'"
        )
        yield connection
    finally:
        connection.close()


def make_room(work: duckdb.DuckDBPyConnection, workers: int, size: int) -> None:
    """Gives a work database the memory that so many bytes of landed lines need, if it has less."""
    times = min(size / _BYTES_FOR_IT, _MOST_TIMES)
    if times > 1:
        work.execute(f"SET memory_limit = '{times * _usual_memory(workers):.0f}MB'")


def _usual_memory(workers: int) -> int:
    """Megabytes."""
    return _WORK_MEMORY + _MORE_MEMORY * (workers - 1)
