"""What can happen to a child, in no hospital's words. Datetimes are local (Asia/Shanghai) without zone, so are days.

Every event has `key` (unique within the child), `record` (the Patient id it is charted on) and `plant` (the rule
K01–K30 that put it there, or None).
"""

from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, kw_only=True)
class Event:
    """The part all events share."""

    key: str
    record: str
    plant: str | None = None


@dataclass(frozen=True, kw_only=True)
class Visit(Event):
    """A stay or a contact; kind = inpatient, outpatient, contact (follow-up), terminal (dies in hospital), planned."""

    kind: str
    start: datetime
    end: datetime


@dataclass(frozen=True, kw_only=True)
class Bag(Event):
    """One bag of blinatumomab. `hours` is what the ward states; `identifier` the pump's business number."""

    course: int
    start: datetime
    end: datetime
    hours: float
    daily_ug: float
    identifier: str
    visit: str | None
    first_week: bool = False
    cut: bool = False
    status: str = "completed"
    misspelt: bool = False
    timeless: bool = False


@dataclass(frozen=True, kw_only=True)
class Order(Event):
    """The order of a course, written the day before its first bag."""

    course: int
    written: datetime
    start: datetime
    planned_days: int
    daily_ug: float
    reason: str
    visit: str | None


@dataclass(frozen=True, kw_only=True)
class Dose(Event):
    """A dose of another drug (mg); route = intravenous, intrathecal or oral."""

    drug: str
    at: datetime
    route: str
    milligrams: float


@dataclass(frozen=True, kw_only=True)
class Lab(Event):
    """A blood result as in labs.csv, or one made in the same form; `value` as printed."""

    day: date
    analyte: str
    value: str
    unit: str
    visit: str | None


@dataclass(frozen=True, kw_only=True)
class Body(Event):
    """Weight and height of a day."""

    day: date
    weight_kg: float
    height_cm: float


@dataclass(frozen=True, kw_only=True)
class Mrd:
    """An MRD result: `percent` as printed, or None for negative; `text` = the string of labs.csv if it has one."""

    percent: str | None
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Marrow(Event):
    """One sample (specimen = marrow or blood) and its results; blasts and CD19+ % of blasts as printed (%)."""

    day: date
    visit: str | None
    specimen: str = "marrow"
    blasts: str | None = None
    mrd: Mrd | None = None
    antigen: str | None = None
    unsatisfactory: bool = False
    version: int | None = None


@dataclass(frozen=True, kw_only=True)
class DiseaseState(Event):
    """diagnosis, default (the code everybody carries), remission, relapse or refractory, on a day."""

    state: str
    day: date


@dataclass(frozen=True, kw_only=True)
class Genetics(Event):
    """The genetic subtype of the leukaemia found at diagnosis (names of patients.csv)."""

    subtype: str
    day: date


@dataclass(frozen=True, kw_only=True)
class Toxicity(Event):
    """CRS or ICANS with its grade and day of onset."""

    name: str
    grade: int
    day: date
    visit: str | None


@dataclass(frozen=True, kw_only=True)
class PlannedBlock(Event):
    """A planned chemotherapy block; reason = infection, liver, intolerance, or None if it was given."""

    day: date
    reason: str | None
    postponed: bool


@dataclass(frozen=True, kw_only=True)
class Treatment(Event):
    """HSCT or CART at a time."""

    name: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class FollowUp(Event):
    """A follow-up record: dead or alive on a day."""

    status: str
    day: date
    visit: str | None


@dataclass(frozen=True, kw_only=True)
class Bill(Event):
    """A charge or a claim, which no analysis may take for a contact."""

    day: date
