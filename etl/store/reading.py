"""A built OMOP database opened for reading only, as the data manager's tools do."""

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from etl.errors import CdmError
from etl.store import database_path


@contextmanager
def reading(database: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that cannot write, in a `with`. Raises CdmError when blina has built no database at this URL.

    Temporary tables may be made in it.
    """
    path = database_path(database)
    if not path.is_file():
        raise CdmError(f"{path}: there is no such database")
    try:
        connection = duckdb.connect(str(path), read_only=True)
    except duckdb.Error as error:
        raise CdmError(f"{path}: cannot be opened ({type(error).__name__})") from None
    with connection:
        schemas = {name for (name,) in connection.execute("SELECT schema_name FROM duckdb_schemas()").fetchall()}
        if not {"cdm", "lineage", "ledger"} <= schemas:
            raise CdmError(f"{path}: has no lineage; blina did not build it")
        yield connection
