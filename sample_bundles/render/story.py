"""The events of one child as they truly happened (truth/README.md, section 3); plants.py adds the awkward cases."""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta

from sample_bundles.render import schedule
from sample_bundles.render.events import (
    Bag,
    Body,
    DiseaseState,
    Dose,
    Event,
    FollowUp,
    Genetics,
    Lab,
    Marrow,
    Mrd,
    Order,
    PlannedBlock,
    Toxicity,
    Treatment,
    Visit,
)
from sample_bundles.render.truth import Child, Course, LabRow

DIED_IN_HOSPITAL = "P019"
DEATH_BY_FOLLOW_UP = ("P045", "P054")
OLD_RECORD = {"P031": "P031-B"}
"""K16: a second record number, used for everything more than 20 days before the first bag."""
CONTACT_ELSEWHERE = "P091"
"""K17: this child's last contact is recorded at another hospital."""
DELAY_REASONS = ("infection", "liver", "intolerance")
REFRACTORY_BEFORE = ("P042", "P097")
NEGATIVE_TEXTS = ("<0.01%", "negative", "阴性")
"""labs.csv writes one form per site; the dialects vary it (section 4)."""
MARROW_ANALYTES = ("BM_blasts", "MRD_flow_BM")


def day(child: Child, number: int) -> date:
    """The calendar day `number` days after the first bag of course 1."""
    return child.first_bag_date + timedelta(days=number)


def at(child: Child, number: int, hour: int) -> datetime:
    """The full hour of a day counted from the first bag."""
    return datetime.combine(day(child, number), time(hour))


def record(child: Child, when: date) -> str:
    """The Patient id under which something of that day is charted (differs for K16 only)."""
    early = when < child.first_bag_date - timedelta(days=20)
    return OLD_RECORD.get(child.patient_id, child.patient_id) if early else child.patient_id


def story(child: Child) -> list[Event]:
    """Everything that happened to the child, in no particular order but always the same one."""
    events: list[Event] = [*_disease(child), *_chemotherapy(child), *_blocks(child)]
    for course in child.courses:
        events += [*_visits_of_course(child, course), *_exposure(child, course), *_results(child, course)]
        events += _toxicities(child, course)
    return [*events, *_afterwards(child)]


def _disease(child: Child) -> Iterator[Event]:
    diagnosed = child.diagnosis_date
    chart = record(child, diagnosed)
    yield DiseaseState(key="dx", record=chart, state="diagnosis", day=diagnosed)
    yield Marrow(key="m-dx", record=chart, day=diagnosed, visit=None, blasts="85")
    yield Genetics(key="gen", record=chart, subtype=child.genetic_subtype, day=diagnosed)
    if child.patient_id in REFRACTORY_BEFORE:
        yield _state(child, "refractory", day(child, -10))
    else:
        yield _state(child, "remission", diagnosed + timedelta(days=28))
        if child.indication == "RR":
            yield _state(child, "relapse", day(child, -45 if child.burden_reduction else -10))


def _state(child: Child, state: str, when: date) -> DiseaseState:
    return DiseaseState(key=f"{state}-{when:%Y%m%d}", record=record(child, when), state=state, day=when)


def _chemotherapy(child: Child) -> Iterator[Event]:
    if child.burden_reduction:
        for number in (-35, -28):
            yield dose(child, "vincristine", number, "intravenous", min(1.5 * child.bsa_m2, 2))
            yield dose(child, "cyclophosphamide", number, "intravenous", 300 * child.bsa_m2)
    elif child.indication != "RR":
        drug, per_m2 = ("cytarabine", 1000) if child.number % 2 else ("methotrexate", 3000)
        yield dose(child, drug, -(30 + child.number % 10), "intravenous", per_m2 * child.bsa_m2)


def dose(child: Child, drug: str, number: int, route: str, milligrams: float, plant: str | None = None) -> Dose:
    """A dose of another drug at 10:00 of a day counted from the first bag."""
    when = at(child, number, 10)
    key = f"dose-{drug[:3]}-{when:%Y%m%d}"
    amount = round(milligrams, 1)
    chart = record(child, when.date())
    return Dose(key=key, record=chart, plant=plant, drug=drug, at=when, route=route, milligrams=amount)


def _blocks(child: Child) -> Iterator[Event]:
    if child.indication != "RR":
        given = day(child, -(30 + child.number % 10))
        chart = record(child, given)
        yield PlannedBlock(key="block-given", record=chart, day=given, reason=None, postponed=False)
    if child.indication == "CHEMO_DELAY":
        yield block(child, -(14 + child.number % 15), postponed=bool(child.number % 2))


def block(child: Child, number: int, postponed: bool, plant: str | None = None) -> PlannedBlock:
    """A planned block of a day that was postponed (on hold) or cancelled; the reason goes by the child's number."""
    when = day(child, number)
    reason = DELAY_REASONS[child.number % 3]
    chart = record(child, when)
    return PlannedBlock(key="block-held", record=chart, plant=plant, day=when, reason=reason, postponed=postponed)


def _visits_of_course(child: Child, course: Course) -> Iterator[Event]:
    chart, number = child.patient_id, course.number
    admitted = datetime.combine(course.start_date, time(9))
    discharged = max(schedule.course_end(course) + timedelta(hours=2), datetime.combine(course.end_date, time(11)))
    yield Visit(key=f"stay-{number}", record=chart, kind="inpatient", start=admitted, end=discharged)
    seen = at(child, course.assessment_day, 9)
    yield Visit(key=f"visit-{number}", record=chart, kind="outpatient", start=seen, end=seen + timedelta(hours=2))


def _exposure(child: Child, course: Course) -> Iterator[Event]:
    chart, number, stay = child.patient_id, course.number, f"stay-{course.number}"
    planned = schedule.slots(child, course)
    yield Order(
        key=f"order-{number}",
        record=chart,
        course=number,
        written=schedule.first_bag(course) - timedelta(hours=28),
        start=planned[0].start,
        planned_days=min(days for days in (14, 21, 28) if days >= course.infusion_days),
        daily_ug=planned[0].daily_ug,
        reason=child.indication,
        visit=None,
    )
    yield Body(
        key=f"body-{number}",
        record=chart,
        day=course.start_date - timedelta(days=1),
        weight_kg=child.weight_kg,
        height_cm=child.height_cm,
    )
    for place, slot in enumerate(planned, start=1):
        yield Bag(
            key=f"bag-{number}-{place:02d}",
            record=chart,
            course=number,
            start=slot.start,
            end=slot.end,
            hours=slot.hours,
            daily_ug=slot.daily_ug,
            identifier=f"{child.patient_id}-{number}-{place:02d}",
            visit=stay,
            first_week=slot.first_week,
            cut=slot.cut or slot.before_interruption,
        )


def visit_of(child: Child, when: date) -> str | None:
    """The key of the visit a result of that day belongs to: the stay, else the assessment visit, else none."""
    for course in child.courses:
        if course.start_date <= when <= course.end_date:
            return f"stay-{course.number}"
    for course in child.courses:
        if when == day(child, course.assessment_day):
            return f"visit-{course.number}"
    return None


def _results(child: Child, course: Course) -> Iterator[Event]:
    for row in course.labs:
        if row.analyte not in MARROW_ANALYTES:
            key = f"lab-{row.analyte.replace('-', '')}-{row.day:%Y%m%d}"
            visit = visit_of(child, row.day)
            chart = child.patient_id
            yield Lab(
                key=key, record=chart, day=row.day, analyte=row.analyte, value=row.value, unit=row.unit, visit=visit
            )
    yield from _marrows(child, course)
    if course.bcell_loss is not None:
        yield _bcells(child, course)


def _marrows(child: Child, course: Course) -> Iterator[Marrow]:
    days = sorted({row.day for row in course.labs if row.analyte in MARROW_ANALYTES})
    if len(days) != 2 or days[1] != day(child, course.assessment_day):
        raise ValueError(
            f"{child.patient_id} course {course.number}: a marrow before and one at the assessment expected"
        )
    for name, when in zip(("pre", "post"), days, strict=True):
        rows = {row.analyte: row for row in course.labs if row.day == when}
        gated = course.antigen_loss is not None and (name == "pre") == bool(course.response)
        yield Marrow(
            key=f"m-{course.number}{name}",
            record=child.patient_id,
            day=when,
            visit=visit_of(child, when),
            blasts=rows["BM_blasts"].value,
            mrd=_mrd(rows["MRD_flow_BM"]),
            antigen=("5" if course.antigen_loss else "95") if gated else None,
        )


def _mrd(row: LabRow) -> Mrd:
    negative = row.comparator == "<" or row.text in NEGATIVE_TEXTS
    return Mrd(percent=None) if negative else Mrd(percent=row.value or None, text=row.text)


def _bcells(child: Child, course: Course) -> Lab:
    when = day(child, course.assessment_day)
    absolute = {"SITE2": ("4", "45", "/uL"), "SITE3": ("4", "45", "10*6/L")}
    lost, kept, unit = absolute.get(child.site, ("0.004", "0.045", "10*9/L"))
    value = lost if course.bcell_loss else kept
    key = f"lab-CD19-{when:%Y%m%d}"
    return Lab(
        key=key, record=child.patient_id, day=when, analyte="CD19", value=value, unit=unit, visit=visit_of(child, when)
    )


def _toxicities(child: Child, course: Course) -> Iterator[Event]:
    for name, grade, after in (("CRS", course.crs_grade, 1), ("ICANS", course.icans_grade, 2)):
        if grade:
            onset = day(child, course.start_day + after + child.number % 3)
            key, stay = f"{name.lower()}-{course.number}", f"stay-{course.number}"
            yield Toxicity(key=key, record=child.patient_id, name=name, grade=grade, day=onset, visit=stay)


def _afterwards(child: Child) -> Iterator[Event]:
    chart = child.patient_id
    for name, number in (("HSCT", child.hsct_day), ("CART", child.cart_day)):
        if number is not None:
            yield Treatment(key=name.lower(), record=chart, name=name, at=at(child, number, 10))
    if child.event_type == "relapse":
        when = day(child, child.event_day)
        yield _state(child, "relapse", when)
        yield Marrow(key="m-relapse", record=chart, day=when, visit=None, blasts="40")
    if child.dead:
        yield from _death(child)
    elif child.patient_id != CONTACT_ELSEWHERE:
        yield last_contact(child, chart)
        if child.site == "SITE2":
            yield FollowUp(key="follow-up", record=chart, status="alive", day=child.last_contact, visit="contact")


def _death(child: Child) -> Iterator[Event]:
    died = child.last_contact
    if child.patient_id == DIED_IN_HOSPITAL:
        admitted, end = datetime.combine(died - timedelta(days=6), time(15)), datetime.combine(died, time(4, 30))
        yield Visit(key="stay-last", record=child.patient_id, kind="terminal", start=admitted, end=end)
    if child.patient_id in DEATH_BY_FOLLOW_UP:
        yield FollowUp(key="follow-up", record=child.patient_id, status="dead", day=died, visit=None)


def last_contact(child: Child, chart: str, plant: str | None = None) -> Visit:
    """The finished follow-up visit or call on the day of the last contact."""
    start = datetime.combine(child.last_contact, time(10))
    return Visit(
        key="contact", record=chart, plant=plant, kind="contact", start=start, end=start + timedelta(minutes=30)
    )
