"""What is charted around a CRS record (`crs_signs@1`): fever, systolic pressure, vasopressors and oxygen by day.

Each sign keeps the id of the OMOP row that it came from. A day without a row is a day of which nothing is known.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from analytics.concept_sets import ConceptSets
from analytics.concomitant import drug_in
from analytics.counts import amounts
from analytics.findings import Findings
from analytics.records import Records
from analytics.study import Study

SIGNS = {
    "person_id": pl.Int64, "first": pl.Date, "last": pl.Date, "sign": pl.String, "kind": pl.String,
    "source_table": pl.String, "source_id": pl.Int64,
}  # fmt: skip
"""Columns of the signs, from `first` to `last` day. By sign the kinds are: temperature fever, none; pressure low,
normal; vasopressor its name; oxygen none, a device of `crs_signs.devices`, low_flow, fraction_low, fraction_high."""
FEVER, LOW = "fever", "low"
UNUSABLE = "dq_crs_sign_unusable"


def read_signs(
    persons: pl.DataFrame, records: Records, sets: ConceptSets, study: Study, findings: Findings
) -> pl.DataFrame:
    """All signs of these persons (person_id, whoever has a CRS record or not): columns `SIGNS`.

    A value without a known unit, or one that no living child has, is none; it is counted among the values looked at.
    """
    rule = study.get("crs_signs")
    readings = [
        _temperatures(records, rule, sets, findings),
        _pressures(records, rule, sets, findings),
        _flows(records, rule, sets, findings),
        _fractions(records, rule, sets, findings),
    ]
    found = [*readings, _vasopressors(records, rule, sets, study), *_devices(records, rule, sets)]
    kept = (rows.select(pl.col(name).cast(kind) for name, kind in SIGNS.items()) for rows in found)
    return pl.concat(kept).join(persons.select("person_id").unique(), on="person_id", how="semi")


def _reading(rows: pl.DataFrame, sign: str, kind: pl.Expr) -> pl.DataFrame:
    return rows.with_columns(
        first="date", last="date", sign=pl.lit(sign), kind=kind, source_table=pl.lit("measurement"),
        source_id="measurement_id",
    )  # fmt: skip


def _usable(rows: pl.DataFrame, limits: Sequence[float], findings: Findings) -> pl.DataFrame:
    """The rows whose value (null: unknown unit) lies within the limits; the others are counted."""
    lowest, highest = limits
    plausible = pl.col("value").is_between(lowest, highest).fill_null(value=False)
    findings.count(UNUSABLE, rows.filter(~plausible), rows)
    return rows.filter(plausible)


def _temperatures(records: Records, rule: Mapping[str, Any], sets: ConceptSets, findings: Findings) -> pl.DataFrame:
    known = dict.fromkeys([*rule["celsius_units"], *rule["fahrenheit_units"]], 1.0)
    rows = amounts(records, {"temperature": "CS_TEMPERATURE"}, known, sets)
    celsius = pl.when(pl.col("written").is_in(rule["fahrenheit_units"])).then((pl.col("value") - 32) / 1.8)
    # Rounded: 100.4 °F is 38 °C, whatever the last binary digit says.
    rows = rows.with_columns(value=pl.coalesce(celsius, "value").round(3))
    rows = _usable(rows, rule["plausible_celsius"], findings)
    return _reading(
        rows,
        "temperature",
        pl.when(pl.col("value") >= rule["fever_from_celsius"]).then(pl.lit(FEVER)).otherwise(pl.lit("none")),
    )


def _pressures(records: Records, rule: Mapping[str, Any], sets: ConceptSets, findings: Findings) -> pl.DataFrame:
    rows = amounts(records, {"systolic": "CS_SYSTOLIC"}, rule["pressure_units"], sets)
    rows = _usable(rows, rule["plausible_mmhg"], findings)
    rows = rows.join(records.persons.select("person_id", "birth_date"), on="person_id")
    limit = systolic_limit(completed_years(pl.col("birth_date"), pl.col("date")), rule)
    return _reading(rows, "pressure", pl.when(pl.col("value") < limit).then(pl.lit(LOW)).otherwise(pl.lit("normal")))


def completed_years(born: pl.Expr, day: pl.Expr) -> pl.Expr:
    """The age on a day in completed years."""

    def of_year(one: pl.Expr) -> pl.Expr:
        return one.dt.month().cast(pl.Int32) * 100 + one.dt.day()

    return day.dt.year() - born.dt.year() - (of_year(day) < of_year(born)).cast(pl.Int32)


def systolic_limit(years: pl.Expr, rule: Mapping[str, Any]) -> pl.Expr:
    """The systolic pressure, mmHg, below which a child of these completed years has hypotension."""
    by_age = rule["systolic_base_mmhg"] + rule["systolic_per_year_mmhg"] * years
    return pl.when(years <= rule["systolic_through_years"]).then(by_age).otherwise(rule["systolic_older_mmhg"])


def _flows(records: Records, rule: Mapping[str, Any], sets: ConceptSets, findings: Findings) -> pl.DataFrame:
    rows = amounts(records, {"flow": "CS_OXYGEN_FLOW"}, rule["flow_units"], sets)
    rows = _usable(rows, [0, float("inf")], findings)
    flow, limit = pl.col("value"), rule["low_flow_to_l_min"]
    is_high = (flow > limit) | ((flow == limit) & pl.col("operator").eq_missing(pl.lit(">")))
    kind = pl.when(flow == 0).then(pl.lit("none")).when(is_high).then(pl.lit("high_flow_or_mask"))
    return _reading(rows, "oxygen", kind.otherwise(pl.lit("low_flow")))


def _fractions(records: Records, rule: Mapping[str, Any], sets: ConceptSets, findings: Findings) -> pl.DataFrame:
    rows = amounts(records, {"fraction": "CS_OXYGEN_FRACTION"}, rule["fraction_units"], sets)
    rows = _usable(rows, [15, 100], findings)
    share = pl.col("value")
    enriched = pl.when(share < rule["high_fraction_from_pct"]).then(pl.lit("fraction_low"))
    kind = pl.when(share <= rule["room_air_to_pct"]).then(pl.lit("none"))
    return _reading(rows, "oxygen", kind.otherwise(enriched.otherwise(pl.lit("fraction_high"))))


def _vasopressors(records: Records, rule: Mapping[str, Any], sets: ConceptSets, study: Study) -> pl.DataFrame:
    """What was given into the circulation; an order alone was not given."""
    named = pl.lit(None, dtype=pl.String)
    for name, concept_set in rule["vasopressors"].items():
        named = pl.when(drug_in(sets, concept_set)).then(pl.lit(name)).otherwise(named)
    elsewhere = pl.col("route_source_value").str.contains("|".join(rule["other_routes"])).fill_null(value=False)
    rows = records.drugs.with_columns(kind=named).filter(
        pl.col("kind").is_not_null(),
        ~elsewhere,
        pl.col("drug_type_concept_id").is_in(study.get("exposure_type.administration_type_concept_ids")),
    )
    return _spanning(rows, "vasopressor", "drug_exposure", "drug_exposure_start_date", "drug_exposure_end_date")


def _devices(records: Records, rule: Mapping[str, Any], sets: ConceptSets) -> list[pl.DataFrame]:
    """Oxygen by its device, wherever it is charted: a device, a procedure, or the answer of a result."""
    options = {concept_set: name for name, concept_set in rule["devices"].items()}
    found = []
    for table, rows, columns, first, last in (
        ("device_exposure", records.devices, ("device_concept_id", "device_source_concept_id"),
         "device_exposure_start_date", "device_exposure_end_date"),
        ("procedure_occurrence", records.procedures, ("procedure_concept_id", "procedure_source_concept_id"),
         "procedure_date", "procedure_end_date"),
        ("measurement", records.measurements, ("value_as_concept_id",), "measurement_date", "measurement_date"),
        ("observation", records.observations, ("value_as_concept_id", "observation_concept_id"),
         "observation_date", "observation_date"),
    ):  # fmt: skip
        kind = pl.coalesce(sets.choose(column, options).cast(pl.String) for column in columns)
        named = rows.with_columns(kind=kind).filter(pl.col("kind").is_not_null())
        found.append(_spanning(named, "oxygen", table, first, last))
    return found


def _spanning(rows: pl.DataFrame, sign: str, table: str, first: str, last: str) -> pl.DataFrame:
    key = f"{table}_id"
    return rows.select(
        "person_id", "kind", first=first, last=pl.max_horizontal(first, last), sign=pl.lit(sign),
        source_table=pl.lit(table), source_id=key,
    )  # fmt: skip


def on_days(days: pl.DataFrame, signs: pl.DataFrame) -> pl.DataFrame:
    """`days` (person_id, course_no, date) with the signs of each: a row per day and sign."""
    at_once = pl.col("first") == pl.col("last")
    kept = ["sign", "kind", "source_table", "source_id"]
    points = days.join(signs.filter(at_once), left_on=["person_id", "date"], right_on=["person_id", "first"])
    spans = days.join(signs.filter(~at_once), on="person_id").filter(pl.col("date").is_between("first", "last"))
    return pl.concat([rows.select(*days.columns, *kept) for rows in (points, spans)])
