"""The planted awkward cases K01–K30 (truth/README.md, section 5): which child gets which, and the list of all of them.

Cases that are events of their own are added here; those that lie in the truth or in a dialect are only listed. Cases of
the delivery (K04, K20, K30) are made in deliver.py and site3.py.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from sample_bundles.render.events import Bag, Bill, Event, Lab, Marrow, Mrd, Visit
from sample_bundles.render.story import block, day, dose, last_contact, visit_of
from sample_bundles.render.truth import Child

PLANT_NOTES = {
    "K01": "not-done administration at start + 3 d",
    "K02": "entered-in-error copy of bag 1 at start - 10 d",
    "K03": "bag 2 repeated under a new id with the same business identifier",
    "K04": "the same resource in two files",
    "K05": "preliminary version of a corrected marrow result",
    "K06": "blood MRD on the day of the marrow before course 1",
    "K07": "marrow at -35 d",
    "K08": "marrow on day 15 of course 1",
    "K09": "unsatisfactory marrow on the last day of course 1",
    "K10": "end of bag 1 charted 2 h after the start of bag 2",
    "K11": "CD3 and CD19 percentages beside the absolute counts",
    "K12": "planned visit and bill after the last contact",
    "K13": "bill 10 d after death",
    "K14": "planned block postponed by 5 d only",
    "K15": "dexamethasone and intrathecal methotrexate before the first bag",
    "K16": "two record numbers joined by Patient.link",
    "K17": "last contact at another hospital under the same study number",
    "K18": "same birth date, different children",
    "K21": "baseline draw on the 14th day after the course before",
    "K22": "true draw after a course within 7 d of the next",
    "K23": "interruption of 72 h",
    "K24": "end of a course after midnight",
    "K25": "negative MRD written 0.00%",
    "K26": "dose step in a short course",
    "K29": "death in remission after HSCT",
    "K20": "page encoded in GB18030",
    "K27": "misspelt drug name",
    "K28": "default code C91.01",
    "K30": "link.next points to a page delivered first",
    "ON_HOLD": "on-hold administration without times (P087)",
    "COPIES": "delivered again only because a second file of K04 or K05 refers to it",
}
IN_THE_TRUTH = {
    "K18": ("P044", "P045"),
    "K21": ("P062",),
    "K22": ("P001", "P022"),
    "K23": ("P087",),
    "K24": ("P026", "P036", "P047", "P067", "P080", "P100"),
    "K26": ("P049", "P056"),
    "K29": ("P054",),
}
"""Cases that need no planting: they lie in the truth and are only listed."""


def list_truth(plants: "Plants", child: Child) -> None:
    """Lists the cases of a child that lie in the truth itself."""
    for rule, children in IN_THE_TRUTH.items():
        if child.patient_id in children:
            plants.add(rule, child.site, child.patient_id, [f"Patient/{child.patient_id}"])


class Plants:
    """The list of what was planted: rule → site → number of children and the resources."""

    def __init__(self) -> None:
        self._cases: dict[str, dict[str, dict[str, list[str]]]] = {}

    def add(self, rule: str, site: str, child: str, resources: list[str]) -> None:
        """Something planted by a rule in a child: these resources (`Type/id`). A child counts once per rule."""
        self._cases.setdefault(rule, {}).setdefault(site, {}).setdefault(child, []).extend(resources)

    def as_json(self) -> dict[str, object]:
        """The list in the form of plants.json, sorted."""
        return {
            rule: {
                "what": PLANT_NOTES[rule],
                "children": sum(len(children) for children in sites.values()),
                "sites": {
                    site: {
                        "children": len(children),
                        "resources": [one for names in children.values() for one in names],
                    }
                    for site, children in sorted(sites.items())
                },
            }
            for rule, sites in sorted(self._cases.items())
        }


def plant(child: Child, events: list[Event]) -> list[Event]:
    """The child's events with its awkward cases among them; no truth value changes."""
    bags = [event for event in events if isinstance(event, Bag) and event.course == 1]
    events = [_charted(child, event, bags) for event in events]
    return [*events, *_administrations(child, bags), *_samples(child, events), *_others(child, events)]


def ends_late(child: Child, bags: list[Bag]) -> bool:
    """K10: bag 1's end is charted 2 h late, if another bag follows it directly."""
    if child.number % 10 != 9 or child.site == "SITE3" or len(bags) < 2:
        return False
    return bags[1].start - bags[0].end < timedelta(hours=4)


def _charted(child: Child, event: Event, bags: list[Bag]) -> Event:
    if isinstance(event, Bag) and event == bags[0] and ends_late(child, bags):
        return replace(event, end=bags[1].start + timedelta(hours=2), plant="K10")
    if isinstance(event, Bag) and child.patient_id == "P077" and event.key == "bag-1-05":
        return replace(event, misspelt=True, plant="K27")
    if isinstance(event, Marrow) and event.key == "m-1post" and child.number % 10 == 1:
        return replace(event, version=2)
    return event


def _administrations(child: Child, bags: list[Bag]) -> Iterator[Event]:
    if child.number % 10 == 0:
        start = bags[0].start + timedelta(days=3)
        yield _odd_bag(bags[0], "K01", "bag-not-done", start, "not-done")
    if child.number % 10 == 5:
        start = bags[0].start - timedelta(days=10)
        yield replace(_odd_bag(bags[0], "K02", "bag-error", start, "entered-in-error"), visit=None)
    if child.number % 10 == 3:
        yield replace(bags[1], key=f"{bags[1].key}-again", plant="K03")
    if child.patient_id == "P087":
        odd = _odd_bag(bags[0], "ON_HOLD", "bag-on-hold", bags[0].start, "on-hold")
        yield replace(odd, timeless=True)


def _odd_bag(bag: Bag, rule: str, key: str, start: datetime, status: str) -> Bag:
    identifier = f"{bag.identifier}-{status}"
    end = start + (bag.end - bag.start)
    return replace(bag, key=key, plant=rule, start=start, end=end, status=status, identifier=identifier)


def _samples(child: Child, events: list[Event]) -> Iterator[Event]:
    marrows = {event.key: event for event in events if isinstance(event, Marrow)}
    course, rest = child.courses[0], child.number % 10
    if rest == 1:
        yield replace(marrows["m-1post"], plant="K05", version=1, mrd=Mrd(percent="5"), antigen=None)
    if rest == 2:
        before, negative = marrows["m-1pre"], Mrd(percent=None)
        yield replace(before, key="b-1pre", plant="K06", specimen="blood", blasts=None, mrd=negative, antigen=None)
    if rest == 4:
        yield _extra(child, "K07", "m-early", -35)
    if rest == 6 and course.infusion_days == 28 and child.pre_course1_state != "MRDneg":
        yield _extra(child, "K08", "m-day15", 15)
    if rest == 8 and course.assessment_day > course.end_day:
        yield replace(_extra(child, "K09", "m-failed", course.end_day), unsatisfactory=True)


def _extra(child: Child, rule: str, key: str, number: int) -> Marrow:
    when = day(child, number)
    visit = visit_of(child, when)
    mrd = Mrd(percent="0.5")
    return Marrow(key=key, record=child.patient_id, plant=rule, day=when, visit=visit, blasts="2", mrd=mrd)


def _others(child: Child, events: list[Event]) -> Iterator[Event]:
    if child.site in ("SITE1", "SITE2"):
        yield from _percentages(child, events)
    if child.number % 5 == 0 and not child.dead:
        start = last_contact(child, child.patient_id).start + timedelta(days=60)
        end = start + timedelta(minutes=30)
        yield Visit(key="planned", record=child.patient_id, plant="K12", kind="planned", start=start, end=end)
        yield Bill(key="bill", record=child.patient_id, plant="K12", day=child.last_contact + timedelta(days=20))
    if child.dead:
        yield Bill(key="bill", record=child.patient_id, plant="K13", day=child.last_contact + timedelta(days=10))
    if child.indication == "CR_MRDpos":
        yield block(child, -5, postponed=True, plant="K14")
    if child.direct_rr:
        for number in range(-5, 0):
            yield dose(child, "dexamethasone", number, "oral", 6 * child.bsa_m2, plant="K15")
        yield dose(child, "methotrexate", -3, "intrathecal", 12, plant="K15")


def _percentages(child: Child, events: list[Event]) -> Iterator[Event]:
    percent: dict[str, Callable[[Lab], str]] = {
        "CD3": lambda lab: str(40 + (child.number + lab.day.day) % 45),
        "CD19": lambda lab: "0.4" if lab.value in ("4", "0.004") else "3.1",
    }
    for event in events:
        if isinstance(event, Lab) and event.analyte in percent:
            value = percent[event.analyte](event)
            analyte = f"{event.analyte}_PCT"
            yield replace(event, key=f"{event.key}-pct", plant="K11", analyte=analyte, value=value, unit="%")
