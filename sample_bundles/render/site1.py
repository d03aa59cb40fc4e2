"""SITE1: international codes (LOINC, RxNorm, SNOMED CT, ICD-10-CM), one transaction bundle per patient."""

from collections.abc import Iterator

from sample_bundles.render import events as ev
from sample_bundles.render import fhir
from sample_bundles.render.dialect import Dialect
from sample_bundles.render.fhir import Concept, Resource
from sample_bundles.render.story import OLD_RECORD
from sample_bundles.render.truth import Child

LAB = "urn:blina:site1:lab"
PLAN = "urn:blina:site1:plan"
DELAY = "urn:blina:site1:delay"
INDICATION = "urn:blina:site1:indication"

INDICATIONS = {
    "RR": ("IND-RR", "relapsed or refractory"),
    "CR_MRDpos": ("IND-MRD", "remission with residual disease"),
    "CHEMO_DELAY": ("IND-DELAY", "chemotherapy cannot be given in time"),
}
DELAYS = {
    "infection": ("D-INF", "infection"),
    "liver": ("D-LIV", "liver toxicity"),
    "intolerance": ("D-INT", "intolerance"),
}
GENETICS = {
    "BCR::ABL1": "t(9;22)(q34;q11.2) BCR::ABL1",
    "KMT2A-r": "t(4;11)(q21;q23) KMT2A::AFF1",
    "hypodiploidy_lt44": "37<1n+>,add(9p) hypodiploid, <44 chromosomes",
    "TCF3::HLF": "t(17;19)(q22;p13) TCF3::HLF",
    "complex_karyotype": "complex karyotype, 6 abnormalities",
    "ETV6::RUNX1": "t(12;21)(p13;q22) ETV6::RUNX1",
    "high_hyperdiploidy": "55<2n+>,+X,+4,+10,+17,+21 hyperdiploid",
    "TCF3::PBX1": "t(1;19)(q23;p13.3) TCF3::PBX1",
    "ZNF384-r": "t(12;22)(p13;q12) EWSR1::ZNF384",
    "DUX4-r": "t(4;14)(q35;q32) IGH::DUX4",
    "normal/other": "normal karyotype, no fusion",
}
LABELS = {"CRS": "Cytokine release syndrome", "ICANS": "Neurotoxicity after immune effector cells"}
SPECIMENS = {
    "marrow": fhir.coded(fhir.SNOMED, "119359002", "bone marrow specimen"),
    "blood": fhir.coded(fhir.SNOMED, "119297000", "blood specimen"),
}


def rxnorm(code: str, name: str) -> Concept:
    """A drug by its RxNorm ingredient."""
    return fhir.coded(fhir.RXNORM, code, name)


def loinc(code: str, name: str) -> Concept:
    """A result by its LOINC code, with our own short label."""
    return fhir.coded(fhir.LOINC, code, name)


ANALYTES = {
    "CD3": loinc("8122-4", "CD3 cells"),
    "CD4": loinc("24467-3", "CD3+CD4+ cells"),
    "CD8": loinc("14135-8", "CD3+CD8+ cells"),
    "CD19": loinc("8116-6", "CD19 cells"),
    "CD3_PCT": loinc("8124-0", "CD3 %"),
    "CD19_PCT": loinc("8117-4", "CD19 %"),
    "IL-6": loinc("26881-3", "IL-6"),
    "ANC": loinc("751-8", "neutrophils"),
    "PLT": loinc("777-3", "platelets"),
    "weight": loinc("29463-7", "weight"),
    "height": loinc("8302-2", "height"),
}
DRUGS = {
    "vincristine": rxnorm("11202", "vincristine"),
    "cyclophosphamide": rxnorm("3002", "cyclophosphamide"),
    "methotrexate": rxnorm("6851", "methotrexate"),
    "cytarabine": rxnorm("3041", "cytarabine"),
    "dexamethasone": rxnorm("3264", "dexamethasone"),
}


class Site1(Dialect):
    """Rates in µg/d, closed periods, MRD as a Quantity in % (`<` 0.01 when negative)."""

    site = "SITE1"
    name = "Jiangwan Children's Hospital (invented)"
    doctor = "Invented Doctor One"
    analytes = ANALYTES
    drugs = DRUGS
    blinatumomab = rxnorm("1597258", "blinatumomab")

    def patients(self, child: Child) -> Iterator[Resource]:
        deceased: dict[str, object] = {}
        if child.patient_id == "P086":
            deceased = {"deceasedDateTime": child.last_contact.isoformat()}
        elif child.dead:
            deceased = {"deceasedBoolean": True}
        made = self.patient(child, child.patient_id) | deceased
        if child.patient_id not in OLD_RECORD:
            yield made
            return
        old = OLD_RECORD[child.patient_id]
        yield made | {"link": [{"other": fhir.reference("Patient", old), "type": "replaces"}]}
        second = self.patient(child, old, active=False)
        second["identifier"] = second["identifier"][1:]
        link = {"other": fhir.reference("Patient", child.patient_id), "type": "replaced-by"}
        yield second | {"link": [link]}
        self.plants.add("K16", self.site, child.patient_id, [f"Patient/{child.patient_id}", f"Patient/{old}"])

    def bag(self, child: Child, bag: ev.Bag) -> Iterator[Resource]:
        made = self.administration(child, bag, {"medicationCodeableConcept": self.blinatumomab}, bag.status)
        made["effectivePeriod"] = {"start": self.instant(bag.start), "end": self.instant(bag.end)}
        made["dosage"] = {
            "route": self.route("intravenous"),
            "rateQuantity": fhir.quantity(bag.daily_ug, "ug/d", "ug/d"),
        }
        yield made

    def order(self, child: Child, order: ev.Order) -> Resource:
        reason = fhir.coded(INDICATION, *INDICATIONS[order.reason])
        return self.prescription(child, order, {"medicationCodeableConcept": self.blinatumomab}, reasonCode=[reason])

    def cell_unit(self, child: Child, lab: ev.Lab) -> tuple[str, str | None]:
        return "10*9/L", "10*9/L"

    def marrow(self, child: Child, marrow: ev.Marrow) -> Iterator[Resource]:
        specimen = self.specimen(child, marrow, SPECIMENS[marrow.specimen])
        if marrow.version != 1:
            yield specimen
        shared = {**self.seen_at(child, marrow.visit), "specimen": fhir.reference("Specimen", specimen["id"])}
        for name, code, value in self.findings(marrow):
            if marrow.unsatisfactory:
                value = {"dataAbsentReason": fhir.coded(fhir.ABSENT, "error", text="unsatisfactory specimen")}
            subject, when = self.subject(marrow), self.sampled(marrow.day)
            made = self.observation(self.rid(child, f"{marrow.key}-{name}"), code, subject, when, **shared, **value)
            yield self.versioned(made, marrow) if name == "mrd" else made

    def findings(self, marrow: ev.Marrow) -> Iterator[tuple[str, Concept, dict[str, object]]]:
        """Name, code and value of each result of a sample; an earlier version carries the MRD only."""
        if marrow.blasts is not None and marrow.version != 1:
            yield "blasts", loinc("11150-0", "blasts in marrow"), _percent(marrow.blasts)
        if marrow.mrd is not None:
            negative = marrow.mrd.percent is None
            value = _percent("0.01", "<") if negative else _percent(marrow.mrd.percent or "")
            yield "mrd", fhir.coded(LAB, "MRD-FC", "MRD by flow cytometry"), value
        if marrow.antigen is not None:
            yield "cd19", fhir.coded(LAB, "CD19-BL", "CD19+ of blasts"), _percent(marrow.antigen)

    def disease_state(self, child: Child, state: ev.DiseaseState) -> Iterator[Resource]:
        rid, subject = self.rid(child, state.key), self.subject(state)
        if state.state == "diagnosis":
            code = fhir.coded(fhir.ICD10CM, "C91.00", "ALL not having achieved remission")
            yield self.condition(rid, subject, code, state.day, "active")
            default = fhir.coded(fhir.ICD10CM, "C91.01", "ALL, in remission")
            listed = [fhir.coded(f"{fhir.HL7}condition-category", "problem-list-item")]
            problem = self.condition(f"{rid}-default", subject, default, state.day, "active")
            yield problem | {"category": listed}
            self.plants.add("K28", self.site, child.patient_id, [f"Condition/{rid}-default"])
            return
        code, status = {
            "remission": (fhir.coded(fhir.ICD10CM, "C91.01", "ALL, in remission"), "remission"),
            "relapse": (fhir.coded(fhir.ICD10CM, "C91.02", "ALL, in relapse"), "relapse"),
            "refractory": (fhir.coded(fhir.SNOMED, "12311000132101", "ALL, refractory"), "active"),
        }[state.state]
        yield self.condition(rid, subject, code, state.day, status)

    def genetics(self, child: Child, genetics: ev.Genetics) -> Iterator[Resource]:
        yield self.observation(
            self.rid(child, genetics.key),
            fhir.coded(LAB, "CYTO", "cytogenetics and fusions"),
            self.subject(genetics),
            self.sampled(genetics.day),
            specimen=fhir.reference("Specimen", self.rid(child, "spec-m-dx")),
            valueString=GENETICS[genetics.subtype],
        )

    def toxicity(self, child: Child, toxicity: ev.Toxicity) -> Resource:
        stem = {"CRS": "D89.83", "ICANS": "G92.0"}[toxicity.name]
        code = fhir.coded(fhir.ICD10CM, f"{stem}{toxicity.grade}", f"{LABELS[toxicity.name]}, grade {toxicity.grade}")
        rid, visit = self.rid(child, toxicity.key), self.seen_at(child, toxicity.visit)
        return self.condition(rid, self.subject(toxicity), code, toxicity.day, "resolved", **visit)

    def block(self, child: Child, block: ev.PlannedBlock) -> Resource:
        reason = fhir.coded(DELAY, *DELAYS[block.reason]) if block.reason else None
        return self.care_plan(child, block, fhir.coded(PLAN, "CHEMO-BLOCK", "chemotherapy block"), reason)

    def treatment(self, child: Child, treatment: ev.Treatment) -> Iterator[Resource]:
        if treatment.name == "HSCT":
            yield self.procedure(child, treatment, fhir.coded(fhir.SNOMED, "234336002", "HSCT"))
        else:
            yield self.tisagenlecleucel(child, treatment, treatment.at)

    def bill(self, child: Child, bill: ev.Bill) -> Resource:
        """A claim for the living, a charge for the dead: both without a mapping, on purpose."""
        if child.dead:
            return super().bill(child, bill)
        return {
            "resourceType": "Claim",
            "id": self.rid(child, bill.key),
            "status": "active",
            "type": fhir.coded(f"{fhir.HL7}claim-type", "institutional"),
            "use": "claim",
            "patient": self.subject(bill),
            "created": bill.day.isoformat(),
            "provider": fhir.reference("Organization", "ORG-1"),
            "priority": fhir.coded(f"{fhir.HL7}processpriority", "normal"),
            "insurance": [{"sequence": 1, "focal": True, "coverage": {"display": "public insurance"}}],
        }


def _percent(value: str, comparator: str | None = None) -> dict[str, object]:
    return {"valueQuantity": fhir.quantity(value, "%", "%", comparator)}
