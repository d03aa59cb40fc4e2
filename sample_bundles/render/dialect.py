"""What all four hospitals do alike: from a neutral event to FHIR resources. Each site module fills in its own words."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from sample_bundles.render import events as ev
from sample_bundles.render import fhir
from sample_bundles.render.fhir import Concept, Resource
from sample_bundles.render.frames import Frames
from sample_bundles.render.plants import Plants
from sample_bundles.render.truth import Child


class Dialect(Frames, ABC):
    """One hospital's way to write FHIR. References are relative here; deliver.py gives them their final form."""

    name: str
    """The invented hospital's name."""
    doctor: str
    analytes: dict[str, Concept]
    drugs: dict[str, Concept]
    tcell_analytes = ("CD3", "CD4", "CD8", "CD19")

    def __init__(self, plants: Plants) -> None:
        self.plants = plants

    def hospital(self) -> list[Resource]:
        """The hospital itself: Organization, Location, Practitioner."""
        system = f"urn:blina:{self.site.lower()}"
        return [
            {
                "resourceType": "Organization",
                "id": "ORG-1",
                "identifier": [fhir.identifier(f"{system}:organization", f"{self.site}-HOSPITAL")],
                "active": True,
                "name": self.name,
            },
            {
                "resourceType": "Location",
                "id": "WARD-1",
                "identifier": [fhir.identifier(f"{system}:location", "HEM-1")],
                "status": "active",
                "name": "Haematology",
                "managingOrganization": fhir.reference("Organization", "ORG-1"),
            },
            {
                "resourceType": "Practitioner",
                "id": "DOC-1",
                "identifier": [fhir.identifier(f"{system}:practitioner", "0001")],
                "name": [{"text": self.doctor}],
            },
        ]

    def child(self, child: Child, happened: Sequence[ev.Event]) -> list[Resource]:
        """All resources of one child; what an awkward case produced is noted in the list of plants."""
        made = list(self.patients(child))
        for event in happened:
            resources = self.resources(child, event)
            made += resources
            if event.plant:
                names = [f"{resource['resourceType']}/{resource['id']}" for resource in resources]
                self.plants.add(event.plant, self.site, child.patient_id, names)
        return made

    def resources(self, child: Child, event: ev.Event) -> list[Resource]:
        """The resources of one event."""
        rules: dict[type[ev.Event], Callable[[Child, Any], Resource | Iterable[Resource]]] = {
            ev.Visit: self.visit,
            ev.Bag: self.bag,
            ev.Order: self.order,
            ev.Dose: self.dose,
            ev.Lab: self.lab,
            ev.Body: self.body,
            ev.Marrow: self.marrow,
            ev.DiseaseState: self.disease_state,
            ev.Genetics: self.genetics,
            ev.Toxicity: self.toxicity,
            ev.PlannedBlock: self.block,
            ev.Treatment: self.treatment,
            ev.FollowUp: self.follow_up,
            ev.Bill: self.bill,
        }
        made = rules[type(event)](child, event)
        return [made] if isinstance(made, dict) else list(made)

    # What each hospital writes in its own way

    @abstractmethod
    def patients(self, child: Child) -> Iterator[Resource]:
        """The Patient resource, or resources, of a child."""

    @abstractmethod
    def bag(self, child: Child, bag: ev.Bag) -> Iterator[Resource]:
        """A bag as MedicationAdministration."""

    @abstractmethod
    def order(self, child: Child, order: ev.Order) -> Resource:
        """The order of a course as MedicationRequest."""

    @abstractmethod
    def marrow(self, child: Child, marrow: ev.Marrow) -> Iterator[Resource]:
        """A sample with its results."""

    @abstractmethod
    def disease_state(self, child: Child, state: ev.DiseaseState) -> Iterator[Resource]:
        """Diagnosis, remission, relapse, refractory disease."""

    @abstractmethod
    def genetics(self, child: Child, genetics: ev.Genetics) -> Iterator[Resource]:
        """The genetic finding at diagnosis."""

    @abstractmethod
    def toxicity(self, child: Child, toxicity: ev.Toxicity) -> Resource:
        """CRS or ICANS with its grade."""

    @abstractmethod
    def block(self, child: Child, block: ev.PlannedBlock) -> Resource:
        """A planned chemotherapy block."""

    @abstractmethod
    def treatment(self, child: Child, treatment: ev.Treatment) -> Iterator[Resource]:
        """HSCT or CAR-T."""

    @abstractmethod
    def cell_unit(self, child: Child, lab: ev.Lab) -> tuple[str, str | None]:
        """Unit text and UCUM code (or None) of a cell count."""

    # What they share

    def visit(self, child: Child, visit: ev.Visit) -> Resource:
        """A visit as Encounter; a last contact is an outpatient visit unless the site calls by telephone."""
        code = {"inpatient": "IMP", "terminal": "IMP"}.get(visit.kind, "AMB")
        made: Resource = {
            "resourceType": "Encounter",
            "id": self.rid(child, visit.key),
            "status": "planned" if visit.kind == "planned" else "finished",
            "class": {"system": fhir.ACT_CODE, "code": code},
            "subject": self.subject(visit),
            "participant": [{"individual": fhir.reference("Practitioner", "DOC-1")}],
            "period": {"start": self.instant(visit.start), "end": self.instant(visit.end)},
        }
        if visit.kind == "terminal":
            disposition = fhir.coded(f"{fhir.HL7}discharge-disposition", "exp")
            made["hospitalization"] = {"dischargeDisposition": disposition}
        made["location"] = [{"location": fhir.reference("Location", "WARD-1")}]
        made["serviceProvider"] = fhir.reference("Organization", "ORG-1")
        return made

    def dose(self, child: Child, dose: ev.Dose) -> Resource:
        """A dose of another drug."""
        return {
            "resourceType": "MedicationAdministration",
            "id": self.rid(child, dose.key),
            "status": "completed",
            "medicationCodeableConcept": self.drugs[dose.drug],
            "subject": self.subject(dose),
            "effectiveDateTime": self.instant(dose.at),
            "dosage": {"route": self.route(dose.route), "dose": fhir.quantity(dose.milligrams, "mg", "mg")},
        }

    def lab(self, child: Child, lab: ev.Lab) -> Resource:
        """A blood result."""
        if lab.analyte in self.tcell_analytes:
            unit, code = self.cell_unit(child, lab)
        else:
            unit, code = self.plain_unit(lab)
        return self.observation(
            self.rid(child, lab.key),
            self.analytes[lab.analyte],
            self.subject(lab),
            self.sampled(lab.day),
            **self.seen_at(child, lab.visit),
            valueQuantity=fhir.quantity(lab.value, unit, code),
        )

    def plain_unit(self, lab: ev.Lab) -> tuple[str, str | None]:
        """Unit text and UCUM code of everything that is not a lymphocyte subset."""
        return lab.unit, lab.unit

    def body(self, child: Child, body: ev.Body) -> Iterator[Resource]:
        """Weight and height."""
        for name, value, unit in (("weight", body.weight_kg, "kg"), ("height", body.height_cm, "cm")):
            made = self.observation(
                self.rid(child, f"{name}-{body.key[-1]}"),
                self.analytes[name],
                self.subject(body),
                self.sampled(body.day),
                valueQuantity=fhir.quantity(value, unit, unit),
            )
            yield made | {"category": fhir.category("vital-signs")}

    def follow_up(self, child: Child, follow_up: ev.FollowUp) -> Resource:
        """A follow-up status as an Observation with a local code, on the day only."""
        system = f"urn:blina:{self.site.lower()}:follow-up"
        made = self.observation(
            self.rid(child, follow_up.key),
            fhir.coded(system, "FU-STATUS"),
            self.subject(follow_up),
            follow_up.day.isoformat(),
            **self.seen_at(child, follow_up.visit),
            valueCodeableConcept=fhir.coded(system, follow_up.status),
        )
        return made | {"category": fhir.category("survey")}

    def bill(self, child: Child, bill: ev.Bill) -> Resource:
        """A charge: a type without a mapping, on purpose."""
        return {
            "resourceType": "ChargeItem",
            "id": self.rid(child, bill.key),
            "status": "billable",
            "code": fhir.worded("closing of the account"),
            "subject": self.subject(bill),
            "occurrenceDateTime": bill.day.isoformat(),
        }
