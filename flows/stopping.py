"""SIGTERM and Ctrl-C: a command stops at the next safe point, clears up after itself and says so."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(BaseException):
    """Somebody asked the command to stop. No Exception, so that nothing on the way takes it for a fault."""


class Stop:
    """What was asked for meanwhile."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def ask(self, number: int, _: FrameType | None) -> None:
        """Takes a signal: everything that is open is closed on the way out; a second one ends the process at once."""
        for one in _SIGNALS:
            signal.signal(one, signal.SIG_DFL)
        self.signal = signal.Signals(number)
        raise Stopped

    @property
    def exit_code(self) -> int:
        """As a shell reports a process that a signal ended: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + (self.signal or 0)

    def words(self) -> str:
        """What the person at the keyboard should know."""
        name = "Ctrl-C" if self.signal is signal.SIGINT else "SIGTERM"
        return f"blina: stopped by {name}; the database holds what the last complete run wrote. Start again to go on."


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Signals end the command at the next safe point: between two queries, or by rolling back the open transaction.

    DuckDB reports a query that a signal interrupted as an error of its own: ask `signal` before looking at errors.
    """
    stop = Stop()
    before = {one: signal.signal(one, stop.ask) for one in _SIGNALS}
    try:
        yield stop
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
