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

_TABLES: Final = """
CREATE SCHEMA chg;
CREATE TABLE chg.fresh (n BIGINT, site VARCHAR, type VARCHAR, id VARCHAR, url VARCHAR, version VARCHAR,
    updated VARCHAR, hash VARCHAR, file BIGINT, "at" BIGINT);
CREATE TABLE chg.fresh_reference (site VARCHAR, type VARCHAR, id VARCHAR, text VARCHAR);
CREATE TABLE chg.fresh_identifier (site VARCHAR, type VARCHAR, id VARCHAR, identifier VARCHAR);
CREATE TABLE chg.deleted (site VARCHAR, type VARCHAR, id VARCHAR);
"""


_LINE: Final = msgspec.json.Decoder(Line)


def note_fresh(work: duckdb.DuckDBPyConnection, shards: dict[str, list[Path]], deleted: pl.DataFrame) -> None:
    """Creates `chg.fresh*` and `chg.deleted`; fills `chg.fresh` and `chg.deleted` from what a run landed."""
    work.execute(_TABLES)
    names = ("n", "site", "type", "id", "url", "version", "updated", "hash", "file", "at")
    rows = [
        (one.n, one.site, kind, one.id, one.url, one.version, one.updated, one.hash, one.file, one.at)
        for kind, paths in shards.items()
        for path in paths
        for one in _heads(path)
    ]
    _insert(work, "chg.fresh", names, rows)
    insert_frame(work, "chg.deleted", deleted.select("site", pl.col("resource_type").alias("type"), "id"))


def note_meanings(work: duckdb.DuckDBPyConnection, shards: dict[str, list[Path]]) -> None:
    """Fills `chg.fresh_reference` and `chg.fresh_identifier` from the fresh lines of what `chg.changed` names.

    References are texts as written, whatever element they stand in; one by identifier only becomes "?identifier=…".
    """
    found = work.execute("SELECT type, n FROM chg.fresh SEMI JOIN chg.changed USING (site, type, id)").fetchall()
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


def _heads(path: Path) -> Iterator[Line]:
    with path.open("rb") as stream:
        for line in stream:
            yield _LINE.decode(line)


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


def _insert(work: duckdb.DuckDBPyConnection, table: str, names: Sequence[str], rows: list[tuple[Any, ...]]) -> None:
    if rows:
        schema = {name: pl.Int64 if name in {"n", "file", "at"} else pl.String for name in names}
        insert_frame(work, table, pl.DataFrame(rows, schema=schema, orient="row"))
