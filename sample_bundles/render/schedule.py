"""When the bags of a course run, at each hospital's habits (truth/README.md, sections 3 and 4)."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from sample_bundles.render.truth import Child, Course

STEP_HOURS = 168
"""The first dose step lasts one week."""


@dataclass(frozen=True)
class Habit:
    """Nominal hours of a bag, and the minutes a bag ends before the next one starts."""

    bag_hours: int
    gap_minutes: int


@dataclass(frozen=True)
class Slot:
    """One bag's place in the course: local times, hours as nominal, dose in µg per day."""

    start: datetime
    end: datetime
    hours: float
    daily_ug: float
    first_week: bool
    cut: bool
    before_interruption: bool


HABITS = {"SITE1": Habit(96, 10), "SITE2": Habit(48, 0), "SITE3": Habit(24, 0), "SITE4": Habit(168, 25)}
HABIT_OF_CHILD = {"P067": Habit(72, 25)}


def first_bag(course: Course) -> datetime:
    """The first bag of a course starts at 20:00 local time."""
    return datetime.combine(course.start_date, time(20))


def course_end(course: Course) -> datetime:
    """The end of a course: delivered days and the interruption after its start."""
    return first_bag(course) + timedelta(days=course.infusion_days, hours=course.interruption_hours)


def daily_dose(child: Child, regimen: str, first_week: bool) -> float:
    """µg per day of a regimen such as `5->15 ug/m2/d`, rounded to 2 decimals as the pump shows it."""
    amounts, unit = regimen.split(" ", 1)
    steps = [float(amount) for amount in amounts.split("->")]
    amount = steps[0] if first_week else steps[-1]
    return round(amount * child.bsa_m2, 2) if unit == "ug/m2/d" else amount


def slots(child: Child, course: Course) -> list[Slot]:
    """The bags of a course: cut at the dose step, the interruption and the end; a new bag starts after each cut."""
    habit = HABIT_OF_CHILD.get(child.patient_id, HABITS[child.site])
    return [
        _slot(child, course, habit, delivered, hours, last)
        for first, until, last in _stretches(course)
        for delivered, hours, last in _split(first, until, habit.bag_hours, last)
    ]


def _stretches(course: Course) -> Iterator[tuple[int, int, bool]]:
    """Delivered hours (from, until) without a forced cut, and whether an interruption or the end follows."""
    total, pause = course.infusion_days * 24, _pause_after(course)
    cuts = {total}
    if pause is not None:
        cuts.add(pause)
    if "->" in course.regimen and total > STEP_HOURS:
        cuts.add(STEP_HOURS)
    first = 0
    for cut in sorted(cuts):
        yield first, cut, cut in (total, pause)
        first = cut


def _split(first: int, until: int, bag_hours: int, last: bool) -> Iterator[tuple[int, int, bool]]:
    for delivered in range(first, until, bag_hours):
        hours = min(bag_hours, until - delivered)
        yield delivered, hours, last and delivered + hours == until


def _pause_after(course: Course) -> int | None:
    return course.infusion_days // 2 * 24 if course.interruption_hours else None


def _slot(child: Child, course: Course, habit: Habit, delivered: int, hours: int, last: bool) -> Slot:
    pause = _pause_after(course)
    paused = course.interruption_hours if pause is not None and delivered >= pause else 0
    start = first_bag(course) + timedelta(hours=delivered + paused)
    gap = 0 if last else habit.gap_minutes
    first_week = "->" in course.regimen and delivered < STEP_HOURS
    return Slot(
        start=start,
        end=start + timedelta(hours=hours) - timedelta(minutes=gap),
        hours=hours,
        daily_ug=daily_dose(child, course.regimen, first_week),
        first_week=first_week,
        cut=hours < habit.bag_hours,
        before_interruption=pause == delivered + hours,
    )
