"""`blina publish`, `diff`, `backup`, `restore`, `roles`, `withdraw` as they are typed, on both kinds of database."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from databases import Database
from postgres_server import PASSWORD
from small_build import make_linked_work, run

from etl.landing.withdrawn import Withdrawn, read_withdrawn
from etl.store import home_of, open_store
from flows.cli import main
from flows.withdrawal_list import read_list

Blina = Callable[..., tuple[int, str, str]]


@pytest.fixture
def blina(capsys: pytest.CaptureFixture[str]) -> Blina:
    """Runs a command in this process: exit code, stdout, stderr; no password may be in them."""

    def typed(*arguments: object) -> tuple[int, str, str]:
        handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
        with pytest.raises(SystemExit) as ended:
            main([str(one) for one in arguments])
        out, err = capsys.readouterr()
        assert PASSWORD not in out + err
        assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers
        return int(ended.value.code or 0), out, err

    return typed


def fill(database: Database, run_id: str = "r1", *, persons: int = 2) -> None:
    with open_store(database.url) as store:
        store.replace(make_linked_work(persons=persons), run(run_id))


def folder_of(database: Database, folder: Path) -> tuple[str, ...]:
    """The option that a server needs."""
    return () if database.kind == "duckdb" else ("--landed", str(folder))


def as_json(answer: tuple[int, str, str]) -> dict[str, Any]:
    assert answer[0] == 0, answer[2]
    content: dict[str, Any] = json.loads(answer[1])
    return content


def test_publish_and_diff_say_what_changed(blina: Blina, database: Database, tmp_path: Path) -> None:
    code, _, err = blina("publish", "--db", database.url, "--to", tmp_path / "releases")
    assert code == 14
    assert "Traceback" not in err
    fill(database)
    first = as_json(blina("publish", "--db", database.url, "--to", tmp_path / "releases", "--json"))
    fill(database, "r2", persons=5)
    second = as_json(blina("publish", "--db", database.url, "--to", tmp_path / "releases", "--keep", 2, "--json"))
    assert second["kept"] == [Path(first["release"]).name, Path(second["release"]).name]
    found = as_json(blina("diff", first["release"], second["release"], "--json"))
    assert found["differences"] == [
        {"table": "cdm.person", "rule": "Patient.person", "added": 3, "removed": 0, "changed": 0}
    ]
    assert "Patient.person" in blina("diff", first["release"], second["release"])[1]
    assert blina("diff", first["release"], first["release"])[1] == "no difference\n"
    third = blina("publish", "--db", database.url, "--to", tmp_path / "releases", "--keep", 1)
    assert "1 kept" in third[1]
    assert blina("diff", first["release"], second["release"])[0] == 14


def test_diff_refuses_a_release_that_was_changed(blina: Blina, database: Database, tmp_path: Path) -> None:
    fill(database)
    release = Path(as_json(blina("publish", "--db", database.url, "--to", tmp_path, "--json"))["release"])
    changed = release / "parquet" / "cdm.person.parquet"
    changed.chmod(0o644)
    changed.write_bytes(b"other")
    code, _, err = blina("diff", release, release)
    assert code == 14
    assert "cdm.person.parquet: changed" in err


def test_backup_and_restore_bring_back_database_and_what_was_received(
    blina: Blina, database: Database, tmp_path: Path
) -> None:
    fill(database)
    there = folder_of(database, tmp_path / "home")
    home = home_of(database.url, Path(there[1]) if there else None)
    (home.landed / "r1").mkdir(parents=True)
    (home.landed / "r1" / "Patient.000.ndjson").write_text("{}\n")
    before = database.contents()
    code, out, err = blina("backup", "--db", database.url, "--to", tmp_path / "b.zip", *there)
    assert (code, "backup: " in out) == (0, True), err
    fill(database, "r2", persons=7)
    (home.landed / "r1" / "Patient.000.ndjson").unlink()
    code, _, err = blina("restore", tmp_path / "b.zip", "--db", database.url, *there)
    assert (code, "overwrite" in err) == (14, True)
    told = as_json(blina("restore", tmp_path / "b.zip", "--db", database.url, *there, "--overwrite", "--json"))
    assert told["to_withdraw_again"] == 0
    assert database.contents() == before
    assert (home.landed / "r1" / "Patient.000.ndjson").read_text() == "{}\n"


def test_a_backup_of_before_a_withdrawal_says_that_people_are_back(blina: Blina, tmp_path: Path) -> None:
    database = Database(f"duckdb:///{tmp_path / 'omop.duckdb'}")
    fill(database)
    assert blina("backup", "--db", database.url, "--to", tmp_path / "b.zip")[0] == 0
    place = home_of(database.url).withdrawn
    Withdrawn(frozenset({"a"}), frozenset({"a", "b"})).write(place)
    code, _, err = blina("restore", tmp_path / "b.zip", "--db", database.url, "--overwrite")
    assert code == 0
    assert "1 patients who withdrew" in err
    assert read_withdrawn(place).marks == {"a", "b"}


def test_a_server_needs_a_folder_for_what_was_received(blina: Blina, postgres: Database, tmp_path: Path) -> None:
    fill(postgres)
    code, _, err = blina("backup", "--db", postgres.url, "--to", tmp_path / "b.zip")
    assert code == 10
    assert "--landed" in err


def test_roles_are_made_on_a_server_and_printed_for_its_administrator(blina: Blina, postgres: Database) -> None:
    code, _, err = blina("roles", "--db", "duckdb:///x.duckdb")
    assert (code, "only PostgreSQL" in err) == (2, True)
    name = urlsplit(postgres.url).path.strip("/")
    printed = blina("roles", "--db", f"postgresql://nowhere.invalid/{name}", "--print")
    assert printed[0] == 0
    assert f'GRANT CONNECT ON DATABASE "{name}"' in printed[1]
    made = as_json(blina("roles", "--db", postgres.url, "--timeout", 60, "--json"))
    assert made["roles"]["blina_research"] == ["cdm", "results"]
    assert "blina_etl" in blina("roles", "--db", postgres.url)[1]
    assert postgres.read("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'blina\\_%'") == [(3,)]


def test_a_database_that_is_gone_is_told_with_its_exit_code(blina: Blina, tmp_path: Path) -> None:
    gone = ("postgresql://somebody:geheim@127.0.0.1:1/none", f"duckdb:///{tmp_path / 'none.duckdb'}")
    for url in gone:
        for command in (("publish", "--to", tmp_path / "r"), ("backup", "--to", tmp_path / "b", "--landed", tmp_path)):
            options = command[:-2] if url.startswith("duckdb") and "--landed" in command else command
            code, _, err = blina(options[0], "--db", url, *options[1:])
            assert code == 14
            assert "geheim" not in err
            assert "Traceback" not in err


def test_who_withdraws_is_read_from_lines_or_a_table(tmp_path: Path) -> None:
    file = tmp_path / "list"
    for text in ("S\tp1\nS\tPatient/p2\n\n", "site,id\nS,p1\nS,p2\n", "id;site\np1;S\nPatient/p2;S\n"):
        file.write_text(text)
        assert read_list(file) == [("S", "p1"), ("S", "p2")]


def test_a_list_that_cannot_be_used_is_told_by_line_without_what_stands_there(blina: Blina, tmp_path: Path) -> None:
    file = tmp_path / "list"
    file.write_text("S\tp1\nLiese Zwiebel\n")
    code, _, err = blina("withdraw", "--list", file, "--db", f"duckdb:///{tmp_path / 'omop.duckdb'}")
    assert code == 2
    assert "line 2" in err
    assert "Zwiebel" not in err


def test_withdraw_without_a_key_makes_none(blina: Blina, tmp_path: Path) -> None:
    file = tmp_path / "list"
    file.write_text("S\tp1\n")
    code, _, err = blina("withdraw", "--list", file, "--db", f"duckdb:///{tmp_path / 'omop.duckdb'}")
    assert code == 10
    assert "there is no key" in err
    assert not (tmp_path / "omop.duckdb.key").exists()
