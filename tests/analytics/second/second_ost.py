"""OST: orders only (nothing is charted as given), percentages of lymphocytes, MRD per million cells, two methods."""

from second_fhir import Hospital, Resource, coded, quantity
from second_nord import TARGETS
from second_story import Course, Marrow

REASONS = {"RR": "复发/难治", "CR_MRDpos": "微小残留阳性", "CHEMO_DELAY": "化疗推迟"}


class Ost(Hospital):
    """The hospital whose pumps tell nobody anything."""

    name = "OST"
    bag_hours = 24 * 28
    drug = coded("BLI35")
    tests = {  # noqa: RUF012
        "weight": "W",
        "height": "H",
        "blasts": "BLA",
        "mrd": "MRDF",
        "mrd_pcr": "MRDP",
        "cd19_blasts": "BL19",
        "ANC": "NEU#",
        "PLT": "PLT",
        "lymphocytes": "LYM#",
        "CD3": "CD3%",
        "CD4": "CD4%",
        "CD8": "CD8%",
        "CD19": "CD19%",
        "IL-6": "IL6",
        "genes": "GEN",
        "status": "DS",
    }
    units = {"IL6": "pg/mL"}  # noqa: RUF012
    codes = [  # noqa: RUF012
        ("BLI35", "RxNorm", "1597258"),
        ("IFO", "RxNorm", "4179"),
        ("DEX", "RxNorm", "3264"),
        ("W", "LOINC", "29463-7"),
        ("H", "LOINC", "8302-2"),
        ("BLA", "BLINA", "BM_BLASTS"),
        ("MRDF", "BLINA", "MRD_BM_FLOW"),
        ("MRDP", "BLINA", "MRD_BM_PCR"),
        ("BL19", "BLINA", "CD19_BLAST_PCT"),
        ("NEU#", "LOINC", "751-8"),
        ("PLT", "LOINC", "777-3"),
        ("LYM#", "LOINC", "731-0"),
        ("CD3%", "LOINC", "8124-0"),
        ("CD4%", "LOINC", "8123-2"),
        ("CD8%", "LOINC", "8101-8"),
        ("CD19%", "LOINC", "8117-4"),
        ("IL6", "LOINC", "26881-3"),
        ("GEN", "BLINA", "GENETICS"),
        ("DS", "BLINA", "DISEASE_STATUS"),
        ("1", "BLINA", "STATUS_RELAPSE"),
        ("2", "BLINA", "STATUS_REMISSION"),
        ("3", "BLINA", "STATUS_REFRACTORY"),
        *((f"G{n:02d}", "BLINA", target) for n, target in enumerate(sorted(set(TARGETS.values())))),
        ("复发/难治", "BLINA", "IND_RR"),
        ("微小残留阳性", "BLINA", "IND_CR_MRDPOS"),
        ("化疗推迟", "BLINA", "IND_CHEMO_DELAY"),
        ("B急淋", "SNOMED", "277571004"),
        ("二次肿瘤", "BLINA", "SECOND_MALIGNANCY"),
        ("MARROW", "BLINA", "SPEC_MARROW"),
        ("ALLO", "SNOMED", "23719005"),
        ("CARTX", "BLINA", "CART_INFUSION"),
        *((f"CRS CTCAE v5 G{n}", "BLINA", target) for n in (1, 2, 3) for target in ("CRS", f"GRADE_{n}")),
        *((f"ICANS G{n}", "BLINA", target) for n in (1, 2) for target in ("ICANS", f"GRADE_{n}")),
        ("CRS?", "BLINA", "CRS"),
    ]

    def kind_of_specimen(self, kind: str) -> Resource:
        return coded(kind.upper())

    def exposure(self, course: Course, visit: str) -> None:
        for start, end, low in self.bags(course):
            dose, per = self.level(low)
            if self.kid.number == 541:  # a pump at home: only a statement says so
                self.add(
                    "MedicationStatement",
                    status="completed",
                    medicationCodeableConcept=self.drug,
                    context={"reference": visit},
                    effectivePeriod={"start": self.instant(start), "end": self.instant(end)},
                    dosage=[{"text": f"{dose:g} ug{per}/d"}],
                )
                continue
            self.add(
                "MedicationRequest",
                status="completed",
                intent="order",
                medicationCodeableConcept=self.drug,
                authoredOn=self.when(course.start - 1),
                encounter={"reference": visit},
                note=[{"text": REASONS[self.kid.indication]}],
                dosageInstruction=[
                    {
                        "text": f"{dose:g} ug{per}/d civ",
                        "timing": {
                            "repeat": {"boundsPeriod": {"start": self.instant(start), "end": self.instant(end)}}
                        },
                    }
                ],
            )

    def diagnosis(self) -> None:
        self.condition({"text": "B急淋"}, self.kid.diagnosed)
        self.result("status", self.kid.diagnosed + 30, {"valueCodeableConcept": coded("2")})

    def before(self) -> None:
        kid = self.kid
        for day, code in ((kid.relapse_before, "1"), (kid.refractory_before, "3")):
            if day is not None:
                self.result("status", day, {"valueCodeableConcept": coded(code)})
        steroid = kid.burden == 0 and kid.indication == "RR"
        for day, drug in ((-35, "IFO"), (-21, "IFO")) if kid.burden else ((-4, "DEX"),) if steroid else ():
            self.add(
                "MedicationRequest",
                status="completed",
                intent="order",
                medicationCodeableConcept=coded(drug),
                authoredOn=self.when(day),
            )

    def genetics(self) -> None:
        number = sorted(set(TARGETS.values())).index(TARGETS[self.kid.subtype])
        self.result("genes", self.kid.diagnosed + 6, {"valueCodeableConcept": coded(f"G{number:02d}")})

    def marrow(self, marrow: Marrow) -> None:
        super().marrow(marrow)
        if self.kid.number % 3 == 0:  # another method the same day says otherwise, and a gated result too
            self.result("mrd_pcr", marrow.day, {"valueQuantity": quantity(0.3, "%")})
            self.result("mrd", marrow.day, {"valueString": "CD19 gated: 0.00%"})

    def mrd(self, value: float | str) -> Resource:
        words = {
            "neg": ("not detected", "0/10^6", "MRD(-)", "<100/10^6")[self.kid.number % 4],
            "pos": "(+)",
            "bq": "positive, below quantification",
            "below0.1": "<10^-3",
        }
        if isinstance(value, str):
            return {"valueString": words[value]}
        return {"valueQuantity": quantity(round(value * 10_000, 2), "cells/10^6")}

    def cells(self, what: str, day: int, value: float) -> None:
        if what in ("ANC", "PLT"):
            self.number(what, day, value, "10*3/mm3")
            return
        self.number(what, day, round(value * 50, 6), "%")
        if what == "CD3":
            self.number("lymphocytes", day, 2.0, "10^9/L")
        if what == "CD19" and day != -1:
            return

    def interleukin(self, day: int, written: str) -> None:
        self.result("IL-6", day, {"valueString": written})

    def toxicity(self, course: Course) -> None:
        crs = "CRS?" if course.crs is None else f"CRS CTCAE v5 G{course.crs}"
        for text, grade in ((crs, course.crs), (f"ICANS G{course.icans}", course.icans)):
            if grade != 0:
                self.condition({"text": text}, course.start + 2)

    def later(self) -> None:
        kid = self.kid
        for day, code in ((kid.hsct, "ALLO"), (kid.cart, "CARTX")):
            if day is not None:
                self.add("Procedure", status="completed", code=coded(code), performedPeriod={"start": self.when(day)})
        if kid.relapse is not None:  # 12 % and, a week later, 30 %: the first of the two counts
            for day, blasts in ((kid.relapse, 12.0), (kid.relapse + 7, 30.0)):
                self.result("blasts", day, {"valueQuantity": quantity(blasts, "%")}, **self.specimen(day, "marrow"))
        if kid.second_malignancy is not None:
            self.condition({"text": "二次肿瘤"}, kid.second_malignancy)

    def distractors(self) -> None:
        """Vials handed out: no exposure beside orders."""
        if self.kid.number == 541:
            reason = {"note": [{"text": REASONS[self.kid.indication]}]}
            self.add(
                "MedicationRequest",
                status="active",
                intent="order",
                medicationCodeableConcept={"text": "?"},
                authoredOn=self.when(-1),
                **reason,
            )
            return
        self.add(
            "MedicationDispense",
            status="completed",
            medicationCodeableConcept=self.drug,
            whenHandedOver=self.when(-9),
            quantity=quantity(14, "支"),
        )
