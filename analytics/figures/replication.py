"""F10: published percentages beside the computed ones, and the prediction intervals for every site."""

import re
import textwrap
from typing import Any

import polars as pl
from matplotlib.axes import Axes

from analytics.figures.canvas import BLUE, INK, MUTED, RULE, SKY, Drawing, board, export, style
from analytics.figures.wording import count, interval, percent, quantity, share, word

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


def draw_site_replication(sites: pl.DataFrame) -> Drawing:
    """The table site_prediction: per quantity the published proportion, and per site its own one over the prediction.

    The bar is the 95% prediction interval for a site of that size, in percent of its n; the line the site's own exact
    interval.
    """
    lines: list[tuple[str, dict[str, object] | None]] = []
    for name in sites["quantity"].unique(maintain_order=True).to_list():
        rows = sites.filter(pl.col("quantity") == name).to_dicts()
        lines.append((f"{name}: published {rows[0]['basis']} (derived)", None))
        lines += [(_site(row), row) for row in rows]
    height = 0.3 * len(lines) + 1.0
    with style("replication-sites"):
        figure = board(8.2, height)
        axes = figure.add_axes((0.16, 0.52 / height, 0.5, 0.3 * len(lines) / height))
        axes.set_xlim(0, 102)
        axes.set_ylim(-0.6, len(lines) - 0.4)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        for index, (text, row) in enumerate(lines):
            _site_line(axes, len(lines) - 1 - index, text, row)
        for x, text in ((1.04, "Own k/n (%)"), (1.36, "Predicted k")):
            axes.annotate(text, (x, 1), (0, 9), xycoords="axes fraction", textcoords="offset points", color=MUTED,
                          weight="bold", va="center", annotation_clip=False)  # fmt: skip
        axes.set_xlabel("Percent")
        title = "Own counts and the prediction from the published proportion, by site"
        return export(figure, "replication-sites", title, describe_sites(sites))


def describe_sites(sites: pl.DataFrame) -> str:
    """The alternative text: per quantity and site own count with interval, predicted counts and the verdict."""
    return (
        "; ".join(
            f"{row['quantity']}, {_site(row)}: {share(row['k'], row['n'])}, own 95% CI "
            f"{interval(row['cp_lower'], row['cp_upper'])}, predicted {count(row['lower'])}–{count(row['upper'])} of "
            f"{count(row['n'])}: {row['verdict']}"
            for row in sites.to_dicts()
        )
        + "."
    )


def _site(row: dict[str, object]) -> str:
    return "All sites" if row["site"] == "all" else word(row["site"])


def _site_line(axes: Axes, y: int, text: str, row: dict[str, Any] | None) -> None:
    own: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center", "annotation_clip": False}
    if row is None:
        axes.annotate(text, (-0.31, y), weight="bold", **own)
        return
    n = row["n"]
    axes.annotate(text, (-0.03, y), ha="right", **own)
    axes.barh(
        y, 100 * (row["upper"] - row["lower"]) / n, 0.62, 100 * row["lower"] / n, color=SKY, alpha=0.45, linewidth=0
    )
    axes.plot([row["cp_lower"], row["cp_upper"]], [y, y], color=INK, linewidth=1.1, zorder=3)
    axes.plot([row["percent"]], [y], "o", color=BLUE, markersize=5, zorder=4)
    axes.annotate(f"{count(row['k'])}/{count(n)} ({percent(row['percent'])})", (1.04, y), **own)
    verdict = "" if row["verdict"] == "compatible" else ", not compatible"
    axes.annotate(f"{count(row['lower'])}–{count(row['upper'])}{verdict}", (1.36, y), **own)
