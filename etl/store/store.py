"""What every store can do, whichever database it stands on, and the words the pipeline speaks to it."""

import json
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol, Self

import duckdb
from sqlalchemy import Table


def new_run_id() -> str:
    """A new run id: the time in UTC and four random bytes; sorts by time, says nothing about a patient.

    To the microsecond: two small builds may end within one second, and the later one must be known as such.
    """
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(4)}"


def utc_now() -> datetime:
    """Now in UTC without a zone, as the ledger keeps it (a TIMESTAMP in both databases)."""
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0)


@dataclass(frozen=True)
class Run:
    """One run of the ETL, as the ledger remembers it (HL7 f2o-002, -010, -040, -102, -122)."""

    software_version: str
    mapping_sha: str
    settings_sha: str
    vocabulary_release: str | None = None
    run_id: str = field(default_factory=new_run_id)
    started_at: datetime = field(default_factory=utc_now)
    outcome: str = "loaded"
    policies: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Written:
    """What one replace did to one table: its rows now, and whether they had to be replaced."""

    schema: str
    table: str
    rows: int
    replaced: bool


class Store(Protocol):
    """An OMOP database that one run at a time may write. A context manager: leaving it releases the lock."""

    url: str

    def replace(self, work: duckdb.DuckDBPyConnection, run: Run, *, vocabulary: bool = True) -> list[Written]:
        """Makes `cdm` and `lineage` equal to the work database and writes the ledger, all in one transaction."""
        ...

    def opened(self, work: duckdb.DuckDBPyConnection) -> AbstractContextManager[None]:
        """What the last run left, for reading, as schema `old` of the work database (`etl.store.old`)."""
        ...

    def fetch(self, work: duckdb.DuckDBPyConnection, table: str, column: str, values: str, into: str) -> None:
        """Makes the relation `into` of the rows of a CDM table whose `column` has a value that a query gives.

        Only inside `opened`; `values` is SQL on the work database.
        """
        ...

    def apply(self, work: duckdb.DuckDBPyConnection, run: Run) -> list[Written]:
        """Puts the rows of `out` and `lin` in the place of those that `etl.increment.keep_touched` named.

        One transaction, the ledger included. Raises CdmError before anything is written when rows break the CDM's
        promises, or when a new row has the key of one that stays.
        """
        ...

    def reading(self) -> AbstractContextManager[None]:
        """Several answers (`rows`, `last_basis`, `run_ids`) in one go; nothing may be written meanwhile."""
        ...

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The answer to a small query that both databases understand."""
        ...

    def last_basis(self) -> dict[str, Any] | None:
        """What the last run wrote of what it stood on (`policies.basis`); None before the first one."""
        ...

    def run_ids(self) -> set[str]:
        """The runs that committed and whose files still count: the last one that began anew, and those after it."""
        ...

    def record_outcome(self, run_id: str, outcome: str) -> None:
        """Changes the outcome of a run that the ledger already knows, e.g. after the quality gate."""
        ...

    def fill(self, work: duckdb.DuckDBPyConnection, found: dict[tuple[str, str], tuple[Table, str]]) -> None:
        """Replaces whole tables of any schema, ledger included, by rows of the work database; for `restore`."""
        ...

    def close(self) -> None:
        """Releases the lock."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def last_basis(rows: Callable[[str], list[tuple[Any, ...]]]) -> dict[str, Any] | None:
    """The basis of the last run, from the ledger that `rows` asks; None before the first one."""
    found = rows("SELECT run_id, policies FROM ledger.run")
    if not found:
        return None
    policies = json.loads(max(found)[1])  # run ids begin with the time
    basis = policies.get("basis")
    return basis if isinstance(basis, dict) else None
