"""Cell counts in 10*9/L and cytokines in pg/mL, whatever unit the laboratory wrote (`units_cells@1`, A15)."""

from collections.abc import Mapping

import polars as pl

from analytics.concept_sets import ConceptSets
from analytics.findings import Findings
from analytics.marrow import OPERATORS
from analytics.records import Records
from analytics.study import Study
from analytics.written import folded_unit, with_written_numbers

VALUES = ("person_id", "analyte", "date", "time", "value", "operator", "measurement_id")
"""Columns of the frames of this module; `value` in the canonical unit, `operator` `<` `>` … or null."""


def cell_counts(
    records: Records, analytes: Mapping[str, str], sets: ConceptSets, study: Study, findings: Findings
) -> pl.DataFrame:
    """Absolute counts in 10*9/L (columns `VALUES`) of these analytes (name → concept set).

    A unit that is not in `units_cells.factors` drops the row and is counted; a percentage is never read as a count.
    """
    rows = _with_units(_rows(records, analytes, sets), study)
    findings.count("dq_code_unit_conflict", rows.filter("is_percent"), rows)
    return _counted(rows, findings)


def _with_units(rows: pl.DataFrame, study: Study) -> pl.DataFrame:
    """The rows with `value` in 10*9/L (null: no unit of counts) and is_percent."""
    units = [folded_unit(pl.col(one)) for one in ("unit_source_value", "unit_code")]
    is_percent = pl.any_horizontal(one.is_in(study.get("units_cells.percent")) for one in units)
    rows = _converted(rows, study.get("units_cells.factors"))
    return rows.with_columns(is_percent=is_percent.fill_null(value=False))


def _counted(rows: pl.DataFrame, findings: Findings) -> pl.DataFrame:
    known = pl.col("value").is_not_null()
    findings.count("dq_unit_unknown", rows.filter(~known & ~pl.col("is_percent")), rows)
    findings.count("dq_unit_normalised", rows.filter(known & (pl.col("written") != "10*9/l")), rows)
    findings.count(
        "dq_below_lod", rows.filter(known & ((pl.col("value") == 0) | pl.col("operator").is_in(["<", "<="]))), rows
    )
    return rows.filter(known & ~pl.col("is_percent")).select(VALUES)


def subset_counts(records: Records, sets: ConceptSets, study: Study, findings: Findings) -> pl.DataFrame:
    """T and B cells in 10*9/L (columns `VALUES`): measured counts, and % × lymphocytes of the same draw without one.

    The unit decides what a result is: a percentage under a code of counts is a percentage, and the reverse (R31). A
    count from a percentage (R30, grade B) carries the id of the percentage's row and is counted.
    """
    by_count = _rows(records, study.get("tcell_analytes"), sets).with_columns(says_percent=pl.lit(value=False))
    by_share = _rows(records, study.get("tcell_percent"), sets).with_columns(says_percent=pl.lit(value=True))
    rows = _with_units(pl.concat([by_count, by_share]), study)
    is_count, no_unit = pl.col("value").is_not_null(), pl.coalesce("unit_source_value", "unit_code").is_null()
    conflict = pl.when("says_percent").then(is_count).otherwise("is_percent")
    findings.count("dq_code_unit_conflict", rows.filter(conflict), rows)
    rows = rows.with_columns(is_percent=pl.col("is_percent") | (pl.col("says_percent") & no_unit))
    measured = _counted(rows, findings)
    percent = rows.filter("is_percent", pl.col("operator").is_null())
    findings.count("dq_pct_beside_absolute", percent, records.measurements)
    lacking = percent.join(measured, on=["person_id", "analyte", "date"], how="anti")
    made = _of_lymphocytes(lacking, records, sets, study, findings)
    findings.count("dq_abs_from_pct", made, percent)
    return pl.concat([measured, made.select(VALUES)])


def _of_lymphocytes(
    percent: pl.DataFrame, records: Records, sets: ConceptSets, study: Study, findings: Findings
) -> pl.DataFrame:
    """Percentages as counts: with the lymphocytes of the same moment, else with the only ones of the same day."""
    all_cells = cell_counts(records, {"lymphocytes": "CS_LYMPHOCYTES_ABS"}, sets, study, findings)
    all_cells = all_cells.filter(pl.col("operator").is_null())
    draw, day = ["person_id", "date", "time"], ["person_id", "date"]
    exact = all_cells.unique(draw, maintain_order=True).select(*draw, exact="value")
    single = all_cells.filter(pl.len().over(day) == 1).select(*day, single="value")
    joined = percent.join(exact, on=draw, how="left", nulls_equal=True).join(single, on=day, how="left")
    joined = joined.with_columns(all_cells=pl.coalesce("exact", "single")).filter(pl.col("all_cells").is_not_null())
    return joined.with_columns(value=(pl.col("value_as_number") / 100 * pl.col("all_cells")).round(9))


def concentrations(
    records: Records, analytes: Mapping[str, str], factors: Mapping[str, float], sets: ConceptSets, findings: Findings
) -> pl.DataFrame:
    """Cytokines (columns `VALUES`) in the unit whose factor is 1; unknown units drop the row and are counted."""
    rows = amounts(records, analytes, factors, sets)
    findings.count("dq_unit_unknown", rows.filter(pl.col("value").is_null()), rows)
    limits = pl.col("operator").is_in(["<", "<=", ">", ">="])
    findings.count("dq_cytokine_censored", rows.filter(limits), rows)
    return rows.filter(pl.col("value").is_not_null()).select(VALUES)


def amounts(
    records: Records, analytes: Mapping[str, str], factors: Mapping[str, float], sets: ConceptSets
) -> pl.DataFrame:
    """The results with a number of these analytes (name → concept set): columns `VALUES` beside OMOP's.

    `value` is in the unit whose factor is 1; null: the unit is not among the factors.
    """
    return _converted(_rows(records, analytes, sets), factors)


def _rows(records: Records, analytes: Mapping[str, str], sets: ConceptSets) -> pl.DataFrame:
    named = sets.choose("measurement_concept_id", {concept_set: name for name, concept_set in analytes.items()})
    rows = records.measurements.with_columns(
        analyte=named.cast(pl.String),
        operator=sets.choose("operator_concept_id", OPERATORS).cast(pl.String),
        date=pl.col("measurement_date"),
        time=pl.col("measurement_datetime"),
    ).filter(pl.col("analyte").is_not_null())
    rows = with_written_numbers(rows).filter(pl.col("value_as_number").is_not_null())
    return rows.with_columns(operator=pl.when(pl.col("operator") != "=").then("operator"))


def _converted(rows: pl.DataFrame, factors: Mapping[str, float]) -> pl.DataFrame:
    """`value` by the factor of the unit as written, else of its UCUM code; `written` is the unit understood."""
    units = [folded_unit(pl.col(one)) for one in ("unit_source_value", "unit_code")]
    written = pl.coalesce(pl.when(one.is_in(list(factors))).then(one) for one in units)
    factor = pl.col("written").replace_strict(
        {unit: float(one) for unit, one in factors.items()}, default=None, return_dtype=pl.Float64
    )
    return rows.with_columns(written=written).with_columns(value=(pl.col("value_as_number") * factor).round(9))
