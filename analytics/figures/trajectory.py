"""F6, second part: cell counts by day of course 1: median and quartiles per span of days, on a log axis."""

import polars as pl
from matplotlib.axes import Axes

from analytics.figures.canvas import BLUE, INK, MUTED, Drawing, board, export, style
from analytics.figures.wording import count, is_number, measure, plural, spell, word

_NAME = "cell-trajectory"
_TICKS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)


def draw_trajectory(cells: pl.DataFrame) -> Drawing:
    """The table cell_trajectory (analyte, days, day, unit, n, median, q1, q3), one panel per analyte.

    A point stands at the median day of its span; the line joins medians of different children and follows nobody.
    Spans without a released median are left out.
    """
    shown = cells.filter(pl.col("median") > 0)
    analytes = shown["analyte"].unique(maintain_order=True).to_list()
    values = [v for name in ("q1", "median", "q3") for v in shown[name].to_list() if is_number(v) and v > 0]
    low, high = min(values) * 0.6, max(values) * 1.7
    days = [float(day) for day in shown["day"].to_list()]
    columns = min(len(analytes), 2)
    lines = -(-len(analytes) // columns)
    with style(_NAME):
        figure = board(7.4 if columns > 1 else 4.6, 2.95 * lines)
        for index, analyte in enumerate(analytes):
            line, column = divmod(index, columns)
            width = 0.9 / columns
            axes = figure.add_axes((0.1 + column * width, (lines - line - 1 + 0.27) / lines, width - 0.06, 0.6 / lines))
            _panel(axes, shown.filter(pl.col("analyte") == analyte))
            axes.set_ylim(low, high)
            axes.set_xlim(min(days) - 5, max(days) + 5)
            ticks = [tick for tick in _TICKS if low <= tick <= high]
            axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks] if not column else [""] * len(ticks))
            axes.set_yticks([], minor=True)
            axes.set_xticks([day for day in (0, 7, 14, 21, 28, 35, 42) if day <= max(days) + 5])
            axes.set_title(f"{word(analyte)}+")
            if not column:
                axes.set_ylabel(f"Cells ({word(shown['unit'][0])}), log axis")
            if line == lines - 1 or index + columns >= len(analytes):
                axes.set_xlabel("Day since the first infusion", labelpad=16)
        return export(figure, _NAME, "Cell counts by day of course 1", describe(cells))


def describe(cells: pl.DataFrame) -> str:
    """The alternative text: median, quartiles and patients of every analyte and span of days."""
    parts = []
    for analyte in cells["analyte"].unique(maintain_order=True).to_list():
        rows = cells.filter((pl.col("analyte") == analyte) & pl.col("median").is_not_null()).to_dicts()
        said = [
            f"day {spell(row['days'])}: {measure(row['median'])} ({measure(row['q1'])}–{measure(row['q3'])}; "
            f"{plural(row['n'], 'patient')})"
            for row in rows
        ]
        if said:
            parts.append(f"{word(analyte)}+, median (quartiles) in {word(rows[0]['unit'])}, {'; '.join(said)}")
    return ". ".join(parts) + "."


def _panel(axes: Axes, rows: pl.DataFrame) -> None:
    axes.set_yscale("log")
    ordered = rows.sort("day")
    day, middle = ordered["day"].to_list(), ordered["median"].to_list()
    axes.axvline(0, color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)), zorder=0)
    axes.plot(day, middle, "-", color=BLUE, linewidth=1.1, zorder=2)
    for row in ordered.to_dicts():
        if is_number(row["q1"]) and is_number(row["q3"]):
            axes.plot([row["day"]] * 2, [row["q1"], row["q3"]], color=INK, linewidth=1.4, zorder=3)
        axes.plot([row["day"]], [row["median"]], "o", color=BLUE, markersize=5, zorder=4)
        axes.annotate(
            count(row["n"]), (row["day"], 0), (0, -25), xycoords=("data", "axes fraction"),
            textcoords="offset points", ha="center", va="center", color=MUTED, size=8, annotation_clip=False,
        )  # fmt: skip
    axes.annotate(
        "n", (0, 0), (-8, -25), xycoords="axes fraction", textcoords="offset points", ha="right", va="center",
        color=MUTED, size=8, annotation_clip=False,
    )  # fmt: skip
