"""Every store: one run at a time, everything or nothing, and nothing twice."""

import json
import os
import subprocess
from collections.abc import Callable
from datetime import date, datetime

import pytest
from databases import Database, in_another_process
from small_build import STARTED, make_work, run

import etl.cdm
from etl.errors import CdmError, LockError
from etl.store import open_store


def test_a_new_store_has_every_schema_and_every_cdm_table(database: Database) -> None:
    with open_store(database.url):
        pass
    tables = database.read("SELECT table_name FROM information_schema.tables WHERE table_schema = 'cdm'")
    assert {name for (name,) in tables} == set(etl.cdm.TABLES)
    schemas = {name for (name,) in database.read("SELECT schema_name FROM information_schema.schemata")}
    assert {"cdm", "lineage", "ledger", "results"} <= schemas


def test_replace_carries_rows_lineage_and_ledger(database: Database) -> None:
    with open_store(database.url) as store:
        written = store.replace(make_work(), run())
    assert database.read("SELECT person_id, gender_concept_id FROM cdm.person ORDER BY 1") == [
        (5000000000, 8507),
        (5000000001, 8507),
    ]
    assert database.read("SELECT * FROM lineage.person_source") == [(5000000000, "A", "p1", True)]
    assert database.read("SELECT run_id, started_at, outcome, policies FROM ledger.run") == [
        ("r1", STARTED, "loaded", '{"gap_days": 548}')
    ]
    assert database.read(
        'SELECT fhir_id, file_sha256, "at", outcome, reason, run_id FROM ledger.resource ORDER BY "at"'
    ) == [
        ("p1", "f" * 64, 1, "kept", None, "r1"),
        (None, "f" * 64, 2, "skipped", "no mapping", "r1"),
    ]
    assert database.read("SELECT sum(n)::INT FROM ledger.count") == [(2,)]
    assert {(one.table, one.rows) for one in written if one.rows} == {("person", 2), ("person_source", 1)}


def test_the_same_build_again_changes_nothing_but_the_list_of_runs(database: Database) -> None:
    with open_store(database.url) as store:
        store.replace(make_work(), run("r1"))
    with open_store(database.url) as store:
        again = store.replace(make_work(), run("r2"))
    assert not any(one.replaced for one in again)
    assert database.read("SELECT run_id FROM ledger.run ORDER BY 1") == [("r1",), ("r2",)]
    assert database.read("SELECT run_id FROM ledger.resource") == [("r1",), ("r1",)]
    assert database.read("SELECT first_run FROM ledger.file") == [("r1",)]
    assert database.read("SELECT count(*) FROM cdm.person") == [(2,)]


def test_a_changed_row_replaces_its_table_only(database: Database) -> None:
    with open_store(database.url) as store:
        store.replace(make_work(), run("r1"))
        work = make_work()
        work.execute("UPDATE out.person SET gender_concept_id = 8532 WHERE person_id = 5000000001")
        written = store.replace(work, run("r2"))
    assert [(one.schema, one.table) for one in written if one.replaced] == [("cdm", "person")]
    assert database.read("SELECT gender_concept_id FROM cdm.person ORDER BY person_id") == [(8507,), (8532,)]


def test_a_resource_whose_outcome_changed_is_attributed_to_the_run_that_changed_it(database: Database) -> None:
    with open_store(database.url) as store:
        store.replace(make_work(), run("r1"))
        store.replace(make_work(outcome="rejected"), run("r2"))
    assert database.read('SELECT outcome, run_id FROM ledger.resource ORDER BY "at"') == [
        ("rejected", "r2"),
        ("skipped", "r1"),
    ]


def test_a_file_that_comes_twice_under_two_names_is_one_file_and_its_resources_stand_once(database: Database) -> None:
    work = make_work()
    work.execute("INSERT INTO led.file SELECT 2, site, 'copy', sha256, bytes, resources FROM led.file")
    work.execute(
        "INSERT INTO led.resource SELECT * REPLACE (2 AS file, 'skipped' AS outcome, 'duplicate' AS reason)"
        " FROM led.resource"
    )
    with open_store(database.url) as store:
        store.replace(make_work(), run())
    assert database.read("SELECT count(*) FROM ledger.file") == [(1,)]
    assert database.read('SELECT fhir_id, outcome FROM ledger.resource ORDER BY "at"') == [
        ("p1", "kept"),
        (None, "skipped"),
    ]


def test_rows_that_break_the_cdm_are_refused_before_anything_is_written(database: Database) -> None:
    work = make_work()
    work.execute("INSERT INTO out.person (person_id, gender_source_value) VALUES (5000000000, ?)", ["secret" * 20])
    with open_store(database.url) as store:
        store.replace(make_work(), run("r1"))
        with pytest.raises(CdmError) as caught:
            store.replace(work, run("r2"))
    assert "person.person_id: the same key more than once (1 rows)" in caught.value.problems
    assert "person.year_of_birth: NULL, but the CDM requires a value (1 rows)" in caught.value.problems
    assert "person.gender_source_value: longer than 50 characters (1 rows)" in caught.value.problems
    assert "secret" not in str(caught.value)
    assert database.read("SELECT run_id FROM ledger.run") == [("r1",)]


def test_an_error_of_the_database_names_no_value_and_leaves_the_old_state(database: Database) -> None:
    work = make_work()
    work.execute("ALTER TABLE out.person ALTER year_of_birth TYPE VARCHAR")
    work.execute("UPDATE out.person SET year_of_birth = 'secret'")
    with open_store(database.url) as store:
        store.replace(make_work(), run("r1"))
        with pytest.raises(CdmError) as caught:
            store.replace(work, run("r2"))
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None
        store.replace(make_work(persons=3), run("r3"))
    assert database.read("SELECT count(*) FROM cdm.person") == [(3,)]
    assert database.read("SELECT run_id FROM ledger.run ORDER BY 1") == [("r1",), ("r3",)]


def test_vocabulary_tables_come_from_vocab_and_stay_when_it_has_none(database: Database) -> None:
    work = make_work()
    work.execute("CREATE SCHEMA vocab")
    work.execute(etl.cdm.create_table(etl.cdm.TABLES["concept"], "vocab", required=False))
    work.execute(
        "INSERT INTO vocab.concept"
        " VALUES (0, NULL, 'Metadata', 'None', 'Undefined', NULL, 'No matching concept', ?, ?, NULL)",
        [date(1970, 1, 1), date(2099, 12, 31)],
    )
    with open_store(database.url) as store:
        store.replace(work, run("r1"))
        store.replace(make_work(), run("r2"))
    assert database.read("SELECT concept_id, concept_name FROM cdm.concept") == [(0, None)]


def test_a_table_of_an_older_layout_is_made_anew(database: Database) -> None:
    with open_store(database.url) as store:
        store.replace(make_work(), run("r1"))
    database.execute("ALTER TABLE cdm.person DROP COLUMN ethnicity_source_value")
    with open_store(database.url) as store:
        store.replace(make_work(), run("r2"))
    assert database.read("SELECT ethnicity_source_value FROM cdm.person") == [(None,), (None,)]


def test_the_outcome_of_a_run_can_be_changed_and_an_unknown_run_is_an_error(database: Database) -> None:
    with open_store(database.url) as store:
        store.replace(make_work(), run("r1"))
        store.record_outcome("r1", "quality gate refused")
        with pytest.raises(CdmError, match="knows no run"):
            store.record_outcome("r9", "x")
    assert database.read("SELECT outcome FROM ledger.run") == [("quality gate refused",)]


def test_a_second_run_is_told_who_holds_the_lock_and_the_lock_goes_with_the_run(database: Database) -> None:
    with open_store(database.url, run_id="first"):
        with pytest.raises(LockError, match=f"run first, process {os.getpid()} on ") as caught:
            open_store(database.url, run_id="second")
        assert caught.value.exit_code == 17
    with open_store(database.url, run_id="third"):
        pass


def test_a_killed_run_does_not_block_the_next(
    database: Database, stop: "Callable[[subprocess.Popen[str]], None]"
) -> None:
    code = (
        "import sys, time\nfrom etl.store import open_store\n"
        "store = open_store(sys.argv[1], run_id='other')\nprint('ready', flush=True)\ntime.sleep(60)"
    )
    process = in_another_process(code, database.url)
    with pytest.raises(LockError, match=f"run other, process {process.pid} "):
        open_store(database.url)
    stop(process)
    with open_store(database.url):
        pass


def test_a_cdm_of_somebody_else_is_not_overwritten(database: Database) -> None:
    database.execute("CREATE SCHEMA cdm")
    with pytest.raises(CdmError, match="did not build"):
        open_store(database.url)


def test_policies_are_json(database: Database) -> None:
    with open_store(database.url) as store:
        store.replace(make_work(), run())
    assert json.loads(str(database.read("SELECT policies FROM ledger.run")[0][0])) == {"gap_days": 548}


def test_what_a_study_wrote_stays_when_nothing_changed_and_goes_when_something_did(database: Database) -> None:
    with open_store(database.url) as store:
        store.replace(make_work(), run("r1"))
        database.execute(
            "INSERT INTO cdm.episode_event (episode_id, event_id, episode_event_field_concept_id)"
            " VALUES (1, 2, 1147094)"
        )
        again = store.replace(make_work(), run("r2"))
        assert [(one.rows, one.replaced) for one in again if one.table == "episode_event"] == [(1, False)]
        store.replace(make_work(persons=3), run("r3"))
    assert database.read("SELECT count(*) FROM cdm.episode_event") == [(0,)]


def test_a_text_that_is_empty_is_no_null_and_special_characters_come_through(database: Database) -> None:
    texts = ["", 'a,b"c', "\\.", "\\N", "阴性\n µg", None]
    work = make_work(persons=len(texts))
    for number, text in enumerate(texts):
        work.execute("UPDATE out.person SET person_source_value = ? WHERE person_id = ?", [text, 5000000000 + number])
    with open_store(database.url) as store:
        store.replace(work, run())
    assert [one for (one,) in database.read("SELECT person_source_value FROM cdm.person ORDER BY person_id")] == texts


def test_numbers_dates_and_times_come_through_unchanged(database: Database) -> None:
    work = make_work()
    work.execute(
        "INSERT INTO out.measurement BY NAME SELECT 1 AS measurement_id, 5000000000 AS person_id, 0 AS"
        " measurement_concept_id, DATE '0987-12-31' AS measurement_date, TIMESTAMP '2024-02-29 23:59:59.123456' AS"
        " measurement_datetime, 32856 AS measurement_type_concept_id, 0.1::DOUBLE + 0.2::DOUBLE AS value_as_number,"
        " 1e-300::DOUBLE AS range_low, 9007199254740993 AS visit_occurrence_id"
    )
    with open_store(database.url) as store:
        store.replace(work, run())
    assert database.read(
        "SELECT measurement_date, measurement_datetime, value_as_number, range_low, visit_occurrence_id"
        " FROM cdm.measurement"
    ) == [(date(987, 12, 31), datetime(2024, 2, 29, 23, 59, 59, 123456), 0.1 + 0.2, 1e-300, 9007199254740993)]  # noqa: DTZ001


def test_a_nul_character_is_refused_by_name_of_the_column(database: Database) -> None:
    work = make_work()
    work.execute("UPDATE out.person SET person_source_value = 'se' || chr(0) || 'cret'")
    with open_store(database.url) as store, pytest.raises(CdmError) as caught:
        store.replace(work, run())
    assert caught.value.problems == ("person.person_source_value: holds a NUL character (2 rows)",)


def test_runs_count_from_the_last_that_began_anew(database: Database) -> None:
    with open_store(database.url) as store:
        assert store.run_ids() == set()
        for number, received in enumerate(["anew", "added", "anew", "added"], 1):
            store.replace(make_work(), run(f"r{number}", received=received))
        assert store.run_ids() == {"r3", "r4"}
