"""What is checked before rows are written: keys are unique, required values are there, texts fit.

DuckDB holds none of this by itself (see etl.cdm.create_table), PostgreSQL would stop at the first row without a count.
A failure here is a fault of a mapping or of the transform, never of one patient's data, so it stops the run.
"""

from collections.abc import Collection

import duckdb
from sqlalchemy import String, Table

import etl.cdm


def problems(work: duckdb.DuckDBPyConnection, tables: dict[str, Table], vocabulary: Collection[str] = ()) -> list[str]:
    """One line per broken promise of the tables (by where their rows are), with the number of rows; no values.

    Of a vocabulary table only the key is checked: Athena ships CPT4 without names, and names beyond the CDM's limit.
    `vocabulary`: where the rows of such tables are.
    """
    asked = []
    for source, table in tables.items():
        tests = _tests(table, vocabulary=source in vocabulary)
        if tests:
            asked.append((source, table, tests))
    selects = [
        f"SELECT {number}, [{', '.join(tests.values())}] FROM {source}"
        for number, (source, _, tests) in enumerate(asked)
    ]
    found = []
    for number, sums in sorted(work.execute(" UNION ALL ".join(selects)).fetchall()) if selects else []:
        _, table, tests = asked[number]
        found += [f"{table.name}.{what} ({n} rows)" for what, n in zip(tests, sums, strict=True) if n]
    return found


def _tests(table: Table, *, vocabulary: bool) -> dict[str, str]:
    """What is promised of a table, and the SQL that counts the rows which break it."""
    key = table.primary_key.columns[0].name if len(table.primary_key.columns) == 1 else None
    required = () if vocabulary else etl.cdm.required_columns(table)
    limits = {} if vocabulary else etl.cdm.lengths(table)
    tests = {f"{column}: NULL, but the CDM requires a value": f'"{column}" IS NULL' for column in required}
    tests |= {f"{column}: longer than {n} characters": f'length("{column}") > {n}' for column, n in limits.items()}
    # PostgreSQL cannot hold a NUL; the same rows must fit both databases. The landing gate refuses it long before.
    texts = () if vocabulary else tuple(c.name for c in table.columns if isinstance(c.type, String))
    tests |= {f"{column}: holds a NUL character": f'contains("{column}", chr(0))' for column in texts}
    sums = {what: f"count(*) FILTER ({test})" for what, test in tests.items()}
    if key:
        sums[f"{key}: the same key more than once"] = f'count("{key}") - count(DISTINCT "{key}")'
    return sums
