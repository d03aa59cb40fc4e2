"""The command line: quick, quiet, one JSON object, and sites found from folders."""

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from etl.errors import SettingsError, UsageError
from flows.instance import find_instance
from tests.flows.conftest import ROOT, SAMPLE, blina

HEAVY = ("prefect", "great_expectations", "lifelines", "polars", "duckdb", "pandas", "matplotlib", "sqlalchemy")


def _python(code: str) -> str:
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return ended.stdout.strip()


def test_help_needs_none_of_the_heavy_libraries() -> None:
    loaded = _python("import sys, flows.cli; print(' '.join(sorted(sys.modules)))").split()
    assert not set(HEAVY) & set(loaded)


def test_every_command_is_in_the_help() -> None:
    told = blina("--help")
    assert told.code == 0
    assert all(name in told.out for name in ("build", "quality", "study", "demo", "mappings", "doctor", "version"))
    assert "12" in blina("build", "--help").out


def test_telemetry_of_prefect_is_off_whatever_the_environment_says() -> None:
    code = (
        "import os; os.environ['PREFECT_SERVER_ANALYTICS_ENABLED'] = 'true'; import flows.build_cdm; "
        "from prefect.settings import get_current_settings as now; "
        "print(now().server.analytics_enabled, os.environ['DO_NOT_TRACK'])"
    )
    assert _python(code) == "False 1"


def test_telemetry_of_great_expectations_is_off_whatever_the_environment_says() -> None:
    """This release sends nothing by itself any more; an older or newer one reads the variable."""
    code = (
        "import os; os.environ['GX_ANALYTICS_ENABLED'] = 'true'; import flows.quiet, sys, great_expectations; "
        "print(os.environ['GX_ANALYTICS_ENABLED'], any('posthog' in name for name in sys.modules))"
    )
    assert _python(code) == "false False"


def test_prefect_is_imported_by_the_two_flow_files_only() -> None:
    importing = [path.name for path in (ROOT / "flows").glob("*.py") if "from prefect" in path.read_text("utf-8")]
    assert sorted(importing) == ["build_cdm.py", "run_study.py"]


def test_version_and_doctor_answer() -> None:
    assert blina("version").out.startswith("blina ")
    found = blina("doctor", "--json")
    assert {one["what"] for one in found.json["findings"]} >= {"python", "libraries", "disk", "telemetry", "browser"}


def test_doctor_names_a_folder_that_is_no_vocabulary(tmp_path: Path) -> None:
    ended = blina("doctor", "--vocabulary", tmp_path)
    assert ended.code == 13
    assert "lacks CONCEPT.csv" in ended.out


def test_mappings_show_names_the_file_of_each_line() -> None:
    shown = blina("mappings", "show", "Observation", "--site", "SITE3")
    assert shown.code == 0, shown.err
    assert "observation.yaml" in shown.out
    assert blina("mappings", "show", "Observatoin").code == 11


def test_worklist_of_a_complete_site_is_empty(site2_database: Path) -> None:
    ended = blina("mappings", "worklist", "--db", f"duckdb:///{site2_database}", "--json")
    assert ended.json == {"codes": [], "texts_not_shown": 0}


def test_the_worklist_shows_codes_and_only_counts_what_somebody_wrote(tmp_path: Path) -> None:
    words = "Grandmother Li says that she slept badly"
    (tmp_path / "a.json").write_text(
        json.dumps(
            {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in (
                {"resourceType": "Patient", "id": "p", "gender": "female", "birthDate": "2015-03-09"},
                {"resourceType": "Observation", "id": "o", "status": "final", "subject": {"reference": "Patient/p"},
                 "effectiveDateTime": "2022-01-05", "valueString": words,
                 "code": {"coding": [{"system": "http://hospital.example", "code": "SLEEP"}]}},
                {"resourceType": "Encounter", "id": "e", "status": "finished", "class": {"code": "AMB"},
                 "subject": {"reference": "Patient/p"}, "period": {"start": "2022-01-05"},
                 "hospitalization": {"admitSource": {"text": words}}},
            )]}
        )
    )  # fmt: skip
    (tmp_path / "blina.yaml").write_text(
        "instance: {name: x, abbreviation: X, key: k, synthetic: true}\ndata_lock: 2025-01-31\n"
        "sites: {S9: {folder: ., time_zone: UTC, decimal_separator: '.'}}\n"
    )
    db = f"duckdb:///{tmp_path / 'o.duckdb'}"
    built = blina("build", tmp_path / "a.json", "--site", "S9", "--settings", tmp_path / "blina.yaml", "--db", db)
    assert built.code == 0, built.err
    shown = blina("mappings", "worklist", "--db", db)
    assert "SLEEP" in shown.out
    assert "Grandmother" not in shown.out + shown.err
    assert "1 texts without a code are not shown" in shown.err
    found = blina("mappings", "worklist", "--db", db, "--json").json
    assert [one["source_code"] for one in found["codes"]] == ["SLEEP"]
    assert found["texts_not_shown"] == 1


def test_one_word_in_place_of_a_code_of_a_short_list_is_hidden_and_in_the_file(tmp_path: Path) -> None:
    visits: list[dict[str, Any]] = [
        {"class": {"code": "AMB"}, "hospitalization": {"admitSource": {"text": "Annabel"}}},
        {"class": {"code": "AMB"}, "hospitalization": {"dischargeDisposition": {"text": "Room7"}}},
        {"class": {"display": "Lizzy"}},
        {"class": {"code": "CLINIC-Z"}, "hospitalization": {"admitSource": {"coding": [{"code": "FOUNDLING"}]}}},
        {"class": {"code": "AMB"}, "hospitalization": {"admitSource": {"coding": [{"code": "Annabel"}]}}},
    ]
    common = {"status": "finished", "subject": {"reference": "Patient/p"}, "period": {"start": "2022-01-05"}}
    resources = [
        {"resourceType": "Patient", "id": "p", "gender": "female", "birthDate": "2015-03-09"},
        *({"resourceType": "Encounter", "id": f"e{n}", **common, **one} for n, one in enumerate(visits)),
        {"resourceType": "Practitioner", "id": "d", "qualification": [{"code": {"text": "Heiler"}}]},
    ]
    (tmp_path / "a.ndjson").write_text("".join(json.dumps(one) + "\n" for one in resources))
    (tmp_path / "blina.yaml").write_text(
        "instance: {name: x, abbreviation: X, key: k, synthetic: true}\ndata_lock: 2025-01-31\n"
        "sites: {S9: {folder: ., time_zone: UTC, decimal_separator: '.'}}\n"
    )
    db = f"duckdb:///{tmp_path / 'o.duckdb'}"
    built = blina("build", tmp_path / "a.ndjson", "--site", "S9", "--settings", tmp_path / "blina.yaml", "--db", db)
    assert built.code == 0, built.err
    shown = blina("mappings", "worklist", "--db", db)
    codes = {one["source_code"]: one["n"] for one in blina("mappings", "worklist", "--db", db, "--json").json["codes"]}
    assert codes == {"CLINIC-Z": 1, "FOUNDLING": 1, "Annabel": 1}  # as a code it was given once
    for word in ("Room7", "lizzy", "Heiler"):
        assert word.lower() not in (shown.out + shown.err).lower()
    assert "4 texts without a code are not shown" in shown.err
    assert blina("mappings", "worklist", "--db", db, "--out", tmp_path / "list.csv").code == 0
    listed = (tmp_path / "list.csv").read_text(encoding="utf-8")
    for word in ("Annabel", "Room7", "lizzy", "Heiler", "FOUNDLING", "CLINIC-Z"):
        assert word in listed


def test_the_folder_of_the_settings_means_all_its_sites(tmp_path: Path) -> None:
    found = find_instance([SAMPLE], site=None, settings=None, database=f"duckdb:///{tmp_path / 'o.duckdb'}")
    assert [source.site for source in found.sources] == ["SITE1", "SITE2", "SITE3", "SITE4"]


def test_a_path_inside_a_sites_folder_is_that_sites(tmp_path: Path) -> None:
    path = SAMPLE / "site4" / "Patient.ndjson"
    database = f"duckdb:///{tmp_path / 'o.duckdb'}"
    found = find_instance([path], site=None, settings=SAMPLE / "blina.yaml", database=database)
    assert [(source.site, source.path) for source in found.sources] == [("SITE4", path)]


def test_two_settings_files_are_not_merged(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "blina.yaml").write_text("instance: {key: k}")
    with pytest.raises(UsageError, match="--settings"):
        find_instance([tmp_path / "a", tmp_path / "b"], site=None, settings=None, database="duckdb:///x")


def test_without_settings_a_key_is_made_once_and_kept_to_the_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BLINA_KEY", raising=False)
    (tmp_path / "a.json").write_text("{}")
    database = f"duckdb:///{tmp_path / 'o.duckdb'}"
    first = find_instance([tmp_path], site=None, settings=None, database=database)
    file = tmp_path / "o.duckdb.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(first.settings.key) >= 32
    assert first.settings.key not in "".join(first.notes)
    assert find_instance([tmp_path], site=None, settings=None, database=database).settings == first.settings
    file.unlink()
    (tmp_path / "o.duckdb").touch()
    with pytest.raises(SettingsError, match="all ids would change"):
        find_instance([tmp_path], site=None, settings=None, database=database)


def test_quality_prints_one_object_and_writes_both_reports(site2_database: Path, tmp_path: Path) -> None:
    paths = {"--json-file": tmp_path / "q.json", "--html": tmp_path / "q.html"}
    options = [one for pair in paths.items() for one in pair]
    ended = blina("quality", "--db", f"duckdb:///{site2_database}", *options, "--json")
    assert ended.code == 0, ended.err
    assert ended.json["gate"] == "open"
    assert json.loads(paths["--json-file"].read_text(encoding="utf-8"))["gate"]["ok"] is True
    assert paths["--html"].stat().st_size > 10_000


def test_a_vocabulary_that_is_none_is_told_before_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "athena").mkdir()
    database = f"duckdb:///{tmp_path}/omop.duckdb"
    ended = blina("build", SAMPLE, "--db", database, "--vocabulary", tmp_path / "athena")
    assert ended.code == 13
    assert "load vocabulary" in ended.err
    assert "build: land" not in ended.err
