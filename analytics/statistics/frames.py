"""The study's frames as the statistics want them: checked columns, analysis factors, survival times."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from etl.errors import StudyError

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

STRATA = ("CR_MRDneg", "CR_MRDpos", "RR")  # order of the trend scores 0, 1, 2
INDICATIONS = ("RR", "CR_MRDpos", "CHEMO_DELAY")
STATES = ("RR", "MRDpos", "MRDneg")
GENETICS = ("NONE", "OTHER_POOR", "BCR::ABL1", "UNKNOWN")

_NEEDED = {
    "patients": "person_id site sex age_years weight_kg bsa_m2 indication burden_reduction_chemo pre_course1_state"
    " km_stratum genetic_subtype poor_cytogenetics bcr_abl1 high_mrd_ge1pct first_blina_date diagnosis_date n_courses"
    " hsct_day cart_day efs_days efs_event efs_event_type os_days os_event",
    "courses": "person_id course_no site start_day end_day infusion_days interruption_hours planned_days complete"
    " evaluable dose_regimen step_dose state_pre blasts_pre_pct mrd_pre_pct assessment_day mrd_post_pct response_cr"
    " mrd_neg_post cd19_loss_complete cd19_loss_2missing crs_grade icans_grade",
    "lab_windows": "person_id course_no site analyte window day value unit operator",
}


@dataclasses.dataclass(frozen=True, slots=True)
class StudyFrames:
    """The derived frames the statistics read, with the analysis factors added to `patients` and `courses`.

    `attrition`, `bags`, `course_times`, `events`, `lab_points` and `adverse_events` are without columns when they were
    not derived; `tki` and `chemo_recorded` of the patients, and what is known of a CRS beside its grade, are then null.
    """

    patients: pl.DataFrame
    courses: pl.DataFrame
    lab_windows: pl.DataFrame
    attrition: pl.DataFrame
    bags: pl.DataFrame
    course_times: pl.DataFrame
    events: pl.DataFrame
    lab_points: pl.DataFrame
    adverse_events: pl.DataFrame


_OPTIONAL = ("attrition", "bags", "course_times", "events", "lab_points", "adverse_events")
_NOT_DERIVED = ("tki", "chemo_recorded")
_CRS = {
    "crs_recorded": pl.Int8, "crs_system": pl.String, "crs_astct": pl.Int8, "crs_astct_basis": pl.String,
    "crs_ctcae": pl.Int8, "crs_ctcae_basis": pl.String,
}  # fmt: skip


def study_frames(derived: object) -> StudyFrames:
    """The frames of `derived` (an object with these attributes, or a mapping), checked, with the factors added.

    Added to patients and courses: `genetics` (exclusive, GENETICS), `other_poor` (poor without BCR::ABL1), `high_mrd`;
    to courses also `km_stratum`. Raises StudyError naming every missing frame and column.
    """
    problems: list[str] = []
    found: dict[str, pl.DataFrame] = {}
    for name, columns in _NEEDED.items():
        frame = derived.get(name) if isinstance(derived, Mapping) else getattr(derived, name, None)
        if not isinstance(frame, pl.DataFrame):
            problems.append(f"{name}: no such frame")
            continue
        problems += [f"{name}.{column}: no such column" for column in columns.split() if column not in frame.columns]
        found[name] = frame
    if problems:
        raise StudyError("the statistics cannot read the derived frames", problems=problems)
    patients = _with_factors(found["patients"])
    factors = patients.select("person_id", "genetics", "other_poor", "high_mrd", "km_stratum")
    flags = patients.select("person_id", "poor_cytogenetics", "bcr_abl1")
    courses = found["courses"].drop("poor_cytogenetics", "bcr_abl1", strict=False)
    courses = courses.join(flags, on="person_id", how="left").join(factors, on="person_id", how="left")
    absent = (pl.lit(None, dtype=kind).alias(name) for name, kind in _CRS.items() if name not in courses.columns)
    courses = courses.with_columns(*absent)
    return StudyFrames(
        patients.sort("person_id"),
        courses.sort("person_id", "course_no"),
        found["lab_windows"],
        *(_optional(derived, name) for name in _OPTIONAL),
    )


def _optional(derived: object, name: str) -> pl.DataFrame:
    frame = derived.get(name) if isinstance(derived, Mapping) else getattr(derived, name, None)
    return frame if isinstance(frame, pl.DataFrame) else pl.DataFrame()


def _with_factors(patients: pl.DataFrame) -> pl.DataFrame:
    poor, bcr = pl.col("poor_cytogenetics"), pl.col("bcr_abl1")
    absent = (pl.lit(None, dtype=pl.Int8).alias(name) for name in _NOT_DERIVED if name not in patients.columns)
    return patients.with_columns(
        *absent,
        genetics=pl.when(bcr == 1)
        .then(pl.lit("BCR::ABL1"))
        .when(poor == 1)
        .then(pl.lit("OTHER_POOR"))
        .when((poor == 0) & (bcr == 0))
        .then(pl.lit("NONE"))
        .otherwise(pl.lit("UNKNOWN")),
        other_poor=((poor == 1) & (bcr == 0)).cast(pl.Int8),
        high_mrd=pl.col("high_mrd_ge1pct").cast(pl.Int8),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Survival:
    """One time-to-event endpoint: time in days (day 0 counts as 0.5), whether the event happened, and the stratum."""

    name: str
    time: Floats
    event: Flags
    stratum: npt.NDArray[np.str_]
    dropped: int  # persons without a usable time (missing or negative)

    @property
    def strata(self) -> tuple[str, ...]:
        """The strata present, the study's own order first, others by name."""
        present = set(self.stratum.tolist())
        return tuple(s for s in STRATA if s in present) + tuple(sorted(present - set(STRATA)))

    def of(self, *strata: str) -> "Survival":
        """Only the persons of these strata."""
        keep = np.isin(self.stratum, strata)
        return Survival(self.name, self.time[keep], self.event[keep], self.stratum[keep], self.dropped)

    def until(self, horizon: float) -> "Survival":
        """Censored administratively at `horizon` days; an event on that very day still counts."""
        return Survival(
            self.name,
            np.minimum(self.time, horizon),
            self.event & (self.time <= horizon),
            self.stratum,
            self.dropped,
        )


def usable(patients: pl.DataFrame, endpoint: str) -> pl.DataFrame:
    """The patients with a usable time for `endpoint` ("EFS"/"OS"), with `time` (0 → 0.5) and `event` added."""
    days, event = f"{endpoint.lower()}_days", f"{endpoint.lower()}_event"
    kept = patients.filter(pl.col(days).is_not_null() & (pl.col(days) >= 0) & pl.col(event).is_not_null())
    return kept.with_columns(
        time=pl.when(pl.col(days) == 0).then(0.5).otherwise(pl.col(days).cast(pl.Float64)),
        event=pl.col(event) == 1,
    )


def survival_of(patients: pl.DataFrame, endpoint: str, stratum: str = "km_stratum") -> Survival:
    """The endpoint "EFS" or "OS" of the patients, stratified by a column (null → UNKNOWN)."""
    kept = usable(patients, endpoint)
    return Survival(
        endpoint,
        kept["time"].to_numpy().astype(np.float64),
        kept["event"].to_numpy().astype(np.bool_),
        kept[stratum].fill_null("UNKNOWN").to_numpy().astype(np.str_),
        patients.height - kept.height,
    )
