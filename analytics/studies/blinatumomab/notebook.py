# mypy: ignore-errors
"""The event-free survival of the study from the OMOP tables, step by step (a marimo notebook: `marimo edit` this file).

As a script: `python notebook.py --db duckdb:///omop.duckdb --to efs.svg`; without --db the environment variable
BLINA_DATABASE is read. It writes nothing but the figure.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Event-free survival")


@app.cell
def _():
    import os

    import marimo as mo

    from analytics import derive, load_study, open_cdm
    from analytics.figures import draw_survival
    from analytics.statistics.frames import study_frames, survival_of
    from analytics.statistics.survival import survival_tables

    return derive, draw_survival, load_study, mo, open_cdm, os, study_frames, survival_of, survival_tables


@app.cell
def _(mo, os):
    given = mo.cli_args()
    url = given.get("db") or os.environ.get("BLINA_DATABASE")
    mo.stop(not url, mo.md("Say which database: `--db duckdb:///omop.duckdb` or the variable `BLINA_DATABASE`."))
    return given, url


@app.cell
def _(mo):
    mo.md("""
    ## What is in the CDM

    Bags of blinatumomab are rows of `drug_exposure` with the type "EHR administration record". The concept is found by
    its code, never by an id that somebody remembers.
    """)


@app.cell
def _(open_cdm, url):
    cdm = open_cdm(url)
    bags = cdm.query("""
        SELECT count(*) AS bags, count(DISTINCT person_id) AS persons,
               min(drug_exposure_start_date) AS first_bag, max(drug_exposure_start_date) AS last_bag
        FROM cdm.drug_exposure
        JOIN cdm.concept ON concept_id = drug_concept_id
        WHERE vocabulary_id = 'RxNorm' AND concept_code = '1597258' AND drug_type_concept_id = 32818
    """)
    bags  # noqa: B018  a marimo cell shows its last expression
    return bags, cdm


@app.cell
def _(mo):
    mo.md("""
    ## What the study makes of it

    Courses, marrows, indications and events by the definitions of `study.yaml`; every one of them can be changed.
    """)


@app.cell
def _(cdm, derive, load_study):
    derived = derive(cdm, load_study("blinatumomab"))
    cdm.close()
    derived.attrition  # noqa: B018
    return (derived,)


@app.cell
def _(derived, study_frames, survival_of, survival_tables):
    from analytics.statistics.parameters import StatisticsParameters

    efs = survival_of(study_frames(derived).patients, "EFS")
    tables = survival_tables(efs, StatisticsParameters())
    tables["survival_at"]
    return (tables,)


@app.cell
def _(draw_survival, mo, tables):
    figure = draw_survival("EFS", tables["survival_curves"], tables["risk_table"], tables["survival_at"])
    mo.Html(figure.svg)
    return (figure,)


@app.cell
def _(figure, given):
    if given.get("to"):
        from pathlib import Path

        Path(given["to"]).write_text(figure.svg, encoding="utf-8")


if __name__ == "__main__":
    app.run()
