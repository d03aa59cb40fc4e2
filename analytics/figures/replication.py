"""F10: published percentages beside the computed ones."""

import re
import textwrap

import polars as pl

from analytics.figures.canvas import BLUE, INK, MUTED, RULE, Drawing, board, export, style
from analytics.figures.wording import quantity

_NAME = "replication"
_ROW = 0.34


def leading_percent(text: object) -> float | None:
    """The number of a printed percentage ("97.8% ± 2.2%" → 97.8); nothing for text that does not start with one."""
    found = re.match(r"\s*(-?\d+(?:\.\d+)?)\s*%", str(text or ""))
    return float(found.group(1)) if found else None


def percentages(sheet: pl.DataFrame) -> pl.DataFrame:
    """The rows of published_vs_computed that are percentages on both sides, with both as numbers."""
    both = ("published", "computed")
    numbers = sheet.with_columns(
        pl.Series(f"{side}_number", [leading_percent(text) for text in sheet[side]], dtype=pl.Float64) for side in both
    )
    return numbers.filter(pl.col("published_number").is_not_null() & pl.col("computed_number").is_not_null())


def draw_replication(sheet: pl.DataFrame) -> Drawing:
    """A ring for the published value and a dot for the computed one, per percentage of the sheet."""
    rows = percentages(sheet).to_dicts()
    height = _ROW * len(rows) + 1.0
    with style(_NAME):
        figure = board(8.2, height)
        axes = figure.add_axes((0.42, 0.52 / height, 0.28, _ROW * len(rows) / height))
        axes.set_xlim(min(60.0, *(r[k] - 5 for r in rows for k in ("published_number", "computed_number"))), 102)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        for index, row in enumerate(rows):
            y = len(rows) - 1 - index
            label = "\n".join(textwrap.wrap(quantity(row["quantity"]), 34))
            axes.axhline(y, color=RULE, linewidth=0.8, zorder=0)
            axes.plot([row["published_number"]], [y], "o", markersize=9, markerfacecolor="none", color=INK, zorder=3)
            axes.plot([row["computed_number"]], [y], "o", markersize=4.5, color=BLUE, zorder=4)
            for x, text, align in (
                (-0.05, label, "right"),
                (1.05, row["published"], "left"),
                (1.60, row["computed"], "left"),
            ):
                axes.annotate(
                    str(text), (x, y), xycoords=("axes fraction", "data"), ha=align, va="center", annotation_clip=False
                )
        for x, text, colour in ((1.05, "Published ○", MUTED), (1.60, "Computed ●", MUTED)):
            axes.annotate(
                text,
                (x, 1),
                (0, 9),
                xycoords="axes fraction",
                textcoords="offset points",
                color=colour,
                weight="bold",
                va="center",
                annotation_clip=False,
            )
        axes.set_xlabel("Percent")
        return export(figure, _NAME, "Published and computed percentages", describe(sheet))


def describe(sheet: pl.DataFrame) -> str:
    """The alternative text: both values of every percentage."""
    rows = percentages(sheet).to_dicts()
    return (
        "; ".join(f"{quantity(r['quantity'])}: published {r['published']}, computed {r['computed']}" for r in rows)
        + "."
    )
