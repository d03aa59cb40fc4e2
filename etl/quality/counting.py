"""Ask the database for the two numbers of every check, a few queries per table.

Aggregates over the same FROM clause go into one query. When such a query fails, its aggregates are asked one by one, so
that one column that cannot be read costs one check and not its neighbours. Of an error only its kind is kept: DuckDB's
messages quote values.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import duckdb

from etl.quality.catalogue import Check
from etl.quality.terms import VOCABULARY, Counting, Place, Term, counting


@dataclass(frozen=True)
class Count:
    """What was counted for one check; `error` names the kind of failure instead."""

    violated: int | None = None
    denominator: int | None = None
    error: str | None = None


def find_place(connection: duckdb.DuckDBPyConnection, schema: str, vocabulary_schema: str, today: date) -> Place:
    """Where the CDM stands: the tables and columns that exist under `schema`, names in lower case."""
    rows = _columns(connection, schema)
    if vocabulary_schema.lower() != schema.lower():
        rows = [row for row in rows if row[0] not in VOCABULARY]
        rows += [row for row in _columns(connection, vocabulary_schema) if row[0] in VOCABULARY]
    columns: dict[str, dict[str, str]] = {}
    for table, column, kind in rows:
        columns.setdefault(table, {})[column] = kind
    return Place(
        catalog=catalog_of(connection), schema=schema, vocabulary_schema=vocabulary_schema, columns=columns, today=today
    )


def catalog_of(connection: duckdb.DuckDBPyConnection) -> str:
    """The name of the connection's database."""
    row = connection.execute("SELECT current_database()").fetchone()
    assert row is not None, "a query without FROM gives one row"
    return str(row[0])


def _columns(connection: duckdb.DuckDBPyConnection, schema: str) -> list[tuple[str, str, str]]:
    return connection.execute(
        "SELECT lower(table_name), lower(column_name), data_type FROM duckdb_columns() "
        "WHERE lower(schema_name) = lower(?) AND database_name = current_database()",
        [schema],
    ).fetchall()


def count_checks(connection: duckdb.DuckDBPyConnection, place: Place, checks: Sequence[Check]) -> dict[str, Count]:
    """The counts of the CDM checks by check id; a check whose own table or column is missing is left out."""
    counts: dict[str, Count] = {}
    plans: dict[str, Counting] = {}
    for check in checks:
        if check.check_name in {"cdmTable", "cdmField"}:
            found = has(place, check.table, check.field)
            counts[check.check_id] = Count(0 if found else 1, 1)
        elif has(place, check.table, check.field):
            plan = counting(check, place)
            missing = [table for table in plan.needs if table not in place.columns]
            if missing:
                counts[check.check_id] = Count(error=f"needs the table {', '.join(missing)}")
            else:
                plans[check.check_id] = plan
    numbers = _ask(connection, [term for plan in plans.values() for term in (plan.violated, plan.denominator)])
    for check_id, plan in plans.items():
        counts[check_id] = _counted(numbers[plan.violated], numbers[plan.denominator])
    return counts


def has(place: Place, table: str, field: str | None = None) -> bool:
    """Whether the table, and the column when one is given, exists."""
    return table in place.columns and (field is None or field in place.columns[table])


def _counted(violated: int | str, denominator: int | str) -> Count:
    if isinstance(violated, int) and isinstance(denominator, int):
        return Count(violated, denominator)
    return Count(error=next(one for one in (violated, denominator) if isinstance(one, str)))


def _ask(connection: duckdb.DuckDBPyConnection, terms: Iterable[Term]) -> dict[Term, int | str]:
    """Each term's number, or the kind of error it met."""
    by_source: dict[str, dict[Term, None]] = {}
    for term in terms:
        by_source.setdefault(term.source, {})[term] = None
    answers: dict[Term, int | str] = {}
    for source, group in by_source.items():
        asked = list(group)
        try:
            answers.update(zip(asked, _query(connection, source, asked), strict=True))
        except duckdb.Error:
            for term in asked:
                answers[term] = _alone(connection, term)
    return answers


def _alone(connection: duckdb.DuckDBPyConnection, term: Term) -> int | str:
    try:
        return _query(connection, term.source, [term])[0]
    except duckdb.Error as error:
        return kind_of(error)


def _query(connection: duckdb.DuckDBPyConnection, source: str, terms: Sequence[Term]) -> list[int]:
    aggregates = ", ".join(term.aggregate for term in terms)
    row = connection.execute(f"SELECT {aggregates} FROM {source}").fetchone()
    assert row is not None, "an aggregate query gives one row"
    return [int(number or 0) for number in row]


def kind_of(error: duckdb.Error) -> str:
    """The kind of a database error in words, without its message (which may quote a value)."""
    return f"SQL error: {type(error).__name__}"
