"""What changed from one release to another, by table and by the rule that made the rows."""

from contextlib import closing

import duckdb
import polars as pl

import etl.cdm
from etl.store.postgres_layout import quoted
from etl.store.releases import Release

SCHEMA = {"table": pl.String, "rule": pl.String, "added": pl.Int64, "removed": pl.Int64, "changed": pl.Int64}

_KEYED = """
WITH rules AS (
    SELECT row_id, min(resource_type || '.' || rule) AS rule
    FROM ({rows}) JOIN ({rules}) USING (side, rule_id) GROUP BY row_id
)
SELECT rule, count(*) FILTER (a.key IS NULL), count(*) FILTER (b.key IS NULL), count(*) FILTER (a.hash <> b.hash)
FROM (SELECT {key} AS key, hash({columns_a}) AS hash FROM a.{table}) AS a
FULL JOIN (SELECT {key} AS key, hash({columns_b}) AS hash FROM b.{table}) AS b ON a.key = b.key
LEFT JOIN rules ON rules.row_id = coalesce(a.key, b.key)
WHERE a.hash IS DISTINCT FROM b.hash
GROUP BY rule
"""

_COUNTED = """
SELECT NULL, coalesce(sum(b - a) FILTER (b > a), 0)::BIGINT, coalesce(sum(a - b) FILTER (a > b), 0)::BIGINT, 0
FROM (
    SELECT count(*) FILTER (side = 'a') AS a, count(*) FILTER (side = 'b') AS b
    FROM (SELECT 'a' AS side, hash({columns_a}) AS hash FROM a.{table}
          UNION ALL SELECT 'b', hash({columns_b}) FROM b.{table})
    GROUP BY hash
)
"""


def diff_releases(a: Release, b: Release) -> pl.DataFrame:
    """Rows added, removed and changed from `a` to `b`: table (with schema), rule, added, removed, changed.

    Tables without differences are left out. Rows are told apart by their key (etl.cdm.KEYS); in tables without one,
    a changed row counts as removed and added. `rule` is "ResourceType.rule", NULL for rows that no rule made.
    """
    found: list[tuple[str, str | None, int, int, int]] = []
    with closing(duckdb.connect()) as connection:
        for name, release in (("a", a), ("b", b)):
            path = str(release.database).replace("'", "''")
            connection.execute(f"ATTACH '{path}' AS {name} (READ_ONLY)")
        layouts = {side: _layout(connection, side) for side in ("a", "b")}
        for place in sorted(layouts["a"].keys() | layouts["b"].keys()):
            before, after = layouts["a"].get(place), layouts["b"].get(place)
            if before and after:
                rows = connection.execute(_query(place, before, after)).fetchall()
            else:
                side = "a" if before else "b"
                n = connection.execute(f"SELECT count(*) FROM {side}.{quoted(*place)}").fetchone()
                counted = n[0] if n else 0
                rows = [(None, 0, counted, 0) if side == "a" else (None, counted, 0, 0)]
            found += [(".".join(place), *row) for row in rows if any(row[1:])]
    return pl.DataFrame(found, SCHEMA, orient="row").sort("table", "rule", nulls_last=True)


def _layout(connection: duckdb.DuckDBPyConnection, side: str) -> dict[tuple[str, str], list[str]]:
    """The columns of each table; those of `lineage` say which rule made a row, and are not compared themselves."""
    found: dict[tuple[str, str], list[str]] = {}
    rows = connection.execute(
        "SELECT schema_name, table_name, column_name FROM duckdb_columns()"
        " WHERE database_name = ? AND schema_name IN ('cdm', 'results') ORDER BY column_index",
        [side],
    ).fetchall()
    for schema, table, column in rows:
        found.setdefault((schema, table), []).append(column)
    return found


def _query(place: tuple[str, str], columns_a: list[str], columns_b: list[str]) -> str:
    schema, name = place
    names = {"columns_a": ", ".join(map(quoted, columns_a)), "columns_b": ", ".join(map(quoted, columns_b))}
    key = etl.cdm.KEYS.get(name) if schema == "cdm" else None
    if key is None or name in etl.cdm.VOCABULARY_TABLES:
        return _COUNTED.format(table=quoted(*place), **names)
    sides = ("a", "b")
    rows = " UNION ".join(
        f"SELECT '{side}' AS side, row_id, rule_id FROM {side}.lineage.cdm_row WHERE table_name = '{name}'"
        for side in sides
    )
    rules = " UNION ".join(
        f"SELECT '{side}' AS side, rule_id, resource_type, rule FROM {side}.lineage.rule" for side in sides
    )
    return _KEYED.format(table=quoted(*place), key=quoted(key), rows=rows, rules=rules, **names)
