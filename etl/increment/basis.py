"""On what a database stands: an increment may only add to a run that stood on the same."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import duckdb

ENGINE = f"duckdb {duckdb.__version__}, keys 2"
"""What the keys of the lineage were made with: DuckDB's hash, and (the number) of what."""


KEY_MARK = "key_mark"
"""Where a run's basis keeps the mark of the key that made its ids."""


@cache
def key_mark(key: str) -> str:
    """A text by which a key is known again; slow to make, so that a poor key is not guessed from it in bulk."""
    return hashlib.pbkdf2_hmac("sha256", key.encode(), b"blina: is it this key?", 50_000, 16).hex()


@dataclass(frozen=True)
class Basis:
    """Everything beside the FHIR data that decides which rows come out."""

    software_version: str
    engine: str
    mapping_sha: str
    settings_sha: str
    vocabulary_sha: str
    sites: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For the ledger."""
        return asdict(self) | {"sites": list(self.sites)}


def why_not(now: Basis, then: dict[str, Any] | None) -> str | None:
    """Why a build must compute everything, in words; None when it may add to what the last run left.

    `then` is what the last run wrote of its basis.
    """
    if then is None:
        return "nothing was built before"
    mine = now.as_dict()
    differing = sorted(name for name, value in mine.items() if then.get(name) != value)
    if differing:
        return f"changed since the last run: {', '.join(_words(differing))}"
    return None


def _words(names: Sequence[str]) -> list[str]:
    words = {
        "software_version": "blina",
        "engine": "DuckDB, or the keys of the lineage",
        "mapping_sha": "the mapping",
        "settings_sha": "the settings",
        "vocabulary_sha": "the vocabulary",
        "sites": "the sites",
    }
    return [words[name] for name in names]
