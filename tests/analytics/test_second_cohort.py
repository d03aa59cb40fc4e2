"""Four other hospitals than those of `sample_bundles`, from FHIR to the study: what comes out is what was planted."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from analytics import derive, load_study, open_cdm
from etl.pipeline import build, default_mappings

HERE = Path(__file__).parent / "second"
PATIENTS = (
    "site sex birth_date diagnosis_date first_blina_date indication burden_reduction_chemo pre_course1_state "
    "km_stratum genetic_subtype poor_cytogenetics bcr_abl1 high_mrd_ge1pct n_courses hsct_day cart_day efs_days "
    "efs_event efs_event_type os_days os_event last_contact_date"
).split()
COURSES = (
    "start_day end_day start_date end_date infusion_days interruption_hours planned_days dose_regimen state_pre "
    "blasts_pre_pct mrd_pre_pct assessment_day blasts_post_pct mrd_post_pct response_cr mrd_neg_post "
    "cd19_loss_complete cd19_loss_2missing crs_grade icans_grade"
).split()


COUNTED = """
dq_zone_assumed dq_sample_date_used dq_exposure_low_evidence dq_code_unit_conflict dq_abs_from_pct dq_cytokine_censored
dq_il6_after_tocilizumab dq_blast_from_text dq_fullwidth dq_mrd_pos_bq dq_mrd_comparator dq_mrd_negative_text
dq_mrd_unit_normalised dq_mrd_multi_method dq_mrd_cd19_gated dq_mrd_not_marrow dq_marrow_inadequate dq_clone_changed
dq_marrow_out_of_window dq_genetics_single_method dq_cytogenetics_failed dq_hsct_external dq_death_month_only
dq_crs_ungraded dq_crs_system dq_course_multi_site dq_interruptions dq_step_dose dq_default_remission_code
dq_delay_grade_b dq_delay_grade_c dq_relapse_from_text dq_duplicate_admin dq_unit_normalised dq_course_split_gt7d
dq_planned_days_inferred
""".split()
"""The realities that are planted here; each has its counter."""


@contextmanager
def _own_modules() -> Iterator[None]:
    """The cohort's modules stand in a folder of their own; tests are no package."""
    sys.path.insert(0, str(HERE))
    try:
        yield
    finally:
        sys.path.remove(str(HERE))


@dataclass(frozen=True)
class Second:
    """What was planted, and what was derived; both frames of a kind have the same keys."""

    truth: dict[str, pl.DataFrame]
    found: dict[str, pl.DataFrame]
    counters: pl.DataFrame
    totals: dict[str, int]


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Second:
    """The cohort, written as FHIR, built into OMOP and derived, once."""
    with _own_modules():
        import second_cohort
        import second_truth

    folder = tmp_path_factory.mktemp("second")
    sources, mappings, kids = second_cohort.write(folder, default_mappings())
    settings, url = second_cohort.settings(), f"duckdb:///{folder / 'omop.duckdb'}"
    report = build(sources, database=url, settings=settings, mappings=mappings, rejects=folder / "rejects")
    with open_cdm(url) as cdm:
        derived = derive(cdm, load_study().for_settings(settings))
        persons = cdm.query("SELECT person_id, fhir_id FROM lineage.person_source WHERE fhir_id LIKE 'K%'")
    numbers = persons.select("person_id", number=pl.col("fhir_id").str.slice(1).cast(pl.Int64))
    found = {
        "patients": derived.patients,
        "courses": derived.courses,
        "windows": derived.lab_windows,
    }
    return Second(
        truth={
            "patients": second_truth.patients_frame(kids),
            "courses": second_truth.courses_frame(kids),
            "windows": second_truth.windows_frame(kids),
        },
        found={name: frame.join(numbers, on="person_id") for name, frame in found.items()},
        counters=derived.counters,
        totals=report.totals,
    )


def _differing(second: Second, kind: str, column: str, keys: list[str]) -> list[tuple[Any, ...]]:
    """The rows whose value is not the planted one: keys, planted, derived."""
    truth, found = (frames[kind].select(*keys, column) for frames in (second.truth, second.found))
    both = truth.join(found, on=keys, how="full", suffix="_found", coalesce=True)
    planted, derived = pl.col(column), pl.col(f"{column}_found")
    if truth[column].dtype.is_float():
        same = (planted - derived).abs() <= 1e-6 * (1 + planted.abs())
    else:
        same = planted == derived
    same = same.fill_null(value=False) | (planted.is_null() & derived.is_null())
    return both.filter(~same).rows()


def test_nothing_of_the_second_cohort_is_rejected(second: Second) -> None:
    assert second.totals["rejected"] == 0
    assert second.totals["landed"] == second.totals["kept"] + second.totals["skipped"]


def test_every_planted_child_and_course_is_found_and_no_other(second: Second) -> None:
    assert sorted(second.found["patients"]["number"]) == sorted(second.truth["patients"]["number"])
    keys = ["number", "course_no"]
    assert (
        second.found["courses"]
        .select(keys)
        .sort(keys)
        .equals(second.truth["courses"].select(keys).sort(keys).cast(second.found["courses"].select(keys).schema))
    )


@pytest.mark.parametrize("column", PATIENTS)
def test_patients_equal_what_was_planted(second: Second, column: str) -> None:
    assert _differing(second, "patients", column, ["number"]) == []


@pytest.mark.parametrize("column", COURSES)
def test_courses_equal_what_was_planted(second: Second, column: str) -> None:
    assert _differing(second, "courses", column, ["number", "course_no"]) == []


@pytest.mark.parametrize("column", ["day", "value", "unit", "operator"])
def test_lab_windows_equal_what_was_planted(second: Second, column: str) -> None:
    assert _differing(second, "windows", column, ["number", "course_no", "analyte", "window"]) == []


@pytest.mark.parametrize("counter", COUNTED)
def test_what_was_planted_is_counted(second: Second, counter: str) -> None:
    rows = second.counters.filter((pl.col("counter") == counter) & (pl.col("site") == "all"))
    assert rows["n"][0] > 0


def test_the_day_of_the_report_is_never_used_where_the_sample_has_a_day(second: Second) -> None:
    assert second.counters.filter(pl.col("counter") == "dq_report_date_used")["n"].sum() == 0
