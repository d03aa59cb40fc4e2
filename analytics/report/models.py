"""Regression models (T7, F5) and the tests of their assumption."""

from html import escape
from typing import Any

import polars as pl

from analytics.figures.forest import draw_forest, draw_site_forest, measure_name, model_heading, term_name
from analytics.figures.wording import (
    Row,
    count,
    interval,
    is_number,
    number,
    p_value,
    plural,
    ratio,
    ratio_interval,
    sentence,
    word,
)
from analytics.report.material import Material, NotComputedError, Section
from analytics.report.tables import Column, html_table

HIGH_MRD = (
    "High MRD: marrow MRD of at least 1% before course 1, and every state R/R (assumed, <code>high_mrd@1</code>)."
)
"""What "high MRD" is, for the notes of every table that counts it."""
_MAIN_MODELS = ("firth_logistic", "firth_cox", "cox", "hsct_td")
_FOREST = ("firth_logistic", "firth_cox", "hsct_td")
_BY_SITE = ("firth_logistic_site", "firth_cox_site")
_POOLED = "random_effects"
_CELLS = ("gee", "mixed", "cluster_bootstrap")


_COLUMNS = "model outcome coding term label estimate lower upper p n events method".split()


def forest(material: Material) -> str:
    """F5: the main models; ordinary Cox and the further models stand in the tables."""
    table = _models(material)
    table = table.filter(pl.col("estimate").is_not_null() & pl.col("model").is_in(_FOREST))
    if table.is_empty():
        raise NotComputedError("the result table “models” holds none of the main models")
    note = (
        "Squares: odds ratios; diamonds: hazard ratios. Arrows: the interval reaches beyond the axis. No causal "
        "reading."
    )
    return material.figure(draw_forest(table), [note])


def site_forest(material: Material) -> str:
    """F5 by site, with the random-effects mean."""
    table = _models(material).filter(pl.col("model").is_in((*_BY_SITE, _POOLED)))
    if table.filter(pl.col("model").is_in(_BY_SITE)).is_empty():
        raise NotComputedError("the result table “models” holds no model by site")
    note = (
        "Firth estimates within each site, profile-likelihood intervals; mean: random effects (Paule–Mandel, "
        "Hartung–Knapp interval). Described, not tested: the sites are few and small."
    )
    return material.figure(draw_site_forest(table), [note])


def pooled(material: Material) -> str:
    """A12: the sites pooled by random effects, with their heterogeneity."""
    table = _models(material).filter(pl.col("model") == _POOLED)
    if table.is_empty():
        return ""
    fit = material.maybe("model_fit", "model", "outcome", "quantity", "value")
    found = {} if fit is None else {(r["outcome"], r["quantity"]): r["value"] for r in fit.to_dicts()}
    rows = []
    for row in table.to_dicts():
        percentage = row["term"] == "percent"
        outcome, term = str(row["outcome"]), str(row["term"])
        shown = number(row["estimate"]) if percentage else ratio(row["estimate"])
        limits = interval(row["lower"], row["upper"]) if percentage else ratio_interval(row["lower"], row["upper"])
        rows.append(
            {
                "label": term_name(row),
                "measure": "%" if percentage else outcome.rpartition(" ")[2],
                "n": count(row["n"]),
                "events": count(row["events"]),
                "estimate": f"{shown} ({limits})",
                "i2": number(found.get((outcome, f"{term}: I2, %")), 0),
                "tau2": number(found.get((outcome, f"{term}: tau2")), 2),
                "q": p_value(found.get((outcome, f"{term}: P of Q"))),
                "block": sentence(word(outcome.split(",")[0])),
            }
        )
    columns = [Column("label", "Quantity", "left"), Column("measure", "Measure", "left"), Column("n", "n")]
    columns += [Column("events", "Events"), Column("estimate", "Mean over sites (95% CI)"), Column("i2", "I² (%)")]
    columns += [Column("tau2", "τ²"), Column("q", "<i>P</i> of Q")]
    notes = [
        "Unit: patient; courses for MRD kept negative. Events: successes for a response, else failures.",
        _methods(table),
    ]
    body = html_table(rows, columns, stub="label", group="block")
    return material.table("Sites pooled by random effects", body, notes)


def repeated_courses(material: Material) -> str:
    """A3 and A9 over all courses of a patient."""
    table = material.need("models", *_COLUMNS).filter(pl.col("model").is_in(_CELLS))
    if table.is_empty():
        return ""
    note = "Unit: course, clustered within the patient."
    return material.table("All courses of a patient together", _model_table(table), [note, _methods(table)])


def models(material: Material) -> str:
    """T7: the main models, Firth and ordinary side by side."""
    table = _models(material)
    table = table.filter(pl.col("model").is_in(_MAIN_MODELS))
    if table.is_empty():
        raise NotComputedError("the result table “models” holds none of the main models")
    note = (
        "OR: odds ratio of non-response; HR: hazard ratio. Exploratory; few events per parameter. Exclusive coding "
        f"is the primary one; nested coding is shown for the published comparison. {HIGH_MRD}"
    )
    return material.table("Regression models", _model_table(table), [note, _methods(table), _fit(material)])


def further_models(material: Material) -> str:
    """T7: models that check or qualify the main ones."""
    table = _models(material)
    table = table.filter(pl.col("model").is_in((*_MAIN_MODELS, *_BY_SITE, _POOLED, *_CELLS)).not_())
    if table.is_empty():
        return ""
    note = (
        "Ever/never analyses of transplant and CAR-T are biased, because patients must live to be treated; they are "
        "shown as a warning only."
    )
    return material.table("Further models", _model_table(table), [note, _methods(table)])


def _model_table(table: pl.DataFrame) -> str:
    rows = [
        {
            "block": f"{model_heading(row)} ({_size(row)})",
            "label": term_name(row),
            "measure": measure_name(row["model"]),
            "ratio": ratio(row["estimate"]),
            "ci": (interval if measure_name(row["model"]) == "%" else ratio_interval)(row["lower"], row["upper"]),
            "p": p_value(row["p"]),
        }
        for row in table.to_dicts()
    ]
    columns = [
        Column("label", "Term", "left"),
        Column("measure", "Measure", "left"),
        Column("ratio", "Estimate"),
        Column("ci", "95% CI"),
        Column("p", "<i>P</i>"),
    ]
    return html_table(rows, columns, stub="label", group="block")


def _size(row: Row) -> str:
    unit = "course" if row["model"] in _CELLS else "patient"
    events = "" if row["events"] is None else f", {plural(row['events'], 'event')}"
    return f"{plural(row['n'], unit)}{events}"


def _methods(table: pl.DataFrame) -> str:
    """Each method once, with the models that it made."""
    made: dict[str, list[str]] = {}
    for model, method in table.select("model", "method").unique(maintain_order=True).iter_rows():
        made.setdefault(str(method), []).append(word(model))
    return " ".join(f"{escape(', '.join(names))}: {escape(method)}." for method, names in made.items())


def proportional_hazards(material: Material) -> str:
    """T7: tests of the proportional-hazards assumption."""
    table = material.need(
        "tests",
        *("analysis_id comparison test statistic df p n events").split(),
    )
    table = table.filter((pl.col("analysis_id") == "A6") & pl.col("p").is_not_null())
    if table.is_empty():
        raise NotComputedError("no test of proportional hazards in “tests”")
    tests = table["test"].unique(maintain_order=True).to_list()
    rows: list[dict[str, Any]] = []
    for comparison in table["comparison"].unique(maintain_order=True).to_list():
        model, _, term = str(comparison).partition(": ")
        cells = {row["test"]: row for row in table.filter(pl.col("comparison") == comparison).to_dicts()}
        rows.append(
            {
                "block": f"{model} coding",
                "term": "All terms" if term == "GLOBAL" else sentence(word(term)),
                **{test: p_value(cells[test]["p"]) if test in cells else "" for test in tests},
            }
        )
    columns = [Column("term", "Term", "left")]
    columns += [
        Column(test, escape(str(test).removeprefix("proportional hazards, ")), spanner="<i>P</i>") for test in tests
    ]
    body = html_table(rows, columns, stub="term", group="block")
    size = f"{plural(table['n'][0], 'patient')}, {plural(table['events'][0], 'event')}."
    return material.table("Proportional hazards", body, [f"Unit: patient; {size}"])


def _models(material: Material) -> pl.DataFrame:
    return material.need("models", *_COLUMNS)


def _fit(material: Material) -> str:
    """Concordance of the Firth Cox models, apparent and corrected for optimism."""
    fit = material.maybe("model_fit", "model", "outcome", "coding", "quantity", "value")
    if fit is None:
        return ""
    said = [
        f"{escape(model_heading(row))}, {escape(str(row['quantity']))} {number(row['value'], 3)}"
        for row in fit.filter(
            (pl.col("model") == "firth_cox") & pl.col("quantity").str.starts_with("concordance")
        ).to_dicts()
        if is_number(row["value"])
    ]
    concordance = f"Harrell’s C. {'; '.join(said)}." if said else ""
    share = [
        f"{escape(str(row['coding']))} coding {number(row['value'])}"
        for row in fit.filter((pl.col("model") == "cox") & (pl.col("quantity") == "events per parameter")).to_dicts()
    ]
    return f"{concordance} Events per parameter of the Cox models: {'; '.join(share)}." if share else concordance


MODELS = Section(
    "models",
    "Regression models",
    (
        ("Forest plot", forest),
        ("Forest plot by site", site_forest),
        ("Models", models),
        ("Further models", further_models),
        ("Sites pooled", pooled),
        ("All courses", repeated_courses),
        ("Proportional hazards", proportional_hazards),
    ),
)
