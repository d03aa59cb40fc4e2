"""The genetic subtype at baseline and the flags that follow from it (`genetics@1`, `poor_list@1`, A22)."""

import polars as pl

from analytics.concept_sets import ConceptSets
from analytics.courses import days_between
from analytics.disease import condition_in
from analytics.findings import Findings
from analytics.records import Records
from analytics.response import UNKNOWN
from analytics.study import Study

BCR_ABL1 = "BCR::ABL1"
NORMAL = "normal/other"


def derive_genetics(
    patients: pl.DataFrame, records: Records, sets: ConceptSets, study: Study, findings: Findings
) -> pl.DataFrame:
    """The patients with genetic_subtype, poor_cytogenetics (includes BCR::ABL1) and bcr_abl1 (flags null if UNKNOWN).

    `patients` has person_id, first_blina_date, rr_date. Findings before the relapse count before later ones (R27).
    """
    labels = study.get("genetics.labels")
    rank = {one["label"]: position for position, one in enumerate(labels)}
    found = _findings(records, sets, study)
    results = records.measurements.filter(
        sets.within("measurement_concept_id", "CS_GENETICS", *(one["set"] for one in labels)),
        pl.col("value_source_value").is_not_null(),
        ~_answers(sets, study)[1],
    ).join(patients.select("person_id"), on="person_id")
    unread = results.join(found, left_on="measurement_id", right_on="source_id", how="anti")
    findings.count("dq_genetics_unparsed", unread, results)
    rows = found.join(patients.select("person_id", "first_blina_date", "rr_date"), on="person_id")
    rows = rows.filter(days_between(pl.col("first_blina_date"), pl.col("date")) <= study.get("genetics.last_day"))
    rows = rows.with_columns(
        rank=pl.col("label").replace_strict(rank, return_dtype=pl.Int32),
        later=(pl.col("date") >= pl.col("rr_date")).fill_null(value=False),
        says_little=pl.col("label").is_in([NORMAL, UNKNOWN]),
    )
    ordered = rows.sort("later", "rank", "date", "source_id")
    # A failed culture says nothing, even if it is the only result of the baseline.
    known = ordered.filter(pl.col("label") != UNKNOWN)
    best = pl.concat([known, ordered.filter(pl.col("label") == UNKNOWN)]).unique(
        "person_id", keep="first", maintain_order=True
    )
    _record(rows, best, patients, study, findings)
    poor = {one["label"]: one["poor"] for one in labels}
    subtype = pl.col("label").fill_null(UNKNOWN)
    joined = patients.join(best.select("person_id", "label"), on="person_id", how="left")
    flag = subtype.replace_strict(poor, default=None, return_dtype=pl.Boolean)
    return joined.with_columns(
        genetic_subtype=subtype,
        poor_cytogenetics=flag.cast(pl.Int8),
        bcr_abl1=pl.when(flag.is_not_null()).then((subtype == BCR_ABL1).cast(pl.Int8)),
    ).drop("label")


def _findings(records: Records, sets: ConceptSets, study: Study) -> pl.DataFrame:
    """person_id, date, label, source_table, source_id, value: genetic results, and diagnoses that name a subtype."""
    options = {one["set"]: one["label"] for one in study.get("genetics.labels")}
    is_panel = sets.within("measurement_concept_id", "CS_GENETICS")
    positive, negative = _answers(sets, study)
    # A test for one finding says it only when its answer is yes: an answer that nobody can read is none (R26).
    of_test = pl.when(positive).then(sets.choose("measurement_concept_id", options).cast(pl.String))
    measured = records.measurements.with_columns(
        label=pl.coalesce(
            sets.choose("value_as_concept_id", options).cast(pl.String),
            of_test,
            pl.when(is_panel & negative).then(pl.lit(NORMAL)),
        )
    )
    tested = is_panel | sets.within("measurement_concept_id", *options)
    results = measured.filter(tested).select(
        "person_id",
        "label",
        date="measurement_date",
        source_table=pl.lit("measurement"),
        source_id="measurement_id",
        text=pl.col("value_source_value"),
        method=pl.concat_str("measurement_source_value", "value_source_value", separator=" ", ignore_nulls=True),
    )
    named = pl.coalesce(
        pl.when(condition_in(sets, concept_set)).then(pl.lit(label)) for concept_set, label in options.items()
    )
    diagnoses = records.conditions.with_columns(label=named).select(
        "person_id",
        "label",
        date="condition_start_date",
        source_table=pl.lit("condition_occurrence"),
        source_id="condition_occurrence_id",
        text=pl.lit(None, dtype=pl.String),
        method=pl.lit(None, dtype=pl.String),
    )
    return pl.concat([results, diagnoses.filter(pl.col("label").is_not_null())]).filter(pl.col("label").is_not_null())


def _answers(sets: ConceptSets, study: Study) -> tuple[pl.Expr, pl.Expr]:
    """Whether a result says yes, and whether it says no: by its concept, by the words of `mrd_parse`, or by a share.

    A result without any value, as other CDMs hold findings, says yes. A share (%) of cells by FISH says yes from the
    cut-off of `genetics` on.
    """
    rule = study.get("mrd_parse")
    said = pl.col("value_source_value").str.normalize("NFKC").str.to_lowercase().str.strip_chars()
    yes = sets.within("value_as_concept_id", "CS_VALUE_POSITIVE") | said.is_in(rule["positive_words"])
    no = sets.within("value_as_concept_id", "CS_VALUE_NEGATIVE") | said.is_in(rule["negative_words"])
    number = pl.col("value_as_number")
    empty = (
        number.is_null() & pl.col("value_source_value").is_null() & (pl.col("value_as_concept_id").fill_null(0) == 0)
    )
    share = number >= study.get("genetics.fish_from_pct")
    positive = (yes | empty | share).fill_null(value=False) & ~no.fill_null(value=False)
    return positive, (no | (number < study.get("genetics.fish_from_pct"))).fill_null(value=False)


def _record(rows: pl.DataFrame, best: pl.DataFrame, patients: pl.DataFrame, study: Study, findings: Findings) -> None:
    findings.count("dq_cytogenetics_failed", best.filter(pl.col("label") == UNKNOWN), patients)
    findings.count("dq_genetics_missing", patients.join(best, on="person_id", how="anti"), patients)
    coded = pl.col("text").str.contains(study.get("indication.coded_pattern"))
    method = study.get("genetics_method")
    is_method = pl.col("method").str.contains("|".join(method["words"])).fill_null(value=False)
    listed = rows.filter(pl.col("label").is_in(method["labels"]))
    alone = listed.group_by("person_id").agg(alone=is_method.all()).filter("alone")
    findings.count("dq_genetics_single_method", alone, patients)
    findings.count("dq_genetics_from_text", rows.filter(~coded.fill_null(value=True)), rows)
    firm = rows.filter(~pl.col("says_little"))
    clones = firm.group_by("person_id").agg(
        early=pl.col("label").filter(~pl.col("later")).unique(), late=pl.col("label").filter("later").unique()
    )
    changed = clones.filter(
        (pl.col("early").list.len() > 0) & (pl.col("late").list.set_difference("early").list.len() > 0)
    )
    findings.count("dq_clone_changed", changed, patients)
    for (source_table,), part in best.group_by("source_table", maintain_order=True):
        findings.evidence(
            part.with_columns(coded=coded.fill_null(value=True)),
            table="study_patient",
            field="genetic_subtype",
            rule=study.rule("genetics"),
            grade=pl.when("coded").then(pl.lit("A")).otherwise(pl.lit("C")),
            source_table=str(source_table),
            source_id="source_id",
        )
