"""The study's definitions: one file, named and versioned, switchable, refused when wrong."""

from datetime import date

import pytest
import yaml

from analytics import load_study
from analytics.study import STUDIES
from etl.errors import StudyError
from etl.settings import Settings, SiteSettings


@pytest.fixture
def folder(tmp_path):
    """A copy of the study that a test may spoil."""
    source = STUDIES / "blinatumomab"
    (tmp_path / "concept_sets").mkdir()
    for path in source.glob("concept_sets/*.csv"):
        (tmp_path / "concept_sets" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "study.yaml").write_bytes((source / "study.yaml").read_bytes())
    return tmp_path


def _change(folder, change):
    content = yaml.safe_load((folder / "study.yaml").read_text(encoding="utf-8"))
    change(content)
    (folder / "study.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")


def test_the_same_definitions_have_the_same_hash():
    assert load_study().param_hash == load_study().param_hash


def test_another_value_gives_another_hash_and_leaves_the_study_alone():
    study = load_study()
    other = study.varied({"gap_bag_change_h": 6, "marrow_pre.first_day": -14})
    assert (other.get("gap_bag_change_h"), other.get("marrow_pre.first_day")) == (6, -14)
    assert (study.get("gap_bag_change_h"), study.get("marrow_pre.first_day")) == (4, -28)
    assert other.param_hash != study.param_hash


def test_another_concept_set_member_gives_another_hash(folder):
    path = folder / "concept_sets" / "drugs.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("1597258", "1597259"), encoding="utf-8")
    assert load_study(folder).param_hash != load_study().param_hash


def test_the_settings_give_the_lock_and_the_decimal_signs():
    settings = Settings(data_lock=date(2025, 1, 31), sites={"A": SiteSettings("A", decimal_separator=",")})
    study = load_study().for_settings(settings)
    assert study.get("data_lock.date") == date(2025, 1, 31)
    assert study.get("mrd_parse.decimal_separator") == {"default": ".", "sites": {"A": ","}}


@pytest.mark.parametrize("path", ["gap_bag_chnge_h", "marrow_pre.first", "gap_bag_change_h.x"])
def test_a_name_that_is_not_there_is_refused(path):
    with pytest.raises(StudyError):
        load_study().get(path)
    with pytest.raises(StudyError):
        load_study().varied({path: 1})


def test_a_near_name_is_offered():
    with pytest.raises(StudyError, match="did you mean 'gap_bag_change_h'"):
        load_study().get("gap_bag_chnge_h")


def test_an_unknown_study_is_refused():
    with pytest.raises(StudyError, match="did you mean 'blinatumomab'"):
        load_study("blinatumumab")


def test_all_mistakes_are_named_at_once(folder):
    def spoil(content):
        content["parameters"]["crs"] = {"value": 1}
        content["parameters"]["icans"]["typo"] = 2
        content["required_concept_sets"].append("CS_BAL")

    _change(folder, spoil)
    with pytest.raises(StudyError) as error:
        load_study(folder)
    assert len(error.value.problems) == 3
    assert "CS_BALL" in error.value.problems[2]


def test_a_file_that_is_not_yaml_is_refused(folder):
    (folder / "study.yaml").write_text("parameters: [", encoding="utf-8")
    with pytest.raises(StudyError, match="not YAML"):
        load_study(folder)


def test_a_concept_set_file_with_other_columns_is_refused(folder):
    (folder / "concept_sets" / "more.csv").write_text("concept_set,code\nCS_X,1\n", encoding="utf-8")
    with pytest.raises(StudyError, match="columns must be"):
        load_study(folder)


def test_the_settings_table_names_every_parameter_with_its_version():
    study = load_study()
    table = study.settings_table()
    assert table.columns == ["name", "version", "value", "param_hash"]
    assert set(table["name"]) == set(study.parameters)


def test_every_parameter_is_used_and_every_concept_set_is_named():
    """A definition that decides nothing would be a lie in the report."""
    code = "".join(path.read_text(encoding="utf-8") for path in STUDIES.parent.glob("*.py"))
    text = (STUDIES / "blinatumomab" / "study.yaml").read_text(encoding="utf-8")
    assert [name for name in load_study().parameters if f'"{name}' not in code and f"'{name}" not in code] == []
    kept_for_listings = {
        "CS_CONDITIONING", "CS_TKI", "CS_CRS_TREATMENT", "CS_ANTISEIZURE", "CS_STATUS_ACTIVE",
        "CS_CD4_CD8_RATIO", "CS_LYMPHOCYTES_ABS", "CS_WBC", "CS_HB", "CS_DELAY_OTHER",
    }  # fmt: skip
    named = set(load_study().members["concept_set"])
    assert {one for one in named if one not in code and one not in text} - kept_for_listings <= {
        f"CS_GRADE_{n}" for n in range(1, 6)
    } | {"CS_CRS", "CS_ICANS"}


def extension(tmp_path, parameters):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"extends": "blinatumomab", "parameters": parameters}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("mrd_positive", {"from_pct": "0.1"}, "from_pct needs a number, not a text"),
        ("stratum", {"rule": "states"}, "rule must be one of stratum, indication, state"),
        ("marrow_post", {"last_day": -21}, "the window ends"),
        ("efs", {"label_order": ["relapse", "refractory"]}, "only orders the labels"),
        ("efs", {"censor_at_transplant": 1}, "needs true or false"),
    ],
)
def test_a_value_that_would_do_nothing_or_fail_later_is_refused(tmp_path, name, value, said):
    with pytest.raises(StudyError) as refused:
        load_study(extension(tmp_path, {name: {"value": value, "why": "a test"}}))
    assert said in str(refused.value.problems)
    if name in ("stratum", "mrd_positive"):
        ((part, one),) = value.items()
        with pytest.raises(StudyError):
            load_study().varied({f"{name}.{part}": one})


def test_a_word_that_was_changed_may_be_changed_back(tmp_path):
    by_state = extension(tmp_path, {"stratum": {"value": {"rule": "state"}, "why": "a test"}})
    assert load_study(by_state).varied({"stratum.rule": "stratum"}).get("stratum.rule") == "stratum"


def test_what_a_study_says_of_lock_and_zone_goes_before_the_settings(tmp_path):
    lock = {"value": {"date": date(2022, 6, 30)}, "why": "a test"}
    zone = {"value": {"sites": {"A": "Europe/Berlin"}}, "why": "a test"}
    own = load_study(extension(tmp_path, {"data_lock": lock, "time_zone": zone}))
    sites = {name: SiteSettings(name, time_zone="Asia/Shanghai") for name in ("A", "B")}
    settings = Settings(data_lock=date(2024, 1, 1), sites=sites)
    assert own.for_settings(settings).get("data_lock.date") == date(2022, 6, 30)
    assert own.for_settings(settings).get("time_zone.sites") == {"A": "Europe/Berlin", "B": "Asia/Shanghai"}


def test_the_definitions_that_a_run_left_are_read_back(tmp_path):
    lock = {"value": {"date": date(2022, 6, 30)}, "why": "a test"}
    own = load_study(
        extension(tmp_path, {"data_lock": lock, "gap_new_course_d": {"value": 14, "version": 2, "why": "x"}})
    )
    again = load_study().as_recorded(own.settings_table())
    assert again.param_hash == own.param_hash
    assert again.get("data_lock.date") == date(2022, 6, 30)
