"""The frames that all hospitals' resources share: references, times, identifiers and the members before the values."""

from datetime import date, datetime, time, timedelta
from typing import Any

from sample_bundles.render import events as ev
from sample_bundles.render import fhir
from sample_bundles.render.fhir import Concept, Resource
from sample_bundles.render.truth import Child

LOCAL = timedelta(hours=8)
"""Asia/Shanghai has been UTC+8 without summer time since 1991."""


class Frames:
    """Resources without what each hospital writes in its own way. References are relative; deliver.py rewrites them."""

    site: str

    def instant(self, at: datetime) -> str:
        """A local time as FHIR dateTime; SITE4 writes UTC."""
        return at.isoformat() + "+08:00"

    def sampled(self, day: date) -> str:
        """The time of a laboratory sample: 07:00 local; SITE3 writes the date only."""
        return self.instant(datetime.combine(day, time(7)))

    def rid(self, child: Child, key: str) -> str:
        """The id of a resource."""
        return f"{child.patient_id}-{key}"

    def subject(self, event: ev.Event) -> Resource:
        """The Patient an event is charted on."""
        return fhir.reference("Patient", event.record)

    def seen_at(self, child: Child, visit: str | None) -> dict[str, Any]:
        """The member `encounter`, or nothing."""
        return {"encounter": fhir.reference("Encounter", self.rid(child, visit))} if visit else {}

    def patient(self, child: Child, record: str, **more: Any) -> Resource:
        """A Patient with study number, record number, gender and birth date."""
        numbers = [
            fhir.identifier(fhir.STUDY_NUMBER, child.patient_id),
            fhir.identifier(f"urn:blina:{self.site.lower()}:record-number", self.record_number(child, record)),
        ]
        return {
            "resourceType": "Patient",
            "id": record,
            "identifier": numbers,
            **more,
            "gender": {"M": "male", "F": "female"}[child.sex],
            "birthDate": child.birth_date.isoformat(),
        }

    def record_number(self, child: Child, record: str) -> str:
        """An invented hospital record number."""
        second = record != child.patient_id
        return f"{self.site[-1]}{700000 + child.number * 37 + (5000 if second else 0)}"

    def administration(self, child: Child, bag: ev.Bag, medication: dict[str, Any], status: str) -> Resource:
        """The frame of a bag without its times and dose."""
        made: Resource = {
            "resourceType": "MedicationAdministration",
            "id": self.rid(child, bag.key),
            "identifier": [fhir.identifier(f"urn:blina:{self.site.lower()}:administration", bag.identifier)],
            "status": status,
        }
        if bag.status == "not-done":
            made["statusReason"] = [fhir.worded("fever")]
        made |= {**medication, "subject": self.subject(bag)}
        if bag.visit:
            made["context"] = fhir.reference("Encounter", self.rid(child, bag.visit))
        return made

    def route(self, route: str) -> Concept:
        """A route by its SNOMED CT code."""
        return fhir.coded(fhir.SNOMED, *fhir.ROUTES[route])

    def prescription(self, child: Child, order: ev.Order, medication: dict[str, Any], **more: Any) -> Resource:
        """The order of a course with the period planned for it."""
        end = order.start + timedelta(days=order.planned_days)
        bounds = {"start": self.instant(order.start), "end": self.instant(end)}
        return {
            "resourceType": "MedicationRequest",
            "id": self.rid(child, order.key),
            "status": "completed",
            "intent": "order",
            **medication,
            "subject": self.subject(order),
            "authoredOn": self.instant(order.written),
            "requester": fhir.reference("Practitioner", "DOC-1"),
            **more,
            "dosageInstruction": [{"timing": {"repeat": {"boundsPeriod": bounds}}, "route": self.route("intravenous")}],
        }

    def observation(self, rid: str, code: Concept, subject: Resource, effective: str, **more: Any) -> Resource:
        """A final Observation."""
        return {
            "resourceType": "Observation",
            "id": rid,
            "status": "final",
            "category": fhir.category("laboratory"),
            "code": code,
            "subject": subject,
            "effectiveDateTime": effective,
            **more,
        }

    def condition(self, rid: str, subject: Resource, code: Concept, day: date, status: str, **more: Any) -> Resource:
        """A confirmed Condition with its onset."""
        return {
            "resourceType": "Condition",
            "id": rid,
            **fhir.clinical_status(status),
            "code": code,
            "subject": subject,
            **more,
            "onsetDateTime": day.isoformat(),
            "recordedDate": day.isoformat(),
        }

    def specimen(self, child: Child, marrow: ev.Marrow, kind: Concept) -> Resource:
        """The Specimen of a sample."""
        made: Resource = {"resourceType": "Specimen", "id": self.specimen_id(child, marrow)}
        made["status"] = "unsatisfactory" if marrow.unsatisfactory else "available"
        made |= {"type": kind, "subject": self.subject(marrow)}
        made["collection"] = {"collectedDateTime": self.sampled(marrow.day)}
        return made

    def specimen_id(self, child: Child, marrow: ev.Marrow) -> str:
        """The id of a sample's Specimen; both versions of a corrected result share it."""
        return self.rid(child, f"spec-{marrow.key}")

    def versioned(self, resource: Resource, marrow: ev.Marrow) -> Resource:
        """K05: the same id in two versions, preliminary and corrected."""
        if marrow.version is None:
            return resource
        days, status = {1: (1, "preliminary"), 2: (5, "corrected")}[marrow.version]
        updated = self.instant(datetime.combine(marrow.day + timedelta(days=days), time(16)))
        meta = {"versionId": str(marrow.version), "lastUpdated": updated}
        head = {"resourceType": resource["resourceType"], "id": resource["id"], "meta": meta}
        return head | {key: value for key, value in resource.items() if key not in head} | {"status": status}

    def care_plan(self, child: Child, block: ev.PlannedBlock, code: Concept, reason: Concept | None) -> Resource:
        """A planned block as the only activity of a CarePlan."""
        start, end = block.day, block.day + timedelta(days=4)
        status = "completed" if block.reason is None else "on-hold" if block.postponed else "cancelled"
        detail: Resource = {"kind": "MedicationRequest", "code": code, "status": status}
        if reason is not None:
            detail["statusReason"] = reason
        detail["scheduledPeriod"] = {"start": start.isoformat(), "end": end.isoformat()}
        return {
            "resourceType": "CarePlan",
            "id": self.rid(child, f"{block.key}-{block.day:%Y%m%d}"),
            "status": "completed",
            "intent": "plan",
            "subject": self.subject(block),
            "created": (start - timedelta(days=21)).isoformat(),
            "activity": [{"detail": detail}],
        }

    def procedure(self, child: Child, treatment: ev.Treatment, code: Concept) -> Resource:
        """A completed Procedure."""
        return {
            "resourceType": "Procedure",
            "id": self.rid(child, treatment.key),
            "status": "completed",
            "code": code,
            "subject": self.subject(treatment),
            "performedDateTime": self.instant(treatment.at),
        }

    def tisagenlecleucel(self, child: Child, treatment: ev.Treatment, at: datetime) -> Resource:
        """CAR-T cells as a MedicationAdministration."""
        return {
            "resourceType": "MedicationAdministration",
            "id": self.rid(child, f"{treatment.key}-cells"),
            "status": "completed",
            "medicationCodeableConcept": fhir.coded(fhir.RXNORM, "1986438", "tisagenlecleucel"),
            "subject": self.subject(treatment),
            "effectiveDateTime": self.instant(at),
            "dosage": {"route": self.route("intravenous")},
        }
