"""What is written and how: the OMOP database, its ledger and its lineage. One small class per database."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from etl.store.duckdb_store import DuckDBStore
from etl.store.lock import RunLock
from etl.store.place import Home, database_path, home_of, is_server
from etl.store.postgres_connection import connect, session_name, shown, take_lock
from etl.store.postgres_errors import translated
from etl.store.postgres_store import PostgresStore
from etl.store.store import Run, Store, Written, new_run_id
from etl.store.work import create_work_schema, insert_frame, insert_rows

__all__ = [
    "Home",
    "Run",
    "Store",
    "Written",
    "create_work_schema",
    "database_path",
    "held",
    "home_of",
    "insert_frame",
    "insert_rows",
    "new_run_id",
    "open_store",
]


def open_store(url: str, *, run_id: str = "", wait_seconds: float = 60) -> Store:
    """Opens the OMOP database at a URL for writing, creating it when it is not there; use it in a `with`.

    `run_id` is told to whoever finds the database locked; `wait_seconds` is how long to wait for readers. Raises
    LockError when another run holds it, CdmError when the URL is not supported or the database cannot be written.
    `duckdb:///FILE` or `postgresql://USER:PASSWORD@HOST:PORT/DATABASE` (libpq's PGPASSFILE, PGSERVICE etc. hold too).
    """
    if is_server(url):
        return PostgresStore(url, run_id, wait_seconds=wait_seconds)
    return DuckDBStore(database_path(url), run_id, wait_seconds=wait_seconds)


@contextmanager
def held(url: str, name: str) -> Iterator[None]:
    """The run lock of the database at a URL, for whoever reads it together with the folders beside it.

    Nothing is written to the database. Raises LockError when a run holds the lock, CdmError when it cannot be taken.
    """
    if is_server(url):
        with connect(url, session_name(name)) as connection:
            with translated(shown(url)):
                take_lock(connection, shown(url))
            yield
        return
    path = database_path(url)
    if not path.is_file() or _nobody_writes(path.parent):
        yield
        return
    lock = RunLock(path, name)
    try:
        yield
    finally:
        lock.release()


def _nobody_writes(folder: Path) -> bool:
    """Whether the file system is read-only: no run can be under way there, and no lock be written."""
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
