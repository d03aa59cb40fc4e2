"""FHIR of the second cohort: what all four hospitals share; each dialect overrides what it writes otherwise."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from second_story import HOSPITALS, Course, Kid, Marrow
from second_truth import end_day

Resource = dict[str, Any]
STUDY = "urn:blina:study-number"
LOCAL = "urn:second:local"
MAP = (
    "source_code,source_concept_id,source_vocabulary_id,source_code_description,target_vocabulary_id,"
    "target_concept_code,target_concept_id,unit_default,valid_start_date,valid_end_date,invalid_reason"
)


def coded(code: str, system: str = LOCAL, text: str | None = None) -> Resource:
    """A CodeableConcept."""
    return {"coding": [{"system": system, "code": code}], **({"text": text} if text else {})}


def quantity(value: float, unit: str, comparator: str | None = None) -> Resource:
    """A Quantity as laboratories send it: number and a written unit, no UCUM code."""
    return {"value": value, "unit": unit, **({"comparator": comparator} if comparator else {})}


class Hospital:
    """One hospital's way of writing. `codes`: its code map, written by whoever brings the hospital in."""

    name = ""
    bag_hours = 24
    drug: ClassVar[Resource] = {}
    codes: ClassVar[list[tuple[str, str, str]]] = []  # local code or text, target vocabulary, target code
    units: ClassVar[dict[str, str]] = {}  # local code → unit of its bare numbers
    tests: ClassVar[dict[str, str]] = {}  # what is measured → local code

    def __init__(self) -> None:
        """Begins with no resources."""
        self.zone = ZoneInfo(HOSPITALS[self.name])
        self.made: list[Resource] = [{"resourceType": "Organization", "id": f"{self.name}-O", "name": self.name}]
        self.counter = 0
        self.kid: Kid

    # -- plumbing ------------------------------------------------------------------------------------------------
    def add(self, kind: str, *, of: str = "subject", **content: Any) -> str:
        """Adds a resource of the present child; returns its reference."""
        self.counter += 1
        one = {"resourceType": kind, "id": f"{self.name}-{self.counter}", **content}
        if of:
            one[of] = {"reference": f"Patient/K{self.kid.number}"}
        self.made.append(one)
        return f"{kind}/{one['id']}"

    def instant(self, local: datetime) -> str:
        """A local time as this hospital writes instants: with its own offset."""
        return local.replace(tzinfo=self.zone).isoformat()

    def after(self, local: datetime, hours: float) -> datetime:
        """The local time so many real hours later, also over a change of the clocks."""
        return (
            (local.replace(tzinfo=self.zone).astimezone(UTC) + timedelta(hours=hours))
            .astimezone(self.zone)
            .replace(tzinfo=None)
        )

    def when(self, day: int, hour: int = 7) -> str:
        """The time of a draw or record."""
        return self.instant(datetime.combine(self.kid.day(day), datetime.min.time()) + timedelta(hours=hour))

    def bags(self, course: Course) -> Iterator[tuple[datetime, datetime, bool]]:
        """Start, end, and whether still in the first step, of every bag."""
        cuts = {0.0, 24.0 * course.days} | {float(h) for h in range(0, 24 * course.days, self.bag_hours)}
        if course.step:
            cuts.add(168.0)
        if course.held:
            cuts.add(24.0 * course.held_after)
        at = sorted(cuts)
        for first, last in pairwise(at):
            late = course.held if course.held and first >= 24 * course.held_after else 0
            begin = self.kid.start(course)
            yield self.after(begin, first + late), self.after(begin, last + late), course.step and first < 168

    def level(self, first_step: bool) -> tuple[float, str]:
        """Dose and its unit: per m² below 45 kg."""
        flat = self.kid.weight >= 45
        return float((9 if flat else 5) if first_step else (28 if flat else 15)), "" if flat else "/m2"

    def micrograms(self, first_step: bool) -> float:
        """µg per day."""
        dose, per = self.level(first_step)
        return round(dose * (self.kid.height * self.kid.weight / 3600) ** 0.5, 2) if per else dose

    # -- a child -------------------------------------------------------------------------------------------------
    def tell(self, kid: Kid) -> None:
        """Everything about one child."""
        self.kid = kid
        self.patient()
        self.diagnosis()
        self.before()
        self.genetics()
        for number, course in enumerate(kid.courses):
            self.exposure(course, self.stay(course.start - 2, end_day(course), "IMP"))
            self.stay(course.start, course.start, "AMB") if number == 0 and course.crs is None else None
            self.number("weight", course.start - 1, kid.weight, "kg")
            self.number("height", course.start - 1, kid.height, "cm")
            for marrow in (course.pre, course.post):
                assert marrow is not None
                self.marrow(marrow)
            self.antigen(course)
            self.blood(course, first=number == 0)
            self.toxicity(course)
        self.later()
        self.distractors()
        if kid.death is None:
            self.stay(kid.contact, kid.contact, "AMB")

    def patient(self) -> None:
        kid = self.kid
        self.made.append(
            {
                "resourceType": "Patient",
                "id": f"K{kid.number}",
                "birthDate": kid.born.isoformat(),
                "identifier": [{"system": STUDY, "value": f"S{kid.number}"}],
                "gender": {"M": "male", "F": "female"}[kid.sex],
                **self.deceased(),
            }
        )

    def deceased(self) -> Resource:
        """What Patient says about a death."""
        return {} if self.kid.death is None else {"deceasedDateTime": self.kid.day(self.kid.death).isoformat()}

    def stay(self, first: int, last: int, kind: str, **more: Any) -> str:
        """A visit."""
        act = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
        return self.add(
            "Encounter",
            status="finished",
            **{"class": {"system": act, "code": kind}},
            period={"start": self.when(first), "end": self.when(last, 21)},
            serviceProvider={"reference": f"Organization/{self.name}-O"},
            **more,
        )

    def condition(self, code: Resource, day: int, **more: Any) -> str:
        """A diagnosis."""
        return self.add("Condition", code=code, onsetDateTime=self.kid.day(day).isoformat(), **more)

    def status(self, code: str) -> Resource:
        """The clinicalStatus of a Condition."""
        return {"clinicalStatus": coded(code, "http://terminology.hl7.org/CodeSystem/condition-clinical")}

    def result(self, what: str, day: int, value: Resource, **more: Any) -> str:
        """A laboratory result; `value` is one value[x]."""
        code = {"code": self.code_of(what)}
        return self.add("Observation", status="final", effectiveDateTime=self.when(day), **code, **value, **more)

    def code_of(self, what: str) -> Resource:
        """The code of a test."""
        return coded(self.tests[what])

    def number(self, what: str, day: int, value: float, unit: str) -> None:
        """A number with its unit."""
        self.result(what, day, {"valueQuantity": quantity(value, unit)})

    def specimen(self, day: int, kind: str) -> Resource:
        """The link to a marrow or blood sample."""
        link = self.add("Specimen", type=self.kind_of_specimen(kind), collection={"collectedDateTime": self.when(day)})
        return {"specimen": {"reference": link}}

    def kind_of_specimen(self, kind: str) -> Resource:
        """A specimen's type."""
        raise NotImplementedError

    def marrow(self, marrow: Marrow) -> None:
        """Blasts and MRD of one marrow."""
        link = self.specimen(marrow.day, "marrow")
        self.result("blasts", marrow.day, self.blasts(marrow), **link)
        self.result("mrd", marrow.day, self.mrd(marrow.mrd), **link)

    def blasts(self, marrow: Marrow) -> Resource:
        """The blasts as this hospital writes them."""
        assert marrow.blasts is not None
        return {"valueQuantity": quantity(marrow.blasts, "%")}

    def mrd(self, value: float | str) -> Resource:
        """The MRD as this hospital writes it."""
        raise NotImplementedError

    def antigen(self, course: Course) -> None:
        """CD19 on blasts, on the last marrow with disease."""
        if course.antigen_left is not None:
            marrow = course.pre if course.response == 1 else course.post
            assert marrow is not None
            self.number("cd19_blasts", marrow.day, course.antigen_left, "%")

    def blood(self, course: Course, *, first: bool) -> None:
        """Counts at the post marrow, T cells around a first course, B cells after it, IL-6."""
        assert course.post is not None
        self.cells("ANC", course.post.day, 1.8)
        self.cells("PLT", course.post.day, 150.0)
        if first:
            for name, (before, afterwards) in self.kid.t_cells.items():
                self.cells(name, -1, before)
                self.cells(name, course.post.day, afterwards)
            if course.b_cells is not None:
                self.cells("CD19", course.post.day, course.b_cells)
            self.interleukin(-1, self.kid.il6[0])
            self.interleukin(2, self.kid.il6[1])

    def cells(self, what: str, day: int, value: float) -> None:
        """A count given in 10*9/L, in this hospital's unit."""
        raise NotImplementedError

    def interleukin(self, day: int, written: str) -> None:
        """IL-6 in pg/mL, `<` in front where it is a limit."""
        raise NotImplementedError

    def deaths_day(self) -> date:
        """The day of death."""
        assert self.kid.death is not None
        return self.kid.day(self.kid.death)

    def exposure(self, course: Course, visit: str) -> None:
        """The bags of one course."""
        raise NotImplementedError

    def diagnosis(self) -> None:
        """B-ALL and the first remission."""
        raise NotImplementedError

    def before(self) -> None:
        """Relapse, refractory disease, chemotherapy, the reason for blinatumomab."""
        raise NotImplementedError

    def genetics(self) -> None:
        """The genetic findings at diagnosis."""
        raise NotImplementedError

    def toxicity(self, course: Course) -> None:
        """CRS and ICANS."""
        raise NotImplementedError

    def later(self) -> None:
        """Transplant, CAR-T, relapse, second malignancy, death."""
        raise NotImplementedError

    def distractors(self) -> None:
        """What must not change anything."""

    def map_rows(self) -> str:
        """The hospital's source_to_concept_map.csv."""
        rows = []
        for written, vocabulary, target in self.codes:  # "ICD10GM|C92.00": a code of an international system
            system, _, code = written.rpartition("|") if written.startswith("ICD10") else ("", "", written)
            rows.append(
                ",".join(
                    [
                        _quoted(code),
                        "0",
                        system or f"BLINA_{self.name}",
                        "second cohort",
                        vocabulary,
                        target,
                        "",
                        self.units.get(code, ""),
                        "1970-01-01",
                        "2099-12-31",
                        "",
                    ]
                )
            )
        return "\n".join([MAP, *rows]) + "\n"


def _quoted(text: str) -> str:
    return f'"{text}"' if "," in text or '"' in text else text
