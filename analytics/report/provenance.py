"""Definitions in force, sensitivity, data-quality counters, and where the report comes from."""

import json
from html import escape
from typing import Any

import polars as pl

from analytics.figures.wording import (
    Row,
    count,
    hundred,
    in_order,
    interval,
    is_number,
    number,
    p_value,
    percent,
    ratio,
    ratio_interval,
    sentence,
    share,
    spell,
    word,
)
from analytics.report.material import Material, Section, some
from analytics.report.tables import Column, html_table

_SURVIVAL = ("survival at day 365", "log-rank P", "log-rank P, horizon 365 d")


def settings(material: Material) -> str:
    """The parameter file as it was in force; every definition is assumed."""
    table = material.need("settings", "name", "version", "value")
    rows = [
        {
            "name": f"{row['name']}@{row['version']}" if row["version"] else row["name"],
            "value": readable(str(row["value"] or "")),
        }
        for row in table.to_dicts()
    ]
    columns = [Column("name", "Definition", "left"), Column("value", "Value in force", "left")]
    note = (
        "Every definition is assumed: the paper’s own are not known. Each can be switched in the study’s parameter "
        "file. Days count from the day that the definition names."
    )
    return material.table("Definitions in force", html_table(rows, columns, stub="name"), [note])


def readable(value: str) -> str:
    """A parameter's value without JSON's signs: "first day −28; last day 1"; text that is no JSON stays."""
    try:
        return _plain(json.loads(value))
    except json.JSONDecodeError:
        return value


def _inner(value: object) -> str:
    """A nested mapping in brackets, so that its parts are not read as those of the outer one."""
    return f"({_plain(value)})" if isinstance(value, dict) else _plain(value)


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{str(key).replace('_', ' ')} {_inner(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(_inner(inner) for inner in value) or "none"
    if value is None or isinstance(value, bool):
        return {None: "not set", True: "yes", False: "no"}[value]
    return str(value).replace("-", "−", 1) if isinstance(value, int | float) else str(value)


def sensitivity(material: Material) -> str:
    """What other definitions do to 1-year survival and to the log-rank test: one row per definition and endpoint."""
    table = _sensitivity(material).filter(pl.col("quantity").is_in(_SURVIVAL))
    some(table, "survival under other definitions")
    rows: list[dict[str, Any]] = []
    keys = ("analysis_id", "definition", "endpoint")
    for (analysis, definition, endpoint), part in table.group_by(*keys, maintain_order=True):
        at = part.filter(pl.col("quantity") == _SURVIVAL[0])
        shares = [
            f"{word(r['stratum'])} {percent(hundred(r['estimate']))}"
            for level in in_order(at["stratum"].to_list())
            for r in at.filter(pl.col("stratum") == level).to_dicts()
        ]
        tests = {r["quantity"]: r for r in part.filter(pl.col("quantity") != _SURVIVAL[0]).to_dicts()}
        whole, early = (tests.get(name) for name in _SURVIVAL[1:])
        rows.append(
            {
                "analysis": f"{analysis}: {spell(str(definition))}" if analysis != "primary" else "Primary definitions",
                "endpoint": endpoint,
                "shares": "; ".join(shares),
                "n": count(whole["n"]) if whole else "",
                "events": count(whole["events"]) if whole else "",
                "p": p_value(whole["p"]) if whole else "",
                "early": p_value(early["p"]) if early else "",
            }
        )
    columns = [
        Column("analysis", "Definition", "left"),
        Column("endpoint", "Endpoint", "left"),
        Column("n", "n"),
        Column("events", "Events"),
        Column("shares", "Survival at day 365 by stratum", "left"),
        Column("p", "All follow-up", spanner="Log-rank <i>P</i>"),
        Column("early", "To day 365", spanner="Log-rank <i>P</i>"),
    ]
    return material.table(
        "Sensitivity of survival to the definitions",
        html_table(rows, columns, stub="analysis"),
        ["Unit: patient. S: sensitivity analyses of the protocol."],
    )


def further_sensitivity(material: Material) -> str:
    """What other definitions do to everything else."""
    table = _sensitivity(material).filter(pl.col("quantity").is_in(_SURVIVAL).not_())
    if table.is_empty():
        return ""
    rows = [
        {
            "block": f"{row['analysis_id']}: {spell(row['definition'])}"
            if row["analysis_id"] != "primary"
            else "Primary",
            "what": sentence(", ".join(word(part) for part in _named(row) if part)),
            **_formatted(row),
            "p": "" if row["p"] is None else p_value(row["p"]),
            "n": count(row["n"]),
            "events": count(row["events"]),
        }
        for row in table.to_dicts()
    ]
    columns = [
        Column("what", "Quantity", "left"),
        Column("n", "n"),
        Column("events", "Events"),
        Column("estimate", "Estimate"),
        Column("ci", "95% CI"),
        Column("p", "<i>P</i>"),
    ]
    return material.table("Sensitivity of other estimates", html_table(rows, columns, stub="what", group="block"))


def _named(row: Row) -> list[str]:
    """Endpoint, stratum and quantity; "HR high_mrd" as its two words."""
    measured, _, term = str(row["quantity"]).partition(" ")
    quantity = [measured, term] if measured in ("HR", "OR") else [str(row["quantity"])]
    return [row["endpoint"], row["stratum"], *quantity]


def _formatted(row: Row) -> dict[str, str]:
    """Estimate and interval: ratios as ratios, percentages with one decimal, anything else with two."""
    if not is_number(row["estimate"]):
        return {"estimate": "", "ci": ""}
    if str(row["quantity"]).startswith(("HR ", "OR ")):
        return {"estimate": ratio(row["estimate"]), "ci": ratio_interval(row["lower"], row["upper"])}
    places = 1 if "percent" in str(row["quantity"]) else 2
    limits = interval(row["lower"], row["upper"], places) if is_number(row["upper"]) else ""
    return {"estimate": number(row["estimate"], places), "ci": limits}


def _sensitivity(material: Material) -> pl.DataFrame:
    return material.need(
        "sensitivity",
        *("analysis_id definition endpoint stratum quantity estimate lower upper p n events").split(),
    )


def counters(material: Material) -> str:
    """Data-quality findings that touch a result."""
    table = material.need("counters", "counter", "site", "n", "denominator").filter(pl.col("n") > 0)
    if table.is_empty():
        return "<p>No data-quality counter is above zero.</p>"
    rows = [
        {
            "counter": row["counter"],
            "site": row["site"] or "All",
            "n": share(row["n"], row["denominator"]) if row["denominator"] else count(row["n"]),
        }
        for row in table.sort("counter", "site").to_dicts()
    ]
    columns = [Column("site", "Site", "left"), Column("n", "n/N (%)")]
    note = "Only counters above zero. Counts of rows or patients; no identifier is shown."
    return material.table(
        "Data quality findings that touch a result", html_table(rows, columns, stub="site", group="counter"), [note]
    )


def provenance(material: Material) -> str:
    """Which run, which code, which vocabulary, which mapping, which parameters."""
    lines = dict(material.meta.lines())
    settings_table = material.maybe("settings", "param_hash")
    if settings_table is not None and "Parameter hash" not in lines:
        hashes = settings_table["param_hash"].drop_nulls().unique().sort().to_list()
        lines |= {"Parameter hash": ", ".join(hashes)} if hashes else {}
    pairs = "".join(f"<div><dt>{escape(what)}</dt><dd>{escape(value)}</dd></div>" for what, value in lines.items())
    return f'<dl class="provenance">{pairs}</dl>' if pairs else '<p class="absent">No provenance was given.</p>'


DEFINITIONS = Section(
    "definitions",
    "Definitions",
    (("Definitions in force", settings), ("Sensitivity", sensitivity), ("Further sensitivity", further_sensitivity)),
)
QUALITY = Section("quality", "Data quality", (("Data quality counters", counters),))
PROVENANCE = Section("provenance", "Provenance", (("Provenance", provenance),))
