"""The Python API and the study on PostgreSQL: the same frames, tables and answers as on DuckDB, all four hospitals."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import polars as pl
import psycopg
import pytest

from analytics import check_study, derive, derive_courses, derive_variants, load_study, open_cdm, results_tables
from analytics.cdm import Cdm
from analytics.derive import Derived
from analytics.study import Study
from etl.cdm import TABLES, column_types
from etl.errors import CdmError
from etl.landing import Source
from etl.pipeline import build
from etl.settings import Settings, load_settings
from flows.study_run import ask_study, run_study

pytestmark = pytest.mark.long
SAMPLE = Path(__file__).parents[3] / "sample_bundles"
NAME = "blina_study"


@dataclass(frozen=True)
class Both:
    """The sample hospitals in a DuckDB file and on a server."""

    duck: str
    server: str
    settings: Settings
    folder: Path

    @property
    def study(self) -> Study:
        return load_study().for_settings(self.settings)


@pytest.fixture(scope="module")
def both(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("study")
    settings = load_settings(SAMPLE / "blina.yaml")
    sources = [Source(name, site.folder) for name, site in settings.sites.items() if site.folder]
    duck, server = f"duckdb:///{folder / 'omop.duckdb'}", postgres_server + NAME
    with psycopg.connect(f"{postgres_server}postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)".encode())
        connection.execute(f"CREATE DATABASE {NAME} TEMPLATE template0 ENCODING 'UTF8'".encode())
        build(sources, database=duck, settings=settings)
        build(sources, database=server, settings=replace(settings, landed=folder / "server"))
        yield Both(duck, server, settings, folder)
        connection.execute(f"DROP DATABASE {NAME} WITH (FORCE)".encode())


@pytest.fixture
def server_cdm(both: Both) -> Iterator[Cdm]:
    with open_cdm(both.server) as cdm:
        yield cdm


@pytest.fixture(scope="module")
def on_duck(both: Both) -> Derived:
    with open_cdm(both.duck) as cdm:
        return derive(cdm, both.study)


def same(one: Derived, other: Derived) -> int:
    """How many frames were compared; fails at the first that differs in a value or a type."""
    compared = 0
    for field in fields(Derived):
        left, right = getattr(one, field.name), getattr(other, field.name)
        if isinstance(left, pl.DataFrame):
            assert left.schema == right.schema, field.name
            assert left.equals(right), field.name
            compared += left.height > 0
        else:
            assert left == right, field.name
    return compared


def test_every_frame_of_the_study_is_the_same(both: Both, server_cdm: Cdm, on_duck: Derived) -> None:
    assert same(derive(server_cdm, both.study), on_duck) >= 12
    assert derive_courses(server_cdm, both.study).equals(on_duck.courses)


def test_so_is_what_is_derived_under_other_definitions(both: Both, server_cdm: Cdm) -> None:
    with open_cdm(both.duck) as cdm:
        expected = derive_variants(cdm, both.study)
    found = derive_variants(server_cdm, both.study)
    assert found.keys() == expected.keys() == both.study.get("sensitivity").keys()
    for name, variant in found.items():
        same(variant, expected[name])


def test_the_check_says_the_same(both: Both, server_cdm: Cdm) -> None:
    with open_cdm(both.duck) as cdm:
        expected = check_study(cdm, both.study)
    found = check_study(server_cdm, both.study)
    assert found.can_answer
    assert found.lines.equals(expected.lines)
    assert ask_study(both.server).lines.equals(ask_study(both.duck).lines)


def test_the_whole_study_leaves_the_same_files_and_rows(both: Both, on_duck: Derived) -> None:
    runs = {
        name: run_study(url, both.folder / name, settings=both.settings)
        for name, url in (("on_duck", both.duck), ("on_server", both.server))
    }
    assert runs["on_server"].stored
    assert runs["on_server"].matches == runs["on_duck"].matches
    files = sorted(path.name for path in (both.folder / "on_duck").iterdir())
    assert files == sorted(path.name for path in (both.folder / "on_server").iterdir())
    for name in (one for one in files if one.endswith((".csv", ".parquet"))):
        one, other = ((both.folder / run / name).read_bytes() for run in runs)
        assert one == other, name
    one, other = (json.loads((both.folder / run / "results.json").read_text()) for run in runs)
    assert one == other
    for table in (*(f"results.{name}" for name in results_tables(on_duck)), "cdm.episode", "cdm.episode_event"):
        rows = []
        for url in (both.duck, both.server):
            with open_cdm(url) as cdm:
                kept = cdm.query(f"SELECT * FROM {table}")
            kept = kept.drop("run_id", strict=False)
            rows.append(sorted(kept.select(sorted(kept.columns)).rows(), key=repr))
        assert rows[0] == rows[1] != [], table


def test_a_cdm_is_opened_for_reading_only(server_cdm: Cdm) -> None:
    with pytest.raises(CdmError, match="read-only"):
        server_cdm.query("DELETE FROM cdm.person")


def test_a_cdm_with_omops_own_types_in_other_schemas_gives_the_same(both: Both, on_duck: Derived) -> None:
    # OMOP's DDL for PostgreSQL has NUMERIC, which knows NaN and any number of digits; ours has DOUBLE PRECISION.
    with psycopg.connect(both.server) as server:
        server.execute(b"CREATE SCHEMA theirs")
        server.execute(b"CREATE SCHEMA words")
        numbers = 0
        for (name,) in server.execute(b"SELECT table_name FROM information_schema.tables WHERE table_schema = 'cdm'"):
            schema = "words" if name in {"concept", "concept_ancestor", "concept_relationship"} else "theirs"
            server.execute(f"CREATE TABLE {schema}.{name} AS TABLE cdm.{name}".encode())
            for column, kind in column_types(TABLES[name]).items():
                if kind == "DOUBLE":
                    server.execute(f"ALTER TABLE {schema}.{name} ALTER {column} TYPE NUMERIC".encode())
                    numbers += 1
        assert numbers > 10
    with open_cdm(both.server, schema="theirs", vocabulary_schema="words") as cdm:
        assert same(derive(cdm, both.study), on_duck) >= 12


def test_a_number_that_is_none_reads_as_missing(both: Both) -> None:
    with psycopg.connect(both.server) as server:
        server.execute(b"CREATE SCHEMA odd")
        server.execute(b"CREATE TABLE odd.person AS SELECT 1 AS person_id")
        server.execute(
            b"CREATE TABLE odd.measurement AS SELECT * FROM (VALUES (1, 'NaN'::NUMERIC), (2, 0.1), (3, NULL), "
            b"(4, 0.12345678901234567890123456789012345678901234567890)) AS of (measurement_id, value_as_number)"
        )
    with open_cdm(both.server, schema="odd") as cdm:
        rows = cdm.read("measurement", ["measurement_id", "value_as_number"]).sort("measurement_id")
    assert rows["value_as_number"].to_list() == [None, 0.1, None, 0.12345678901234568]
