"""Rows from the work database into PostgreSQL: Arrow batches, written as CSV, sent by COPY.

Measured on two cores with `measurement` rows: 0.40 M rows/s, against 0.47 M for sending CSV that was made beforehand
(benchmarks/load.py repeats it). Binary COPY by pgpq would be up to twice as fast and one more library to depend on.
"""

import io
from collections.abc import Sequence

import duckdb
import pyarrow.csv as arrow_csv

from etl.store import steps
from etl.store.postgres_connection import Connection
from etl.store.postgres_layout import quoted

_BATCH = 50_000
# "needed" puts every text into quotes and no NULL, which is how PostgreSQL tells an empty text from a NULL.
_CSV = arrow_csv.WriteOptions(include_header=False, quoting_style="needed")


def copy_in(
    connection: Connection, work: duckdb.DuckDBPyConnection, query: str, target: str, columns: Sequence[str]
) -> int:
    """Sends the rows of a query of the work database to a table (quoted name); gives back how many there were."""
    rows = 0
    names = ", ".join(quoted(name) for name in columns)
    statement = f"COPY {target} ({names}) FROM STDIN (FORMAT csv)".encode()
    reader = work.execute(query).to_arrow_reader(_BATCH)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for batch in reader:
            lines = io.BytesIO()
            arrow_csv.write_csv(batch, lines, _CSV)
            copy.write(lines.getbuffer())
            rows += batch.num_rows
            steps.reached("postgres: rows half copied")
    return rows
