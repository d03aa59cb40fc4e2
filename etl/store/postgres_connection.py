"""A connection to PostgreSQL, and the lock that lets one run at a time write a database.

The lock is an advisory lock of the session: the server lets go of it when the session ends, however it ends. Who holds
it stands in the name that the session gives itself (`application_name`), which everybody may read.
"""

import os
import re
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from etl.errors import CdmError, LockError

Connection = psycopg.Connection[tuple[Any, ...]]

SCHEMES = ("postgresql://", "postgres://")
OLDEST = 15
_LOCK = int.from_bytes(b"blinarun", "big") >> 1
_SECONDS_TO_NOTICE = 30.0
"""How long a server may take to notice that the run that held the lock was killed."""

_SETTINGS: dict[str, str] = {
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "client_connection_check_interval": "1s",  # so that a killed run's CREATE INDEX does not go on
}


def shown(url: str) -> str:
    """The URL without user and password, for messages."""
    parts = urlsplit(url)
    return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"


def connect(url: str, name: str, settings: Mapping[str, str] = _SETTINGS) -> Connection:
    """A connection in autocommit. Raises CdmError, without the password, when the server cannot be used."""
    place = shown(url)
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise CdmError("this database URL cannot be read: write postgresql://USER@HOST:PORT/DATABASE") from None
    try:
        connection = psycopg.connect(
            url, autocommit=True, application_name=name, connect_timeout=15, client_encoding="UTF8", keepalives_idle=60
        )
    except psycopg.OperationalError as error:
        raise CdmError(f"{place}: {_refusal(str(error))}") from None
    try:
        _refuse_unfit(connection, place)
        for key, value in settings.items():
            connection.execute("SELECT set_config(%s, %s, false)", [key, value])
    except BaseException:
        connection.close()
        raise
    return connection


def _refusal(text: str) -> str:
    """Why there is no connection. The server's text names users and hosts, no rows; the password is never in it."""
    for pattern, meaning in (
        ("password authentication failed|no password supplied", "the server refused the user or the password"),
        ("no pg_hba.conf entry|permission denied for database|not permitted to log in", "this user may not connect"),
        ("database .* does not exist", "there is no such database on the server; make it with createdb"),
        ("role .* does not exist", "the server refused the user or the password"),
        ("too many clients|remaining connection slots", "the server takes no more connections"),
        ("starting up|shutting down|recovery mode", "the server is starting or stopping; try again"),
        ("could not translate host name|resolve", "there is no host of this name"),
    ):
        if re.search(pattern, text):
            return meaning
    return "no server answers there"


def _refuse_unfit(connection: Connection, place: str) -> None:
    major = connection.info.server_version // 10_000
    if major < OLDEST:
        raise CdmError(f"{place}: is PostgreSQL {major}; blina needs {OLDEST} or newer")
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise CdmError(f"{place}: the database's encoding is {encoding}; make it with createdb --encoding UTF8")


def session_name(run_id: str) -> str:
    """What the session calls itself: the run, the process and the host; PostgreSQL keeps 63 characters."""
    return f"blina {run_id or '-'} {os.getpid()} {socket.gethostname()}".encode("ascii", "replace").decode()[:63]


def take_lock(connection: Connection, place: str) -> None:
    """Takes the run lock for as long as the connection lives. Raises LockError, saying who holds it.

    A holder of this very host whose process is gone was killed: the server is given time to notice.
    """
    deadline = time.monotonic() + _SECONDS_TO_NOTICE
    while True:
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK]).fetchone()
        if row and row[0]:
            return
        holder = _holder(connection)
        if holder and (not _is_gone(holder) or time.monotonic() > deadline):
            raise LockError(f"another run holds the lock on {place}: {_told(holder)}")
        time.sleep(0.05)


def _holder(connection: Connection) -> Sequence[Any] | None:
    """(application_name, start) of the session that holds the lock; None when it has just gone."""
    return connection.execute(
        """SELECT coalesce(application_name, ''), backend_start AT TIME ZONE 'UTC'
           FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
           WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND classid::bigint = %s AND objid::bigint = %s
             AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())""",
        [_LOCK >> 32, _LOCK & 0xFFFFFFFF],
    ).fetchone()


def _words_of(name: str) -> tuple[str, int, str] | None:
    found = re.fullmatch(r"blina (\S+) (\d+) (\S+)", name)
    return (found[1], int(found[2]), found[3]) if found else None


def _is_gone(holder: Sequence[Any]) -> bool:
    known = _words_of(holder[0])
    if not known or not socket.gethostname().startswith(known[2]):
        return False
    try:
        os.kill(known[1], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _told(holder: Sequence[Any]) -> str:
    known = _words_of(holder[0])
    since = f", since {holder[1]:%Y-%m-%dT%H:%M:%SZ}" if holder[1] else ""
    if not known:
        return f"a session that does not say who it is{since}"
    run = "without id" if known[0] == "-" else known[0]
    return f"run {run}, process {known[1]} on {known[2]}{since}"


def take_owner(connection: Connection) -> None:
    """Acts as the owner of schema `cdm` when this user is a member of that role, so that all tables have one owner."""
    row = connection.execute(
        """SELECT rolname FROM pg_namespace JOIN pg_roles ON pg_roles.oid = nspowner
           WHERE nspname = 'cdm' AND rolname <> current_user AND pg_has_role(current_user, nspowner, 'MEMBER')"""
    ).fetchone()
    if row:
        connection.execute("SELECT set_config('role', %s, false)", [row[0]])
