"""A random history of a hospital: thousands of changes to a few resources that refer to one another in every way.

`History.changes(n)` gives Bundle entries in order of arrival; `expected_weights` is a plain model of a part of what
must come out: the newest version of each weight whose patient is there.
"""

import random
from dataclasses import dataclass, field
from typing import Any

LOINC = "http://loinc.org"
WEIGHT = {"coding": [{"system": LOINC, "code": "29463-7"}]}
_FORMS = ("relative", "absolute", "urn", "identifier", "logical")

Key = tuple[str, str]


def full_url(kind: str, one: str) -> str:
    """The fullUrl under which a resource is always sent."""
    return f"urn:uuid:{kind.lower()}-{one}"


@dataclass
class _State:
    """The versions of one resource that the hospital has made: content by version, whether it is deleted now."""

    versions: list[dict[str, Any]] = field(default_factory=list)
    deleted: bool = False


class History:
    """The changes of one hospital, from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._states: dict[Key, _State] = {}
        self._clock = 0
        self._arrived: dict[Key, list[tuple[int, dict[str, Any] | None]]] = {}

    def changes(self, n: int) -> list[dict[str, Any]]:
        """The next n Bundle entries."""
        return [self._change() for _ in range(n)]

    def expected_weights(self) -> dict[str, float]:
        """Observation id → value of the weights that must stand in `measurement` after what was given out so far."""
        found = {}
        for (kind, one), arrivals in self._arrived.items():
            newest = _newest(arrivals)
            if kind != "Observation" or newest is None or newest["code"] != WEIGHT:
                continue
            patient = _newest(self._arrived.get(("Patient", newest["_patient"]), []))
            if patient is None or "_out" in patient:
                continue
            if newest["status"] == "final" and "_odd" not in newest:
                found[one] = newest["valueQuantity"]["value"]
        return found

    def _change(self) -> dict[str, Any]:
        choice = self._random.random()
        known = [key for key, state in self._states.items() if state.versions]
        if choice < 0.40 or not known:
            return self._new_version(*self._any_key())
        kind, one = self._random.choice(known)
        state = self._states[kind, one]
        if choice < 0.65:
            return self._new_version(kind, one)
        if choice < 0.75:  # an older version comes late, or any version once more
            return self._entry(kind, one, self._random.choice(state.versions))
        if choice < 0.85 and kind not in {"Organization", "Practitioner", "Medication"}:
            return self._new_version(kind, one, mistake=True)
        if choice < 0.95:
            state.deleted = True
            self._arrived.setdefault((kind, one), []).append((self._tick(), None))
            return {"request": {"method": "DELETE", "url": f"{kind}/{one}"}}
        return self._entry(kind, one, state.versions[-1])

    def _any_key(self) -> Key:
        kind, size = self._random.choice(
            (("Patient", 8), ("Patient", 8), ("Encounter", 16), ("Encounter", 16), ("Organization", 3),
             ("Practitioner", 4), ("Medication", 4), ("MedicationRequest", 12), ("MedicationAdministration", 16),
             ("Observation", 40), ("Observation", 40), ("Specimen", 8), ("DiagnosticReport", 8), ("Condition", 16),
             ("Procedure", 8))
        )  # fmt: skip
        return kind, str(self._random.randrange(size))

    def _new_version(self, kind: str, one: str, *, mistake: bool = False) -> dict[str, Any]:
        state = self._states.setdefault((kind, one), _State())
        content = getattr(self, f"_{kind.lower()}")(one)
        if mistake and "status" in content:
            content["status"] = "entered-in-error"
        elif mistake:
            content["active" if kind == "Patient" else "note"] = False if kind == "Patient" else [{"text": "x"}]
        number = len(state.versions) + 1
        content["meta"] = {"versionId": str(number), "lastUpdated": f"2024-01-01T00:{self._tick() // 60 % 60:02d}:00Z"}
        content["meta"]["lastUpdated"] = _instant(self._clock)
        state.versions.append(content)
        state.deleted = False
        return self._entry(kind, one, content)

    def _entry(self, kind: str, one: str, content: dict[str, Any]) -> dict[str, Any]:
        self._arrived.setdefault((kind, one), []).append((self._tick(), content))
        sent = {name: value for name, value in content.items() if not name.startswith("_")}
        return {"fullUrl": full_url(kind, one), "resource": sent}

    def _tick(self) -> int:
        self._clock += 1
        return self._clock

    def _to(self, kind: str, size: int) -> dict[str, Any]:
        """A reference to one of the resources of a type, in any form, whether or not it is there."""
        one = str(self._random.randrange(size))
        form = self._random.choice(_FORMS)
        if form == "absolute":
            return {"reference": f"https://hospital.example/fhir/{kind}/{one}"}
        if form == "urn":
            return {"reference": full_url(kind, one)}
        if form == "identifier" and kind in {"Practitioner", "Organization"}:
            return {"reference": f"{kind}?identifier=urn:x|{kind}-{one}"}
        if form == "logical" and kind in {"Practitioner", "Organization"}:
            return {"identifier": {"system": "urn:x", "value": f"{kind}-{one}"}}
        return {"reference": f"{kind}/{one}"}

    def _base(self, kind: str, one: str, **content: Any) -> dict[str, Any]:
        return {"resourceType": kind, "id": one, **content}

    def _sometimes(self, share: float, **content: Any) -> dict[str, Any]:
        return content if self._random.random() < share else {}

    def _day(self) -> str:
        day = f"2024-{self._random.randrange(1, 13):02d}-{self._random.randrange(1, 29):02d}"
        return day[: self._random.choice((10, 10, 10, 7, 4))]

    def _patient(self, one: str) -> dict[str, Any]:
        birth = self._random.choice(("2015-02-03", "2016-05", "2024-03-01"))
        other = str(self._random.randrange(8))
        link = [{"other": {"reference": f"Patient/{other}"}, "type": "seealso"}]
        links = self._sometimes(0.15, link=link) if other != one else {}
        dead = self._sometimes(0.2, deceasedDateTime="2024-11-02")
        born = self._sometimes(0.95, birthDate=birth) or {"_out": True}  # without a year of birth it is rejected
        told = self._sometimes(0.6, extension=[RACES])
        if self._random.random() < 0.1:
            told = {"extension": [_ANIMAL], "_out": True}  # it is left out
        return self._base(
            "Patient", one, gender=self._random.choice(("male", "female")), **links, **dead, **{**born, **told}
        )

    def _encounter(self, one: str) -> dict[str, Any]:
        part = str(self._random.randrange(16))
        part_of = {"partOf": {"reference": f"Encounter/{part}"}} if int(part) < int(one) else {}
        kept = part_of if self._random.random() < 0.4 else {}
        end = self._sometimes(0.6, end="2024-12-01")
        start = f"2024-{self._random.randrange(1, 12):02d}-03"
        kind = self._random.choice(("IMP", "IMP", "IMP", "AMB", "ours"))
        return self._base(
            "Encounter", one, status=self._random.choice(("finished", "in-progress")),
            **{"class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": kind}},
            subject=self._to("Patient", 8), period={"start": start, **end},
            serviceProvider=self._to("Organization", 3), **kept,
        )  # fmt: skip

    def _organization(self, one: str) -> dict[str, Any]:
        name = self._random.choice(("North", "South"))
        return self._base(
            "Organization", one, name=name, identifier=[{"system": "urn:x", "value": f"Organization-{one}"}]
        )

    def _practitioner(self, one: str) -> dict[str, Any]:
        known = self._random.choice((one, one, one, "0"))  # sometimes two have the same number: then it means nobody
        return self._base(
            "Practitioner", one, active=True, gender="female",
            identifier=[{"system": "urn:x", "value": f"Practitioner-{known}"}],
        )  # fmt: skip

    def _medication(self, one: str) -> dict[str, Any]:
        code = self._random.choice(("1597258", "11124", "unknown"))
        system = "http://www.nlm.nih.gov/research/umls/rxnorm"
        return self._base("Medication", one, code={"coding": [{"system": system, "code": code}]})

    def _medicationrequest(self, one: str) -> dict[str, Any]:
        return self._base(
            "MedicationRequest", one, status="active", intent="order", subject=self._to("Patient", 8),
            medicationReference=self._to("Medication", 4), authoredOn=self._day(),
            requester=self._to("Practitioner", 4), encounter=self._to("Encounter", 16),
        )  # fmt: skip

    def _medicationadministration(self, one: str) -> dict[str, Any]:
        number = str(self._random.randrange(12))
        return self._base(
            "MedicationAdministration", one, status="completed", subject=self._to("Patient", 8),
            context=self._to("Encounter", 16), medicationReference=self._to("Medication", 4),
            effectiveDateTime=self._day(), **self._sometimes(0.5, identifier=[{"system": "urn:m", "value": number}]),
        )  # fmt: skip

    def _observation(self, one: str) -> dict[str, Any]:
        patient = str(self._random.randrange(8))
        weight = {
            "value": self._random.randrange(5, 60),
            "unit": "kg",
            "system": "http://unitsofmeasure.org",
            "code": "kg",
        }
        number = str(self._random.randrange(12))
        twin = self._sometimes(0.3, identifier=[{"system": "urn:o", "value": number}], _odd=True)
        return self._base(
            "Observation", one, status="final", code=WEIGHT, subject={"reference": f"Patient/{patient}"},
            _patient=patient, encounter=self._to("Encounter", 16), effectiveDateTime="2024-06-07",
            valueQuantity=weight, performer=[self._to("Practitioner", 4)],
            **self._sometimes(0.4, specimen=self._to("Specimen", 8)), **twin,
        )  # fmt: skip

    def _specimen(self, one: str) -> dict[str, Any]:
        return self._base(
            "Specimen", one, subject=self._to("Patient", 8), collection={"collectedDateTime": self._day()},
            type={"coding": [{"system": "http://snomed.info/sct", "code": "119359002"}]},
        )  # fmt: skip

    def _diagnosticreport(self, one: str) -> dict[str, Any]:
        results = [self._to("Observation", 40) for _ in range(3)]
        return self._base(
            "DiagnosticReport", one, status="final", code={"text": "marrow"}, subject=self._to("Patient", 8),
            effectiveDateTime=self._day(), result=results, specimen=[self._to("Specimen", 8)],
        )  # fmt: skip

    def _condition(self, one: str) -> dict[str, Any]:
        return self._base(
            "Condition", one, subject=self._to("Patient", 8), onsetDateTime=self._day(),
            code={"coding": [{"system": "http://snomed.info/sct", "code": self._random.choice(("91857003", "1"))}]},
            encounter=self._to("Encounter", 16),
        )  # fmt: skip

    def _procedure(self, one: str) -> dict[str, Any]:
        return self._base(
            "Procedure", one, status="completed", subject=self._to("Patient", 8), performedDateTime=self._day(),
            code={"coding": [{"system": "http://snomed.info/sct", "code": "23719005"}]},
            encounter=self._to("Encounter", 16),
        )  # fmt: skip


_ANIMAL = {
    "url": "http://hl7.org/fhir/StructureDefinition/patient-animal",
    "extension": [{"url": "species", "valueCodeableConcept": {"text": "dog"}}],
}

RACES = {
    "url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race",
    "extension": [
        {"url": "ombCategory", "valueCoding": {"system": "urn:oid:2.16.840.1.113883.6.238", "code": "2028-9"}},
        {"url": "ombCategory", "valueCoding": {"system": "urn:oid:2.16.840.1.113883.6.238", "code": "2106-3"}},
        {"url": "text", "valueString": "both"},
    ],
}
"""Two races, as US Core writes them: the rows that tell of them bear the day of the last visit."""


def _instant(clock: int) -> str:
    return f"2024-12-{1 + clock // 86400:02d}T{clock // 3600 % 24:02d}:{clock // 60 % 60:02d}:{clock % 60:02d}Z"


def _newest(arrivals: list[tuple[int, dict[str, Any] | None]]) -> dict[str, Any] | None:
    """The version that counts; None when there is none, or a deletion came after all that came."""
    versions = [(content["meta"]["lastUpdated"], int(content["meta"]["versionId"]), when, content)
                for when, content in arrivals if content is not None]  # fmt: skip
    if not versions:
        return None
    _, _, _, content = max(versions, key=lambda one: one[:3])
    came = max(when for when, one in arrivals if one is content)
    deletions = [when for when, one in arrivals if one is None]
    return None if deletions and max(deletions) > came else content
