"""Realities that only count or list something (REALITIES.md): each is seen where it is, and nowhere else."""

import pytest
from children import TABLES, Children

from analytics import derive, load_study, open_cdm


def _child(kids, name):
    child = kids.add(name)
    child.course()
    return child


def _tell(kids):
    child = _child(kids, "unmapped drug")
    child.cdm.add("drug_exposure", person_id=child.person, drug_concept_id=0, drug_source_value="trial drug X",
                  drug_exposure_start_date=child.day(1), drug_exposure_end_date=child.day(1),
                  drug_type_concept_id=32818)  # fmt: skip
    child = _child(kids, "order after the last contact")
    child.drug("11202", child.day(400), drug_type_concept_id=32838)
    child = _child(kids, "dated by the report")
    blasts, link = child.cdm.concept("BLINA", "BM_BLASTS"), child.specimen(child.day(-3))
    child.number(blasts, child.day(-1), 1.0, "%", **link)
    child = _child(kids, "seizure")
    child.condition(0, child.day(40), "热性惊厥")
    child = _child(kids, "seizure of an ICANS")
    child.condition(0, child.day(3), "Seizure")
    child.graded("ICANS", 4, 3)
    child = _child(kids, "seizure much later")
    child.condition(0, child.day(43), "Seizure")
    child = _child(kids, "transplant elsewhere")
    child.cdm.add("procedure_occurrence", person_id=child.person, procedure_date=child.day(80),
                  procedure_concept_id=child.cdm.concept("SNOMED", "234336002"),
                  procedure_source_value="外院造血干细胞移植")  # fmt: skip
    child = _child(kids, "transplant told of")
    child.cdm.add("observation", person_id=child.person, observation_date=child.day(90),
                  observation_concept_id=child.cdm.concept("SNOMED", "234336002"))  # fmt: skip
    genetics = kids.cdm.concept("BLINA", "GENETICS")
    for name, methods in (("MLPA only", ("MLPA",)), ("MLPA and FISH", ("MLPA", "FISH"))):
        child = _child(kids, name)
        for method in methods:
            child.measure(genetics, child.day(-100), value_as_concept_id=kids.cdm.concept("BLINA", "GEN_IKZF1_DEL"),
                          measurement_source_value=f"IKZF1 {method}")  # fmt: skip
    child = _child(kids, "karyotype nobody can read")
    child.measure(genetics, child.day(-100), value_source_value="46,XX,?del(9)")


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    kids = Children()
    _tell(kids)
    with open_cdm(kids.cdm.write(tmp_path_factory.mktemp("seen") / "omop.duckdb", tables=TABLES)) as cdm:
        yield kids.numbers, derive(cdm, load_study())


@pytest.mark.parametrize(
    ("counter", "n", "among"),
    [
        ("dq_drug_unmapped", 1, 13),
        ("dq_nonclinical_after_contact", 1, 1),
        ("dq_report_date_used", 1, 1),
        ("dq_seizure_unclassified", 1, 3),
        ("dq_hsct_external", 2, 2),
        ("dq_genetics_single_method", 1, 11),
        ("dq_genetics_unparsed", 1, 1),
    ],
)
def test_a_reality_is_counted_where_it_is(seen, counter, n, among):
    _, derived = seen
    rows = derived.counters.filter((derived.counters["counter"] == counter) & (derived.counters["site"] == "all"))
    assert rows.select("n", "denominator").rows() == [(n, among)]


def test_a_transplant_done_elsewhere_counts_with_grade_c(seen):
    numbers, derived = seen
    days = dict(derived.patients.select("person_id", "hsct_day").iter_rows())
    assert [days[numbers[name]] for name in ("transplant elsewhere", "transplant told of")] == [80, 90]
    assert derived.events.filter(derived.events["event"] == "hsct")["grade"].to_list() == ["C", "C"]


def test_ikzf1_by_one_method_is_accepted(seen):
    numbers, derived = seen
    subtypes = dict(derived.patients.select("person_id", "genetic_subtype").iter_rows())
    assert subtypes[numbers["MLPA only"]] == "IKZF1-del"
