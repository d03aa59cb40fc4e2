"""Every kind of failure ends the command with its own exit code, a message, and no traceback."""

import json
import shutil
from pathlib import Path

import duckdb
import pytest

from etl.store import open_store
from tests.flows.conftest import ROOT, SAMPLE, Ended, blina

SETTINGS = SAMPLE / "blina.yaml"


def _build(path: Path, to: Path, *more: object) -> Ended:
    return blina("build", path, "--db", f"duckdb:///{to / 'o.duckdb'}", *more)


def _ends(ended: Ended, code: int, words: str) -> None:
    assert ended.code == code, ended.err
    assert words in ended.err
    assert "Traceback" not in ended.err


def test_a_wrong_option_is_a_usage_error() -> None:
    _ends(blina("build", "--no-such-option"), 2, "No such option")


def test_a_path_outside_all_sites_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    _ends(_build(tmp_path, tmp_path, "--settings", SETTINGS), 2, "say --site with one of SITE1")


def test_settings_with_an_unknown_key_say_what_was_meant(tmp_path: Path) -> None:
    (tmp_path / "blina.yaml").write_text("instance: {nam: x, key: k}")
    (tmp_path / "a.json").write_text("{}")
    _ends(_build(tmp_path, tmp_path), 10, "did you mean 'name'?")


def test_settings_without_a_key_are_refused(tmp_path: Path) -> None:
    (tmp_path / "blina.yaml").write_text("instance: {name: x}")
    (tmp_path / "a.json").write_text("{}")
    _ends(_build(tmp_path, tmp_path), 10, "BLINA_KEY")


def test_a_site_that_the_settings_do_not_know_is_refused(tmp_path: Path) -> None:
    _ends(_build(SAMPLE / "site2", tmp_path, "--settings", SETTINGS, "--site", "SIET2"), 10, "did you mean 'SITE2'?")


def test_a_faulty_mapping_is_refused_with_its_place(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "mappings", tmp_path / "mappings")
    patient = tmp_path / "mappings" / "resources" / "patient.yaml"
    patient.write_text(patient.read_text(encoding="utf-8").replace("birthDate", "birthDat"), encoding="utf-8")
    _ends(blina("mappings", "check", "--mappings", tmp_path / "mappings"), 11, "patient.yaml")


def test_a_path_that_does_not_exist_is_a_source_error(tmp_path: Path) -> None:
    _ends(_build(tmp_path / "nowhere", tmp_path), 12, "do not exist")


def test_a_folder_without_fhir_files_does_not_empty_the_database(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    _ends(_build(tmp_path, tmp_path), 12, "nothing to read")
    assert not (tmp_path / "o.duckdb").exists()


def test_a_folder_that_is_no_athena_download_is_a_vocabulary_error(tmp_path: Path) -> None:
    _ends(_build(SAMPLE / "site2", tmp_path, "--settings", SETTINGS, "--vocabulary", SAMPLE / "site2"), 13, "CONCEPT")


def test_a_file_that_is_no_database_is_a_cdm_error(tmp_path: Path) -> None:
    (tmp_path / "o.duckdb").write_text("this is no database " * 400)
    _ends(_build(SAMPLE / "site2", tmp_path, "--settings", SETTINGS), 14, "o.duckdb")


def test_a_database_that_is_not_there_is_a_cdm_error(tmp_path: Path) -> None:
    for command in (("quality",), ("study", "run", "--out", tmp_path), ("study", "check"), ("mappings", "worklist")):
        _ends(blina(*command, "--db", f"duckdb:///{tmp_path / 'no.duckdb'}"), 14, "no.duckdb")


def test_a_shut_gate_stops_before_the_study(site2_database: Path, tmp_path: Path) -> None:
    broken = tmp_path / "o.duckdb"
    shutil.copy(site2_database, broken)
    with duckdb.connect(str(broken)) as connection:
        connection.execute("UPDATE cdm.drug_exposure SET person_id = 1, drug_concept_id = 999")
    ended = blina("study", "run", "--db", f"duckdb:///{broken}", "--out", tmp_path / "out", "--json")
    _ends(ended, 15, "the quality gate refused the CDM")
    assert ended.json["exit_code"] == 15
    assert not (tmp_path / "out" / "report.html").exists()
    assert json.loads((tmp_path / "out" / "quality.json").read_text())["gate"]["ok"] is False
    with duckdb.connect(str(broken), read_only=True) as connection:
        assert connection.execute("SELECT outcome FROM ledger.run").fetchall() == [("refused by the quality gate",)]


def test_a_cdm_without_the_drug_cannot_answer_the_study(site2_database: Path, tmp_path: Path) -> None:
    without = tmp_path / "o.duckdb"
    shutil.copy(site2_database, without)
    with duckdb.connect(str(without)) as connection:
        connection.execute("DELETE FROM cdm.drug_exposure")
    url = f"duckdb:///{without}"
    _ends(blina("study", "check", "--db", url), 16, "cannot answer")
    _ends(blina("study", "run", "--db", url, "--out", tmp_path / "out", "--skip-quality"), 16, "cannot answer")


def test_a_study_that_is_not_there_is_a_usage_error(site2_database: Path, tmp_path: Path) -> None:
    ended = blina("study", "check", "--db", f"duckdb:///{site2_database}", "--study", tmp_path / "none")
    _ends(ended, 2, "no such study")


def test_a_database_that_another_run_holds_is_locked(tmp_path: Path) -> None:
    database = tmp_path / "o.duckdb"
    with open_store(f"duckdb:///{database}", run_id="the other run"):
        _ends(_build(SAMPLE / "site2", tmp_path, "--settings", SETTINGS), 17, "the other run")


@pytest.mark.parametrize("debug", [False, True])
def test_an_error_of_our_own_is_told_without_its_text(
    debug: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text of an unforeseen exception may quote a row: kind and place must do."""
    import flows.doctor
    from flows.cli import main

    def fail(*_: object) -> None:
        raise ValueError("born 2019-03-04")

    monkeypatch.setattr(flows.doctor, "examine", fail)
    if debug:
        with pytest.raises(ValueError, match="born"):
            main(["--debug", "doctor"])
        return
    with pytest.raises(SystemExit) as ended:
        main(["doctor"])
    assert ended.value.code == 1
    told = capsys.readouterr()
    assert "2019-03-04" not in told.out + told.err
    assert "ValueError at tests/flows/test_exit_codes.py" in told.err
