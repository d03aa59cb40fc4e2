"""The study's examples: they hold, a changed definition is seen in them, and a wrong example is refused in words."""

import pytest
import yaml

from analytics import load_study
from analytics.assure import assure, read_examples
from etl.errors import StudyError


@pytest.fixture
def examples(tmp_path):
    def write(*entries, name="own.yaml"):
        (tmp_path / name).write_text(yaml.safe_dump({"examples": list(entries)}, allow_unicode=True), encoding="utf-8")
        return tmp_path

    return write


def test_every_example_of_the_study_holds():
    found = assure(load_study())
    assert found.differing.rows() == []
    assert found.holds
    assert found.lines.select("file", "example").n_unique() >= 20


def test_a_changed_definition_shows_where_it_changes_the_result():
    found = assure(load_study().varied({"gap_bag_change_h": 2}))
    assert not found.holds
    assert set(found.differing["example"]) == {"a gap of 3.9 hours is a bag change and is filled"}
    assert "expected 8.2, obtained 8" in found.words()


def test_what_is_not_told_is_not_compared_and_what_differs_is_named(examples):
    folder = examples(
        {"name": "one", "child": {"courses": [{}]}, "expect": {"patient": {"n_courses": 2, "sex": "M"}}},
        {"name": "none", "child": {}, "expect": {"patient": {"n_courses": 1}}},
        {"name": "field", "child": {"courses": [{}]}, "expect": {"courses": [{"n_bag": 1}]}},
        {"name": "windows", "child": {"courses": [{}]}, "expect": {"windows": {"CD3 pre": 1.0}}},
    )
    lines = assure(load_study(), folder).differing.select("example", "field", "expected", "obtained").rows()
    assert lines == [
        ("one", "patient, n_courses", "2", "1"),
        ("none", "patient", "in the study", "not in the study"),
        ("field", "course 1, n_bag", "1", "no such field (did you mean 'n_bags'?)"),
        ("windows", "window CD3 pre", "1", "nothing"),
    ]


def test_mistakes_in_examples_are_all_named(examples):
    folder = examples(
        {"name": "twice", "child": {"bags": [{"houres": 3}]}, "expect": {"patient": {"n_courses": 1}}},
        {"name": "twice", "child": {"bagss": []}, "expect": {}},
        {"name": "no list", "child": {"bags": {"hour": 0}}, "expect": {"patients": {}}},
        {"name": "blood", "child": {"blood": [{"day": 1, "CD33": 2}]}, "expect": {"in_study": True}},
    )
    with pytest.raises(StudyError) as error:
        read_examples(folder)
    told = "\n".join(error.value.problems)
    for words in (
        "'houres'",
        "'bagss'",
        "expects nothing",
        "is no list",
        "cannot expect 'patients'",
        "'CD33'",
        "twice",
    ):
        assert words in told


def test_a_code_word_that_is_not_there_is_refused(examples):
    folder = examples(
        {"name": "drug", "child": {"drugs": [{"day": 1, "drug": "vincristin"}]}, "expect": {"in_study": True}}
    )
    with pytest.raises(StudyError, match="cannot be told"):
        assure(load_study(), folder)


def test_a_folder_without_examples_is_refused(tmp_path):
    (tmp_path / "bad.yaml").write_text("examples: [", encoding="utf-8")
    with pytest.raises(StudyError) as error:
        read_examples(tmp_path)
    assert len(error.value.problems) == 2
