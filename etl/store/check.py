"""What is checked before rows are written: keys are unique, required values are there, texts fit.

DuckDB holds none of this by itself (see etl.cdm.create_table), PostgreSQL would stop at the first row without a count.
A failure here is a fault of a mapping or of the transform, never of one patient's data, so it stops the run.
"""

from collections.abc import Sequence

import duckdb
from sqlalchemy import String, Table

import etl.cdm


def filled(work: duckdb.DuckDBPyConnection, sources: Sequence[str]) -> set[str]:
    """Those of the tables that have any row: most tables of a small build have none, and need no check."""
    asked = " UNION ALL ".join(f"(SELECT {number} FROM {source} LIMIT 1)" for number, source in enumerate(sources))
    return {sources[number] for (number,) in work.execute(asked).fetchall()} if sources else set()


def problems(work: duckdb.DuckDBPyConnection, source: str, table: Table, *, vocabulary: bool = False) -> list[str]:
    """One line per broken promise of a table (`source` = where its rows are), with the number of rows; no values.

    Of a vocabulary table only the key is checked: Athena ships CPT4 without names, and names beyond the CDM's limit.
    """
    key = table.primary_key.columns[0].name if len(table.primary_key.columns) == 1 else None
    required = () if vocabulary else etl.cdm.required_columns(table)
    limits = {} if vocabulary else etl.cdm.lengths(table)
    tests = {f"{column}: NULL, but the CDM requires a value": f'"{column}" IS NULL' for column in required}
    tests |= {f"{column}: longer than {n} characters": f'length("{column}") > {n}' for column, n in limits.items()}
    # PostgreSQL cannot hold a NUL; the same rows must fit both databases. The landing gate refuses it long before.
    texts = () if vocabulary else tuple(c.name for c in table.columns if isinstance(c.type, String))
    tests |= {f"{column}: holds a NUL character": f'contains("{column}", chr(0))' for column in texts}
    sums = [f"count(*) FILTER ({test})" for test in tests.values()]
    if key:
        tests[f"{key}: the same key more than once"] = key
        sums.append(f'count("{key}") - count(DISTINCT "{key}")')
    if not sums:
        return []
    counted = work.execute(f"SELECT {', '.join(sums)} FROM {source}").fetchone() or ()
    return [f"{table.name}.{what} ({n} rows)" for what, n in zip(tests, counted, strict=True) if n]
