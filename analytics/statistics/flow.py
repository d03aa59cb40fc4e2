"""Where each course led: marrow before, marrow after, next therapy (F8)."""

import polars as pl

from analytics.statistics.frames import STATES, StudyFrames
from analytics.statistics.parameters import StatisticsParameters
from analytics.statistics.tables import tidy

UNKNOWN = "UNKNOWN"
COURSE, HSCT, CART, EVENT, NONE = (
    "further blinatumomab", "HSCT", "CAR-T", "EFS event before any", "none of these recorded",
)  # fmt: skip
NEXT = (COURSE, HSCT, CART, EVENT, NONE)


def state_flow(frames: StudyFrames, parameters: StatisticsParameters) -> pl.DataFrame:
    """`state_flow`: courses by state before, state after and what came first afterwards.

    The state after is read from the post marrow as the state before is from its own: blasts, else MRD; UNKNOWN without
    one. What came first after the course's end: a further course, HSCT, CAR-T, or an EFS event before any of them.
    Chemotherapy is not derived and not counted.
    """
    courses = _with_days(frames).with_columns(state_post=_state_after(frames, parameters))
    counted = courses.group_by(
        pl.col("state_pre").fill_null(UNKNOWN), "state_post", "next_therapy", maintain_order=True
    ).len("n")
    order = {name: place for place, name in enumerate((*STATES, UNKNOWN, *NEXT))}
    rows = sorted(counted.to_dicts(), key=lambda row: tuple(order.get(str(v), 99) for v in list(row.values())[:3]))
    return tidy("state_flow", rows)


def _state_after(frames: StudyFrames, parameters: StatisticsParameters) -> pl.Expr:
    """RR, MRDpos or MRDneg of the post marrow; by the response alone where the frames carry no marrow after it."""
    mrd, cut_off = pl.col("mrd_post_pct"), parameters.mrd_cutoff_pct
    positive = pl.col("post_positive") if "post_positive" in frames.course_times.columns else mrd >= cut_off
    blasts = pl.col("blasts_post_pct") if "blasts_post_pct" in frames.courses.columns else pl.lit(None, pl.Float64)
    ill = (blasts >= parameters.blasts_from_pct) | (blasts.is_null() & (mrd >= parameters.blasts_from_pct))
    return (
        pl.when(ill.fill_null(value=False)).then(pl.lit("RR"))
        .when(positive).then(pl.lit("MRDpos"))
        .when(~positive).then(pl.lit("MRDneg"))
        .otherwise(pl.lit(UNKNOWN))
    )  # fmt: skip


def _with_days(frames: StudyFrames) -> pl.DataFrame:
    """The courses with `next_therapy`; on one day the therapy comes before the event."""
    days = frames.patients.select("person_id", "hsct_day", "cart_day", "efs_days", "efs_event")
    courses = frames.courses.sort("person_id", "course_no").with_columns(
        next_start=pl.col("start_day").shift(-1).over("person_id")
    )
    if "post_positive" in frames.course_times.columns:
        times = frames.course_times.select("person_id", "course_no", "post_positive")
        courses = courses.join(times, on=["person_id", "course_no"], how="left", maintain_order="left")
    joined = courses.join(days, on="person_id", how="left", maintain_order="left")
    end = pl.col("end_day")
    event = pl.when(pl.col("efs_event") == 1).then("efs_days")
    later = {COURSE: pl.col("next_start"), HSCT: pl.col("hsct_day"), CART: pl.col("cart_day"), EVENT: event}
    dated = joined.with_columns(pl.when(day >= end).then(day).alias(name) for name, day in later.items())
    first = pl.min_horizontal(*later)
    label = pl.coalesce(pl.when(pl.col(name) == first).then(pl.lit(name)) for name in later)
    return dated.with_columns(next_therapy=label.fill_null(NONE)).drop(*later)
