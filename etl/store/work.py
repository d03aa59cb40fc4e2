"""The work database of one run: where the transform puts its rows before one transaction carries them to the target."""

import json
from collections.abc import Sequence

import duckdb
import polars as pl

import etl.cdm
from etl.sql import quote
from etl.store import ledger, lineage

OUT_TABLES: tuple[str, ...] = tuple(name for name in etl.cdm.TABLES if name not in etl.cdm.VOCABULARY_TABLES)
"""The CDM tables that schema `out` holds; the vocabulary tables are in schema `vocab`."""


def create_work_schema(work: duckdb.DuckDBPyConnection) -> None:
    """Creates the empty tables that a run fills: `out.*` (CDM), `lin.*` (lineage), `led.*` (what the ledger is told).

    `out` lacks the vocabulary tables: those are `vocab.*`, and the store reads them there. No column is NOT NULL here,
    so that a wrong row does not stop a bulk insert half-way; the store refuses to write what the CDM does not allow.
    """
    tables = [("out", etl.cdm.TABLES[name]) for name in OUT_TABLES]
    tables += [("lin", table) for table in lineage.TABLES.values()]
    tables += [("led", table) for table in ledger.WORK_TABLES.values()]
    statements = [f"CREATE SCHEMA IF NOT EXISTS {schema}" for schema in ("out", "lin", "led")]
    statements += [etl.cdm.create_table(table, schema, required=False) for schema, table in tables]
    work.execute("; ".join(statements))


def insert_frame(connection: duckdb.DuckDBPyConnection, table: str, frame: pl.DataFrame) -> int:
    """Appends a small frame to a table ("led.file") by column name; gives back the rows written.

    Columns that the table does not have are left out, columns that the frame does not have become NULL. The rows go in
    as one JSON text: DuckDB loads pandas to look at an Arrow table or a parameter, which takes longer than all of this.
    """
    known = {str(name): str(kind) for name, kind, *_ in connection.execute(f"DESCRIBE {table}").fetchall()}
    columns = [column for column in frame.columns if column in known]
    if frame.height and columns:
        structure = json.dumps([{column: known[column] for column in columns}])
        rows = f"from_json({quote(frame.select(columns).write_json())}, {quote(structure)})"
        connection.execute(
            f"INSERT INTO {table} BY NAME SELECT unnest(rows, recursive := true) FROM (SELECT unnest({rows}) AS rows)"
        )
    return frame.height


def insert_rows(connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Sequence[object]]) -> None:
    """Appends a few rows, which have the columns of the table in its order."""
    if rows:
        names = [str(row[0]) for row in connection.execute(f"DESCRIBE {table}").fetchall()]
        insert_frame(connection, table, pl.DataFrame(rows, names, orient="row", infer_schema_length=None))
