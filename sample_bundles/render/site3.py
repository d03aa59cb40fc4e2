"""SITE3: Chinese local codes and texts, searchset pages with absolute URLs; bags have a start, their hours in words."""

from collections.abc import Iterator
from datetime import date

from sample_bundles.render import events as ev
from sample_bundles.render import fhir
from sample_bundles.render.dialect import Dialect
from sample_bundles.render.fhir import Concept, Resource
from sample_bundles.render.truth import Child

HIS = "urn:blina:site3:his"
LAB = "urn:blina:site3:lab"
DIAGNOSIS = "urn:blina:site3:diagnosis"
PLAN = "urn:blina:site3:plan"
PROCEDURE = "urn:blina:site3:procedure"
RESULT = "urn:blina:site3:result"

DELAYS = {"infection": "感染", "liver": "肝功能异常", "intolerance": "不耐受"}
SPECIMENS = {"marrow": "骨髓", "blood": "外周血"}
STATES = {
    "remission": "急性淋巴细胞白血病 完全缓解",
    "relapse": "急性淋巴细胞白血病 骨髓复发",
    "refractory": "急性淋巴细胞白血病 难治",
}
GENETICS = {
    "BCR::ABL1": "Ph染色体阳性",
    "KMT2A-r": "KMT2A重排",
    "hypodiploidy_lt44": "低二倍体(<44)",
    "TCF3::HLF": "TCF3-HLF融合",
    "complex_karyotype": "复杂核型",
    "ETV6::RUNX1": "ETV6-RUNX1融合",
    "high_hyperdiploidy": "高超二倍体",
    "TCF3::PBX1": "TCF3-PBX1融合",
    "ZNF384-r": "ZNF384重排",
    "DUX4-r": "DUX4重排",
    "normal/other": "未见异常",
}
MEDICATIONS: dict[str, Concept] = {
    "MED-X0087": fhir.coded(HIS, "X0087", "注射用贝林妥欧单抗"),
    "MED-BLT": fhir.worded("倍利妥"),
    "MED-TYPO": fhir.worded("贝林妥欧单坑"),
}
"""Even numbers get the coded Medication, odd ones the brand text; one bag the misspelt one (K27)."""

DRUGS = {
    "vincristine": fhir.coded(HIS, "X0101", "注射用硫酸长春新碱"),
    "cyclophosphamide": fhir.coded(HIS, "X0102", "注射用环磷酰胺"),
    "methotrexate": fhir.coded(HIS, "X0103", "甲氨蝶呤注射液"),
    "cytarabine": fhir.coded(HIS, "X0104", "注射用阿糖胞苷"),
    "dexamethasone": fhir.coded(HIS, "X0105", "地塞米松片"),
}
ANALYTES = {
    "CD3": fhir.coded(LAB, "MY003", "CD3+T淋巴细胞绝对计数"),
    "CD4": fhir.coded(LAB, "MY004", "CD3+CD4+T淋巴细胞绝对计数"),
    "CD8": fhir.coded(LAB, "MY008", "CD3+CD8+T淋巴细胞绝对计数"),
    "CD19": fhir.coded(LAB, "MY019", "CD19+B淋巴细胞绝对计数"),
    "IL-6": fhir.coded(LAB, "XB006", "白细胞介素6"),
    "ANC": fhir.coded(LAB, "XC002", "中性粒细胞绝对值"),
    "PLT": fhir.coded(LAB, "XC010", "血小板计数"),
    "weight": fhir.coded(LAB, "TZ01", "体重"),
    "height": fhir.coded(LAB, "SG01", "身高"),
}
BLASTS = fhir.coded(LAB, "GS001", "骨髓原始幼稚淋巴细胞比例")
MRD = fhir.coded(LAB, "GS002", "微小残留病(流式)")
ANTIGEN = fhir.coded(LAB, "GS003", "白血病细胞CD19阳性率")
FULL_WIDTH = str.maketrans("0123456789.%", "０１２３４５６７８９．％")
SURNAMES = (("赵", "Zhao"), ("钱", "Qian"), ("孙", "Sun"), ("李", "Li"), ("周", "Zhou"), ("吴", "Wu"), ("郑", "Zheng"))
GIVEN = (("甲", "Jia"), ("乙", "Yi"), ("丙", "Bing"), ("丁", "Ding"), ("戊", "Wu"))


class Site3(Dialect):
    """Dates without time for results, drug by reference, indication and disease states in words."""

    site = "SITE3"
    name = "北岭儿童医院（虚构）"
    doctor = "虚构医生三"
    analytes = ANALYTES
    drugs = DRUGS

    def hospital(self) -> list[Resource]:
        """The hospital and the three Medication records of its pharmacy."""
        drugs = [{"resourceType": "Medication", "id": rid, "code": code} for rid, code in MEDICATIONS.items()]
        return [*super().hospital(), *drugs]

    def sampled(self, day: date) -> str:
        """Results carry their date only."""
        return day.isoformat()

    def patients(self, child: Child) -> Iterator[Resource]:
        family, latin = SURNAMES[child.number % 7]
        given, latin_given = GIVEN[child.number % 5]
        names = [
            {"use": "official", "text": family + given, "family": family, "given": [given]},
            {"use": "usual", "text": f"{latin} {latin_given}", "family": latin, "given": [latin_given]},
        ]
        yield self.patient(child, child.patient_id, name=names)

    def visit(self, child: Child, visit: ev.Visit) -> Resource:
        """The last contact says that it is one."""
        made = super().visit(child, visit)
        return made | {"reasonCode": [fhir.worded("随访")]} if visit.kind == "contact" else made

    def medication(self, child: Child, misspelt: bool = False) -> Resource:
        """A reference to the Medication as this ward charts it."""
        rid = "MED-TYPO" if misspelt else "MED-BLT" if child.number % 2 else "MED-X0087"
        return {"medicationReference": fhir.reference("Medication", rid)}

    def bag(self, child: Child, bag: ev.Bag) -> Iterator[Resource]:
        made = self.administration(child, bag, self.medication(child, bag.misspelt), bag.status)
        made["effectiveDateTime"] = self.instant(bag.start)
        text = f"持续静脉泵入{bag.hours:g}小时" + (" 首周剂量" if bag.first_week else "")
        amount = round(bag.daily_ug * bag.hours / 24, 2)
        made["dosage"] = {
            "text": text,
            "route": self.route("intravenous") | {"text": "静脉"},
            "dose": fhir.quantity(amount, "ug", "ug"),
        }
        yield made

    def order(self, child: Child, order: ev.Order) -> Resource:
        return self.prescription(child, order, self.medication(child), note=[{"text": self.reason(child, order)}])

    def reason(self, child: Child, order: ev.Order) -> str:
        """The reason in words: 化疗延迟（…）, 复发, 难治 or MRD阳性."""
        if order.reason == "CHEMO_DELAY":
            reasons = list(DELAYS.values())
            return f"化疗延迟（{reasons[child.number % 3]}）"
        if order.reason == "RR":
            return "难治" if child.patient_id == "P042" else "复发"
        return "MRD阳性"

    def cell_unit(self, child: Child, lab: ev.Lab) -> tuple[str, str | None]:
        return ("个/μL", None) if child.number % 2 else ("10*6/L", "10*6/L")

    def plain_unit(self, lab: ev.Lab) -> tuple[str, str | None]:
        """Blood counts carry their unit as text only."""
        return ("10^9/L", None) if lab.unit == "10*9/L" else (lab.unit, lab.unit)

    def marrow(self, child: Child, marrow: ev.Marrow) -> Iterator[Resource]:
        specimen = self.specimen(child, marrow, fhir.worded(SPECIMENS[marrow.specimen]))
        if marrow.version != 1:
            yield specimen
        subject, when, results = self.subject(marrow), self.sampled(marrow.day), []
        shared = self.seen_at(child, marrow.visit)
        if child.number % 2:  # else the sample stands in the report only
            shared["specimen"] = fhir.reference("Specimen", specimen["id"])
        for name, code, value in self.findings(child, marrow):
            if marrow.unsatisfactory:
                value = {"dataAbsentReason": fhir.coded(fhir.ABSENT, "error", text="标本不合格")}
            rid = self.rid(child, f"{marrow.key}-{name}")
            made = self.observation(rid, code, subject, when, **shared, **value)
            made["identifier"] = [fhir.identifier(RESULT, rid)]
            made = self.versioned(made, marrow) if name == "mrd" else made
            if marrow.version == 1:
                made["id"] = f"{rid}-preliminary"
            results.append(made)
        yield from results
        if marrow.version != 1:
            yield self.report(child, marrow, specimen, results)

    def report(self, child: Child, marrow: ev.Marrow, specimen: Resource, results: list[Resource]) -> Resource:
        """The DiagnosticReport of a sample."""
        return {
            "resourceType": "DiagnosticReport",
            "id": self.rid(child, f"report-{marrow.key}"),
            "status": "corrected" if marrow.version else "final",
            "code": fhir.coded(LAB, "GSBG", f"{SPECIMENS[marrow.specimen]}检查报告"),
            "subject": self.subject(marrow),
            "effectiveDateTime": self.sampled(marrow.day),
            "specimen": [fhir.reference("Specimen", specimen["id"])],
            "result": [fhir.reference("Observation", result["id"]) for result in results],
        }

    def findings(self, child: Child, marrow: ev.Marrow) -> Iterator[tuple[str, Concept, dict[str, object]]]:
        """Name, code and value of each result of a sample; an earlier version carries the MRD only."""
        if marrow.blasts is not None and marrow.version != 1:
            wide = f"{marrow.blasts}%".translate(FULL_WIDTH)
            narrow = fhir.quantity(marrow.blasts, "%", "%")
            yield "blasts", BLASTS, {"valueString": wide} if child.number % 3 == 0 else {"valueQuantity": narrow}
        if marrow.mrd is not None:
            yield "mrd", MRD, {"valueString": _mrd_text(child, marrow.mrd)}
        if marrow.antigen is not None:
            yield "cd19", ANTIGEN, {"valueQuantity": fhir.quantity(marrow.antigen, "%", "%")}

    def disease_state(self, child: Child, state: ev.DiseaseState) -> Iterator[Resource]:
        code = fhir.coded(DIAGNOSIS, "ZD-BALL", "急性B淋巴细胞白血病", text="急性B淋巴细胞白血病")
        if state.state != "diagnosis":
            code = fhir.worded(STATES[state.state])
        yield self.condition(self.rid(child, state.key), self.subject(state), code, state.day, "active")

    def genetics(self, child: Child, genetics: ev.Genetics) -> Iterator[Resource]:
        yield self.observation(
            self.rid(child, genetics.key),
            fhir.coded(LAB, "YC001", "染色体及融合基因"),
            self.subject(genetics),
            self.sampled(genetics.day),
            specimen=fhir.reference("Specimen", self.rid(child, "spec-m-dx")),
            valueString=GENETICS[genetics.subtype],
        )

    def toxicity(self, child: Child, toxicity: ev.Toxicity) -> Resource:
        name = {"CRS": "CRS", "ICANS": "免疫效应细胞相关神经毒性综合征"}[toxicity.name]
        code, rid = fhir.worded(f"{name} {toxicity.grade}级"), self.rid(child, toxicity.key)
        visit = self.seen_at(child, toxicity.visit)
        return self.condition(rid, self.subject(toxicity), code, toxicity.day, "resolved", **visit)

    def block(self, child: Child, block: ev.PlannedBlock) -> Resource:
        reason = fhir.worded(DELAYS[block.reason]) if block.reason else None
        return self.care_plan(child, block, fhir.coded(PLAN, "HL01", "化疗疗程"), reason)

    def treatment(self, child: Child, treatment: ev.Treatment) -> Iterator[Resource]:
        if treatment.name == "HSCT":
            code = fhir.coded(PROCEDURE, "41.0x", text="异基因造血干细胞移植")
        else:
            code = fhir.worded("CD19 CAR-T细胞回输")
        yield self.procedure(child, treatment, code)


def _mrd_text(child: Child, mrd: ev.Mrd) -> str:
    """A fraction as `7.38e-01`, or one of two words for negative."""
    if mrd.percent is not None and not mrd.text:
        return f"{float(mrd.percent) / 100:.2e}"
    if mrd.percent is None and not mrd.text:
        return "未检出" if child.number % 2 else "阴性"
    return mrd.text
