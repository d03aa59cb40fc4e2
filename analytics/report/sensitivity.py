"""The sensitivity matrix (S1–S15, A11): one row per definition, one column per estimate."""

import json
import re
from html import escape
from typing import Any

import polars as pl

from analytics.figures.wording import (
    Row,
    count,
    hundred,
    interval,
    is_number,
    number,
    p_value,
    ratio,
    ratio_interval,
    sentence,
    spell,
    word,
)
from analytics.report.material import Material, Section, some
from analytics.report.tables import Column, html_table

_AT_YEAR, _WHOLE, _EARLY = "survival at day 365", "log-rank P", "log-rank P, horizon 365 d"
_SURVIVAL = (_AT_YEAR, _WHOLE, _EARLY)
_NOT_DONE, _DONE = "not computed", "computed"
_COLUMN = {"CHEMO_DELAY": "CR_MRDneg", "MRDneg": "CR_MRDneg", "MRDpos": "CR_MRDpos"}
"""The stratum beside which a level of another classification stands."""
_MARKS = {"CHEMO_DELAY": "ᵃ", "MRDneg": "ᵇ", "MRDpos": "ᶜ"}
_STRATA = ("CR_MRDneg", "CR_MRDpos", "RR")
_MODEL = re.compile(r"HR |OR ")


def survival_matrix(material: Material) -> str:
    """1-year survival and the log-rank test under every definition."""
    table = _sensitivity(material).filter(pl.col("quantity").is_in(_SURVIVAL))
    some(table, "survival under other definitions")
    rows = [
        _survival_row(table.filter((pl.col("analysis_id") == analysis) & (pl.col("endpoint") == endpoint)), endpoint)
        for endpoint in sorted(table["endpoint"].unique().to_list())
        for analysis in _analyses(table.filter(pl.col("endpoint") == endpoint))
    ]
    others = [c for c in dict.fromkeys(key for row in rows for key in row["cells"]) if c not in _STRATA]
    columns = [Column("analysis", "Definition", "left"), Column("n", "n"), Column("events", "Events")]
    columns += [Column(s, escape(word(s)), spanner="Survival at day 365, % (95% CI)") for s in (*_STRATA, *others)]
    columns += [
        Column("p", "All follow-up", spanner="Log-rank <i>P</i>"),
        Column("early", "To day 365", spanner="Log-rank <i>P</i>"),
    ]
    flat = [{**row, **{s: row["cells"].get(s, "") for s in (*_STRATA, *others)}} for row in rows]
    body = html_table(flat, columns, stub="analysis", group="endpoint")
    note = (
        "Unit: patient. First row of each endpoint: primary definitions. With other strata (S4): "
        "ᵃ chemotherapy delay; ᵇ MRD-negative; ᶜ MRD-positive."
    )
    return material.table("Sensitivity of survival to the definitions", body, [note, _derived_again(material)])


def _survival_row(part: pl.DataFrame, endpoint: str) -> dict[str, Any]:
    first = part.row(0, named=True)
    tests = {r["quantity"]: r for r in part.filter(pl.col("quantity") != _AT_YEAR).to_dicts()}
    whole, early = tests.get(_WHOLE), tests.get(_EARLY)
    cells = {}
    for row in part.filter(pl.col("quantity") == _AT_YEAR).to_dicts():
        limits = interval(hundred(row["lower"]), hundred(row["upper"]))
        level = str(row["stratum"])
        shown = f"{number(hundred(row['estimate']))} ({limits})" if is_number(row["estimate"]) else ""
        shown += _MARKS.get(level, "")
        cells[_COLUMN.get(level, level)] = shown
    return {
        "analysis": analysis_name(first),
        "endpoint": word(endpoint),
        "n": count(whole["n"]) if whole else "",
        "events": count(whole["events"]) if whole else "",
        "p": p_value(whole["p"]) if whole else "",
        "early": p_value(early["p"]) if early else "",
        "cells": cells,
    }


def estimate_matrix(material: Material) -> str:
    """Responses, odds and hazard ratios and everything else under every definition: one column per quantity."""
    table = _sensitivity(material).filter(
        pl.col("quantity").is_in(_SURVIVAL).not_() & pl.col("quantity").is_in([_NOT_DONE, _DONE]).not_()
    )
    if table.is_empty():
        return _not_computed(material)
    named = [{**row, "outcome": _outcome(row), "column": _quantity(row)} for row in table.to_dicts()]
    blocks = []
    for outcome in dict.fromkeys(row["outcome"] for row in named):
        own = [row for row in named if row["outcome"] == outcome]
        columns = list(dict.fromkeys(row["column"] for row in own))
        blocks.append(_matrix(material, outcome, own, columns))
    return "\n".join([*blocks, _not_computed(material)])


def _matrix(material: Material, outcome: str, own: list[dict[str, Any]], names: list[str]) -> str:
    rows = []
    for label in sorted(dict.fromkeys(analysis_name(row) for row in own), key=_position):
        cells = {row["column"]: _cell(row) for row in own if analysis_name(row) == label}
        rows.append({"analysis": label, **{f"c{i}": cells.get(name, "") for i, name in enumerate(names)}})
    columns = [Column("analysis", "Definition", "left")]
    columns += [Column(f"c{i}", escape(name), "left") for i, name in enumerate(names)]
    note = "Estimate (95% CI), <i>P</i> where there is a test; in square brackets n, or events of n."
    said = dict.fromkeys(
        f"{analysis_name(row)}, {row['column']}: {row['note']}"
        for row in own
        if row["note"] and _MODEL.match(row["quantity"])
    )
    return material.table(
        f"Sensitivity of other estimates: {_within(outcome)}",
        html_table(rows, columns, stub="analysis"),
        [note, escape("; ".join(said)) + "." if said else ""],
    )


def _within(outcome: str) -> str:
    """An outcome within a sentence: small at its beginning, but not "T cells" and "CRS"."""
    return outcome if outcome[1:2] == " " or outcome[:2].isupper() else outcome[:1].lower() + outcome[1:]


def analysis_name(row: Row) -> str:
    """ "S9: without SITE1" for S9-without-SITE1; the primary analysis by that name."""
    analysis = str(row["analysis_id"])
    if analysis == "primary":
        return "Primary definitions"
    return f"{analysis.split('-')[0]}: {spell(str(row['definition']))}"


def _outcome(row: Row) -> str:
    outcome = str(row["endpoint"] or "other")
    ratio_kind = str(row["quantity"]).split(" ")[0]
    if ratio_kind in ("HR", "OR"):
        of = " of the strata" if row["stratum"] else ""
        return f"{word(outcome)}, {'hazard' if ratio_kind == 'HR' else 'odds'} ratios{of}"
    return sentence(word(outcome))


def _quantity(row: Row) -> str:
    """The estimate in words: stratum and quantity; "HR high_mrd" as its term."""
    quantity = str(row["quantity"])
    measured, _, term = quantity.partition(" ")
    if measured in ("HR", "OR"):
        return sentence(" ".join(part for part in (word(row["stratum"]) if row["stratum"] else "", word(term)) if part))
    if quantity.startswith("Fisher P "):
        return f"{sentence(word(quantity.removeprefix('Fisher P ')))}, Fisher P"
    said = [word(row["stratum"]) if row["stratum"] else "", "%" if quantity == "percent" else word(quantity)]
    return sentence(", ".join(part for part in said if part))


def _cell(row: Row) -> str:
    quantity = str(row["quantity"])
    is_ratio = quantity.startswith(("HR ", "OR ")) or "ratio" in quantity
    parts = []
    if is_number(row["estimate"]):
        places = 1 if "percent" in quantity else 2
        shown = ratio(row["estimate"]) if is_ratio else number(row["estimate"], places)
        limits = ratio_interval if is_ratio else lambda a, b: interval(a, b, places)
        bounds = f" ({limits(row['lower'], row['upper'])})" if is_number(row["upper"]) else ""
        parts.append(shown + bounds)
    elif is_number(row["upper"]) and is_ratio:
        parts.append(f"no stable estimate (95% CI {ratio_interval(row['lower'], row['upper'])})")
    if is_number(row["p"]):
        parts.append(f"P {p_value(row['p'])}" if p_value(row["p"]).startswith("<") else f"P = {p_value(row['p'])}")
    if not parts:
        parts.append("not estimable")
    written = "; ".join(parts) + _counted(row)
    for loose, tight in (("P ", "P\u00a0"), ("= ", "=\u00a0"), ("< ", "<\u00a0"), ("–", "–\u2060")):
        written = written.replace(loose, tight)  # no break inside a number
    return written


def _counted(row: Row) -> str:
    if row["n"] is None:
        return ""
    return f" [{count(row['events'])}/{count(row['n'])}]" if row["events"] is not None else f" [{count(row['n'])}]"


def _not_computed(material: Material) -> str:
    """The analyses that these data cannot answer, with the reason of each, as a table of their own."""
    table = _sensitivity(material).filter(pl.col("quantity") == _NOT_DONE)
    if table.is_empty():
        return ""
    rows = [{"analysis": analysis_name(row), "why": sentence(str(row["note"] or ""))} for row in table.to_dicts()]
    rows.sort(key=lambda row: _position(row["analysis"]))
    columns = [Column("analysis", "Analysis", "left"), Column("why", "Why it is not computed", "left")]
    return material.table(
        "Sensitivity analyses that these data cannot answer", html_table(rows, columns, stub="analysis")
    )


def _derived_again(material: Material) -> str:
    """The analyses that derived everything again; where nothing moved they have no row, and this says so."""
    again = _sensitivity(material).filter(pl.col("quantity") == _DONE)
    said = []
    for row in again.to_dicts():
        _, _, left_out = str(row["note"] or "").partition("; ")
        said.append(escape(analysis_name(row) + (f" ({left_out})" if left_out else "")))
    names = "; ".join(sorted(said, key=_position))
    return f"Derived again under {names}: a missing row or cell equals the primary one." if names else ""


def _analyses(table: pl.DataFrame) -> list[str]:
    """The analyses of a table, the primary one first, then by number."""
    rows = table.unique("analysis_id", maintain_order=True).to_dicts()
    return [str(row["analysis_id"]) for row in sorted(rows, key=lambda row: _position(str(row["analysis_id"])))]


def _position(name: str) -> tuple[int, str]:
    found = re.match(r"([AS])(\d+)", name)
    # analyses of the plan (A11) come after the numbered sensitivity analyses
    return (int(found.group(2)) + (100 if found.group(1) == "A" else 0) if found else 0, name)


def _sensitivity(material: Material) -> pl.DataFrame:
    table = material.need(
        "sensitivity",
        *("analysis_id definition endpoint stratum quantity estimate lower upper p n events note").split(),
    )
    named = pl.col("analysis_id").replace_strict(_variants(material), default=None, return_dtype=pl.String)
    return table.with_columns(definition=pl.coalesce(named, pl.col("definition")))


def _variants(material: Material) -> dict[str, str]:
    """What each analysis that was derived again changed, from the parameter `sensitivity`: "tcell_post … = 21"."""
    settings = material.maybe("settings", "name", "value")
    values = [] if settings is None else settings.filter(pl.col("name") == "sensitivity")["value"].to_list()
    changed = json.loads(values[0]) if values and values[0] else {}
    return {
        str(name): ", ".join(_changed(path, value) for path, value in change.items())
        for name, change in changed.items()
        if isinstance(change, dict)
    }


_PATHS = {
    "tcell_post.days_after_end": "T cells after the course up to {} days from its end",
    "tcell_pre.first_day": "T cells before the course from day {}",
    "mrd_positive.from_pct": "MRD positive from {}%",
    "mrd_positive.by_lod=True": "MRD positive is whatever the assay detects (its limit of detection as cut-off)",
    "tcell_chemotherapy.leave_out=True": "T-cell draws soon after systemic chemotherapy left out",
    "fas.down_syndrome=False": "without Down syndrome",
    "crs.reading=astct": "CRS graded by ASTCT (from signs, else as recorded by it)",
    "crs.reading=ctcae": "CRS graded by CTCAE (as recorded by it, else from signs)",
}


def _changed(path: str, value: object) -> str:
    """A changed parameter in words; one without words keeps its name."""
    shown = str(value).replace("-", "−", 1) if isinstance(value, int | float) else str(value)
    words = _PATHS.get(path) or _PATHS.get(f"{path}={value}")
    return words.format(shown) if words else f"{path.replace('.', ': ').replace('_', ' ')} = {shown}"


SENSITIVITY = Section(
    "sensitivity",
    "Sensitivity analyses",
    (("Survival", survival_matrix), ("Other estimates", estimate_matrix)),
    "What other definitions would give. The primary definitions stand in the first row of each table.",
)
