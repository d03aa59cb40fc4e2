"""F4: cumulative incidence of competing events, stacked, one panel per stratum."""

from typing import Any

import polars as pl
from matplotlib.axes import Axes

from analytics.figures.canvas import INK, MUTED, RULE, SKY, VERMILION, Drawing, board, export, style
from analytics.figures.wording import count, in_order, interval, is_number, months, percent, sentence, word

_NAME = "cumulative-incidence"
_HORIZON_DAYS = 365
_COLOURS = (VERMILION, SKY, MUTED, INK)


def draw_incidence(incidence: pl.DataFrame) -> Drawing:
    """Stacked Aalen–Johansen curves from the table cumulative_incidence (stratum, event, time in days, cif, se)."""
    strata = in_order(incidence["stratum"].to_list())
    events = _events(incidence)
    last = max(float(incidence["time"].to_numpy().max()), 1.0)  # no event at all: the curve is its first point
    ceiling = _ceiling(incidence)
    with style(_NAME):
        figure = board(7.4, 3.6)
        width = 0.88 / len(strata)
        for index, stratum in enumerate(strata):
            axes = figure.add_axes((0.09 + index * width, 0.33, width - 0.05, 0.56))
            rows = incidence.filter(pl.col("stratum") == stratum)
            _panel(axes, rows, events, last)
            axes.set_title(word(stratum))
            axes.set_ylim(0, ceiling)
            _at_risk(axes, rows, first=not index)
            if index:
                axes.set_yticklabels([])
            else:
                axes.set_ylabel("Cumulative incidence (%)")
        figure.text(0.53, 0.235, "Months since the first infusion of course 1", ha="center", va="center")
        _key(figure.add_axes((0.09, 0.0, 0.88, 0.09)), events)
        return export(figure, _NAME, "Cumulative incidence of competing events by stratum", describe(incidence))


def describe(incidence: pl.DataFrame) -> str:
    """The alternative text: the cumulative incidence at day 365 by stratum and event."""
    parts = []
    for stratum in in_order(incidence["stratum"].to_list()):
        values = []
        for event in _events(incidence):
            rows = incidence.filter(
                (pl.col("stratum") == stratum) & (pl.col("event") == event) & (pl.col("time") <= _HORIZON_DAYS)
            ).sort("time")
            if rows.height:
                last = rows.row(-1, named=True)
                limits = (
                    f" (95% CI {interval(100 * last['lower'], 100 * last['upper'])})"
                    if is_number(last.get("upper"))
                    else ""
                )
                values.append(f"{word(event).lower()} {percent(100 * last['cif'])}{limits}")
        parts.append(f"{word(stratum)}: {', '.join(values)}")
    return "At 1 year. " + "; ".join(parts) + "."


def _events(incidence: pl.DataFrame) -> list[str]:
    """Events with relapse at the bottom of the stack, deaths on top."""
    events = incidence["event"].drop_nulls().unique().to_list()
    return sorted(events, key=lambda event: ("death" in event, event))


def _ceiling(incidence: pl.DataFrame) -> float:
    peaks = incidence.group_by("stratum", "event").agg(pl.col("cif").max()).group_by("stratum").agg(pl.col("cif").sum())
    peak = 100 * float(peaks["cif"].to_numpy().max())
    return float(min(100, max(10, 10 * -(-peak * 1.05 // 10))))


def _panel(axes: Axes, rows: pl.DataFrame, events: list[str], last: float) -> None:
    wide = rows.pivot(on="event", index="time", values="cif").sort("time").fill_null(strategy="forward").fill_null(0.0)
    time = [*wide["time"].to_list(), last]
    floor = [0.0] * len(time)
    for event, colour in zip(events, _COLOURS, strict=False):
        values = wide[event].to_list() if event in wide.columns else [0.0] * wide.height
        top = [low + 100 * value for low, value in zip(floor, [*values, values[-1]], strict=True)]
        axes.fill_between(time, floor, top, step="post", color=colour, alpha=0.55, linewidth=0)
        if top != floor:  # an event that never happened has no line
            axes.step(time, top, where="post", color=colour, linewidth=1.2)
        floor = top
    axes.axvline(_HORIZON_DAYS, color=RULE, linewidth=1, zorder=0)
    ticks = [day for day in (0, 365, 730, 1095, 1460, 1825) if day <= last]
    axes.set_xticks(ticks, [months(day) for day in ticks])
    axes.set_xlim(0, last)


def _at_risk(axes: Axes, rows: pl.DataFrame, *, first: bool) -> None:
    """The patients at risk under the ticks, where the table has that day."""
    below: dict[str, Any] = {"textcoords": "offset points", "va": "center", "annotation_clip": False}
    known = dict(rows.select("time", "at_risk").iter_rows())
    if first:
        axes.annotate("At risk", (0, 0), (-14, -50), xycoords="axes fraction", ha="right", **below)
    for day in axes.get_xticks():
        if known.get(float(day)) is not None:
            text = count(known[float(day)])
            axes.annotate(text, (day, 0), (0, -50), xycoords=("data", "axes fraction"), ha="center", **below)


def _key(axes: Axes, events: list[str]) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_axis_off()
    for index, (event, colour) in enumerate(zip(events, _COLOURS, strict=False)):
        left = 0.18 + 0.36 * index
        axes.fill_between([left, left + 0.03], 0.3, 0.7, color=colour, alpha=0.55, linewidth=0)
        axes.text(left + 0.04, 0.5, sentence(word(event)), va="center")
