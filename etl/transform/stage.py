"""Stage 1: every landed resource of a type becomes one row with the values that its mapping reads.

The landed files are read once, with the declared types of exactly the elements that the mapping names.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from etl.landing.lines import longest_line
from etl.settings import Settings
from etl.sql import quote
from etl.transform.concepts import key_of
from etl.transform.plan import ConceptPlan, Plan

LINE_COLUMNS = {
    "n": "BIGINT", "site": "VARCHAR", "id": "VARCHAR", "url": "VARCHAR", "bundle": "BIGINT", "version": "VARCHAR",
    "updated": "VARCHAR", "hash": "VARCHAR", "file": "BIGINT", "at": "BIGINT",
}  # fmt: skip
"""What a landed line says beside the resource itself (`r`), and as what type it is read."""
_SMALLEST_BUFFER = 2 * 1024 * 1024
"""Bytes, per thread, that DuckDB reads at once: as much as fits its caches, and so that threads share a file."""


@dataclass(frozen=True)
class Stage:
    """One resource type of the sites that share a mapping, with its plan.

    `read` holds the values of each resource (wide, written once), `keys` what references and rules find out about it
    (narrow), and `table` is the view of both, joined by the landed number.
    """

    resource: str
    table: str
    sites: tuple[str, ...]
    plan: Plan

    @property
    def name(self) -> str:
        """The table's name without its schema."""
        return self.table.removeprefix("stage.")

    @property
    def read(self) -> str:
        """The table with the values of each resource."""
        return f"{self.table}_read"

    def narrow(self, *texts: str) -> str:
        """A subquery with only those columns of `table` that SQL texts read as `s.name`, for resources that go on.

        The whole view has up to a hundred columns, and planning a statement over all of them takes longer than running
        it on a night's changes.
        """
        read = set(re.findall(r'\bs\."?(\w+)"?', " ".join(texts)))
        known = [
            *LINE_COLUMNS,
            "zone",
            *self.plan.expressions,
            *(one.key for one in coded(self.plan).values()),
            "k_person",
        ]
        for name in self.plan.references:
            known += [f"rt_{name}", f"rk_{name}", f"ri_{name}", f"k_{name}"]
        columns = ", ".join(f'"{name}"' for name in dict.fromkeys(known) if name in read)
        return f"(SELECT {columns} FROM {self.read} JOIN {self.keys} USING (n) WHERE outcome IS NULL)"

    @property
    def keys(self) -> str:
        """The table with references, persons and outcome of each resource."""
        return f"{self.table}_keys"


def read_stage(work: duckdb.DuckDBPyConnection, stage: Stage, shards: Sequence[Path], settings: Settings) -> None:
    """Fills a stage table from the landed files; `fate` is NULL for resources that go on."""
    plan = stage.plan
    source = read_landed(shards, LINE_COLUMNS | {"r": plan.need.sql_type() if plan.need.children else "JSON"})
    expressions = "".join(f', {sql} AS "{name}"' for name, sql in plan.expressions.items())
    meta = ", ".join(f'"{name}"' for name in LINE_COLUMNS)
    sites = ", ".join(quote(site) for site in stage.sites)
    keys = "".join(f', {key_of(one.concept, _quoted(column))} AS "{one.key}"' for column, one in coded(plan).items())
    work.execute(
        f"CREATE TABLE {stage.read} AS SELECT *{keys} FROM (SELECT {meta}, zone{expressions}, "
        f"({plan.outcome})::VARCHAR AS fate, true AS newest "
        f"FROM (SELECT *, {_zones(stage.sites, settings)} AS zone FROM {source} WHERE site IN ({sites})))"
    )


def read_landed(shards: Sequence[Path], columns: dict[str, str], *, filename: bool = False) -> str:
    """The table function that reads these columns of landed files, with the name of each line's file if asked for."""
    largest = max(_SMALLEST_BUFFER, *(longest_line(path) for path in shards))
    files = ", ".join(quote(str(path)) for path in shards)
    types = ", ".join(f"{quote(name)}: {quote(kind)}" for name, kind in columns.items())
    return (
        f"read_json([{files}], format = 'newline_delimited', maximum_object_size = {largest}, filename = {filename}, "
        f"columns = {{{types}}})"
    )


def coded(plan: Plan) -> dict[str, ConceptPlan]:
    """The concepts of the resource grain by the stage column of their coding sets."""
    concepts = {one.column: one for one in plan.concepts.values()}
    for rule in plan.rules:
        concepts |= {one.column: one for one in rule.concepts.values()}
    return concepts


def _quoted(name: str) -> str:
    return f'"{name}"'


def settle_versions(work: duckdb.DuckDBPyConnection, stages: Sequence[Stage], *, deleted: bool) -> None:
    """Leaves out all but the newest version of each resource, and those that a DELETE entry named (`deleted`: any).

    A deletion holds unless a newer version is there: newer by time where both say theirs (`meta.lastUpdated`,
    `response.lastModified`), by arrival otherwise.
    """
    counts = " UNION ALL ".join(
        f"SELECT {number}, count(*) AS n, (SELECT count(*) FROM (SELECT DISTINCT site, id FROM {stage.read})) AS once "
        f"FROM {stage.read}"
        for number, stage in enumerate(stages)
    )
    for number, n, once in work.execute(counts).fetchall() if stages else []:
        if n != once:
            _supersede(work, stages[number].read)
    for stage in stages if deleted else ():
        work.execute(
            f"""UPDATE {stage.read} SET fate = 'skipped|deleted at the source' FROM stage.deleted d
                WHERE d.site = {stage.read}.site AND d.resource_type = {quote(stage.resource)}
                  AND d.id = {stage.read}.id AND newest
                   AND coalesce(TRY_CAST({stage.read}.updated AS TIMESTAMPTZ) <= TRY_CAST(d.updated AS TIMESTAMPTZ),
                                {stage.read}.n <= d.n)"""
        )


def _zones(sites: Sequence[str], settings: Settings) -> str:
    zones = {settings.site(site).time_zone for site in sites}
    if len(zones) == 1:
        return quote(zones.pop())
    cases = " ".join(f"WHEN {quote(site)} THEN {quote(settings.site(site).time_zone)}" for site in sites)
    return f"CASE site {cases} END"


def _supersede(work: duckdb.DuckDBPyConnection, table: str) -> None:
    """Of several versions of one resource the newest stays: lastUpdated, then numeric versionId, then arrival."""
    work.execute(
        f"""UPDATE {table} SET newest = false,
              fate = CASE WHEN {table}.hash = v.one.hash THEN 'skipped|same content again'
                          ELSE 'skipped|superseded version' END
            FROM (SELECT site, id, max_by({{'n': n, 'hash': hash}}, (
                    coalesce(TRY_CAST(updated AS TIMESTAMPTZ), '-infinity'::TIMESTAMPTZ),
                    coalesce(TRY_CAST(version AS BIGINT), -9223372036854775808), n)) AS one
                  FROM {table} GROUP BY site, id HAVING count(*) > 1) v
            WHERE v.site = {table}.site AND v.id = {table}.id AND {table}.n <> v.one.n"""
    )


def supersede_by_identifier(work: duckdb.DuckDBPyConnection, stage: Stage) -> None:
    """Of several resources with one business identifier in a site the newest usable one stays.

    Newest by lastUpdated, numeric versionId, then a correction before a first result, then the larger id (PROTOCOL
    5.1): never by arrival, which says nothing about two different resources.
    """
    work.execute(
        f"""UPDATE {stage.keys} SET outcome = 'skipped|superseded or duplicate business identifier' FROM (
              SELECT DISTINCT n FROM (
                SELECT n, row_number() OVER (PARTITION BY site, identifier
                         ORDER BY TRY_CAST(updated AS TIMESTAMPTZ) DESC NULLS LAST,
                                  TRY_CAST(version AS BIGINT) DESC NULLS LAST, corrected DESC, id DESC) AS place
                FROM (SELECT n, site, id, updated, version, corrected, unnest(business) AS identifier FROM {stage.table}
                      WHERE outcome IS NULL))
              WHERE place > 1) v
            WHERE v.n = {stage.keys}.n"""
    )
