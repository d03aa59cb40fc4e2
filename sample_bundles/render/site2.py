"""SITE2: ATC, ICD-10 and local panel codes; one collection bundle per patient with relative references."""

from collections.abc import Iterator

from sample_bundles.render import events as ev
from sample_bundles.render import fhir, site1
from sample_bundles.render.dialect import Dialect
from sample_bundles.render.fhir import Concept, Resource
from sample_bundles.render.truth import Child

LIS = "urn:blina:site2:lis"
VITAL = "urn:blina:site2:vital"
PLAN = "urn:blina:site2:plan"
DELAY = "urn:blina:site2:delay"
PROCEDURE = "urn:blina:site2:procedure"
SPECIMEN = "urn:blina:site2:specimen"

NEGATIVES = ("<0.01%", "<1.0×10^-4", "0.00%", "(-)")
"""How a negative MRD is written, by the child's number modulo 4 (K25: 0.00%)."""
DELAYS = {"infection": ("YY01", "感染"), "liver": ("YY02", "肝毒性"), "intolerance": ("YY03", "不耐受")}
FUSIONS = {
    "BCR::ABL1": "BCR-ABL1 (P190) 阳性",
    "KMT2A-r": "KMT2A-AFF1 阳性",
    "TCF3::HLF": "TCF3-HLF 阳性",
    "ETV6::RUNX1": "ETV6-RUNX1 阳性",
    "TCF3::PBX1": "TCF3-PBX1 阳性",
    "ZNF384-r": "EP300-ZNF384 阳性",
    "DUX4-r": "IGH-DUX4 阳性",
}
KARYOTYPES = {
    "hypodiploidy_lt44": "亚二倍体，染色体数<44",
    "complex_karyotype": "复杂核型（≥5种异常）",
    "high_hyperdiploidy": "高超二倍体（51-65）",
    "normal/other": "正常核型",
}
SEVERITIES = {1: "mild", 2: "moderate", 3: "severe"}
SYSTEMS = {"CRS": "Lee 2014", "ICANS": "ASTCT"}


def atc(code: str, name: str) -> Concept:
    """A drug by its ATC code."""
    return fhir.coded(fhir.ATC, code, name)


DRUGS = {
    "vincristine": atc("L01CA02", "vincristine"),
    "cyclophosphamide": atc("L01AA01", "cyclophosphamide"),
    "methotrexate": atc("L01BA01", "methotrexate"),
    "cytarabine": atc("L01BC01", "cytarabine"),
    "dexamethasone": atc("H02AB02", "dexamethasone"),
}
ANALYTES = site1.ANALYTES | {
    "ANC": fhir.coded(LIS, "XCG-NEU", "中性粒细胞绝对值"),
    "PLT": fhir.coded(LIS, "XCG-PLT", "血小板计数"),
    "weight": fhir.coded(VITAL, "VS-WT", "体重"),
    "height": fhir.coded(VITAL, "VS-HT", "身高"),
}


class Site2(Dialect):
    """Bags as dose per bag in a contained Medication, no rate; panels with components; delay from the care plan."""

    site = "SITE2"
    name = "Nanhu Women and Children's Hospital (invented)"
    doctor = "Invented Doctor Two"
    analytes = ANALYTES
    drugs = DRUGS
    blinatumomab = atc("L01FX07", "blinatumomab")

    def patients(self, child: Child) -> Iterator[Resource]:
        made = self.patient(child, child.patient_id)
        if child.patient_id == "P062":
            made["deceasedDateTime"] = f"{child.last_contact.isoformat()}T05:30:00+08:00"
        yield made

    def visit(self, child: Child, visit: ev.Visit) -> Resource:
        """The last contact is a telephone call."""
        made = super().visit(child, visit)
        if visit.kind == "contact":
            made["class"] = {"system": fhir.ACT_CODE, "code": "VR"}
            del made["location"]
        return made

    def bag(self, child: Child, bag: ev.Bag) -> Iterator[Resource]:
        medication = {"medicationReference": {"reference": "#drug"}}
        made = self.administration(child, bag, medication, bag.status)
        contained = {"resourceType": "Medication", "id": "drug", "code": self.blinatumomab}
        head = {"resourceType": made["resourceType"], "id": made["id"], "contained": [contained]}
        made = head | made
        made["effectivePeriod"] = {"start": self.instant(bag.start), "end": self.instant(bag.end)}
        amount = round(bag.daily_ug * bag.hours / 24, 2)
        made["dosage"] = {"route": self.route("intravenous"), "dose": fhir.quantity(amount, "ug", "ug")}
        yield made

    def order(self, child: Child, order: ev.Order) -> Resource:
        return self.prescription(child, order, {"medicationCodeableConcept": self.blinatumomab})

    def cell_unit(self, child: Child, lab: ev.Lab) -> tuple[str, str | None]:
        return "/uL", "/uL"

    def marrow(self, child: Child, marrow: ev.Marrow) -> Iterator[Resource]:
        panel, kind = ("BM01", "BM") if marrow.specimen == "marrow" else ("PB01", "PB")
        specimen = self.specimen(child, marrow, fhir.coded(SPECIMEN, kind))
        if marrow.version != 1:
            yield specimen
        parts = []
        for number, value in self.findings(child, marrow):
            if marrow.unsatisfactory:
                value = {"dataAbsentReason": fhir.coded(fhir.ABSENT, "error", text="标本不合格")}
            parts.append({"code": fhir.coded(LIS, f"{panel}-{number}"), **value})
        made = self.observation(
            self.rid(child, marrow.key),
            fhir.coded(LIS, panel),
            self.subject(marrow),
            self.sampled(marrow.day),
            **self.seen_at(child, marrow.visit),
            specimen=fhir.reference("Specimen", specimen["id"]),
            component=parts,
        )
        if any(part.get("valueString") == NEGATIVES[2] for part in parts):
            self.plants.add("K25", self.site, child.patient_id, [f"Observation/{made['id']}"])
        yield self.versioned(made, marrow)

    def findings(self, child: Child, marrow: ev.Marrow) -> Iterator[tuple[int, dict[str, object]]]:
        """Place in the panel and value of each result: marrow 1 blasts, 2 MRD, 3 CD19; blood 1 MRD."""
        if marrow.blasts is not None:
            yield 1, {"valueQuantity": fhir.quantity(marrow.blasts, "%", "%")}
        if marrow.mrd is not None:
            negative = NEGATIVES[child.number % 4]
            text = negative if marrow.mrd.percent is None and not marrow.mrd.text else marrow.mrd.text
            yield (2 if marrow.specimen == "marrow" else 1), {"valueString": text or f"{marrow.mrd.percent}%"}
        if marrow.antigen is not None:
            yield 3, {"valueQuantity": fhir.quantity(marrow.antigen, "%", "%")}

    def disease_state(self, child: Child, state: ev.DiseaseState) -> Iterator[Resource]:
        status = {"diagnosis": "active", "remission": "remission", "relapse": "relapse"}[state.state]
        code = fhir.coded(fhir.ICD10, "C91.0", "急性淋巴细胞白血病")
        yield self.condition(self.rid(child, state.key), self.subject(state), code, state.day, status)

    def genetics(self, child: Child, genetics: ev.Genetics) -> Iterator[Resource]:
        """The fusion panel of everybody, and the karyotype of those whose subtype is no fusion."""
        results = [("FUS52", FUSIONS.get(genetics.subtype, "阴性"))]
        if genetics.subtype in KARYOTYPES:
            results.append(("KARYO", KARYOTYPES[genetics.subtype]))
        for code, value in results:
            yield self.observation(
                self.rid(child, f"{genetics.key}-{code.lower()}"),
                fhir.coded(LIS, code),
                self.subject(genetics),
                self.sampled(genetics.day),
                specimen=fhir.reference("Specimen", self.rid(child, "spec-m-dx")),
                valueString=value,
            )

    def toxicity(self, child: Child, toxicity: ev.Toxicity) -> Resource:
        return {
            "resourceType": "AdverseEvent",
            "id": self.rid(child, toxicity.key),
            "actuality": "actual",
            "event": fhir.worded(f"{toxicity.name} grade {toxicity.grade} ({SYSTEMS[toxicity.name]})"),
            "subject": self.subject(toxicity),
            **self.seen_at(child, toxicity.visit),
            "date": toxicity.day.isoformat(),
            "severity": fhir.coded(f"{fhir.HL7}adverse-event-severity", SEVERITIES[toxicity.grade]),
        }

    def block(self, child: Child, block: ev.PlannedBlock) -> Resource:
        reason = fhir.coded(DELAY, *DELAYS[block.reason]) if block.reason else None
        return self.care_plan(child, block, fhir.coded(PLAN, "HL-BLOCK", "化疗疗程"), reason)

    def treatment(self, child: Child, treatment: ev.Treatment) -> Iterator[Resource]:
        local = {"HSCT": ("HSCT-ALLO", "异基因造血干细胞移植"), "CART": ("CART", "CAR-T细胞回输")}
        yield self.procedure(child, treatment, fhir.coded(PROCEDURE, *local[treatment.name]))
