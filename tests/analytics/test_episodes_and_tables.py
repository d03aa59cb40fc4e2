"""Episodes, cohorts and result tables made from the derived frames."""

import polars as pl

from analytics import derive, episode_tables, load_study, results_tables
from etl.cdm import TABLES


def test_each_course_is_a_cycle_of_the_persons_one_regimen(derived):
    episodes = episode_tables(derived)["episode"]
    regimens = episodes.filter(pl.col("episode_concept_id") == 32531)
    cycles = episodes.filter(pl.col("episode_concept_id") == 32532)
    assert (regimens.height, cycles.height) == (105, 125)
    assert episodes["episode_id"].is_unique().all()
    assert (episodes["episode_id"] > 0).all()
    assert set(cycles["episode_parent_id"]) == set(regimens["episode_id"])
    assert cycles["episode_number"].max() == derived.courses["course_no"].max()


def test_each_bag_and_marrow_is_an_event_of_its_course(derived):
    events = episode_tables(derived)["episode_event"]
    of_field = dict(events.group_by("episode_event_field_concept_id").len().iter_rows())
    carts = derived.events.filter((pl.col("event") == "cart") & (pl.col("source_table") == "drug_exposure")).height
    assert of_field[1147094] == derived.bags.height + carts
    assert of_field[1147082] == derived.events.filter(pl.col("source_table") == "procedure_occurrence").height
    assert of_field[1147138] == 4 * 125
    assert events.is_unique().all()


def test_the_frames_have_all_columns_of_the_cdm(derived):
    for name, frame in episode_tables(derived).items():
        assert frame.columns == [column.name for column in TABLES[name].columns]


def test_the_cohorts_have_the_published_sizes(derived):
    sizes = dict(episode_tables(derived)["cohort"].group_by("cohort_definition_id").len().iter_rows())
    first = 160713800
    assert [sizes[first + n] for n in (1, 3, 11, 12, 13, 21, 22, 23, 31, 32, 33)] == [
        105, 85, 30, 21, 54, 11, 40, 54, 30, 30, 45,
    ]  # fmt: skip
    assert [sizes[first + n] for n in (41, 42, 43, 44)] == [15, 5, 26, 6]


def test_every_result_table_carries_the_hash_of_its_parameters(derived):
    tables = results_tables(derived)
    assert {
        "study_patient",
        "study_course",
        "study_lab_window",
        "study_event",
        "study_parameter",
        "dq_counter",
        "evidence",
    } <= set(tables)
    for frame in tables.values():
        assert frame["param_hash"].unique().to_list() == [derived.param_hash]


def test_the_same_cdm_gives_the_same_frames(truth_cdm, derived):
    again = derive(truth_cdm, load_study())
    assert again.patients.equals(derived.patients)
    assert again.events.equals(derived.events)
    assert episode_tables(again)["episode"].equals(episode_tables(derived)["episode"])


def test_a_switched_definition_changes_what_it_defines(truth_cdm, derived):
    by_state = derive(truth_cdm, load_study().varied({"stratum.rule": "state"})).patients
    assert dict(by_state.group_by("km_stratum").len().iter_rows()) == {"CR_MRDneg": 54, "CR_MRDpos": 40, "RR": 11}
    censored = derive(truth_cdm, load_study().varied({"efs.censor_at_transplant": True})).patients
    assert censored["efs_days"].sum() < derived.patients["efs_days"].sum()
    short = derive(truth_cdm, load_study().varied({"gap_new_course_d": 1})).courses
    assert short.height > derived.courses.height


def test_events_count_their_days_from_the_first_bag(derived):
    deaths = derived.events.filter(pl.col("event") == "death")
    joined = deaths.join(derived.patients, on="person_id")
    assert (joined["day"] == joined["os_days"]).all()
