"""Reading an OMOP CDM 5.4 as polars frames, whoever built it and wherever its schemas are.

DuckDB hands whole columns over (Arrow); any other database that SQLAlchemy knows is read through polars. Only reads.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from etl.cdm import TABLES, column_types
from etl.errors import CdmError

_TYPES: dict[str, pl.DataType] = {
    "BIGINT": pl.Int64(),
    "INTEGER": pl.Int64(),
    "DOUBLE": pl.Float64(),
    "BOOLEAN": pl.Boolean(),
    "TIMESTAMP": pl.Datetime("us"),
    "DATE": pl.Date(),
    "VARCHAR": pl.String(),
}


@dataclass(frozen=True)
class Cdm:
    """A CDM in a database: the engine and the schemas of its tables, its vocabulary and (if any) its lineage."""

    engine: Engine
    schema: str = "cdm"
    vocabulary_schema: str = "cdm"
    lineage_schema: str = "lineage"

    @cached_property
    def columns(self) -> dict[tuple[str, str], frozenset[str]]:
        """The columns of every table that is there, by (schema, table), in lower case."""
        found = self.query("SELECT table_schema, table_name, column_name FROM information_schema.columns")
        found = found.select(pl.all().str.to_lowercase())
        grouped = found.group_by("table_schema", "table_name").agg(pl.col("column_name"))
        return {(schema, table): frozenset(names) for schema, table, names in grouped.iter_rows()}

    def has(self, table: str, *, schema: str | None = None) -> bool:
        """Whether a table is there."""
        return ((schema or self.schema).lower(), table.lower()) in self.columns

    def query(self, sql: str, **values: Any) -> pl.DataFrame:
        """The rows of a SELECT. Raises CdmError with the database's first line when it refuses."""
        try:
            with self.engine.connect() as connection:
                if connection.dialect.name == "duckdb" and not values:
                    driver: Any = connection.connection.driver_connection
                    frame: pl.DataFrame = driver.execute(sql).pl()
                    return frame
                # Our own SQL goes to the driver as it is: a colon in a code is no bound value.
                cursor = connection.execute(text(sql), values) if values else connection.exec_driver_sql(sql)
                rows = [tuple(row) for row in cursor]
                return pl.DataFrame(rows, schema=list(cursor.keys()), orient="row", infer_schema_length=None)
        except SQLAlchemyError as error:
            raise CdmError(f"the database refuses a query ({_first_line(error)})") from None
        except Exception as error:
            if type(error).__module__.split(".")[0] not in ("duckdb", "_duckdb"):
                raise
            raise CdmError(f"the database refuses a query ({_first_line(error)})") from None

    def read(self, table: str, columns: Sequence[str], *, where: str = "") -> pl.DataFrame:
        """Columns of a CDM table with OMOP's types; a column or a table that is not there reads as NULL or no rows.

        `where` is SQL of our own names and numbers. Text is never cut, dates are `Date`, moments naive `Datetime`.
        """
        there = self.columns.get((self.schema.lower(), table.lower()), frozenset())
        types = column_types(TABLES[table])
        schema = {name: _TYPES[types[name]] for name in columns}
        if not there:
            return pl.DataFrame(schema=schema)
        wanted = ", ".join(
            self._selected(name, types[name]) if name in there else f"NULL AS {name}" for name in columns
        )
        sql = f"SELECT {wanted} FROM {self.schema}.{table}" + (f" WHERE {where}" if where else "")
        found = self.query(sql).select(pl.col(name).cast(kind) for name, kind in schema.items())
        return found.with_columns(pl.col(pl.Float64).fill_nan(None))

    def _selected(self, name: str, kind: str) -> str:
        """A column as it is; a server's NUMERIC (OMOP's type; exact, of any length, maybe NaN) as a double."""
        exact = kind == "DOUBLE" and self.engine.dialect.name != "duckdb"
        return f"CAST({name} AS DOUBLE PRECISION) AS {name}" if exact else name

    def count(self, table: str, expression: str = "*", *, where: str = "") -> int:
        """How many rows (or distinct values) a table holds; 0 when the table is not there."""
        if not self.has(table):
            return 0
        sql = f"SELECT count({expression}) AS n FROM {self.schema}.{table}" + (f" WHERE {where}" if where else "")
        return int(self.query(sql)["n"][0])

    def __enter__(self) -> "Cdm":
        """The CDM itself: `with open_cdm(url) as cdm`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Gives the connections back, so that the same process may write to the database again."""
        self.close()

    def close(self) -> None:
        """Gives the connections back; the object cannot be used afterwards."""
        self.engine.dispose()


def open_cdm(
    url: str, *, schema: str = "cdm", vocabulary_schema: str | None = None, lineage_schema: str = "lineage"
) -> Cdm:
    """A CDM by its database URL (`duckdb:///file`, `postgresql://…`), opened for reading.

    Raises CdmError when the file is not there or the schema holds no PERSON table.
    """
    try:
        address = make_url(url)
        if address.drivername in {"postgresql", "postgres"}:
            address = address.set(drivername="postgresql+psycopg")  # the driver that blina comes with
        is_duckdb = address.get_backend_name() == "duckdb"
        if is_duckdb and address.database and not Path(address.database).is_file():
            raise CdmError(f"{address.database}: there is no such database")
        is_postgres = address.get_backend_name() == "postgresql"
        engine = create_engine(
            address,
            connect_args={"read_only": True} if is_duckdb else {},
            execution_options={"postgresql_readonly": True} if is_postgres else {},
        )
    except (SQLAlchemyError, ImportError) as error:
        raise CdmError(f"this is no database URL that can be used ({_first_line(error)})") from None
    cdm = Cdm(engine, schema, vocabulary_schema or schema, lineage_schema)
    if not cdm.has("person"):
        cdm.close()
        raise CdmError(f"the schema {schema!r} holds no PERSON table: this is no OMOP CDM")
    return cdm


def number_list(values: Iterable[int]) -> str:
    """Numbers for an SQL IN list; a list that matches nothing when there are none."""
    return ", ".join(str(int(value)) for value in sorted(set(values))) or "NULL"


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
