"""Releases: whole, unchangeable, told apart by rule; and backups that are refused when they are not what they were."""

import errno
import json
import shutil
import zipfile
from pathlib import Path

import duckdb
import polars as pl
import pytest
from databases import Database
from small_build import make_linked_work, run

from etl.errors import CdmError, LockError
from etl.store import open_store
from etl.store.backup import backup, restore
from etl.store.lock import RunLock
from etl.store.release_diff import diff_releases
from etl.store.releases import publish, read_release, releases, verify


def fill(database: Database, run_id: str = "r1", *, persons: int = 2, change: str = "") -> None:
    work = make_linked_work(persons=persons)
    if change:
        work.execute(change)
    with open_store(database.url) as store:
        store.replace(work, run(run_id))


def test_a_release_holds_the_cdm_and_the_results_and_says_where_they_come_from(
    database: Database, tmp_path: Path
) -> None:
    fill(database)
    database.execute(
        "CREATE TABLE results.response AS SELECT CAST('a' AS TEXT) AS grp, 1 AS n, CAST(0.5 AS FLOAT) AS p"
    )
    release = publish(database.url, tmp_path / "releases")
    verify(release)
    assert release.manifest["run_id"] == "r1"
    assert release.manifest["mapping_sha"] == "m"
    assert release.manifest["rows"]["cdm.person"] == 2
    with duckdb.connect(str(release.database), read_only=True) as connection:
        assert connection.execute("SELECT person_id FROM cdm.person ORDER BY 1").fetchall() == [
            (5000000000,),
            (5000000001,),
        ]
        assert connection.execute("FROM results.response").fetchall() == [("a", 1, 0.5)]
    assert pl.read_parquet(release.path / "parquet/cdm.person.parquet")["gender_concept_id"].to_list() == [8507, 8507]


def test_no_fhir_id_is_in_a_release(database: Database, tmp_path: Path) -> None:
    fill(database, change="UPDATE lin.person_source SET fhir_id = 'the-fhir-id'")
    release = publish(database.url, tmp_path)
    names = {path.name for path in release.path.rglob("*.parquet")}
    assert {name for name in names if not name.startswith("cdm.")} == {
        "lineage.rule.parquet",
        "lineage.cdm_row.parquet",
    }
    assert all(b"the-fhir-id" not in path.read_bytes() for path in release.path.rglob("*") if path.is_file())
    assert pl.read_parquet(release.path / "parquet/lineage.cdm_row.parquet").columns == [
        "table_name",
        "row_id",
        "rule_id",
    ]


def test_the_last_releases_are_kept_and_what_a_killed_one_left_is_cleared(database: Database, tmp_path: Path) -> None:
    fill(database)
    made = [publish(database.url, tmp_path, keep=2).name for _ in range(3)]
    (tmp_path / ".publishing-x").mkdir()
    (tmp_path / ".removing-y").mkdir()
    made.append(publish(database.url, tmp_path, keep=2).name)
    assert [one.name for one in releases(tmp_path)] == made[-2:]
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == set(made[-2:])


def test_a_release_that_finds_no_room_leaves_nothing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database)

    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("etl.store.releases.write_parquet", no_room)
    with pytest.raises(CdmError, match="No space left"):
        publish(database.url, tmp_path / "releases")
    assert list((tmp_path / "releases").iterdir()) == []


def test_a_release_that_was_changed_is_found_out(database: Database, tmp_path: Path) -> None:
    fill(database)
    release = publish(database.url, tmp_path)
    person = release.path / "parquet/cdm.person.parquet"
    assert person.stat().st_mode & 0o222 == 0
    person.chmod(0o644)
    person.write_bytes(person.read_bytes()[:-1])
    (release.path / "parquet/cdm.death.parquet").unlink()
    (release.path / "extra.txt").write_text("x")
    with pytest.raises(CdmError) as caught:
        verify(release)
    assert caught.value.problems == (
        "parquet/cdm.death.parquet: not there",
        "extra.txt: not in the manifest",
        "parquet/cdm.person.parquet: changed",
    )
    (release.path / "manifest.json").write_text("{}")
    with pytest.raises(CdmError, match="not a release"):
        read_release(release.path)


def test_nothing_is_published_of_a_database_without_a_run_or_while_another_publishes(
    database: Database, tmp_path: Path
) -> None:
    with open_store(database.url):
        pass
    with pytest.raises(CdmError, match="no run yet"):
        publish(database.url, tmp_path / "releases")
    fill(database)
    lock = RunLock(tmp_path / "releases" / "releases", "another")
    with pytest.raises(LockError, match="run another"):
        publish(database.url, tmp_path / "releases")
    lock.release()


def test_what_changed_between_two_releases_is_told_by_table_and_rule(database: Database, tmp_path: Path) -> None:
    fill(database, "r1", persons=4)
    before = publish(database.url, tmp_path)
    change = """UPDATE out.person SET gender_concept_id = 8532 WHERE person_id = 5000000000;
                DELETE FROM out.person WHERE person_id = 5000000001;
                INSERT INTO out.death BY NAME SELECT 5000000002 AS person_id, DATE '2024-01-01' AS death_date"""
    fill(database, "r2", persons=5, change=change)
    after = publish(database.url, tmp_path)
    assert diff_releases(before, after).rows() == [
        ("cdm.death", None, 1, 0, 0),
        ("cdm.person", "Patient.person", 1, 1, 1),
    ]
    assert diff_releases(after, after).is_empty()


def test_a_backup_restored_is_the_same_database_and_the_next_build_changes_nothing(
    database: Database, tmp_path: Path
) -> None:
    fill(database)
    database.execute("CREATE TABLE results.response AS SELECT CAST('a' AS TEXT) AS grp, CAST(NULL AS INTEGER) AS n")
    received = tmp_path / "received" / "r1"
    received.mkdir(parents=True)
    (received / "Patient.ndjson").write_text("{}\n")
    before = database.contents()
    backup(database.url, tmp_path / "kept" / "one.zip", {"received": tmp_path / "received"})
    fill(database, "r2", persons=9)
    (received / "Patient.ndjson").write_text("changed")
    with pytest.raises(CdmError, match="holds runs already"):
        restore(tmp_path / "kept/one.zip", database.url)
    restore(tmp_path / "kept/one.zip", database.url, {"received": tmp_path / "received"}, overwrite=True)
    assert database.contents() == before
    assert database.read("SELECT * FROM results.response") == [("a", None)]
    assert (received / "Patient.ndjson").read_text() == "{}\n"
    with open_store(database.url) as store:
        assert not any(one.replaced for one in store.replace(make_linked_work(), run("r3")))


def test_backup_and_run_keep_each_other_waiting(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was received must be what the tables were made of: a backup holds the lock, and says who does."""
    fill(database)
    with open_store(database.url, run_id="nightly"), pytest.raises(LockError, match="run nightly"):
        backup(database.url, tmp_path / "one.zip")
    assert not (tmp_path / "one.zip").exists()
    told = []

    def run_meanwhile(place: str) -> None:
        if place == "backup: tables copied":
            with pytest.raises(LockError, match="run backup") as caught:
                open_store(database.url)
            told.append(caught.value)

    monkeypatch.setattr("etl.store.steps.reached", run_meanwhile)
    backup(database.url, tmp_path / "one.zip")
    assert len(told) == 1
    with open_store(database.url):
        pass


def test_a_backup_of_a_file_can_be_restored_into_a_server(postgres: Database, tmp_path: Path) -> None:
    embedded = Database(f"duckdb:///{tmp_path}/omop.duckdb")
    fill(embedded)
    backup(embedded.url, tmp_path / "one.zip")
    restore(tmp_path / "one.zip", postgres.url)
    assert postgres.contents() == embedded.contents()


def test_a_torn_changed_or_foreign_backup_is_refused_and_nothing_is_written(database: Database, tmp_path: Path) -> None:
    fill(database)
    whole = tmp_path / "one.zip"
    backup(database.url, whole)
    before = database.contents()
    data = whole.read_bytes()
    torn, changed, foreign, none = (tmp_path / name for name in ("torn", "changed", "foreign", "none"))
    torn.write_bytes(data[: len(data) // 2])
    at = data.index(b"PAR1") + 100
    changed.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    shutil.copy(whole, foreign)
    with zipfile.ZipFile(foreign, "a") as archive:
        archive.writestr("../evil", "x")
    none.write_text("hello")
    with zipfile.ZipFile(tmp_path / "other", "w") as archive:
        archive.writestr("manifest.json", json.dumps({"format": "something else"}))
    for path in (torn, changed, foreign, none, tmp_path / "other", tmp_path / "missing"):
        with pytest.raises(CdmError):
            restore(path, database.url, overwrite=True)
        assert database.contents() == before
    assert not (tmp_path.parent / "evil").exists()
