"""Independent statements of one work database, run side by side.

Planning a statement and most small ones use one core, however many threads DuckDB has; so types that do not depend on
each other get a connection each. Every connection sees what the others have committed; temporary tables are its own.
Meanwhile each statement has one thread: with more, a connection waits for DuckDB's other threads in a loop, and takes
the time of a core for it (a third of all, measured).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import duckdb

Item = TypeVar("Item")
Made = TypeVar("Made")
Connection = duckdb.DuckDBPyConnection


FEW = 256_000_000
"""Bytes of landed lines up to which planning the statements that close a transform takes longer than running them."""


class SideBySide:
    """As many connections to a work database as its threads (`SET threads`); `size`: bytes of what was landed."""

    def __init__(self, work: Connection, size: int = 0) -> None:
        self._work = work
        self._few = size <= FEW
        found = work.execute("SELECT current_setting('threads'), current_setting('TimeZone')").fetchone()
        self._hands, self._zone = (int(found[0]), str(found[1])) if found else (1, "UTC")

    def each(self, items: Sequence[Item], do: Callable[[Connection, Item], Made]) -> list[Made]:
        """What `do` gives back for each item, in their order; the first fault is raised, and nothing more is begun."""
        if self._hands == 1 or len(items) < 2:
            return [do(self._work, item) for item in items]
        self._work.execute("SET threads = 1")
        with ThreadPoolExecutor(self._hands) as pool:
            waiting = [pool.submit(self._with_own, do, item) for item in items]
            try:
                done = [one.result() for one in waiting]
            except BaseException:  # somebody who stops the build waits for what runs, not for what is still to come
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        self._work.execute(f"SET threads = {self._hands}")
        return done

    def together(self, *steps: Callable[[Connection], Any]) -> list[Any]:
        """What each of these steps gives back, none of which needs another one.

        Each goes through all resources: where these are many, one after the other has all threads and all memory.
        """
        if self._few:
            return self.each(steps, lambda own, step: step(own))
        return [step(self._work) for step in steps]

    def _with_own(self, do: Callable[[Connection, Item], Made], item: Item) -> Made:
        with self._work.cursor() as own:
            own.execute(f"SET TimeZone = '{self._zone}'")  # the one setting that belongs to a connection
            return do(own, item)
