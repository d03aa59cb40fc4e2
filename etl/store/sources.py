"""What a run carries from its work database into the target: which rows go where, and whether they may."""

from collections.abc import Sequence

import duckdb
from sqlalchemy import Table

import etl.cdm
from etl.errors import CdmError
from etl.store import check, ledger, lineage
from etl.store.work import OUT_TABLES

Place = tuple[str, str]
"""A table of the target: its schema and its name."""

SCHEMAS: dict[str, dict[str, Table]] = {
    "cdm": etl.cdm.TABLES,
    "lineage": lineage.TABLES,
    "ledger": ledger.TABLES,
    "results": {},
}
"""The tables that every store makes, by schema; a study adds its own to `results`."""

OF_STUDIES: tuple[Place, ...] = tuple(
    ("cdm", name) for name in ("episode", "episode_event", "cohort", "cohort_definition")
)
"""Tables that a study writes after the build (etl.cdm.episodes)."""


def sources(work: duckdb.DuckDBPyConnection, *, vocabulary: bool = True) -> dict[Place, str]:
    """Where the rows of each target table are in the work database.

    Vocabulary tables come from schema `vocab` where it has them; they are left out otherwise, and when the target is
    known to hold them (`vocabulary` is false).
    """
    found = {("cdm", name): f'out."{name}"' for name in OUT_TABLES}
    found |= {("lineage", name): f'lin."{name}"' for name in lineage.TABLES}
    if not vocabulary:
        return found
    tables = "SELECT table_name FROM information_schema.tables"  # tables, and the views on a cached vocabulary
    here = "WHERE table_catalog = current_database() AND table_schema = 'vocab'"
    loaded = {row[0] for row in work.execute(f"{tables} {here}").fetchall()}
    return found | {("cdm", name): f'vocab."{name}"' for name in etl.cdm.VOCABULARY_TABLES if name in loaded}


def refuse_broken(work: duckdb.DuckDBPyConnection, found: dict[Place, str]) -> None:
    """Raises CdmError, with a line per fault, when rows break the CDM's promises."""
    filled = counts(work, list(found.values()))
    tables = {source: SCHEMAS[schema][name] for (schema, name), source in found.items() if filled[source]}
    vocabulary = {source for (_, name), source in found.items() if is_vocabulary(name)}
    faults = check.problems(work, tables, vocabulary)
    if faults:
        raise CdmError("the rows that were made break the rules of the CDM; nothing was written", problems=faults)


def is_vocabulary(name: str) -> bool:
    """Whether a table is filled from an Athena download, whose rows are taken as they come."""
    return name in etl.cdm.VOCABULARY_TABLES


def typed_columns(table: Table) -> str:
    """The columns of a table for a SELECT, each cast to its type."""
    return ", ".join(f'CAST("{column.name}" AS {etl.cdm.duckdb_type(column)})' for column in table.columns)


def count(work: duckdb.DuckDBPyConnection, relation: str) -> int:
    """The number of rows."""
    row = work.execute(f"SELECT count(*) FROM {relation}").fetchone()
    return int(row[0]) if row else 0


def counts(work: duckdb.DuckDBPyConnection, relations: Sequence[str]) -> dict[str, int]:
    """The number of rows of each relation, asked at once: planning one statement each would take longer."""
    asked = " UNION ALL ".join(f"SELECT {at}, count(*) FROM {relation}" for at, relation in enumerate(relations))
    return {relations[at]: int(n) for at, n in work.execute(asked).fetchall()} if relations else {}


def content_hash(work: duckdb.DuckDBPyConnection, table: Table, relation: str) -> str:
    """The sum of 64-bit hashes of the rows as a text: the same for the same rows in any order."""
    row = work.execute(f"SELECT sum(hash({typed_columns(table)})::HUGEINT) FROM {relation}").fetchone()
    return str(row[0]) if row and row[0] is not None else "0"
