"""The derived frames as the tables of the schema `results`, under the names of PROTOCOL.md section 6."""

import polars as pl

from analytics.derive import Derived

_PATIENT = {
    "burden_reduction_chemo": "burden_reduction",
    "genetic_subtype": "genetics",
    "poor_cytogenetics": "poor_cytogenetics_nested",
    "high_mrd_ge1pct": "high_mrd",
    "first_blina_date": "first_bag_date",
}
_COURSE = {
    "infusion_days": "delivered_days",
    "step_dose": "step",
    "response_cr": "response",
    "cd19_loss_complete": "cd19_antigen_loss",
    "cd19_loss_2missing": "cd19_bcell_loss",
}


def results_tables(derived: Derived) -> dict[str, pl.DataFrame]:
    """study_patient, study_course, study_adverse_event, study_lab_window, study_event and the rest of schema `results`.

    The rest: study_parameter, dq_counter, attrition, evidence. study_course adds cr_depth (CR, CRh, CRi), state_grade,
    counts_missing. Concept sets and how they resolved: study_concept_set. Every table carries param_hash; the caller
    adds its run_id.
    """
    depths = derived.course_times.select("person_id", "course_no", "cr_depth", "state_grade", "counts_missing")
    tables = {
        "study_patient": derived.patients.rename(_PATIENT),
        "study_course": derived.courses.rename(_COURSE).join(depths, on=["person_id", "course_no"], how="left"),
        "study_adverse_event": derived.adverse_events,
        "study_lab_window": derived.lab_windows.rename({"operator": "censor_flag"}),
        "study_event": derived.events.rename({"grade": "evidence"}),
        "study_parameter": derived.parameters,
        "study_concept_set": derived.concept_sets,
        "dq_counter": derived.counters,
        "attrition": derived.attrition,
        "evidence": derived.evidence.rename({"table": "target_table", "key": "target_key", "field": "target_field"}),
    }
    return {name: frame.with_columns(param_hash=pl.lit(derived.param_hash)) for name, frame in tables.items()}
