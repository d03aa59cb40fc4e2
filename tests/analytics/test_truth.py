"""The derivation returns the truth that the CDM was made from (truth/README.md, sections 1 and 2)."""

import polars as pl
import pytest
from omop_from_truth import truth

FIRST_PERSON = 7_000_000_000_000
MRD = ("mrd_pre_pct", "mrd_post_pct")
TOLERANCES = {"age_years": 0.1, "bsa_m2": 0.01}


def _joined(name, frame, keys):
    expected = truth(name).with_columns(person_id=pl.col("patient_id").str.slice(1).cast(pl.Int64) + FIRST_PERSON)
    joined = expected.join(frame, on=keys, how="full", coalesce=True, suffix="_derived")
    assert joined.height == expected.height == frame.height
    return joined


def _differences(joined, column):
    said, derived = pl.col(column), pl.col(f"{column}_derived")
    both_empty = (said.is_null() | (said.cast(pl.String) == "")) & (derived.is_null() | (derived.cast(pl.String) == ""))
    if joined[column].dtype.is_numeric():
        limit = said.abs() * 0.005 if column in MRD else pl.lit(TOLERANCES.get(column, 0))
        same = (said.cast(pl.Float64) - derived.cast(pl.Float64)).abs() <= limit + 1e-9
    else:
        same = said == derived
    return joined.filter(~(same.fill_null(value=False) | both_empty))["person_id"].to_list()


PATIENT_COLUMNS = (
    "site sex birth_date diagnosis_date age_years weight_kg bsa_m2 indication burden_reduction_chemo pre_course1_state "
    "km_stratum genetic_subtype poor_cytogenetics bcr_abl1 high_mrd_ge1pct first_blina_date n_courses hsct_day "
    "cart_day efs_days efs_event efs_event_type os_days os_event last_contact_date"
).split()
COURSE_COLUMNS = (
    "start_day end_day start_date end_date infusion_days interruption_hours dose_regimen state_pre blasts_pre_pct "
    "mrd_pre_pct assessment_day blasts_post_pct mrd_post_pct response_cr mrd_neg_post poor_cytogenetics bcr_abl1 "
    "cd19_loss_complete cd19_loss_2missing crs_grade icans_grade"
).split()


@pytest.mark.parametrize("column", PATIENT_COLUMNS)
def test_patients_equal_the_truth(derived, column):
    assert _differences(_joined("patients", derived.patients, ["person_id"]), column) == []


@pytest.mark.parametrize("column", COURSE_COLUMNS)
def test_courses_equal_the_truth(derived, column):
    assert _differences(_joined("courses", derived.courses, ["person_id", "course_no"]), column) == []


def test_every_column_of_the_truth_is_compared():
    assert set(truth("patients").columns) == {"patient_id", *PATIENT_COLUMNS}
    assert set(truth("courses").columns) == {"course_id", "patient_id", "course_no", *COURSE_COLUMNS}


def test_eighty_five_first_courses_have_both_t_cell_windows(derived):
    assert derived.pairs.filter(pl.col("course_no") == 1).height == 85


def test_t_cell_windows_hold_the_values_of_the_laboratory(derived):
    labs = truth("labs").with_columns(person_id=pl.col("patient_id").str.slice(1).cast(pl.Int64) + FIRST_PERSON)
    factor = pl.when(pl.col("unit") == "10*9/L").then(1.0).otherwise(0.001)
    cells = labs.filter(pl.col("analyte").is_in(["CD3", "CD4", "CD8"])).with_columns(
        number=(pl.col("value_num") * factor).round(2)
    )
    first = derived.patients.select("person_id", "first_blina_date")
    starts = derived.courses.select("person_id", "course_no", "start_date")
    windows = derived.lab_windows.filter(pl.col("analyte").is_in(["CD3", "CD4", "CD8"])).join(
        starts, on=["person_id", "course_no"]
    )
    windows = windows.with_columns(date=pl.col("start_date") + pl.duration(days="day"))
    joined = windows.join(first, on="person_id").join(cells, on=["person_id", "analyte", "date"], how="left")
    assert joined.height == windows.height
    assert joined.filter((pl.col("value") - pl.col("number")).abs() > 1e-9).is_empty()
    assert joined["number"].null_count() == 0


@pytest.mark.parametrize(
    ("counter", "planted"),
    [
        ("dq_duplicate_admin", 11),
        ("dq_bag_overlap", 8),
        ("dq_delay_too_short", 21),
        ("dq_default_remission_code", 105),
        ("dq_death_month_only", 1),
        ("dq_step_dose", 11),
        ("dq_person_possible_duplicate", 2),
        ("dq_interruptions", 12),
        ("dq_window_empty", 20),
        ("dq_negative_survival_time", 0),
    ],
)
def test_planted_cases_are_counted(derived, counter, planted):
    of_all = derived.counters.filter((pl.col("counter") == counter) & (pl.col("site") == "all"))
    assert of_all["n"].to_list() == [planted]


def test_counters_say_every_site_zeros_included(derived):
    sites = derived.counters.group_by("counter").agg(pl.col("site").sort())["site"].to_list()
    assert all(one == ["SITE1", "SITE2", "SITE3", "SITE4", "all"] for one in sites)


def test_evidence_grades_follow_the_source_of_the_indication(derived):
    by_site = derived.patients.group_by("site").agg(pl.col("indication_grade").unique().sort())
    grades = dict(by_site.iter_rows())
    assert grades == {"SITE1": ["A"], "SITE2": ["B"], "SITE3": ["C"], "SITE4": ["B"]}


def test_every_state_names_the_marrow_rows_it_came_from(derived):
    traced = derived.evidence.filter((pl.col("field") == "state_pre") & (pl.col("source_ids") != ""))
    assert traced.height == 125
    assert traced["rule"].unique().to_list() == ["marrow_pre@1"]


def test_flags_days_and_dates_have_their_types(derived):
    patients, courses = derived.patients.schema, derived.courses.schema
    for name in ("burden_reduction_chemo", "poor_cytogenetics", "bcr_abl1", "high_mrd_ge1pct", "efs_event", "os_event"):
        assert patients[name] == pl.Int8
    for name in ("hsct_day", "cart_day", "efs_days", "os_days", "n_courses"):
        assert patients[name] == pl.Int32
    for name in ("birth_date", "diagnosis_date", "first_blina_date", "last_contact_date"):
        assert patients[name] == pl.Date
    for name in (
        "complete",
        "evaluable",
        "step_dose",
        "response_cr",
        "mrd_neg_post",
        "cd19_loss_complete",
        "crs_grade",
    ):
        assert courses[name] == pl.Int8
    for name in ("course_no", "start_day", "end_day", "assessment_day", "planned_days"):
        assert courses[name] == pl.Int32
