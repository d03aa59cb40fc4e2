"""Files that must be whole or not there: hashed, forced to the disk, moved in by one rename."""

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from etl.errors import CdmError

_NO_ROOM = re.compile("Could not write|No space left|File too large|Disk quota|Failed to write")
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO})


def sha256(path: Path) -> str:
    """The hash of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def force(path: Path) -> None:
    """Returns when the bytes of a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def move_in(made: Path, place: Path) -> None:
    """Puts a finished file or folder in its place; what stood there before is replaced if it is a file."""
    for path in [made, *made.rglob("*")] if made.is_dir() else [made]:
        force(path)
    made.replace(place)
    force(place.parent)


def clear(folder: Path, *prefixes: str) -> None:
    """Removes what a killed run left: entries whose names begin so."""
    for path in list(folder.iterdir()):
        if path.name.startswith(prefixes):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


@contextmanager
def told(place: Path) -> Iterator[None]:
    """Errors of the disk as CdmError, with the place; DuckDB's without their text, which may quote a row."""
    try:
        yield
    except OSError as error:
        raise CdmError(f"{place}: cannot be written ({error.strerror})") from None
    except duckdb.Error as error:
        raise CdmError(f"{place}: cannot be written ({reason(error)})") from None


def reason(error: duckdb.Error) -> str:
    """What DuckDB met, without its text, which may quote a row."""
    return "no room on the disk" if _NO_ROOM.search(str(error)) else type(error).__name__


@contextmanager
def room(place: Path) -> Iterator[None]:
    """A disk that is full, read-only or broken as CdmError, with the place; every other error as it is."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise CdmError(f"{place}: cannot be written ({error.strerror}); nothing was changed in the database") from None
    except duckdb.Error as error:
        # A commit that found no room is a TransactionException, with the reason in its text.
        if not isinstance(error, duckdb.IOException | duckdb.OutOfMemoryException) and not _NO_ROOM.search(str(error)):
            raise
        raise CdmError(
            f"{place}: DuckDB has no room for its work ({type(error).__name__}); nothing was changed in the database"
        ) from None
