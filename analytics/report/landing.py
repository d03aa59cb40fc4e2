"""The upper end of F1: from the resources that a hospital sent to the persons of the CDM."""

from typing import Final

import polars as pl

LANDING: Final = {"step": pl.String, "n": pl.Int64, "reason": pl.String}
"""Columns of the table `landing`; the reason says why the step holds fewer than the one before."""

_REASONS = 3


def landing_table(counts: pl.DataFrame) -> pl.DataFrame:
    """The table `landing` from a run's counts (site, resource_type, outcome, reason, n).

    A resource has one outcome: kept, skipped or rejected. The most frequent reasons are named, the rest summed.
    """
    by_outcome = dict(counts.group_by("outcome").agg(pl.col("n").sum()).iter_rows())
    kept, skipped = (int(by_outcome.get(name, 0)) for name in ("kept", "skipped"))
    rejected = int(by_outcome.get("rejected", 0))
    rows = [
        ("resources received", kept + skipped + rejected, ""),
        ("resources that could be read and placed", kept + skipped, _reasons(counts, "rejected")),
        ("resources kept", kept, _reasons(counts, "skipped")),
    ]
    return pl.DataFrame(rows, schema=LANDING, orient="row")


def _reasons(counts: pl.DataFrame, outcome: str) -> str:
    """The most frequent reasons of an outcome with their counts."""
    own = counts.filter(pl.col("outcome") == outcome).with_columns(pl.col("reason").fill_null("no reason given"))
    ranked = own.group_by("reason").agg(pl.col("n").sum()).sort(["n", "reason"], descending=[True, False])
    said = [f"{reason} ({n})" for reason, n in ranked.head(_REASONS).iter_rows()]
    rest = int(ranked.slice(_REASONS)["n"].sum())
    return "; ".join([*said, *([f"other reasons ({rest})"] if rest else [])])


def with_landing(attrition: pl.DataFrame, landing: pl.DataFrame | None) -> pl.DataFrame:
    """The attrition with the landing's steps in front, as rows of the same columns."""
    if landing is None:
        return attrition
    left_out = (pl.col("n").shift(1) - pl.col("n")).fill_null(0)
    steps = landing.select(
        "step",
        pl.lit("resource").alias("unit"),
        pl.col("n").cast(pl.Int64),
        left_out.cast(pl.Int64).alias("excluded"),
        pl.col("reason").fill_null(""),
    )
    own = attrition.select("step", "unit", pl.col("n").cast(pl.Int64), pl.col("excluded").cast(pl.Int64), "reason")
    return pl.concat([steps, own])
