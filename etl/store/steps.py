"""The places between which a run may be killed, by name; the crash tests stop the process at each of them.

Nothing happens here in a real run. A store calls `steps.reached(NAME)` before and after whatever changes a disk or a
server: a write, a rename, a commit.
"""

NAMES: tuple[str, ...] = (
    "duckdb: schemas made",
    "duckdb: target attached",
    "duckdb: transaction begun",
    "duckdb: table dropped",
    "duckdb: table filled",
    "duckdb: tables replaced",
    "duckdb: rows exchanged",
    "duckdb: ledger written",
    "duckdb: committed",
    "duckdb: checkpointed",
    "postgres: lock taken",
    "postgres: schemas made",
    "postgres: transaction begun",
    "postgres: table made",
    "postgres: rows half copied",
    "postgres: rows copied",
    "postgres: indexes made",
    "postgres: readers locked out",
    "postgres: table dropped",
    "postgres: table moved in",
    "postgres: tables replaced",
    "postgres: rows exchanged",
    "postgres: ledger written",
    "postgres: committed",
    "release: folder made",
    "release: tables copied",
    "release: parquet written",
    "release: manifest written",
    "release: moved in",
    "release: old one set aside",
    "release: old ones removed",
    "backup: tables copied",
    "backup: file written",
    "backup: moved in",
    "restore: read",
    "restore: file written",
    "restore: moved in",
)
"""Every place there is; `reached` is called with no other name (a test sees to that)."""


def reached(name: str) -> None:
    """Says that a run has come to the place `name`. Does nothing: crash tests put their own function here."""
