"""Regimen and courses as OMOP episodes, and the study's populations as cohorts (PROTOCOL.md section 6).

The ids are hashes of the person's id and the course number: the same CDM always gives the same rows.
"""

import hashlib
from datetime import date
from typing import Any

import polars as pl

from analytics.derive import Derived
from etl.cdm import TABLES, column_types

REGIMEN, CYCLE, DERIVED_EPISODE = 32531, 32532, 32545
DRUG_FIELD, MEASUREMENT_FIELD, PROCEDURE_FIELD, CONDITION_FIELD = 1147094, 1147138, 1147082, 1147127
OBSERVATION_FIELD = 1147165
FIRST_COHORT = 160713800

_TYPES: dict[str, Any] = {
    "BIGINT": pl.Int64, "INTEGER": pl.Int64, "VARCHAR": pl.String, "DATE": pl.Date, "TIMESTAMP": pl.Datetime("us"),
    "DOUBLE": pl.Float64, "BOOLEAN": pl.Boolean,
}  # fmt: skip


def episode_tables(derived: Derived) -> dict[str, pl.DataFrame]:
    """Frames for the CDM tables episode, episode_event, cohort and cohort_definition, with all their columns."""
    cycles = _cycles(derived)
    return {
        "episode": _complete("episode", pl.concat([_regimens(derived), cycles], how="diagonal_relaxed")),
        "episode_event": _complete("episode_event", _episode_events(derived, cycles)),
        "cohort": _complete("cohort", _cohorts(derived)),
        "cohort_definition": _complete("cohort_definition", _cohort_definitions(derived)),
    }


def _episode_id(person_id: int, course_no: int) -> int:
    """A positive 63-bit number; course 0 is the regimen."""
    digest = hashlib.blake2b(f"episode:{person_id}:{course_no}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 1) or 1


def _ids(rows: pl.DataFrame) -> pl.Series:
    pairs = rows.select("person_id", "course_no").iter_rows()
    return pl.Series([_episode_id(person, course) for person, course in pairs], dtype=pl.Int64)


def _regimens(derived: Derived) -> pl.DataFrame:
    rows = derived.course_times.group_by("person_id", maintain_order=True).agg(
        start=pl.col("start").min(), end=pl.col("end").max(), course_no=pl.lit(0, dtype=pl.Int32).first()
    )
    return _as_episodes(rows.with_columns(episode_id=_ids(rows)), REGIMEN, derived)


def _cycles(derived: Derived) -> pl.DataFrame:
    rows = derived.course_times.select("person_id", "course_no", "start", "end").sort("person_id", "course_no")
    parents = _ids(rows.with_columns(course_no=pl.lit(0)))
    episodes = _as_episodes(rows.with_columns(episode_id=_ids(rows), episode_parent_id=parents), CYCLE, derived)
    return episodes.with_columns(episode_number=pl.col("course_no").cast(pl.Int64))


def _as_episodes(rows: pl.DataFrame, concept: int, derived: Derived) -> pl.DataFrame:
    return rows.with_columns(
        episode_concept_id=pl.lit(concept),
        episode_start_date=pl.col("start").dt.date(),
        episode_start_datetime="start",
        episode_end_date=pl.col("end").dt.date(),
        episode_end_datetime="end",
        episode_object_concept_id=pl.lit(derived.regimen_concept_id),
        episode_type_concept_id=pl.lit(DERIVED_EPISODE),
        episode_source_value=pl.lit("blinatumomab"),
    )


def _episode_events(derived: Derived, cycles: pl.DataFrame) -> pl.DataFrame:
    """Bags and marrows of each course, transplants and CAR-T of the regimen."""
    keys = cycles.select("person_id", "course_no", "episode_id", "episode_parent_id")
    bags = keys.join(derived.bags, on=["person_id", "course_no"]).select(
        "episode_id", event_id="drug_exposure_id", episode_event_field_concept_id=pl.lit(DRUG_FIELD)
    )
    marrows = keys.join(derived.course_times, on=["person_id", "course_no"]).select(
        "episode_id",
        event_id=pl.concat_list("pre_blasts_id", "pre_mrd_id", "post_blasts_id", "post_mrd_id").list.drop_nulls(),
        episode_event_field_concept_id=pl.lit(MEASUREMENT_FIELD),
    )
    fields = {
        "procedure_occurrence": PROCEDURE_FIELD,
        "drug_exposure": DRUG_FIELD,
        "condition_occurrence": CONDITION_FIELD,
        "observation": OBSERVATION_FIELD,
    }
    therapies = derived.events.filter(pl.col("event").is_in(["hsct", "cart"]))
    regimens = keys.unique("person_id").select("person_id", episode_id="episode_parent_id")
    later = regimens.join(therapies, on="person_id").select(
        "episode_id",
        event_id=pl.col("source_ids").cast(pl.Int64),
        episode_event_field_concept_id=pl.col("source_table").replace_strict(fields, return_dtype=pl.Int32),
    )
    listed = marrows.filter(pl.col("event_id").list.len() > 0).explode("event_id")
    events = pl.concat([bags, listed, later]).unique()
    return events.sort("episode_id", "episode_event_field_concept_id", "event_id")


def _cohort_rows(derived: Derived) -> list[tuple[int, str, pl.DataFrame]]:
    """Number, name, and person_id with start of every cohort."""
    patients = derived.patients.with_columns(start="first_blina_date")
    courses = derived.courses.with_columns(start="start_date")
    imm = courses.join(derived.pairs.filter(pl.col("course_no") == 1), on=["person_id", "course_no"])
    rows = [
        (1, "FAS: children with B-ALL and a valid bag", patients),
        (2, "EVAL: evaluable courses", courses.filter(pl.col("evaluable") == 1)),
        (3, "IMM: first courses with both T-cell windows", imm),
    ]
    for first, column, values in (
        (11, "indication", ("RR", "CR_MRDpos", "CHEMO_DELAY")),
        (21, "pre_course1_state", ("RR", "MRDpos", "MRDneg")),
        (31, "km_stratum", ("RR", "CR_MRDpos", "CR_MRDneg")),
    ):
        rows += [
            (first + n, f"{column}: {one}", patients.filter(pl.col(column) == one)) for n, one in enumerate(values)
        ]
    efs = patients.filter(pl.col("efs_event") == 1).with_columns(start=_on("efs_days"))
    rows += [
        (41, "event of event-free survival", efs),
        (42, "death", patients.filter(pl.col("os_event") == 1).with_columns(start=_on("os_days"))),
        (43, "HSCT", patients.filter(pl.col("hsct_day").is_not_null()).with_columns(start=_on("hsct_day"))),
        (44, "CAR-T", patients.filter(pl.col("cart_day").is_not_null()).with_columns(start=_on("cart_day"))),
    ]
    return rows


def _on(days: str) -> pl.Expr:
    return pl.col("first_blina_date") + pl.duration(days=days)


def _cohorts(derived: Derived) -> pl.DataFrame:
    ends = derived.patients.select("person_id", cohort_end_date="last_contact_date")
    frames = [
        rows.select("person_id", cohort_start_date="start")
        .join(ends, on="person_id")
        .select(
            cohort_definition_id=pl.lit(FIRST_COHORT + number),
            subject_id="person_id",
            cohort_start_date="cohort_start_date",
            cohort_end_date=pl.max_horizontal("cohort_start_date", "cohort_end_date"),
        )
        for number, _, rows in _cohort_rows(derived)
    ]
    return pl.concat(frames).sort("cohort_definition_id", "subject_id", "cohort_start_date")


def _cohort_definitions(derived: Derived) -> pl.DataFrame:
    rows = [(FIRST_COHORT + number, name) for number, name, _ in _cohort_rows(derived)]
    frame = pl.DataFrame(rows, schema=["cohort_definition_id", "cohort_definition_name"], orient="row")
    started = derived.patients["first_blina_date"].min()
    return frame.with_columns(
        cohort_definition_description=pl.lit(f"blina study, parameters {derived.param_hash}"),
        definition_type_concept_id=pl.lit(0),
        subject_concept_id=pl.lit(0),
        cohort_initiation_date=pl.lit(started if isinstance(started, date) else None, dtype=pl.Date),
    )


def _complete(table: str, rows: pl.DataFrame) -> pl.DataFrame:
    """All columns of a CDM table, in its order and types; what a row does not say is NULL."""
    types = column_types(TABLES[table])
    return rows.select(
        (pl.col(name) if name in rows.columns else pl.lit(None)).cast(_TYPES[kind]).alias(name)
        for name, kind in types.items()
    )
