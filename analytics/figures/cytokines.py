"""F7: cytokine peaks by CRS grade on a logarithmic axis; values known only as a limit are counted at the box."""

import polars as pl
from matplotlib.axes import Axes

from analytics.figures.canvas import INK, MUTED, RULE, SKY, Drawing, board, export, style
from analytics.figures.wording import Row, count, in_order, is_number, measure, plural, word

_NAME = "cytokine-peaks"
_GRADES = ("0", "1", "2", "3", "4", "5", "missing")
_DECADES = (0.1, 1, 10, 100, 1_000, 10_000, 100_000)


def draw_cytokines(peaks: pl.DataFrame, points: pl.DataFrame | None = None) -> Drawing:
    """The table cytokine_peaks (analyte, crs_grade, unit, n, n_censored, median, q1, …), one panel per analyte.

    `points` is the table cytokine_points (one dot per course; censored ones as arrows), if it may be shown.
    Values in pg/mL; counts are courses.
    """
    analytes = peaks["analyte"].unique(maintain_order=True).to_list()
    low, high = _limits(peaks)
    with style(_NAME):
        columns = min(len(analytes), 2)
        lines = -(-len(analytes) // columns)
        figure = board(7.4 if columns > 1 else 4.8, 3.4 * lines)
        for index, analyte in enumerate(analytes):
            line, column = divmod(index, columns)
            left, width = (0.11 if columns > 1 else 0.17) + column * 0.86 / columns, 0.86 / columns - 0.05
            axes = figure.add_axes((left, (lines - line - 1 + 0.29) / lines, width, 0.6 / lines))
            _panel(axes, peaks.filter(pl.col("analyte") == analyte), low, high, first=not column)
            if points is not None:
                _dots(axes, points.filter(pl.col("analyte") == analyte), peaks.filter(pl.col("analyte") == analyte))
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
    grades = _grades(rows)
    cells = {str(row["crs_grade"]): row for row in rows.to_dicts()}
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.set_xlim(-0.6, len(grades) - 0.4)
    for place, grade in enumerate(grades):
        _box(axes, place, cells[grade], low)
        censored = cells[grade]["n_censored"]
        middle = f"median {measure(cells[grade]['median'])}"
        lines = [
            word(grade),
            middle,
            f"n = {count(cells[grade]['n'])}",
            f"{count(censored)} limits" if censored else "",
        ]
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
        (0, -67 if any(cell["n_censored"] for cell in cells.values()) else -56),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="center",
        va="center",
        annotation_clip=False,
    )
    if first:
        axes.set_ylabel("Peak (pg/mL), logarithmic axis")


def _grades(rows: pl.DataFrame) -> list[str]:
    return in_order([str(grade) for grade in rows["crs_grade"].to_list()], _GRADES)


def _dots(axes: Axes, points: pl.DataFrame, peaks: pl.DataFrame) -> None:
    """One dot per course beside its box, spread over columns where peaks fall together."""
    for place, grade in enumerate(_grades(peaks)):
        rows = points.filter((pl.col("crs_grade") == grade) & pl.col("peak").is_not_null())
        for (peak, censoring), part in rows.group_by("peak", "censoring", maintain_order=True):
            marker = {"<": "v", ">": "^"}.get(str(censoring), "o")
            across = [place - 0.31 - 0.045 * (index % 6) for index in range(part.height)]
            axes.plot(across, [peak] * part.height, marker, color=MUTED, markersize=2.2, linestyle="none", zorder=2)


def _box(axes: Axes, place: int, row: Row, low: float) -> None:
    if not is_number(row["median"]):
        return
    median = max(float(row["median"]), low)
    ends = [max(float(row[k]), low) for k in ("minimum", "maximum") if is_number(row[k])]  # none where suppressed
    axes.plot([place] * len(ends), ends, color=INK, linewidth=1)
    for end in ends:
        axes.plot([place - 0.1, place + 0.1], [end, end], color=INK, linewidth=1)
    if is_number(row["q1"]) and is_number(row["q3"]):
        axes.bar(place, row["q3"] - row["q1"], 0.46, row["q1"], color=SKY, edgecolor=INK, linewidth=0.8, zorder=3)
    axes.plot([place - 0.23, place + 0.23], [median, median], color=INK, linewidth=2.2, zorder=4)
    if row["n_censored"]:
        axes.plot([place], [max([median, *ends])], "^", color=INK, markerfacecolor=RULE, markersize=6, zorder=5)
