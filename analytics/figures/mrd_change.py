"""F9: marrow MRD before and after the course, patient by patient, on a logarithmic axis with the cut-off."""

import polars as pl
from matplotlib.axes import Axes

from analytics.figures.canvas import BLUE, INK, MUTED, RULE, VERMILION, Drawing, board, export, style
from analytics.figures.wording import count, in_order, is_number, measure, word

_NAME = "mrd-change"
_TICKS = (0.0001, 0.001, 0.01, 0.1, 1, 10, 100)
_CUT_OFF = 0.01
_ORDER = ("RR", "MRDpos", "MRDneg", "UNKNOWN")


def draw_mrd_change(change: pl.DataFrame, cut_off: float = _CUT_OFF) -> Drawing:
    """The table mrd_change (lane, state_pre, pre_pct, post_pct, post_negative, label), one panel per state.

    One vertical line per patient from the level before (ring) to the level after (dot); patients fall from left to
    right by their change. A negative result without a number is an arrow that ends at the cut-off: the level lies
    somewhere below it. `cut_off` in percent.
    """
    states = in_order(change["state_pre"].to_list(), _ORDER)
    sizes = [change.filter(pl.col("state_pre") == state).height for state in states]
    floor = cut_off / 4
    with style(_NAME):
        figure = board(8.2, 3.9)
        free, left = 0.86 - 0.03 * (len(states) - 1), 0.11
        weights = [max(size, 6) for size in sizes]
        for index, (state, weight) in enumerate(zip(states, weights, strict=True)):
            width = free * weight / sum(weights)
            axes = figure.add_axes((left, 0.16, width, 0.72))
            _panel(axes, change.filter(pl.col("state_pre") == state), floor, cut_off)
            axes.set_title(f"{word(state)}, n = {count(sizes[index])}", size=9.5)
            shown = [tick for tick in _TICKS if floor <= tick <= 100]
            axes.set_yticks(shown, [f"{tick:g}" for tick in shown] if not index else [""] * len(shown))
            axes.set_yticks([], minor=True)
            if not index:
                axes.set_ylabel("Marrow MRD (%), logarithmic axis")
            left += width + 0.03
        figure.text(0.11 + 0.43, 0.1, "Patients, largest fall first", ha="center", va="center")
        key = figure.add_axes((0.05, 0.0, 0.94, 0.07))
        _key(key, cut_off)
        return export(figure, _NAME, "Change of marrow MRD over the course", describe(change))


def describe(change: pl.DataFrame) -> str:
    """The alternative text: by state, how many fell below the cut-off, fell, stayed or rose."""
    parts = []
    for state in in_order(change["state_pre"].to_list(), _ORDER):
        rows = change.filter(pl.col("state_pre") == state)
        before = measure(_middle(rows["pre_pct"]))
        negative = int(rows["post_negative"].cast(pl.Int64).fill_null(0).sum())
        known = rows.filter(pl.col("post_pct").is_not_null() & (pl.col("post_pct") > 0))
        rest = f", level known after it in {count(known.height)} (median {measure(_middle(known['post_pct']))}%)"
        parts.append(
            f"{word(state)}, {count(rows.height)} courses: median MRD before {before}%; negative after the course in "
            f"{count(negative)}{rest if known.height else ''}"
        )
    return "; ".join(parts) + "."


def _middle(values: pl.Series) -> float | None:
    median = values.drop_nulls().median()
    return float(median) if isinstance(median, int | float) else None


def _panel(axes: Axes, rows: pl.DataFrame, floor: float, cut_off: float) -> None:
    pairs = [_pair(row, floor, cut_off) for row in rows.to_dicts()]
    pairs = sorted((pair for pair in pairs if pair is not None), key=lambda pair: (pair[1] / pair[0], pair[0]))
    axes.set_yscale("log")
    axes.set_ylim(floor, 140)
    axes.set_xlim(-1, max(len(pairs), 6))
    axes.set_xticks([])
    axes.axhline(cut_off, color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
    for place, (before, after, censored) in enumerate(pairs):
        colour = BLUE if after < before else VERMILION
        axes.plot([place, place], [before, after], color=RULE if before == after else colour, linewidth=1.4, zorder=2)
        axes.plot([place], [before], "o", color=INK, markerfacecolor="none", markersize=4, zorder=3)
        axes.plot([place], [after], "v" if censored else "o", color=colour, markersize=4.5, zorder=4)


def _pair(row: dict[str, object], floor: float, cut_off: float) -> tuple[float, float, bool] | None:
    """Levels before and after, and whether the one after is only known to lie below the cut-off."""
    before, after = row["pre_pct"], row["post_pct"]
    if not is_number(before) or (not is_number(after) and not row["post_negative"]):
        return None
    start = max(float(before), floor * 1.4)
    if is_number(after) and after > 0:
        return start, max(float(after), floor * 1.4), False
    return start, cut_off * 0.55, True


def _key(axes: Axes, cut_off: float) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_axis_off()
    signs = (("o", INK, "none", "Before"), ("o", BLUE, BLUE, "After, lower"), ("o", VERMILION, VERMILION, "After, higher"))
    for x, (marker, colour, fill, words) in zip((0.02, 0.15, 0.32), signs, strict=True):
        axes.plot([x], [0.5], marker, color=colour, markerfacecolor=fill, markersize=5)
        axes.text(x + 0.02, 0.5, words, va="center", size=8.5)
    axes.plot([0.50], [0.5], "v", color=BLUE, markersize=5)
    axes.text(0.52, 0.5, "After, negative: below the line", va="center", size=8.5)
    axes.plot([0.80, 0.83], [0.5, 0.5], color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)))
    axes.text(0.84, 0.5, f"Cut-off {cut_off:g}%", va="center", size=8.5)


