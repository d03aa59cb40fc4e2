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
    child = _child(kids, "transplant told of and recorded")
    for table, day, column in (("observation", 50, "observation"), ("procedure_occurrence", 95, "procedure")):
        child.cdm.add(table, person_id=child.person, **{
            f"{column}_date": child.day(day), f"{column}_concept_id": child.cdm.concept("SNOMED", "234336002"),
        })  # fmt: skip
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
        ("dq_drug_unmapped", 1, 14),
        ("dq_nonclinical_after_contact", 1, 1),
        ("dq_report_date_used", 0, 1),
        ("dq_sample_date_used", 1, 1),
        ("dq_seizure_unclassified", 1, 3),
        ("dq_hsct_external", 2, 3),
        ("dq_genetics_single_method", 1, 12),
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
    assert days[numbers["transplant told of and recorded"]] == 95
    assert derived.events.filter(derived.events["event"] == "hsct")["grade"].sort().to_list() == ["A", "C", "C"]


def test_ikzf1_by_one_method_is_accepted(seen):
    numbers, derived = seen
    subtypes = dict(derived.patients.select("person_id", "genetic_subtype").iter_rows())
    assert subtypes[numbers["MLPA only"]] == "IKZF1-del"


ELSEWHERE = set(
    "dq_admin_status_rejected dq_data_absent dq_date_shift_conflict dq_decoded_gb18030 dq_page_missing "
    "dq_person_linked dq_reference_unresolved dq_superseded_versions dq_zone_assumed".split()
)
"""Seen while FHIR is read; a CDM does not show them any more."""
ON_OMOP = set(
    "dq_abs_from_pct dq_after_death dq_bag_end_imputed dq_bag_overlap dq_bags_per_course dq_below_lod "
    "dq_blast_from_text dq_clone_changed dq_code_unit_conflict dq_concept_unresolved dq_counts_missing "
    "dq_course_end_unseen dq_course_multi_site dq_course_split_gt7d dq_crs_system dq_crs_ungraded "
    "dq_cytogenetics_failed dq_cytokine_censored dq_death_month_only dq_death_source_conflict "
    "dq_default_remission_code dq_delay_grade_b dq_delay_grade_c dq_diagnosis_absent dq_dose_deviation_gt20pct "
    "dq_dose_unit_unconvertible dq_drug_unmapped dq_duplicate_admin dq_exposure_low_evidence dq_fullwidth "
    "dq_genetics_from_text dq_genetics_single_method dq_genetics_unparsed dq_hsct_external dq_icans_ungraded "
    "dq_il6_after_tocilizumab dq_indication_conflict dq_interruptions dq_marrow_inadequate dq_marrow_out_of_window "
    "dq_mrd_cd19_gated dq_mrd_comparator dq_mrd_multi_method dq_mrd_negative_text dq_mrd_not_marrow dq_mrd_pos_bq "
    "dq_mrd_unit_normalised dq_mrd_unit_unknown dq_mrd_unparsed dq_negative_survival_time dq_nonclinical_after_contact "
    "dq_overfill dq_person_possible_duplicate dq_planned_days_inferred dq_relapse_from_text dq_report_date_used "
    "dq_seizure_unclassified dq_state_rr_without_rr_indication dq_step_dose dq_steroid_role_unclear "
    "dq_subset_sum_exceeds dq_time_imputed dq_unit_normalised dq_unit_unknown dq_window_empty".split()
)


def test_every_reality_that_a_cdm_can_show_is_counted_also_when_it_is_not_there(seen):
    _, derived = seen
    assert ON_OMOP - set(derived.counters["counter"]) == set()


def test_the_list_of_realities_is_whole():
    from pathlib import Path

    path = Path(__file__).parents[3] / "shared" / "study" / "REALITIES.md"
    if not path.is_file():
        pytest.skip("needs ../shared/study/REALITIES.md")
    import re

    asked = set(re.findall(r"dq_[a-z0-9_]*[a-z0-9]", path.read_text(encoding="utf-8"))) - {"dq_counter"}
    assert asked == ON_OMOP | ELSEWHERE
