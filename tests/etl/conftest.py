"""A small hospital and a small Athena download, built once: what the data manager's tools look at."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from etl.landing import Source
from etl.pipeline import build
from etl.settings import Settings

SNOMED, LOINC, RXNORM, ICD = (
    "http://snomed.info/sct",
    "http://loinc.org",
    "http://www.nlm.nih.gov/research/umls/rxnorm",
    "http://hl7.org/fhir/sid/icd-10-cm",
)
FHIR_ID = "geheim-4711"
NARRATIVE = "the neighbour Anna saw it"

# concept_id, name, domain, vocabulary, class, standard, code
CONCEPTS = (
    (0, "No matching concept", "Metadata", "None", "Undefined", "", "No matching concept"),
    (101, "Disorder of blood", "Condition", "SNOMED", "Disorder", "S", "900001"),
    (102, "Anemia of the small hospital", "Condition", "SNOMED", "Disorder", "S", "900002"),
    (103, "Acute leukemia of B cells", "Condition", "SNOMED", "Disorder", "S", "900003"),
    (104, "Broken toe", "Condition", "SNOMED", "Disorder", "S", "900004"),
    (105, "Leukemia procedure", "Procedure", "SNOMED", "Procedure", "S", "900005"),
    (106, "Retired anemia", "Condition", "SNOMED", "Disorder", "", "900006"),
    (201, "Anemia, billed", "Condition", "ICD10CM", "4-char billing code", "", "D64.99"),
    (202, "Toe, billed", "Condition", "ICD10CM", "4-char billing code", "", "S92.99"),
    (301, "Something in serum", "Measurement", "LOINC", "Lab Test", "S", "90001-1"),
    (302, "Something else in serum", "Measurement", "LOINC", "Lab Test", "S", "90002-9"),
    (401, "testomab", "Drug", "RxNorm", "Ingredient", "S", "980001"),
    (402, "testomab 10 MG Injection", "Drug", "RxNorm", "Clinical Drug", "S", "980002"),
    (403, "unusedomab", "Drug", "RxNorm", "Ingredient", "S", "980003"),
    (8840, "milligram per deciliter", "Unit", "UCUM", "Unit", "S", "mg/dL"),
)
_MAPS = ((201, 102), (202, 104), (106, 102))
_ANCESTORS = ((101, 102), (101, 103), (401, 402))


@dataclass(frozen=True)
class Hospital:
    """Where its files lie: the FHIR folder, the Athena folder, and the database built from both."""

    fhir: Path
    athena: Path
    database: str

    def build(self, database: Path, athena: Path, mappings: Path | None = None) -> str:
        """Builds the same FHIR again."""
        url = f"duckdb:///{database}"
        sources = [Source("SITE9", self.fhir)]
        build(sources, database=url, settings=Settings(key="k"), vocabulary=[athena], mappings=mappings)
        return url


@pytest.fixture(scope="session")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    folder = tmp_path_factory.mktemp("hospital")
    athena, fhir = folder / "athena", folder / "fhir"
    write_athena(athena)
    fhir.mkdir()
    lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in _resources())
    (fhir / "all.ndjson").write_text(lines, encoding="utf-8")
    made = Hospital(fhir, athena, f"duckdb:///{folder / 'omop.duckdb'}")
    made.build(folder / "omop.duckdb", athena)
    return made


def write_athena(folder: Path) -> None:
    standard = [one[0] for one in CONCEPTS if one[5] == "S"]
    maps = [*((one, one) for one in standard), *_MAPS]
    links = [f"{one}\t{two}\tMaps to\t19700101\t20991231\t" for one, two in maps]
    links += [f"{two}\t{one}\tMapped from\t19700101\t20991231\t" for one, two in maps]
    ancestors = [f"{one}\t{one}\t0\t0" for one in standard] + [f"{one}\t{two}\t1\t1" for one, two in _ANCESTORS]
    concepts = ["\t".join(map(str, (*one, "19700101", "20991231", ""))) for one in CONCEPTS]
    files = {
        "CONCEPT": (
            (
                "concept_id concept_name domain_id vocabulary_id concept_class_id standard_concept concept_code "
                "valid_start_date valid_end_date invalid_reason"
            ),
            concepts,
        ),
        "CONCEPT_RELATIONSHIP": (
            "concept_id_1 concept_id_2 relationship_id valid_start_date valid_end_date invalid_reason",
            links,
        ),
        "CONCEPT_ANCESTOR": (
            "ancestor_concept_id descendant_concept_id min_levels_of_separation max_levels_of_separation",
            ancestors,
        ),
        "VOCABULARY": (
            "vocabulary_id vocabulary_name vocabulary_reference vocabulary_version vocabulary_concept_id",
            ["None\tOMOP\t\tv5.0 01-JAN-26\t0"],
        ),
    }
    folder.mkdir()
    for name, (header, rows) in files.items():
        text = "\n".join(["\t".join(header.split()), *rows]) + "\n"
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")


def _resources() -> list[dict[str, Any]]:
    person = {"reference": "Patient/p1"}
    conditions = [
        {"coding": [{"system": SNOMED, "code": "900002", "display": "Anemia"}]},
        {"coding": [{"system": ICD, "code": "D64.99", "display": "Anemia, billed"}]},
        {"coding": [{"system": SNOMED, "code": "99999999", "display": "Acute B cell leukemia"}]},
        {"coding": [{"system": SNOMED, "code": "99999999", "display": "Acute B cell leukemia"}]},
        {"text": "=leukaemia of the house"},
    ]
    values: list[dict[str, Any]] = [
        {"valueQuantity": {"value": 7.5, "unit": "mg/dL", "system": "http://unitsofmeasure.org", "code": "mg/dL"}},
        {"valueString": "sehr trueb"},
        {"valueString": "sehr trueb"},
        {"valueString": NARRATIVE},
        {"valueString": "room ٣ on friday"},
        {"valueString": "see letter of 12 May"},
    ]
    done: list[dict[str, Any]] = [
        {"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1990-05-17"}
    ]
    done += [
        {
            "resourceType": "Condition",
            "id": f"{FHIR_ID}-{number}",
            "subject": person,
            "code": code,
            "onsetDateTime": "2024-03",
            "clinicalStatus": {"coding": [{"code": "active"}]},
        }
        for number, code in enumerate(conditions)
    ]
    done += [
        {
            "resourceType": "Observation",
            "id": f"o{number}",
            "status": "final",
            "subject": person,
            "code": {"coding": [{"system": LOINC, "code": "90001-1"}]},
            "effectiveDateTime": "2024-03-05T10:00:00Z",
            **value,
        }
        for number, value in enumerate(values)
    ]
    done.append(
        {
            "resourceType": "MedicationAdministration",
            "id": "m1",
            "status": "completed",
            "subject": person,
            "medicationCodeableConcept": {"coding": [{"system": RXNORM, "code": "980002"}]},
            "effectiveDateTime": "2024-03-06T10:00:00Z",
        }
    )
    return done
