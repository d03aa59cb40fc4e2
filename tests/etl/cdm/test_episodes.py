"""Episodes that a study derived, written into a CDM."""

from datetime import date

import duckdb
import polars as pl
import pytest

import etl.cdm
from etl.cdm.episodes import write_episodes
from etl.cdm.keys import key_sql, stable_key

REGIMEN = stable_key(1, 32531, 1)
CYCLE = stable_key(1, 32532, 1)


@pytest.fixture
def cdm() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("CREATE SCHEMA cdm")
    for name in ("episode", "episode_event"):
        connection.execute(etl.cdm.create_table(etl.cdm.TABLES[name], "cdm"))
    return connection


def episodes() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "episode_id": [REGIMEN, CYCLE],
            "person_id": [1, 1],
            "episode_concept_id": [32531, 32532],
            "episode_start_date": [date(2024, 1, 1)] * 2,
            "episode_object_concept_id": [0, 0],
            "episode_type_concept_id": [32882, 32882],
            "episode_parent_id": [None, REGIMEN],
        }
    )


def events() -> pl.DataFrame:
    return pl.DataFrame({"episode_id": [CYCLE], "event_id": [77], "episode_event_field_concept_id": [1147094]})


def test_episodes_replace_those_that_were_there(cdm: duckdb.DuckDBPyConnection) -> None:
    for _ in range(2):
        write_episodes(cdm, episodes(), events())
    found = cdm.execute("SELECT episode_id, episode_parent_id, episode_number FROM cdm.episode ORDER BY 2 NULLS FIRST")
    assert found.fetchall() == [(REGIMEN, None, None), (CYCLE, REGIMEN, None)]
    assert cdm.execute("FROM cdm.episode_event").fetchall() == [(CYCLE, 77, 1147094)]


@pytest.mark.parametrize(
    ("frame", "linked", "message"),
    [
        (episodes().with_columns(colour=pl.lit("red")), events(), "no column colour"),
        (episodes().drop("person_id"), events(), "person_id is missing"),
        (episodes().with_columns(person_id=pl.lit(None, pl.Int64)), events(), "NULL in 2 rows"),
        (pl.concat([episodes(), episodes()]), events(), "more than once"),
        (episodes(), events().with_columns(episode_id=pl.lit(5)), "episode_event.episode_id names no episode"),
        (episodes().with_columns(episode_parent_id=pl.lit(5)), events(), "episode_parent_id names no episode"),
    ],
)
def test_episodes_that_do_not_hold_together_are_refused_and_the_old_ones_stay(
    cdm: duckdb.DuckDBPyConnection, frame: pl.DataFrame, linked: pl.DataFrame, message: str
) -> None:
    write_episodes(cdm, episodes(), events())
    with pytest.raises(ValueError, match=message):
        write_episodes(cdm, frame, linked)
    assert cdm.execute("SELECT count(*) FROM cdm.episode").fetchone() == (2,)


def test_no_episodes_at_all_empties_the_tables(cdm: duckdb.DuckDBPyConnection) -> None:
    write_episodes(cdm, episodes(), events())
    write_episodes(cdm, episodes().clear(), events().clear())
    assert cdm.execute("SELECT count(*) FROM cdm.episode").fetchone() == (0,)


@pytest.mark.parametrize(
    ("sql", "values"),
    [
        (("'drug_era'", "1", "DATE '2024-01-02'"), ("drug_era", 1, date(2024, 1, 2))),
        (("'a'", "NULL", "''"), ("a", None, "")),
        (("'é|阴性'",), ("é|阴性",)),
    ],
)
def test_keys_are_the_same_in_sql_and_in_python(sql: tuple[str, ...], values: tuple[object, ...]) -> None:
    assert duckdb.connect().execute(f"SELECT {key_sql(*sql)}").fetchone() == (stable_key(*values),)
    assert 0 < stable_key(*values) < 2**63
