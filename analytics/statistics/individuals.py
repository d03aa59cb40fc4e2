"""What figures of single courses and persons are drawn from: swimmer plot (F2), cytokines (F7), MRD change (F9).

Lanes are running numbers in the order of the drawing; no table holds an id or a calendar date. Lanes of different
tables have nothing to do with one another. All but `cytokine_peaks` still show single persons
(`CONTAINS_INDIVIDUALS`): they
stay in the hospital.
"""

from collections.abc import Iterator

import polars as pl

from analytics.statistics.frames import STATES, STRATA, StudyFrames
from analytics.statistics.parameters import StatisticsParameters
from analytics.statistics.tables import tidy

_NEGATIVE, _EXACT = "negative", "="
_KEYS = ["person_id", "course_no"]
UNGRADED = "missing"


def individual_tables(frames: StudyFrames, parameters: StatisticsParameters) -> dict[str, pl.DataFrame]:
    """swimmer, mrd_change, cytokine_peaks, cytokine_points; the first two are empty without the derived times."""
    return {
        "swimmer": _swimmer(frames, parameters.blasts_from_pct),
        "mrd_change": _mrd_change(frames),
        "cytokine_peaks": _cytokine_peaks(frames),
        "cytokine_points": _cytokine_points(frames),
    }


# ---- swimmer --------------------------------------------------------------------------------------------------------


def _swimmer(frames: StudyFrames, blasts_from_pct: float) -> pl.DataFrame:
    """A row per segment (course, interruption) or mark; days from the first bag.

    Lanes by stratum, then by length of follow-up.
    """
    if frames.course_times.is_empty() or frames.bags.is_empty():
        return tidy("swimmer", [])
    order = {stratum: position for position, stratum in enumerate(STRATA)}
    lanes = frames.patients.select(
        "person_id", "first_blina_date", "os_days", "os_event", "hsct_day", "cart_day", "efs_days", "efs_event",
        "efs_event_type", stratum=pl.col("km_stratum").fill_null("UNKNOWN"),
    ).with_columns(rank=pl.col("stratum").replace_strict(order, default=len(order), return_dtype=pl.Int32))  # fmt: skip
    lanes = lanes.sort("rank", pl.col("os_days"), "person_id", descending=[False, True, False], nulls_last=True)
    lanes = lanes.with_row_index("lane", offset=1).with_columns(pl.col("lane").cast(pl.Int64))
    parts = [*_segments(frames), *_marrows(frames, blasts_from_pct), *_marks(lanes)]
    columns = ["person_id", "kind", "start_day", "end_day", "label"]
    days = [pl.col(day).cast(pl.Float64).round(2) for day in ("start_day", "end_day")]
    rows = pl.concat([part.with_columns(days).select(columns) for part in parts])
    # The marrow after one course may be the one before the next.
    rows = rows.unique(maintain_order=True).join(lanes.select("person_id", "lane", "stratum"), on="person_id")
    rows = rows.filter(pl.col("start_day").is_not_null()).sort("lane", "start_day", "kind", "label")
    return tidy("swimmer", rows.select("lane", "stratum", *columns[1:]).iter_rows(named=True))


def _segments(frames: StudyFrames) -> Iterator[pl.DataFrame]:
    courses = frames.courses.select("person_id", "course_no", "start_day", "end_day")
    number = pl.format("course {}", "course_no")
    yield courses.with_columns(kind=pl.lit("course"), label=number)
    zero = pl.col("start").dt.date().min().over("person_id")
    gap = pl.col("interruption_hours") / 24
    end = (pl.col("start") - zero.cast(pl.Datetime("us"))).dt.total_microseconds() / 86_400_000_000
    bags = frames.bags.with_columns(end_day=end, kind=pl.lit("interruption"), label=pl.lit("interruption"))
    yield bags.filter(gap > 0).with_columns(start_day=pl.col("end_day") - gap)


def _marrows(frames: StudyFrames, blasts_from_pct: float) -> Iterator[pl.DataFrame]:
    """The marrows before and after each course, in words that name no value."""
    times = frames.course_times
    for when in ("pre", "post"):
        blasts, positive = pl.col(f"blasts_{when}_pct"), pl.col(f"{when}_positive")
        label = (
            pl.when(blasts >= blasts_from_pct).then(pl.lit(f"blasts ≥ {blasts_from_pct:g}%"))
            .when(positive).then(pl.lit("MRD positive"))
            .when(~positive).then(pl.lit("MRD negative"))
            .otherwise(pl.lit("MRD unknown"))
        )  # fmt: skip
        day = (pl.col(f"{when}_date") - pl.col("start_date")).dt.total_days() + pl.col("start_day")
        yield times.select("person_id", kind=pl.lit("marrow"), start_day=day, end_day=day, label=label)


def _marks(lanes: pl.DataFrame) -> Iterator[pl.DataFrame]:
    for kind, column in (("hsct", "hsct_day"), ("cart", "cart_day")):
        yield _mark(lanes, kind, column, pl.lit({"hsct": "HSCT", "cart": "CAR-T"}[kind]))
    happened = (pl.col("efs_event") == 1) & (pl.col("efs_event_type") != "death_in_remission")
    yield _mark(lanes.filter(happened), "event", "efs_days", pl.col("efs_event_type"))
    yield _mark(lanes.filter(pl.col("os_event") == 1), "death", "os_days", pl.lit("death"))
    yield _mark(lanes.filter(pl.col("os_event") == 0), "last_contact", "os_days", pl.lit("last contact"))


def _mark(rows: pl.DataFrame, kind: str, day: str, label: pl.Expr) -> pl.DataFrame:
    return rows.select("person_id", kind=pl.lit(kind), start_day=pl.col(day), end_day=pl.col(day), label=label)


# ---- MRD change -----------------------------------------------------------------------------------------------------


def _mrd_change(frames: StudyFrames) -> pl.DataFrame:
    """A lane per course with an MRD before and after, in % of marrow cells.

    Censoring: "=" measured, "<" or ">" a limit, "negative" no number at all (then the value is null).
    """
    if frames.course_times.is_empty():
        return tidy("mrd_change", [])
    strata = frames.patients.select("person_id", stratum=pl.col("km_stratum").fill_null("UNKNOWN"))
    rows = frames.course_times.join(strata, on="person_id")
    order = {state: position for position, state in enumerate(STATES)}
    shown = [one for when in ("pre", "post") for one in _shown(when)]
    rows = rows.select(
        "person_id", "course_no", "stratum", "state_pre", *shown,
        rank=pl.col("state_pre").replace_strict(order, default=len(order), return_dtype=pl.Int32),
        response=pl.when(pl.col("state_pre") == "MRDneg").then("mrd_neg_post").otherwise("response_cr"),
    ).filter(pl.col("pre_censoring").is_not_null() & pl.col("post_censoring").is_not_null())  # fmt: skip
    rows = rows.sort(["rank", "pre", "post", *_KEYS], descending=[False, True, True, False, False], nulls_last=True)
    rows = rows.with_row_index("lane", offset=1).drop("rank", *_KEYS)
    return tidy("mrd_change", rows.iter_rows(named=True))


def _shown(when: str) -> list[pl.Expr]:
    value, kind, operator = pl.col(f"mrd_{when}_pct"), pl.col(f"mrd_{when}_kind"), pl.col(f"{when}_mrd_operator")
    limit = operator.is_in(["<", "<=", ">", ">="])
    word = (
        pl.when(limit & value.is_not_null() & (value > 0)).then(operator.str.head(1))
        .when(value > 0).then(pl.lit(_EXACT))
        .when(kind.is_in(["NEGATIVE", "BELOW_CUTOFF", "POS_BQ"])).then(pl.lit(_NEGATIVE))
    )  # fmt: skip
    return [pl.when(value > 0).then(value).alias(when), word.alias(f"{when}_censoring")]


# ---- cytokines ------------------------------------------------------------------------------------------------------


def _peaks(frames: StudyFrames) -> pl.DataFrame:
    """analyte, crs_grade (text), unit, value, censoring of every course with a peak."""
    grades = frames.courses.select(*_KEYS, crs_grade=pl.col("crs_grade").cast(pl.String).fill_null(UNGRADED))
    peaks = frames.lab_windows.filter((pl.col("window") == "peak") & pl.col("value").is_not_null())
    limit = pl.col("operator").is_in(["<", "<=", ">", ">="])
    return peaks.join(grades, on=_KEYS).select(
        "analyte", "crs_grade", "unit", "value",
        censoring=pl.when(limit).then(pl.col("operator").str.head(1)).otherwise(pl.lit(_EXACT)),
    ).sort("analyte", "crs_grade", "value", "censoring")  # fmt: skip


def _cytokine_peaks(frames: StudyFrames) -> pl.DataFrame:
    """Quartiles of the peaks by CRS grade of the course; a limit counts at its own value, as the note says."""
    rows = []
    for (analyte, grade), part in _peaks(frames).group_by("analyte", "crs_grade", maintain_order=True):
        values, censored = part["value"], int((part["censoring"] != _EXACT).sum())
        rows.append({
            "analyte": analyte, "crs_grade": grade, "unit": part["unit"][0], "n": part.height, "n_censored": censored,
            "median": values.median(), "q1": values.quantile(0.25, interpolation="linear"),
            "q3": values.quantile(0.75, interpolation="linear"), "minimum": values.min(), "maximum": values.max(),
            "note": "limits stand at their own value" if censored else None,
        })  # fmt: skip
    return tidy("cytokine_peaks", rows)


def _cytokine_points(frames: StudyFrames) -> pl.DataFrame:
    """A point per course, on a grid of a tenth of a decade, which is as fine as a log axis shows."""
    binned = (10 ** ((pl.col("value").log10() * 10).round() / 10)).round_sig_figs(4)
    points = _peaks(frames).with_columns(peak=pl.when(pl.col("value") > 0).then(binned)).drop("value")
    points = points.sort("analyte", "crs_grade", "peak", "censoring", nulls_last=True)
    return tidy("cytokine_points", points.with_row_index("lane", offset=1).iter_rows(named=True))
