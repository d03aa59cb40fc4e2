"""Small exports as five kinds of house would send them, made by code: a Japanese, a Chinese and a German hospital, an
American vendor, and one that sends every odd shape. No code system here has a mapping of ours unless it is LOINC, SNOMED
CT, RxNorm, ATC or UCUM. Each function gives file name → bytes.
"""
# ruff: noqa: E501 -- URLs of FHIR do not break, and one resource per line is read best

import json
from typing import Any

Resource = dict[str, Any]
LOINC, SNOMED, UCUM = "http://loinc.org", "http://snomed.info/sct", "http://unitsofmeasure.org"
RXNORM, ATC = "http://www.nlm.nih.gov/research/umls/rxnorm", "http://fhir.de/CodeSystem/bfarm/atc"
LABORATORY = [
    {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}]}
]


def _code(system: str | None, code: str, display: str | None = None, text: str | None = None) -> Resource:
    coding = {"system": system, "code": code, "display": display}
    concept: Resource = {"coding": [{key: value for key, value in coding.items() if value}]}
    return concept | ({"text": text} if text else {})


def _observation(one: str, code: Resource, subject: str, **more: Any) -> Resource:
    return {
        "resourceType": "Observation", "id": one, "status": "final", "category": LABORATORY, "code": code,
        "subject": {"reference": subject}, "effectiveDateTime": "2024-05-06",
    } | more  # fmt: skip


def _bytes(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()


def _bundle(kind: str, *entries: Resource) -> bytes:
    return _bytes({"resourceType": "Bundle", "type": kind, "entry": list(entries)})


def japan() -> dict[str, bytes]:
    """JP Core: local OIDs, JLAC10, kana names, full-width units and digits, references by full URL with kanji."""
    child = "http://病院.example/fhir/Patient/患者-1"
    hot, jlac, disease, ward = (f"urn:oid:1.2.392.{tail}" for tail in (
        "200119.4.403.1", "200119.4.504", "200119.4.101.6", "100495.20.3.51.1"
    ))  # fmt: skip
    patient = {
        "resourceType": "Patient", "id": "jp-1", "gender": "female", "birthDate": "2016-04-01",
        "meta": {"profile": ["http://jpfhir.jp/fhir/core/StructureDefinition/JP_Patient"]},
        "identifier": [{"system": ward, "value": "患者００１"}],
        "name": [{"text": "山田 花子", "family": "ヤマダ", "extension": [
            {"url": "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation", "valueCode": "SYL"}]}],
        "address": [{"text": "東京都千代田区一丁目", "state": "東京都"}],
    }  # fmt: skip
    encounter = {
        "resourceType": "Encounter", "id": "jp-e1", "status": "finished", "class": {"system": ward, "code": "入院"},
        "subject": {"reference": child}, "period": {"start": "2024-05-01T09:00:00+09:00", "end": "2024-05-20"},
    }  # fmt: skip
    numbers = {"system": UCUM, "code": "10*3/uL", "unit": "×10³／μＬ"}
    full_width = {"value": 12.3, "unit": "ｇ／ｄＬ"}
    resources = [
        (child, patient),
        ("http://病院.example/fhir/Encounter/受診-1", encounter),
        ("urn:uuid:6a1c6a3e-5d4c-4d0f-9d3f-000000000001", _observation(
            "jp-o1", _code(jlac, "2A010000001930101", "白血球数"), child, valueQuantity={"value": 4.5} | numbers)),
        ("urn:uuid:6a1c6a3e-5d4c-4d0f-9d3f-000000000002", _observation(
            "jp-o2", _code(jlac, "2A030000001930101", "ヘモグロビン"), child, valueQuantity=full_width,
            encounter={"reference": "http://病院.example/fhir/Encounter/受診-1"})),
        ("urn:uuid:6a1c6a3e-5d4c-4d0f-9d3f-000000000003", _observation(
            "jp-o3", {"text": "骨髄像"}, child, valueString="芽球 ＜０.０１％")),
        ("urn:uuid:6a1c6a3e-5d4c-4d0f-9d3f-000000000004", {
            "resourceType": "Condition", "id": "jp-c1", "subject": {"reference": child}, "onsetDateTime": "2024-05",
            "code": _code(disease, "C910", "急性リンパ性白血病", "急性リンパ性白血病")}),
        ("urn:uuid:6a1c6a3e-5d4c-4d0f-9d3f-000000000005", {
            "resourceType": "MedicationAdministration", "id": "jp-m1", "status": "completed",
            "subject": {"identifier": {"system": ward, "value": "患者００１"}},
            "effectivePeriod": {"start": "2024-05-02T10:00:00+09:00", "end": "2024-05-03T09:00:00+09:00"},
            "medicationCodeableConcept": _code(hot, "124867301", "ビーリンサイト点滴静注用35μg"),
            "dosage": {"dose": {"value": 35, "unit": "μg"}, "rateRatio": {
                "numerator": {"value": 10, "unit": "mL"}, "denominator": {"value": 1, "unit": "時間"}}}}),
    ]  # fmt: skip
    entries = [{"fullUrl": url, "resource": resource} for url, resource in resources]
    return {"エクスポート.json": _bundle("collection", *entries)}


def china() -> dict[str, bytes]:
    """NDJSON in GB18030: full-width comparators, ×10⁹/L, 个/μL, values as text."""
    local = "http://hospital.example.cn/检验项目"
    child = "Patient/cn-1"
    resources: list[Resource] = [
        {"resourceType": "Patient", "id": "cn-1", "gender": "male", "birthDate": "2014-08-09",
         "name": [{"text": "王小明"}], "identifier": [{"system": "身份证", "value": "110101201408090012"}]},
        _observation("cn-o1", _code(local, "WBC", "白细胞计数"), child, valueQuantity={"value": 3.2, "unit": "×10⁹/L"}),
        _observation("cn-o2", _code(local, "CD19", "B淋巴细胞"), child, valueQuantity={"value": 12, "unit": "个/μL"}),
        _observation("cn-o3", _code(local, "MRD", "微小残留病"), child, valueString="＜0.01%"),
        _observation("cn-o4", _code(local, "PLT", "血小板"), child, valueQuantity={"value": 88, "unit": "10^9/L"}),
        _observation("cn-o5", _code(local, "MRD2", "微小残留病"), child,
                     valueQuantity={"value": 0.01, "comparator": "<", "unit": "％"}),
        _observation("cn-o6", _code(local, "骨髓", "骨髓细胞学"), child, valueCodeableConcept={"text": "完全缓解"}),
        {"resourceType": "Condition", "id": "cn-c1", "subject": {"reference": child}, "recordedDate": "2024-01-02",
         "code": {"text": "急性淋巴细胞白血病"}},
        {"resourceType": "MedicationRequest", "id": "cn-m1", "status": "completed", "intent": "order",
         "subject": {"reference": child}, "authoredOn": "2024-01-02T08:00:00+08:00",
         "medicationCodeableConcept": {"text": "贝林妥欧单抗注射液"}, "dosageInstruction": [{"text": "9微克/天，持续静脉输注"}]},
    ]  # fmt: skip
    lines = "\n".join(json.dumps(one, ensure_ascii=False) for one in resources)
    return {"导出.ndjson": lines.encode("gb18030")}


def germany() -> dict[str, bytes]:
    """MII and KBV: ICD-10-GM with extensions, OPS, PZN and ATC, decimal commas in texts, datetimes without a zone."""
    child = "Patient/de-1"
    mii = "https://www.medizininformatik-initiative.de/fhir/core"
    gm, ops = "http://fhir.de/CodeSystem/bfarm/icd-10-gm", "http://fhir.de/CodeSystem/bfarm/ops"
    pzn = "http://fhir.de/CodeSystem/ifa/pzn"
    medication = {
        "resourceType": "Medication", "id": "de-med", "code": {"coding": [
            {"system": pzn, "code": "11141052", "display": "BLINCYTO 38,5 µg"}, {"system": ATC, "code": "L01FX07"}]},
    }  # fmt: skip
    condition = {
        "resourceType": "Condition", "id": "de-c1", "subject": {"reference": child}, "recordedDate": "2023-11-05",
        "clinicalStatus": _code("http://terminology.hl7.org/CodeSystem/condition-clinical", "active"),
        "code": {"coding": [{"system": gm, "code": "C91.00", "version": "2023", "extension": [
            {"url": "http://fhir.de/StructureDefinition/icd-10-gm-diagnosesicherheit",
             "valueCoding": {"system": "https://fhir.kbv.de/CodeSystem/KBV_CS_SFHIR_ICD_DIAGNOSESICHERHEIT", "code": "G"}},
        ]}]},
    }  # fmt: skip
    excluded = json.loads(json.dumps(condition).replace('"code": "G"', '"code": "A"')) | {"id": "de-c2"}
    suspected = json.loads(json.dumps(condition).replace('"code": "G"', '"code": "V"')) | {"id": "de-c3"}
    resources = [
        {"resourceType": "Patient", "id": "de-1", "gender": "other", "birthDate": "2012",
         "_gender": {"extension": [{"url": "http://fhir.de/StructureDefinition/gender-amtlich-de",
                                    "valueCoding": {"system": "http://fhir.de/CodeSystem/gender-amtlich-de", "code": "D"}}]},
         "meta": {"profile": [f"{mii}/modul-person/StructureDefinition/Patient"]}},
        {"resourceType": "Encounter", "id": "de-e1", "status": "in-progress", "subject": {"reference": child},
         "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
         "period": {"start": "2023-11-05T08:15:00+01:00"},
         "serviceProvider": {"identifier": {"system": "http://fhir.de/sid/arge-ik/iknr", "value": "260123451"}}},
        condition, excluded, suspected,
        {"resourceType": "Procedure", "id": "de-p1", "status": "completed", "subject": {"reference": child},
         "performedDateTime": "2023-11-06", "code": {"coding": [{"system": ops, "code": "8-544.0", "version": "2023"}]}},
        medication,
        {"resourceType": "MedicationAdministration", "id": "de-m1", "status": "in-progress",
         "subject": {"reference": child}, "context": {"reference": "Encounter/de-e1"},
         "medicationReference": {"reference": "Medication/de-med"}, "effectivePeriod": {"start": "2023-11-07T10:00:00+01:00"},
         "dosage": {"text": "9 µg/24 h", "rateQuantity": {"value": 0.4, "unit": "ml/h", "system": UCUM, "code": "mL/h"}}},
        _observation("de-o1", _code(LOINC, "718-7", text="Hämoglobin"), child, valueString="12,3 g/dl",
                     effectiveDateTime="2023-11-05T06:00:00+01:00"),
        _observation("de-o2", _code(LOINC, "718-7"), child, effectiveDateTime="2023-10-29T02:30:00+01:00",
                     valueQuantity={"value": 12.3, "unit": "g/dl", "system": UCUM, "code": "g/dL"}),
        _observation("de-o3", _code("http://labor.example/leistung", "Blasten-KM"), child, effectiveDateTime="2023-11",
                     valueQuantity={"value": 3, "unit": "Anteil", "system": "http://labor.example/einheit", "code": "proz"}),
    ]  # fmt: skip
    return {f"{one['resourceType']}-{one['id']}.json": _bytes(one) for one in resources}


def vendor() -> dict[str, bytes]:
    """An American vendor: searchset pages with OperationOutcome, OIDs of known vocabularies, contained Medications,
    references by identifier only, a history Bundle, extensions and data-absent reasons instead of values."""
    base = "https://ehr.example.org/api/FHIR/R4"
    child = f"{base}/Patient/eAb.C-1"
    absent = {"extension": [
        {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]}  # fmt: skip
    mrn = {"system": "urn:oid:1.2.840.114350.1.13.0.1.7.5.737384.14", "value": "E+/4711=="}
    patient = {"resourceType": "Patient", "id": "eAb.C-1", "gender": "male", "birthDate": "2013-02-03",
               "identifier": [mrn], "_birthDate": {"extension": [{"url": "http://x.example/time", "valueString": "x"}]},
               "extension": [absent["extension"][0] | {"url": "http://x.example/only"}]}  # fmt: skip
    request = {
        "resourceType": "MedicationRequest", "id": "eMr-1", "status": "stopped", "intent": "order",
        "subject": {"identifier": mrn}, "authoredOn": "2023-02-03T23:30:00-05:00",
        "contained": [{"resourceType": "Medication", "id": "med-1", "code": {"coding": [
            {"system": "urn:oid:2.16.840.1.113883.6.88", "code": "11202"}]}}],
        "medicationReference": {"reference": "#med-1", "display": "vincristine"},
    }  # fmt: skip
    searchset = _bundle(
        "searchset",
        {"fullUrl": child, "resource": patient, "search": {"mode": "match"}},
        {"fullUrl": f"{base}/MedicationRequest/eMr-1", "resource": request, "search": {"mode": "match"}},
        {"resource": {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "suppressed"}]},
         "search": {"mode": "outcome"}},
    )  # fmt: skip
    first = _observation("eOb-1", _code("urn:oid:2.16.840.1.113883.6.1", "718-7"), child,
                         valueQuantity={"value": 8.1, "unit": "g/dL"}, meta={"versionId": "1"})  # fmt: skip
    second = first | {
        "status": "corrected",
        "valueQuantity": {"value": 9.1, "unit": "g/dL"},
        "meta": {"versionId": "2"},
    }
    history = _bundle(
        "history",
        {"fullUrl": f"{base}/Observation/eOb-1", "resource": second,
         "request": {"method": "PUT", "url": "Observation/eOb-1"}, "response": {"status": "200"}},
        {"fullUrl": f"{base}/Observation/eOb-1", "resource": first,
         "request": {"method": "POST", "url": "Observation"}, "response": {"status": "201"}},
        {"fullUrl": f"{base}/Observation/eOb-9", "request": {"method": "DELETE", "url": "Observation/eOb-9"},
         "response": {"status": "204"}},
    )  # fmt: skip
    rest = [
        _observation("eOb-2", _code(LOINC, "718-7"), child,
                     dataAbsentReason=_code("http://terminology.hl7.org/CodeSystem/data-absent-reason", "error")),
        _observation("eOb-3", {"extension": [{"url": "http://x.example/only", "valueString": "x"}]}, child, valueInteger=3),
        _observation("eOb-4", _code(LOINC, "718-7"), child, valueInteger=3,
                     modifierExtension=[{"url": "http://x.example/unknown", "valueBoolean": True}]),
        _observation("eOb-5", _code(LOINC, "718-7"), f"{base}/Patient/not-delivered", valueInteger=3),
        _observation("eOb-6", _code("urn:oid:1.2.840.114350.1.13.0.1.7.2.696580", "2003160", "SMOKING"), child,
                     performer=[{"reference": child}], valueCodeableConcept={"coding": [{"display": "Never smoker"}]}),
        _observation("eOb-bad+/id", _code(LOINC, "718-7"), child, valueInteger=3),
    ]  # fmt: skip
    return {"page1.json": searchset, "history.json": history,
            "rest.ndjson": "\n".join(json.dumps(one) for one in rest).encode()}  # fmt: skip


def odd() -> dict[str, bytes]:
    """Every odd shape: types without a mapping, contained in contained, strange dates and periods, status unknown."""
    child = "Patient/odd-1"
    weight = _code(LOINC, "29463-7")
    kilograms = {"value": 20, "unit": "kg", "system": UCUM, "code": "kg"}
    resources: list[Resource] = [
        {"resourceType": "Patient", "id": "odd-1", "gender": "male", "birthDate": "2019-05-20", "deceasedBoolean": True},
        {"resourceType": "Patient", "id": "odd-1", "gender": "male", "birthDate": "2019-05-21", "deceasedBoolean": True,
         "meta": {"lastUpdated": "2024-01-01T00:00:00Z"}},
        {"resourceType": "Patient", "id": "odd-2", "birthDate": "0001-01-01"},
        {"resourceType": "Patient", "id": "odd-3", "_birthDate": {"extension": [
            {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}]}},
        {"resourceType": "Parameters", "id": "pa", "parameter": [{"name": "x", "valueString": "y"}]},
        {"resourceType": "List", "id": "li", "status": "current", "mode": "working"},
        {"resourceType": "Group", "id": "gr", "type": "person", "actual": True},
        {"resourceType": "Binary", "id": "bi", "contentType": "text/plain", "data": "eA=="},
        {"resourceType": "Observation", "id": "no-subject", "status": "final", "code": weight,
         "effectiveDateTime": "2024-01-01", "valueQuantity": kilograms},
        _observation("components", _code(SNOMED, "75367002"), child, component=[
            {"code": _code(LOINC, "8480-6"), "valueQuantity": {"value": 90, "unit": "mmHg", "system": UCUM, "code": "mm[Hg]"}},
            {"code": _code("http://x.example", "POS"), "valueCodeableConcept": {"text": "sitting"}}]),
        _observation("samples", _code(LOINC, "131328"), child, valueSampledData={
            "origin": {"value": 0}, "period": 10, "dimensions": 1, "data": "1 2 3 E U"}),
        _observation("year", weight, child, effectiveDateTime="2019", valueQuantity=kilograms),
        _observation("month", weight, child, effectiveDateTime="2019-05", valueQuantity=kilograms),
        _observation("leap-second", weight, child, effectiveDateTime="2016-12-31T23:59:60Z", valueQuantity=kilograms),
        _observation("year-one", weight, child, effectiveDateTime="0001-01-01", valueQuantity=kilograms),
        _observation("future", weight, child, effectiveDateTime="2099-01-01", valueQuantity=kilograms),
        _observation("negative", _code(LOINC, "11555-0"), child, valueQuantity={"value": -3.5e-7, "unit": "mmol/L"}),
        _observation("drug-as-test", _code(RXNORM, "11202"), child, valueInteger=1),
        _observation("long-code", _code("http://x.example", "字" * 60), child, valueInteger=1),
        _observation("unknown-status", weight, child, status="unknown", valueQuantity=kilograms),
        _observation("by-device", weight, "Device/d1", valueQuantity=kilograms),
        {"resourceType": "Encounter", "id": "no-period", "status": "finished", "subject": {"reference": child},
         "class": {"code": "AMB"}},
        {"resourceType": "Encounter", "id": "backwards", "status": "finished", "subject": {"reference": child},
         "class": {"display": "Ambulatory"}, "period": {"start": "2024-03-05", "end": "2024-03-01"}},
        {"resourceType": "Encounter", "id": "own-part", "status": "finished", "subject": {"reference": child},
         "class": {"code": "IMP"}, "period": {"start": "2024-03-05"}, "partOf": {"reference": "Encounter/own-part"}},
        {"resourceType": "MedicationAdministration", "id": "ratio", "status": "completed", "subject": {"reference": child},
         "effectivePeriod": {"start": "2024-02-01T10:00:00Z", "end": "2024-02-02T10:00:00Z"},
         "contained": [{"resourceType": "Medication", "id": "m", "code": {"text": "blinatumomab"},
                        "ingredient": [{"itemReference": {"reference": "#s"}}]},
                       {"resourceType": "Substance", "id": "s", "code": {"text": "blinatumomab"}}],
         "medicationReference": {"reference": "#m"},
         "dosage": {"rateRatio": {"numerator": {"value": 9, "unit": "ug"}, "denominator": {"value": 24, "unit": "h"}}}},
        {"resourceType": "MedicationAdministration", "id": "nested", "status": "completed", "subject": {"reference": child},
         "effectiveDateTime": "2024-02-01", "medicationCodeableConcept": {"text": "x"}, "contained": [
             {"resourceType": "Medication", "id": "m", "contained": [{"resourceType": "Organization", "id": "o"}]}]},
        {"resourceType": "Condition", "id": "backwards", "subject": {"reference": child}, "code": {"text": "x"},
         "onsetDateTime": "2024-03-05", "abatementDateTime": "2024-03-01"},
        {"resourceType": "Procedure", "id": "unknown", "status": "unknown", "subject": {"reference": child},
         "code": {"text": "x"}, "performedDateTime": "2024-03-05"},
        {"resourceType": "Coverage", "id": "cov", "status": "active", "beneficiary": {"reference": child},
         "payor": [{"display": "Kasse"}], "period": {"start": "2024-01-01"}, "type": {"text": "gesetzlich"}},
    ]  # fmt: skip
    return {"odd.ndjson": "\n".join(json.dumps(one, ensure_ascii=False) for one in resources).encode()}


EXPORTS = {"JP": japan, "CN": china, "DE": germany, "US": vendor, "ODD": odd}
