"""The embedded store: one run at a time, everything or nothing, and nothing twice."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest

import etl.cdm
from etl.errors import CdmError, LockError
from etl.store import Run, create_work_schema, database_path, insert_frame, open_store

STARTED = datetime(2026, 11, 24, 3, 0)  # noqa: DTZ001  # the ledger keeps UTC without a zone


def run(run_id: str = "r1") -> Run:
    return Run(
        run_id=run_id,
        started_at=STARTED,
        software_version="0.1.0",
        mapping_sha="m",
        settings_sha="s",
        policies={"gap_days": 548},
    )


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"duckdb:///{tmp_path / 'omop.duckdb'}"


@pytest.fixture
def work() -> duckdb.DuckDBPyConnection:
    return make_work()


def make_work(*, persons: int = 2, outcome: str = "kept") -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    create_work_schema(connection)
    connection.execute(
        "INSERT INTO out.person BY NAME SELECT i + 5000000000 AS person_id, 8507 AS gender_concept_id,"
        " 2000 AS year_of_birth, 0 AS race_concept_id, 0 AS ethnicity_concept_id FROM range(?) AS numbers(i)",
        [persons],
    )
    files = pl.DataFrame(
        {"file": [1], "site": ["A"], "name": ["Jane Doe.json"], "sha256": ["f" * 64], "bytes": [10], "resources": [2]}
    )
    resources = pl.DataFrame(
        {
            "site": ["A", "A"],
            "resource_type": ["Patient", "Claim"],
            "fhir_id": ["p1", None],
            "content_hash": ["h1", "h2"],
            "file": [1, 1],
            "at": [1, 2],
            "outcome": [outcome, "skipped"],
            "reason": [None, "no mapping"],
            "not a column of the ledger": [1, 2],
        }
    )
    counts = resources.group_by("site", "resource_type", "outcome", "reason").agg(pl.len().alias("n"))
    insert_frame(connection, "led.file", files)
    insert_frame(connection, "led.resource", resources)
    insert_frame(connection, "led.count", counts)
    connection.execute("INSERT INTO lin.person_source VALUES (5000000000, 'A', 'p1', TRUE)")
    return connection


def read(url: str, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(database_path(url)), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_a_new_store_has_every_schema_and_every_cdm_table(url: str) -> None:
    with open_store(url):
        pass
    tables = read(url, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'cdm'")
    assert {name for (name,) in tables} == set(etl.cdm.TABLES)
    schemas = {name for (name,) in read(url, "SELECT schema_name FROM information_schema.schemata")}
    assert {"cdm", "lineage", "ledger", "results"} <= schemas


def test_replace_carries_rows_lineage_and_ledger(url: str, work: duckdb.DuckDBPyConnection) -> None:
    with open_store(url) as store:
        written = store.replace(work, run())
    assert read(url, "SELECT person_id, gender_concept_id FROM cdm.person ORDER BY 1") == [
        (5000000000, 8507),
        (5000000001, 8507),
    ]
    assert read(url, "FROM lineage.person_source") == [(5000000000, "A", "p1", True)]
    assert read(url, "SELECT run_id, started_at, outcome, policies FROM ledger.run") == [
        ("r1", STARTED, "loaded", '{"gap_days": 548}')
    ]
    assert read(
        url, 'SELECT fhir_id, file_sha256, "at", outcome, reason, run_id FROM ledger.resource ORDER BY "at"'
    ) == [
        ("p1", "f" * 64, 1, "kept", None, "r1"),
        (None, "f" * 64, 2, "skipped", "no mapping", "r1"),
    ]
    assert read(url, "SELECT sum(n)::INT FROM ledger.count") == [(2,)]
    assert {(one.table, one.rows) for one in written if one.rows} == {("person", 2), ("person_source", 1)}
    assert work.execute("SELECT count(*) FROM duckdb_databases() WHERE database_name = 'blina_target'").fetchone() == (
        0,
    )


def test_the_names_of_files_are_only_kept_as_hashes(url: str, work: duckdb.DuckDBPyConnection) -> None:
    with open_store(url) as store:
        store.replace(work, run())
    assert b"Jane Doe" not in database_path(url).read_bytes()
    assert read(url, "SELECT length(name_hash), first_run, resources FROM ledger.file") == [(16, "r1", 2)]


def test_the_same_build_again_changes_nothing_but_the_list_of_runs(url: str) -> None:
    with open_store(url) as store:
        store.replace(make_work(), run("r1"))
    with open_store(url) as store:
        again = store.replace(make_work(), run("r2"))
    assert not any(one.replaced for one in again)
    assert read(url, "SELECT run_id FROM ledger.run ORDER BY 1") == [("r1",), ("r2",)]
    assert read(url, "SELECT run_id FROM ledger.resource") == [("r1",), ("r1",)]
    assert read(url, "SELECT first_run FROM ledger.file") == [("r1",)]
    assert read(url, "SELECT count(*) FROM cdm.person") == [(2,)]


def test_a_changed_row_replaces_its_table_only(url: str) -> None:
    with open_store(url) as store:
        store.replace(make_work(), run("r1"))
        work = make_work()
        work.execute("UPDATE out.person SET gender_concept_id = 8532 WHERE person_id = 5000000001")
        written = store.replace(work, run("r2"))
    assert [(one.schema, one.table) for one in written if one.replaced] == [("cdm", "person")]
    assert read(url, "SELECT gender_concept_id FROM cdm.person ORDER BY person_id") == [(8507,), (8532,)]


def test_a_resource_whose_outcome_changed_is_attributed_to_the_run_that_changed_it(url: str) -> None:
    with open_store(url) as store:
        store.replace(make_work(), run("r1"))
        store.replace(make_work(outcome="rejected"), run("r2"))
    assert read(url, 'SELECT outcome, run_id FROM ledger.resource ORDER BY "at"') == [
        ("rejected", "r2"),
        ("skipped", "r1"),
    ]


def test_a_file_that_comes_twice_under_two_names_is_one_file_and_its_resources_stand_once(url: str) -> None:
    work = make_work()
    work.execute("INSERT INTO led.file SELECT 2, site, 'copy', sha256, bytes, resources FROM led.file")
    work.execute(
        "INSERT INTO led.resource SELECT * REPLACE (2 AS file, 'skipped' AS outcome, 'duplicate' AS reason)"
        " FROM led.resource"
    )
    with open_store(url) as store:
        store.replace(work, run())
    assert read(url, "SELECT count(*) FROM ledger.file") == [(1,)]
    assert read(url, 'SELECT fhir_id, outcome FROM ledger.resource ORDER BY "at"') == [
        ("p1", "kept"),
        (None, "skipped"),
    ]


def test_rows_that_break_the_cdm_are_refused_before_anything_is_written(url: str) -> None:
    work = make_work()
    work.execute("INSERT INTO out.person (person_id, gender_source_value) VALUES (5000000000, ?)", ["secret" * 20])
    with open_store(url) as store:
        store.replace(make_work(), run("r1"))
        with pytest.raises(CdmError) as caught:
            store.replace(work, run("r2"))
    assert "person.person_id: the same key more than once (1 rows)" in caught.value.problems
    assert "person.year_of_birth: NULL, but the CDM requires a value (1 rows)" in caught.value.problems
    assert "person.gender_source_value: longer than 50 characters (1 rows)" in caught.value.problems
    assert "secret" not in str(caught.value)
    assert read(url, "SELECT run_id FROM ledger.run") == [("r1",)]


def test_an_error_of_the_database_names_no_value_and_leaves_the_old_state(url: str) -> None:
    work = make_work()
    work.execute("ALTER TABLE out.person ALTER year_of_birth TYPE VARCHAR")
    work.execute("UPDATE out.person SET year_of_birth = 'secret'")
    with open_store(url) as store:
        store.replace(make_work(), run("r1"))
        with pytest.raises(CdmError) as caught:
            store.replace(work, run("r2"))
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None
        store.replace(make_work(persons=3), run("r3"))
    assert read(url, "SELECT count(*) FROM cdm.person") == [(3,)]
    assert read(url, "SELECT run_id FROM ledger.run ORDER BY 1") == [("r1",), ("r3",)]


def test_vocabulary_tables_come_from_vocab_and_stay_when_it_has_none(url: str) -> None:
    work = make_work()
    work.execute("CREATE SCHEMA vocab")
    work.execute(etl.cdm.create_table(etl.cdm.TABLES["concept"], "vocab", required=False))
    work.execute(
        "INSERT INTO vocab.concept"
        " VALUES (0, NULL, 'Metadata', 'None', 'Undefined', NULL, 'No matching concept', ?, ?, NULL)",
        [date(1970, 1, 1), date(2099, 12, 31)],
    )
    with open_store(url) as store:
        store.replace(work, run("r1"))
        store.replace(make_work(), run("r2"))
    assert read(url, "SELECT concept_id, concept_name FROM cdm.concept") == [(0, None)]


def test_a_table_of_an_older_layout_is_made_anew(url: str) -> None:
    with open_store(url) as store:
        store.replace(make_work(), run("r1"))
    with duckdb.connect(str(database_path(url))) as connection:
        connection.execute("ALTER TABLE cdm.person DROP COLUMN ethnicity_source_value")
    with open_store(url) as store:
        store.replace(make_work(), run("r2"))
    assert read(url, "SELECT ethnicity_source_value FROM cdm.person") == [(None,), (None,)]


def test_the_outcome_of_a_run_can_be_changed_and_an_unknown_run_is_an_error(url: str) -> None:
    with open_store(url) as store:
        store.replace(make_work(), run("r1"))
        store.record_outcome("r1", "quality gate refused")
        with pytest.raises(CdmError, match="knows no run"):
            store.record_outcome("r9", "x")
    assert read(url, "SELECT outcome FROM ledger.run") == [("quality gate refused",)]


def test_a_second_run_is_told_who_holds_the_lock_and_the_lock_goes_with_the_run(url: str) -> None:
    with open_store(url, run_id="first"):
        with pytest.raises(LockError, match=f"run first, process {os.getpid()} on ") as caught:
            open_store(url, run_id="second")
        assert caught.value.exit_code == 17
        assert str(database_path(url)) in str(caught.value)
    with open_store(url, run_id="third"):
        pass
    assert not database_path(url).with_name("omop.duckdb.lock").exists()


def in_another_process(code: str, *arguments: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready"
    return process


@pytest.fixture
def stop() -> "Callable[[subprocess.Popen[str]], None]":
    def kill(process: "subprocess.Popen[str]") -> None:
        process.send_signal(signal.SIGKILL)
        process.communicate()

    return kill


def test_a_killed_run_does_not_block_the_next(url: str, stop: "Callable[[subprocess.Popen[str]], None]") -> None:
    code = (
        "import sys, time\nfrom etl.store import open_store\n"
        "store = open_store(sys.argv[1], run_id='other')\nprint('ready', flush=True)\ntime.sleep(60)"
    )
    process = in_another_process(code, url)
    with pytest.raises(LockError, match=f"run other, process {process.pid} "):
        open_store(url)
    stop(process)
    with open_store(url):
        pass


def test_a_reader_in_another_process_is_named(url: str, stop: "Callable[[subprocess.Popen[str]], None]") -> None:
    with open_store(url):
        pass
    code = (
        "import sys, time, duckdb\nconnection = duckdb.connect(sys.argv[1], read_only=True)\n"
        "print('ready', flush=True)\ntime.sleep(60)"
    )
    process = in_another_process(code, str(database_path(url)))
    with pytest.raises(LockError, match=f"another process has the file open: process {process.pid} "):
        open_store(url, wait_seconds=0)
    stop(process)
    with open_store(url, wait_seconds=0):
        pass


def test_a_connection_of_this_process_that_was_left_open_is_told(url: str) -> None:
    with open_store(url) as store:
        left_open = duckdb.connect(str(database_path(url)))
        with pytest.raises(LockError, match="this very process"):
            store.replace(make_work(), run())
        left_open.close()
        store.replace(make_work(), run())


def test_killed_before_the_commit_the_old_state_stays(
    url: str, stop: "Callable[[subprocess.Popen[str]], None]"
) -> None:
    with open_store(url) as store:
        store.replace(make_work(), run("r1"))
    code = (
        "import sys, time, importlib.util\n"
        "spec = importlib.util.spec_from_file_location('tests_store', sys.argv[2])\n"
        "tests = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(tests)\n"
        "from etl.store import duckdb_store\n"
        "write = duckdb_store.write_ledger\n"
        "def hang(*arguments):\n"
        "    write(*arguments)\n    print('ready', flush=True)\n    time.sleep(60)\n"
        "duckdb_store.write_ledger = hang\n"
        "tests.open_store(sys.argv[1]).replace(tests.make_work(persons=5), tests.run('r2'))"
    )
    stop(in_another_process(code, url, __file__))
    assert read(url, "SELECT count(*) FROM cdm.person") == [(2,)]
    assert read(url, "SELECT run_id FROM ledger.run") == [("r1",)]
    with open_store(url) as store:
        store.replace(make_work(persons=5), run("r3"))
    assert read(url, "SELECT count(*) FROM cdm.person") == [(5,)]


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("not a database " * 1000)
    with pytest.raises(CdmError, match="not a valid DuckDB database"):
        open_store(f"duckdb:///{path}")


def test_a_cdm_of_somebody_else_is_not_overwritten(url: str) -> None:
    with duckdb.connect(str(database_path(url))) as connection:
        connection.execute("CREATE SCHEMA cdm")
    with pytest.raises(CdmError, match="did not build"):
        open_store(url)


def test_a_folder_that_is_missing_is_made(tmp_path: Path) -> None:
    with open_store(f"duckdb:///{tmp_path}/demo/deep/omop.duckdb"):
        pass
    assert (tmp_path / "demo/deep/omop.duckdb").exists()


@pytest.mark.parametrize("url", ["postgresql://user:secret@host/db", "omop.duckdb", "duckdb:///", "duckdb:///:memory:"])
def test_other_urls_are_refused_without_repeating_their_password(url: str) -> None:
    with pytest.raises(CdmError, match="duckdb:///FILE") as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


def test_policies_are_json(url: str, work: duckdb.DuckDBPyConnection) -> None:
    with open_store(url) as store:
        store.replace(work, run())
    assert json.loads(str(read(url, "SELECT policies FROM ledger.run")[0][0])) == {"gap_days": 548}


def test_what_a_study_wrote_stays_when_nothing_changed_and_goes_when_something_did(url: str) -> None:
    with open_store(url) as store:
        store.replace(make_work(), run("r1"))
        with duckdb.connect(str(database_path(url))) as connection:
            connection.execute(
                "INSERT INTO cdm.episode_event (episode_id, event_id, episode_event_field_concept_id)"
                " VALUES (1, 2, 1147094)"
            )
        again = store.replace(make_work(), run("r2"))
        assert [(one.rows, one.replaced) for one in again if one.table == "episode_event"] == [(1, False)]
        store.replace(make_work(persons=3), run("r3"))
    assert read(url, "SELECT count(*) FROM cdm.episode_event") == [(0,)]
