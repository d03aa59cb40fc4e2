"""The embedded store: what only a file can meet."""

import resource
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from databases import in_another_process
from small_build import make_work, run

from etl.errors import CdmError, LockError
from etl.store import database_path, new_run_id, open_store
from etl.store.backup import backup, restore


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"duckdb:///{tmp_path / 'omop.duckdb'}"


def read(url: str, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(database_path(url)), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_the_names_of_files_are_only_kept_as_hashes(url: str) -> None:
    with open_store(url) as store:
        store.replace(make_work(), run())
    assert b"Jane Doe" not in database_path(url).read_bytes()
    assert read(url, "SELECT length(name_hash), first_run, resources FROM ledger.file") == [(16, "r1", 2)]


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


def test_the_lock_file_goes_and_the_work_database_is_let_go(url: str) -> None:
    work = make_work()
    with open_store(url) as store:
        store.replace(work, run())
    assert not database_path(url).with_name("omop.duckdb.lock").exists()
    assert work.execute("SELECT count(*) FROM duckdb_databases() WHERE database_name = 'blina_target'").fetchone() == (
        0,
    )


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("not a database " * 1000)
    with pytest.raises(CdmError, match="not a valid DuckDB database"):
        open_store(f"duckdb:///{path}")


def test_a_folder_that_is_missing_is_made(tmp_path: Path) -> None:
    with open_store(f"duckdb:///{tmp_path}/demo/deep/omop.duckdb"):
        pass
    assert (tmp_path / "demo/deep/omop.duckdb").exists()


def test_run_ids_sort_by_time_within_a_second() -> None:
    ids = []
    for _ in range(20):
        ids.append(new_run_id())
        time.sleep(0.001)
    assert ids == sorted(ids)
    assert all(len(one) <= 40 for one in ids)


def test_a_new_file_is_its_owners_and_stays_as_the_hospital_set_it(url: str, tmp_path: Path) -> None:
    with open_store(url) as store:
        store.replace(make_work(), run())
    path = database_path(url)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    backup(url, tmp_path / "one.zip")
    restore(tmp_path / "one.zip", url, overwrite=True)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_disk_that_fills_up_after_the_commit_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads exit code 14 must not think that the night was not loaded."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_up(place: str) -> None:
        if place == "duckdb: committed":
            resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))

    monkeypatch.setattr("etl.store.steps.reached", fill_up)
    path = tmp_path / "omop.duckdb"
    with open_store(f"duckdb:///{path}") as store:
        try:
            with pytest.raises(CdmError, match=r"loaded and committed, but .*no room on the disk"):
                store.replace(make_work(), run("r1"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            monkeypatch.undo()
    with open_store(f"duckdb:///{path}") as store:
        assert store.run_ids() == {"r1"}
        assert not any(one.replaced for one in store.replace(make_work(), run("r2")))


@pytest.mark.parametrize("url", ["mysql://user:secret@host/db", "omop.duckdb", "duckdb:///", "duckdb:///:memory:"])
def test_other_urls_are_refused_without_repeating_their_password(url: str) -> None:
    with pytest.raises(CdmError, match="duckdb:///FILE") as caught:
        open_store(url)
    assert "secret" not in str(caught.value)
