"""The study's frames from a CDM: read → bags → courses → marrows → response → indication → outcomes."""

from dataclasses import dataclass

import polars as pl

from analytics.adverse_events import derive_adverse_events
from analytics.cdm import Cdm
from analytics.cohort import derive_full_analysis_set, imm_pairs, whole_attrition, with_site
from analytics.concept_sets import ConceptSets, resolve_concept_sets
from analytics.concomitant import derive_tki, systemic_chemotherapy, with_chemotherapy_recorded
from analytics.counts import cell_counts
from analytics.courses import days_between, derive_courses, number_courses
from analytics.disease import derive_diagnoses, derive_disease_events
from analytics.doses import body_size, derive_doses
from analytics.exposure import blinatumomab_orders, derive_bags
from analytics.findings import Findings
from analytics.followup import day_of, derive_deaths, derive_last_contacts, derive_therapies
from analytics.genetics import derive_genetics
from analytics.immune import derive_cd19_loss, derive_lab_points, derive_lab_windows, paired_courses
from analytics.indication import derive_indications
from analytics.marrow import derive_assessments
from analytics.mrd import POS_BQ
from analytics.outcomes import derive_outcomes
from analytics.realities import count_realities
from analytics.records import Records, read_records, with_decimal_separators
from analytics.response import RR, derive_responses
from analytics.safety import count_steroids, derive_toxicity
from analytics.study import Study

_KEYS = ["person_id", "course_no"]

PATIENTS = (
    "person_id site sex birth_date diagnosis_date age_years weight_kg bsa_m2 indication indication_grade "
    "prior_relapse burden_reduction_chemo pre_course1_state km_stratum genetic_subtype poor_cytogenetics bcr_abl1 "
    "high_mrd_ge1pct first_blina_date n_courses hsct_day cart_day efs_days efs_event efs_event_type os_days os_event "
    "last_contact_date tki chemo_recorded"
).split()
"""Columns of `Derived.patients`: dates `Date`, flags `Int8` (null: unknown), days `Int32` from the first bag."""

COURSES = (
    "person_id course_no site start_day end_day start_date end_date infusion_days interruption_hours planned_days "
    "complete evaluable dose_regimen step_dose state_pre blasts_pre_pct mrd_pre_pct assessment_day blasts_post_pct "
    "mrd_post_pct response_cr mrd_neg_post poor_cytogenetics bcr_abl1 cd19_loss_complete cd19_loss_2missing crs_grade "
    "icans_grade crs_recorded crs_system crs_astct crs_astct_basis crs_ctcae crs_ctcae_basis"
).split()
"""Columns of `Derived.courses`: days from the first bag of course 1, doses in words, MRD and blasts in %."""

EVENTS = "person_id event date day label grade rule source_table source_ids".split()


@dataclass(frozen=True)
class Derived:
    """Everything that the study derives, as frames (columns: `PATIENTS`, `COURSES`, `EVENTS`, `immune.WINDOWS`,
    `immune.POINTS`, `adverse_events.ADVERSE_EVENTS`, …).

    `pairs`: person_id, course_no with both T-cell windows. `bags` and `course_times` carry exact local datetimes and
    the ids of source rows; episodes are made from them.
    """

    patients: pl.DataFrame
    courses: pl.DataFrame
    lab_windows: pl.DataFrame
    lab_points: pl.DataFrame
    adverse_events: pl.DataFrame
    events: pl.DataFrame
    counters: pl.DataFrame
    attrition: pl.DataFrame
    evidence: pl.DataFrame
    pairs: pl.DataFrame
    bags: pl.DataFrame
    course_times: pl.DataFrame
    regimen_concept_id: int
    concept_sets: pl.DataFrame
    parameters: pl.DataFrame
    param_hash: str


def derive(cdm: Cdm, study: Study) -> Derived:
    """All frames of the study. Raises StudyError when a needed concept set is not in the vocabulary."""
    sets = resolve_concept_sets(cdm, study)
    return derive_from(cdm, sets, read_records(cdm, sets, study), study)


def derive_from(cdm: Cdm, sets: ConceptSets, records: Records, study: Study) -> Derived:
    """As `derive`, from rows that are read already: several definitions on the same rows."""
    findings = Findings()
    findings.count_number("dq_concept_unresolved", sets.unresolved.height)
    bags = number_courses(derive_bags(records, sets, study, findings), study)
    courses = derive_courses(bags, blinatumomab_orders(records, sets, study), study, findings)
    courses = with_site(courses, bags, records, findings)
    diagnoses = derive_diagnoses(records, sets)
    patients, steps = derive_full_analysis_set(courses, diagnoses, records, sets, study, findings)
    courses = courses.join(patients.select("person_id"), on="person_id", how="semi")
    bags = bags.join(patients.select("person_id"), on="person_id", how="semi")
    records = with_decimal_separators(records, patients, study)
    disease = derive_disease_events(records, sets, study, findings)
    assessments = derive_assessments(records, sets, study, findings)
    courses = _responses(courses, bags, assessments, disease, records, sets, study, findings)
    patients = _baseline(patients, courses, disease, records, sets, study, findings)
    patients, events = _follow(patients, courses, assessments, disease, records, sets, study, findings)
    count_realities(patients, bags, records, sets, study, findings)
    windows = derive_lab_windows(courses, records, sets, study, findings)
    pairs = paired_courses(windows, study)
    flags = patients.select("person_id", "poor_cytogenetics", "bcr_abl1")
    courses = courses.join(flags, on="person_id", how="left").sort(_KEYS)
    sites = patients.select("person_id", "site")
    return Derived(
        patients=patients.select(PATIENTS).sort("person_id"),
        courses=courses.select(COURSES),
        lab_windows=windows,
        lab_points=derive_lab_points(courses, records, sets, study),
        adverse_events=derive_adverse_events(courses, records, sets, study, findings),
        events=events.select(EVENTS),
        counters=findings.counters_frame(sites),
        attrition=whole_attrition(cdm, sets, steps, courses, imm_pairs(pairs)),
        evidence=findings.evidence_frame(),
        pairs=pairs,
        bags=bags,
        course_times=courses,
        regimen_concept_id=next(iter(sets.ids("CS_REGIMEN_BLINATUMOMAB")), 0),
        concept_sets=_resolved(sets),
        parameters=study.settings_table(),
        param_hash=study.param_hash,
    )


def _responses(
    courses: pl.DataFrame,
    bags: pl.DataFrame,
    assessments: pl.DataFrame,
    disease: pl.DataFrame,
    records: Records,
    sets: ConceptSets,
    study: Study,
    findings: Findings,
) -> pl.DataFrame:
    """The courses with doses, states, responses, CD19 loss and toxicity."""  # fmt: skip
    sized = body_size(courses.select(*_KEYS, date="start_date"), records, sets, study)
    courses = courses.join(sized.select(*_KEYS, "weight_kg", "bsa_m2"), on=_KEYS, how="left")
    courses = courses.join(derive_doses(bags, courses, study, findings), on=_KEYS, how="left")
    count_steroids(courses, bags, records, sets, study, findings)
    counts = cell_counts(records, {"ANC": "CS_ANC", "PLT": "CS_PLT"}, sets, study, findings)
    courses = derive_responses(courses, assessments, counts, disease, study, findings)
    courses = courses.join(derive_cd19_loss(courses, records, sets, study, findings), on=_KEYS, how="left")
    return courses.join(derive_toxicity(courses, bags, records, sets, study, findings), on=_KEYS, how="left")


def _baseline(
    patients: pl.DataFrame,
    courses: pl.DataFrame,
    disease: pl.DataFrame,
    records: Records,
    sets: ConceptSets,
    study: Study,
    findings: Findings,
) -> pl.DataFrame:
    """The patients with everything known at the first bag."""  # fmt: skip
    known = courses.filter(pl.col("course_no") == 1).select(
        "person_id",
        "weight_kg",
        bsa_m2=pl.col("bsa_m2").round(2),
        pre_course1_state="state_pre",
        high_mrd_ge1pct=_high_mrd(study),
    )
    numbers = courses.group_by("person_id").agg(n_courses=pl.len().cast(pl.Int32))
    patients = patients.join(known, on="person_id", how="left").join(numbers, on="person_id", how="left")
    patients = derive_indications(patients, records, disease, sets, study, findings)
    findings.evidence(
        patients.filter(pl.col("diagnosis_id").is_not_null()),
        table="study_patient",
        field="diagnosis_date",
        rule=study.rule("ball"),
        grade="A",
        source_table="condition_occurrence",
        source_id="diagnosis_id",
    )
    patients = derive_genetics(patients, records, sets, study, findings)
    patients = derive_tki(patients, courses, records, sets, study, findings)
    return with_chemotherapy_recorded(patients, systemic_chemotherapy(records, sets, study), findings)


def _high_mrd(study: Study) -> pl.Expr:
    """`high_mrd@1` of course 1: state RR is high; a positive MRD without a number is null (A11)."""
    kind = pl.col("mrd_pre_kind")
    by_number = (pl.col("mrd_pre_pct") >= study.get("high_mrd.from_pct")).cast(pl.Int8)
    below = pl.when(kind == POS_BQ).then(pl.lit(0, dtype=pl.Int8)).otherwise(by_number)
    return pl.when(pl.col("state_pre") == RR).then(pl.lit(1, dtype=pl.Int8)).otherwise(below)


def _follow(
    patients: pl.DataFrame,
    courses: pl.DataFrame,
    assessments: pl.DataFrame,
    disease: pl.DataFrame,
    records: Records,
    sets: ConceptSets,
    study: Study,
    findings: Findings,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The patients with their outcomes, and the events frame."""  # fmt: skip
    deaths = derive_deaths(records, sets, study, findings).join(patients, on="person_id", how="semi")
    therapies = derive_therapies(patients, records, sets, study, findings)
    contacts = derive_last_contacts(patients, deaths, records, sets, study, findings)
    for frame in (day_of(therapies, "hsct", patients), day_of(therapies, "cart", patients), contacts):
        patients = patients.join(frame, on="person_id", how="left")
    patients, found = derive_outcomes(patients, courses, assessments, disease, deaths, study, findings)
    traced = patients.filter(pl.col("contact_id").is_not_null()).select(
        "person_id", field=pl.lit("last_contact_date"), source_table="contact_table", source_id="contact_id"
    )
    fields = {"hsct": "hsct_day", "cart": "cart_day", "death": "os_event"}
    columns = ["person_id", "event", "source_table", "source_id"]
    happened = pl.concat([therapies.select(columns), found.select(columns)]).with_columns(
        field=pl.col("event").replace_strict(fields, default="efs_event", return_dtype=pl.String)
    )
    rules = {"last_contact_date": "last_contact", "hsct_day": "hsct", "cart_day": "cart", "os_event": "death_date"}
    everything = pl.concat([traced, happened.select(traced.columns)])
    for (field, source_table), rows in everything.group_by("field", "source_table", maintain_order=True):
        findings.evidence(
            rows,
            table="study_patient",
            field=str(field),
            rule=study.rule(rules.get(str(field), "efs")),
            source_table=str(source_table),
            source_id="source_id",
        )
    return patients, _events(patients, disease, therapies, found, study)


_RULES = {
    "hsct": "hsct", "cart": "cart", "relapse": "relapse", "refractory": "efs", "death": "death_date",
    "second_malignancy": "efs", "mrd_reappearance": "efs", "remission": "rr", "extramedullary": "relapse",
}  # fmt: skip


def _events(
    patients: pl.DataFrame, disease: pl.DataFrame, therapies: pl.DataFrame, found: pl.DataFrame, study: Study
) -> pl.DataFrame:
    """All events of the FAS with days from the first bag; label `recorded`, or `outcome` for those that efs@1 found."""
    rules = {event: study.rule(rule) for event, rule in _RULES.items()}
    parts = [
        disease.select("person_id", "event", "date", "grade", "source_table", "source_id", label=pl.lit("recorded")),
        therapies.select("person_id", "event", "date", "source_table", "source_id", "grade", label=pl.lit("recorded")),
        found.select(
            "person_id", "event", "date", "source_table", "source_id", grade=pl.lit("B"), label=pl.lit("outcome")
        ),
    ]
    columns = ["person_id", "event", "date", "grade", "source_table", "source_id", "label"]
    events = pl.concat(part.select(columns) for part in parts).join(
        patients.select("person_id", "first_blina_date"), on="person_id"
    )
    return events.with_columns(
        day=days_between(pl.col("first_blina_date"), pl.col("date")),
        rule=pl.col("event").replace_strict(rules),
        source_ids=pl.col("source_id").cast(pl.String),
    ).sort("person_id", "date", "event", "label", "source_table", "source_ids")


def _resolved(sets: ConceptSets) -> pl.DataFrame:
    """concept_set, members, resolved, unverified (members of status U that were found), concepts (with descendants)."""
    members = sets.members.group_by("concept_set").agg(
        members=pl.len(),
        resolved=pl.col("concept_id").is_not_null().sum(),
        unverified=((pl.col("status") == "U") & pl.col("concept_id").is_not_null()).sum(),
    )
    concepts = sets.concepts.group_by("concept_set").agg(concepts=pl.len())
    return members.join(concepts, on="concept_set", how="left").fill_null(0).sort("concept_set")
