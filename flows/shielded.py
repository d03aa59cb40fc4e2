"""Errors made fit for Prefect, which stores the message of an exception in its database in clear."""

from collections.abc import Iterator
from contextlib import contextmanager

from etl.errors import BlinaError, LockError
from flows.console import place_of


class FlowFailedError(Exception):
    """What Prefect may know of a failure: the kind of the error, where it came up, the command's exit code."""


class FlowLockedError(FlowFailedError):
    """The same for a database that another run holds: the one failure that passes by itself."""


@contextmanager
def shielded() -> Iterator[None]:
    """Errors leave as FlowFailedError: kind and place, never the text, which may name paths or hold a value.

    BlinaError keeps its first line: it names files, places and codes only (etl.errors).
    """
    try:
        yield
    except BlinaError as error:
        first = str(error).splitlines()[0]
        kind = FlowLockedError if isinstance(error, LockError) else FlowFailedError
        raise kind(f"{type(error).__name__} (exit code {error.exit_code}): {first}") from None
    except Exception as error:
        raise FlowFailedError(f"{type(error).__name__} at {place_of(error)}") from None
