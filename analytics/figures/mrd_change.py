"""F9: marrow MRD before and after the course, patient by patient, on a logarithmic axis with the cut-off."""

from typing import NamedTuple

import polars as pl
from matplotlib.axes import Axes

from analytics.figures.canvas import BLUE, INK, MUTED, PAPER, VERMILION, Drawing, board, export, style
from analytics.figures.wording import Row, count, in_order, is_number, measure, plural, word

_NAME = "mrd-change"
_TICKS = (0.0001, 0.001, 0.01, 0.1, 1, 10, 100)
_CUT_OFF = 0.01
_NEGATIVE = "negative"
_ORDER = ("RR", "MRDpos", "MRDneg", "UNKNOWN")


def draw_mrd_change(change: pl.DataFrame, cut_off: float = _CUT_OFF) -> Drawing:
    """The table mrd_change (lane, stratum, state_pre, pre, pre_censoring, post, post_censoring, response).

    One panel per state before the course; a vertical line per course from the level before (ring) to the level after
    (dot), the largest fall first. A negative result without a number is an arrow below the cut-off: the level lies
    somewhere under it; a limit is an arrow at its value. Courses negative before and after are counted, not drawn.
    `cut_off` in percent.
    """
    drawn = change.filter(pl.col("pre").is_not_null() | pl.col("post").is_not_null())
    states = in_order(drawn["state_pre"].to_list(), _ORDER)
    with style(_NAME):
        figure = board(8.2, 3.9)
        free, left = 0.87 - 0.03 * (len(states) - 1), 0.1
        weights = [max(drawn.filter(pl.col("state_pre") == state).height, 9) for state in states]
        for index, (state, weight) in enumerate(zip(states, weights, strict=True)):
            width = free * weight / sum(weights)
            axes = figure.add_axes((left, 0.17, width, 0.68))
            _panel(axes, drawn.filter(pl.col("state_pre") == state), cut_off)
            axes.set_title(f"{word(state)}\nn = {count(change.filter(pl.col('state_pre') == state).height)}", size=9.5)
            shown = [tick for tick in _TICKS if cut_off / 4 <= tick <= 100]
            axes.set_yticks(shown, [f"{tick:g}" for tick in shown] if not index else [""] * len(shown))
            axes.set_yticks([], minor=True)
            if not index:
                axes.set_ylabel("Marrow MRD (%), log axis")
            left += width + 0.03
        figure.text(0.535, 0.115, "Courses, largest fall first", ha="center", va="center")
        _key(figure.add_axes((0.03, 0.0, 0.96, 0.07)), cut_off)
        return export(figure, _NAME, "Change of marrow MRD over the course", describe(change))


def describe(change: pl.DataFrame) -> str:
    """The alternative text: by state, the level before, and how many became negative, fell, rose or stayed negative."""
    parts = []
    for state in in_order(change["state_pre"].to_list(), _ORDER):
        rows = change.filter(pl.col("state_pre") == state)
        before = f", median level before {measure(_middle(rows['pre']))}%" if rows["pre"].drop_nulls().len() else ""
        negative = rows.filter(pl.col("post_censoring") == _NEGATIVE)
        levels = rows.filter(pl.col("post").is_not_null())
        after = f", level after it known in {count(levels.height)} (median {measure(_middle(levels['post']))}%)"
        parts.append(
            f"{word(state)}, {plural(rows.height, 'course')}{before}: negative without a number after the course in "
            f"{count(negative.height)}{after if levels.height else ''}"
        )
    return "; ".join(parts) + "."


def _middle(values: pl.Series) -> float | None:
    median = values.drop_nulls().median()
    return float(median) if isinstance(median, int | float) else None


def _panel(axes: Axes, rows: pl.DataFrame, cut_off: float) -> None:
    floor = cut_off / 4
    pairs = [(_end(row, "pre", cut_off), _end(row, "post", cut_off)) for row in rows.to_dicts()]
    pairs.sort(key=lambda pair: (pair[1].at / pair[0].at, pair[0].at))
    axes.set_yscale("log")
    axes.set_ylim(floor, 140)
    axes.set_xlim(-1, max(len(pairs), 3))
    axes.set_xticks([])
    axes.axhline(cut_off, color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
    for place, (before, after) in enumerate(pairs):
        colour = BLUE if after.at < before.at else VERMILION
        axes.plot([place, place], [before.at, after.at], color=colour, linewidth=1.3, zorder=2)
        axes.plot([place], [before.at], before.marker, color=INK, markerfacecolor=PAPER, markersize=4, zorder=3)
        axes.plot([place], [after.at], after.marker, color=colour, markersize=4.5, zorder=4)


class _End(NamedTuple):
    """A level as it is drawn: where, and as dot or as the arrow of a value known only as a limit."""

    at: float
    marker: str


def _end(row: Row, when: str, cut_off: float) -> _End:
    value, censoring = row[when], row[f"{when}_censoring"]
    if not is_number(value):
        return _End(cut_off * 0.55, "v")
    return _End(max(float(value), cut_off / 3), {"<": "v", ">": "^"}.get(str(censoring), "o"))


def _key(axes: Axes, cut_off: float) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_axis_off()
    signs = (
        ("o", INK, PAPER, "Before"),
        ("o", BLUE, BLUE, "After, lower"),
        ("o", VERMILION, VERMILION, "After, higher"),
    )
    for x, (marker, colour, fill, words) in zip((0.02, 0.15, 0.32), signs, strict=True):
        axes.plot([x], [0.5], marker, color=colour, markerfacecolor=fill, markersize=5)
        axes.text(x + 0.02, 0.5, words, va="center", size=8.5)
    axes.plot([0.50], [0.5], "v", color=BLUE, markersize=5)
    axes.text(0.52, 0.5, "Limit or negative: below it", va="center", size=8.5)
    axes.plot([0.80, 0.83], [0.5, 0.5], color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)))
    axes.text(0.84, 0.5, f"Cut-off {cut_off:g}%", va="center", size=8.5)
