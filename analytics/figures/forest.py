"""F5: forest plot of odds and hazard ratios on one logarithmic axis, with the numbers beside it."""

import polars as pl
from matplotlib.axes import Axes

from analytics.figures.canvas import BLUE, INK, MUTED, RULE, VERMILION, Drawing, board, export, style
from analytics.figures.wording import Row, is_number, p_value, plural, ratio, ratio_interval, sentence, spell, word

_NAME = "forest"
_ROW = 0.235
_SITE_MODELS = {
    "firth_logistic_site": ("OR", "Non-response", "non-response, OR"),
    "firth_cox_site": ("HR", "Event-free survival", "EFS, HR"),
}
_DECADES, _MOST_TICKS = (0.01, 0.1, 1, 10, 100), 7
_TICKS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)


def measure_name(model: str) -> str:
    """ "OR" for logistic models, "%" and "ratio" for those of courses and cells, "HR" for all others."""
    return {"gee": "%", "cluster_bootstrap": "%", "mixed": "Ratio"}.get(model, "OR" if "logistic" in model else "HR")


def model_heading(row: Row) -> str:
    """The heading of a block of rows: model, outcome, coding."""
    coding, _, site = str(row["coding"] or "").partition(", ")
    kind = {"nested": ", nested coding", "exclusive": ", exclusive coding", "stratum": ", by stratum"}.get(coding, "")
    return f"{word(row['model'])}: {_inline(word(row['outcome']))}{kind}{', ' if site else ''}{site}"


def _inline(text: str) -> str:
    """A name inside a sentence: a capital goes unless it belongs to an abbreviation."""
    return text if text[1:2].isupper() or text[1:2].isdigit() else text[:1].lower() + text[1:]


def term_name(row: Row) -> str:
    """A term in words: the table's label where it says more than the term."""
    label = str(row["label"] or "")
    return sentence(spell(label)) if label and label != row["term"] else sentence(word(row["term"]))


def draw_forest(models: pl.DataFrame) -> Drawing:
    """Every term of the table models with a finite estimate; blocks by model, outcome and coding."""
    return _drawn(_NAME, "Odds ratios (OR) and hazard ratios (HR)", models, _lines(models), describe(models))


def draw_site_forest(models: pl.DataFrame) -> Drawing:
    """The models within each site and their random-effects mean, blocks by outcome and term."""
    single = models.filter(pl.col("model").is_in(tuple(_SITE_MODELS)))
    lines: list[tuple[str, Row | None]] = []
    said = []
    for model, term in single.select("model", "term").unique(maintain_order=True).iter_rows():
        measured, outcome, pooled = _SITE_MODELS[model]
        rows = single.filter((pl.col("model") == model) & (pl.col("term") == term)).to_dicts()
        heading = f"{outcome} ({measured}): {term_name(rows[0])}"
        lines.append((heading, None))
        own = [(f"{str(row['coding']).rpartition(', ')[2]} ({_size(row)})", row) for row in rows]
        mean = models.filter(
            (pl.col("model") == "random_effects") & (pl.col("outcome") == pooled) & (pl.col("term") == term)
        ).to_dicts()
        own += [(f"Random-effects mean ({_size(row)})", {**row, "model": model}) for row in mean]
        lines += own
        said.append(f"{heading}: " + "; ".join(f"{label}: {_in_words(row)}" for label, row in own))
    title = "Odds ratios (OR) and hazard ratios (HR) by site"
    return _drawn("forest-sites", title, single, lines, ". ".join(said) + ".")


def _in_words(row: Row) -> str:
    if not is_number(row["estimate"]):
        return ratio(None)
    return f"{ratio(row['estimate'])} (95% CI {ratio_interval(row['lower'], row['upper'])})"


def _drawn(
    name: str, title: str, models: pl.DataFrame, lines: list[tuple[str, Row | None]], description: str
) -> Drawing:
    height = _ROW * len(lines) + 0.75
    with style(name):
        figure = board(8.2, height)
        bottom, span = 0.5 / height, _ROW * len(lines) / height
        axes = figure.add_axes((0.40, bottom, 0.30, span))
        _scale(axes, models, len(lines))
        for index, (heading, row) in enumerate(lines):
            _line(axes, len(lines) - 1 - index, heading, row)
        for x, text, align in ((1.07, "Ratio (95% CI)", "left"), (1.98, "P", "right")):
            axes.annotate(
                text,
                (x, 1),
                (0, 8),
                xycoords="axes fraction",
                textcoords="offset points",
                weight="bold",
                ha=align,
                va="center",
                annotation_clip=False,
            )
        return export(figure, name, title, description)


def describe(models: pl.DataFrame) -> str:
    """The alternative text: every estimate with interval, P, n and events."""
    parts = [
        f"{model_heading(row)}, {term_name(row)}: {measure_name(row['model'])} {ratio(row['estimate'])} "
        f"(95% CI {ratio_interval(row['lower'], row['upper'])}; P {p_value(row['p'])}; {_size(row)})"
        for row in models.to_dicts()
    ]
    return ". ".join(parts) + "."


def _size(row: Row) -> str:
    return f"n {row['n']}, {plural(row['events'], 'event')}"


def _lines(models: pl.DataFrame) -> list[tuple[str, Row | None]]:
    """Headings (with None) and rows, in the table's order."""
    lines: list[tuple[str, Row | None]] = []
    last = ""
    for row in models.to_dicts():
        heading = model_heading(row)
        if heading != last:
            lines.append((f"{heading} ({measure_name(row['model'])}; {_size(row)})", None))
            last = heading
        lines.append((term_name(row), row))
    return lines


def _scale(axes: Axes, models: pl.DataFrame, rows: int) -> None:
    """A log axis as wide as the point estimates need; intervals that reach beyond it end in an arrow."""
    values = [v for v in models["estimate"].to_list() if is_number(v) and v > 0] or [1.0]
    low, high = max(min(0.1, min(values) / 3), 0.01), min(max(30.0, max(values) * 3), 400.0)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(-0.6, rows - 0.4)
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    if len(ticks) > _MOST_TICKS:
        ticks = [tick for tick in ticks if tick in _DECADES]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("OR or HR, logarithmic axis")


def _line(axes: Axes, y: int, text: str, row: Row | None) -> None:
    left = axes.get_xlim()[0]
    if row is None:
        axes.axhline(y - 0.5, xmin=-1.28, xmax=2.0, color=RULE, linewidth=0.8, clip_on=False)
    axes.annotate(
        text,
        (-1.28 if row is None else -1.24, y),
        xycoords=("axes fraction", "data"),
        va="center",
        weight="bold" if row is None else "normal",
        annotation_clip=False,
    )
    if row is None:
        return
    axes.plot([1, 1], [y - 0.5, y + 0.5], color=MUTED, linewidth=0.9, zorder=0)  # in pieces: headings stay clear of it
    estimate, lower, upper = (row[k] for k in ("estimate", "lower", "upper"))
    shown = f"{ratio(estimate)} ({ratio_interval(lower, upper)})" if is_number(estimate) else ratio(None)
    for x, words, align in ((1.07, shown, "left"), (1.98, p_value(row["p"]), "right")):
        axes.annotate(words, (x, y), xycoords=("axes fraction", "data"), ha=align, va="center", annotation_clip=False)
    if not is_number(estimate):
        return
    colour = VERMILION if measure_name(str(row["model"])) == "OR" else BLUE
    _whisker(axes, y, lower, upper, left)
    axes.plot([estimate], [y], "s" if colour == VERMILION else "D", color=colour, markersize=5.2, zorder=4)


def _whisker(axes: Axes, y: int, lower: object, upper: object, left: float) -> None:
    right = axes.get_xlim()[1]
    low = float(lower) if is_number(lower) and lower > 0 else left
    high = float(upper) if is_number(upper) else right
    axes.plot([max(low, left), min(high, right)], [y, y], color=INK, linewidth=1.2, solid_capstyle="butt", zorder=3)
    if low < left:
        axes.plot([left], [y], "<", color=INK, markersize=4.5, clip_on=False, zorder=4)
    if high > right:
        axes.plot([right], [y], ">", color=INK, markersize=4.5, clip_on=False, zorder=4)
