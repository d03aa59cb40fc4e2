"""Adequate marrows: one row per person and day with blasts and MRD (`adequate_marrow@1`, `assessment@1`).

Blood and CSF never count. Of several results of a day: better grade, ungated before CD19-gated, flow before PCR before
NGS, later time, larger id (PROTOCOL.md 5.1, 5.2, A07).
"""

import polars as pl

from analytics.concept_sets import ConceptSets
from analytics.findings import Findings
from analytics.mrd import BELOW_CUTOFF, INADEQUATE, NEGATIVE, POS_BQ, POSITIVE, UNPARSED, Mrd, parse_mrd
from analytics.records import Records
from analytics.study import Study

OPERATORS = {
    "CS_OPERATOR_LT": "<",
    "CS_OPERATOR_LE": "<=",
    "CS_OPERATOR_EQ": "=",
    "CS_OPERATOR_GT": ">",
    "CS_OPERATOR_GE": ">=",
}
_MRD_READ = {"mrd_pct": pl.Float64, "mrd_operator": pl.String, "mrd_kind": pl.String}


def derive_assessments(
    records: Records, sites: pl.DataFrame, sets: ConceptSets, study: Study, findings: Findings
) -> pl.DataFrame:
    """One row per adequate marrow; `sites`: person_id, site (for its decimal separator).

    Columns: person_id, date, blasts_pct, blasts_grade, blasts_id, mrd_pct (%), mrd_operator, mrd_kind, mrd_grade,
    mrd_id, cd19_gated.
    """
    blasts = _best(_blasts(records, sets, study, findings), "blasts")
    mrd = _best(_mrd(records, sites, sets, study, findings), "mrd")
    days = blasts.join(mrd, on=["person_id", "date"], how="full", coalesce=True).sort("person_id", "date")
    return _joined(days, study)


def _from_marrow(records: Records, sets: ConceptSets, study: Study) -> pl.DataFrame:
    """All measurements with `is_marrow` (their specimen is none other than marrow) and `operator`."""
    words = study.get("specimen_words")
    concepts = ("specimen_concept_id", "anatomic_site_concept_id")
    written = pl.concat_str("specimen_source_value", "anatomic_site_source_value", separator=" ", ignore_nulls=True)
    is_other = pl.any_horizontal(sets.within(one, "CS_SPECIMEN_OTHER") for one in concepts)
    is_marrow = pl.any_horizontal(sets.within(one, "CS_SPECIMEN_MARROW") for one in concepts)
    says_other = written.str.contains("|".join(words["other"])) & ~written.str.contains("|".join(words["marrow"]))
    return records.measurements.with_columns(
        is_marrow=~is_other & (is_marrow | ~says_other.fill_null(value=False)),
        operator=sets.choose("operator_concept_id", OPERATORS),
    )


def _blasts(records: Records, sets: ConceptSets, study: Study, findings: Findings) -> pl.DataFrame:
    rule = study.get("marrow_blasts")
    rows = _from_marrow(records, sets, study).filter(
        sets.within("measurement_concept_id", "CS_MARROW_BLASTS"), pl.col("is_marrow")
    )
    written = pl.coalesce("unit_code", "unit_source_value")
    folded = pl.col("value_source_value").str.normalize("NFKC")
    in_text = folded.str.extract(rule["text_pattern"], 1).cast(pl.Float64)
    from_text = pl.col("value_as_number").is_null() & in_text.is_not_null()
    is_number = pl.col("value_as_number").is_not_null() & (written.is_null() | written.is_in(rule["units"]))
    rows = rows.with_columns(
        blasts_pct=pl.when(is_number).then("value_as_number").when(from_text).then(in_text),
        blasts_grade=pl.when(from_text).then(pl.lit("C")).otherwise(pl.lit("A")),
        folds=folded != pl.col("value_source_value"),
    )
    findings.count("dq_blast_from_text", rows.filter(pl.col("blasts_grade") == "C"), rows)
    findings.count("dq_fullwidth", rows.filter("folds"), rows)
    findings.count("dq_marrow_inadequate", rows.filter(pl.col("blasts_pct").is_null()), rows)
    usable = rows.filter(pl.col("blasts_pct").is_between(0, 100))
    return usable.with_columns(blasts_rank=pl.lit(0), cd19_gated=pl.lit(value=False))


def _mrd(records: Records, sites: pl.DataFrame, sets: ConceptSets, study: Study, findings: Findings) -> pl.DataFrame:
    methods = study.get("mrd_method.order")
    everything = _from_marrow(records, sets, study).join(sites.select("person_id", "site"), on="person_id", how="left")
    of_blood = sets.within("measurement_concept_id", "CS_MRD_BLOOD")
    rows = everything.filter(sets.within("measurement_concept_id", *methods) | of_blood)
    findings.count("dq_mrd_not_marrow", rows.filter(of_blood | ~pl.col("is_marrow")), rows)
    rows = rows.filter(~of_blood & pl.col("is_marrow"))
    gated = "|".join(study.get("mrd_parse.cd19_gated_words"))
    says_gated = [pl.col(one).str.contains(gated) for one in ("measurement_source_value", "value_source_value")]
    rows = _read(rows, sets, study).with_columns(
        mrd_grade=pl.lit("A"),
        mrd_rank=sets.choose("measurement_concept_id", {name: rank for rank, name in enumerate(methods)}),
        cd19_gated=pl.any_horizontal(says_gated).fill_null(value=False),
    )
    _count(rows, findings)
    return rows.filter(~pl.col("mrd_kind").is_in([UNPARSED, INADEQUATE]))


def _read(rows: pl.DataFrame, sets: ConceptSets, study: Study) -> pl.DataFrame:
    """`mrd_parse@1`, once per distinct result; a word that the site's map knows comes before the grammar's words."""
    rule, known = study.get("mrd_parse"), "percent_units fraction_units per_million_units".split()
    units = [unit for name in known for unit in rule[name]]
    written = pl.when(pl.col("unit_source_value").is_in(units)).then("unit_source_value").otherwise("unit_code")
    rows = rows.with_columns(unit=written)
    keys = ["value_source_value", "value_as_number", "unit", "operator", "site"]
    distinct = rows.select(keys).unique(maintain_order=True)
    separators, default = rule["decimal_separator"].get("sites") or {}, rule["decimal_separator"]["default"]
    results = [
        parse_mrd(
            row[0],
            row[1],
            row[2],
            row[3],
            rule,
            cutoff_pct=study.get("mrd_positive.from_pct"),
            inadequate=tuple(study.get("marrow_inadequate.words")),
            decimal_separator=separators.get(row[4], default),
        )
        for row in distinct.iter_rows()
    ]
    distinct = distinct.hstack(_frame(results))
    rows = rows.join(distinct, on=keys, how="left", nulls_equal=True)
    words = {"CS_VALUE_NEGATIVE": NEGATIVE, "CS_VALUE_POSITIVE": POSITIVE, "CS_VALUE_POS_BQ": POS_BQ}
    coded = sets.choose("value_as_concept_id", words)
    mapped = pl.col("mrd_pct").is_null() & (pl.col("mrd_kind") != INADEQUATE) & coded.is_not_null()
    return rows.with_columns(
        mrd_kind=pl.when(mapped).then(coded).otherwise("mrd_kind"),
    )


def _frame(results: list[Mrd]) -> pl.DataFrame:
    return pl.DataFrame([(one.value, one.operator, one.kind) for one in results], schema=_MRD_READ, orient="row")


def _best(rows: pl.DataFrame, what: str) -> pl.DataFrame:
    """One row per person and day: the tie rules of the module's first lines."""
    ordered = rows.sort(
        "person_id",
        "measurement_date",
        f"{what}_grade",
        "cd19_gated",
        f"{what}_rank",
        pl.col("measurement_datetime"),
        pl.col("measurement_id"),
        descending=[False, False, False, False, False, True, True],
        nulls_last=True,
    )
    best = ordered.unique(["person_id", "measurement_date"], keep="first", maintain_order=True)
    columns = {
        "blasts": ["blasts_pct", "blasts_grade"],
        "mrd": ["mrd_pct", "mrd_operator", "mrd_kind", "mrd_grade", "cd19_gated"],
    }[what]
    return best.select(
        "person_id", pl.col("measurement_date").alias("date"), *columns, pl.col("measurement_id").alias(f"{what}_id")
    )


def _joined(days: pl.DataFrame, study: Study) -> pl.DataFrame:
    """A day with only one of the two takes the other from shortly before (A18); that earlier day is then used up."""
    joinable = study.get("assessment.join_days")
    before = {name: pl.col(name).shift(1).over("person_id") for name in days.columns if name != "person_id"}
    near = (pl.col("date") - before["date"]).dt.total_days() <= joinable
    has, had = (
        {what: column(f"{what}_id").is_not_null() for what in ("blasts", "mrd")}
        for column in (pl.col, before.__getitem__)
    )
    fits = (has["blasts"] & ~has["mrd"] & had["mrd"] & ~had["blasts"]) | (
        has["mrd"] & ~has["blasts"] & had["blasts"] & ~had["mrd"]
    )
    days = days.with_columns(fits=(near & fits).fill_null(value=False))
    takes = pl.col("fits") & ~pl.col("fits").shift(1, fill_value=False).over("person_id")
    used_up = takes.shift(-1, fill_value=False).over("person_id")
    filled = [
        pl.when(takes).then(pl.coalesce(pl.col(name), column)).otherwise(pl.col(name)).alias(name)
        for name, column in before.items()
        if name != "date"
    ]
    return days.with_columns(*filled, used_up=used_up).filter(~pl.col("used_up")).drop("used_up", "fits")


def _count(rows: pl.DataFrame, findings: Findings) -> None:
    kind, is_text = pl.col("mrd_kind"), pl.col("value_as_number").is_null()
    folded = pl.col("value_source_value").str.normalize("NFKC")
    findings.count("dq_mrd_negative_text", rows.filter((kind == NEGATIVE) & is_text), rows)
    findings.count("dq_mrd_comparator", rows.filter(pl.col("mrd_operator").is_in(["<", "<=", ">", ">="])), rows)
    findings.count("dq_mrd_unparsed", rows.filter((kind == UNPARSED) & is_text), rows)
    findings.count("dq_mrd_unit_unknown", rows.filter((kind == UNPARSED) & ~is_text), rows)
    normalised = pl.col("mrd_pct").is_not_null() & (pl.col("unit").is_null() | (pl.col("unit") != "%"))
    findings.count(
        "dq_mrd_unit_normalised", rows.filter(normalised & ~folded.str.contains("%").fill_null(value=False)), rows
    )
    findings.count("dq_mrd_pos_bq", rows.filter(kind == POS_BQ), rows)
    findings.count("dq_mrd_cd19_gated", rows.filter("cd19_gated"), rows)
    findings.count("dq_marrow_inadequate", rows.filter(kind == INADEQUATE), rows)
    same_day = (
        rows.group_by("person_id", "measurement_date").agg(pl.col("mrd_rank").n_unique()).filter(pl.col("mrd_rank") > 1)
    )
    findings.count("dq_mrd_multi_method", same_day, rows)


def mrd_is_positive(study: Study) -> pl.Expr:
    """Whether an assessment's MRD is positive: null when missing or a limit above the cut-off (A12).

    POS_BQ is not positive unless `mrd_positive.pos_bq_is_positive` says so (A02).
    """
    positive = [POSITIVE, POS_BQ] if study.get("mrd_positive.pos_bq_is_positive") else [POSITIVE]
    known = pl.col("mrd_kind").is_in([POSITIVE, NEGATIVE, BELOW_CUTOFF, POS_BQ])
    return pl.when(known).then(pl.col("mrd_kind").is_in(positive))


def mrd_percent() -> pl.Expr:
    """The number that tables show: 0.0 for negative without a measured number, null when there is none."""
    negative = pl.col("mrd_kind") == NEGATIVE
    return pl.when(negative).then(0.0).when(pl.col("mrd_kind").is_in([POSITIVE, BELOW_CUTOFF])).then("mrd_pct")
