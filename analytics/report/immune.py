"""T cells, B cells and cytokines (T8, F6, F7)."""

from html import escape

import polars as pl

from analytics.figures.cytokines import draw_cytokines
from analytics.figures.paired import draw_paired
from analytics.figures.trajectory import draw_trajectory
from analytics.figures.wording import (
    Row,
    count,
    interval,
    is_number,
    measure,
    number,
    p_value,
    ratio,
    ratio_interval,
    sentence,
    span,
    word,
)
from analytics.report.material import Material, Section, some
from analytics.report.tables import Column, html_table

_PAIRED = tuple(f"{m}_{v}" for m in ("pre", "post") for v in ("median", "minimum", "maximum", "q1", "q3"))


def _paired(material: Material) -> pl.DataFrame:
    table = material.need(
        "paired", "analyte", "unit", "n_pairs", "shift", "shift_lower", "shift_upper", "p", "n_zero", "method", *_PAIRED
    )
    return some(table.filter(pl.col("n_pairs") > 0), "pair")


def pairs_figure(material: Material) -> str:
    """F6."""
    note = (
        "Thick line: median; box: quartiles; whiskers: range. Shift: Hodges–Lehmann estimate of the change with its "
        "95% confidence interval. The change is described, not attributed."
    )
    return material.figure(draw_paired(_paired(material)), [note])


def pairs_table(material: Material) -> str:
    """T8: the paired values and Wilcoxon's signed-rank test."""
    table = _paired(material)
    rows = [
        {
            "analyte": f"{word(row['analyte'])}+ ({word(row['unit'])})",
            "pairs": count(row["n_pairs"]),
            "pre": _median(row, "pre"),
            "post": _median(row, "post"),
            "shift": f"{number(row['shift'], 2)} ({interval(row['shift_lower'], row['shift_upper'], 2)})",
            "ratio": f"{ratio(row.get('ratio'))} ({ratio_interval(row.get('ratio_lower'), row.get('ratio_upper'))})",
            "p": p_value(row["p"]),
            "adjusted": p_value(row.get("p_adjusted")),
            "zero": count(row["n_zero"]),
        }
        for row in table.to_dicts()
    ]
    columns = [
        Column("analyte", "Cells", "left"),
        Column("pairs", "Pairs"),
        Column("pre", "Before", spanner="Median (range)"),
        Column("post", "After", spanner="Median (range)"),
        Column("shift", "Shift (95% CI)"),
        Column("ratio", "Geometric mean ratio (95% CI)"),
        Column("zero", "No change"),
        Column("p", "<i>P</i>"),
    ]
    if "p_adjusted" in table.columns:
        columns.append(Column("adjusted", "<i>P</i>, adjusted"))
    methods = "; ".join(
        escape(str(m).split("; p_correction")[0]) for m in table["method"].drop_nulls().unique().sort().to_list()
    )
    note = (
        "Unit: patient (first course with both windows, IMM). Shift: Hodges–Lehmann estimate of after minus before. "
        f"No change: pairs with a difference of 0. Test: {methods}."
    )
    adjusted = f"Adjusted: {_FAMILY}" if "p_adjusted" in table.columns else ""
    return material.table(
        "T-cell subsets before and after course 1", html_table(rows, columns, stub="analyte"), [note, adjusted]
    )


_FAMILY = (
    "Benjamini–Hochberg over the T cells and the cytokines of course 1 together. B cells are outside this family: "
    "their loss is the aim of the treatment."
)
_WINDOWS = {"pre": "Before course 1", "post": "After course 1", "baseline": "Baseline", "peak": "Peak"}


def windows_table(material: Material) -> str:
    """T8: every analyte by window, whether paired or not."""
    table = material.need("cell_windows", *"analyte window unit n n_censored median q1 q3 minimum maximum".split())
    rows = [
        {
            "analyte": f"{_cell_name(row['analyte'])} ({word(row['unit'])})",
            "window": _WINDOWS.get(str(row["window"]), word(row["window"])),
            "n": count(row["n"]),
            "censored": count(row["n_censored"]),
            "median": _measured(row, "median"),
            "quartiles": span(_measured(row, "q1"), _measured(row, "q3")),
            "range": span(_measured(row, "minimum"), _measured(row, "maximum")),
        }
        for row in table.to_dicts()
    ]
    columns = [Column("window", "Window", "left"), Column("n", "Patients"), Column("censored", "Given as a limit")]
    columns += [Column("median", "Median"), Column("quartiles", "Quartiles"), Column("range", "Range")]
    note = (
        "Unit: patient (first course), paired or not. Windows: assumed, <code>tcell_pre@1</code>, "
        "<code>tcell_post@1</code>, <code>cytokine@1</code>. A window without a row has no value in any patient. A "
        "value given only as a limit stands at the limit."
    )
    body = html_table(rows, columns, stub="window", group="analyte")
    return material.table("T cells, B cells and cytokines by window, course 1", body, [note])


def _cell_name(analyte: object) -> str:
    return (
        "B cells, CD19+"
        if analyte == "CD19"
        else f"T cells, {word(analyte)}+"
        if analyte in _T_CELLS
        else word(analyte)
    )


_T_CELLS = ("CD3", "CD4", "CD8")


def _measured(row: Row, name: str) -> str:
    """Cell counts with enough decimals for a B-cell count of 0.004."""
    largest = next((row[one] for one in ("maximum", "q3", "median") if is_number(row[one])), None)
    return number(row[name], 3) if is_number(largest) and largest < 0.1 else measure(row[name])


def trajectory(material: Material) -> str:
    """F6, second part."""
    table = material.need("cell_trajectory", *"analyte days day unit n median q1 q3".split())
    note = (
        "Points: median over the patients with a value in the span of days (up to day 0, 1–7, 8–14, 15–21, 22–28, from "
        "29), at their median day; bars: quartiles; n: patients. Different patients stand behind different points, so "
        "the line joins medians and follows nobody. Dashed: first infusion."
    )
    return material.figure(draw_trajectory(some(table.filter(pl.col("median") > 0), "median by day")), [note])


def _median(row: Row, moment: str) -> str:
    low, high = (measure(row[f"{moment}_{end}"]) for end in ("minimum", "maximum"))
    return f"{measure(row[f'{moment}_median'])} ({span(low, high)})"


def cytokines(material: Material) -> str:
    """T8: cytokines at baseline and peak."""
    table = material.need(
        "cytokines",
        *(
            "analyte population unit n n_censored baseline_median peak_median ratio ratio_lower ratio_upper p method"
        ).split(),
    )
    rows = [
        {
            "analyte": f"{row['analyte']} ({word(row['unit'])})",
            "population": sentence(row["population"]).replace("CRS grade ", "CRS\u00a0grade\u00a0"),
            "n": count(row["n"]),
            "censored": count(row["n_censored"]),
            "baseline": _spread(row, "baseline"),
            "peak": _spread(row, "peak"),
            "p": p_value(row["p"]),
            "adjusted": p_value(row.get("p_adjusted")) if row["population"] == "course 1" else "",
            "ratio": f"{ratio(row['ratio'])} ({ratio_interval(row['ratio_lower'], row['ratio_upper'])})",
        }
        for row in table.to_dicts()
    ]
    columns = [
        Column("population", "Courses", "left"),
        Column("n", "n"),
        Column("censored", "With a limit"),
        Column("baseline", "Baseline", spanner="Median (range)"),
        Column("peak", "Peak", spanner="Median (range)"),
        Column("ratio", "Peak ÷ baseline (95% CI)"),
        Column("p", "<i>P</i>"),
    ]
    if "p_adjusted" in table.columns:
        columns.append(Column("adjusted", "<i>P</i>, adjusted"))
    methods = "; ".join(escape(str(m)) for m in table["method"].drop_nulls().unique(maintain_order=True).to_list())
    note = (
        f"Unit: course. Test: {methods}; values given only as a limit stay limits. Adjusted (course 1): {_FAMILY} All "
        "courses: those of one patient are taken as independent, which makes the intervals too narrow."
    )
    return material.table(
        "Cytokines: baseline and peak", html_table(rows, columns, stub="population", group="analyte"), [note]
    )


def _spread(row: Row, moment: str) -> str:
    low, high = row.get(f"{moment}_minimum"), row.get(f"{moment}_maximum")
    limits = f" ({measure(low)}–{measure(high)})" if is_number(low) and is_number(high) else ""
    return f"{measure(row[f'{moment}_median'])}{limits}"


def peaks_figure(material: Material) -> str:
    """F7; the dots of single courses only where their table is part of the run."""
    peaks = material.need("cytokine_peaks", *"analyte crs_grade n n_censored median q1 q3 minimum maximum".split())
    points = material.maybe("cytokine_points", "analyte", "crs_grade", "peak", "censoring")
    note = (
        "Unit: course. Thick line: median; box: quartiles; whiskers: range. "
        "A value given only as a limit stands at the limit, with an arrow."
    )
    dots = "Dots: single courses, on a grid of a tenth of a decade." if points is not None else ""
    return material.figure(draw_cytokines(peaks, points), [note, dots])


IMMUNE = Section(
    "t-cells",
    "T cells and cytokines",
    (
        ("T-cell subsets", pairs_figure),
        ("T-cell subsets, table", pairs_table),
        ("Cell counts by day", trajectory),
        ("By window", windows_table),
        ("Cytokines", cytokines),
        ("Cytokine peaks", peaks_figure),
    ),
)
