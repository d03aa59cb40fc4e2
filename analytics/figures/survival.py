"""F3: Kaplan–Meier curves with bands, censor ticks, numbers at risk, and the estimates that the text quotes."""

from typing import Any, cast

import polars as pl
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import Affine2DBase, ScaledTranslation

from analytics.figures.canvas import INK, MUTED, RULE, STRATUM_STYLE, Drawing, board, export, style
from analytics.figures.wording import (
    count,
    hundred,
    in_order,
    interval,
    is_number,
    months,
    number,
    p_phrase,
    percent,
    plural,
    word,
)

HORIZON_DAYS = 365


def draw_survival(
    endpoint: str, curves: pl.DataFrame, risk: pl.DataFrame, estimates: pl.DataFrame, tests: pl.DataFrame | None = None
) -> Drawing:
    """One endpoint ("EFS" or "OS") by stratum.

    `curves`, `risk`, `estimates` are the tables survival_curves, risk_table and survival_at; `tests` may hold the
    log-rank test. Time in days, drawn in months; survival from 0 to 100%, the axis always starting at 0.
    """
    curves = curves.filter(pl.col("endpoint") == endpoint)
    strata = in_order(curves["stratum"].to_list())
    shown = (pl.col("endpoint") == endpoint) & pl.col("stratum").is_in(strata)
    risk, estimates = risk.filter(shown), estimates.filter(shown)
    name = f"km-{endpoint.lower()}"
    with style(name):
        figure = board(7.4, 4.15 + 0.2 * len(strata))
        axes = figure.add_axes((0.18, 0.17 + 0.036 * len(strata), 0.79, 0.8 - 0.036 * len(strata)))
        for stratum in strata:
            _curve(axes, curves.filter(pl.col("stratum") == stratum).sort("time"), stratum)
        _frame(axes, endpoint, risk, float(curves["time"].to_numpy().max()))
        _risk_rows(axes, risk, strata)
        _key(axes, endpoint, estimates, strata, _log_rank(tests, endpoint))
        return export(figure, name, f"{word(endpoint)} by stratum", describe(endpoint, estimates, tests))


def describe(endpoint: str, estimates: pl.DataFrame, tests: pl.DataFrame | None) -> str:
    """The alternative text: 1-year estimates with interval and number at risk, and the log-rank test."""
    at = estimates.filter(pl.col("time") == HORIZON_DAYS)
    parts = [f"Kaplan–Meier curves of {word(endpoint).lower()} from the first infusion."]
    for row in (r for s in in_order(at["stratum"].to_list()) for r in at.filter(pl.col("stratum") == s).to_dicts()):
        limits = interval(hundred(row["lower"]), hundred(row["upper"]))
        parts.append(
            f"{word(row['stratum'])}: {percent(hundred(row['survival']))} at 1 year (95% CI {limits}), "
            f"{count(row['at_risk'])} of {count(row['n'])} patients at risk, {plural(row['events'], 'event')}."
        )
    test = _log_rank(tests, endpoint)
    return " ".join([*parts, f"{test}."]) if test else " ".join(parts)


def _curve(axes: Axes, rows: pl.DataFrame, stratum: str) -> None:
    colour, dash = STRATUM_STYLE.get(stratum, (MUTED, "-"))
    time, survival = rows["time"].to_list(), [100 * s for s in rows["survival"]]
    if "lower" in rows.columns and rows["lower"].null_count() < rows.height:
        band = rows.filter(pl.col("lower").is_finite() & pl.col("upper").is_finite())
        lower, upper = [100 * v for v in band["lower"]], [100 * v for v in band["upper"]]
        axes.fill_between(band["time"].to_list(), lower, upper, step="post", color=colour, alpha=0.13, linewidth=0)
    axes.step(time, survival, where="post", color=colour, linestyle=dash, linewidth=1.8, zorder=3)
    censored = rows.filter((pl.col("censored") > 0) & (pl.col("time") > 0))
    ticks = [100 * s for s in censored["survival"]]
    axes.plot(censored["time"].to_list(), ticks, "|", color=colour, markersize=5, markeredgewidth=0.8, zorder=4)


def _frame(axes: Axes, endpoint: str, risk: pl.DataFrame, last: float) -> None:
    ticks = sorted({t for t in risk["time"].to_list() if t <= last}) or [0.0]
    axes.set_xlim(0, last * 1.02 or 1)
    axes.set_ylim(0, 103)
    axes.set_xticks(ticks, [months(t) for t in ticks])
    axes.set_yticks(range(0, 101, 20))
    axes.spines["left"].set_bounds(0, 100)
    axes.set_ylabel(f"{word(endpoint)} (%)")
    axes.set_xlabel("Months since the first infusion of course 1", labelpad=3)
    if last > HORIZON_DAYS:
        axes.axvline(HORIZON_DAYS, ymin=0.36, color=RULE, linewidth=1, zorder=0)


def _risk_rows(axes: Axes, risk: pl.DataFrame, strata: list[str]) -> None:
    """Numbers at risk, one row per stratum, in points below the axis so that they never touch its labels."""
    below: dict[str, Any] = {"textcoords": "offset points", "va": "center", "annotation_clip": False}
    corner = {**below, "xycoords": "axes fraction", "ha": "right"}

    def place(row: int) -> float:
        return -46 - 14.5 * row

    axes.annotate("Patients at risk", (0, 0), (-8, place(0)), weight="bold", **corner)
    limit = axes.get_xlim()[1]
    for row, stratum in enumerate(strata, start=1):
        colour, dash = STRATUM_STYLE.get(stratum, (MUTED, "-"))
        axes.annotate(word(stratum), (0, 0), (-32, place(row)), color=INK, **corner)
        _swatch(axes, (-28, place(row)), colour, dash)
        for cell in risk.filter((pl.col("stratum") == stratum) & (pl.col("time") <= limit)).to_dicts():
            under = ("data", "axes fraction")
            axes.annotate(
                count(cell["at_risk"]), (cell["time"], 0), (0, place(row)), xycoords=under, ha="center", **below
            )


def _swatch(axes: Axes, at: tuple[float, float], colour: str, dash: Any) -> None:
    """A short line in the stratum's colour and dash, `at` points from the lower left corner of the axes."""
    figure = axes.figure
    shift = ScaledTranslation(at[0] / 72, at[1] / 72, figure.dpi_scale_trans)
    corner = ScaledTranslation(0, 0, cast(Affine2DBase, axes.transAxes))
    line = Line2D(
        [0, 13 / 72],
        [0, 0],
        color=colour,
        linestyle=dash,
        linewidth=1.8,
        transform=figure.dpi_scale_trans + shift + corner,
        clip_on=False,
    )
    axes.add_line(line)


def _key(axes: Axes, endpoint: str, estimates: pl.DataFrame, strata: list[str], test: str) -> None:
    """The lower left corner, empty in these curves' range, holds the 1-year estimates and the test."""
    at = {row["stratum"]: row for row in estimates.filter(pl.col("time") == HORIZON_DAYS).to_dicts()}
    lines = [f"1-year {endpoint} ± SE"]
    for stratum in strata:
        row = at.get(stratum)
        if row is None:
            continue
        error = f" ± {number(hundred(row['se']))}" if is_number(row["se"]) and row["se"] > 0 else ""
        estimate = number(hundred(row["survival"]), 1 if error else 0)
        lines.append(f"{word(stratum)}: {estimate}{error}%")
    if test:
        lines.append(test)
    for index, line in enumerate(reversed(lines)):
        axes.annotate(
            line,
            (0, 0),
            (10, 11 + 14.5 * index),
            va="center",
            weight="bold" if line is lines[0] else "normal",
            xycoords="axes fraction",
            textcoords="offset points",
            zorder=5,
        )


def _log_rank(tests: pl.DataFrame | None, endpoint: str) -> str:
    """The log-rank test over all follow-up (horizon null) in words, or nothing if the table does not hold it."""
    if tests is None or tests.is_empty():
        return ""
    rows = tests.filter(
        pl.col("comparison").str.starts_with(endpoint) & (pl.col("test") == "log-rank") & pl.col("horizon").is_null()
    ).to_dicts()
    if not rows:
        return ""
    return (
        f"Log-rank {p_phrase(rows[0]['p'])} ({plural(rows[0]['events'], 'event')}, {plural(rows[0]['n'], 'patient')})"
    )
