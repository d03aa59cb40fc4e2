"""What PostgreSQL still holds of rows that were deleted, and how it is cleared."""

import psycopg

from etl.store.postgres_connection import connect, session_name, shown
from etl.store.postgres_errors import translated

STATISTICS = "VACUUM FULL pg_catalog.pg_statistic"
"""The planner's statistics hold frequent values of columns; those of dropped tables stay in the file until then."""


def vacuum(url: str) -> list[str]:
    """Rewrites what a withdrawal leaves behind in the files of a database; gives back what an administrator must do.

    The tables that held the rows were dropped, which removed their files. The rest stands in etl/store/README.md.
    """
    left = ["the server's write-ahead log still holds the old rows until it is recycled: see etl/store/README.md"]
    with connect(url, session_name("vacuum")) as connection, translated(shown(url)):
        try:
            connection.execute(STATISTICS.encode())
        except psycopg.errors.InsufficientPrivilege:
            left.append(f"a superuser must run: {STATISTICS}")
    return left
