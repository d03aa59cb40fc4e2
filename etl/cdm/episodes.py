"""Writes episodes (regimen 32531, cycle 32532, disease 32533) that a study derived from the events of a CDM.

The caller works on rows of any CDM 5.4, so nothing here knows who built it.
"""

from collections.abc import Iterable

import duckdb
import polars as pl

import etl.cdm


def write_episodes(
    connection: duckdb.DuckDBPyConnection,
    episodes: pl.DataFrame,
    episode_events: pl.DataFrame,
    *,
    schema: str = "cdm",
) -> None:
    """Replaces the rows of EPISODE and EPISODE_EVENT in one transaction.

    The frames have columns of those tables under their own names; columns left out become NULL. The episode_id comes
    from `etl.cdm.keys.stable_key`, e.g. of person, episode concept and number. Raises ValueError, before anything is
    written, when a column is unknown, a required value is missing, an episode_id occurs twice, or an event or a parent
    names an episode that is not there.
    """
    problems = [*_column_problems("episode", episodes), *_column_problems("episode_event", episode_events)]
    problems = problems or list(_link_problems(episodes, episode_events))
    if problems:
        raise ValueError("these episodes cannot be written: " + "; ".join(problems))
    connection.execute("BEGIN TRANSACTION")
    try:
        for table, frame in (("episode", episodes), ("episode_event", episode_events)):
            _replace(connection, f"{schema}.{table}", frame)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _replace(connection: duckdb.DuckDBPyConnection, table: str, frame: pl.DataFrame) -> None:
    connection.execute(f"DELETE FROM {table}")
    connection.register("episode_frame", frame.to_arrow())
    try:
        connection.execute(f"INSERT INTO {table} BY NAME FROM episode_frame")
    finally:
        connection.unregister("episode_frame")


def _column_problems(table: str, frame: pl.DataFrame) -> Iterable[str]:
    for column in frame.columns:
        if column not in etl.cdm.column_types(table):
            yield f"{table} has no column {column}"
    for column in etl.cdm.required_columns(table):
        if column not in frame.columns:
            yield f"{table}.{column} is missing"
        elif missing := frame[column].null_count():
            yield f"{table}.{column} is NULL in {missing} rows"


def _link_problems(episodes: pl.DataFrame, episode_events: pl.DataFrame) -> Iterable[str]:
    ids = episodes["episode_id"]
    if doubled := episodes.height - ids.n_unique():
        yield f"episode.episode_id occurs more than once ({doubled} rows)"
    if orphans := episode_events.filter(~pl.col("episode_id").is_in(ids.implode())).height:
        yield f"episode_event.episode_id names no episode ({orphans} rows)"
    if "episode_parent_id" in episodes.columns:
        parents = episodes.filter(pl.col("episode_parent_id").is_not_null())
        if orphans := parents.filter(~pl.col("episode_parent_id").is_in(ids.implode())).height:
            yield f"episode.episode_parent_id names no episode ({orphans} rows)"
