"""Response (T4), univariate predictors (T5) and regression models (T7, F5)."""

from html import escape

import polars as pl

from analytics.figures.flow import draw_flow
from analytics.figures.mrd_change import draw_mrd_change
from analytics.figures.wording import (
    DASH,
    Row,
    endpoint_of,
    interval,
    is_number,
    number,
    p_phrase,
    p_value,
    plural,
    ratio,
    ratio_interval,
    sentence,
    share,
    spell,
    word,
)
from analytics.report.material import Material, Section, some
from analytics.report.models import HIGH_MRD
from analytics.report.tables import Column, html_table

ALL_SITES = ("all", "overall", "ALL")
_P_VALUES = (
    ("fisher", "Fisher"),
    ("midp", "mid-P"),
    ("barnard", "Barnard"),
    ("pearson", "Pearson"),
    ("yates", "Yates"),
)
_MAIN = ("A2", "A3")


_PREDICTOR_NOTES = [
    (
        "Unit: patient (first course given for disease). Difference: risk of non-response with the factor minus "
        "without it, in percentage points, Newcombe interval. OR: odds ratio of non-response, Firth logistic "
        "regression with this factor alone, profile-likelihood interval; the joint models follow in the table of "
        f"regression models. {HIGH_MRD}"
    ),
    (
        "P values: five tests of the same two-by-two table (S15). Nested coding counts BCR::ABL1 within poor "
        "cytogenetics, exclusive coding does not; both are shown. "
        "CD19 is measured after baseline and is described, not used as a predictor in a model. Exploratory. "
        "Adjusted: Fisher’s, Benjamini–Hochberg over these factors."
    ),
]


def over_all_sites(response: pl.DataFrame) -> pl.DataFrame:
    """The rows of the table response that are not of one site."""
    return response.filter(pl.col("site").is_null() | pl.col("site").is_in(ALL_SITES))


def flow(material: Material) -> str:
    """F8: every course from the marrow before it to the marrow after it and to what came next."""
    table = material.need("state_flow", "state_pre", "state_post", "next_therapy", "n")
    note = (
        "Unit: course. A band keeps the colour of the state before the course. What came next: the first of a further "
        "course, HSCT, CAR-T, or an EFS event before any of them, up to the last contact; chemotherapy is not counted. "
        "No causal reading."
    )
    return material.figure(draw_flow(some(table.filter(pl.col("n") > 0), "course by state")), [note])


def mrd_change(material: Material) -> str:
    """F9; only in a report that stays in the hospital."""
    columns = ("state_pre", "pre", "pre_censoring", "post", "post_censoring")
    note = (
        "One line per course, from the marrow before to the marrow after it. Arrows: a limit, or negative without a "
        "number. Courses negative before and after are counted in n and not drawn. Left out of a report for sharing."
    )
    return material.figure(draw_mrd_change(material.need("mrd_change", *columns)), [note])


def proportions(material: Material) -> str:
    """T4 over all sites, with Clopper–Pearson and Wilson intervals and Fisher's test."""
    rows = [
        {
            "group": f"{word(row['group'])}: {endpoint_of(row['group'])}",
            "population": sentence(spell(row["population"])),
            "unit": row["unit_of_analysis"],
            "share": share(row["k"], row["n"]),
            "exact": interval(row["cp_lower"], row["cp_upper"]),
            "wilson": interval(row["wilson_lower"], row["wilson_upper"]),
        }
        for row in over_all_sites(_response(material)).to_dicts()
    ]
    columns = [
        Column("population", "Analysis set", "left"),
        Column("unit", "Unit", "left"),
        Column("share", "k/n (%)"),
        Column("exact", "Exact", spanner="95% confidence interval (%)"),
        Column("wilson", "Wilson", spanner="95% confidence interval (%)"),
    ]
    notes = [
        (
            "“CR” in the state CR-MRDpos is written MRD clearance (called CR in the paper); which definition the "
            "paper used is not known. Exact: Clopper–Pearson."
        ),
        _fisher(material),
    ]
    body = html_table(rows, columns, stub="population", group="group")
    return material.table("Response by state before the course, all sites", body, notes)


def by_site(material: Material) -> str:
    """T4 by site: one row per site, one column per main analysis."""
    table = _response(material).filter(
        pl.col("site").is_not_null() & pl.col("site").is_in(ALL_SITES).not_() & pl.col("analysis_id").is_in(_MAIN)
    )
    if table.is_empty():
        return ""
    groups = table["group"].unique(maintain_order=True).to_list()
    columns = [Column("site", "Site", "left")]
    for group in groups:
        head = f"{escape(word(group))}: {endpoint_of(group)}"
        columns += [
            Column(f"{group}_share", "k/n (%)", spanner=head),
            Column(f"{group}_ci", "Exact 95% CI", spanner=head),
        ]
    rows = []
    for site in table["site"].unique().sort().to_list():
        row: dict[str, object] = {"site": site}
        for group in groups:
            found = table.filter((pl.col("site") == site) & (pl.col("group") == group)).to_dicts()
            row[f"{group}_share"] = share(found[0]["k"], found[0]["n"]) if found else DASH
            row[f"{group}_ci"] = interval(found[0]["cp_lower"], found[0]["cp_upper"]) if found else DASH
        rows.append(row)
    units = ", ".join(f"{word(g)}: {table.filter(pl.col('group') == g)['unit_of_analysis'][0]}" for g in groups)
    note = f"Units: {escape(units)}. Described, not tested: the sites are few and small."
    return material.table("Response by site", html_table(rows, columns, stub="site"), [note])


def _response(material: Material) -> pl.DataFrame:
    return material.need(
        "response",
        *(
            "analysis_id population unit_of_analysis group site k n percent cp_lower cp_upper wilson_lower wilson_upper"
        ).split(),
    )


def _fisher(material: Material) -> str:
    tests = material.maybe("tests", "analysis_id", "test", "p", "n", "events", "comparison")
    if tests is None:
        return "Fisher's exact test: not computed."
    rows = tests.filter((pl.col("analysis_id") == "A2") & pl.col("test").str.contains("(?i)fisher")).to_dicts()
    if not rows:
        return ""
    row = rows[0]
    size = f"{plural(row['n'], 'patient')}, {plural(row['events'], 'response')}" if row["n"] is not None else "refused"
    return (
        f"{escape(sentence(spell(row['comparison'])))}: {escape(str(row['test']))}, "
        f"{p_phrase(row['p']).replace('<', '&lt;')} ({size}). The two "
        "endpoints differ; the test is shown for comparison with the published P value only."
    )


def predictors(material: Material) -> str:
    """T5: two-by-two tables with the tests side by side."""
    table = material.need(
        "predictors",
        *(
            "factor coding nonresponse_exposed nonresponse_total response_exposed response_total "
            "fisher_p midp_p pearson_p yates_p risk_difference rd_lower rd_upper"
        ).split(),
    )
    rows = []
    for row in table.to_dicts():
        shown = {f"{name}_p": p_value(row[f"{name}_p"]) for name, _ in _P_VALUES if f"{name}_p" in row}
        shown["adjusted"] = p_value(row.get("fisher_p_adjusted"))
        coding = f" ({row['coding']})" if row["coding"] in ("nested", "exclusive") else ""
        rows.append(
            {
                "factor": f"{sentence(word(row['factor']))}{coding}",
                "failed": share(row["nonresponse_exposed"], row["nonresponse_total"]),
                "answered": share(row["response_exposed"], row["response_total"]),
                "difference": _difference(row),
                "odds": _odds(row),
                **shown,
            }
        )
    columns = [
        Column("factor", "Factor (coding)", "left"),
        Column("failed", "Non-response", spanner="Factor present, k/n (%)"),
        Column("answered", "Response", spanner="Factor present, k/n (%)"),
        Column("difference", "Risk difference (95% CI), points"),
    ]
    if "odds_ratio" in table.columns:
        columns.append(Column("odds", "OR (95% CI)"))
    columns += [Column(f"{n}_p", label, spanner="<i>P</i>") for n, label in _P_VALUES if f"{n}_p" in table.columns]
    if "fisher_p_adjusted" in table.columns:
        columns.append(Column("adjusted", "Adjusted", spanner="<i>P</i>"))
    return material.table(
        "Factors and non-response, one at a time", html_table(rows, columns, stub="factor"), _PREDICTOR_NOTES
    )


def _difference(row: Row) -> str:
    if not is_number(row["risk_difference"]):
        return DASH
    limits = interval(100 * row["rd_lower"], 100 * row["rd_upper"])
    return f"{number(100 * row['risk_difference'])} ({limits})"


def _odds(row: Row) -> str:
    if not is_number(row.get("odds_ratio")):
        return DASH
    return f"{ratio(row['odds_ratio'])} ({ratio_interval(row['or_lower'], row['or_upper'])})"


RESPONSE = Section(
    "response",
    "Response",
    (
        ("State, response and next therapy", flow),
        ("Response", proportions),
        ("MRD change", mrd_change),
        ("Response by site", by_site),
        ("Predictors", predictors),
    ),
)
