"""Choices that need several resources or rows: the specific code, dates that contradict, dates that were imputed."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from etl.build_report import BuildReport
from etl.landing import Source
from etl.pipeline import build
from etl.settings import Settings

PATIENT = {"resourceType": "Patient", "id": "c", "birthDate": "2019-03-04", "gender": "female", "deceasedBoolean": True}
CONCEPTS = (
    "concept_id\tconcept_name\tdomain_id\tvocabulary_id\tconcept_class_id\tstandard_concept\tconcept_code\t"
    "valid_start_date\tvalid_end_date\tinvalid_reason\n"
    "900001\tparent\tCondition\tSNOMED\tDisorder\tS\t900\t19700101\t20991231\t\n"
    "900002\tchild\tCondition\tSNOMED\tDisorder\tS\t901\t19700101\t20991231\t\n"
    "900010\tone drug\tDrug\tRxNorm\tIngredient\tS\t910\t19700101\t20991231\t\n"
    "900011\tother drug\tDrug\tRxNorm\tIngredient\tS\t911\t19700101\t20991231\t\n"
    "900012\tboth drugs\tDrug\tNDC\t11-digit NDC\t\t912\t19700101\t20991231\t\n"
)
ANCESTORS = (
    "ancestor_concept_id\tdescendant_concept_id\tmin_levels_of_separation\tmax_levels_of_separation\n"
    "900001\t900002\t1\t1\n900001\t900001\t0\t0\n900002\t900002\t0\t0\n"
)
LINKS = (
    "concept_id_1\tconcept_id_2\trelationship_id\tvalid_start_date\tvalid_end_date\tinvalid_reason\n"
    "900012\t900011\tMaps to\t19700101\t20991231\t\n900012\t900010\tMaps to\t19700101\t20991231\t\n"
)


def condition(one: str, *codes: str, **changes: Any) -> dict[str, Any]:
    """A diagnosis with SNOMED codings in the given order."""
    coding = [{"system": "http://snomed.info/sct", "code": code} for code in codes]
    return {
        "resourceType": "Condition", "id": one, "code": {"coding": coding}, "subject": {"reference": "Patient/c"},
        "onsetDateTime": "2024-01-10",
    } | changes  # fmt: skip


@pytest.fixture
def built(tmp_path: Path) -> Any:
    """Builds resources with a two-concept vocabulary; gives back the report and a reader."""
    athena = tmp_path / "athena"
    athena.mkdir()
    (athena / "CONCEPT.csv").write_text(CONCEPTS)
    (athena / "CONCEPT_ANCESTOR.csv").write_text(ANCESTORS)
    (athena / "CONCEPT_RELATIONSHIP.csv").write_text(LINKS)

    def make(*resources: dict[str, Any]) -> tuple[BuildReport, duckdb.DuckDBPyConnection]:
        source = tmp_path / "in"
        source.mkdir()
        lines = "\n".join(json.dumps(resource) for resource in (PATIENT, *resources))
        (source / "all.ndjson").write_text(lines)
        database = tmp_path / "o.duckdb"
        report = build(
            [Source("S", source)], database=f"duckdb:///{database}", settings=Settings(key="k"), vocabulary=[athena]
        )
        return report, duckdb.connect(str(database), read_only=True)

    return make


def test_the_more_specific_of_two_codings_is_taken_wherever_it_stands(built: Any) -> None:
    _, cdm = built(condition("a", "900", "901"), condition("b", "901", "900"), condition("d", "900"))
    rows = cdm.execute("SELECT condition_concept_id FROM cdm.condition_occurrence ORDER BY 1").fetchall()
    assert rows == [(900001,), (900002,), (900002,)]


def test_an_end_before_its_start_is_left_out_and_counted(built: Any) -> None:
    report, cdm = built(condition("a", "900", abatementDateTime="2023-01-01"))
    assert cdm.execute("SELECT condition_end_date FROM cdm.condition_occurrence").fetchall() == [(None,)]
    assert report.reversed_ends == 1


def test_a_required_end_before_its_start_becomes_the_start(built: Any) -> None:
    visit = {
        "resourceType": "Encounter", "id": "v", "status": "finished", "class": {"code": "IMP"},
        "subject": {"reference": "Patient/c"}, "period": {"start": "2024-01-10", "end": "2024-01-01"},
    }  # fmt: skip
    report, cdm = built(visit)
    rows = cdm.execute("SELECT visit_start_date = visit_end_date FROM cdm.visit_occurrence").fetchall()
    assert rows == [(True,)]
    assert report.reversed_ends == 1


def test_a_year_alone_never_falls_before_the_birth(built: Any) -> None:
    _, cdm = built(condition("a", "900", onsetDateTime="2019"), condition("b", "900", onsetDateTime="2020"))
    rows = cdm.execute("SELECT condition_start_date::VARCHAR FROM cdm.condition_occurrence ORDER BY 1").fetchall()
    assert rows == [("2019-03-04",), ("2020-01-01",)]


def test_a_death_without_a_date_is_told(built: Any) -> None:
    report, cdm = built(condition("a", "900"))
    assert report.noted == {"Patient: deceased without a date": 1}
    assert cdm.execute("SELECT count(*) FROM cdm.death").fetchone() == (0,)


def test_modifier_elements_that_no_column_takes_are_told(built: Any) -> None:
    """HL7 f2o-063: what alters how a record is to be read is never passed over in silence."""
    shot = {"resourceType": "Immunization", "status": "completed", "vaccineCode": {"text": "flu"},
            "patient": {"reference": "Patient/c"}, "occurrenceDateTime": "2024-01-10"}  # fmt: skip
    report, cdm = built(
        {"resourceType": "Patient", "id": "d", "birthDate": "2019-03-04", "active": False},
        shot | {"id": "i", "isSubpotent": True},
        shot | {"id": "j", "isSubpotent": False},
    )
    assert report.noted == {
        "Patient: deceased without a date": 1,
        "Patient: a record marked as no longer in use": 1,
        "Immunization: a dose of less potency": 1,
    }
    assert cdm.execute("SELECT (SELECT count(*) FROM cdm.person), count(*) FROM cdm.drug_exposure").fetchone() == (2, 2)


def test_of_several_drugs_of_one_code_the_lowest_is_taken_and_told(built: Any) -> None:
    given = {
        "resourceType": "MedicationAdministration", "id": "m", "status": "completed",
        "subject": {"reference": "Patient/c"}, "effectiveDateTime": "2024-01-10",
        "medicationCodeableConcept": {"coding": [{"system": "http://hl7.org/fhir/sid/ndc", "code": "912"}]},
    }  # fmt: skip
    report, cdm = built(given)
    assert cdm.execute("SELECT drug_concept_id FROM cdm.drug_exposure").fetchall() == [(900010,)]
    note = "MedicationAdministration: of several standard concepts of a code the lowest was taken for drug_exposure"
    assert report.noted[note] == 1
