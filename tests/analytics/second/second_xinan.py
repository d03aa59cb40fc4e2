"""XINAN: Chinese words only, days without times, one administration per stretch, no zone, months for transplants."""

from datetime import date
from typing import Any

from second_fhir import Hospital, Resource, coded, quantity
from second_nord import TARGETS
from second_story import Course, Marrow

WORDS = {
    "BCR::ABL1": "BCR/ABL1融合基因(+)",
    "Ph-like": "Ph样ALL",
    "KMT2A-r": "MLL重排",
    "IKZF1-del": "IKZF1缺失(MLPA法)",
    "ETV6::RUNX1": "TEL-AML1(+)",
    "hypodiploidy_lt44": "染色体数38条",
    "normal/other": "46,XX,未见克隆性异常",
    "UNKNOWN": "未见分裂相，培养失败",
    "TCF3::HLF": "E2A-HLF(+)",
    "iAMP21": "21号染色体内部扩增",
    "TP53": "TP53突变",
    "DUX4-r": "DUX4-IGH(+)",
}
DELAYS = {"infection": "肺炎", "liver": "转氨酶升高", "intolerance": "化疗不耐受"}


TRANSFERRED = 523
"""This child's first course ends at WEST."""


class Xinan(Hospital):
    """The Chinese hospital that writes texts."""

    name = "XINAN"
    bag_hours = 24 * 28
    drug = {"text": "贝林妥欧单抗针(35ug)"}  # noqa: RUF012
    tests = {  # noqa: RUF012
        "weight": "体重",
        "height": "身高",
        "blasts": "骨髓细胞学",
        "mrd": "MRD(流式)",
        "cd19_blasts": "CD19表达率",
        "ANC": "中性粒细胞绝对值",
        "PLT": "血小板计数",
        "CD3": "总T细胞",
        "CD4": "辅助T",
        "CD8": "抑制T",
        "CD19": "B细胞",
        "IL-6": "白介素6",
        "genes": "白血病基因",
        "follow": "随访状态",
        "CD3 %": "总T细胞百分比",
    }
    units = {"血小板计数": "10*9/L"}  # noqa: RUF012
    codes = [  # noqa: RUF012
        ("贝林妥欧单抗针(35ug)", "RxNorm", "1597258"),
        ("环磷酰胺", "RxNorm", "3002"),
        ("长春新碱", "RxNorm", "11202"),
        ("地塞米松", "RxNorm", "3264"),
        ("体重", "LOINC", "29463-7"),
        ("身高", "LOINC", "8302-2"),
        ("骨髓细胞学", "LOINC", "11150-0"),
        ("MRD(流式)", "BLINA", "MRD_BM_FLOW"),
        ("CD19表达率", "BLINA", "CD19_BLAST_PCT"),
        ("中性粒细胞绝对值", "LOINC", "26499-4"),
        ("血小板计数", "LOINC", "26515-7"),
        ("总T细胞", "LOINC", "8122-4"),
        ("辅助T", "LOINC", "24467-3"),
        ("抑制T", "LOINC", "14135-8"),
        ("B细胞", "LOINC", "8116-6"),
        ("总T细胞百分比", "LOINC", "8124-0"),
        ("白介素6", "LOINC", "26881-3"),
        ("白血病基因", "BLINA", "GENETICS"),
        *((word, "BLINA", TARGETS[one]) for one, word in WORDS.items()),
        ("B-ALL", "SNOMED", "277572006"),
        ("B-ALL缓解", "SNOMED", "425941003"),
        ("B-ALL复发", "SNOMED", "12301000132103"),
        ("中枢神经系统白血病复发", "BLINA", "EXTRAMEDULLARY"),
        ("B-ALL诱导失败", "SNOMED", "12311000132101"),
        ("化疗相关髓系肿瘤", "BLINA", "SECOND_MALIGNANCY"),
        ("肺炎", "BLINA", "DELAY_INFECTION"),
        ("转氨酶升高", "BLINA", "DELAY_LIVER_TOXICITY"),
        ("化疗不耐受", "BLINA", "DELAY_INTOLERANCE"),
        ("骨髓液", "BLINA", "SPEC_MARROW"),
        ("静脉血", "BLINA", "SPEC_BLOOD"),
        ("外院行异基因移植", "SNOMED", "234336002"),
        ("CD19-CART细胞输注", "BLINA", "CART_INFUSION"),
        ("随访状态", "BLINA", "FOLLOWUP_STATUS"),
        ("已死亡", "BLINA", "FU_DEAD"),
        ("存活", "BLINA", "FU_ALIVE"),
        *((f"细胞因子释放综合征({n}级)", "BLINA", target) for n in (1, 2, 3) for target in ("CRS", f"GRADE_{n}")),
        *((f"ICANS {n}级", "BLINA", target) for n in (1, 2) for target in ("ICANS", f"GRADE_{n}")),
        ("细胞因子释放综合征", "BLINA", "CRS"),
    ]

    def code_of(self, what: str) -> Resource:
        return {"text": self.tests[what]}

    def when(self, day: int, hour: int = 7) -> str:
        return self.kid.day(day).isoformat()

    def kind_of_specimen(self, kind: str) -> Resource:
        return {"text": {"marrow": "骨髓液", "blood": "静脉血"}[kind]}

    def exposure(self, course: Course, visit: str) -> None:
        for start, end, low in self.bags(course):
            if self.kid.number == TRANSFERRED and course.held and start > self.kid.start(course):
                continue  # the child is at another hospital by then
            dose, per = self.level(low)
            self.add(
                "MedicationAdministration",
                status="completed",
                medicationCodeableConcept=self.drug,
                context={"reference": visit},
                effectivePeriod={"start": start.isoformat(), "end": end.isoformat()},
                dosage={"text": f"{dose:g}μg{per.replace('2', '²')}/天，微量泵24小时维持"},
            )

    def diagnosis(self) -> None:
        self.condition({"text": "B-ALL"}, self.kid.diagnosed)
        self.condition({"text": "B-ALL缓解"}, self.kid.diagnosed + 33)

    def before(self) -> None:
        kid = self.kid
        if kid.relapse_before is not None:
            self.condition({"text": "B-ALL复发"}, kid.relapse_before)
        if kid.refractory_before is not None:
            self.condition({"text": "B-ALL诱导失败"}, kid.refractory_before)
        for day in (-33, -27) if kid.burden else ():
            self.given("环磷酰胺", day)
        if kid.burden == 0 and kid.indication == "RR":
            self.given("地塞米松", -5)
        if kid.delay is not None:
            days, reason = kid.delay
            activity = {
                "status": "cancelled",
                "scheduledPeriod": {"start": self.when(-days)},
                "statusReason": {"text": DELAYS[reason]},
                "description": "大剂量MTX",
            }
            self.add("CarePlan", status="active", intent="plan", activity=[{"detail": activity}])

    def given(self, drug: str, day: int, **more: Any) -> None:
        """A drug that was given."""
        self.add(
            "MedicationAdministration",
            status="completed",
            medicationCodeableConcept={"text": drug},
            effectiveDateTime=self.when(day),
            **more,
        )

    def genetics(self) -> None:
        self.result("genes", self.kid.diagnosed + 2, {"valueString": WORDS[self.kid.subtype]})

    def blasts(self, marrow: Marrow) -> Resource:
        assert marrow.blasts is not None
        wide = str(marrow.blasts).translate(str.maketrans("0123456789.", "０１２３４５６７８９．"))
        return {"valueString": f"红系占25.5%，原始+幼稚淋巴细胞占{wide}％"}

    def mrd(self, value: float | str) -> Resource:
        words = {
            "neg": ("＜0.01％", "阴性(<0.01%)", "未检出", "<1.0×10⁻⁴")[self.kid.number % 4],
            "pos": "阳性",
            "bq": "阳性，低于定量限",
            "below0.1": "＜0.1％",
        }
        if isinstance(value, str):
            return {"valueString": words[value]}
        return {"valueString": f"阳性（{value:g}％）" if self.kid.number % 2 else f"{value:g}×10⁻²"}

    def cells(self, what: str, day: int, value: float) -> None:
        if what == "PLT":  # no unit: the code map knows it
            self.result(what, day, {"valueQuantity": {"value": value}})
        elif what == "ANC":
            self.number(what, day, value, "×10^9/L")
        else:
            self.result(what, day, {"valueString": f"{value * 1000:.0f}个/μL"})

    def interleukin(self, day: int, written: str) -> None:
        self.result("IL-6", day, {"valueString": written.replace("<", "＜") + "pg/mL"})

    def toxicity(self, course: Course) -> None:
        crs = "细胞因子释放综合征" if course.crs is None else f"细胞因子释放综合征({course.crs}级)"
        for text, grade in ((crs, course.crs), (f"ICANS {course.icans}级", course.icans)):
            if grade != 0:
                self.condition({"text": text}, course.start + 2)

    def later(self) -> None:
        kid = self.kid
        if kid.hsct is not None:  # only the month is known
            self.add(
                "Procedure",
                status="completed",
                code={"text": "外院行异基因移植"},
                performedDateTime=self.when(kid.hsct)[:7],
            )
        if kid.cart is not None:
            self.given("CD19-CART细胞输注", kid.cart)
        if kid.relapse is not None and kid.number == 516:  # in the central nervous system, the marrow is clean
            self.condition({"text": "中枢神经系统白血病复发"}, kid.relapse)
        elif kid.relapse is not None:  # blasts alone say it
            self.result(
                "blasts",
                kid.relapse,
                self.blasts(Marrow(kid.relapse, 41.0, 30.0)),
                **self.specimen(kid.relapse, "marrow"),
            )
        if kid.second_malignancy is not None:
            self.condition({"text": "化疗相关髓系肿瘤"}, kid.second_malignancy)
        if kid.death is not None:
            self.result("follow", kid.death, {"valueString": "已死亡"})
        elif kid.number % 2:
            self.result("follow", kid.contact, {"valueString": "存活"})

    def deceased(self) -> Resource:
        return (
            {"deceasedDateTime": date(self.deaths_day().year, self.deaths_day().month, 1).isoformat()[:7]}
            if (self.kid.death is not None)
            else {}
        )

    def stay(self, first: int, last: int, kind: str, **more: Any) -> str:
        """Follow-up is a telephone call, or told only by the follow-up status (odd numbers)."""
        if kind == "AMB" and first == self.kid.contact and self.kid.number % 2:
            return ""
        return super().stay(first, last, "VR" if kind == "AMB" else kind, **more)

    def distractors(self) -> None:
        """A visit that is only planned, a bill, intrathecal chemotherapy, a refuted relapse, percentages."""
        kid = self.kid
        kind = kid.number % 5
        if kind == 0:
            self.add(
                "Encounter",
                status="planned",
                **{"class": {"code": "AMB"}},
                period={"start": self.when(kid.contact + 30)},
            )
        if kind == 1 and kid.relapse_before is not None and not kid.burden:
            self.given("长春新碱", -4, dosage={"route": {"text": "鞘内注射"}})
        if kind == 2:
            self.condition(
                {"text": "B-ALL复发"},
                50,
                verificationStatus=coded("refuted", "http://terminology.hl7.org/CodeSystem/condition-ver-status"),
            )
        if kind == 3:
            self.result("CD3 %", -1, {"valueQuantity": quantity(61.5, "%")})
        if kind == 4 and kid.burden is not None:
            self.given("地塞米松", -3)
