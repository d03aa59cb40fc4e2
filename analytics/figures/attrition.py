"""F1: the attrition flow, from everybody in the CDM to the analysis sets."""

import textwrap

import polars as pl
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from analytics.figures.canvas import INK, MUTED, PLATE, RULE, Drawing, board, export, style
from analytics.figures.wording import Row, count, plural, spell

_NAME = "attrition"
_BOX, _GAP, _CLOSE, _LINE = 0.5, 0.28, 0.2, 0.165
_WIDTH = 7.4
_SETS = {
    "FAS": "children at the first bag: full analysis set (FAS)",
    "EVAL": "evaluable courses (EVAL)",
    "IMM": "first courses with both T-cell windows (IMM)",
}


def draw_attrition(attrition: pl.DataFrame) -> Drawing:
    """Boxes from top to bottom, one per row of the table (step, unit, n, excluded, reason), exclusions to the right."""
    steps = attrition.to_dicts()
    texts = [textwrap.wrap(step_name(s), 46) or [""] for s in steps]
    reasons = [textwrap.wrap(str(s["reason"] or "excluded"), 34) if s["excluded"] else [] for s in steps]
    heights = [_BOX + _LINE * max(len(t) - 1, len(r) - 1 if r else 0) for t, r in zip(texts, reasons, strict=True)]
    gaps = [_GAP if s["excluded"] else _CLOSE for s in steps[1:]]
    total = sum(heights) + sum(gaps) + 0.1
    with style(_NAME):
        figure = board(_WIDTH, total)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(0, _WIDTH)
        axes.set_ylim(0, total)
        axes.set_axis_off()
        top = total - 0.05
        for index, step in enumerate(steps):
            bottom = top - heights[index]
            _box(axes, 0.05, bottom, 4.1, heights[index])
            lead = _sized(step)
            _lines(axes, 2.1, (top + bottom) / 2, [lead, *texts[index]], bold_first=True)
            if index:
                _arrow(axes, (2.1, top + gaps[index - 1]), (2.1, top))
            if reasons[index]:
                _exclusion(axes, (top + bottom) / 2, f"{count(step['excluded'])} left out", reasons[index])
            top = bottom - (gaps[index] if index < len(gaps) else 0)
        return export(figure, _NAME, "Attrition: from the CDM to the analysis sets", describe(attrition))


def describe(attrition: pl.DataFrame) -> str:
    """The alternative text: every step with its count, and every exclusion with its reason."""
    parts = []
    for step in attrition.to_dicts():
        out = f" ({count(step['excluded'])} left out: {step['reason']})" if step["excluded"] else ""
        parts.append(f"{step_name(step)}: {_sized(step)}{out}")
    return "; ".join(parts) + "."


def step_name(step: Row) -> str:
    """A step in words; the analysis sets carry their full names."""
    return _SETS.get(str(step["step"]), spell(str(step["step"])))


def _sized(step: Row) -> str:
    """How many of what are left: "105 patients"."""
    return plural(step["n"], str(step["unit"]).removesuffix("s"))


def _box(axes: Axes, left: float, bottom: float, width: float, height: float, edge: str = INK) -> None:
    shape = FancyBboxPatch(
        (left, bottom),
        width,
        height,
        boxstyle="round,pad=0,rounding_size=0.06",
        facecolor=PLATE,
        edgecolor=edge,
        linewidth=0.8,
    )
    axes.add_patch(shape)


def _lines(axes: Axes, x: float, middle: float, lines: list[str], *, bold_first: bool) -> None:
    for index, line in enumerate(lines):
        y = middle + _LINE * ((len(lines) - 1) / 2 - index)
        weight = "bold" if bold_first and index == 0 else "normal"
        axes.text(x, y, line, ha="center", va="center", weight=weight)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    arrow = {"arrowstyle": "-|>", "color": INK, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=arrow)


def _exclusion(axes: Axes, middle: float, lead: str, reason: list[str]) -> None:
    height = 0.14 + _LINE * (1 + len(reason))
    _box(axes, 4.6, middle - height / 2, 2.75, height, RULE)
    axes.plot([4.15, 4.6], [middle, middle], color=MUTED, linewidth=0.9)
    _lines(axes, 5.975, middle, [lead, *reason], bold_first=True)
