"""What is derived of a course can be followed to the rows it came from."""

import pytest

from analytics import derive, derive_courses, derive_patients, load_study, open_cdm
from analytics.episodes import episode_tables
from analytics.explain import explain_course
from etl.errors import StudyError


@pytest.fixture(scope="module")
def cdm(truth_url):
    with open_cdm(truth_url) as opened:
        yield opened


def test_every_value_of_a_course_names_its_rule_evidence_and_rows(cdm, derived):
    told = explain_course(cdm, load_study(), "12", values=True)
    course = derived.courses.sort("person_id", "course_no").row(11, named=True)
    bags = derived.bags.filter(
        (derived.bags["person_id"] == course["person_id"]) & (derived.bags["course_no"] == course["course_no"])
    )
    assert f"  state_pre: {course['state_pre']}\n      marrow_pre@1, evidence " in told
    assert f"  infusion_days: {course['infusion_days']}\n      course@1, evidence B (derived), drug_exposure " in told
    assert str(bags["drug_exposure_id"][0]) in told
    assert "indication@1" in told or "rr@1" in told or "chemo_delay@1" in told


def test_the_episode_id_names_the_same_course(cdm, derived):
    rows = episode_tables(derived)["episode"].drop_nulls("episode_number").sort("person_id", "episode_number")
    by_episode = explain_course(cdm, load_study(), str(rows["episode_id"][11]))
    assert by_episode == explain_course(cdm, load_study(), "12")


def test_values_are_told_only_when_asked_for(cdm):
    assert "state_pre\n" in explain_course(cdm, load_study(), "12")


@pytest.mark.parametrize("which", ["0", "126", "twelve"])
def test_a_course_that_is_not_there_is_said(cdm, which):
    with pytest.raises(StudyError, match="course"):
        explain_course(cdm, load_study(), which)


def test_one_frame_can_be_asked_for(cdm, derived):
    study = load_study()
    assert derive_courses(cdm, study).equals(derived.courses)
    assert derive_patients(cdm, study).equals(derive(cdm, study).patients)
