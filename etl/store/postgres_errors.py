"""PostgreSQL's errors in words for the person at the keyboard, without the text of the server: that may quote a row."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import psycopg
import pyarrow as pa

from etl.errors import CdmError

_BY_CODE: dict[str, str] = {
    "53100": "the server's disk is full; nothing was written",
    "53200": "the server is out of memory; nothing was written",
    "53300": "the server takes no more connections",
    "42501": "this user lacks the rights: it must be a member of blina_etl, or own the schemas (blina's create_roles)",
    "25006": "the database is read-only for this user (a reading role, a standby, default_transaction_read_only)",
    "2BP01": "views or other objects depend on a table that must be replaced; drop them, or read from a release",
    "3F000": "has none of blina's schemas; blina did not build it",
    "42P01": "has no such table; blina did not build it",
    "57014": "the server stopped the statement (statement_timeout); nothing was written",
    "57P01": "the server was shut down; nothing was written",
    "40P01": "two runs blocked each other; nothing was written, start again",
}
_BY_CLASS: dict[str, str] = {
    "08": "the connection to the server broke",
    "22": "the database refused the rows",
    "23": "the database refused the rows",
    "53": "the server lacks a resource; nothing was written",
    "57": "the server ended the session; nothing was written",
    "58": "the server cannot read or write its files; nothing was written",
    "XX": "the server reports damage to its files; look at its log",
}


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Errors of the server, and of the work database handing over rows, as CdmError; `place` names the database."""
    try:
        yield
    except psycopg.Error as error:
        raise CdmError(f"{place}: {words(error)}") from None
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        # Arrow hands on DuckDB's errors as OSError or ArrowInvalid, with the value that could not be cast. A number of
        # the operating system (a full disk of this machine) is said in its own words.
        number = error.errno if isinstance(error, OSError) else None
        why = os.strerror(number) if number else type(error).__name__
        raise CdmError(f"{place}: the rows cannot be handed over ({why}); nothing was written") from None


def words(error: psycopg.Error) -> str:
    """What went wrong, with the name and code of the error."""
    code = error.sqlstate or ""
    if not code and isinstance(error, psycopg.OperationalError):
        return "the connection to the server broke; the next run finds out what was written"
    told = _BY_CODE.get(code) or _BY_CLASS.get(code[:2]) or "the database refused; nothing was written"
    return f"{told} ({type(error).__name__}{f', {code}' if code else ''})"
