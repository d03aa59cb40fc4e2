"""F8: what the marrow showed before a course, and what became of it."""

import polars as pl
from matplotlib.axes import Axes

from analytics.figures.canvas import BLUE, INK, MUTED, PAPER, RULE, Drawing, board, export, style
from analytics.figures.wording import Row, count, in_order, interval, percent, word

_NAME = "states"
_ORDER = ("RR", "MRDpos", "CR_MRDpos", "MRDneg", "CR_MRDneg")
_ENDPOINT = {
    "RR": "complete remission",
    "MRDpos": "MRD clearance",
    "CR_MRDpos": "MRD clearance",
    "MRDneg": "stayed MRD-negative",
    "CR_MRDneg": "stayed MRD-negative",
}


def endpoint_of(group: str) -> str:
    """What counts as success in a state: CR, MRD clearance (called CR in the paper), or MRD negativity kept."""
    return _ENDPOINT.get(group, "response")


def draw_states(response: pl.DataFrame) -> Drawing:
    """One bar of 100% per row of the table response (all sites together), success against the rest, interval below."""
    rows = [
        row
        for g in in_order(response["group"].to_list(), _ORDER)
        for row in response.filter(pl.col("group") == g).to_dicts()
    ]
    height = 0.62 * len(rows) + 0.6
    with style(_NAME):
        figure = board(7.4, height)
        axes = figure.add_axes((0.27, 0.48 / height, 0.69, 0.62 * len(rows) / height))
        axes.set_xlim(0, 100)
        axes.set_ylim(-0.5, len(rows) - 0.5)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        for index, row in enumerate(rows):
            _bar(axes, len(rows) - 1 - index, row)
        axes.set_xlabel("Courses or patients (%), with the exact 95% CI of the success")
        return export(figure, _NAME, "State before the course and response after it", describe(pl.DataFrame(rows)))


def describe(response: pl.DataFrame) -> str:
    """The alternative text: successes, denominators and exact intervals by state."""
    parts = [
        f"{word(row['group'])}: {endpoint_of(row['group'])} in {count(row['k'])} of {count(row['n'])} "
        f"{row['unit_of_analysis']}s ({percent(row['percent'])}, 95% CI {interval(row['cp_lower'], row['cp_upper'])})"
        for row in response.to_dicts()
    ]
    return "; ".join(parts) + "."


def _bar(axes: Axes, y: int, row: Row) -> None:
    share = float(row["percent"])
    axes.barh(y + 0.08, share, 0.46, color=BLUE, linewidth=0)
    axes.barh(y + 0.08, 100 - share, 0.46, share, color=RULE, linewidth=0)
    axes.plot([row["cp_lower"], row["cp_upper"]], [y - 0.29] * 2, color=INK, linewidth=1.2)
    axes.plot([share], [y - 0.29], "D", color=INK, markersize=4)
    inside = f"{count(row['k'])}/{count(row['n'])} {endpoint_of(str(row['group']))}"
    axes.text(1.5, y + 0.08, inside, color=PAPER, va="center", weight="bold")
    for text, offset, colour in (
        (word(row["group"]), 0.17, INK),
        (f"{count(row['n'])} {row['unit_of_analysis']}s", -0.15, MUTED),
    ):
        axes.annotate(
            text,
            (0, y + offset),
            (-10, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            color=colour,
            annotation_clip=False,
            weight="bold" if colour == INK else "normal",
        )
