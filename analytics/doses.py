"""Dose of each course in words: rate per bag, body surface, step (`dose_convert@1`, `dose_check@1`, `step_dose@1`)."""

from collections.abc import Mapping

import polars as pl

from analytics.concept_sets import ConceptSets
from analytics.courses import days_between
from analytics.exposure import HOUR
from analytics.findings import Findings
from analytics.records import Records
from analytics.study import Study


def body_size(days: pl.DataFrame, records: Records, sets: ConceptSets, study: Study) -> pl.DataFrame:
    """`days` (person_id, date) with weight_kg, height_cm and bsa_m2 (Mosteller) nearest to that date.

    Window and tie rule: `dose_convert`; of two values equally near the earlier one counts. Null when there is none.
    """
    sized = days
    for name, concept_set in (("weight_kg", "CS_WEIGHT"), ("height_cm", "CS_HEIGHT")):
        values = records.measurements.filter(
            sets.within("measurement_concept_id", concept_set), pl.col("value_as_number") > 0
        ).select("person_id", "measurement_date", "measurement_id", pl.col("value_as_number").alias(name))
        near = days.select("person_id", "date").unique().join(values, on="person_id")
        distance = days_between(pl.col("date"), pl.col("measurement_date"))
        near = near.filter(
            distance.is_between(study.get("dose_convert.body_first_day"), study.get("dose_convert.body_last_day"))
        )
        nearest = near.sort(distance.abs(), "measurement_date", "measurement_id").unique(
            ["person_id", "date"], keep="first", maintain_order=True
        )
        sized = sized.join(nearest.select("person_id", "date", name), on=["person_id", "date"], how="left")
    return sized.with_columns(bsa_m2=(pl.col("weight_kg") * pl.col("height_cm") / 3600).sqrt())


def daily_dose_ug(study: Study) -> pl.Expr:
    """µg per day of a bag (columns sig, quantity, dose_unit_source_value, start, end, bsa_m2, weight_kg), else null.

    A rate in `sig` counts first; a rate per m² or kg is multiplied with the body's size.
    """
    rule = study.get("dose_convert")
    written_rate = pl.col("sig").str.normalize("NFKC")
    groups = [written_rate.str.extract(rule["rate_pattern"], group) for group in range(1, 6)]
    mass = groups[1].str.to_lowercase().replace_strict(_floats(rule["mass_ug"]), default=None, return_dtype=pl.Float64)
    unit = (
        groups[4]
        .str.to_lowercase()
        .replace_strict(_floats(rule["period_hours"]), default=None, return_dtype=pl.Float64)
    )
    hours = groups[3].cast(pl.Float64).fill_null(1.0) * unit
    size = (
        pl.when(groups[2].is_null())
        .then(1.0)
        .when(groups[2].str.to_lowercase() == "kg")
        .then("weight_kg")
        .otherwise("bsa_m2")
    )
    rate = groups[0].str.replace(",", ".", literal=True).cast(pl.Float64) * mass * size * 24 / hours
    written = pl.col("dose_unit_source_value").str.to_lowercase()
    factor = written.replace_strict(_floats(rule["quantity_units_ug"]), default=None, return_dtype=pl.Float64)
    bag_hours = (pl.col("end_at") - pl.col("start_at")).dt.total_microseconds() / HOUR
    return pl.coalesce(rate, pl.col("quantity") * factor * 24 / bag_hours)


def _floats(factors: Mapping[str, float]) -> dict[str, float]:
    return {unit: float(one) for unit, one in factors.items()}


def derive_doses(bags: pl.DataFrame, courses: pl.DataFrame, study: Study, findings: Findings) -> pl.DataFrame:
    """person_id, course_no, dose_regimen, step_dose, dose_deviation (1: further from nominal than allowed).

    `bags` are numbered, `courses` carry weight_kg and bsa_m2 of their first day. The regimen is written in nominal
    doses, `5->15 ug/m2/d` or `28 ug/d`; a rate further from them than `dose_check.deviation` stands as it is.
    """
    rule, steps = study.get("dose_check"), study.get("step_dose")
    keys = ["person_id", "course_no"]
    dosed = bags.join(courses.select(*keys, "start_date", "weight_kg", "bsa_m2"), on=keys)
    dosed = dosed.with_columns(
        dose=daily_dose_ug(study),
        day=(pl.col("start_at") - pl.col("start_at").min().over(keys)).dt.total_microseconds() / (24 * HOUR) + 1,
    )
    is_flat = (pl.col("weight_kg") >= rule["flat_from_kg"]).fill_null(value=True) | pl.col("bsa_m2").is_null()
    # Bag changes are not to the minute: a bag that starts in the night before still belongs to the new day.
    later = pl.col("dose").filter(pl.col("day") >= steps["from_day"] - steps["tolerance_d"])
    _count_overfill(dosed, study, findings)
    doses = (
        dosed.sort("start")
        .group_by(keys)
        .agg(
            first=pl.col("dose").drop_nulls().first(),
            last=later.drop_nulls().last(),
            high=pl.col("dose").max(),
            bsa_m2=pl.col("bsa_m2").first(),
            flat=is_flat.first(),
            unread=pl.col("dose").is_null().any(),
        )
    )
    doses = doses.with_columns(step_dose=(pl.col("last") >= steps["ratio"] * pl.col("first")).fill_null(value=False))
    per = pl.when("flat").then(1.0).otherwise("bsa_m2")
    doses = doses.with_columns(low=_nominal(pl.col("first") / per, rule), target=_nominal(pl.col("last") / per, rule))
    unit = pl.when("flat").then(pl.lit(" ug/d")).otherwise(pl.lit(" ug/m2/d"))
    low, target = _written(pl.col("low")), _written(pl.col("target"))
    regimen = pl.when("step_dose").then(low + "->" + target + unit).otherwise(low + unit)
    doses = doses.with_columns(dose_regimen=regimen)
    doses = doses.with_columns(dose_deviation=_deviates(rule).cast(pl.Int8))
    _count(doses, findings)
    return doses.select(*keys, "dose_regimen", pl.col("step_dose").cast(pl.Int8), "dose_deviation")


def _count_overfill(dosed: pl.DataFrame, study: Study, findings: Findings) -> None:
    """R05: bags that hold more than their rate delivers; the delivered dose counts."""
    factors = _floats(study.get("dose_convert.quantity_units_ug"))
    content = pl.col("quantity") * pl.col("dose_unit_source_value").str.to_lowercase().replace_strict(
        factors, default=None, return_dtype=pl.Float64
    )
    delivered = pl.col("dose") * (pl.col("end_at") - pl.col("start_at")).dt.total_microseconds() / (24 * HOUR)
    overfull = content > (1 + study.get("dose_check.overfill")) * delivered
    findings.count("dq_overfill", dosed.filter(overfull), dosed)


def _nominal(dose: pl.Expr, rule: dict[str, list[float]]) -> pl.Expr:
    """The nearest nominal dose if it is near enough, else the dose rounded to 0.1."""
    flat, per_m2 = (_nearest(dose, rule[name]) for name in ("flat", "per_m2"))
    nominal = pl.when("flat").then(flat).otherwise(per_m2)
    near = (dose / nominal - 1).abs() <= pl.lit(rule["deviation"])
    return pl.when(near).then(nominal).otherwise(dose.round(1))


def _nearest(dose: pl.Expr, levels: list[float]) -> pl.Expr:
    nearest = pl.lit(float(levels[0]))
    for level in levels[1:]:
        nearest = pl.when((dose - level).abs() < (dose - nearest).abs()).then(pl.lit(float(level))).otherwise(nearest)
    return nearest


def _written(dose: pl.Expr) -> pl.Expr:
    return dose.round(1).cast(pl.String).str.strip_suffix(".0")


def _deviates(rule: dict[str, list[float]]) -> pl.Expr:
    """Whether the first or the stepped dose is none of the nominal ones; null when no dose can be read."""
    levels = {name: [float(level) for level in rule[name]] for name in ("flat", "per_m2")}
    first, stepped = (
        pl.when("flat").then(pl.col(one).is_in(levels["flat"])).otherwise(pl.col(one).is_in(levels["per_m2"]))
        for one in ("low", "target")
    )
    return ~first | (pl.col("step_dose") & ~stepped)


def _count(doses: pl.DataFrame, findings: Findings) -> None:
    findings.count("dq_step_dose", doses.filter("step_dose"), doses)
    findings.count("dq_dose_unit_unconvertible", doses.filter("unread"), doses)
    findings.count("dq_dose_deviation_gt20pct", doses.filter(pl.col("dose_deviation") == 1), doses)
