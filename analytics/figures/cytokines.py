"""F7: cytokine peaks by CRS grade on a logarithmic axis; values known only as a limit are counted at the box."""

import polars as pl
from matplotlib.axes import Axes

from analytics.figures.canvas import INK, MUTED, RULE, SKY, Drawing, board, export, style
from analytics.figures.wording import Row, count, in_order, is_number, measure, plural, word

_NAME = "cytokine-peaks"
_DECADES = (0.1, 1, 10, 100, 1_000, 10_000, 100_000)


def draw_cytokines(peaks: pl.DataFrame) -> Drawing:
    """The table cytokine_peaks (analyte, crs_grade, n, q1, median, q3, minimum, maximum, n_censored): one panel each.

    Unit of the values: pg/mL; of the counts: courses.
    """
    analytes = peaks["analyte"].unique(maintain_order=True).to_list()
    low, high = _limits(peaks)
    with style(_NAME):
        columns = min(len(analytes), 2)
        lines = -(-len(analytes) // columns)
        figure = board(7.4 if columns > 1 else 4.8, 3.4 * lines)
        for index, analyte in enumerate(analytes):
            line, column = divmod(index, columns)
            left, width = 0.11 + column * 0.86 / columns, 0.86 / columns - 0.05
            axes = figure.add_axes((left, (lines - line - 1 + 0.25) / lines, width, 0.62 / lines))
            _panel(axes, peaks.filter(pl.col("analyte") == analyte), low, high, first=not column)
            axes.set_title(word(analyte))
        return export(figure, _NAME, "Cytokine peaks by CRS grade", describe(peaks))


def describe(peaks: pl.DataFrame) -> str:
    """The alternative text: medians with quartiles by grade, counts and censored values."""
    parts = []
    for row in peaks.to_dicts():
        limits = f", {count(row['n_censored'])} given as a limit" if row["n_censored"] else ""
        parts.append(
            f"{word(row['analyte'])}, CRS grade {row['crs_grade']}: median peak {measure(row['median'])} pg/mL "
            f"(quartiles {measure(row['q1'])}–{measure(row['q3'])}; {plural(row['n'], 'course')}{limits})"
        )
    return "; ".join(parts) + "."


def _limits(peaks: pl.DataFrame) -> tuple[float, float]:
    values = [v for name in ("minimum", "q1", "median", "maximum") for v in peaks[name].to_list()]
    positive = [float(v) for v in values if is_number(v) and v > 0] or [1.0, 10.0]
    return min(positive) * 0.6, max(positive) * 2.2


def _panel(axes: Axes, rows: pl.DataFrame, low: float, high: float, *, first: bool) -> None:
    grades = in_order([str(grade) for grade in rows["crs_grade"].to_list()], ("0", "1", "2", "3", "4", "5", "missing"))
    cells = {str(row["crs_grade"]): row for row in rows.to_dicts()}
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.set_xlim(-0.6, len(grades) - 0.4)
    for place, grade in enumerate(grades):
        _box(axes, place, cells[grade], low)
        censored = cells[grade]["n_censored"]
        lines = [word(grade), f"n = {count(cells[grade]['n'])}", f"{count(censored)} limits" if censored else ""]
        for index, text in enumerate(line for line in lines if line):
            axes.annotate(
                text,
                (place, 0),
                (0, -13 - 13 * index),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="center",
                va="center",
                color=INK if not index else MUTED,
                annotation_clip=False,
            )
    axes.set_xticks(range(len(grades)), [""] * len(grades))
    ticks = [tick for tick in _DECADES if low <= tick <= high]
    axes.set_yticks(ticks, [f"{tick:,g}".replace(",", "\u202f") for tick in ticks])
    axes.set_yticks([], minor=True)
    axes.annotate(
        "Worst CRS grade of the course",
        (0.5, 0),
        (0, -52),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="center",
        va="center",
        annotation_clip=False,
    )
    if first:
        axes.set_ylabel("Peak (pg/mL), logarithmic axis")


def _box(axes: Axes, place: int, row: Row, low: float) -> None:
    if not is_number(row["median"]):
        return
    minimum, maximum, median = (max(float(row[k]), low) for k in ("minimum", "maximum", "median"))
    axes.plot([place, place], [minimum, maximum], color=INK, linewidth=1)
    for end in (minimum, maximum):
        axes.plot([place - 0.1, place + 0.1], [end, end], color=INK, linewidth=1)
    if is_number(row["q1"]) and is_number(row["q3"]):
        axes.bar(place, row["q3"] - row["q1"], 0.5, row["q1"], color=SKY, edgecolor=INK, linewidth=0.8, zorder=3)
    axes.plot([place - 0.25, place + 0.25], [median, median], color=INK, linewidth=2.2, zorder=4)
    axes.annotate(
        measure(row["median"]), (place + 0.27, median), (2, 0), textcoords="offset points", va="center", size=8.5
    )
    if row["n_censored"]:
        axes.plot([place], [maximum], "^", color=INK, markerfacecolor=RULE, markersize=6, zorder=5)
