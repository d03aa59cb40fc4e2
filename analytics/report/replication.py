"""Published beside computed (T10, F10), and the wording that keeps it from over-claiming."""

from html import escape

import polars as pl

from analytics.figures.replication import draw_replication, percentages
from analytics.figures.wording import DASH, count, quantity, sentence, spell, word
from analytics.report.material import Material, NotComputedError, Section
from analytics.report.tables import Column, html_table

SYNTHETIC = (
    "Synthetic data test the software and not the study. The software returns the planted values of a synthetic cohort "
    "constructed to match published aggregates; this tests software and is not evidence."
)
"""The sentence that every synthetic output carries (PROTOCOL.md, 10.3)."""

REAL = (
    "Published values are not targets: published P values are shown, never aimed at, and “P &lt; 0.05 again” is no "
    "criterion. The paper’s definitions are not known; those used here are assumed."
)

SOURCE = (
    "Published: Zhang N et al., <cite>Frontiers in Immunology</cite> 2025;16:1607138, doi 10.3389/fimmu.2025.1607138 "
    "(CC BY), as printed in the abstract."
)

_UNITS = {"p-value": "P value", "percent": "%"}
_SAME = {"true": "same", "yes": "same", "match": "same", "same": "same", "1": "same"}
_OTHER = {"false": "differs", "no": "differs", "mismatch": "differs", "differs": "differs", "0": "differs"}


def verdict(match: object) -> str:
    """The column match in words: same, differs, or the text as it stands; a dash for nothing."""
    text = "" if match is None else str(match).strip()
    return _SAME.get(text.lower()) or _OTHER.get(text.lower()) or word(text)


def statement(material: Material) -> str:
    """The sentence that belongs in front of every comparison."""
    return f'<p class="statement">{SYNTHETIC if material.meta.synthetic else REAL}</p>'


def figure(material: Material) -> str:
    """F10."""
    table = _sheet(material)
    if percentages(table).is_empty():
        raise NotComputedError("the sheet holds no percentage on both sides")
    return material.figure(draw_replication(table), ["Ring: published; dot: computed from this CDM. ± standard error."])


def sheet(material: Material) -> str:
    """T10: the whole sheet, with a tally in front."""
    table = _sheet(material)
    rows = [
        {
            "quantity": sentence(quantity(row["quantity"])),
            "unit": _UNITS.get(str(row["unit_of_analysis"])) or word(row["unit_of_analysis"]),
            "published": row["published"],
            "computed": row["computed"] or DASH,
            "match": verdict(row["match"]),
            "note": sentence(str(row["note"] or "")),
        }
        for row in table.to_dicts()
    ]
    columns = [
        Column("quantity", "Quantity", "left"),
        Column("unit", "Unit", "left"),
        Column("published", "Published"),
        Column("computed", "Computed"),
        Column("match", "As printed", "left"),
        Column("note", "Note", "left"),
    ]
    same = sum(1 for row in rows if row["match"] == "same")
    tally = f"{same} of {len(rows)} quantities are equal at the printed number of decimals."
    return material.table("Published and computed", html_table(rows, columns, stub="quantity"), [tally, SOURCE])


def predictions(material: Material) -> str:
    """T10: intervals in which a new cohort's count would lie."""
    table = material.need(
        "prediction",
        *("quantity unit_of_analysis k n new_n lower upper method").split(),
    )
    sizes = table["new_n"].unique().sort().to_list()
    rows = []
    for key, part in table.group_by("quantity", "unit_of_analysis", "k", "n", maintain_order=True):
        name, unit, k, n = key
        limits = {row["new_n"]: f"{count(row['lower'])}–{count(row['upper'])}" for row in part.to_dicts()}
        rows.append(
            {
                "quantity": sentence(spell(quantity(name))),
                "unit": unit,
                "seen": f"{count(k)}/{count(n)}",
                **{f"n{size}": limits.get(size, DASH) for size in sizes},
            }
        )
    columns = [Column("quantity", "Quantity", "left"), Column("unit", "Unit", "left"), Column("seen", "k/n here")]
    columns += [Column(f"n{size}", f"n = {size}", spanner="95% prediction interval for a new count") for size in sizes]
    methods = [escape(str(m)) for m in table["method"].drop_nulls().unique(maintain_order=True).to_list()]
    body = html_table(rows, columns, stub="quantity")
    return material.table("Where a new cohort’s counts would lie", body, [f"{sentence(m)}." for m in methods])


def _sheet(material: Material) -> pl.DataFrame:
    return material.need(
        "published_vs_computed",
        *("id quantity unit_of_analysis published computed match note").split(),
    )


REPLICATION = Section(
    "published",
    "Published and computed",
    (("Statement", statement), ("Figure", figure), ("Sheet", sheet), ("Prediction", predictions)),
)
