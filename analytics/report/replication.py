"""Published beside computed (T10, F10), and the wording that keeps it from over-claiming."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import polars as pl

from analytics.figures.replication import draw_replication, draw_site_replication, percentages
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


def site_figure(material: Material) -> str:
    """F10 by site; withheld, like the sheet, where small counts are suppressed."""
    table = material.need(
        "site_prediction", *"quantity site basis k n percent cp_lower cp_upper lower upper verdict".split()
    )
    note = (
        "Band: counts that the published proportion predicts for a site of this size (95% beta-binomial, Jeffreys; "
        "rule R1), in percent of its n. Dot and line: own proportion, exact 95% confidence interval. Survival by site "
        "is not shown as counts, because patients are censored before 1 year (R2)."
    )
    return material.figure(draw_site_replication(table), [note])


def sheet(material: Material) -> str:
    """T10: the whole sheet: published and own value, own interval, prediction interval, verdict, what limits it."""
    table = _sheet(material)
    rows = []
    numbers: dict[str, int] = {}
    for row in table.to_dicts():
        said = Remarks.of(row["note"])
        marks = [str(numbers.setdefault(one, len(numbers) + 1)) for one in said.rest]
        rows.append(
            {
                "quantity": sentence(quantity(row["quantity"])),
                "unit": _UNITS.get(str(row["unit_of_analysis"])) or word(row["unit_of_analysis"]),
                "published": row["published"],
                "computed": row["computed"] or DASH,
                "ci": said.interval,
                "prediction": said.prediction,
                "match": verdict(row["match"]) + said.verdict,
                "note": ", ".join(marks),
            }
        )
    columns = [
        Column("quantity", "Quantity", "left"),
        Column("unit", "Unit", "left"),
        Column("published", "Published"),
        Column("computed", "Computed"),
        Column("ci", "Own 95% CI (%)"),
        Column("prediction", "Prediction (R1)"),
        Column("match", "As printed; verdict", "left"),
        Column("note", "Remarks", "left"),
    ]
    same = sum(1 for row in table.to_dicts() if verdict(row["match"]) == "same")
    tally = f"{same} of {len(rows)} quantities are equal at the printed number of decimals."
    rules = (
        "R1: compatible when the own count lies in the 95% beta-binomial prediction interval from the published count. "
        "R2: survival is shown side by side. R4: a published P value is never a target. ± in the published survival "
        "is read as Greenwood’s standard error (assumed; the sign is lost in the provisional text)."
    )
    return material.table(
        "Published and computed", html_table(rows, columns, stub="quantity"), [tally, rules, _listed(numbers), SOURCE]
    )


def derived_sheet(material: Material) -> str:
    """T10: numbers that the paper does not print and that follow from printed ones; never called published."""
    table = material.need("derived_vs_computed", *"quantity unit_of_analysis published computed match note".split())
    rows = [
        {
            "quantity": sentence(quantity(row["quantity"])),
            "unit": word(row["unit_of_analysis"]),
            "derived": row["published"],
            "computed": row["computed"] or DASH,
            "match": verdict(row["match"]),
            "note": sentence(dashes(str(row["note"] or "").removeprefix("derived, not printed in the paper: "))),
        }
        for row in table.to_dicts()
    ]
    columns = [
        Column("quantity", "Quantity", "left"),
        Column("unit", "Unit", "left"),
        Column("derived", "Derived"),
        Column("computed", "Computed"),
        Column("match", "Agreement", "left"),
        Column("note", "Derivation", "left"),
    ]
    note = "Derived by arithmetic on published numbers, not printed in the paper."
    return material.table("Derived and computed", html_table(rows, columns, stub="quantity"), [note])


def _listed(numbers: Mapping[str, int]) -> str:
    """The remarks in the order of their numbers."""
    said = " ".join(f'<span class="remark"><b>{n}</b> {escape(text)}.</span>' for text, n in numbers.items())
    return f"Remarks. {said}" if said else ""


_LABEL = re.compile(r"(?:^|; )(?=(?:published|own|reading|attainability|R\d): )")
_ASSUMED_SIGN = re.compile(
    r"(?:the ± sign is lost in the provisional text; )?± is read as the Greenwood standard error \(assumed\)"
)


@dataclass(frozen=True)
class Remarks:
    """A note of the sheet taken apart: own interval, prediction, verdict, and what is left to be read."""

    interval: str
    prediction: str
    verdict: str
    rest: tuple[str, ...]

    @classmethod
    def of(cls, note: object) -> "Remarks":
        """From the column note; what every row shares (R4, the lost sign) is said once, below the table."""
        text = "" if note is None else str(note)
        limits = re.search(r"own 95% CI ([\d.]+)-([\d.]+)%", text)
        counted = re.search(r"is ((?:not )?compatible) with the 95% beta-binomial prediction (\d+)-(\d+)", text)
        kept = []
        for part in _LABEL.split(text):
            label, _, said = part.partition(": ")
            if label in ("R1", "R4") or (label == "R2" and limits):
                continue
            said = _ASSUMED_SIGN.sub("", said if label in _PLAIN else part)
            if said.strip("; "):
                kept.append(sentence(_terms(dashes(f"{_PLAIN.get(label, '')}{said.strip('; ')}"))))
        return cls(
            f"{limits[1]}–{limits[2]}" if limits else "",
            f"{counted[2]}–{counted[3]}" if counted else "",
            f"; {counted[1]}" if counted else "",
            tuple(kept),
        )


_PLAIN = {"published": "", "own": "own: ", "reading": "", "attainability": "attainability: ", "R5": ""}


_TERMS = {
    "; p_correction: normal approximation with continuity correction": "",
    "high_mrd": "high MRD",
    "bcr_abl1": "BCR::ABL1",
    "other_poor": "other poor cytogenetics",
}


def _terms(text: str) -> str:
    """Model terms in words; names of rules (`name@version`) stay."""
    for code, written in _TERMS.items():
        text = text.replace(code, written)
    return text


def dashes(text: str) -> str:
    """Ranges of numbers with an en dash, relations as signs, quotation marks as printed."""
    text = re.sub(r"(?<=\d)-(?=\d)", "–", text)
    text = re.sub(r"(?<=\d) - (?=\d)", " − ", text).replace(">=", "≥")
    return re.sub(r"'([^']*)'", r"“\1”", text)


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
    (
        ("Statement", statement),
        ("Figure", figure),
        ("Figure by site", site_figure),
        ("Sheet", sheet),
        ("Derived numbers", derived_sheet),
        ("Prediction", predictions),
    ),
)
