"""How fast the stores load `measurement` rows: `python benchmarks/load.py [ROWS] [--postgres URL] [--json]`.

For each database, in one run: the store's own way (types, required values, keys, indexes and content hash checked or
made, ledger written, committed), the load alone, and a bare insert of the same rows: Arrow into a table without
anything for DuckDB, one COPY of CSV that was made beforehand for PostgreSQL. The ratio is our time ÷ the bare
insert's; 1.5 is the limit that issue 4 sets. Without `--postgres` (or BLINA_TEST_POSTGRES), a server starts by itself
where Debian's postgresql is installed; its database is made and dropped here.
"""

import argparse
import importlib.util
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.csv as arrow_csv

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import etl.cdm  # noqa: E402  after the path is set
from etl.store import Run, create_work_schema, open_store, postgres_layout  # noqa: E402  after the path is set
from etl.store import postgres_tables as tables  # noqa: E402  after the path is set
from etl.store.postgres_copy import copy_in  # noqa: E402  after the path is set
from etl.store.sources import typed_columns  # noqa: E402  after the path is set

TABLE = etl.cdm.TABLES["measurement"]
ROWS_SQL = """
INSERT INTO out.measurement BY NAME
SELECT i + 1 AS measurement_id, hash(i % 5000) >> 1 AS person_id, (3000000 + i % 500)::INT AS measurement_concept_id,
    DATE '2020-01-01' + (i % 1500)::INT AS measurement_date,
    TIMESTAMP '2020-01-01' + to_minutes(i % 1000000) AS measurement_datetime, 32856 AS measurement_type_concept_id,
    (i % 1000) / 7.0 AS value_as_number, 8840 AS unit_concept_id, hash(i % 30000) >> 1 AS visit_occurrence_id,
    'LOINC-' || (i % 500) AS measurement_source_value, 0 AS measurement_source_concept_id, 'mg/dL' AS unit_source_value,
    left(((i % 1000) / 7.0)::VARCHAR, 6) AS value_source_value
FROM range(?) AS numbers(i)
"""


def make_work(rows: int) -> duckdb.DuckDBPyConnection:
    """A work database with so many measurements."""
    work = duckdb.connect()
    create_work_schema(work)
    work.execute(ROWS_SQL, [rows])
    return work


def seconds(do: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    do()
    return time.perf_counter() - started


def build(work: duckdb.DuckDBPyConnection, url: str) -> float:
    """The store's own way: `replace` into an empty database."""
    with open_store(url) as store:
        return seconds(lambda: store.replace(work, Run("0", "m", "s")))


def measure_duckdb(work: duckdb.DuckDBPyConnection, folder: Path) -> dict[str, float]:
    """Seconds of the store, of its load alone, and of a bare Arrow insert into a file."""
    arrow = work.execute("FROM out.measurement").to_arrow_table()

    def bare() -> None:
        with duckdb.connect(str(folder / "bare.duckdb")) as connection:
            connection.register("given", arrow)
            connection.execute("CREATE TABLE measurement AS FROM given")

    def load() -> None:
        path = folder / "load.duckdb"
        work.execute(f"ATTACH '{path}' AS load_target")
        work.execute(etl.cdm.create_table(TABLE, "load_target.main"))
        work.execute(f"INSERT INTO load_target.main.measurement SELECT {typed_columns(TABLE)} FROM out.measurement")
        work.execute("DETACH load_target")

    return {
        "bare": seconds(bare), "load": seconds(load), "store": build(work, f"duckdb:///{folder / 'omop.duckdb'}")
    }  # fmt: skip


def measure_postgres(work: duckdb.DuckDBPyConnection, url: str) -> dict[str, float]:
    """Seconds of the store, of its COPY alone, and of a COPY of CSV that lies ready."""
    pieces = [_csv(batch) for batch in work.execute("FROM out.measurement").to_arrow_reader(50_000)]
    with psycopg.connect(url, autocommit=True) as connection:

        def bare() -> None:
            with connection.transaction():
                connection.execute(postgres_layout.create_table(TABLE, "public").encode())
                with (
                    connection.cursor() as cursor,
                    cursor.copy(b"COPY public.measurement FROM STDIN (FORMAT csv)") as copy,
                ):
                    for piece in pieces:
                        copy.write(piece)

        def load() -> None:
            with connection.transaction():
                connection.execute(postgres_layout.create_table(TABLE, "public").encode())
                names = [column.name for column in TABLE.columns]
                copy_in(connection, work, f"SELECT {typed_columns(TABLE)} FROM out.measurement",
                        "public.measurement", names)  # fmt: skip

        figures = {"bare": seconds(bare)}
        connection.execute("DROP TABLE public.measurement")
        figures["load"] = seconds(load)
        connection.execute("DROP TABLE public.measurement")
        assert not tables.existing(connection, ["public"])
    return {**figures, "store": build(work, url)}


def _csv(batch: pa.RecordBatch) -> bytes:
    lines = io.BytesIO()
    arrow_csv.write_csv(batch, lines, arrow_csv.WriteOptions(include_header=False))
    return lines.getvalue()


@contextmanager
def database(server: str | None) -> Iterator[str]:
    """The URL of a new database on the given server, or on one that starts by itself; dropped at the end."""
    spec = importlib.util.spec_from_file_location("postgres_server", ROOT / "tests/etl/store/postgres_server.py")
    assert spec is not None
    assert spec.loader is not None
    starter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(starter)
    with starter.server(server) as url, psycopg.connect(f"{url}postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE blina_benchmark TEMPLATE template0 ENCODING 'UTF8'")
        try:
            yield f"{url}blina_benchmark"
        finally:
            connection.execute("DROP DATABASE blina_benchmark WITH (FORCE)")


def words(name: str, rows: int, figures: dict[str, float]) -> str:
    """The figures of one database for a reader."""
    lines = [f"{name}: {rows:,} measurement rows"]
    for key, meaning in (("bare", "bare insert"), ("load", "our insert"), ("store", "whole store")):
        ratio = figures[key] / figures["bare"]
        lines.append(
            f"  {meaning:<12}{figures[key]:8.2f} s{rows / figures[key]:14,.0f} rows/s   ratio to bare {ratio:.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--postgres", metavar="URL", help="a server whose user may make databases")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    work = make_work(given.rows)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        found["duckdb"] = measure_duckdb(work, Path(folder))
    with database(given.postgres) as url:
        found["postgres"] = measure_postgres(work, url)
    if given.json:
        print(json.dumps({"rows": given.rows, "seconds": found}, indent=1))
    else:
        print("\n".join(words(name, given.rows, figures) for name, figures in found.items()))


if __name__ == "__main__":
    main()
