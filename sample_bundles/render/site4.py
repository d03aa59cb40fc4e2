"""SITE4: mixed codes with mCODE-like profiles, NDJSON, instants in UTC (`Z`), home pump with bags of a week."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from sample_bundles.render import events as ev
from sample_bundles.render import fhir, site1
from sample_bundles.render.dialect import Dialect
from sample_bundles.render.fhir import Concept, Resource
from sample_bundles.render.frames import LOCAL
from sample_bundles.render.truth import Child

LAB = "urn:blina:site4:lab"
STATUS = "urn:blina:site4:disease-status"
CONDITION = "urn:blina:site4:condition"
PLAN = "urn:blina:site4:plan"
DELAY = "urn:blina:site4:delay"
VARIANT = "urn:blina:site4:genomics"
MCODE = "http://hl7.org/fhir/us/mcode/StructureDefinition/"

DRUG_TEXT = "blinatumomab (BLINCYTO) 35 µg"
DELAYS = {"infection": "infection", "liver": "hepatotoxicity", "intolerance": "intolerance"}
VARIANTS = {
    "BCR::ABL1": ("BCR-ABL1", "BCR::ABL1 fusion"),
    "KMT2A-r": ("KMT2A-R", "KMT2A rearrangement"),
    "hypodiploidy_lt44": ("HYPO-LT44", "hypodiploidy, fewer than 44 chromosomes"),
    "TCF3::HLF": ("TCF3-HLF", "TCF3::HLF fusion"),
    "complex_karyotype": ("COMPLEX", "complex karyotype"),
    "ETV6::RUNX1": ("ETV6-RUNX1", "ETV6::RUNX1 fusion"),
    "high_hyperdiploidy": ("HHD", "high hyperdiploidy"),
    "TCF3::PBX1": ("TCF3-PBX1", "TCF3::PBX1 fusion"),
    "ZNF384-r": ("ZNF384-R", "ZNF384 rearrangement"),
    "DUX4-r": ("DUX4-R", "DUX4 rearrangement"),
    "normal/other": ("NONE", "no relevant finding"),
}


class Site4(Dialect):
    """Rates as µg per 24 h, stopped bags where one is cut, disease status and delay as coded resources."""

    site = "SITE4"
    name = "Xishan University Hospital (invented)"
    doctor = "Invented Doctor Four"
    analytes = site1.ANALYTES
    drugs = site1.DRUGS

    def instant(self, at: datetime) -> str:
        return (at - LOCAL).isoformat() + "Z"

    def patients(self, child: Child) -> Iterator[Resource]:
        made = self.patient(child, child.patient_id, meta={"profile": [f"{MCODE}mcode-cancer-patient"]})
        if child.patient_id == "P045":
            made["deceasedDateTime"] = child.last_contact.isoformat()[:7]
        yield made

    def medication(self, child: Child) -> Concept:
        """The drug as this pharmacy writes it; the code only for even numbers."""
        text = fhir.worded(DRUG_TEXT)
        return text if child.number % 2 else fhir.coded(fhir.RXNORM, "1597258", "blinatumomab") | text

    def bag(self, child: Child, bag: ev.Bag) -> Iterator[Resource]:
        status = "stopped" if bag.cut and bag.status == "completed" else bag.status
        made = self.administration(child, bag, {"medicationCodeableConcept": self.medication(child)}, status)
        if bag.timeless:
            unknown = {"url": fhir.ABSENT_EXTENSION, "valueCode": "unknown"}
            yield made | {"effectivePeriod": {"extension": [unknown]}}
            return
        made["effectivePeriod"] = {"start": self.instant(bag.start), "end": self.instant(bag.end)}
        rate = {"numerator": fhir.quantity(bag.daily_ug, "ug", "ug"), "denominator": fhir.quantity(24, "h", "h")}
        made["dosage"] = {"route": self.route("intravenous"), "rateRatio": rate}
        yield made

    def order(self, child: Child, order: ev.Order) -> Resource:
        return self.prescription(child, order, {"medicationCodeableConcept": self.medication(child)})

    def cell_unit(self, child: Child, lab: ev.Lab) -> tuple[str, str | None]:
        return {0: ("G/L", None), 1: ("10^9/L", None)}.get(child.number % 3, ("10*9/L", "10*9/L"))

    def marrow(self, child: Child, marrow: ev.Marrow) -> Iterator[Resource]:
        specimen = self.specimen(child, marrow, site1.SPECIMENS[marrow.specimen])
        if marrow.version != 1:
            yield specimen
        shared = {**self.seen_at(child, marrow.visit), "specimen": fhir.reference("Specimen", specimen["id"])}
        for name, code, value in self.findings(child, marrow):
            if marrow.unsatisfactory:
                value = {"dataAbsentReason": fhir.coded(fhir.ABSENT, "error", text="unsatisfactory specimen")}
            subject, when = self.subject(marrow), self.sampled(marrow.day)
            made = self.observation(self.rid(child, f"{marrow.key}-{name}"), code, subject, when, **shared, **value)
            yield self.versioned(made, marrow) if name == "mrd" else made

    def findings(self, child: Child, marrow: ev.Marrow) -> Iterator[tuple[str, Concept, dict[str, object]]]:
        """Name, code and value of each result of a sample; an earlier version carries the MRD only."""
        if marrow.blasts is not None and marrow.version != 1:
            code = fhir.coded(fhir.LOINC, "11150-0", "blasts in marrow")
            yield "blasts", code, {"valueQuantity": fhir.quantity(marrow.blasts, "%", "%")}
        if marrow.mrd is not None:
            yield "mrd", fhir.coded(LAB, "MRD", "MRD, flow"), {"valueString": _mrd_text(child, marrow.mrd)}
        if marrow.antigen is not None:
            code = fhir.coded(LAB, "CD19BLAST", "CD19 on blasts")
            yield "cd19", code, {"valueQuantity": fhir.quantity(marrow.antigen, "%", "%")}

    def disease_state(self, child: Child, state: ev.DiseaseState) -> Iterator[Resource]:
        rid, subject = self.rid(child, state.key), self.subject(state)
        if state.state == "diagnosis":
            codings = fhir.coded(fhir.SNOMED, "277572006", "precursor B-ALL")["coding"]
            codings += fhir.coded(fhir.ICDO3, "9811/3", "B lymphoblastic leukaemia")["coding"]
            made = self.condition(rid, subject, {"coding": codings}, state.day, "active")
            yield _profiled(made, "mcode-primary-cancer-condition")
            return
        made = self.observation(
            rid,
            fhir.coded(LAB, "cancer-disease-status", "cancer disease status"),
            subject,
            self.sampled(state.day),
            valueCodeableConcept=fhir.coded(STATUS, state.state),
        )
        yield _profiled(made, "mcode-cancer-disease-status")

    def genetics(self, child: Child, genetics: ev.Genetics) -> Iterator[Resource]:
        made = self.observation(
            self.rid(child, genetics.key),
            fhir.coded(LAB, "GENOMICS", "genomic finding"),
            self.subject(genetics),
            self.sampled(genetics.day),
            specimen=fhir.reference("Specimen", self.rid(child, "spec-m-dx")),
            valueCodeableConcept=fhir.coded(VARIANT, *VARIANTS[genetics.subtype]),
        )
        yield _profiled(made, "mcode-genomic-variant")

    def toxicity(self, child: Child, toxicity: ev.Toxicity) -> Resource:
        code, rid = fhir.coded(CONDITION, toxicity.name), self.rid(child, toxicity.key)
        stage = [{"summary": fhir.worded(f"ASTCT grade {toxicity.grade}")}]
        visit = self.seen_at(child, toxicity.visit)
        return self.condition(rid, self.subject(toxicity), code, toxicity.day, "resolved", **visit) | {"stage": stage}

    def block(self, child: Child, block: ev.PlannedBlock) -> Resource:
        """A block as ServiceRequest, revoked with its reason when it was not given."""
        start, end = block.day, block.day + timedelta(days=4)
        made: Resource = {
            "resourceType": "ServiceRequest",
            "id": self.rid(child, f"{block.key}-{block.day:%Y%m%d}"),
            "status": "revoked" if block.reason else "completed",
            "intent": "order",
            "code": fhir.coded(PLAN, "CHEMO-BLOCK", "chemotherapy block"),
            "subject": self.subject(block),
            "occurrencePeriod": {"start": start.isoformat(), "end": end.isoformat()},
            "authoredOn": (start - timedelta(days=21)).isoformat(),
        }
        return made | {"reasonCode": [fhir.coded(DELAY, DELAYS[block.reason])]} if block.reason else made

    def treatment(self, child: Child, treatment: ev.Treatment) -> Iterator[Resource]:
        """HSCT by its code; CAR-T in words, and a day later as the cells given (one event)."""
        if treatment.name == "HSCT":
            yield self.procedure(child, treatment, fhir.coded(fhir.SNOMED, "234336002", "HSCT"))
            return
        yield self.procedure(child, treatment, fhir.worded("CD19 CAR-T cell infusion"))
        yield self.tisagenlecleucel(child, treatment, treatment.at + timedelta(days=1))


def _profiled(resource: Resource, profile: str) -> Resource:
    head = {"resourceType": resource["resourceType"], "id": resource["id"], "meta": {"profile": [MCODE + profile]}}
    return head | resource


def _mrd_text(child: Child, mrd: ev.Mrd) -> str:
    """Multiples of 10^-4 with two decimals, or one of two words for negative."""
    if mrd.percent is not None and not mrd.text:
        return f"{float(mrd.percent) * 100:.2f}×10^-4"
    if mrd.percent is None and not mrd.text:
        return "neg" if child.number % 2 else "negative"
    return mrd.text
