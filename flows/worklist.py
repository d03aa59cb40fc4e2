"""The data manager's worklist: source codes that no standard concept answers yet."""

from dataclasses import dataclass

import polars as pl

from etl.mapping.worklist import stands_for_a_code
from flows.results_store import read_table


@dataclass(frozen=True)
class Unmapped:
    """codes: site, resource_type, source_vocabulary_id, source_code, n; most frequent first. texts: how many texts
    stand in place of a code; they are counted and not shown, because they may be what somebody wrote of a patient.
    """

    codes: pl.DataFrame
    texts: int


def unmapped_codes(database: str, site: str | None = None) -> Unmapped:
    """The source codes without a standard concept.

    Raises CdmError when the database cannot be read or blina did not build it.
    """
    rows = read_table(database, "lineage", "unmapped")
    if site is not None:
        rows = rows.filter(pl.col("site") == site)
    rows = rows.filter(pl.col("source_code").is_not_null())
    told = zip(rows["source_code"], rows["source_name"], rows["source_vocabulary_id"], strict=True)
    marked = rows.with_columns(pl.Series("is_text", [stands_for_a_code(*one) for one in told], dtype=pl.Boolean))
    coded = marked.filter(~pl.col("is_text") & pl.col("source_vocabulary_id").is_not_null())
    keys = ["site", "resource_type", "source_vocabulary_id", "source_code"]
    codes = coded.group_by(keys).agg(pl.col("n").sum()).sort(["n", *keys], descending=[True, *[False] * 4])
    return Unmapped(codes, marked.filter("is_text").select("site", "source_code").n_unique())
