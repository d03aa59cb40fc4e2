"""Cell counts in 10*9/L and cytokines in pg/mL, whatever unit the laboratory wrote (`units_cells@1`, A15)."""

from collections.abc import Mapping

import polars as pl

from analytics.concept_sets import ConceptSets
from analytics.findings import Findings
from analytics.marrow import OPERATORS
from analytics.records import Records
from analytics.study import Study

VALUES = ("person_id", "analyte", "date", "time", "value", "operator", "measurement_id")
"""Columns of the frames of this module; `value` in the canonical unit, `operator` `<` `>` … or null."""


def cell_counts(
    records: Records, analytes: Mapping[str, str], sets: ConceptSets, study: Study, findings: Findings
) -> pl.DataFrame:
    """Absolute counts in 10*9/L (columns `VALUES`) of these analytes (name → concept set).

    A unit that is not in `units_cells.factors` drops the row and is counted; a percentage is never read as a count.
    """
    rows = _rows(records, analytes, sets)
    factors, percent = study.get("units_cells.factors"), study.get("units_cells.percent")
    is_percent = pl.any_horizontal(pl.col(one).is_in(percent) for one in ("unit_source_value", "unit_code"))
    rows = _converted(rows, factors).with_columns(is_percent=is_percent.fill_null(value=False))
    known = pl.col("value").is_not_null()
    findings.count("dq_code_unit_conflict", rows.filter("is_percent"), rows)
    findings.count("dq_unit_unknown", rows.filter(~known & ~pl.col("is_percent")), rows)
    findings.count("dq_unit_normalised", rows.filter(known & (pl.col("written") != "10*9/l")), rows)
    findings.count(
        "dq_below_lod", rows.filter(known & ((pl.col("value") == 0) | pl.col("operator").is_in(["<", "<="]))), rows
    )
    return rows.filter(known & ~pl.col("is_percent")).select(VALUES)


def subset_counts(records: Records, sets: ConceptSets, study: Study, findings: Findings) -> pl.DataFrame:
    """T and B cells in 10*9/L (columns `VALUES`): measured counts, and % × lymphocytes of the same draw without one.

    A count from a percentage (R30, grade B) carries the id of the percentage's row and is counted.
    """
    measured = cell_counts(records, study.get("tcell_analytes"), sets, study, findings)
    lymphocytes = cell_counts(records, {"lymphocytes": "CS_LYMPHOCYTES_ABS"}, sets, study, findings)
    lymphocytes = lymphocytes.filter(pl.col("operator").is_null()).select(
        "person_id", "date", "time", all_cells="value"
    )
    is_percent = pl.any_horizontal(
        pl.col(one).is_in(study.get("units_cells.percent")) for one in ("unit_source_value", "unit_code")
    )
    percent = _rows(records, study.get("tcell_percent"), sets).filter(is_percent, pl.col("operator").is_null())
    findings.count("dq_pct_beside_absolute", percent, records.measurements)
    draw = ["person_id", "date", "time"]
    lacking = percent.join(measured, on=["person_id", "analyte", "date"], how="anti")
    made = lacking.join(lymphocytes.unique(draw, maintain_order=True), on=draw, nulls_equal=True)
    made = made.with_columns(value=(pl.col("value_as_number") / 100 * pl.col("all_cells")).round(9))
    findings.count("dq_abs_from_pct", made, percent)
    return pl.concat([measured, made.select(VALUES)])


def concentrations(
    records: Records, analytes: Mapping[str, str], factors: Mapping[str, float], sets: ConceptSets, findings: Findings
) -> pl.DataFrame:
    """Cytokines (columns `VALUES`) in the unit whose factor is 1; unknown units drop the row and are counted."""
    rows = _converted(_rows(records, analytes, sets), factors)
    findings.count("dq_unit_unknown", rows.filter(pl.col("value").is_null()), rows)
    limits = pl.col("operator").is_in(["<", "<=", ">", ">="])
    findings.count("dq_cytokine_censored", rows.filter(limits), rows)
    return rows.filter(pl.col("value").is_not_null()).select(VALUES)


def _rows(records: Records, analytes: Mapping[str, str], sets: ConceptSets) -> pl.DataFrame:
    named = sets.choose("measurement_concept_id", {concept_set: name for name, concept_set in analytes.items()})
    return (
        records.measurements.with_columns(
            analyte=named.cast(pl.String),
            operator=sets.choose("operator_concept_id", OPERATORS).cast(pl.String),
            date=pl.col("measurement_date"),
            time=pl.col("measurement_datetime"),
        )
        .filter(pl.col("analyte").is_not_null() & pl.col("value_as_number").is_not_null())
        .with_columns(operator=pl.when(pl.col("operator") != "=").then("operator"))
    )


def _converted(rows: pl.DataFrame, factors: Mapping[str, float]) -> pl.DataFrame:
    """`value` by the factor of the unit as written, else of its UCUM code; `written` is the unit understood."""
    units = [folded_unit(pl.col(one)) for one in ("unit_source_value", "unit_code")]
    written = pl.coalesce(pl.when(one.is_in(list(factors))).then(one) for one in units)
    factor = pl.col("written").replace_strict(
        {unit: float(one) for unit, one in factors.items()}, default=None, return_dtype=pl.Float64
    )
    return rows.with_columns(written=written).with_columns(value=(pl.col("value_as_number") * factor).round(9))


def folded_unit(unit: pl.Expr) -> pl.Expr:
    """A unit as the tables of units write it: NFKC, lower case, `u` for µ and μ, no blanks."""
    # NFKC would turn 10⁹ into 109.
    powers = unit.str.replace_many(["⁹", "⁶", "³"], ["^9", "^6", "^3"])
    plain = powers.str.normalize("NFKC").str.to_lowercase().str.replace_all(r"\s", "").str.replace("^[×x*]", "")
    return plain.str.replace_all("[µμ]", "u")
