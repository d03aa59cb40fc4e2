"""Who was studied and what they received: attrition, baseline (T1), classification (T2), exposure (T3)."""

from collections.abc import Mapping
from html import escape
from typing import Any

import polars as pl

from analytics.figures.attrition import draw_attrition
from analytics.figures.swimmer import draw_swimmer
from analytics.figures.wording import (
    DASH,
    STRATA,
    Row,
    count,
    decimals_for,
    in_order,
    is_number,
    number,
    percent,
    sentence,
    share,
    span,
    spell,
    word,
)
from analytics.report.landing import with_landing
from analytics.report.material import Material, Section, total_of
from analytics.report.models import HIGH_MRD
from analytics.report.tables import Column, html_table

GROUPS = ("RR", "CR_MRDpos", "CHEMO_DELAY", "UNKNOWN", "overall")

VARIABLES = {
    "age_years": "Age",
    "weight_kg": "Weight",
    "bsa_m2": "Body surface area",
    "n_courses": "Courses per patient",
    "pre_course1_state": "Marrow before course 1",
    "state_pre": "Marrow before the course",
    "km_stratum": "Survival stratum",
    "prior_relapse": "Relapse recorded before the first bag",
    "burden_reduction_chemo": "Burden-reduction chemotherapy, of those with the indication R/R",
    "genetic_subtype": "Genetic subtype",
    "high_mrd_ge1pct": "High MRD before course 1",
    "poor_cytogenetics": "Poor cytogenetics, nested (with BCR::ABL1)",
    "blasts_pre_pct": "Marrow blasts before course 1",
    "mrd_pre_pct": "Marrow MRD before course 1",
    "days_from_diagnosis": "Time from diagnosis",
    "mrd_level": "Marrow MRD before course 1",
    "genetics": "Genetics, exclusive groups",
    "hsct": "HSCT",
    "cart": "CAR-T",
    "tki": "TKI beside blinatumomab, of those with BCR::ABL1",
    "regimen": "Dose regimen",
    "complete": "Complete (≥ 90% of the planned days)",
    "evaluable": "Evaluable",
    "step dose": "Step dose",
    "interrupted": "Interrupted",
    "delivered <= 7 days": "At most 7 delivered days",
}
"""Words for the variables of the tables baseline and exposure; others are shown by their own name."""

FLAGS = "History and risk factors, present"
"""The row group that holds the yes/no variables of the baseline table."""

AFTER = "During and after blinatumomab (not baseline)"
"""The row group of what happened later; it describes the cohort and is no baseline."""

_LATER = ("hsct", "cart", "tki")
_OF_SOME = ("burden_reduction_chemo", "tki")
"""The variables that concern some patients only, and say of how many."""

_LEVEL_ORDER = {
    "mrd_level": ("negative", "0.01-<0.1%", "0.1-<1%", ">= 1%"),
    "pre_course1_state": ("RR", "MRDpos", "MRDneg"),
    "km_stratum": STRATA,
    "genetics": ("NONE", "OTHER_POOR"),
}
_VALUE_UNITS = {"interrupted": "hours", "bag hours": "hours", "delivered days": "days", "planned days": "days"}
_LEVELS = {"F": "Girls", "M": "Boys", "female": "Girls", "male": "Boys"}
_YES_NO = {"0": "No", "1": "Yes", "false": "No", "true": "Yes"}


def variable_name(variable: str, unit: str | None = None) -> str:
    """A variable in words, with its unit unless the unit only counts people."""
    name = VARIABLES.get(variable) or (word(variable) if word(variable) != variable else variable.replace("_", " "))
    return (
        sentence(name)
        if unit in (None, "", "patients", "patient", "persons", "courses", "course", "n")
        else f"{sentence(name)} ({word(unit)})"
    )


def level_name(level: str, levels: set[str]) -> str:
    """A level in words; 0 and 1 alone mean no and yes."""
    if levels <= set(_YES_NO) | {"UNKNOWN"}:
        return _YES_NO.get(level, word(level))
    return _LEVELS.get(level, word(level))


def attrition(material: Material) -> str:
    """F1."""
    table = material.need("attrition", "step", "unit", "n", "excluded", "reason")
    table = with_landing(table, material.maybe("landing", "step", "n", "reason"))
    note = "Each box counts what is left after the step; the unit changes from resources to patients to courses."
    return material.figure(draw_attrition(table), [note])


def baseline(material: Material) -> str:
    """T1: one block of rows per variable, one column per indication and one for all."""
    table = material.need(
        "baseline",
        *("variable level group n denominator median missing unit").split(),
    )
    groups = in_order(table["group"].to_list(), GROUPS)
    sizes = {
        g: max(table.filter(pl.col("group") == g)["denominator"].drop_nulls().to_list(), default=0) for g in groups
    }
    rows: list[dict[str, Any]] = []
    for variable in table["variable"].unique(maintain_order=True).to_list():
        if variable != "indication":  # it makes the columns
            rows += _variable_rows(table.filter(pl.col("variable") == variable), variable, groups)
    last = (FLAGS, VARIABLES["n_courses"], AFTER)
    rows.sort(key=lambda row: last.index(row["variable"]) if row["variable"] in last else -1)
    columns = [Column("level", "Characteristic", "left")]
    columns += [
        Column(
            g,
            f"{escape(word(g))}<br><small>n = {count(sizes[g])}</small>",
            spanner="" if g == "overall" else "Indication",
        )
        for g in groups
    ]
    notes = [
        (
            "Unit: patient. Categories: n (% of the patients of the column), or n/N where N says of how many. IQR: "
            f"interquartile range. {HIGH_MRD} "
            "Missing values are shown where there are any. TKI (tyrosine-kinase inhibitor): given, ordered or supplied "
            "(assumed, <code>tki@1</code>); not recorded is not none. Courses, HSCT and CAR-T are counted up to the "
            "last contact. "
            "No P values: the groups are defined, not compared."
        )
    ]
    return material.table(
        "Baseline characteristics by indication", html_table(rows, columns, stub="level", group="variable"), notes
    )


def _levels(part: pl.DataFrame, variable: str) -> list[str | None]:
    """The levels of a variable in their own order where they have one, as in the table otherwise, a null last."""
    own = part["level"].drop_nulls().unique(maintain_order=True).to_list()
    return [*in_order(own, _LEVEL_ORDER.get(variable, own)), *([None] if part["level"].null_count() else [])]


def _variable_rows(part: pl.DataFrame, variable: str, groups: list[str]) -> list[dict[str, Any]]:
    unit = part["unit"].drop_nulls().first() if part["unit"].null_count() < part.height else None
    head = variable_name(variable, str(unit) if unit else None)
    if variable in _OF_SOME:
        own = {r["group"]: r for r in part.filter(pl.col("level") == "1").to_dicts()}
        block = AFTER if variable in _LATER else FLAGS
        return [{"variable": block, "level": head} | {g: _told_cell(own.get(g)) for g in groups}]
    levels = _levels(part, variable)
    known = {str(level) for level in levels if level is not None}
    rows: list[dict[str, Any]] = []
    for level in levels:
        cells = {r["group"]: r for r in part.filter(pl.col("level").eq_missing(pl.lit(level))).to_dicts()}
        if any(is_number(r["median"]) for r in cells.values()):
            rows += _quantity_rows(head, cells, groups)
        elif known <= {"0", "1", "false", "true"}:
            if level in ("1", "true"):
                block = AFTER if variable in _LATER else FLAGS
                rows.append({"variable": block, "level": head} | {g: _share_cell(cells.get(g)) for g in groups})
        else:
            label = DASH if level is None else level_name(str(level), known)
            rows.append({"variable": head, "level": sentence(label)} | {g: _share_cell(cells.get(g)) for g in groups})
    missing = {r["group"]: r["missing"] for r in part.to_dicts()}
    if any(missing.values()) and "missing" not in {level.lower() for level in known}:
        block, label = (FLAGS, f"{head}: missing") if known and known <= {"0", "1"} else (head, "Missing")
        rows.append({"variable": block, "level": label} | {g: count(missing.get(g) or 0) for g in groups})
    return rows


def _quantity_rows(head: str, cells: Mapping[str, Row], groups: list[str]) -> list[dict[str, Any]]:
    places = decimals_for([r[v] for r in cells.values() for v in ("median", "q1", "q3", "minimum", "maximum")])

    def shown(group: str, *names: str) -> list[str]:
        return [number(cells[group][name], places) if group in cells else DASH for name in names]

    middle = {g: "{} ({}–{})".format(*shown(g, "median", "q1", "q3")) for g in groups}
    spread = {g: span(*shown(g, "minimum", "maximum")) for g in groups}
    return [{"variable": head, "level": "Median (IQR)", **middle}, {"variable": head, "level": "Range", **spread}]


def _share_cell(row: Row | None) -> str:
    if row is None:
        return DASH
    return count(row["n"]) if row["percent"] is None else f"{count(row['n'])} ({percent(row['percent'])})"


def _told_cell(row: Row | None) -> str:
    """Of those of whom it is known; a dash where it concerns nobody, in words where nobody's record says."""
    if row is None or not (row["denominator"] or row["missing"]):
        return DASH
    if not row["denominator"]:
        return f"not recorded ({count(row['missing'])})"
    return share(row["n"], row["denominator"]) + (f"; {count(row['missing'])} not recorded" if row["missing"] else "")


def classification(material: Material) -> str:
    """T2: the three classifications, never merged."""
    table = material.need("classification", "indication", "state", "stratum", "n")
    strata = in_order(table["stratum"].to_list())
    printed = _published(material)
    rows: list[dict[str, Any]] = []
    for indication in in_order(table["indication"].to_list(), GROUPS):
        part = table.filter(pl.col("indication") == indication)
        for state in in_order(part["state"].to_list(), _STATES):
            cells = part.filter(pl.col("state") == state)
            rows.append(_margin_row(word(indication), word(state), cells, strata, ""))
        rows.append(_margin_row(word(indication), _TOTAL, part, strata, printed.get(indication, DASH)))
    for state in in_order(table["state"].to_list(), _STATES):
        cells = table.filter(pl.col("state") == state)
        rows.append(_margin_row("All indications", word(state), cells, strata, printed.get(f"state {state}", DASH)))
    rows.append(_margin_row("All indications", _TOTAL, table, strata, printed.get("all", DASH)))
    shown = {s: printed.get(f"stratum {s}", DASH) for s in strata}
    rows.append({"indication": "All indications", "state": "Published strata", **shown, "all": "", "printed": ""})
    columns = [Column("state", "Marrow before course 1", "left")]
    columns += [Column(s, escape(word(s)), spanner="Survival stratum") for s in strata]
    columns += [Column("all", "All"), Column("printed", "Published")]
    note = (
        f"Unit: patient; n = {count(total_of(table['n']))}. Indication (rows, grouped): why blinatumomab was started. "
        "Marrow: what it showed just before the first bag. Stratum: which survival curve (assumed, "
        "<code>stratum@1</code>). The three are different questions."
    )
    notes = [note, "† Derived by arithmetic from published numbers, not printed in the paper." if printed else ""]
    body = html_table(rows, columns, stub="state", group="indication")
    return material.table("Indication × marrow before course 1 × survival stratum", body, notes)


_STATES = ("RR", "MRDpos", "MRDneg", "UNKNOWN")
_TOTAL = "All states"
_MARGINS = {
    "PUB-N-PAT": "all", "PUB-IND-RR": "RR", "PUB-IND-MRD": "CR_MRDpos", "PUB-IND-DELAY": "CHEMO_DELAY",
    "PUB-STATE-RR": "state RR", "PUB-STATE-MRD": "state MRDpos", "DER-STATE-NEG": "state MRDneg",
    "DER-KM-RR": "stratum RR", "DER-KM-MRD": "stratum CR_MRDpos", "DER-KM-NEG": "stratum CR_MRDneg",
}  # fmt: skip
"""Published (PUB) and derived (DER) numbers by the margin of the classification that they stand beside."""


def _published(material: Material) -> dict[str, str]:
    """The published number of every margin; those derived by arithmetic carry a dagger."""
    found: dict[str, str] = {}
    for name, mark in (("published_vs_computed", ""), ("derived_vs_computed", "†")):
        table = material.maybe(name, "id", "published")
        rows = [] if table is None else table.select("id", "published").iter_rows()
        found |= {_MARGINS[key]: f"{value}{mark}" for key, value in rows if key in _MARGINS}
    return found


def _margin_row(indication: str, state: str, cells: pl.DataFrame, strata: list[str], printed: str) -> dict[str, Any]:
    counts = {s: count(total_of(cells.filter(pl.col("stratum") == s)["n"])) for s in strata}
    whole = count(total_of(cells["n"]))
    return {"indication": indication, "state": state, **counts, "all": whole, "printed": printed}


def exposure(material: Material) -> str:
    """T3: courses, delivered days, interruptions, doses."""
    table = material.need("exposure", "variable", "level", "n", "denominator", "percent", "value")
    rows = []
    for row in (one for part in table.partition_by("variable", maintain_order=True) for one in _quartiles(part)):
        variable, level = str(row["variable"]), row["level"]
        shown = share(row["n"], row["denominator"]) if row["percent"] is not None else count(row["n"])
        rows.append(
            {
                "variable": "Courses" if level is None else variable_name(variable),
                "level": sentence(spell(str(level or variable_name(variable)))),
                "n": shown,
                "value": _value(row),
            }
        )
    rows.sort(key=lambda row: row["variable"] == "Courses")
    rows += _exposure_findings(material)
    columns = [Column("level", "Exposure", "left"), Column("n", "n/N (%)"), Column("value", "Sum, or median (IQR)")]
    note = (
        "Unit: course; patient for courses per patient; bag for bag hours, durations, times and evidence. Courses are "
        "derived from single bags (assumed, <code>course@1</code>): a gap of more than 7 days starts a new course. "
        "IQR: interquartile range. Interrupted: the hours of all interruptions together."
    )
    return material.table("Exposure to blinatumomab", html_table(rows, columns, stub="level", group="variable"), [note])


def _quartiles(part: pl.DataFrame) -> list[dict[str, Any]]:
    """The rows of one variable, its quartiles put beside its median."""
    rows = part.to_dicts()
    known = {row["level"]: row["value"] for row in rows}
    kept = [row for row in rows if row["level"] not in ("q1", "q3")]
    return [
        row | {"quartiles": (known.get("q1"), known.get("q3"))} if row["level"] == "median" else row for row in kept
    ]


def _value(row: Row) -> str:
    if row["value"] is None:
        return ""
    low, high = row.get("quartiles", (None, None))
    places = decimals_for([row["value"], low, high])
    unit = _VALUE_UNITS.get(str(row["variable"]), "")
    spread = f" ({number(low, places)}–{number(high, places)})" if is_number(low) and is_number(high) else ""
    return f"{number(row['value'], places)}{spread} {unit}".strip()


def swimmer(material: Material) -> str:
    """F2; only in a report that stays in the hospital."""
    table = material.need("swimmer", "lane", "stratum", "kind", "start_day", "end_day", "label")
    note = (
        "Sorted by stratum and length of follow-up. Lanes carry no identifier and no calendar date, and still show "
        "single patients: this figure is left out of a report for sharing."
    )
    return material.figure(draw_swimmer(table), [note])


_FINDINGS = {
    "dose_unit_unconvertible": "Dose cannot be converted to µg/d",
    "planned_days_inferred": "Planned length inferred, not ordered",
}


def _exposure_findings(material: Material) -> list[dict[str, Any]]:
    """Evidence and deviations, from the counters over all sites."""
    table = material.maybe("counters", "counter", "site", "n", "denominator")
    if table is None:
        return []
    whole = {row["counter"]: row for row in table.filter(pl.col("site") == "all").to_dicts()}
    return [
        {
            "variable": "Courses",
            "level": words,
            "n": share(whole[f"dq_{name}"]["n"], whole[f"dq_{name}"]["denominator"]),
            "value": "",
        }
        for name, words in _FINDINGS.items()
        if f"dq_{name}" in whole
    ]


def site_balance(material: Material) -> str:
    """A1: standardised mean differences between the sites, one column per pair."""
    table = material.need("site_balance", "variable", "level", "site_a", "site_b", "smd")
    pairs = table.select("site_a", "site_b").unique(maintain_order=True).rows()
    rows = []
    for variable, level in table.select("variable", "level").unique(maintain_order=True).iter_rows():
        own = table.filter((pl.col("variable") == variable) & pl.col("level").eq_missing(pl.lit(level)))
        cells = {(row["site_a"], row["site_b"]): number(row["smd"], 2) for row in own.to_dicts()}
        name = variable_name(str(variable)) if level is None else f"{variable_name(str(variable))}: {word(level)}"
        rows.append({"what": name, **{f"{a}|{b}": cells.get((a, b), DASH) for a, b in pairs}})
    columns = [Column("what", "Characteristic", "left")]
    columns += [Column(f"{a}|{b}", f"{escape(str(a))} – {escape(str(b))}") for a, b in pairs]
    note = "Unit: patient. Absolute values above 0.2 to 0.3 are commonly called a difference. Described, not tested."
    return material.table(
        "Standardised mean differences between the sites", html_table(rows, columns, stub="what"), [note]
    )


COHORT = Section(
    "cohort",
    "Cohort",
    (
        ("Attrition", attrition),
        ("Baseline", baseline),
        ("Classification", classification),
        ("Exposure", exposure),
        ("Swimmer plot", swimmer),
        ("Balance of the sites", site_balance),
    ),
)
