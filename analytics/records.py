"""The OMOP rows of the persons who were given blinatumomab, read once, as plain frames that all derivations share."""

from dataclasses import dataclass, replace
from datetime import date

import polars as pl

from analytics.cdm import Cdm, number_list
from analytics.concept_sets import ConceptSets
from analytics.study import Study, data_lock

_NAMES = {
    "drug_exposure": (
        "drug_exposure_id person_id drug_concept_id drug_source_concept_id drug_type_concept_id drug_source_value "
        "drug_exposure_start_date drug_exposure_start_datetime drug_exposure_end_date drug_exposure_end_datetime "
        "quantity dose_unit_source_value sig stop_reason days_supply route_concept_id route_source_value "
        "visit_occurrence_id"
    ),
    "condition_occurrence": (
        "condition_occurrence_id person_id condition_concept_id condition_source_concept_id condition_start_date "
        "condition_source_value visit_occurrence_id"
    ),
    "observation": (
        "observation_id person_id observation_concept_id observation_source_concept_id observation_date "
        "value_as_number value_as_concept_id qualifier_concept_id observation_source_value value_source_value "
        "qualifier_source_value observation_event_id "
        "obs_event_field_concept_id"
    ),
    "measurement": (
        "measurement_id person_id measurement_concept_id measurement_source_concept_id measurement_date "
        "measurement_datetime operator_concept_id value_as_number value_as_concept_id unit_concept_id "
        "unit_source_value range_high measurement_source_value value_source_value measurement_event_id "
        "meas_event_field_concept_id visit_occurrence_id"
    ),
    "procedure_occurrence": (
        "procedure_occurrence_id person_id procedure_concept_id procedure_source_concept_id procedure_date "
        "procedure_source_value procedure_end_date"
    ),
    "device_exposure": (
        "device_exposure_id person_id device_concept_id device_source_concept_id device_exposure_start_date "
        "device_exposure_end_date"
    ),
    "visit_occurrence": (
        "visit_occurrence_id person_id visit_concept_id visit_start_date visit_end_date care_site_id "
        "discharged_to_source_value"
    ),
    "specimen": (
        "specimen_id person_id specimen_concept_id specimen_date specimen_datetime anatomic_site_concept_id "
        "specimen_source_value anatomic_site_source_value"
    ),
    "person": ("person_id gender_concept_id year_of_birth month_of_birth day_of_birth birth_datetime care_site_id"),
}

COLUMNS: dict[str, tuple[str, ...]] = {table: tuple(names.split()) for table, names in _NAMES.items()} | {
    "death": ("person_id", "death_date"),
    "care_site": ("care_site_id", "care_site_source_value", "care_site_name"),
    "cdm_source": ("source_release_date",),
}
"""The columns that the study reads, by table."""

CONDITION_FIELD = 1147127
"""condition_occurrence.condition_occurrence_id as an event field concept (asserted in PROTOCOL.md section 7)."""
SPECIMEN_FIELD = 1147049
"""specimen.specimen_id as an event field concept."""


@dataclass(frozen=True)
class Records:
    """Frames with OMOP's columns, one row per OMOP row, of the persons with any blinatumomab record.

    `persons` adds sex and birth_date; `measurements` adds unit_code (UCUM of the unit concept), the specimen's columns,
    report_date (as the CDM has it; measurement_date is the day of the sample) and decimal_separator; `visits` adds site
    (care_site_source_value). `precision`: table_name, row_id, column_name, precision.
    """

    persons: pl.DataFrame
    drugs: pl.DataFrame
    conditions: pl.DataFrame
    observations: pl.DataFrame
    measurements: pl.DataFrame
    procedures: pl.DataFrame
    devices: pl.DataFrame
    visits: pl.DataFrame
    deaths: pl.DataFrame
    precision: pl.DataFrame
    lock: date | None

    def imprecise(self, table: str) -> pl.Expr:
        """The row ids of a table whose date is known to the month or year only, for `is_in`."""
        rows = self.precision.filter(pl.col("table_name") == table, pl.col("precision").is_in(["month", "year"]))
        return pl.lit(rows["row_id"].implode())


def read_records(cdm: Cdm, sets: ConceptSets, study: Study) -> Records:
    """All rows that the derivations use. Raises CdmError when the database cannot be read."""
    blinatumomab = number_list(sets.ids("CS_BLINATUMOMAB"))
    whose = (
        f"person_id IN (SELECT person_id FROM {cdm.schema}.drug_exposure "
        f"WHERE drug_concept_id IN ({blinatumomab}) OR drug_source_concept_id IN ({blinatumomab}))"
    )
    released = cdm.read("cdm_source", ["source_release_date"])["source_release_date"]
    procedures = cdm.read("procedure_occurrence", COLUMNS["procedure_occurrence"], where=whose)
    deaths = cdm.read("death", COLUMNS["death"], where=whose)
    return Records(
        persons=_persons(cdm, whose),
        drugs=cdm.read("drug_exposure", COLUMNS["drug_exposure"], where=whose),
        conditions=cdm.read("condition_occurrence", COLUMNS["condition_occurrence"], where=whose),
        observations=cdm.read("observation", COLUMNS["observation"], where=whose),
        measurements=_measurements(cdm, whose),
        procedures=procedures,
        devices=cdm.read("device_exposure", COLUMNS["device_exposure"], where=whose),
        visits=_visits(cdm, whose),
        deaths=deaths,
        precision=_precision(cdm),
        lock=data_lock(study, released.max() if isinstance(released.max(), date) else None),  # type: ignore[arg-type]
    )


def _persons(cdm: Cdm, whose: str) -> pl.DataFrame:
    # An unknown day or month of birth is the middle, as OMOP's Themis convention has it.
    persons = cdm.read("person", COLUMNS["person"], where=whose)
    written = pl.date("year_of_birth", pl.col("month_of_birth").fill_null(6), pl.col("day_of_birth").fill_null(15))
    return persons.with_columns(
        sex=pl.col("gender_concept_id").replace_strict({8507: "M", 8532: "F"}, default=None, return_dtype=pl.String),
        birth_date=pl.coalesce(pl.col("birth_datetime").dt.date(), written),
    )


def _visits(cdm: Cdm, whose: str) -> pl.DataFrame:
    visits = cdm.read("visit_occurrence", COLUMNS["visit_occurrence"], where=whose)
    sites = cdm.read("care_site", COLUMNS["care_site"])
    named = sites.select("care_site_id", site=pl.coalesce("care_site_source_value", "care_site_name"))
    return visits.join(named.unique("care_site_id"), on="care_site_id", how="left")


def _measurements(cdm: Cdm, whose: str) -> pl.DataFrame:
    measurements = cdm.read("measurement", COLUMNS["measurement"], where=whose)
    specimens = cdm.read("specimen", COLUMNS["specimen"], where=whose).drop("person_id")
    units = number_list(measurements["unit_concept_id"].drop_nulls())
    codes = cdm.query(
        f"SELECT concept_id, concept_code FROM {cdm.vocabulary_schema}.concept WHERE concept_id IN ({units})"
    ).select(unit_concept_id=pl.col("concept_id").cast(pl.Int64), unit_code=pl.col("concept_code").cast(pl.String))
    linked = pl.when(pl.col("meas_event_field_concept_id") == SPECIMEN_FIELD).then("measurement_event_id")
    joined = (
        measurements.with_columns(specimen_id=linked)
        .join(specimens.unique("specimen_id"), on="specimen_id", how="left")
        .join(codes.unique("unit_concept_id"), on="unit_concept_id", how="left")
    )
    # The day of the sample counts, not that of the report (R23); one "received" after the day of the result does not.
    reported = (pl.col("specimen_date") < pl.col("measurement_date")).fill_null(value=False)
    return joined.with_columns(
        report_date="measurement_date",
        measurement_date=pl.when(reported).then("specimen_date").otherwise("measurement_date"),
        measurement_datetime=pl.when(reported).then("specimen_datetime").otherwise("measurement_datetime"),
        decimal_separator=pl.lit(None, dtype=pl.String),
    )


def with_decimal_separators(records: Records, sites: pl.DataFrame, study: Study) -> Records:
    """The records whose measurements know their hospital's decimal separator (A01).

    The hospital of a result is that of its visit, else that of the person (`sites`: person_id, site).
    """
    known = study.get("mrd_parse.decimal_separator")
    visits = records.visits.select("visit_occurrence_id", of_visit="site").unique("visit_occurrence_id")
    rows = records.measurements.join(visits, on="visit_occurrence_id", how="left")
    rows = rows.join(sites.select("person_id", of_person="site"), on="person_id", how="left")
    site = pl.coalesce("of_visit", "of_person")
    separator = site.replace_strict(known.get("sites") or {}, default=known["default"], return_dtype=pl.String)
    rows = rows.with_columns(decimal_separator=separator).drop("of_visit", "of_person")
    return replace(records, measurements=rows)


def _precision(cdm: Cdm) -> pl.DataFrame:
    """Dates known to the month or year only, and times without zone, when this CDM keeps that beside its tables."""
    schema = {"table_name": pl.String, "row_id": pl.Int64, "column_name": pl.String, "precision": pl.String}
    if not cdm.has("precision", schema=cdm.lineage_schema):
        return pl.DataFrame(schema=schema)
    rows = cdm.query(
        f"SELECT {', '.join(schema)} FROM {cdm.lineage_schema}.precision "
        "WHERE table_name IN ('death', 'procedure_occurrence', 'condition_occurrence', 'observation', 'drug_exposure') "
        "AND precision IN ('month', 'year', 'no zone')"
    )
    return rows.select(pl.col(name).cast(kind) for name, kind in schema.items())
