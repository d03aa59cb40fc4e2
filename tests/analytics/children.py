"""Invented children for single rules: one CDM, one child per case, told in days and hours from the first bag."""

from datetime import date, datetime, time, timedelta

from omop_from_truth import LOCK, CdmBuilder, Hospital  # loaded by conftest

TABLES = frozenset(
    "person care_site cdm_source drug_exposure condition_occurrence observation measurement specimen "
    "procedure_occurrence visit_occurrence death concept concept_ancestor".split()
)
ZERO = date(2023, 1, 10)
START = datetime.combine(ZERO, time(20))


class Child(Hospital):
    """One child with B-ALL, 20 kg and 110 cm, in remission by default; every method adds OMOP rows."""

    def __init__(self, cdm: CdmBuilder, number: int, *, born: date = date(2018, 5, 1), site: str = "SITE1") -> None:
        self.cdm, self.n, self.person, self.site, self.zero = cdm, number, number, site, ZERO
        self.site_ids = {"SITE1": 101, "SITE2": 102}
        cdm.add("person", person_id=number, gender_concept_id=8507, year_of_birth=born.year,
                month_of_birth=born.month, day_of_birth=born.day)  # fmt: skip
        self.condition(cdm.concept("SNOMED", "277571004"), self.day(-200), "C91.00")
        self.number(cdm.concept("LOINC", "29463-7"), self.day(-1), 20.0, "kg")
        self.number(cdm.concept("LOINC", "8302-2"), self.day(-1), 110.0, "cm")

    def bag(self, start_hour: float, hours: float, *, sig: str = "11.7 ug/d", **more: object) -> int:
        start = START + timedelta(hours=start_hour)
        end = start + timedelta(hours=hours)
        values = {
            "drug_exposure_start_datetime": start, "drug_exposure_end_date": end.date(),
            "drug_exposure_end_datetime": end, "sig": sig, "quantity": 10.0 + start_hour, **more,
        }  # fmt: skip
        return self.drug("1597258", start.date(), **values)

    def course(self, start_day: int = 0, days: int = 28) -> None:
        """One long bag and the hospital stay around it."""
        visit = self.visit(self.day(start_day), self.day(start_day + days), "IP")
        self.bag(24 * start_day, 24 * days, visit_occurrence_id=visit)

    def marrow(self, day: int, blasts: float | None = None, mrd: str | None = None, **more: object) -> None:
        link = self.specimen(self.day(day))
        if blasts is not None:
            self.number(self.cdm.concept("BLINA", "BM_BLASTS"), self.day(day), blasts, "%", **link)
        if mrd is not None:
            self.measure(
                self.cdm.concept("BLINA", "MRD_BM_FLOW"), self.day(day), value_source_value=mrd, **link, **more
            )

    def t_cells(self, day: int, values: tuple[float, float, float], unit: str = "10*9/L") -> None:
        for code, value in zip(("8122-4", "24467-3", "14135-8"), values, strict=True):
            self.number(self.cdm.concept("LOINC", code), self.day(day), value, unit)

    def counts(self, day: int, anc: float, platelets: float) -> None:
        self.number(self.cdm.concept("LOINC", "26499-4"), self.day(day), anc, "10*9/L")
        self.number(self.cdm.concept("LOINC", "26515-7"), self.day(day), platelets, "10*9/L")

    def relapse(self, day: int) -> None:
        self.condition(self.cdm.concept("SNOMED", "12301000132103"), self.day(day), "C91.02")


class Children:
    """Numbered children by name in one CdmBuilder."""

    def __init__(self) -> None:
        self.cdm = CdmBuilder()
        self.numbers: dict[str, int] = {}
        for number, site in ((101, "SITE1"), (102, "SITE2")):
            self.cdm.add("care_site", care_site_id=number, care_site_source_value=site)
        self.cdm.add("cdm_source", cdm_source_name="children", source_release_date=LOCK)

    def add(self, name: str, **more: object) -> Child:
        self.numbers[name] = len(self.numbers) + 1
        return Child(self.cdm, self.numbers[name], **more)  # type: ignore[arg-type]
