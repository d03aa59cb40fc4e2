"""The truth of the synthetic cohort as the frames that the statistics read, and the tables made from it once."""

from pathlib import Path

import polars as pl
import pytest

from analytics.statistics import run_analyses

ROOT = Path(__file__).parents[3]
FLAGS = [
    "burden_reduction_chemo",
    "poor_cytogenetics",
    "bcr_abl1",
    "high_mrd_ge1pct",
    "efs_event",
    "os_event",
]
PER_LITRE = {"10*9/L": 1.0, "/uL": 0.001, "10*6/L": 0.001}


def _patients(folder: Path) -> pl.DataFrame:
    patients = pl.read_csv(folder / "patients.csv", try_parse_dates=True)
    return patients.with_columns(
        pl.col("patient_id").str.slice(1).cast(pl.Int64).alias("person_id"),
        pl.col("efs_event_type").replace("", None),
        pl.col(FLAGS).cast(pl.Int8),
        pl.col("n_courses", "hsct_day", "cart_day", "efs_days", "os_days").cast(pl.Int32),
        indication_grade=pl.lit("A"),
    ).drop("patient_id")


def _courses(folder: Path, patients: pl.DataFrame) -> pl.DataFrame:
    courses = pl.read_csv(folder / "courses.csv", try_parse_dates=True)
    delivered = pl.col("infusion_days")
    planned = pl.when(delivered <= 14).then(14).when(delivered <= 21).then(21).otherwise(28)
    return (
        courses.with_columns(
            pl.col("patient_id").str.slice(1).cast(pl.Int64).alias("person_id"),
            pl.col("infusion_days", "interruption_hours").cast(pl.Float64),
            pl.col("response_cr", "mrd_neg_post", "cd19_loss_complete", "cd19_loss_2missing").cast(pl.Int8),
            pl.col("crs_grade", "icans_grade").cast(pl.Int8),
            pl.col("course_no", "start_day", "end_day", "assessment_day").cast(pl.Int32),
            planned_days=planned,
            complete=(delivered / planned >= 0.9).cast(pl.Int8),
            evaluable=(delivered > 7).cast(pl.Int8),
            step_dose=pl.col("dose_regimen").str.contains("->").cast(pl.Int8),
        )
        .join(patients.select("person_id", "site"), on="person_id")
        .drop("patient_id")
    )


def _lab_windows(folder: Path, courses: pl.DataFrame) -> pl.DataFrame:
    """The rules tcell_pre@1, tcell_post@1 and cytokine@1 on labs.csv."""
    labs = pl.read_csv(folder / "labs.csv", try_parse_dates=True, infer_schema_length=None)
    keys = courses.sort("person_id", "course_no").with_columns(
        next_start=pl.col("start_day").shift(-1).over("person_id")
    )
    keys = keys.select("course_id", "person_id", "course_no", "start_day", "end_day", "next_start")
    wide = (
        labs.with_columns(
            pl.col("patient_id").str.slice(1).cast(pl.Int64).alias("person_id"),
            value=pl.col("value_num") * pl.col("unit").replace_strict(PER_LITRE, default=1.0),
            operator=pl.col("comparator"),
        )
        .join(keys.select("course_id", own_start="start_day"), on="course_id")
        .with_columns(day=pl.col("own_start") + pl.col("day_from_course_start"))
        .drop("course_id")
        .join(keys.drop("course_id"), on="person_id")
        .with_columns(since=pl.col("day") - pl.col("start_day"))
    )
    cells = wide.filter(pl.col("analyte").is_in(["CD3", "CD4", "CD8"])).with_columns(unit=pl.lit("10*9/L"))
    cytokines = wide.filter(pl.col("analyte") == "IL-6")
    last_post = pl.min_horizontal(pl.col("end_day") + 14, pl.col("next_start") - 2)
    group = ["person_id", "course_no", "analyte"]

    def pick(rows: pl.DataFrame, window: str, *, last: bool, by: str = "day") -> pl.DataFrame:
        chosen = rows.sort(by).unique(group, keep="last" if last else "first", maintain_order=True)
        return chosen.with_columns(window=pl.lit(window), measurement_id=pl.lit(None, pl.Int64))

    before = pl.col("since").is_between(-7, 0)
    parts = [
        pick(cells.filter(before), "pre", last=True),
        pick(cells.filter((pl.col("day") >= pl.col("end_day")) & (pl.col("day") <= last_post)), "post", last=False),
        pick(cytokines.filter(before), "baseline", last=True),
        pick(cytokines.filter(pl.col("since").is_between(0, 7)), "peak", by="value", last=True),
    ]
    columns = [*group[:2], "site", "analyte", "window", "day", "value", "unit", "operator", "measurement_id"]
    return pl.concat([part.select(columns) for part in parts])


@pytest.fixture(scope="session")
def truth() -> dict[str, pl.DataFrame]:
    """patients, courses, lab_windows, attrition of the synthetic truth in the study's result frames."""
    folder = ROOT / "sample_bundles" / "truth"
    patients = _patients(folder)
    courses = _courses(folder, patients)
    steps = {"step": ["persons", "FAS"], "unit": ["patient"] * 2, "n": [105, 105], "excluded": [0, 0]}
    attrition = pl.DataFrame(steps | {"reason": [None, None]}, schema_overrides={"reason": pl.String})
    return {
        "patients": patients,
        "courses": courses,
        "lab_windows": _lab_windows(folder, courses),
        "attrition": attrition,
    }


@pytest.fixture(scope="session")
def tables(truth: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Every result table of the synthetic truth, computed once."""
    return run_analyses(truth, {"efs@1": "default"})
