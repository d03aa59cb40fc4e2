"""What came in this run, as frames: the resources, what they refer to, and how others may refer to them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec
import orjson
import polars as pl

from etl.landing.lines import Line, read_lines
from etl.store import insert_frame
from etl.transform.stage import LINE_COLUMNS, read_landed

_KEY: Final = "key BIGINT GENERATED ALWAYS AS (resource_key(site, type, id))"
_TABLES: Final = f"""
CREATE SCHEMA chg;
CREATE TABLE chg.fresh (n BIGINT, site VARCHAR, type VARCHAR, id VARCHAR, url VARCHAR, version VARCHAR,
    updated VARCHAR, hash VARCHAR, file BIGINT, "at" BIGINT, {_KEY});
CREATE TABLE chg.fresh_reference (site VARCHAR, type VARCHAR, id VARCHAR, text VARCHAR, {_KEY},
    text_key BIGINT GENERATED ALWAYS AS (text_key(site, text)));
CREATE TABLE chg.fresh_identifier (site VARCHAR, type VARCHAR, id VARCHAR, identifier VARCHAR, {_KEY});
CREATE TABLE chg.deleted (site VARCHAR, type VARCHAR, id VARCHAR, {_KEY});
"""
_LINE: Final = msgspec.json.Decoder(Line)


def note_fresh(work: duckdb.DuckDBPyConnection, shards: dict[str, list[Path]], deleted: pl.DataFrame) -> None:
    """Creates `chg.fresh*` and `chg.deleted`; fills `chg.fresh` and `chg.deleted` from what a run landed."""
    work.execute(_TABLES)
    paths = [path for listed in shards.values() for path in listed]
    if paths:
        lines = read_landed(paths, LINE_COLUMNS, filename=True)
        work.execute(
            "INSERT INTO chg.fresh BY NAME SELECT n, site, split_part(parse_filename(filename), '.', 1) AS type, id, "
            f'url, version, updated, hash, file, "at" FROM {lines}'
        )
    insert_frame(work, "chg.deleted", deleted.select("site", pl.col("resource_type").alias("type"), "id"))


def note_meanings(work: duckdb.DuckDBPyConnection, shards: dict[str, list[Path]]) -> None:
    """Fills `chg.fresh_reference` and `chg.fresh_identifier` from the fresh lines of what `chg.changed` names.

    References are texts as written, whatever element they stand in; one by identifier only becomes "?identifier=…".
    """
    found = work.execute("SELECT type, n FROM chg.fresh WHERE key IN (SELECT key FROM chg.changed)").fetchall()
    numbers: dict[str, list[int]] = {}
    for kind, number in found:
        numbers.setdefault(kind, []).append(number)
    references: list[tuple[str, str, str, str]] = []
    identifiers: list[tuple[str, str, str, str]] = []
    for kind, wanted in numbers.items():
        for text in read_lines(shards[kind], wanted):
            line = _LINE.decode(text)
            content = orjson.loads(bytes(line.r))
            key = (line.site, kind, line.id)
            references += [(*key, one) for one in set(reference_texts(content))]
            identifiers += [(*key, one) for one in _identifiers(content.get("identifier"))]
    _insert(work, "chg.fresh_reference", ("site", "type", "id", "text"), references)
    _insert(work, "chg.fresh_identifier", ("site", "type", "id", "identifier"), identifiers)


def reference_texts(value: Any) -> Iterator[str]:
    """The texts of all References in a piece of FHIR JSON, contained resources included."""
    if isinstance(value, dict):
        reference = value.get("reference")
        identifier = value.get("identifier")
        if isinstance(reference, str):
            if not reference.startswith("#"):
                yield reference
        elif isinstance(identifier, dict):
            yield from (f"?identifier={text}" for text in _identifiers([identifier]))
        for inner in value.values():
            if isinstance(inner, dict | list):
                yield from reference_texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from reference_texts(inner)


def _identifiers(given: Any) -> list[str]:
    """The "system|value" texts of identifiers: one, or a list of them."""
    listed = given if isinstance(given, list) else [given]
    return [
        f"{one.get('system') or ''}|{one['value']}"
        for one in listed
        if isinstance(one, dict) and isinstance(one.get("value"), str)
    ]


def _insert(work: duckdb.DuckDBPyConnection, table: str, names: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    if rows:
        insert_frame(work, table, pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row"))
