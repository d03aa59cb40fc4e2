"""Small FHIR R4 elements, as plain dictionaries in the order FHIR lists their members."""

from typing import Any

Resource = dict[str, Any]
Concept = dict[str, Any]

LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ICD10CM = "http://hl7.org/fhir/sid/icd-10-cm"
ICD10 = "http://hl7.org/fhir/sid/icd-10"
ICDO3 = "http://terminology.hl7.org/CodeSystem/icd-o-3"
ATC = "http://www.whocc.no/atc"
UCUM = "http://unitsofmeasure.org"
ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
HL7 = "http://terminology.hl7.org/CodeSystem/"
ABSENT = f"{HL7}data-absent-reason"
ABSENT_EXTENSION = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
STUDY_NUMBER = "urn:blina:study-number"

ROUTES = {
    "intravenous": ("47625008", "intravenous"),
    "intrathecal": ("72607000", "intrathecal"),
    "oral": ("26643006", "oral"),
}
"""SNOMED CT codes of the routes, with our own short labels."""


def coded(system: str, code: str, display: str | None = None, text: str | None = None) -> Concept:
    """A CodeableConcept of one coding."""
    coding = {"system": system, "code": code}
    if display is not None:
        coding["display"] = display
    concept: Concept = {"coding": [coding]}
    if text is not None:
        concept["text"] = text
    return concept


def worded(text: str) -> Concept:
    """A CodeableConcept of text only."""
    return {"text": text}


def quantity(value: str | float, unit: str, code: str | None = None, comparator: str | None = None) -> Resource:
    """A Quantity; with a UCUM `code`, or with the unit's text only."""
    found: Resource = {"value": number(value)}
    if comparator:
        found["comparator"] = comparator
    found["unit"] = unit
    if code:
        found |= {"system": UCUM, "code": code}
    return found


def number(value: str | float) -> int | float:
    """A JSON number as printed in the truth: `13` stays an integer, `0.70` becomes 0.7."""
    if isinstance(value, str):
        return float(value) if "." in value else int(value)
    return int(value) if value == int(value) else round(value, 4)


def reference(resource_type: str, resource_id: str) -> Resource:
    """A relative Reference; deliver.py writes it in the site's form."""
    return {"reference": f"{resource_type}/{resource_id}"}


def identifier(system: str, value: str) -> Resource:
    """An Identifier."""
    return {"system": system, "value": value}


def clinical_status(code: str) -> dict[str, Concept]:
    """Condition.clinicalStatus and a confirmed verificationStatus."""
    return {
        "clinicalStatus": coded(f"{HL7}condition-clinical", code),
        "verificationStatus": coded(f"{HL7}condition-ver-status", "confirmed"),
    }


def category(code: str) -> list[Concept]:
    """Observation.category of HL7 (laboratory, vital-signs, social-history)."""
    return [coded(f"{HL7}observation-category", code)]
