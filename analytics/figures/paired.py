"""F6: T-cell subsets before and after course 1: median, quartiles, range on a log axis, with shift and test."""

from collections.abc import Sequence

import polars as pl
from matplotlib.axes import Axes

from analytics.figures.canvas import BLUE, INK, ORANGE, Drawing, board, export, style
from analytics.figures.wording import Row, count, interval, is_number, measure, number, p_phrase, word

_NAME = "paired"
_MOMENTS = (("pre", "Before", BLUE), ("post", "After", ORANGE))


def draw_paired(paired: pl.DataFrame) -> Drawing:
    """One panel per analyte of the table paired; the range is drawn as whiskers, quartiles as a box, on a log axis."""
    rows = paired.to_dicts()
    low, high = _limits(rows)
    unit = word(rows[0]["unit"])
    with style(_NAME):
        figure = board(max(4.2, 2.45 * len(rows) + 0.2), 3.9)
        width = 0.9 / len(rows)
        for index, row in enumerate(rows):
            axes = figure.add_axes((0.09 + index * width, 0.21, width - 0.035, 0.705))
            axes.set_yscale("log")
            axes.set_ylim(low, high)
            axes.set_xlim(-0.6, 1.6)
            for place, (moment, _, colour) in enumerate(_MOMENTS):
                _summary(axes, place, row, moment, colour)
            axes.set_xticks([0, 1], [label for _, label, _ in _MOMENTS])
            _axis(axes, f"Cells ({unit}), log axis" if index == 0 else "", low, high)
            axes.set_title(f"{word(row['analyte'])}+")
            for line, text in enumerate(_words(row)):
                axes.annotate(
                    text,
                    (0.5, 0),
                    (0, -32 - 13.5 * line),
                    xycoords="axes fraction",
                    ha="center",
                    textcoords="offset points",
                    va="center",
                    annotation_clip=False,
                )
        return export(figure, _NAME, "T-cell subsets before and after course 1", describe(paired))


def describe(paired: pl.DataFrame) -> str:
    """The alternative text: medians and ranges before and after, shift with interval, P, pairs."""
    parts = []
    for row in paired.to_dicts():
        before, after = (
            f"{measure(row[f'{m}_median'])} (range {measure(row[f'{m}_minimum'])}–{measure(row[f'{m}_maximum'])})"
            for m in ("pre", "post")
        )
        shift = f"shift {number(row['shift'], 2)}, 95% CI {interval(row['shift_lower'], row['shift_upper'], 2)}"
        parts.append(
            f"{row['analyte']}+: median {before} before and {after} after, {word(row['unit'])}; {shift}; "
            f"{p_phrase(row['p'])}; {count(row['n_pairs'])} pairs"
        )
    return ". ".join(parts) + "."


def _limits(rows: Sequence[Row]) -> tuple[float, float]:
    """A whole-decade floor that every positive value clears, and headroom above the largest one."""
    values = [row[f"{m}_{v}"] for row in rows for m in ("pre", "post") for v in ("minimum", "maximum", "median")]
    positive = [value for value in values if is_number(value) and value > 0] or [0.1, 10.0]
    return min(positive) * 0.7, max(positive) * 1.9


def _summary(axes: Axes, place: int, row: Row, moment: str, colour: str) -> None:
    minimum, q1, median, q3, maximum = (row[f"{moment}_{v}"] for v in ("minimum", "q1", "median", "q3", "maximum"))
    if not (is_number(minimum) and is_number(median) and is_number(maximum)):
        return  # suppressed for sharing
    floor = axes.get_ylim()[0]
    axes.plot([place, place], [max(minimum, floor), maximum], color=INK, linewidth=1)
    for end in (minimum, maximum):
        axes.plot([place - 0.09, place + 0.09], [max(end, floor)] * 2, color=INK, linewidth=1)
    if is_number(q1) and is_number(q3):
        axes.bar(place, q3 - q1, 0.52, q1, color=colour, edgecolor=INK, linewidth=0.8, zorder=3)
    axes.plot([place - 0.26, place + 0.26], [median, median], color=INK, linewidth=2.2, zorder=4, solid_capstyle="butt")
    axes.annotate(measure(median), (place + 0.26, median), (3, 0), textcoords="offset points", va="center", size=8.5)


def _axis(axes: Axes, label: str, low: float, high: float) -> None:
    ticks = [tick for tick in (0.001, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100) if low <= tick <= high]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks] if label else [""] * len(ticks))
    axes.set_yticks([], minor=True)
    axes.set_ylabel(label)


def _words(row: Row) -> list[str]:
    return [
        f"Shift {number(row['shift'], 2)} ({interval(row['shift_lower'], row['shift_upper'], 2)})",
        f"{p_phrase(row['p'])}, {count(row['n_pairs'])} pairs",
    ]
