"""The child with leukaemia of mCODE's extended example: the row of each of his resources, or why there is none.

Needs ../shared (the 28 files, and the public part of the vocabularies). What is 0 here is a code whose OMOP concept id
nobody has verified for this project; a hospital's own Athena download knows most of them, and all are on the work list.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from etl.build_report import BuildReport
from etl.landing import Source
from etl.pipeline import build
from etl.settings import Settings

SHARED = Path(__file__).parents[3] / "shared"
MCODE = SHARED / "data" / "mcode"
pytestmark = pytest.mark.skipif(not MCODE.is_dir(), reason="needs ../shared/data/mcode, which is not here")

ADMINISTERED, ORDERED, LAB, PROBLEM_LIST = 32818, 32838, 32856, 32840
INTRAVENOUS = 2000000521

CONDITIONS = {
    # resource: (concept, source value, first day, last day)
    "primary-cancer-condition-brian-l": (4173963, "277571004", "2024-01-01", None),
    "us-core-condition-atrial-septal-defect-brian-l": (0, "301130004", "2021-01-02", "2021-02-01"),
}
DRUGS = {
    # resource: (concept, RxNorm code, type, amount)
    "cancer-related-medication-admin-vincristine-brian-l": (1308290, "11202", ADMINISTERED, 2.0),
    "cancer-related-medication-admin-prednisone-brian-l": (1551099, "8640", ADMINISTERED, 36.01),
    "cancer-related-medication-admin-cyclophosphamide-brian-l": (1310317, "3002", ADMINISTERED, 105.96),
    "cancer-related-medication-admin-idarubicin-brian-l": (0, "5650", ADMINISTERED, 5.4),
    "cancer-related-medication-request-vincristine-brian-l": (1308290, "11202", ORDERED, None),
    "cancer-related-medication-request-prednisone-brian-l": (1551099, "8640", ORDERED, None),
    "cancer-related-medication-request-cyclophosphamide-brian-l": (1310317, "3002", ORDERED, None),
    "cancer-related-medication-request-idarubicin-brian-l": (0, "5650", ORDERED, None),
}
NUMBERS = {
    # resource: (concept, code, number, unit concept, lower limit)
    "hemoglobin-brian-l": (3000963, "718-7", 6.7, 8713, 13.2),
    "hematocrit-brian-l": (3009542, "20570-8", 22.3, 8554, 39.7),
    "white-blood-cell-brian-l": (3010813, "26464-8", 88.5, 8848, 39.7),
    "body-surface-area-brian-l": (3005424, "8277-6", 0.59, 8617, None),
    "lansky-performance-status-brian-l": (0, "C38144", 80.0, None, None),
}
WORDS = {
    # resource: {(concept, code, value as written)}
    "bone-marrow-aspirate-result-brian-l": {(3048879, "48807-2", "predominance of immature cells")},
    "bone-marrow-biopsy-result-brian-l": {(0, "33721-2", "predominance of immature cells")},
    "us-core-lumbar-puncture-result-brian-l": {
        (3048879, "48807-2", "negative for presence of cancer in the brain or sp")  # the CDM's 50 characters
    },
    "immunophenotype-brian-l": {(0, "101119-6", "positive for CD10, CD79a, TdT, CD19, and CD20")},
    "all-risk-assessment-standard-brian-l": {(0, "C167435", "C122457")},
    "gx-genomic-variant-fusion-ETV6-RUNX1-brian-l": {
        (0, "69548-6", "LA9633-4"),
        (0, "48018-6", "HGNC:3495"),
        (0, "48018-6", "HGNC:10471"),
        (0, "48019-4", "SO:1000044"),
        (0, "48002-0", "LA6684-0"),
    },
}
PROCEDURES = {
    # resource: (concept, code, day)
    "us-core-procedure-bone-marrow-aspiration-brian-l": (2000000602, "49401003", "2024-01-06"),
    "us-core-procedure-bone-marrow-biopsy-brian-l": (0, "234326005", "2024-01-06"),
    "us-core-procedure-lumbar-puncture-brian-l": (4080549, "277762005", "2024-01-08"),
}
STATUS = "cancer-disease-status-improved-brian-l"
CHILD = "cancer-patient-brian-l"
NO_ROW = {
    ("DiagnosticReport", "us-core-diagnosticreport-cbc-brian-l"): ("skipped", "results are Observations"),
    ("FamilyMemberHistory", "family-member-history-grandmother-brian-l"): ("rejected", "missing start"),
}


@dataclass(frozen=True)
class Child:
    """The built database of this one child."""

    cdm: duckdb.DuckDBPyConnection
    report: BuildReport

    def rows(self, table: str, key: str, columns: str) -> dict[str, list[tuple[object, ...]]]:
        """The rows of a table by the FHIR id that they come from."""
        found: dict[str, list[tuple[object, ...]]] = {}
        query = f"""SELECT s.fhir_id, {columns} FROM cdm.{table} o
                    JOIN lineage.cdm_row r ON r.table_name = '{table}' AND r.row_id = o.{key}
                    JOIN lineage.resource s USING (resource_no)"""
        for fhir_id, *values in self.cdm.execute(query).fetchall():
            found.setdefault(fhir_id, []).append(tuple(values))
        return found


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Child:
    folder = tmp_path_factory.mktemp("mcode")
    given = folder / "given"
    given.mkdir()
    for file in [*MCODE.glob("*-brian-l.json"), *MCODE.glob("MedicationAdministration-b1915b72*.json")]:
        shutil.copy(file, given)
    vocabulary = [SHARED / "vocabulary" / name for name in ("athena", "athena-supplement")]
    url = f"duckdb:///{folder / 'omop.duckdb'}"
    report = build([Source("MCODE", given)], database=url, settings=Settings(key="k"), vocabulary=vocabulary)
    return Child(duckdb.connect(str(folder / "omop.duckdb"), read_only=True), report)


def test_all_28_resources_are_accounted_for(child: Child) -> None:
    assert child.report.totals == {"landed": 28, "kept": 26, "skipped": 1, "rejected": 1}
    named = {CHILD, STATUS, *CONDITIONS, *DRUGS, *NUMBERS, *WORDS, *PROCEDURES, *(key for _, key in NO_ROW)}
    landed = child.cdm.execute("SELECT fhir_id FROM ledger.resource").fetchall()
    assert {one for (one,) in landed} == named


def test_what_gives_no_row_has_its_reason(child: Child) -> None:
    query = "SELECT resource_type, fhir_id, outcome, reason FROM ledger.resource WHERE outcome != 'kept'"
    found = {(kind, key): (outcome, reason) for kind, key, outcome, reason in child.cdm.execute(query).fetchall()}
    assert found == NO_ROW


def test_the_child_himself(child: Child) -> None:
    columns = "gender_concept_id, year_of_birth, month_of_birth, day_of_birth, race_concept_id, ethnicity_concept_id"
    person = child.cdm.execute(f"SELECT {columns}, person_source_value, location_id FROM cdm.person").fetchall()
    assert person == [(8507, 2021, 1, 1, 8515, 38003564, None, None)]


def test_diagnoses(child: Child) -> None:
    columns = "condition_concept_id, condition_source_value, condition_start_date::text, condition_end_date::text"
    found = child.rows("condition_occurrence", "condition_occurrence_id", f"{columns}, condition_type_concept_id")
    assert found == {key: [(*values, PROBLEM_LIST)] for key, values in CONDITIONS.items()}


def test_drugs_given_and_ordered(child: Child) -> None:
    columns = "drug_concept_id, drug_source_value, drug_type_concept_id, quantity, dose_unit_source_value"
    more = "drug_exposure_start_date::text, route_concept_id"
    found = child.rows("drug_exposure", "drug_exposure_id", f"{columns}, {more}")
    assert found == {key: [(*values, "mg", "2024-01-09", INTRAVENOUS)] for key, values in DRUGS.items()}


def test_results(child: Child) -> None:
    columns = "measurement_concept_id, measurement_source_value, value_as_number, unit_concept_id, range_low"
    found = child.rows("measurement", "measurement_id", columns)
    assert {key: found[key] for key in NUMBERS} == {key: [values] for key, values in NUMBERS.items()}
    columns = "measurement_concept_id, measurement_source_value, value_source_value"
    in_words = child.rows("measurement", "measurement_id", columns)
    assert {key: set(in_words[key]) for key in WORDS} == WORDS
    assert found.keys() == NUMBERS.keys() | WORDS.keys()


METHODS = {
    "gx-genomic-variant-fusion-ETV6-RUNX1-brian-l": [(2000000322, "LA26406-1", "LA26406-1", "2024-01-08")],
    "lansky-performance-status-brian-l": [(2000000322, "5880005", "5880005", "2024-01-12")],
}
"""How two results were found stands beside them; no table has a column for it."""


def test_disease_status_is_what_the_study_reads(child: Child) -> None:
    columns = "observation_concept_id, observation_source_value, value_source_value, observation_date::text"
    found = child.rows("observation", "observation_id", columns)
    assert found == {STATUS: [(2000000307, "97509-4", "268910001", "2024-02-08")]} | METHODS


def test_procedures(child: Child) -> None:
    columns = "procedure_concept_id, procedure_source_value, procedure_date::text"
    found = child.rows("procedure_occurrence", "procedure_occurrence_id", columns)
    assert found == {key: [values] for key, values in PROCEDURES.items()}


def test_the_grandmothers_cancer_is_not_the_childs(child: Child) -> None:
    everything = [row for table, key, column in (
        ("condition_occurrence", "condition_occurrence_id", "condition_source_value"),
        ("observation", "observation_id", "observation_source_value"),
    ) for rows in child.rows(table, key, column).values() for row in rows]  # fmt: skip
    assert ("372137005",) not in everything


def test_every_code_without_a_concept_is_on_the_work_list(child: Child) -> None:
    listed = {code for (code,) in child.cdm.execute("SELECT DISTINCT source_code FROM lineage.unmapped").fetchall()}
    assert {"301130004", "5650", "33721-2", "101119-6", "C167435", "C38144", "69548-6", "234326005"} <= listed
