"""The data manager's worklist: source codes that no standard concept answers yet."""

import polars as pl

from flows.results_store import read_table


def unmapped_codes(database: str, site: str | None = None) -> pl.DataFrame:
    """site, resource_type, source_vocabulary_id, source_code, n; most frequent first. Only real codes, no free text.

    Raises CdmError when the database cannot be read or blina did not build it.
    """
    rows = read_table(database, "lineage", "unmapped")
    if site is not None:
        rows = rows.filter(pl.col("site") == site)
    # A text in place of a code has no vocabulary of its own.
    coded = rows.filter(pl.col("source_vocabulary_id").is_not_null() & pl.col("source_code").is_not_null())
    keys = ["site", "resource_type", "source_vocabulary_id", "source_code"]
    return coded.group_by(keys).agg(pl.col("n").sum()).sort(["n", *keys], descending=[True, *[False] * 4])
