"""WEST: NDJSON with instants in Z, RxNorm, LOINC, ICD-10-CM; pump rates in mL/h; panels; grades as Observations."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from second_fhir import STUDY, Hospital, Resource, coded, quantity
from second_nord import TARGETS
from second_story import HOSPITALS, Course, Kid, Marrow

LOINC, SNOMED = "http://loinc.org", "http://snomed.info/sct"
CM = "http://hl7.org/fhir/sid/icd-10-cm"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
WORDS = {one: f"{one} detected" for one in TARGETS} | {
    "normal/other": "46,XY[20]",
    "UNKNOWN": "no metaphases",
    "IKZF1-del": "IKZF1 deletion by MLPA",
}


class West(Hospital):
    """The American hospital."""

    name = "WEST"
    bag_hours = 48
    drug = coded("1597258", RXNORM, "blinatumomab 35 mcg injection")
    tests = {  # noqa: RUF012
        "weight": "29463-7",
        "height": "8302-2",
        "blasts": "11150-0",
        "mrd": "MRDBM",
        "cd19_blasts": "CD19GATE",
        "ANC": "751-8",
        "PLT": "777-3",
        "CD3": "8122-4",
        "CD4": "24467-3",
        "CD8": "14135-8",
        "CD19": "8116-6",
        "IL-6": "26881-3",
        "genes": "HEMEPANEL",
        "panel": "MARROWPANEL",
        "CRS": "CRSGR",
        "ICANS": "ICANSGR",
        "vital": "VITAL",
    }
    codes = [  # noqa: RUF012
        ("MRDBM", "BLINA", "MRD_BM_FLOW"),
        ("CD19GATE", "BLINA", "CD19_BLAST_PCT"),
        ("HEMEPANEL", "BLINA", "GENETICS"),
        ("MARROWPANEL", "None", "No matching concept"),
        ("CRSGR", "BLINA", "CRS_GRADE"),
        ("ICANSGR", "BLINA", "ICANS_GRADE"),
        *((f"Grade {n}", "BLINA", f"GRADE_{n}") for n in (1, 2, 3)),
        ("Grade not documented", "BLINA", "GRADE_UNKNOWN"),
        *((word, "BLINA", TARGETS[one]) for one, word in WORDS.items()),
        ("detected, below limit of quantification", "BLINA", "MRD_POS_BQ"),
        ("ICD10CM|Z94.84", "SNOMED", "234336002"),
        ("ICD10CM|C92.00", "BLINA", "SECOND_MALIGNANCY"),
        ("VITAL", "BLINA", "FOLLOWUP_STATUS"),
        ("deceased", "BLINA", "FU_DEAD"),
        ("infection", "BLINA", "DELAY_INFECTION"),
        ("hepatic", "BLINA", "DELAY_LIVER_TOXICITY"),
        ("intolerance", "BLINA", "DELAY_INTOLERANCE"),
        ("Relapsed B-ALL", "BLINA", "IND_RR"),
        ("BMA", "BLINA", "SPEC_MARROW"),
        ("WB", "BLINA", "SPEC_BLOOD"),
    ]

    def instant(self, local: datetime) -> str:
        return local.replace(tzinfo=self.zone).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def code_of(self, what: str) -> Resource:
        code = self.tests[what]
        return coded(code, LOINC) if "-" in code else coded(code)

    def kind_of_specimen(self, kind: str) -> Resource:
        return coded({"marrow": "BMA", "blood": "WB"}[kind])

    def exposure(self, course: Course, visit: str) -> None:
        for start, end, low in self.bags(course):
            hours = (
                end.replace(tzinfo=self.zone).astimezone(UTC) - start.replace(tzinfo=self.zone).astimezone(UTC)
            ).total_seconds() / 3600
            self.add(
                "MedicationAdministration",
                status="stopped" if hours < 48 else "completed",
                context={"reference": visit},
                medicationCodeableConcept=self.drug,
                effectivePeriod={"start": self.instant(start), "end": self.instant(end)},
                dosage={
                    "dose": quantity(round(self.micrograms(low) * hours / 24, 2), "mcg"),
                    "rateQuantity": quantity(5, "mL/h"),
                },
            )

    def diagnosis(self) -> None:
        self.condition(coded("C91.00", CM), self.kid.diagnosed)
        self.condition(coded("C91.01", CM), self.kid.diagnosed + 30)

    def before(self) -> None:
        kid = self.kid
        if kid.relapse_before is not None:  # the code was charted long after the relapse
            self.condition(coded("C91.02", CM), kid.relapse_before, recordedDate=self.when(kid.relapse_before + 400))
        if kid.refractory_before is not None:
            self.add(
                "MedicationRequest",
                status="active",
                intent="order",
                medicationCodeableConcept=self.drug,
                authoredOn=self.when(-2),
                reasonCode=[{"text": "Relapsed B-ALL"}],
            )
        for day in (-30, -20) if kid.burden else ():
            self.add(
                "MedicationAdministration",
                status="completed",
                effectiveDateTime=self.when(day),
                medicationCodeableConcept=coded("3041", RXNORM),
                dosage={"route": coded("47625008", SNOMED)},
            )
        if kid.burden == 0 and kid.indication == "RR":
            self.add(
                "MedicationAdministration",
                status="completed",
                effectiveDateTime=self.when(-6),
                medicationCodeableConcept=coded("6851", RXNORM),
                dosage={"route": coded("72607000", SNOMED)},
            )
        if kid.delay is not None:
            days, reason = kid.delay
            self.add(
                "ServiceRequest",
                status="revoked",
                intent="order",
                code={"text": "Interim maintenance"},
                occurrenceDateTime=self.when(-days),
                reasonCode=[{"text": reason.replace("liver", "hepatic")}],
            )

    def genetics(self) -> None:
        kid = self.kid
        self.result("genes", kid.diagnosed + 2, {"valueString": WORDS[kid.subtype]})
        if kid.relapse_before is not None:  # the clone at relapse is another one
            self.result("genes", kid.relapse_before + 1, {"valueString": WORDS["TP53"]})

    def marrow(self, marrow: Marrow) -> None:
        """One panel, told two days later: only the specimen knows the day of the marrow."""
        low = marrow.blasts is None  # only that they are below 5 %
        blasts = quantity(5, "%", "<") if low else quantity(marrow.blasts or 0.0, "%")
        link = self.specimen(marrow.day, "marrow")
        parts = [
            {"code": self.code_of("blasts"), "valueQuantity": blasts},
            {"code": self.code_of("mrd"), **self.mrd(marrow.mrd)},
        ]
        self.add(
            "Observation",
            status="final",
            code=self.code_of("panel"),
            issued=self.when(marrow.day + 2),
            component=parts,
            **link,
        )

    def mrd(self, value: float | str) -> Resource:
        words: dict[str, Resource] = {
            "neg": {"valueCodeableConcept": coded("LA11883-8", LOINC)}
            if self.kid.number % 2
            else {"valueQuantity": quantity(0.01, "%", "<")},
            "pos": {"valueCodeableConcept": coded("LA11882-0", LOINC)},
            "bq": {"valueCodeableConcept": {"text": "detected, below limit of quantification"}},
            "below0.1": {"valueQuantity": quantity(0.1, "%", "<")},
        }
        return words[value] if isinstance(value, str) else {"valueQuantity": quantity(value, "% of nucleated cells")}

    def cells(self, what: str, day: int, value: float) -> None:
        units = {"ANC": (1, "K/uL"), "PLT": (1, "thou/mcL")}
        factor, unit = units.get(what, (1000, "cells/mcL"))
        self.number(what, day, round(value * factor, 6), unit)

    def interleukin(self, day: int, written: str) -> None:
        sign = "<" if written.startswith("<") else None
        self.result("IL-6", day, {"valueQuantity": quantity(float(written.lstrip("<")), "ng/L", sign)})

    def toxicity(self, course: Course) -> None:
        for name, grade in (("CRS", course.crs), ("ICANS", course.icans)):
            if grade != 0:
                value = {"text": "Grade not documented" if grade is None else f"Grade {grade}"}
                self.result(name, course.start + 2, {"valueCodeableConcept": value})
            elif name == "CRS":
                self.result(name, course.start + 2, {"valueInteger": 0})

    def later(self) -> None:
        kid = self.kid
        if kid.hsct is not None:
            told = self.kid.day(kid.hsct).isoformat()[: 7 if kid.number == 532 else 10]
            self.add("Condition", code=coded("Z94.84", CM), onsetDateTime=told)
        if kid.cart is not None:
            self.add(
                "MedicationAdministration",
                status="completed",
                effectiveDateTime=self.when(kid.cart, 10),
                medicationCodeableConcept=coded("1986438", RXNORM),
            )
        if kid.relapse is not None:
            self.condition(coded("C91.02", CM), kid.relapse)
        if kid.second_malignancy is not None:
            self.condition(coded("C92.00", CM), kid.second_malignancy)
        if kid.death is not None:
            self.result("vital", kid.death, {"valueCodeableConcept": {"text": "deceased"}})

    def transferred(self, kid: Kid) -> None:
        """The rest of the first course of a child that came from another hospital, under this one's record number."""
        self.kid = kid
        patient = {"system": STUDY, "value": f"S{kid.number}"}
        self.made.append(
            {
                "resourceType": "Patient",
                "id": f"W{kid.number}",
                "birthDate": kid.born.isoformat(),
                "identifier": [patient],
            }
        )
        begin = kid.start(kid.courses[0]).replace(tzinfo=ZoneInfo(HOSPITALS[kid.hospital]))
        hours = (24 * kid.courses[0].held_after + kid.courses[0].held, 24 * kid.courses[0].days + kid.courses[0].held)
        start, end = ((begin + timedelta(hours=one)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for one in hours)
        stay = self.stay(8, 29, "IMP")
        self.made[-1]["subject"] = {"reference": f"Patient/W{kid.number}"}
        self.add(
            "MedicationAdministration",
            status="completed",
            medicationCodeableConcept=self.drug,
            context={"reference": stay},
            effectivePeriod={"start": start, "end": end},
            dosage={"text": "15 mcg/m2/day"} if kid.weight < 45 else {"text": "28 mcg/day"},
        )
        self.made[-1]["subject"] = {"reference": f"Patient/W{kid.number}"}

    def deceased(self) -> Resource:
        return {"deceasedDateTime": self.deaths_day().isoformat()[:7]} if self.kid.death is not None else {}

    def distractors(self) -> None:
        """Sepsis, a claim after the end, a duplicate of a bag, a visit after the lock."""
        kid, kind = self.kid, self.kid.number % 4
        if kind == 0:
            self.add(
                "ChargeItem", status="billable", code={"text": "drug"}, occurrenceDateTime=self.when(kid.contact + 40)
            )
        if kind == 1:
            bag: dict[str, Any] = next(
                dict(one)
                for one in self.made
                if one["resourceType"] == "MedicationAdministration"
                and one["subject"]["reference"] == f"Patient/K{kid.number}"
                and one["medicationCodeableConcept"] == self.drug
            )
            self.made.append({**bag, "id": bag["id"] + "-again"})
        if kind == 2 and kid.death is None:
            self.stay(2000, 2000, "AMB")
        if kind == 3:
            self.add("Condition", code=coded("A41.9", CM), onsetDateTime=self.when(4))
