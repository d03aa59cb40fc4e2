"""The truth files as typed rows. Source and meaning of every column: truth/README.md, section 1."""

import csv
from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from pathlib import Path

TRUTH = Path(__file__).resolve().parents[1] / "truth"


@dataclass(frozen=True)
class LabRow:
    """One laboratory result; `value` is the number as printed, `text` the site's own string (wins over `value`)."""

    day: date
    loinc: str
    analyte: str
    text: str
    comparator: str
    value: str
    unit: str


@dataclass(frozen=True)
class Course:
    """One course of blinatumomab; days count from the first bag of course 1."""

    number: int
    start_day: int
    start_date: date
    end_date: date
    infusion_days: int
    interruption_hours: int
    regimen: str
    state_pre: str
    assessment_day: int
    end_day: int
    response: bool | None
    antigen_loss: bool | None
    bcell_loss: bool | None
    crs_grade: int
    icans_grade: int
    labs: tuple[LabRow, ...]


@dataclass(frozen=True)
class Child:
    """One child with its courses; weights in kg, heights in cm, areas in m²."""

    patient_id: str
    number: int
    site: str
    sex: str
    birth_date: date
    diagnosis_date: date
    weight_kg: float
    height_cm: float
    bsa_m2: float
    indication: str
    burden_reduction: bool
    pre_course1_state: str
    genetic_subtype: str
    first_bag_date: date
    hsct_day: int | None
    cart_day: int | None
    event_day: int
    event_type: str
    dead: bool
    last_contact: date
    courses: tuple[Course, ...]

    @property
    def direct_rr(self) -> bool:
        """Relapsed or refractory, treated without chemotherapy before (8 children)."""
        return self.indication == "RR" and not self.burden_reduction


def read_truth(folder: Path = TRUTH) -> list[Child]:
    """All children in the order of their number, with courses and laboratory rows in the order of the files."""
    labs: dict[str, list[LabRow]] = defaultdict(list)
    for row in _rows(folder / "labs.csv"):
        labs[row["course_id"]].append(_lab(row))
    courses: dict[str, list[Course]] = defaultdict(list)
    for row in _rows(folder / "courses.csv"):
        courses[row["patient_id"]].append(_course(row, tuple(labs[row["course_id"]])))
    return [_child(row, tuple(courses[row["patient_id"]])) for row in _rows(folder / "patients.csv")]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _flag(text: str) -> bool | None:
    return None if text == "" else text == "1"


def _days(text: str) -> int | None:
    return int(text) if text else None


def _lab(row: dict[str, str]) -> LabRow:
    return LabRow(
        day=date.fromisoformat(row["date"]),
        loinc=row["loinc"],
        analyte=row["analyte"],
        text=row["value_text"],
        comparator=row["comparator"],
        value=row["value_num"],
        unit=row["unit"],
    )


def _course(row: dict[str, str], labs: tuple[LabRow, ...]) -> Course:
    return Course(
        number=int(row["course_no"]),
        start_day=int(row["start_day"]),
        start_date=date.fromisoformat(row["start_date"]),
        end_date=date.fromisoformat(row["end_date"]),
        infusion_days=int(row["infusion_days"]),
        interruption_hours=int(row["interruption_hours"]),
        regimen=row["dose_regimen"],
        state_pre=row["state_pre"],
        assessment_day=int(row["assessment_day"]),
        end_day=int(row["end_day"]),
        response=_flag(row["response_cr"]),
        antigen_loss=_flag(row["cd19_loss_complete"]),
        bcell_loss=_flag(row["cd19_loss_2missing"]),
        crs_grade=int(row["crs_grade"]),
        icans_grade=int(row["icans_grade"]),
        labs=labs,
    )


def _child(row: dict[str, str], courses: tuple[Course, ...]) -> Child:
    return Child(
        patient_id=row["patient_id"],
        number=int(row["patient_id"][1:]),
        site=row["site"],
        sex=row["sex"],
        birth_date=date.fromisoformat(row["birth_date"]),
        diagnosis_date=date.fromisoformat(row["diagnosis_date"]),
        weight_kg=float(row["weight_kg"]),
        height_cm=round(75 + 6 * float(row["age_years"]), 1),
        bsa_m2=float(row["bsa_m2"]),
        indication=row["indication"],
        burden_reduction=row["burden_reduction_chemo"] == "1",
        pre_course1_state=row["pre_course1_state"],
        genetic_subtype=row["genetic_subtype"],
        first_bag_date=date.fromisoformat(row["first_blina_date"]),
        hsct_day=_days(row["hsct_day"]),
        cart_day=_days(row["cart_day"]),
        event_day=int(row["efs_days"]),
        event_type=row["efs_event_type"],
        dead=row["os_event"] == "1",
        last_contact=date.fromisoformat(row["last_contact_date"]),
        courses=courses,
    )
