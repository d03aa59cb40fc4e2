"""What came in this run, as frames: the resources, what they refer to, and how others may refer to them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec
import orjson
import polars as pl

from etl.store import insert_frame

_TABLES: Final = """
CREATE SCHEMA chg;
CREATE TABLE chg.fresh (n BIGINT, site VARCHAR, type VARCHAR, id VARCHAR, url VARCHAR, version VARCHAR,
    updated VARCHAR, hash VARCHAR, file BIGINT, "at" BIGINT);
CREATE TABLE chg.fresh_reference (site VARCHAR, type VARCHAR, id VARCHAR, text VARCHAR);
CREATE TABLE chg.fresh_identifier (site VARCHAR, type VARCHAR, id VARCHAR, identifier VARCHAR);
CREATE TABLE chg.deleted (site VARCHAR, type VARCHAR, id VARCHAR);
"""


class _Line(msgspec.Struct):
    n: int
    site: str
    id: str
    url: str | None
    version: str | None
    updated: str | None
    hash: str
    file: int
    at: int
    r: msgspec.Raw


_LINE: Final = msgspec.json.Decoder(_Line)


def note_fresh(work: duckdb.DuckDBPyConnection, shards: dict[str, Sequence[Path]], deleted: pl.DataFrame) -> None:
    """Creates and fills `chg.fresh*` and `chg.deleted` from what a run landed.

    References are texts as written, whatever element they stand in; one by identifier only becomes "?identifier=…".
    """
    work.execute(_TABLES)
    resources: list[tuple[Any, ...]] = []
    references: list[tuple[str, str, str, str]] = []
    identifiers: list[tuple[str, str, str, str]] = []
    for kind, paths in shards.items():
        for line in _lines(paths):
            key = (line.site, kind, line.id)
            resources.append((line.n, *key, line.url, line.version, line.updated, line.hash, line.file, line.at))
            content = orjson.loads(line.r)
            references += [(*key, text) for text in set(reference_texts(content))]
            identifiers += [(*key, text) for text in _identifiers(content.get("identifier"))]
    names = ("n", "site", "type", "id", "url", "version", "updated", "hash", "file", "at")
    _insert(work, "chg.fresh", names, resources)
    _insert(work, "chg.fresh_reference", ("site", "type", "id", "text"), references)
    _insert(work, "chg.fresh_identifier", ("site", "type", "id", "identifier"), identifiers)
    insert_frame(work, "chg.deleted", deleted.select("site", pl.col("resource_type").alias("type"), "id"))


def _lines(paths: Sequence[Path]) -> Iterator[_Line]:
    for path in paths:
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
