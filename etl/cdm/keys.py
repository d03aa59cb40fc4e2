"""Stable positive 63-bit keys: the same parts give the same key, in SQL and in Python.

Keys of rows that come from a resource are hashed with the instance's secret, so that nobody can go from an id of the
CDM back to a FHIR id by trying. Rows derived from such rows may be keyed by those ids alone.
"""

import hashlib


def key_sql(*parts: str) -> str:
    """The DuckDB expression of a key from SQL expressions, e.g. `key_sql("'secret'", "'drug_era'", "person_id")`.

    A NULL part counts as an empty text, so that it keeps its place.
    """
    texts = ", ".join(f"coalesce(CAST({part} AS VARCHAR), '')" for part in parts)
    return f"CAST(md5_number_lower(concat_ws('|', {texts})) >> 1 AS BIGINT)"


def stable_key(*parts: object) -> int:
    """The same key from Python values: dates as ISO text, None as an empty text."""
    text = "|".join("" if part is None else str(part) for part in parts)
    return int.from_bytes(hashlib.md5(text.encode(), usedforsecurity=False).digest()[8:], "little") >> 1
