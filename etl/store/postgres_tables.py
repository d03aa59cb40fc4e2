"""Tables of PostgreSQL made anew beside the old ones and moved into their place at the end of the transaction.

Readers keep the old rows until the commit; only the exchange itself waits for them. The new table inherits the rights
that were granted on the old one.
"""

import time
from collections.abc import Iterable
from contextlib import suppress

import duckdb
import psycopg
from sqlalchemy import Table

from etl.errors import LockError
from etl.store import steps
from etl.store.postgres_connection import Connection
from etl.store.postgres_copy import copy_in
from etl.store.postgres_layout import columns, create_table, indexes, quoted
from etl.store.sources import Place, typed_columns


def new_schema(schema: str) -> str:
    """Where the new tables of a schema stand until they are moved in."""
    return f"blina_new_{schema}"


def existing(connection: Connection, schemas: Iterable[str]) -> set[Place]:
    """The tables that there are."""
    rows = connection.execute(
        "SELECT nspname, relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        " WHERE relkind = 'r' AND nspname = ANY(%s)",
        [list(schemas)],
    )
    return {(schema, name) for schema, name in rows}


def column_types(connection: Connection, place: Place) -> dict[str, str]:
    """The type of each column of a table, in order; empty when there is no such table."""
    rows = connection.execute(
        """SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
           WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum""",
        [quoted(*place)],
    )
    return dict(rows.fetchall())


def same_layout(connection: Connection, place: Place, table: Table) -> bool:
    """Whether a table has the columns that it should have."""
    return list(column_types(connection, place).items()) == list(columns(table).items())


def count(connection: Connection, place: Place) -> int:
    """The number of rows."""
    row = connection.execute(f"SELECT count(*) FROM {quoted(*place)}".encode()).fetchone()
    return int(row[0]) if row else 0


def make(connection: Connection, work: duckdb.DuckDBPyConnection, place: Place, table: Table, source: str) -> None:
    """Makes and fills the new table of a place; the old one is not touched. Needs an open transaction."""
    schema = new_schema(place[0])
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}".encode())
    connection.execute(create_table(table, schema).encode())
    steps.reached("postgres: table made")
    names = [column.name for column in table.columns]
    target = quoted(schema, table.name)
    copy_in(connection, work, f"SELECT {typed_columns(table)} FROM {source}", target, names)
    steps.reached("postgres: rows copied")
    for statement in indexes(place, table, schema):
        connection.execute(statement.encode())
    connection.execute(f"ANALYZE {target}".encode())
    steps.reached("postgres: indexes made")


def move_in(connection: Connection, places: Iterable[Place], shown: str, wait_seconds: float) -> None:
    """Puts the new tables in the place of the old ones. Raises LockError when readers do not let go in time."""
    wanted = sorted(places)
    there = existing(connection, {schema for schema, _ in wanted})
    _lock_out_readers(connection, [place for place in wanted if place in there], shown, wait_seconds)
    steps.reached("postgres: readers locked out")
    for schema, name in wanted:
        grants = _grants(connection, (schema, name))
        connection.execute(f"DROP TABLE IF EXISTS {quoted(schema, name)}".encode())
        steps.reached("postgres: table dropped")
        connection.execute(f"ALTER TABLE {quoted(new_schema(schema), name)} SET SCHEMA {quoted(schema)}".encode())
        for right, role in grants:
            connection.execute(f"GRANT {right} ON {quoted(schema, name)} TO {role}".encode())
        steps.reached("postgres: table moved in")
    for schema in {schema for schema, _ in wanted}:
        connection.execute(f"DROP SCHEMA {new_schema(schema)}".encode())


def _grants(connection: Connection, place: Place) -> list[tuple[str, str]]:
    """(right, quoted role) of everybody but the owner who has rights on a table, or would have on a new one."""
    rows = connection.execute(
        """SELECT privilege_type, coalesce(quote_ident(rolname), 'PUBLIC')
           FROM (
               SELECT relacl AS acl, relowner AS owner FROM pg_class WHERE oid = to_regclass(%(table)s)
               UNION ALL
               SELECT defaclacl, defaclrole FROM pg_default_acl JOIN pg_namespace n ON n.oid = defaclnamespace
               WHERE defaclobjtype = 'r' AND nspname = %(schema)s AND to_regclass(%(table)s) IS NULL
                 AND defaclrole = current_user::regrole
           ) AS rights, aclexplode(acl) AS one LEFT JOIN pg_roles ON pg_roles.oid = grantee
           WHERE grantee <> owner ORDER BY 1, 2""",
        {"table": quoted(*place), "schema": place[0]},
    )
    return [(right, role) for right, role in rows]


def _lock_out_readers(connection: Connection, places: list[Place], shown: str, wait_seconds: float) -> None:
    if not places:
        return
    deadline = time.monotonic() + wait_seconds
    names = ", ".join(quoted(*place) for place in places)
    while True:
        patience = max(0.1, min(2.0, deadline - time.monotonic()))
        with suppress(psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected), connection.transaction():
            connection.execute(f"SET LOCAL lock_timeout = {int(patience * 1000)}".encode())
            connection.execute(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE".encode())
            connection.execute("SET LOCAL lock_timeout = 0")
            return
        if time.monotonic() > deadline:
            raise LockError(f"{shown}: readers do not let go of the tables: {_readers(connection, places)}")


def _readers(connection: Connection, places: list[Place]) -> str:
    rows = connection.execute(
        """SELECT DISTINCT coalesce(usename, 'unknown user'), pid FROM pg_locks JOIN pg_stat_activity USING (pid)
           WHERE relation = ANY(%s::regclass[]) AND granted AND pid <> pg_backend_pid() ORDER BY 1, 2""",
        [[quoted(*place) for place in places]],
    )
    return ", ".join(f"{user} (server process {pid})" for user, pid in rows) or "they have just gone; start again"
