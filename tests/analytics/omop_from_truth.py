"""An OMOP CDM made from the study's truth, by the conventions of the mapping: what the analytics are developed against.

It carries what the hospitals' dialects leave in OMOP rows (units, MRD words, rates in sig or none, bag gaps) and the
planted cases that reach the CDM. Concept ids are made up here, so that nothing can rely on known ones.
"""

import math
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from analytics.invented import CdmBuilder, PersonRows

TRUTH = next(
    folder
    for folder in (
        Path(__file__).parents[2] / "sample_bundles" / "truth",
        Path(__file__).parents[3] / "shared" / "study" / "truth",
    )
    if folder.is_dir()
)
LOCK = date(2025, 1, 31)
BAG_HOURS = {"SITE1": 96, "SITE2": 48, "SITE3": 24, "SITE4": 168}
GAP_MINUTES = {"SITE1": 10, "SITE2": 0, "SITE3": 0, "SITE4": 25}
ANALYTES = {"CD3": "8122-4", "CD4": "24467-3", "CD8": "14135-8", "IL-6": "26881-3", "ANC": "26499-4", "PLT": "26515-7"}
SUBTYPES = {
    "BCR::ABL1": "BCR_ABL1", "KMT2A-r": "KMT2A", "hypodiploidy_lt44": "HYPODIPLOIDY_LT44", "TCF3::HLF": "TCF3_HLF",
    "complex_karyotype": "COMPLEX", "ETV6::RUNX1": "ETV6_RUNX1", "high_hyperdiploidy": "HIGH_HYPERDIPLOIDY",
    "TCF3::PBX1": "TCF3_PBX1", "ZNF384-r": "ZNF384", "DUX4-r": "DUX4", "normal/other": "NORMAL_OTHER",
}  # fmt: skip
INDICATIONS = {"RR": "RR", "CR_MRDpos": "CR_MRDPOS", "CHEMO_DELAY": "CHEMO_DELAY"}
DELAYS = ("INFECTION", "LIVER_TOXICITY", "INTOLERANCE")


def truth(name: str) -> pl.DataFrame:
    """A truth file with dates as dates."""
    return pl.read_csv(TRUTH / f"{name}.csv", try_parse_dates=True, infer_schema_length=None)


class Hospital(PersonRows):
    """Writes one truth patient after the other into a CdmBuilder."""

    def __init__(self, cdm: CdmBuilder) -> None:
        self.cdm = cdm
        self.sites = {
            site: cdm.add(
                "care_site", care_site_id=100 + n, care_site_source_value=site, care_site_name=f"Hospital {n}"
            )
            for n, site in enumerate(BAG_HOURS)
        }
        self.site_ids = {site: 100 + n for n, site in enumerate(BAG_HOURS)}
        cdm.add("cdm_source", cdm_source_name="truth", source_release_date=LOCK, cdm_release_date=LOCK)

    def patient(self, one: dict, courses: list[dict], labs: list[dict]) -> None:  # type: ignore[type-arg]
        self.n = int(one["patient_id"][1:])
        self.person, self.site, self.zero = self.n + 7_000_000_000_000, one["site"], one["first_blina_date"]
        birth = one["birth_date"]
        self.cdm.add(
            "person", person_id=self.person, gender_concept_id={"M": 8507, "F": 8532}[one["sex"]],
            year_of_birth=birth.year, month_of_birth=birth.month, day_of_birth=birth.day,
            birth_datetime=datetime.combine(birth, datetime.min.time()),
        )  # fmt: skip
        for course in courses:
            self._course(one, course)
        self._labs(labs, courses)
        self._disease(one, courses)
        self._therapy(one)
        self._end(one)

    # ---- courses ----------------------------------------------------------------------------------------------------

    def _course(self, one: dict, course: dict) -> None:  # type: ignore[type-arg]
        visit = self.visit(course["start_date"], course["end_date"], "IP")
        before = course["start_date"] - timedelta(days=1)
        self.number(self.cdm.concept("LOINC", "29463-7"), before, one["weight_kg"], "kg")
        self.number(self.cdm.concept("LOINC", "8302-2"), before, round(75 + 6 * one["age_years"], 1), "cm")
        bags = self._grid(course)
        gap, site = timedelta(minutes=GAP_MINUTES[self.site]), self.site
        planted = self.n % 10 == 9 and site != "SITE3" and len(bags) > 1 and bags[0][1] == bags[1][0]
        for position, (start, end) in enumerate(bags):
            follows = position + 1 < len(bags) and bags[position + 1][0] == end
            last = end - gap if follows else end
            if planted and position == 0:
                last = end + timedelta(hours=2)
            self._bag(course, one, start, end, last, visit)
            if self.n % 10 == 3 and position == 1 and course["course_no"] == 1:
                self._bag(course, one, start, end, last, visit)
        self.visit(self.day(course["assessment_day"]), self.day(course["assessment_day"]))
        self._toxicity(course)

    def _grid(self, course: dict) -> list[tuple[datetime, datetime]]:  # type: ignore[type-arg]
        """Bags on the site's grid, cut at the interruption, the dose step and the end."""
        start = datetime.combine(course["start_date"], datetime.min.time()) + timedelta(hours=20)
        length = timedelta(hours=72 if self.n == 67 else BAG_HOURS[self.site])
        delivered, pause = course["infusion_days"] * 24, course["interruption_hours"]
        at = course["infusion_days"] // 2 * 24 if pause else None
        cuts = {at, 168 if "->" in course["dose_regimen"] else None, delivered} - {None}
        bags, now = [], 0.0
        while now < delivered:
            nominal = (math.floor(now / (length.total_seconds() / 3600)) + 1) * length.total_seconds() / 3600
            end = min([cut for cut in cuts if cut > now] + [nominal])
            shift = timedelta(hours=pause if at is not None and now >= at else 0)
            bags.append((start + timedelta(hours=now) + shift, start + timedelta(hours=end) + shift))
            now = end
        return bags

    def _bag(self, course: dict, one: dict, start: datetime, end: datetime, last: datetime, visit: int) -> None:  # type: ignore[type-arg]
        first, _, second = course["dose_regimen"].split(" ")[0].partition("->")
        opened = datetime.combine(course["start_date"], datetime.min.time()) + timedelta(hours=20)
        dose = float(second) if second and start >= opened + timedelta(hours=168) else float(first)
        rate = round(dose * (one["bsa_m2"] if "m2" in course["dose_regimen"] else 1), 1)
        hours = (end - start).total_seconds() / 3600
        amount = {"quantity": round(rate * hours / 24, 2), "dose_unit_source_value": "ug"}
        how = {
            "SITE1": {"sig": f"{rate} ug/d", **amount},
            "SITE2": amount,
            "SITE3": {"sig": f"持续静脉泵入{hours:g}小时", **amount},
            "SITE4": {"sig": f"{rate} ug/24 h"},
        }[self.site]
        last = start if self.site == "SITE3" else last
        self.drug(
            "1597258", start.date(), drug_exposure_start_datetime=start, drug_exposure_end_date=last.date(),
            drug_exposure_end_datetime=last, visit_occurrence_id=visit, **how,
        )  # fmt: skip

    def _toxicity(self, course: dict) -> None:  # type: ignore[type-arg]
        for name, offset in (("crs", 1), ("icans", 2)):
            grade = course[f"{name}_grade"]
            if not grade:
                continue
            day = course["start_date"] + timedelta(days=offset + self.n % 3)
            made = self.condition(self.cdm.concept("BLINA", name.upper()), day, f"{name} grade {grade} (Lee 2014)")
            self.observation(
                f"GRADE_{grade}", day, observation_event_id=made, obs_event_field_concept_id=1147127,
                observation_source_value=f"ASTCT grade {grade}",
            )  # fmt: skip

    # ---- laboratory -------------------------------------------------------------------------------------------------

    def _labs(self, labs: list[dict], courses: list[dict]) -> None:  # type: ignore[type-arg]
        marrows: dict[date, dict[str, object]] = {}
        for row in labs:
            hour = None if self.site == "SITE3" else 7
            if row["analyte"] in ("BM_blasts", "MRD_flow_BM"):
                link = marrows.setdefault(row["date"], self.specimen(row["date"]))
                self._marrow(row, link, hour)
                continue
            unit = row["unit"]
            if self.site == "SITE3" and row["analyte"] in ("CD3", "CD4", "CD8") and self.n % 2:
                unit = "个/μL"
            if self.site == "SITE4" and row["analyte"] in ("CD3", "CD4", "CD8"):
                unit = {0: "G/L", 1: "10^9/L", 2: "10*9/L"}[self.n % 3]
            more: dict[str, object] = (
                {"operator_concept_id": self.cdm.concept("SNOMED", "276139006")} if row["comparator"] else {}
            )
            self.number(
                self.cdm.concept("LOINC", ANALYTES[row["analyte"]]), row["date"], row["value_num"], unit, **more
            )
        self._distractors(courses)

    def _marrow(self, row: dict, link: dict[str, object], hour: int | None) -> None:  # type: ignore[type-arg]
        if row["analyte"] == "BM_blasts":
            concept = self.cdm.concept("BLINA", "BM_BLASTS")
            if self.site == "SITE3" and self.n % 3 == 0:
                wide = f"{row['value_num']}％".translate(str.maketrans("0123456789.", "０１２３４５６７８９．"))
                self.measure(concept, row["date"], hour, value_source_value=wide, **link)
            else:
                self.number(concept, row["date"], row["value_num"], "%", **link)
            return
        concept = self.cdm.concept("BLINA", "MRD_BM_FLOW")
        if row["value_text"] is None:
            less = self.cdm.concept("SNOMED", "276139006") if row["comparator"] else None
            self.number(concept, row["date"], row["value_num"], "%", operator_concept_id=less, **link)
        else:
            unit = (
                {"unit_source_value": "1", "unit_concept_id": self.cdm.concept("UCUM", "1")}
                if self.site == "SITE3"
                else {}
            )
            self.measure(concept, row["date"], hour, value_source_value=row["value_text"], **unit, **link)

    def _distractors(self, courses: list[dict]) -> None:  # type: ignore[type-arg]
        """K06 to K08 and K11: results that must not be used."""
        mrd, blasts = self.cdm.concept("BLINA", "MRD_BM_FLOW"), self.cdm.concept("BLINA", "BM_BLASTS")
        if self.n % 10 == 2:
            for offset in range(-7, 2):
                self.measure(
                    mrd,
                    self.day(offset),
                    value_source_value="negative",
                    **self.specimen(self.day(offset), "SPEC_BLOOD"),
                )
        days = [-35] if self.n % 10 == 4 else []
        first = courses[0]
        if self.n % 10 == 6 and first["infusion_days"] == 28 and first["state_pre"] != "MRDneg":
            days.append(15)
        for offset in days:
            link = self.specimen(self.day(offset))
            self.number(blasts, self.day(offset), 2.0, "%", **link)
            self.number(mrd, self.day(offset), 0.5, "%", **link)
        self.number(self.cdm.concept("LOINC", "8124-0"), self.day(-4), 61.0, "%")
        self.number(self.cdm.concept("LOINC", "8117-4"), self.day(-4), 3.0, "%")
        self._cd19(first)

    def _cd19(self, first: dict) -> None:  # type: ignore[type-arg]
        if first["cd19_loss_complete"] is not None:
            day = self.day(first["assessment_day"]) if first["response_cr"] == 0 else self.marrow_before
            share = 5.0 if first["cd19_loss_complete"] else 95.0
            self.number(self.cdm.concept("BLINA", "CD19_BLAST_PCT"), day, share, "%")
        if first["cd19_loss_2missing"] is not None:
            count = 4.0 if first["cd19_loss_2missing"] else 45.0
            self.number(self.cdm.concept("LOINC", "8116-6"), self.day(first["assessment_day"]), count, "/uL")

    # ---- disease and end --------------------------------------------------------------------------------------------

    def _disease(self, one: dict, courses: list[dict]) -> None:  # type: ignore[type-arg]
        blasts, day = self.cdm.concept("BLINA", "BM_BLASTS"), one["diagnosis_date"]
        ball = self.cdm.concept("SNOMED", "277571004")
        self.condition(ball, day, "C91.01")
        self.number(blasts, day, 85.0, "%", **self.specimen(day))
        coded = self.cdm.concept("BLINA", f"GEN_{SUBTYPES[one['genetic_subtype']]}")
        self.measure(
            self.cdm.concept("BLINA", "GENETICS"), day, value_as_concept_id=coded, value_source_value="t(9;22)"
        )
        if one["indication"] == "RR":
            self._relapse_before(one)
        else:
            self.drug("11202", self.day(-(30 + self.n % 10)), route_source_value="intravenous")
        if one["indication"] == "CHEMO_DELAY":
            self._planned_block(-(14 + self.n % 15))
        if one["indication"] == "CR_MRDpos":
            self._planned_block(-5)
        if self.site in ("SITE1", "SITE3"):
            text = one["indication"] if self.site == "SITE1" else "化疗延迟（感染）"
            self.observation(
                "BLINA_INDICATION", self.zero, f"IND_{INDICATIONS[one['indication']]}", value_source_value=text
            )
        if one["efs_event_type"] == "relapse":
            self._status("RELAPSE", self.day(one["efs_days"]))
            link = self.specimen(self.day(one["efs_days"]))
            self.number(blasts, self.day(one["efs_days"]), 40.0, "%", **link)

    def _status(self, status: str, day: date) -> None:
        if self.site == "SITE3":
            self.condition(self.cdm.concept("SNOMED", "12301000132103"), day, "急性淋巴细胞白血病 骨髓复发")
            return
        more: dict[str, object] = {}
        if self.site in ("SITE1", "SITE2"):
            made = self.condition(self.cdm.concept("SNOMED", "277571004"), day, "C91.02")
            more = {"observation_event_id": made, "obs_event_field_concept_id": 1147127}
        self.observation("DISEASE_STATUS", day, f"STATUS_{status}", **more)

    def _relapse_before(self, one: dict) -> None:  # type: ignore[type-arg]
        reduced = one["burden_reduction_chemo"] == 1
        if self.n in (42, 97):
            self.condition(self.cdm.concept("SNOMED", "12311000132101"), self.day(-10), "refractory")
        else:
            self._status("RELAPSE", self.day(-45 if reduced else -10))
        if reduced:
            for offset in (-35, -28):
                for code in ("11202", "3002"):
                    self.drug(code, self.day(offset), route_source_value="intravenous")
        else:
            self.drug("3264", self.day(-5), route_source_value="oral")
            self.drug("6851", self.day(-3), route_source_value="intrathecal")

    def _planned_block(self, offset: int) -> None:
        reason = self.cdm.concept("BLINA", f"DELAY_{DELAYS[self.n % 3]}")
        self.observation("PLANNED_BLOCK", self.day(offset), qualifier_concept_id=reason)

    def _therapy(self, one: dict) -> None:  # type: ignore[type-arg]
        if one["hsct_day"] is not None:
            self.cdm.add(
                "procedure_occurrence", person_id=self.person, procedure_date=self.day(one["hsct_day"]),
                procedure_concept_id=self.cdm.concept("SNOMED", "234336002"),
            )  # fmt: skip
        if one["cart_day"] is not None:
            self.drug("1986438", self.day(one["cart_day"]))
            if self.n in (56, 58):
                self.cdm.add(
                    "procedure_occurrence", person_id=self.person, procedure_date=self.day(one["cart_day"] + 1),
                    procedure_concept_id=self.cdm.concept("BLINA", "CART_INFUSION"),
                )  # fmt: skip

    def _end(self, one: dict) -> None:  # type: ignore[type-arg]
        last = one["last_contact_date"]
        if not one["os_event"]:
            self.visit(last, last)
            return
        if self.n == 19:
            self.visit(last - timedelta(days=2), last, "IP", discharged_to_source_value="exp")
        elif self.n == 54:
            self.observation("FOLLOWUP_STATUS", last, "FU_DEAD")
        else:
            day = last.replace(day=1) if self.n == 45 else last
            self.cdm.add("death", person_id=self.person, death_date=day)
            if self.n == 45:
                self.observation("FOLLOWUP_STATUS", last, "FU_DEAD")


def build_truth_cdm(path: Path) -> str:
    """The URL of a DuckDB file with the whole cohort as OMOP."""
    cdm = CdmBuilder()
    hospital = Hospital(cdm)
    courses = truth("courses").partition_by("patient_id", as_dict=True)
    labs = truth("labs").partition_by("patient_id", as_dict=True)
    for one in truth("patients").iter_rows(named=True):
        mine = labs[one["patient_id"],]
        marrow = mine.filter(
            (pl.col("analyte") == "BM_blasts") & (pl.col("date") <= one["first_blina_date"] + timedelta(days=1))
        )
        hospital.marrow_before = marrow["date"].max()  # type: ignore[attr-defined]
        hospital.patient(one, courses[one["patient_id"],].to_dicts(), mine.to_dicts())
    return cdm.write(path)
