"""Each check passes on a sound CDM and fails when its fault is put in."""

from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pytest
import yaml

from etl.quality import check
from etl.quality.catalogue import cdm_checks
from etl.quality.counting import count_checks, find_place
from etl.quality.status import frame_of, not_applicable
from etl.quality.study import StudyCatalogue, count_study_checks, load_catalogue

TODAY = date(2026, 1, 1)

FAULTS = yaml.safe_load(Path(__file__).with_name("faults.yaml").read_text(encoding="utf-8"))
FIELD_FAULTS: dict[str, str] = FAULTS["cdm"]
STUDY_FAULTS: dict[str, str] = FAULTS["study"]


def field_frame(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """Status by check id of the CDM checks that concern one table (and condition_occurrence, for its eras)."""
    checks = [one for one in cdm_checks() if one.table in {table, "condition_occurrence"}]
    place = find_place(connection, "cdm", "cdm", TODAY)
    counts = count_checks(connection, place, checks)
    frame = frame_of("r", checks, counts, not_applicable(checks, counts, place))
    return dict(frame.select("check_id", "status").iter_rows())


def study_status(connection: duckdb.DuckDBPyConnection, check_id: str) -> str:
    whole = load_catalogue()
    one = tuple(check for check in whole.checks if check.check.check_id == f"study_{check_id}")
    assert one, f"no study check {check_id}"
    catalogue = StudyCatalogue(one, whole.sets, whole.views)
    counts, notes = count_study_checks(connection, find_place(connection, "cdm", "cdm", TODAY), catalogue)
    return str(frame_of("r", [one[0].check], counts, notes)["status"][0])


@pytest.fixture(scope="module")
def sound(sound_cdm: duckdb.DuckDBPyConnection) -> dict[str, str]:
    frame = check(sound_cdm, "r", results_schema=None, today=TODAY)
    assert frame.filter(pl.col("status") == "error").is_empty()
    return dict(frame.select("check_id", "status").iter_rows())


def test_nothing_fails_on_a_sound_cdm(sound: dict[str, str]) -> None:
    assert {check_id for check_id, status in sound.items() if status == "failed"} == set()


@pytest.mark.parametrize("check_id", FIELD_FAULTS)
def test_a_cdm_check_passes_and_its_fault_fails(
    cdm: duckdb.DuckDBPyConnection, sound: dict[str, str], check_id: str
) -> None:
    assert sound[check_id] == "passed"
    table = next(one.table for one in cdm_checks() if one.check_id == check_id)
    cdm.execute(FIELD_FAULTS[check_id])
    assert field_frame(cdm, table)[check_id] == "failed"


@pytest.mark.parametrize("check_id", STUDY_FAULTS)
def test_a_study_check_passes_and_its_fault_fails(
    cdm: duckdb.DuckDBPyConnection, sound: dict[str, str], check_id: str
) -> None:
    assert sound[f"study_{check_id}"] == "passed"
    cdm.execute(STUDY_FAULTS[check_id])
    assert study_status(cdm, check_id) == "failed"


def test_every_check_type_and_every_study_check_has_a_fault() -> None:
    kinds = {check_id.split("_")[1] for check_id in FIELD_FAULTS}
    assert kinds == {check.check_name.lower() for check in cdm_checks()}
    assert set(STUDY_FAULTS) == {one.check.check_id.removeprefix("study_") for one in load_catalogue().checks}


def test_concept_zero_must_exist_where_it_is_used(cdm: duckdb.DuckDBPyConnection) -> None:
    cdm.execute("UPDATE cdm.measurement SET unit_concept_id = 0 WHERE measurement_id = 1")
    check_id = "field_isforeignkey_measurement_unit_concept_id"
    assert field_frame(cdm, "measurement")[check_id] == "passed"
    cdm.execute("DELETE FROM cdm.concept WHERE concept_id = 0")
    assert field_frame(cdm, "measurement")[check_id] == "failed"


def test_exactly_seven_days_around_the_visit_and_sixty_after_death_are_allowed(cdm: duckdb.DuckDBPyConnection) -> None:
    cdm.execute("UPDATE cdm.measurement SET measurement_date = '2024-02-08' WHERE measurement_id = 1")
    assert field_frame(cdm, "measurement")["field_withinvisitdates_measurement_measurement_date"] == "passed"
    cdm.execute("UPDATE cdm.measurement SET measurement_date = '2024-07-31' WHERE measurement_id = 1")
    assert field_frame(cdm, "measurement")["field_plausiblebeforedeath_measurement_measurement_date"] == "passed"


def test_a_study_check_exactly_at_its_threshold_passes(cdm: duckdb.DuckDBPyConnection) -> None:
    longer = (
        "UPDATE cdm.drug_exposure SET drug_exposure_end_datetime = drug_exposure_start_datetime + INTERVAL 193 HOUR"
    )
    cdm.execute(f"{longer} WHERE drug_exposure_id = 1")  # 1 of 100 bags, 1 % allowed
    assert study_status(cdm, "bag_over_8_days") == "passed"


def test_a_death_known_to_the_month_contradicts_no_day_of_that_month(cdm: duckdb.DuckDBPyConnection) -> None:
    cdm.execute("UPDATE cdm.observation SET observation_date = '2024-06-19' WHERE observation_id = 2")
    assert study_status(cdm, "death_dates_differ") == "passed"
    cdm.execute("UPDATE cdm.death SET death_date = '2024-06-02'")
    assert study_status(cdm, "death_dates_differ") == "failed"


def test_eight_days_of_a_bag_and_one_day_short_of_eighteen_years_are_allowed(cdm: duckdb.DuckDBPyConnection) -> None:
    cdm.execute(
        "UPDATE cdm.drug_exposure SET drug_exposure_end_datetime = drug_exposure_start_datetime + INTERVAL 8 DAY "
        "WHERE drug_exposure_id IN (99, 100)"
    )
    assert study_status(cdm, "bag_over_8_days") == "passed"  # exactly 8 days
    cdm.execute("UPDATE cdm.person SET birth_datetime = '2006-01-13' WHERE person_id = 2")
    assert study_status(cdm, "adult_at_first_bag") == "passed"  # one day short of 18 years at the first bag


@pytest.mark.parametrize("unit", ["个/μL", "10^6/L", "{cells}/uL", "cells/mm3", "/µL"])
def test_cell_units_written_by_hospitals_are_known(cdm: duckdb.DuckDBPyConnection, unit: str) -> None:
    cdm.execute(
        "UPDATE cdm.measurement SET unit_concept_id = 0, unit_source_value = ? WHERE measurement_id = 2", [unit]
    )
    assert study_status(cdm, "t_cells_unit_unknown") == "passed"
    assert study_status(cdm, "t_cells_implausible") == "passed"
