"""The lock that lets one run at a time write a database: a file beside it, locked by the operating system.

The operating system lets go of the lock when the process ends, however it ends, so a killed run never blocks the next.
What stands in the file only tells people who holds it.
"""

import fcntl
import json
import os
import socket
from pathlib import Path
from typing import IO

from etl.errors import CdmError, LockError
from etl.store.store import utc_now


class RunLock:
    """The lock beside a database file, held from construction until `release`."""

    def __init__(self, database: Path, run_id: str) -> None:
        """Takes the lock. Raises LockError, saying who holds it, or CdmError when the folder cannot be written."""
        self.path = database.with_name(database.name + ".lock")
        self._file = self._take()
        holder = {"run": run_id, "pid": os.getpid(), "host": socket.gethostname(), "since": f"{utc_now().isoformat()}Z"}
        self._file.seek(0)
        self._file.truncate()
        json.dump(holder, self._file)
        self._file.flush()

    def _take(self) -> IO[str]:
        while True:
            try:
                file = self.path.open("a+", encoding="utf-8")
            except OSError as error:
                raise CdmError(f"{self.path}: the lock file cannot be written ({error.strerror})") from None
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"another run holds the lock on {self.path.with_suffix('')}: {_holder(file)}"
                file.close()
                raise LockError(message) from None
            except OSError as error:
                file.close()
                raise CdmError(f"{self.path}: this file system cannot lock files ({error.strerror})") from None
            if self._is_ours(file):
                return file
            file.close()  # the last holder removed the file between our open and our lock: take the new one

    def _is_ours(self, file: IO[str]) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Removes the file and lets go of the lock. Calling it twice does no harm."""
        if not self._file.closed:
            self.path.unlink(missing_ok=True)
            self._file.close()


def _holder(file: IO[str]) -> str:
    file.seek(0)
    try:
        holder = json.loads(file.read())
        return (
            f"run {holder['run'] or 'without id'}, process {holder['pid']} on {holder['host']}, since {holder['since']}"
        )
    except (ValueError, KeyError, TypeError):
        return "it has not yet said who it is"
