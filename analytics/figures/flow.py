"""F8: alluvial diagram of courses: marrow before → marrow after → what came next."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from analytics.figures.canvas import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PAPER,
    PLATE,
    VERMILION,
    Drawing,
    board,
    export,
    style,
)
from analytics.figures.wording import count, in_order, plural, sentence, word

_NAME = "state-flow"
_COLUMNS = (
    ("state_pre", "Marrow before the course"),
    ("state_post", "Marrow after the course"),
    ("next_therapy", "What came next"),
)
_ORDER = (
    "RR", "MRDpos", "MRDneg", "UNKNOWN",
    "EFS event before any", "CAR-T", "HSCT", "further blinatumomab", "none of these recorded",
)  # fmt: skip
_COLOURS = {"RR": VERMILION, "MRDpos": ORANGE, "MRDneg": BLUE, "UNKNOWN": MUTED}
_WIDTH, _THICK = 7.4, 0.13
_PLACES = (0.0, 1.0, 2.0)
_LEAST = 0.078  # of all courses: a thinner block gets this much room for its label

Blocks = dict[str, tuple[float, float]]
"""Level → lower end and height of its block."""


def draw_flow(flow: pl.DataFrame) -> Drawing:
    """The table state_flow (state_pre, state_post, next_therapy, n): bands as wide as their courses are many.

    A band keeps the colour of the state before. Suppressed counts are not drawn and are said to be missing.
    """
    rows = flow.filter(pl.col("n") > 0)
    with style(_NAME):
        figure = board(_WIDTH, 4.4)
        axes = figure.add_axes((0.19, 0.02, 0.57, 0.88))
        axes.set_xlim(-_THICK / 2, 2 + _THICK / 2)
        axes.set_axis_off()
        stacks = [_stack(rows, column) for column, _ in _COLUMNS]
        axes.set_ylim(0, max(low + height for stack in stacks for low, height in stack.values()))
        for left, right in ((0, 1), (1, 2)):
            _bands(axes, rows, left, right, stacks)
        for place, (column, title) in enumerate(_COLUMNS):
            _column(axes, rows, place, column, title, stacks[place])
        return export(figure, _NAME, "From the marrow before a course to what came next", describe(flow))


def describe(flow: pl.DataFrame) -> str:
    """The alternative text: every state before, its states after and what came next, in courses."""
    rows = flow.filter(pl.col("n") > 0)
    parts = []
    for before in in_order(rows["state_pre"].to_list(), _ORDER):
        of = rows.filter(pl.col("state_pre") == before)
        said = []
        for after in in_order(of["state_post"].to_list(), _ORDER):
            then = of.filter(pl.col("state_post") == after)
            nexts = "; ".join(
                f"{_plain(row['next_therapy'])} {count(row['n'])}" for row in then.sort("n", descending=True).to_dicts()
            )
            said.append(f"{word(after)} after it {count(int(then['n'].sum()))} ({nexts})")
        parts.append(f"{word(before)} before the course, {plural(int(of['n'].sum()), 'course')}: {', '.join(said)}")
    hidden = flow["n"].null_count()
    return ". ".join(parts) + (f". {plural(hidden, 'small group')} not shown." if hidden else ".")


def _plain(text: object) -> str:
    return "no further therapy recorded" if text == "none of these recorded" else str(text)


def _sums(rows: pl.DataFrame, *columns: str) -> dict[tuple[str, ...], int]:
    grouped = rows.group_by(*columns).agg(pl.col("n").sum())
    return {tuple(row[column] for column in columns): int(row["n"]) for row in grouped.to_dicts()}


def _stack(rows: pl.DataFrame, column: str) -> Blocks:
    """The blocks of a column from the bottom up, with room between them."""
    total, gap = float(rows["n"].sum()), 0.035 * float(rows["n"].sum())
    at, blocks = 0.0, {}
    sums = _sums(rows, column)
    for level in reversed(in_order(rows[column].to_list(), _ORDER)):
        height = float(sums[(level,)])
        room = max(height, _LEAST * total)
        blocks[level] = (at + (room - height) / 2, height)
        at += room + gap
    return blocks


def _bands(axes: Axes, rows: pl.DataFrame, left: int, right: int, stacks: Sequence[Blocks]) -> None:
    """Bands between two columns, split by the state before so that the colour can be followed to the end."""
    first, second = _COLUMNS[left][0], _COLUMNS[right][0]
    keys = [first, second] if left == 0 else ["state_pre", first, second]
    sums = _sums(rows, *keys)
    order = {level: place for place, level in enumerate(_ORDER)}
    ends = [{level: low for level, (low, _) in stacks[side].items()} for side in (left, right)]

    def rank(key: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(-order.get(level, 99) for level in key)

    starts: dict[tuple[str, ...], float] = {}
    for key in sorted(sums, key=lambda key: (rank(key[-2:-1]), rank(key[-1:]), rank(key))):
        starts[key] = ends[0][key[-2]]
        ends[0][key[-2]] += sums[key]
    for key in sorted(sums, key=lambda key: (rank(key[-1:]), rank(key[-2:-1]), rank(key))):
        low = ends[1][key[-1]]
        ends[1][key[-1]] += sums[key]
        colour = _COLOURS.get(key[0], MUTED)
        axes.add_patch(_band(left + _THICK / 2, starts[key], right - _THICK / 2, low, sums[key], colour))


def _band(x0: float, y0: float, x1: float, y1: float, height: float, colour: str) -> PathPatch:
    middle = (x0 + x1) / 2
    points = [
        (x0, y0), (middle, y0), (middle, y1), (x1, y1), (x1, y1 + height), (middle, y1 + height), (middle, y0 + height),
        (x0, y0 + height), (x0, y0),
    ]  # fmt: skip
    codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
    return PathPatch(Path(np.array(points), codes), facecolor=colour, edgecolor="none", alpha=0.5, zorder=1)


def _column(axes: Axes, rows: pl.DataFrame, place: int, column: str, title: str, blocks: Blocks) -> None:
    for level, (low, height) in blocks.items():
        colour = _COLOURS.get(level, GREEN if level in ("HSCT", "CAR-T", "further blinatumomab") else PLATE)
        corner = (_PLACES[place] - _THICK / 2, low)
        block = Rectangle(corner, _THICK, height, facecolor=colour, edgecolor=INK, linewidth=0.8, zorder=3)
        axes.add_patch(block)
        side = -1 if place == 0 else 1
        label = f"{sentence(word(level))}\n{plural(int(height), 'course')}"
        axes.annotate(
            label,
            (_PLACES[place] + side * _THICK / 2, low + height / 2),
            (6 * side, 0),
            textcoords="offset points",
            ha="right" if side < 0 else "left",
            va="center",
            annotation_clip=False,
            zorder=5,
            size=9,
            bbox={"facecolor": PAPER, "alpha": 0.8, "edgecolor": "none", "pad": 1.2} if place == 1 else None,
        )
    axes.annotate(
        title, (_PLACES[place], 1), (0, 12), xycoords=("data", "axes fraction"), textcoords="offset points",
        ha="center", va="center", weight="bold", annotation_clip=False,
    )  # fmt: skip
