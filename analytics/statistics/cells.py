"""T cells, B cells and cytokines by window, and cell counts by day of course 1 (T8, F6): described, not tested."""

import polars as pl

from analytics.statistics.frames import StudyFrames
from analytics.statistics.parameters import StatisticsParameters
from analytics.statistics.tables import tidy

ANALYTES = ("CD3", "CD4", "CD8", "CD19")
WINDOWS = ("pre", "post", "baseline", "peak")
BEFORE = "before"
LIMITS = ("<", "<=", ">", ">=")


def cell_tables(frames: StudyFrames, parameters: StatisticsParameters) -> dict[str, pl.DataFrame]:
    """`cell_windows` (first courses, every filled window, paired or not) and `cell_trajectory` (by days of course 1).

    A patient counts once per row: several values in one span of days are their median. Values are in the unit of the
    row; one given only as a limit stands at the limit and is counted.
    """
    return {"cell_windows": _windows(frames), "cell_trajectory": _trajectory(frames, parameters)}


def _windows(frames: StudyFrames) -> pl.DataFrame:
    rows = frames.lab_windows.filter((pl.col("course_no") == 1) & pl.col("value").is_not_null())
    others = sorted(set(rows["analyte"].unique()) - set(ANALYTES))
    found = []
    for analyte in (*ANALYTES, *others):
        for window in WINDOWS:
            part = rows.filter((pl.col("analyte") == analyte) & (pl.col("window") == window))
            if part.height:
                found.append({"analyte": analyte, "window": window} | _described(part))
    return tidy("cell_windows", found)


def _trajectory(frames: StudyFrames, parameters: StatisticsParameters) -> pl.DataFrame:
    """By the spans of days of `trajectory_days`, each from one edge to the day before the next; the first is before."""
    if frames.lab_points.is_empty():
        return tidy("cell_trajectory", [])
    points = frames.lab_points.filter((pl.col("course_no") == 1) & pl.col("analyte").is_in(ANALYTES))
    edges = parameters.trajectory_days
    keys = ["person_id", "analyte"]
    found = []
    for place, first in enumerate((None, *edges)):
        last = edges[place] if place < len(edges) else None
        span = pl.lit(value=True) if first is None else pl.col("day") > first
        span &= pl.lit(value=True) if last is None else pl.col("day") <= last
        inside = points.filter(span)
        each = inside.group_by(*keys, maintain_order=True).agg(
            pl.col("value").median(), pl.col("day").median(), pl.col("unit").first(),
            operator=pl.col("operator").filter(pl.col("operator").is_in(LIMITS)).first(),
        )  # fmt: skip
        words = f"to {last}" if first is None else f"from {first + 1}" if last is None else f"{first + 1} to {last}"
        for analyte in ANALYTES:
            part = each.filter(pl.col("analyte") == analyte)
            if part.height:
                head = {"analyte": analyte, "days": words, "day": part["day"].median()}
                found.append(head | _described(part))
    order = {analyte: place for place, analyte in enumerate(ANALYTES)}
    return tidy("cell_trajectory", sorted(found, key=lambda row: order[str(row["analyte"])]))


def _described(part: pl.DataFrame) -> dict[str, object]:
    values = part["value"]
    limits = int(part["operator"].is_in(LIMITS).sum())
    quartile = {name: values.quantile(q, interpolation="linear") for name, q in (("q1", 0.25), ("q3", 0.75))}
    return {
        "unit": part["unit"][0], "n": part.height, "n_censored": limits, "median": values.median(), **quartile,
        "minimum": values.min(), "maximum": values.max(),
        "note": "limits stand at their own value" if limits else None,
    }  # fmt: skip
