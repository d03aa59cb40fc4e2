"""What an administrator meets: closed and linked folders, a list that cannot be written, another key or locale."""

import os
import stat
from pathlib import Path

import polars as pl
import pytest

from etl.errors import CdmError, MappingError, SettingsError, SourceError
from etl.landing import Source
from etl.pipeline import build
from etl.settings import Settings
from flows.instance import find_instance
from tests.flows.conftest import blina, copy_database


def export(folder: Path) -> Path:
    """An export of one file whose name is a patient's."""
    folder.mkdir()
    (folder / "Erika.json").write_text('{"resourceType": "Patient", "id": "a", "birthDate": "2019-03-04"}')
    return folder


def test_a_folder_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own walk passes over it without a word, and its patients would be missing."""
    (export(tmp_path / "in put") / "Meier").mkdir()
    scan = os.scandir

    def closed(path: str | os.PathLike[str]) -> object:
        if Path(path).name == "Meier":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(SourceError) as raised:
        find_instance([tmp_path / "in put"], site="S", settings=None, database=f"duckdb:///{tmp_path / 'o.duckdb'}")
    assert f"find '{tmp_path / 'in put'}' ! -readable" in str(raised.value)
    assert "Meier" not in str(raised.value)
    assert not list(tmp_path.glob("o.duckdb*"))


def test_a_linked_folder_is_told(tmp_path: Path) -> None:
    other = export(tmp_path / "other")
    (export(tmp_path / "in") / "Meier").symlink_to(other)
    found = find_instance([tmp_path / "in"], site="S", settings=None, database=f"duckdb:///{tmp_path / 'o.duckdb'}")
    assert any("1 linked folders" in note for note in found.notes)
    assert "Meier" not in "".join(found.notes)


def test_a_file_that_cannot_be_read_is_told_without_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("etl.landing.received._digest", closed)
    source = Source("S", export(tmp_path / "in"))
    with pytest.raises(SourceError, match="Permission denied") as raised:
        build([source], database=f"duckdb:///{tmp_path / 'o.duckdb'}", settings=Settings(key="k"))
    assert "Erika" not in str(raised.value)


def test_mappings_that_are_not_there_are_told_at_once(tmp_path: Path) -> None:
    source = Source("S", export(tmp_path / "in"))
    database = f"duckdb:///{tmp_path / 'o.duckdb'}"
    with pytest.raises(MappingError, match="no such mappings folder"):
        build([source], database=database, settings=Settings(key="k"), mappings=tmp_path / "nowhere")


def test_a_list_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    place = tmp_path / "rejects"
    place.write_text("a file")
    ended = blina("build", export(tmp_path / "in"), "--db", f"duckdb:///{tmp_path / 'o.duckdb'}", "--rejects", place)
    assert ended.code == 14
    assert f"{place}: cannot be written" in ended.err


def test_a_site_does_not_lead_out_of_its_folder(tmp_path: Path) -> None:
    ended = blina("build", export(tmp_path / "in"), "--db", f"duckdb:///{tmp_path / 'o.duckdb'}", "--site", "../a")
    assert (ended.code, "no name of a site" in ended.err) == (2, True)


def test_another_key_is_refused_before_ids_are_mixed(tmp_path: Path) -> None:
    database = f"duckdb:///{tmp_path / 'o.duckdb'}"
    source = Source("S", export(tmp_path / "in"))
    build([source], database=database, settings=Settings(key="one"))
    with pytest.raises(SettingsError, match="another key"):
        build([source], database=database, settings=Settings(key="two"))
    with pytest.raises(SettingsError, match="another key"):
        build([source], database=database, settings=Settings(key="two"), whole=True)
    build([source], database=database, settings=Settings(key="two"), anew=True)
    assert build([source], database=database, settings=Settings(key="two")).rows["person"] == 1


def test_who_withdraws_is_not_looked_for_with_another_key(tmp_path: Path) -> None:
    """All ids would change, and who withdrew before would be back."""
    database = f"duckdb:///{tmp_path / 'o.duckdb'}"
    build([Source("S", export(tmp_path / "in"))], database=database, settings=Settings(key="one"))
    (tmp_path / "list").write_text("S\ta\n")
    before = (tmp_path / "o.duckdb").read_bytes()
    ended = blina("withdraw", "--list", tmp_path / "list", "--db", database, BLINA_KEY="two")
    assert (ended.code, "another key" in ended.err) == (10, True), ended.err
    assert (tmp_path / "o.duckdb").read_bytes() == before
    assert not (tmp_path / "o.duckdb.withdrawn").exists()


def test_what_another_version_received_is_told(tmp_path: Path) -> None:
    database = f"duckdb:///{tmp_path / 'o.duckdb'}"
    source = Source("S", export(tmp_path / "in"))
    build([source], database=database, settings=Settings(key="k"))
    (file,) = tmp_path.glob("o.duckdb.landed/*/deleted.parquet")
    pl.DataFrame({"other": [1]}).write_parquet(file)
    with pytest.raises(CdmError, match="another version of blina"):
        build([source], database=database, settings=Settings(key="k"))


def test_what_was_rejected_is_told_in_its_night_and_remembered(tmp_path: Path) -> None:
    (export(tmp_path / "in") / "torn.json").write_text('{"resourceType": "Patient", "id": "')
    order = ("build", tmp_path / "in", "--db", f"duckdb:///{tmp_path / 'o.duckdb'}", "--rejects", tmp_path / "rejects")
    first, second = blina(*order), blina(*order)
    assert (first.code, "1 resources or files were REJECTED" in first.out) == (12, True)
    assert (second.code, "REJECTED" in second.out) == (0, False)
    assert "1 of earlier runs stay rejected" in second.out


@pytest.mark.parametrize("encoding", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}])
def test_a_locale_of_another_encoding_changes_nothing(encoding: dict[str, str], tmp_path: Path) -> None:
    folder = export(tmp_path / "Exporte für März")
    locale = {"LC_ALL": "C"} if "PYTHONUTF8" in encoding else {"LC_ALL": "C.UTF-8"}
    ended = blina("build", folder, "--site", "Süd", "--db", f"duckdb:///{tmp_path / 'ü.duckdb'}", **encoding, **locale)
    assert ended.code == 0, ended.err
    assert (tmp_path / "ü.duckdb").is_file()


def test_only_its_owner_may_read_a_backup(site2_database: Path, tmp_path: Path) -> None:
    database = tmp_path / "o.duckdb"
    copy_database(site2_database, database)
    ended = blina("backup", "--db", f"duckdb:///{database}", "--to", tmp_path / "backup.blina")
    assert ended.code == 0, ended.err
    assert stat.S_IMODE((tmp_path / "backup.blina").stat().st_mode) == 0o600
