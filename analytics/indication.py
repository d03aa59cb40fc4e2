"""Why blinatumomab was started, and what came before it (PROTOCOL.md 3 and 5.2: rr, indication, chemo_delay, …)."""

import polars as pl

from analytics.concept_sets import ConceptSets
from analytics.concomitant import counted_exposures, is_systemic_chemotherapy
from analytics.courses import days_between
from analytics.findings import Findings
from analytics.records import Records
from analytics.response import MRDNEG, MRDPOS, RR, UNKNOWN
from analytics.study import Study

CR_MRDPOS, CR_MRDNEG, CHEMO_DELAY = "CR_MRDpos", "CR_MRDneg", "CHEMO_DELAY"
_REASONS = {"CS_IND_RR": RR, "CS_IND_CR_MRDPOS": CR_MRDPOS, "CS_IND_CHEMO_DELAY": CHEMO_DELAY}


def derive_indications(
    patients: pl.DataFrame, records: Records, events: pl.DataFrame, sets: ConceptSets, study: Study, findings: Findings
) -> pl.DataFrame:
    """The patients with indication, indication_grade, burden_reduction_chemo (1, 0, null unknown) and km_stratum.

    `patients` has person_id, first_blina_date, pre_course1_state; `events` come from disease.py.
    """
    for one in (
        _reason(patients, records, sets, study),
        _relapsed(patients, events, study),
        _delay(patients, records, sets, study, findings),
    ):
        patients = patients.join(one, on="person_id", how="left")
    patients = _decided(patients, study)
    _record(patients, study, findings)
    patients = _burden_reduction(patients, records, sets, study, findings)
    return patients.with_columns(km_stratum=stratum(study), prior_relapse=_prior_relapse())


def stratum(study: Study) -> pl.Expr:
    """`stratum@1` (or `indication`, `state`): the survival stratum of a patient."""
    by_state = pl.col("pre_course1_state").replace_strict(
        {RR: RR, MRDPOS: CR_MRDPOS, MRDNEG: CR_MRDNEG}, default=UNKNOWN, return_dtype=pl.String
    )
    rule = study.get("stratum.rule")
    if rule == "state":
        return by_state
    if rule == "indication":
        return pl.col("indication")
    return pl.when(pl.col("indication") == RR).then(pl.lit(RR)).otherwise(by_state)


def _prior_relapse() -> pl.Expr:
    """1 with a relapse recorded up to the first bag, 0 without; null where only the order says that there was one."""
    untold = (pl.col("indication") == RR) & pl.col("rr_date").is_null()
    return pl.when(~untold).then(pl.col("relapsed").fill_null(value=False)).cast(pl.Int8)


def _reason(patients: pl.DataFrame, records: Records, sets: ConceptSets, study: Study) -> pl.DataFrame:
    """person_id, reason, reason_grade, reason_id: the last explicit reason on an order before the first bag."""
    rows = records.observations.filter(sets.within("observation_concept_id", "CS_INDICATION")).with_columns(
        reason=sets.choose("value_as_concept_id", _REASONS).cast(pl.String)
    )
    rows = rows.filter(pl.col("reason").is_not_null()).join(
        patients.select("person_id", "first_blina_date"), on="person_id"
    )
    day = days_between(pl.col("first_blina_date"), pl.col("observation_date"))
    coded = pl.col("value_source_value").str.contains(study.get("indication.coded_pattern")).fill_null(value=True)
    rows = rows.filter(day <= study.get("indication.reason_last_day")).with_columns(
        reason_grade=pl.when(coded).then(pl.lit("A")).otherwise(pl.lit("C"))
    )
    # Better evidence first, then the later record (PROTOCOL.md 5.1, ties).
    rows = rows.sort("reason_grade", "observation_date", "observation_id", descending=[False, True, True])
    first = rows.unique("person_id", keep="first", maintain_order=True)
    return first.select("person_id", "reason", "reason_grade", reason_id="observation_id")


def _relapsed(patients: pl.DataFrame, events: pl.DataFrame, study: Study) -> pl.DataFrame:
    """person_id, relapsed, rr_date (last relapse or refractory record up to the first bag), rr_grade, _table, _id."""
    rows = events.filter(pl.col("event").is_in(["relapse", "refractory"])).join(
        patients.select("person_id", "first_blina_date"), on="person_id"
    )
    rows = rows.filter(days_between(pl.col("first_blina_date"), pl.col("date")) <= study.get("rr.last_day"))
    rows = rows.sort("date", "grade", "source_id", descending=[True, False, True])
    last = rows.unique("person_id", keep="first", maintain_order=True)
    relapsed = rows.group_by("person_id").agg(relapsed=(pl.col("event") == "relapse").any())
    return last.join(relapsed, on="person_id").select(
        "person_id", "relapsed", rr_date="date", rr_grade="grade", rr_table="source_table", rr_id="source_id"
    )


def _delay(
    patients: pl.DataFrame, records: Records, sets: ConceptSets, study: Study, findings: Findings
) -> pl.DataFrame:
    """person_id, delay_days, delay_grade, delay_id: `chemo_delay@1` without its condition on relapse."""
    rule = study.get("chemo_delay")
    rows = records.observations.filter(sets.within("observation_concept_id", "CS_PLANNED_BLOCK")).join(
        patients.select("person_id", "first_blina_date"), on="person_id"
    )
    delay = days_between(pl.col("observation_date"), pl.col("first_blina_date"))
    counted = sets.within("qualifier_concept_id", *rule["reasons"]) | sets.within(
        "value_as_concept_id", *rule["reasons"]
    )
    rows = rows.with_columns(delay_days=delay)
    late = rows.filter(counted & (delay >= rule["from_days"]))
    findings.count("dq_delay_too_short", rows.filter(delay.is_between(0, rule["from_days"], closed="left")), rows)
    longest = late.sort("delay_days", "observation_id").unique("person_id", keep="last", maintain_order=True)
    return longest.select("person_id", "delay_days", delay_grade=pl.lit("B"), delay_id="observation_id")


def _decided(patients: pl.DataFrame, study: Study) -> pl.DataFrame:
    """`indication@1`: an explicit reason, else the first rule of `indication.order` that holds."""
    is_rr, no_reason = pl.col("rr_date").is_not_null(), pl.col("reason").is_null()
    rules = {
        "rr": (is_rr, RR, pl.when(pl.col("rr_grade") == "C").then(pl.lit("C")).otherwise(pl.lit("B")), "rr"),
        "chemo_delay": (pl.col("delay_days").is_not_null() & ~is_rr, CHEMO_DELAY, pl.col("delay_grade"), "chemo_delay"),
        "mrd": (pl.col("pre_course1_state") == MRDPOS, CR_MRDPOS, pl.lit("B"), "indication"),
    }
    value, grade, rule = pl.lit(UNKNOWN), pl.lit(None, dtype=pl.String), pl.lit(study.rule("indication"))
    for name in reversed(study.get("indication.order")):
        holds, label, graded, by = rules[name]
        value = pl.when(holds).then(pl.lit(label)).otherwise(value)
        grade = pl.when(holds).then(graded).otherwise(grade)
        rule = pl.when(holds).then(pl.lit(study.rule(by))).otherwise(rule)
    return patients.with_columns(
        indication=pl.when(no_reason).then(value).otherwise("reason"),
        indication_grade=pl.when(no_reason).then(grade).otherwise("reason_grade"),
        indication_rule=pl.when(no_reason).then(rule).otherwise(pl.lit(study.rule("indication"))),
    )


def _burden_reduction(
    patients: pl.DataFrame, records: Records, sets: ConceptSets, study: Study, findings: Findings
) -> pl.DataFrame:
    """`burden_reduction@1`: systemic chemotherapy from the relapse to the first bag; null without any drug record."""
    rule = study.get("burden_reduction")
    drugs = records.drugs.join(patients.select("person_id", "first_blina_date", "rr_date"), on="person_id")
    day = days_between(pl.col("first_blina_date"), pl.col("drug_exposure_start_date"))
    drugs = counted_exposures(drugs.filter(day.is_between(rule["first_day"], rule["last_day"])), records, study)
    chemo = is_systemic_chemotherapy(sets, study)
    after = (pl.col("drug_exposure_start_date") >= pl.col("rr_date")).fill_null(value=True)
    counted = pl.col("drug_exposure_id").filter(chemo & after)
    patients = patients.join(drugs.group_by("person_id").agg(chemo_ids=counted.sort()), on="person_id", how="left")
    is_rr = pl.col("indication") == RR
    findings.evidence(
        patients.filter(is_rr & (pl.col("chemo_ids").list.len() > 0)),
        table="study_patient",
        field="burden_reduction_chemo",
        rule=study.rule("burden_reduction"),
        grade="B",
        source_table="drug_exposure",
        source_id="chemo_ids",
    )
    reduced = pl.when(is_rr).then((pl.col("chemo_ids").list.len() > 0).cast(pl.Int8))
    return patients.with_columns(
        burden_reduction_chemo=reduced.otherwise(pl.lit(0, dtype=pl.Int8)),
    ).drop("chemo_ids")


def _record(patients: pl.DataFrame, study: Study, findings: Findings) -> None:
    contradicts = (
        pl.col("reason").is_not_null() & (pl.col("reason") != RR) & pl.col("rr_date").is_not_null()
    ).fill_null(value=False)
    findings.count("dq_indication_conflict", patients.filter(contradicts), patients)
    state_only = (pl.col("pre_course1_state") == RR) & (pl.col("indication") != RR)
    findings.count("dq_state_rr_without_rr_indication", patients.filter(state_only), patients)
    delayed = patients.filter(pl.col("indication") == CHEMO_DELAY)
    for grade in ("B", "C"):
        graded = delayed.filter(pl.col("indication_grade") == grade)
        findings.count(f"dq_delay_grade_{grade.lower()}", graded, delayed)
    sources = (
        ("reason_id", pl.col("reason").is_not_null(), "observation"),
        ("delay_id", pl.col("reason").is_null() & (pl.col("indication") == CHEMO_DELAY), "observation"),
    )
    for source_id, which, source_table in sources:
        _evidence(patients.filter(which), source_id, source_table, findings)
    for (source_table,), rows in patients.filter(pl.col("reason").is_null() & (pl.col("indication") == RR)).group_by(
        "rr_table"
    ):
        _evidence(rows, "rr_id", str(source_table), findings)


def _evidence(rows: pl.DataFrame, source_id: str, source_table: str, findings: Findings) -> None:
    for (rule,), part in rows.group_by("indication_rule", maintain_order=True):
        findings.evidence(
            part,
            table="study_patient",
            field="indication",
            rule=str(rule),
            grade=pl.col("indication_grade"),
            source_table=source_table,
            source_id=source_id,
        )
