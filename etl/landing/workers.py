"""Processes of this machine that land beside this one.

They are started before there is anything to land: it takes a fifth of a second until a new process can work.
"""

import os
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread
from types import TracebackType

from etl.errors import BlinaError
from etl.landing.share import Share, land_share


class Workers:
    """So many processes, this one included; a context at whose end there is only this one again."""

    def __init__(self, count: int = 1) -> None:
        self._wanted = count
        self._pool: ProcessPoolExecutor | None = None

    @property
    def count(self) -> int:
        """How many processes there are: before the context is entered and after `end`, this one."""
        return self._wanted if self._pool else 1

    def __enter__(self) -> "Workers":
        if self._wanted > 1:
            self._pool = ProcessPoolExecutor(self._wanted - 1, get_context("spawn"), initializer=_end_with_its_parent)
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # what starts now inherits it
            self._pool.submit(_start)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None and self._pool is not None:
            for child in active_children():  # nobody waits for what the others are doing
                child.terminate()
        self.end()

    def land(self, shares: Sequence[Share]) -> None:
        """Land the shares, of which there are at most as many as processes: the first in this one."""
        mine, *others = shares
        waiting = [self._pool.submit(land_share, share) for share in others] if self._pool else []
        land_share(mine)
        try:
            for future in waiting:
                future.result()
        except BrokenProcessPool:
            raise BlinaError("A worker process was ended from outside, perhaps for want of memory.") from None

    def end(self) -> None:
        """Ends the other processes; they hold memory that what comes after landing can use."""
        if self._pool is not None:
            self._pool.shutdown(wait=False)
            self._pool = None


def _start() -> None:
    """What the first process is given, so that all are started: a spawning pool starts them at once."""


def _end_with_its_parent() -> None:
    """In a worker: it ends quietly on Ctrl-C, and when the process that started it is gone, whatever ended that.

    A terminal sends Ctrl-C to the workers, too; what is to be told tells the process that started them. One that is
    killed tells them nothing, and they would wait for work for ever.
    """
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    parent = parent_process()
    if parent is not None:
        Thread(target=_exit_after, args=(parent.sentinel,), daemon=True).start()


def _exit_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
