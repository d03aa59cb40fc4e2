"""CRS graded from what is charted: ages, evidence, counters, T9, the sensitivity table, and all the way from FHIR."""

import importlib
import json
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from analytics import compare_studies, derive, derive_variants, load_study, open_cdm
from analytics.cdm import Cdm
from analytics.crs_signs import completed_years, systolic_limit
from analytics.derive import Derived
from analytics.example_records import about, write_child
from analytics.explain import explain_course
from analytics.report.meta import ReportMeta
from analytics.report.page import render_report
from analytics.results import suppress
from analytics.statistics import run_analyses
from etl.landing import Source
from etl.pipeline import build
from etl.settings import Settings

children = importlib.import_module("children")
QUICK = {"statistics": {"permutations": 20, "bootstrap": 20, "concordance_bootstrap": 5}}
COURSE = {
    "courses": [{}],
    "blood": [{"day": -2, "CD3": 1.0, "CD4": 0.5, "CD8": 0.4}, {"day": 30, "CD3": 1.2, "CD4": 0.6, "CD8": 0.5}],
    "marrows": [{"day": -3, "blasts": 1, "mrd": "<0.01%"}, {"day": 29, "blasts": 1, "mrd": "<0.01%"}],
    "visits": [{"day": 400}],
}


def _crs(grade: int | None, system: str, **more: Any) -> dict[str, Any]:
    return COURSE | {"toxicity": [{"event": "CRS", "day": 2, "grade": grade, "system": system}]} | more


TOLD = {
    "as recorded": _crs(1, "ASTCT", vitals=[{"day": 2, "temperature": 38.4, "systolic": 95}]),
    "higher": _crs(
        2, "CTCAE", vitals=[{"day": 3, "temperature": 39, "systolic": 60}],
        drugs=[{"drug": "norepinephrine", "day": 3}], oxygen=[{"day": 3, "by": "nasal cannula", "flow": 2}],
    ),
    "ungraded": _crs(None, "ASTCT", vitals=[{"day": 2, "temperature": 38.4, "systolic": 70}]),
    "nothing charted": _crs(2, "Lee 2014"),
    "implausible": _crs(2, "Lee 2014", vitals=[{"day": 2, "temperature": 384, "systolic": 9}]),
    "no CRS": COURSE | {"vitals": [{"day": 2, "temperature": 39, "systolic": 60}]},
    "silent hospital": _crs(2, "CTCAE", site="SITE2", vitals=[{"day": 2, "temperature": 39, "systolic": 60}]),
}  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cdm, dict[str, int]]:
    made = children.Children()
    for name, records in TOLD.items():
        write_child(made.add(name, **about(records)), records)
    return open_cdm(made.cdm.write(tmp_path_factory.mktemp("signs") / "omop.duckdb")), made.numbers


@pytest.fixture(scope="module")
def found(told: tuple[Cdm, dict[str, int]]) -> Derived:
    return derive(told[0], load_study())


@pytest.fixture(scope="module")
def results(told: tuple[Cdm, dict[str, int]], found: Derived) -> dict[str, pl.DataFrame]:
    return run_analyses(found, QUICK, derive_variants(told[0], load_study()))


@pytest.mark.parametrize(
    ("born", "day", "years", "mmhg"),
    [
        (date(2022, 6, 1), date(2023, 5, 31), 0, 70),
        (date(2022, 6, 1), date(2023, 6, 1), 1, 72),
        (date(2012, 12, 31), date(2023, 12, 30), 10, 90),
        (date(2012, 12, 31), date(2023, 12, 31), 11, 90),
        (date(2016, 2, 29), date(2023, 2, 28), 6, 82),
        (date(2016, 2, 29), date(2023, 3, 1), 7, 84),
    ],
)
def test_the_limit_of_the_systolic_pressure_follows_the_completed_years(
    born: date, day: date, years: int, mmhg: int
) -> None:
    rule = load_study().get("crs_signs")
    frame = pl.DataFrame({"born": [born], "day": [day]}).select(years=completed_years(pl.col("born"), pl.col("day")))
    assert frame["years"].item() == years
    assert frame.select(systolic_limit(pl.col("years"), rule)).item() == mmhg


def test_grades_from_signs_stand_beside_the_recorded_ones(told: tuple[Cdm, dict[str, int]], found: Derived) -> None:
    names = {number: name for name, number in told[1].items()}
    rows = found.courses.select("person_id", "crs_grade", "crs_astct", "crs_astct_basis", "crs_ctcae").rows()
    assert {names[person]: rest for person, *rest in rows} == {
        "as recorded": [1, 1, "exact", 1],
        "higher": [2, 3, "exact", 3],
        "ungraded": [None, 2, "exact", 2],
        "nothing charted": [2, None, "not recorded", None],
        "implausible": [2, None, "not recorded", None],
        "no CRS": [0, None, None, None],
        "silent hospital": [2, 2, "at least", 2],
    }


def test_what_differs_and_what_could_not_be_used_is_counted(found: Derived) -> None:
    whole = found.counters.filter(pl.col("site") == "all")
    counts = {counter: (n, among) for counter, n, among in whole.select("counter", "n", "denominator").iter_rows()}
    assert counts["dq_crs_regraded_astct"] == (4, 6)
    assert counts["dq_crs_at_least_astct"] == (1, 4)
    assert counts["dq_crs_differs_astct"] == (1, 3)
    assert counts["dq_crs_sign_unusable"][0] == 2


def test_explain_names_the_rows_that_a_grade_from_signs_came_from(
    told: tuple[Cdm, dict[str, int]], found: Derived
) -> None:
    cdm, numbers = told
    place = found.courses.sort("person_id", "course_no")["person_id"].to_list().index(numbers["higher"]) + 1
    words = explain_course(cdm, load_study(), str(place), values=True)
    drug = cdm.query(
        f"SELECT drug_exposure_id FROM cdm.drug_exposure WHERE person_id = {numbers['higher']} "
        "AND drug_exposure_start_date = DATE '2023-01-13'"
    ).item()
    assert "  crs_astct: 3\n      crs_astct@1, evidence B (derived), device_exposure " in words
    assert f"      crs_astct@1, evidence B (derived), drug_exposure {drug}\n" in words
    assert "  crs_recorded: 2\n      crs@1, evidence A (coded), condition_occurrence " in words


def test_t9_shows_each_grading_system_and_what_it_rests_on(results: dict[str, pl.DataFrame]) -> None:
    rows = results["safety"].filter(pl.col("unit_of_analysis") == "course")
    counts = {(event, grade): n for event, grade, n in rows.select("event", "grade", "n").iter_rows()}
    assert counts["CRS graded as recorded", "missing"] == 1
    assert counts["CRS graded by CTCAE, as recorded", "2"] == 2
    signs = "CRS graded by ASTCT, from signs"
    assert [counts[signs, one] for one in ("1", "2", "3", "at least", "missing")] == [1, 2, 1, 1, 2]
    released = suppress(results, 5)["safety"]
    assert not released.filter(pl.col("event").str.ends_with("as recorded")).height


def test_the_sensitivity_table_answers_a11(results: dict[str, pl.DataFrame]) -> None:
    rows = results["sensitivity"].filter(pl.col("endpoint") == "CRS")
    shares = {name: (events, n) for name, events, n in rows.select("analysis_id", "events", "n").iter_rows()}
    assert shares == {"primary": (0, 5), "A11-ASTCT": (1, 4), "A11-CTCAE": (0, 4)}
    notes = results["sensitivity"].filter(pl.col("quantity") == "computed")
    said = dict(notes.select("analysis_id", "note").iter_rows())
    assert "4 of 6 courses with CRS graded from signs, 1 of them as a lower limit" in said["A11-ASTCT"]


def test_compare_shows_what_the_other_reading_changes(told: tuple[Cdm, dict[str, int]]) -> None:
    study = load_study()
    moved = compare_studies(told[0], study, study.varied({"crs.reading": "astct"})).moved
    grades = moved.filter(pl.col("variable") == "crs_grade").select("a", "b", "n").rows()
    assert sorted(grades) == [("2", "3", 1), ("2", "missing", 2), ("missing", "2", 1)]


def test_the_page_says_it_and_says_when_nothing_is_charted(results: dict[str, pl.DataFrame], derived: Derived) -> None:
    none, block = "No CRS could be graded from signs", "Cytokine release syndrome by grading system"
    page = render_report(results | {"counters": pl.DataFrame()}, ReportMeta(synthetic=True))
    assert block in page
    assert "4/6" in page.split(block)[-1]
    assert none not in page
    assert "other adverse events CRS" not in page  # the same CRS again is no other event
    assert "Sensitivity of other estimates: CRS" in page
    silent = run_analyses(derived, QUICK) | {"counters": pl.DataFrame()}
    assert none in render_report(silent, ReportMeta(synthetic=True))


PATIENT = {"reference": "Patient/a"}
FHIR: list[dict[str, Any]] = [
    {"resourceType": "Patient", "id": "a", "gender": "male", "birthDate": "2018-05-01"},
    {"resourceType": "Encounter", "id": "e", "status": "finished", "subject": PATIENT, "class": {"code": "IMP"},
     "period": {"start": "2023-01-10", "end": "2023-02-07"}},
    {"resourceType": "Condition", "id": "ball", "subject": PATIENT, "onsetDateTime": "2022-06-01",
     "code": {"coding": [{"system": "http://snomed.info/sct", "code": "277571004"}]}},
    {"resourceType": "Condition", "id": "crs", "subject": PATIENT, "onsetDateTime": "2023-01-12",
     "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "D89.831"}]}},
    {"resourceType": "MedicationAdministration", "id": "bag", "status": "completed", "subject": PATIENT,
     "medicationCodeableConcept": {"coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm",
                                               "code": "1597258"}]},
     "effectivePeriod": {"start": "2023-01-10T10:00:00Z", "end": "2023-02-07T10:00:00Z"}},
    {"resourceType": "MedicationAdministration", "id": "pressor", "status": "completed", "subject": PATIENT,
     "medicationCodeableConcept": {"coding": [{"system": "http://www.whocc.no/atc", "code": "C01CA03"}]},
     "effectivePeriod": {"start": "2023-01-12T10:00:00Z", "end": "2023-01-13T10:00:00Z"}},
    {"resourceType": "Observation", "id": "t", "status": "final", "subject": PATIENT,
     "effectiveDateTime": "2023-01-12T12:00:00Z",
     "code": {"coding": [{"system": "http://loinc.org", "code": "8310-5"}]},
     "valueQuantity": {"value": 101.3, "unit": "°F", "system": "http://unitsofmeasure.org", "code": "[degF]"}},
    {"resourceType": "Observation", "id": "bp", "status": "final", "subject": PATIENT,
     "effectiveDateTime": "2023-01-12T12:00:00Z",
     "code": {"coding": [{"system": "http://loinc.org", "code": "85354-9"}]},
     "component": [{"code": {"coding": [{"system": "http://loinc.org", "code": "8480-6"}]},
                    "valueQuantity": {"value": 71, "unit": "mmHg", "code": "mm[Hg]"}},
                   {"code": {"coding": [{"system": "http://loinc.org", "code": "8462-4"}]},
                    "valueQuantity": {"value": 40, "unit": "mmHg", "code": "mm[Hg]"}}]},
    {"resourceType": "Observation", "id": "spo2", "status": "final", "subject": PATIENT,
     "effectiveDateTime": "2023-01-12T12:00:00Z",
     "code": {"coding": [{"system": "http://loinc.org", "code": "59408-5"}]},
     "valueQuantity": {"value": 91, "unit": "%", "code": "%"},
     "component": [{"code": {"coding": [{"system": "http://loinc.org", "code": "3151-8"}]},
                    "valueQuantity": {"value": 4, "unit": "L/min", "code": "L/min"}}]},
    {"resourceType": "Device", "id": "v", "type": {"coding": [{"system": "http://snomed.info/sct",
                                                              "code": "425826004"}]}},
    {"resourceType": "DeviceUseStatement", "id": "u", "status": "completed", "subject": PATIENT,
     "device": {"reference": "Device/v"}, "timingPeriod": {"start": "2023-01-14", "end": "2023-01-15"}},
    {"resourceType": "Observation", "id": "t2", "status": "final", "subject": PATIENT,
     "effectiveDateTime": "2023-01-15T12:00:00Z",
     "code": {"coding": [{"system": "http://loinc.org", "code": "8310-5"}]},
     "valueQuantity": {"value": 38.2, "unit": "Cel", "system": "http://unitsofmeasure.org", "code": "Cel"}},
]  # fmt: skip


@pytest.mark.parametrize(("left_out", "grade"), [((), 4), (("u",), 3), (("u", "pressor"), 2)])
def test_signs_come_through_the_mapping_with_the_shipped_vocabulary(
    tmp_path: Path, left_out: tuple[str, ...], grade: int
) -> None:
    sent = tmp_path / "in"
    sent.mkdir()
    lines = [json.dumps(one) for one in FHIR if one["id"] not in left_out]
    (sent / "child.ndjson").write_text("\n".join(lines), encoding="utf-8")
    url = f"duckdb:///{tmp_path / 'omop.duckdb'}"
    settings = Settings(key="one invented child", data_lock=date(2023, 12, 31), synthetic=True)
    build([Source("ONE", sent)], database=url, settings=settings)
    with open_cdm(url) as cdm:
        course = derive(cdm, load_study().for_settings(settings)).courses.row(0, named=True)
    assert (course["crs_recorded"], course["crs_astct"]) == (1, grade)
