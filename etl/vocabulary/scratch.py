"""A database for the time of one question to a vocabulary: a whole Athena download does not fit into memory."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb


@contextmanager
def scratch_database() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database in a file of its own, in a `with`; removed at the end."""
    with (
        tempfile.TemporaryDirectory(prefix="blina-vocabulary-") as folder,
        duckdb.connect(str(Path(folder) / "scratch.duckdb")) as connection,
    ):
        connection.execute("SET preserve_insertion_order = false")
        yield connection
