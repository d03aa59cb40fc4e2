"""Adverse events (T9): CRS and ICANS by grade, CRS by grading system, all others one row each, rates."""

import json
from html import escape
from itertools import product
from typing import Any

import polars as pl

from analytics.figures.wording import count, interval, is_number, number, plural, sentence, share, word
from analytics.report.material import Material, Section, some
from analytics.report.quality import grading_system
from analytics.report.tables import Column, html_table
from analytics.statistics.safety import GRADINGS

BY_GRADE = ("CRS", "ICANS")
"""The events that are shown grade by grade."""
ANY, SEVERE = "any (>= 1)", ">= 3"
IS_GRADING = pl.col("event").str.starts_with(GRADINGS)
"""The rows that are the recorded CRS again, by one grading system: no events of their own."""
_NOT_RECORDED = "not recorded"


def grades(material: Material) -> str:
    """T9: CRS and ICANS by grade, worst of the patient and of the course side by side."""
    table = material.need(
        "safety",
        *("event grade unit_of_analysis n denominator percent lower upper").split(),
    ).filter(pl.col("event").is_in(BY_GRADE))
    units = table["unit_of_analysis"].unique(maintain_order=True).to_list()
    columns = [Column("grade", "Worst grade", "left")]
    for unit in units:
        head = f"Per {escape(str(unit))}"
        columns += [
            Column(f"{unit}_n", "n/N (%)", spanner=head),
            Column(f"{unit}_ci", "Exact 95% CI (%)", spanner=head),
        ]
    rows: list[dict[str, Any]] = []
    for event, grade in table.select("event", "grade").unique(maintain_order=True).iter_rows():
        row: dict[str, object] = {"event": event, "grade": _grade(grade)}
        for unit in units:
            same = (
                (pl.col("event") == event)
                & pl.col("grade").eq_missing(pl.lit(grade))
                & (pl.col("unit_of_analysis") == unit)
            )
            cell = next(iter(table.filter(same).to_dicts()), None)
            row[f"{unit}_n"] = "" if cell is None else share(cell["n"], cell["denominator"])
            row[f"{unit}_ci"] = interval(cell["lower"], cell["upper"]) if cell and is_number(cell["upper"]) else ""
        rows.append(row)
    note = (
        f"Worst grade {_READINGS.get(_reading(material), '')}; exact: Clopper–Pearson. A record without a grade is "
        "missing, never grade 0."
    )
    body = html_table(rows, columns, stub="grade", group="event")
    return material.table(
        "Cytokine release syndrome (CRS) and neurotoxicity (ICANS)", body, [note, _grading_systems(material)]
    )


_READINGS = {
    "recorded": "as recorded",
    "astct": "(CRS by ASTCT: from signs, else as recorded by it; ICANS as recorded)",
    "ctcae": "(CRS by CTCAE: as recorded by it, else from signs; ICANS as recorded)",
}


def _reading(material: Material) -> str:
    """Which grade of a CRS counts in this run (`crs.reading`)."""
    settings = material.maybe("settings", "name", "value")
    values = [] if settings is None else settings.filter(pl.col("name") == "crs")["value"].to_list()
    return str(json.loads(values[0]).get("reading", "recorded")) if values and values[0] else "recorded"


def gradings(material: Material) -> str:
    """T9, A11: the recorded CRS by grading system, as recorded and graded anew from vital signs, drugs and oxygen."""
    table = material.need("safety", *"event grade unit_of_analysis n denominator lower upper".split())
    table = table.filter(IS_GRADING)
    if table.is_empty():
        return ""
    rows = []
    units, events = (table[name].unique(maintain_order=True) for name in ("unit_of_analysis", "event"))
    for unit, event in product(units, events):
        part = table.filter((pl.col("event") == event) & (pl.col("unit_of_analysis") == unit))
        cells = {row["grade"]: row for row in part.to_dicts()}
        grading = sentence(event.removeprefix(GRADINGS).strip())
        rows.append({"unit": f"Per {unit}", "grading": grading, **_grading_cells(cells)})
    columns = [
        Column("grading", "Grading", "left"),
        Column("graded", "Graded, n/N"),
        Column("steps", "Grade 1 / 2 / 3 / 4 / 5"),
        Column("severe", "Grade ≥ 3, n/N (%)"),
        Column("ci", "Exact 95% CI (%)"),
        Column("limits", "Lower limits"),
    ]
    signs = (
        "From signs: temperature, systolic pressure by age, vasopressors and oxygen of the days around a CRS record, "
        "worst day, assumed (<code>crs_signs@1</code>, <code>crs_astct@1</code>, <code>crs_ctcae@1</code>). ASTCT: "
        "Lee et al. 2019; CTCAE: version 5.0. Signs alone are never CRS. Not recorded: too little is charted for any "
        "grade; that is not grade 0. Lower limits: grades that may be higher, because a part of the signs is not "
        "charted. Grade 5 only as recorded."
    )
    return material.table(
        "Cytokine release syndrome by grading system",
        html_table(rows, columns, stub="grading", group="unit"),
        ["n/N: of the patients or courses with a CRS record of that system; from signs of all with a CRS record.",
         signs, _silent_gradings(table)],
    )  # fmt: skip


def _grading_cells(rows: dict[str, dict[str, Any]]) -> dict[str, object]:
    missing = rows["missing"]
    graded, severe, limits = rows.get(ANY), rows.get(SEVERE), rows.get("at least")
    if graded is None or severe is None:
        silent = f"{_NOT_RECORDED} (0/{count(missing['denominator'])})"
        return {"graded": silent, "steps": "", "severe": "", "ci": "", "limits": ""}
    return {
        "graded": f"{count(graded['denominator'])}/{count(missing['denominator'])}",
        "steps": " / ".join(count(rows[str(grade)]["n"]) for grade in range(1, 6)),
        "severe": share(severe["n"], severe["denominator"]),
        "ci": interval(severe["lower"], severe["upper"]) if is_number(severe["upper"]) else "",
        "limits": count(limits["n"]) if limits and limits["n"] else "",
    }


def _silent_gradings(table: pl.DataFrame) -> str:
    """Says plainly when no child of the cohort has signs enough for a grade."""
    signs = table.filter(pl.col("event").str.ends_with("from signs"))
    known = signs.filter(pl.col("grade") == ANY)
    if signs.is_empty() or not known.is_empty():
        return ""
    return (
        "No CRS could be graded from signs: what a grade needs (fever and blood pressure, oxygen or vasopressors "
        "beside a CRS record) is not recorded in this cohort."
    )


def other_events(material: Material) -> str:
    """T9: every other adverse event, one row each; what these data do not record is said, never shown as 0."""
    table = material.need("safety", *"event grade unit_of_analysis n denominator lower upper".split())
    table = table.filter(~pl.col("event").is_in(BY_GRADE), ~IS_GRADING)
    some(table, "adverse event beside CRS and ICANS")
    units = table["unit_of_analysis"].unique(maintain_order=True).to_list()
    columns = [Column("event", "Event", "left")]
    for unit in units:
        head = f"Per {escape(str(unit))}"
        columns += [
            Column(f"{unit}_any", "Any grade, n/N (%)", spanner=head),
            Column(f"{unit}_ci", "Exact 95% CI (%)", spanner=head),
            Column(f"{unit}_severe", "Grade ≥ 3, n/N (%)", spanner=head),
        ]
    columns.append(Column("grades", "Courses by grade 1 / 2 / 3 / 4 / 5"))
    rows = []
    for event in table["event"].unique(maintain_order=True).to_list():
        row: dict[str, object] = {"event": event, "grades": ""}
        for unit in units:
            part = table.filter((pl.col("event") == event) & (pl.col("unit_of_analysis") == unit))
            row |= _other_cells(str(unit), {r["grade"]: r for r in part.to_dicts()})
        rows.append(row)
    note = (
        "n/N: of those of whom it is known. Not recorded: no hospital of these data records such events, or gives an "
        "upper limit of normal with such values; that is not an event that did not happen. Recorded events: "
        "diagnoses and their grades, assumed (<code>adverse_event@1</code>); an event without a grade counts as any "
        "grade, not as grade ≥ 3. ALT, AST, bilirubin, creatinine: CTCAE 5.0 from values, assumed "
        "(<code>laboratory_event@1</code>). Infections and cytopenias have no definition of their own here: with a "
        "grade they are among the other graded events. Exact: Clopper–Pearson."
    )
    return material.table("Other adverse events", html_table(rows, columns, stub="event"), [note])


def _other_cells(unit: str, rows: dict[str, dict[str, Any]]) -> dict[str, object]:
    whole, severe = rows.get(ANY), rows.get(SEVERE)
    if whole is None or severe is None:
        return {f"{unit}_any": _NOT_RECORDED, f"{unit}_ci": "", f"{unit}_severe": _NOT_RECORDED}
    ungraded, missing = rows.get("ungraded"), rows["missing"]["n"]
    shown = share(whole["n"], whole["denominator"])
    cells: dict[str, object] = {
        f"{unit}_any": shown + (f"; {count(missing)} {_NOT_RECORDED}" if missing else ""),
        f"{unit}_ci": interval(whole["lower"], whole["upper"]) if is_number(whole["upper"]) else "",
        f"{unit}_severe": share(severe["n"], severe["denominator"]),
    }
    if unit == "course":
        steps = " / ".join(count(rows[str(grade)]["n"]) for grade in range(1, 6))
        cells["grades"] = steps + (f"; ungraded {count(ungraded['n'])}" if ungraded else "")
    return cells


def _grading_systems(material: Material) -> str:
    """How many records are graded by which system (ASTCT, Lee 2014, CTCAE, ICD-10-CM), and how many do not say."""
    table = material.maybe("counters", "counter", "site", "n", "denominator")
    if table is None:
        return ""
    whole = table.filter(pl.col("site") == "all").to_dicts()
    said = []
    for event in BY_GRADE:
        prefix = f"dq_{event.lower()}_by_"
        by = {row["counter"].removeprefix(prefix): row for row in whole if row["counter"].startswith(prefix)}
        total = max((row["denominator"] or 0 for row in by.values()), default=0)
        named = [f"{grading_system(one)} {count(row['n'])}" for one, row in by.items() if row["n"]]
        if rest := total - sum(row["n"] or 0 for row in by.values()):
            named.append(f"not named {count(rest)}")
        if total:
            said.append(f"{event}: {', '.join(named)} of {plural(total, 'record')}")
    return (
        f"System of grading. {'; '.join(said)}. Recorded grades are not converted (assumed, <code>crs@1</code>)."
        if said
        else ""
    )


def _grade(grade: object) -> str:
    text = str(grade)
    return f"Grade {text}" if text[:1].isdigit() else sentence(word(text))


def rates(material: Material) -> str:
    """T9: events per 100 infusion days."""
    table = material.need(
        "rates",
        *("event grade events infusion_days rate_per_100_days lower upper").split(),
    )
    rows = [
        {
            "event": row["event"],
            "grade": _grade(row["grade"]),
            "events": count(row["events"]),
            "days": count(row["infusion_days"]),
            "rate": number(row["rate_per_100_days"], 2),
            "ci": interval(row["lower"], row["upper"], 2),
        }
        for row in table.to_dicts()
    ]
    columns = [
        Column("grade", "Grade", "left"),
        Column("events", "Events"),
        Column("days", "Infusion days"),
        Column("rate", "Per 100 days"),
        Column("ci", "95% CI"),
    ]
    body = html_table(rows, columns, stub="grade", group="event")
    note = (
        "Events: courses with the event. Exact Poisson intervals; courses of which it is not known are left out, and "
        "so are events that these data do not record."
    )
    return material.table(
        "Adverse events per 100 infusion days",
        body,
        [note],
    )


SAFETY = Section(
    "safety",
    "Safety",
    (("Grades", grades), ("CRS by grading system", gradings), ("Other adverse events", other_events), ("Rates", rates)),
)
