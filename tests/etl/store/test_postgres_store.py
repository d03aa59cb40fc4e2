"""The store on a server: what only PostgreSQL can meet."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable

import psycopg
import pytest
from databases import Database, in_another_process
from small_build import make_work, run

import etl.cdm
from etl.errors import CdmError, LockError
from etl.store import open_store
from etl.store.postgres_layout import columns


def identities(database: Database) -> dict[str, int]:
    """The number of each table on the server: another one when it was made anew."""
    rows = database.read(
        "SELECT nspname || '.' || relname, pg_class.oid FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE relkind = 'r' AND nspname IN ('cdm', 'lineage', 'ledger')"
    )
    return dict(rows)


def test_the_same_build_again_leaves_every_table_untouched_and_a_changed_one_only_changes_itself(
    postgres: Database,
) -> None:
    with open_store(postgres.url) as store:
        store.replace(make_work(), run("r1"))
        before = identities(postgres)
        store.replace(make_work(), run("r2"))
        assert identities(postgres) == before
        work = make_work()
        work.execute("UPDATE out.person SET gender_concept_id = 8532")
        store.replace(work, run("r3"))
    after = identities(postgres)
    assert {name for name in before if before[name] != after[name]} == {"cdm.person"}


def test_every_table_with_a_key_has_it_and_ids_are_bigint(postgres: Database) -> None:
    with open_store(postgres.url) as store:
        store.replace(make_work(), run())
    keys = postgres.read("SELECT conrelid::regclass::text FROM pg_constraint WHERE contype = 'p'")
    assert {f"cdm.{name}" for name in etl.cdm.KEYS} <= {name for (name,) in keys}
    assert columns(etl.cdm.TABLES["person"])["person_id"] == "bigint"
    assert columns(etl.cdm.TABLES["measurement"])["value_as_number"] == "double precision"
    indexed = postgres.read("SELECT indexname FROM pg_indexes WHERE schemaname = 'cdm' AND tablename = 'measurement'")
    assert {name for (name,) in indexed} == {
        "measurement_pkey",
        "measurement_person_id",
        "measurement_measurement_concept_id",
        "measurement_visit_occurrence_id",
    }


def test_rows_deleted_by_hand_come_back(postgres: Database) -> None:
    with open_store(postgres.url) as store:
        store.replace(make_work(), run("r1"))
        postgres.execute("DELETE FROM cdm.person WHERE person_id = 5000000001")
        written = store.replace(make_work(), run("r2"))
    assert [one.table for one in written if one.replaced] == ["person"]
    assert postgres.read("SELECT count(*) FROM cdm.person") == [(2,)]


def test_a_reader_in_a_transaction_is_waited_for_then_named_and_nothing_is_torn(postgres: Database) -> None:
    with open_store(postgres.url, wait_seconds=0.2) as store:
        store.replace(make_work(), run("r1"))
        with psycopg.connect(postgres.url) as reader:
            reader.execute("SELECT * FROM cdm.person")
            with pytest.raises(LockError, match=r"readers do not let go of the tables: .* .server process"):
                store.replace(make_work(persons=3), run("r2"))
        assert postgres.read("SELECT count(*) FROM cdm.person") == [(2,)]
        store.replace(make_work(persons=3), run("r3"))
    assert postgres.read("SELECT count(*) FROM cdm.person") == [(3,)]
    assert postgres.read("SELECT run_id FROM ledger.run ORDER BY 1") == [("r1",), ("r3",)]


def test_a_reader_that_ends_in_time_holds_nothing_up(postgres: Database) -> None:
    with open_store(postgres.url, wait_seconds=30) as store:
        store.replace(make_work(), run("r1"))
        reader = psycopg.connect(postgres.url)
        reader.execute("SELECT * FROM cdm.person")
        timer = threading.Timer(1.0, reader.close)
        timer.start()
        store.replace(make_work(persons=3), run("r2"))
        timer.join()


def test_readers_keep_the_old_rows_until_the_commit(postgres: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def look(name: str) -> None:
        if name == "postgres: indexes made":
            seen.extend(postgres.read("SELECT count(*) FROM cdm.person"))

    with open_store(postgres.url) as store:
        store.replace(make_work(), run("r1"))
        monkeypatch.setattr("etl.store.steps.reached", look)
        store.replace(make_work(persons=3), run("r2"))
    assert seen == [(2,)]


def test_a_view_of_somebody_on_a_table_is_told_and_nothing_is_lost(postgres: Database) -> None:
    with open_store(postgres.url) as store:
        store.replace(make_work(), run("r1"))
        postgres.execute("CREATE VIEW results.ours AS SELECT person_id FROM cdm.person")
        with pytest.raises(CdmError, match="views or other objects depend"):
            store.replace(make_work(persons=3), run("r2"))
        assert postgres.read("SELECT count(*) FROM results.ours") == [(2,)]


def test_rights_that_an_administrator_gave_survive_the_exchange(postgres: Database) -> None:
    with open_store(postgres.url) as store:
        store.replace(make_work(), run("r1"))
        postgres.execute("GRANT SELECT ON cdm.person TO PUBLIC; GRANT SELECT ON cdm.person TO pg_monitor")
        store.replace(make_work(persons=3), run("r2"))
    granted = postgres.read("SELECT relacl::text FROM pg_class WHERE oid = 'cdm.person'::regclass")
    assert "pg_monitor=r/" in granted[0][0]
    assert "{=r/" in granted[0][0] or ",=r/" in granted[0][0]


def test_vocabulary_as_athena_ships_it_is_taken(postgres: Database) -> None:
    work = make_work()
    work.execute("CREATE SCHEMA vocab")
    work.execute(etl.cdm.create_table(etl.cdm.TABLES["concept"], "vocab", required=False))
    work.execute("INSERT INTO vocab.concept (concept_id, concept_name) VALUES (0, ?), (1, NULL)", ["n" * 300])
    with open_store(postgres.url) as store:
        store.replace(work, run())
    assert postgres.read("SELECT length(concept_name) FROM cdm.concept ORDER BY concept_id") == [(300,), (None,)]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda url: f"postgresql://someone:only%20@127.0.0.1:1/{url.rpartition('/')[2]}", "no server answers"),
        (lambda url: url.replace(url.rpartition("@")[0], "postgresql://blina_nobody:only%20"), "refused the user"),
        (lambda url: url + "_secretword", "no such database"),
        (lambda url: url + "?secretword=1", "cannot be read"),
    ],
)
def test_a_server_that_cannot_be_used_is_told_without_the_password(
    change: Callable[[str], str], text: str, postgres: Database
) -> None:
    with pytest.raises(CdmError, match=text) as caught:
        open_store(change(postgres.url))
    assert "only" not in str(caught.value)
    assert "%20" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_read_only_database_is_told_when_the_run_begins(postgres: Database) -> None:
    name = postgres.url.rpartition("/")[2]
    with open_store(postgres.url):
        pass
    postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(CdmError, match="read-only"):
        open_store(postgres.url)


def test_a_full_disk_is_told_and_nothing_is_written(postgres: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(name: str) -> None:
        if name == "postgres: rows copied":
            raise psycopg.errors.DiskFull('could not extend file "secret"')

    with open_store(postgres.url) as store:
        store.replace(make_work(), run("r1"))
        with monkeypatch.context() as patched:
            patched.setattr("etl.store.steps.reached", full)
            with pytest.raises(CdmError, match="disk is full") as caught:
                store.replace(make_work(persons=3), run("r2"))
        assert "secret" not in str(caught.value)
        store.replace(make_work(persons=3), run("r3"))


def test_a_server_that_goes_away_is_told_and_the_old_rows_stay(
    postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end_session(name: str) -> None:
        if name == "postgres: indexes made":
            postgres.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE 'blina %'"
                " AND datname = current_database()"
            )

    with open_store(postgres.url) as store:
        store.replace(make_work(), run("r1"))
        with monkeypatch.context() as patched:
            patched.setattr("etl.store.steps.reached", end_session)
            with pytest.raises(CdmError, match=r"(shut down|broke)"):
                store.replace(make_work(persons=3), run("r2"))
    assert postgres.read("SELECT count(*) FROM cdm.person") == [(2,)]
    assert postgres.read("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'blina_new%'") == [(0,)]


def test_the_run_after_a_killed_one_waits_until_the_server_has_noticed(postgres: Database) -> None:
    code = (
        "import sys, time, psycopg\nfrom etl.store.postgres_store import PostgresStore\n"
        "store = PostgresStore(sys.argv[1], 'other')\nprint('ready', flush=True)\n"
        "store._connection.execute(\"SET client_connection_check_interval = '2s'\")\n"
        "store._connection.execute('SELECT pg_sleep(60)')"
    )
    process: subprocess.Popen[str] = in_another_process(code, postgres.url)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    with open_store(postgres.url) as store:
        store.replace(make_work(), run())
