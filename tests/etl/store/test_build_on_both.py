"""The same hospital built on DuckDB and on PostgreSQL: the same rows in every table, and every tool says the same."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import polars as pl
import psycopg
import pytest
from postgres_server import PASSWORD

from etl.cdm import TABLES
from etl.errors import SettingsError
from etl.store.place import home_of, refuse_password
from etl.store.reading import copied, reading
from etl.store.snapshot import snapshot

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "sample_bundles"
SITE = "site2"


@dataclass(frozen=True)
class Both:
    """The two databases of one hospital, and the environment that knows the server's password."""

    duck: str
    server: str
    folder: Path
    environment: dict[str, str]
    told: str

    def blina(self, *arguments: object, code: int = 0) -> str:
        """What a command prints; it must end with this exit code and never show the password."""
        command = [sys.executable, "-m", "flows.cli", *map(str, arguments)]
        ended = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=280, check=False
        )
        assert ended.returncode == code, ended.stderr
        assert PASSWORD not in ended.stdout + ended.stderr
        return ended.stdout


@pytest.fixture(scope="module")
def both(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Built by the command line: the server's URL has no password, which stands in a PGPASSFILE."""
    folder = tmp_path_factory.mktemp("both")
    parts = urlsplit(f"{postgres_server}blina_both")
    passwords = folder / "pgpass"
    passwords.write_text(f"{parts.hostname}:{parts.port}:*:{parts.username}:{PASSWORD}\n")
    passwords.chmod(0o600)
    without = urlunsplit(parts._replace(netloc=f"{parts.username}@{parts.hostname}:{parts.port}"))
    environment = {**os.environ, "PGPASSFILE": str(passwords), "PYTHONPATH": str(ROOT)}
    with (
        psycopg.connect(f"{postgres_server}postgres", autocommit=True) as connection,
        pytest.MonkeyPatch.context() as m,
    ):
        m.setenv("PGPASSFILE", str(passwords))
        connection.execute("DROP DATABASE IF EXISTS blina_both WITH (FORCE)")
        connection.execute("CREATE DATABASE blina_both TEMPLATE template0 ENCODING 'UTF8'")
        made = Both(f"duckdb:///{folder / 'omop.duckdb'}", without, folder, environment, "")
        given = (SAMPLE / SITE, "--settings", SAMPLE / "blina.yaml", "--accept-rejects", "--json", "--db")
        made.blina("build", *given, made.duck)
        told = made.blina("build", *given, made.server, "--landed", folder / "server")
        yield Both(made.duck, made.server, folder, environment, told)
        connection.execute("DROP DATABASE blina_both WITH (FORCE)")


def test_every_table_of_the_cdm_and_of_lineage_is_the_same_row_for_row(both: Both) -> None:
    filled = 0
    with copied(both.server) as copy:
        copy.execute(f"ATTACH '{both.folder / 'omop.duckdb'}' AS duck (READ_ONLY)")
        for place in [*(f"cdm.{name}" for name in TABLES), "lineage.resource", "lineage.cdm_row", "lineage.precision"]:
            for one, other in ((place, f"duck.{place}"), (f"duck.{place}", place)):
                query = f"SELECT count(*) FROM (FROM {one} EXCEPT ALL FROM {other})"
                assert copy.execute(query).fetchone() == (0,), place
            filled += copy.execute(f"SELECT count(*) > 0 FROM {place}").fetchall()[0][0]
    assert filled > 20


def test_the_next_build_onto_the_server_adds_to_what_came_before(both: Both) -> None:
    again = json.loads(
        both.blina("build", SAMPLE / SITE, "--settings", SAMPLE / "blina.yaml", "--json", "--db", both.server,
                   "--landed", both.folder / "server")
    )  # fmt: skip
    assert again["rows"] == json.loads(both.told)["rows"]
    assert len(list((both.folder / "server" / "landed").iterdir())) == 1
    assert not list((both.folder / "server").glob(".blina-work-*"))


def test_the_server_needs_a_folder_of_its_own(both: Both, tmp_path: Path) -> None:
    both.blina("build", SAMPLE / SITE, "--settings", SAMPLE / "blina.yaml", "--db", both.server, code=10)
    home = home_of(both.server, tmp_path)
    home.claim()
    home.claim()
    with pytest.raises(SettingsError, match="holds what"):
        home_of(both.server + "_other", tmp_path).claim()
    with pytest.raises(SettingsError, match="beside itself"):
        home_of(both.duck, tmp_path)


def test_quality_gives_the_same_counts_and_keeps_them_on_the_server(both: Both) -> None:
    found = [
        json.loads(both.blina("quality", "--db", url, "--html", both.folder / f"{name}.html", "--json-file",
                              both.folder / f"{name}.json", "--json"))
        for name, url in (("duck", both.duck), ("server", both.server))
    ]  # fmt: skip
    names = ("gate", "checks", "passed", "failed", "errors", "not_applicable")
    assert [found[0][name] for name in names] == [found[1][name] for name in names]
    with snapshot(both.server) as kept:
        assert kept.rows("SELECT count(*) FROM results.quality_check") == [(found[1]["checks"],)]
        (outcome,) = kept.rows("SELECT outcome FROM ledger.run ORDER BY run_id DESC LIMIT 1")
        assert outcome == ("passed the quality gate",)


def test_the_study_gives_the_same_results(both: Both) -> None:
    for name, url in (("duck", both.duck), ("server", both.server)):
        both.blina("study", "run", "--db", url, "--out", both.folder / name, "--skip-quality", "--synthetic")
    compared = 0
    for path in sorted((both.folder / "duck").glob("*.parquet")):
        one, other = pl.read_parquet(path), pl.read_parquet(both.folder / "server" / path.name)
        drop = [column for column in one.columns if column in {"run_id", "made_at"}]
        assert one.drop(drop).equals(other.drop(drop)), path.name
        compared += 1
    assert compared > 10
    with reading(both.server, [("results", "study_patient"), ("cdm", "episode")]) as copy, reading(both.duck) as duck:
        for query in ("SELECT count(*) FROM results.study_patient", "SELECT count(*) FROM cdm.episode"):
            assert copy.execute(query).fetchone() == duck.execute(query).fetchone() != (0,)


def test_explain_and_the_worklist_say_the_same(both: Both) -> None:
    with reading(both.duck) as duck:
        row = duck.execute("SELECT min(measurement_id) FROM cdm.measurement").fetchall()[0][0]
    for command in (("explain", "measurement", row), ("mappings", "worklist", "--json")):
        one, other = (both.blina(*command, "--db", url) for url in (both.duck, both.server))
        assert one == other != ""


def test_a_password_never_goes_where_it_would_be_kept(both: Both) -> None:
    secret = both.server.replace("@", ":geheim@")
    with pytest.raises(SettingsError) as told:
        refuse_password(secret)
    refuse_password(both.server)
    wrong = both.blina("study", "check", "--db", secret.replace("blina_both", "none"), "--json", code=14)
    assert "geheim" not in str(told.value) + wrong
