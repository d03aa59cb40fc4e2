"""A study may be any YAML file, and may extend another one: only what it changes, and why."""

import pytest
import yaml

from analytics import load_study
from analytics.study import STUDIES
from etl.errors import StudyError


@pytest.fixture
def study(tmp_path):
    def write(name="mine.yaml", **content):
        path = tmp_path / name
        path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
        return path

    return write


def test_only_what_changes_is_told(study):
    path = study(
        extends="blinatumomab",
        parameters={
            "gap_bag_change_h": {"value": 6, "why": "bag changes take longer here"},
            "marrow_pre": {"value": {"first_day": -14}, "why": "nearer", "version": 2},
        },
    )
    mine, base = load_study(path), load_study()
    assert (mine.name, mine.get("gap_bag_change_h"), mine.get("marrow_pre")) == (
        "mine", 6, {"first_day": -14, "last_day": 1},
    )  # fmt: skip
    assert mine.rule("marrow_pre") == "marrow_pre@2"
    assert mine.parameters["marrow_pre"].why == "nearer"
    assert mine.members.equals(base.members)
    assert mine.folder == base.folder
    assert mine.param_hash != base.param_hash


def test_a_study_extends_one_that_extends_another(study):
    study("first.yaml", extends="blinatumomab", parameters={"gap_bag_change_h": {"value": 6, "why": "a"}})
    second = study("second.yaml", extends="first.yaml", parameters={"gap_new_course_d": {"value": 14, "why": "b"}})
    loaded = load_study(second)
    assert (loaded.get("gap_bag_change_h"), loaded.get("gap_new_course_d")) == (6, 14)


def test_a_whole_study_is_read_from_its_file():
    assert load_study(STUDIES / "blinatumomab" / "study.yaml").param_hash == load_study().param_hash


def test_nothing_changed_is_the_same_study(study):
    assert load_study(study(extends="blinatumomab")).param_hash == load_study().param_hash


def test_studies_in_a_circle_are_refused(study):
    study("a.yaml", extends="b.yaml")
    with pytest.raises(StudyError, match="circle"):
        load_study(study("b.yaml", extends="a.yaml"))


def test_a_base_that_is_not_there_is_refused(study):
    with pytest.raises(StudyError, match="did you mean 'blinatumomab'"):
        load_study(study(extends="blinatumumab"))


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"gap_bag_chnge_h": {"value": 6, "why": "x"}}, "did you mean 'gap_bag_change_h'"),
        ({"gap_bag_change_h": {"value": 6}}, "needs a `why`"),
        ({"gap_bag_change_h": 6}, "needs a `value`"),
        ({"gap_bag_change_h": {"value": {"x": 1}, "why": "x"}}, "has no parts"),
        ({"marrow_pre": {"value": -14, "why": "x"}}, "has parts: first_day, last_day"),
        ({"marrow_pre": {"value": {"first": -14}, "why": "x"}}, "has no 'first'"),
        ({"marrow_pre": {"value": {}, "why": "x", "because": 1}}, "unknown keys: because"),
        ({"data_lock": {"value": {"date": "soon"}, "why": "x"}}, "needs a date"),
        ([1], "no mapping"),
    ],
)
def test_a_change_that_cannot_be_used_is_refused(study, parameters, words):
    with pytest.raises(StudyError) as error:
        load_study(study(extends="blinatumomab", parameters=parameters))
    assert words in str(error.value)


def test_a_word_that_no_extension_knows_is_refused(study):
    with pytest.raises(StudyError, match="unknown key 'parameter'"):
        load_study(study(extends="blinatumomab", parameter={}))
