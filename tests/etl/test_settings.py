"""Settings: every mistake at once, with a hint; the key may come from the environment."""

from datetime import date
from pathlib import Path

import pytest

from etl.errors import BlinaError, SettingsError, did_you_mean
from etl.settings import KEY_VARIABLE, load_settings

GOOD = """
instance: {name: Some hospital, abbreviation: SOME, key: secret}
data_lock: 2025-01-31
link_persons_by: ["urn:x:study-number"]
sites:
  A: {folder: a, time_zone: Asia/Shanghai}
  B: {decimal_separator: ","}
"""


def _write(folder: Path, text: str) -> Path:
    (folder / "blina.yaml").write_text(text, encoding="utf-8")
    return folder / "blina.yaml"


def test_a_settings_file_says_who_we_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    settings = load_settings(_write(tmp_path, GOOD))
    assert (settings.name, settings.key, settings.data_lock) == ("Some hospital", "secret", date(2025, 1, 31))
    assert settings.site("A").folder == tmp_path / "a"
    assert settings.site("A").local_vocabulary == "BLINA_A"
    assert settings.site("B").decimal_separator == ","
    assert settings.site("unknown").time_zone == "UTC"


def test_the_environment_may_hold_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "from outside")
    assert load_settings(_write(tmp_path, GOOD)).key == "from outside"


def test_all_mistakes_come_at_once_with_hints(tmp_path: Path) -> None:
    text = "instanc: {}\nsites:\n  A: {time_zone: Asia/Nowhere, folde: a, decimal_separator: ';'}\ndata_lock: soon\n"
    with pytest.raises(SettingsError) as raised:
        load_settings(_write(tmp_path, text))
    message = str(raised.value)
    assert raised.value.exit_code == 10
    assert len(raised.value.problems) == 5
    for part in ("did you mean 'instance'", "did you mean 'folder'", "Asia/Nowhere", "data_lock", "decimal_separator"):
        assert part in message


@pytest.mark.parametrize("text", ["- a list", "a: [", ""])
def test_what_is_no_mapping_is_refused_or_empty(tmp_path: Path, text: str) -> None:
    if text == "":
        assert load_settings(_write(tmp_path, text)).sites == {}
        return
    with pytest.raises(SettingsError):
        load_settings(_write(tmp_path, text))


SITE_A = "instance: {key: secret}\nsites:\n  A: "


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("instance: [a]", "instance: must be a mapping"),
        ("instance: hospital", "instance: must be a mapping"),
        ("sites: [A, B]", "sites: must be a mapping"),
        ("policies: [notes]", "policies: must be a mapping"),
        ("instance: {name: [a]}", "instance.name: must be a text"),
        ("instance: {synthetic: 'no'}", "instance.synthetic: must be true or false"),
        ("data_lock: 2025-01-31 10:00:00", "data_lock: must be a date"),
        ("link_persons_by: urn:x", "link_persons_by: must be a list"),
        ("sites: {NO: {folder: a}}", "in quotes if it is a number or yes/no"),
        ("sites: {../x: {folder: a}}", "no slash"),
        (SITE_A + "folder", "sites.A: must be a mapping"),
        (SITE_A + "{folder: [a, b]}", "sites.A.folder: must be one folder"),
        (SITE_A + "{time_zone: 8}", "8 is no IANA time zone"),
        (SITE_A + "{time_zone: Europe}", "'Europe' is no IANA time zone"),
        (SITE_A + "{time_zone: }", "None is no IANA time zone"),
        (SITE_A + "{decimal_separator: [1]}", "sites.A.decimal_separator"),
        (SITE_A + "{folder: a}\n  A: {folder: b}", "sites.A: stands twice (again in line 4)"),
        (SITE_A + "{folder: a}\n  B: {folder: a}", "lies in, the folder of A"),
        (SITE_A + "{folder: a/b}\n  B: {folder: a}", "lies in, the folder of B"),
        ("instance:\n\tkey: x", "blina.yaml:2: not YAML"),
    ],
)
def test_whatever_is_wrong_is_told_with_its_place(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings(_write(tmp_path, text))
    assert told in str(raised.value)


def test_another_encoding_is_told(tmp_path: Path) -> None:
    (tmp_path / "blina.yaml").write_bytes("instance: {name: Süd}".encode("latin-1"))
    with pytest.raises(SettingsError, match="not UTF-8"):
        load_settings(tmp_path / "blina.yaml")


@pytest.mark.parametrize("name", ["A", "SITE-1", "Klinik Süd", "東京", "3"])
def test_sites_have_names_of_their_own_language(name: str, tmp_path: Path) -> None:
    assert list(load_settings(_write(tmp_path, f"sites: {{'{name}': {{folder: a}}}}")).sites) == [name]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nothing\.yaml"):
        load_settings(tmp_path / "nothing.yaml")


def test_every_error_of_the_tree_has_its_own_exit_code() -> None:
    codes = [kind.exit_code for kind in BlinaError.__subclasses__()]
    assert sorted(codes) == [2, 10, 11, 12, 13, 14, 15, 16, 17, 18]


def test_a_hint_is_given_only_when_something_is_near() -> None:
    assert did_you_mean("persn", ["person", "visit"]) == " (did you mean 'person'?)"
    assert did_you_mean("zzz", ["person"]) == ""
