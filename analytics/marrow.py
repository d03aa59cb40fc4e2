"""Adequate marrows: one row per person and day with blasts and MRD (`adequate_marrow@1`, `assessment@1`).

Blood and CSF never count. Of several results of a day: better grade, ungated before CD19-gated, flow before PCR before
NGS, later time, larger id (PROTOCOL.md 5.1, 5.2, A07).
"""

import polars as pl

from analytics.blasts import read_blasts
from analytics.concept_sets import ConceptSets
from analytics.findings import Findings
from analytics.mrd import (
    BELOW_CUTOFF,
    INADEQUATE,
    NEGATIVE,
    POS_BQ,
    POSITIVE,
    UNPARSED,
    exponent_of_unit,
    parse_mrd,
)
from analytics.records import Records
from analytics.study import Study
from analytics.written import folded_unit, once_each

OPERATORS = {
    "CS_OPERATOR_LT": "<",
    "CS_OPERATOR_LE": "<=",
    "CS_OPERATOR_EQ": "=",
    "CS_OPERATOR_GT": ">",
    "CS_OPERATOR_GE": ">=",
}
_MRD_READ = {"mrd_pct": pl.Float64, "mrd_operator": pl.String, "mrd_kind": pl.String}


def derive_assessments(records: Records, sets: ConceptSets, study: Study, findings: Findings) -> pl.DataFrame:
    """One row per adequate marrow.

    Columns: person_id, date, blasts_pct, blasts_operator, blasts_grade, blasts_id, mrd_pct (%), mrd_operator, mrd_kind,
    mrd_grade, mrd_id, cd19_gated.
    """
    blasts = _best(_blasts(records, sets, study, findings), "blasts")
    mrd = _best(_mrd(records, sets, study, findings), "mrd")
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
    rule, inadequate = study.get("marrow_blasts"), study.get("marrow_inadequate.words")
    rows = _from_marrow(records, sets, study).filter(
        sets.within("measurement_concept_id", "CS_MARROW_BLASTS"), pl.col("is_marrow")
    )
    units = [folded_unit(pl.col(one)) for one in ("unit_source_value", "unit_code")]
    factors = {unit: float(one) for unit, one in rule["factors"].items()}
    factor = pl.coalesce(one.replace_strict(factors, default=None, return_dtype=pl.Float64) for one in units)
    no_unit = pl.coalesce("unit_source_value", "unit_code").is_null()
    folded = pl.col("value_source_value").str.normalize("NFKC")
    rows = once_each(
        rows,
        ["value_source_value", "decimal_separator"],
        lambda text, separator: read_blasts(text, rule["text_patterns"], inadequate, separator or "."),
        {"told_pct": pl.Float64, "told_operator": pl.String},
    )
    from_text = pl.col("value_as_number").is_null() & pl.col("told_pct").is_not_null()
    # "No blasts", where the hospital's code map calls the words negative.
    none = pl.col("value_as_number").is_null() & sets.within("value_as_concept_id", "CS_VALUE_NEGATIVE")
    number = (pl.col("value_as_number") * factor.fill_null(pl.when(no_unit).then(1.0))).round(9)
    rows = rows.with_columns(
        blasts_pct=pl.when(from_text).then("told_pct").when(none).then(0.0).otherwise(number),
        blasts_operator=pl.when(from_text).then("told_operator").otherwise("operator"),
        blasts_grade=pl.when(from_text | none).then(pl.lit("C")).otherwise(pl.lit("A")),
        folds=folded != pl.col("value_source_value"),
    )
    findings.count("dq_blast_from_text", rows.filter(pl.col("blasts_grade") == "C"), rows)
    findings.count("dq_fullwidth", rows.filter("folds"), rows)
    findings.count("dq_marrow_inadequate", rows.filter(pl.col("blasts_pct").is_null()), rows)
    usable = rows.filter(pl.col("blasts_pct").is_between(0, 100))
    return usable.with_columns(blasts_rank=pl.lit(0), cd19_gated=pl.lit(value=False))


def blasts_from(limit: float) -> pl.Expr:
    """Whether an assessment's blasts reach a limit (%); null when unknown, also for a `<` above or a `>` below it."""
    value, sign = pl.col("blasts_pct"), pl.col("blasts_operator").fill_null("=")
    below = pl.when(value <= limit).then(pl.lit(value=False))
    above = pl.when(value >= limit).then(pl.lit(value=True))
    is_below, is_above = sign.is_in(["<", "<="]), sign.is_in([">", ">="])
    return pl.when(is_below).then(below).when(is_above).then(above).otherwise(value >= limit)


def blasts_shown() -> pl.Expr:
    """The number that tables show: null for a limit."""
    return pl.when(~pl.col("blasts_operator").is_in(["<", "<=", ">", ">="]).fill_null(value=False)).then("blasts_pct")


def _mrd(records: Records, sets: ConceptSets, study: Study, findings: Findings) -> pl.DataFrame:
    methods = study.get("mrd_method.order")
    everything = _from_marrow(records, sets, study)
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
    rule, positive = study.get("mrd_parse"), study.get("mrd_positive")
    inadequate = tuple(study.get("marrow_inadequate.words"))

    def read(
        text: str | None, number: float | None, unit: str | None, code: str | None, sign: str | None, mark: str | None
    ) -> tuple[float | None, str | None, str]:
        known = unit if exponent_of_unit(unit, rule) is not None else code
        found = parse_mrd(
            text, number, known, sign, rule, cutoff_pct=positive["from_pct"], inadequate=inadequate,
            decimal_separator=mark or ".", by_lod=positive["by_lod"],
        )  # fmt: skip
        return found.value, found.operator, found.kind

    keys = ["value_source_value", "value_as_number", "unit_source_value", "unit_code", "operator", "decimal_separator"]
    rows = once_each(rows, keys, read, _MRD_READ)
    words = {"CS_VALUE_NEGATIVE": NEGATIVE, "CS_VALUE_POSITIVE": POSITIVE, "CS_VALUE_POS_BQ": POS_BQ}
    coded = sets.choose("value_as_concept_id", words)
    mapped = pl.col("mrd_pct").is_null() & (pl.col("mrd_kind") != INADEQUATE) & coded.is_not_null()
    return rows.with_columns(
        mrd_kind=pl.when(mapped).then(coded).otherwise("mrd_kind"),
    )


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
        "blasts": ["blasts_pct", "blasts_operator", "blasts_grade"],
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
    is_percent = pl.any_horizontal(pl.col(one) == "%" for one in ("unit_source_value", "unit_code"))
    normalised = pl.col("mrd_pct").is_not_null() & ~is_percent.fill_null(value=False)
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
    low_too = study.get("mrd_positive.pos_bq_is_positive") or study.get("mrd_positive.by_lod")
    positive = [POSITIVE, POS_BQ] if low_too else [POSITIVE]
    known = pl.col("mrd_kind").is_in([POSITIVE, NEGATIVE, BELOW_CUTOFF, POS_BQ])
    return pl.when(known).then(pl.col("mrd_kind").is_in(positive))


def mrd_percent() -> pl.Expr:
    """The number that tables show: 0.0 for negative without a measured number, null when there is none."""
    negative = pl.col("mrd_kind") == NEGATIVE
    return pl.when(negative).then(0.0).when(pl.col("mrd_kind").is_in([POSITIVE, BELOW_CUTOFF])).then("mrd_pct")
