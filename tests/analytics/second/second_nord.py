"""NORD: German words, decimal commas, ICD-10-GM, OPS, ATC; transaction bundles; bags of 72 hours; Berlin's clocks."""

from typing import Any

from second_fhir import Hospital, Resource, coded, quantity
from second_story import Course, Marrow

GM = "http://fhir.de/CodeSystem/bfarm/icd-10-gm"
OPS = "http://fhir.de/CodeSystem/bfarm/ops"
SNOMED = "http://snomed.info/sct"
FUSIONS = {"BCR::ABL1": "F-BCRABL", "ETV6::RUNX1": "F-ETV6", "TCF3::HLF": "F-HLF"}
WORDS = {
    "Ph-like": "BCR-ABL1-ähnlich",
    "KMT2A-r": "KMT2A-Rearrangement",
    "IKZF1-del": "IKZF1-Deletion (MLPA)",
    "hypodiploidy_lt44": "Hypodiploidie <44",
    "normal/other": "unauffälliger Karyotyp",
    "UNKNOWN": "Kultur misslungen",
    "iAMP21": "iAMP21",
    "TP53": "TP53-Mutation",
    "DUX4-r": "DUX4-Rearrangement",
    "complex_karyotype": "komplex",
}
TARGETS = {
    "Ph-like": "GEN_PH_LIKE",
    "KMT2A-r": "GEN_KMT2A",
    "IKZF1-del": "GEN_IKZF1_DEL",
    "UNKNOWN": "GEN_FAILED",
    "hypodiploidy_lt44": "GEN_HYPODIPLOIDY_LT44",
    "normal/other": "GEN_NORMAL_OTHER",
    "iAMP21": "GEN_IAMP21",
    "TP53": "GEN_TP53",
    "DUX4-r": "GEN_DUX4",
    "complex_karyotype": "GEN_COMPLEX",
    "BCR::ABL1": "GEN_BCR_ABL1",
    "ETV6::RUNX1": "GEN_ETV6_RUNX1",
    "TCF3::HLF": "GEN_TCF3_HLF",
}


def comma(value: float) -> str:
    """A number with a decimal comma."""
    return f"{value:g}".replace(".", ",")


class Nord(Hospital):
    """The German hospital."""

    name = "NORD"
    bag_hours = 72
    drug = coded("L01FX07", "http://fhir.de/CodeSystem/bfarm/atc")
    tests = {  # noqa: RUF012  typed in the base class
        "weight": "GEW",
        "height": "GRO",
        "blasts": "KM-BLAST",
        "mrd": "KM-MRD",
        "cd19_blasts": "KM-CD19",
        "ANC": "NEUT",
        "PLT": "THRO",
        "CD3": "T3",
        "CD4": "T4",
        "CD8": "T8",
        "CD19": "B19",
        "IL-6": "IL6",
        "karyotype": "KARYO",
        "status": "STATUS",
        "mrd_blood": "PB-MRD",
        **FUSIONS,
    }
    codes = [  # noqa: RUF012
        ("GEW", "LOINC", "29463-7"),
        ("GRO", "LOINC", "8302-2"),
        ("KM-BLAST", "LOINC", "11150-0"),
        ("KM-MRD", "BLINA", "MRD_BM_FLOW"),
        ("PB-MRD", "BLINA", "MRD_PB"),
        ("KM-CD19", "BLINA", "CD19_BLAST_PCT"),
        ("NEUT", "LOINC", "751-8"),
        ("THRO", "LOINC", "777-3"),
        ("T3", "LOINC", "8122-4"),
        ("T4", "LOINC", "24467-3"),
        ("T8", "LOINC", "14135-8"),
        ("B19", "LOINC", "8116-6"),
        ("IL6", "LOINC", "26881-3"),
        ("KARYO", "BLINA", "GENETICS"),
        ("F-BCRABL", "OMOP Genomic", "id:35976955"),
        ("F-ETV6", "OMOP Genomic", "id:35976981"),
        ("F-HLF", "OMOP Genomic", "id:19644711"),
        *((word, "BLINA", TARGETS[one]) for one, word in WORDS.items()),
        ("negativ", "SNOMED", "260385009"),
        ("nicht nachweisbar", "SNOMED", "260385009"),
        ("positiv", "SNOMED", "10828004"),
        ("positiv, nicht quantifizierbar", "BLINA", "MRD_POS_BQ"),
        ("STATUS", "BLINA", "DISEASE_STATUS"),
        ("refraktär", "BLINA", "STATUS_REFRACTORY"),
        ("Rezidiv", "BLINA", "IND_RR"),
        ("MRD-Positivität", "BLINA", "IND_CR_MRDPOS"),
        ("Verzögerung der Chemotherapie", "BLINA", "IND_CHEMO_DELAY"),
        ("Knochenmark", "BLINA", "SPEC_MARROW"),
        ("Blut", "BLINA", "SPEC_BLOOD"),
        ("5-411.2", "SNOMED", "234336002"),
        ("8-802.24", "BLINA", "CART_INFUSION"),
        ("ICD10GM|C92.00", "BLINA", "SECOND_MALIGNANCY"),
        *((f"CRS Grad {n} (ASTCT)", "BLINA", target) for n in (1, 2, 3) for target in ("CRS", f"GRADE_{n}")),
        *((f"ICANS Grad {n} (ASTCT)", "BLINA", target) for n in (1, 2) for target in ("ICANS", f"GRADE_{n}")),
        ("CRS, Grad nicht angegeben", "BLINA", "CRS"),
    ]

    def kind_of_specimen(self, kind: str) -> Resource:
        return {"text": {"marrow": "Knochenmark", "blood": "Blut"}[kind]}

    def exposure(self, course: Course, visit: str) -> None:
        for start, end, low in self.bags(course):
            dose, per = self.level(low)
            text = f"{comma(dose)} µg{per.replace('2', '²')}/24h i.v. als Dauerinfusion"
            self.add(
                "MedicationAdministration",
                status="completed",
                medicationCodeableConcept=self.drug,
                context={"reference": visit},
                effectivePeriod={"start": self.instant(start), "end": self.instant(end)},
                dosage={"text": text},
            )

    def diagnosis(self) -> None:
        self.condition(coded("C91.00", GM), self.kid.diagnosed)
        self.condition(coded("C91.00", GM), self.kid.diagnosed + 33, **self.status("remission"))

    def before(self) -> None:
        kid = self.kid
        if kid.relapse_before is not None:
            self.condition(coded("C91.00", GM), kid.relapse_before, **self.status("recurrence"))
        if kid.refractory_before is not None:
            self.result("status", kid.refractory_before, {"valueCodeableConcept": {"text": "refraktär"}})
        for day in (-35, -28) if kid.burden else ():
            self.chemotherapy(day, "L01CA02")
        if kid.burden == 0 and kid.indication == "RR":
            self.chemotherapy(-9, "H02AB02")  # a steroid alone reduces no burden
        if kid.delay is not None or kid.number % 2:
            reason = {"RR": "Rezidiv", "CR_MRDpos": "MRD-Positivität", "CHEMO_DELAY": "Verzögerung der Chemotherapie"}
            self.add(
                "MedicationRequest",
                status="completed",
                intent="order",
                medicationCodeableConcept=self.drug,
                authoredOn=self.when(-1),
                reasonCode=[{"text": reason[kid.indication]}],
            )

    def chemotherapy(self, day: int, atc: str) -> None:
        self.add(
            "MedicationAdministration",
            status="completed",
            effectiveDateTime=self.when(day),
            medicationCodeableConcept=coded(atc, "http://fhir.de/CodeSystem/bfarm/atc"),
        )

    def genetics(self) -> None:
        kid, day = self.kid, self.kid.diagnosed + 3
        for subtype in FUSIONS:
            if kid.subtype == "UNKNOWN":
                self.add(
                    "Observation",
                    status="final",
                    effectiveDateTime=self.when(day),
                    code=self.code_of(subtype),
                    dataAbsentReason=coded("error", "http://terminology.hl7.org/CodeSystem/data-absent-reason"),
                )
                continue
            found = "10828004" if subtype == kid.subtype else "260385009"
            self.result(subtype, day, {"valueCodeableConcept": coded(found, SNOMED)})
        if kid.subtype in WORDS:
            self.result("karyotype", day + 5, {"valueString": WORDS[kid.subtype]})

    def blasts(self, marrow: Marrow) -> Resource:
        assert marrow.blasts is not None
        if self.kid.number % 3 == 0:
            return {"valueString": f"Erythropoese 21 %, Blasten {comma(marrow.blasts)} % (Zytologie)"}
        return super().blasts(marrow)

    def mrd(self, value: float | str) -> Resource:
        if value == "neg":
            return {
                "valueString": ("negativ", "MRD <0,01 %", "nicht nachweisbar", "< 1,0 x 10E-4")[self.kid.number % 4]
            }
        words = {"pos": "positiv", "bq": "positiv, nicht quantifizierbar", "below0.1": "<0,1 %"}
        return {"valueString": words[value] if isinstance(value, str) else f"{comma(value)} %"}

    def cells(self, what: str, day: int, value: float) -> None:
        units = {"ANC": (1, "/nl"), "PLT": (1, "Gpt/l")}
        factor, unit = units.get(what, (1000, "Zellen/µl"))
        self.number(what, day, round(value * factor, 6), unit)

    def interleukin(self, day: int, written: str) -> None:
        self.result("IL-6", day, {"valueString": written.replace(".", ",") + " pg/ml"})

    def toxicity(self, course: Course) -> None:
        words = {"CRS": course.crs, "ICANS": course.icans}
        for name, grade in words.items():
            text = "CRS, Grad nicht angegeben" if grade is None else f"{name} Grad {grade} (ASTCT)"
            if grade != 0:
                self.add("AdverseEvent", actuality="actual", event={"text": text}, date=self.when(course.start + 3, 15))

    def later(self) -> None:
        kid = self.kid
        for day, code in ((kid.hsct, "5-411.2"), (kid.cart, "8-802.24")):
            if day is not None:
                self.add("Procedure", status="completed", code=coded(code, OPS), performedDateTime=self.when(day, 10))
        if kid.relapse is not None:
            self.condition(coded("C91.00", GM), kid.relapse, **self.status("recurrence"))
        if kid.second_malignancy is not None:
            self.condition(coded("C92.00", GM), kid.second_malignancy)
        if kid.death is not None:
            self.stay(kid.death - 4, kid.death, "IMP", hospitalization={"dischargeDisposition": {"text": "Tod"}})

    def stay(self, first: int, last: int, kind: str, **more: Any) -> str:
        """The last contact of one child stands under its second record number."""
        made = super().stay(first, last, kind, **more)
        if self.kid.number == 503 and kind == "AMB":
            link = [{"other": {"reference": "Patient/K503"}, "type": "replaced-by"}]
            self.made[-1]["subject"] = {"reference": "Patient/R503"}
            born = {"birthDate": self.kid.born.isoformat(), "identifier": [{"system": "urn:nord", "value": "R503"}]}
            self.made.append({"resourceType": "Patient", "id": "R503", "link": link, **born})
        return made

    def deceased(self) -> Resource:
        return {"deceasedBoolean": True} if self.kid.death is not None else {}

    def distractors(self) -> None:
        """MRD of blood, a marrow that gave nothing, one in the middle of a course, an administration never given."""
        first, visit = self.kid.courses[0], self.kid.number % 5
        assert first.pre is not None
        if visit == 0:
            self.result("mrd_blood", first.pre.day, {"valueString": "negativ"}, **self.specimen(first.pre.day, "blood"))
        if visit == 1:
            self.result("mrd", first.start + first.days, {"valueString": "Material hämodiluiert"})
        if visit == 2 and first.days == 28:
            self.result("mrd", 15, {"valueString": "0,5 %"}, **self.specimen(15, "marrow"))
        if visit == 3:
            self.add(
                "MedicationAdministration",
                status="not-done",
                medicationCodeableConcept=self.drug,
                effectiveDateTime=self.when(-20),
            )
        if self.kid.il6[1] and self.kid.courses[0].crs == 2:  # IL-6 rises after tocilizumab
            self.chemotherapy(3, "L04AC07")
            self.result("IL-6", 4, {"valueString": ">5000 pg/ml"})
        if visit == 4:
            self.number("ANC", first.start, 55.0, "%")
        self.add(
            "Observation",
            status="preliminary",
            code=self.code_of("mrd"),
            effectiveDateTime=self.when(-1, 8),
            valueQuantity=quantity(44, "%"),
        )
