"""Description (A1): baseline by indication, the three classifications, exposure, balance between sites."""

import math
from itertools import combinations, pairwise

import polars as pl

from analytics.statistics.frames import INDICATIONS, StudyFrames
from analytics.statistics.parameters import StatisticsParameters
from analytics.statistics.tables import tidy

NUMBERS = {
    "age_years": "years", "weight_kg": "kg", "bsa_m2": "m2", "days_from_diagnosis": "days", "blasts_pre_pct": "%",
}  # fmt: skip
CATEGORIES = (
    "sex", "site", "indication", "pre_course1_state", "km_stratum", "prior_relapse", "burden_reduction_chemo",
    "genetic_subtype", "genetics", "poor_cytogenetics", "bcr_abl1", "high_mrd_ge1pct", "mrd_level", "n_courses",
    "hsct", "cart",
)  # fmt: skip
TKI = "tki"
"""Told of the patients with BCR::ABL1 only."""
BURDEN = "burden_reduction_chemo"
"""Told of the patients with the indication RR only."""
_MOST_LEVELS = 10
_SPANS = (7, 14, 21, 28)  # delivered days: the planned lengths, and the shortest evaluable course
OVERALL = "overall"


def _described(frames: StudyFrames) -> pl.DataFrame:
    first = frames.courses.filter(pl.col("course_no") == 1).select("person_id", "blasts_pre_pct", "mrd_pre_pct")
    days = (pl.col("first_blina_date") - pl.col("diagnosis_date")).dt.total_days()
    mrd = pl.col("mrd_pre_pct")
    level = (
        pl.when(mrd >= 1).then(pl.lit(">= 1%"))
        .when(mrd >= 0.1).then(pl.lit("0.1-<1%"))
        .when(mrd >= 0.01).then(pl.lit("0.01-<0.1%"))
        .when(mrd.is_not_null()).then(pl.lit("negative"))
    )  # fmt: skip
    patients = frames.patients.join(first, on="person_id", how="left")
    return patients.join(_relapses(frames), on="person_id", how="left").with_columns(
        days_from_diagnosis=days, mrd_level=level,
        hsct=pl.col("hsct_day").is_not_null().cast(pl.Int8), cart=pl.col("cart_day").is_not_null().cast(pl.Int8),
    )  # fmt: skip


def _relapses(frames: StudyFrames) -> pl.DataFrame:
    """person_id, prior_relapse (1 if a relapse is recorded up to the first bag, else 0); null without derived events.

    Two records of one relapse are one; refractory disease without a relapse is not a relapse.
    """
    persons = frames.patients.select("person_id")
    if frames.events.is_empty():
        return persons.with_columns(prior_relapse=pl.lit(None, pl.Int8))
    recorded = (pl.col("event") == "relapse") & (pl.col("label") == "recorded") & (pl.col("day") <= 0)
    relapsed = frames.events.filter(recorded)["person_id"].unique()
    return persons.with_columns(prior_relapse=pl.col("person_id").is_in(relapsed.implode()).cast(pl.Int8))


def _number_row(variable: str, group: str, values: pl.Series) -> dict[str, object]:
    known = values.drop_nulls().cast(pl.Float64)
    row: dict[str, object] = {
        "variable": variable, "group": group, "n": known.len(), "denominator": values.len(),
        "missing": values.null_count(), "unit": NUMBERS[variable],
    }  # fmt: skip
    if known.len():
        quartile = {name: known.quantile(q, interpolation="linear") for name, q in (("q1", 0.25), ("q3", 0.75))}
        row |= {"median": known.median(), "minimum": known.min(), "maximum": known.max(), **quartile}
    return row


def _level_rows(variable: str, group: str, values: pl.Series, levels: list[str]) -> list[dict[str, object]]:
    texts = values.cast(pl.String)
    known = texts.drop_nulls()
    head: dict[str, object] = {"variable": variable, "group": group, "denominator": known.len(), "unit": "patients",
                               "missing": texts.null_count()}  # fmt: skip
    rows = []
    for level in levels:
        n = int((known == level).sum())
        rows.append(head | {"level": level, "n": n, "percent": 100 * n / known.len() if known.len() else None})
    return rows


def baseline_table(frames: StudyFrames) -> pl.DataFrame:
    """Baseline by indication and overall: numbers as median, quartiles, range; categories as n and %; missing beside.

    The denominator of a category is those with a value; `missing` counts the others. No P values (PROTOCOL section 8).
    """
    described = _described(frames)
    groups = [(name, described.filter(pl.col("indication") == name)) for name in INDICATIONS]
    others = described.filter(~pl.col("indication").is_in(INDICATIONS) | pl.col("indication").is_null())
    if others.height:
        groups.append(("UNKNOWN", others))
    groups.append((OVERALL, described))
    rows: list[dict[str, object]] = []
    for variable in NUMBERS:
        rows += [_number_row(variable, group, part[variable]) for group, part in groups]
    for variable in CATEGORIES:
        levels = sorted(described[variable].cast(pl.String).drop_nulls().unique())
        for group, part in groups:
            concerned = part.filter(pl.col("indication") == "RR") if variable == BURDEN else part
            rows += _level_rows(variable, group, concerned[variable], levels)
    rows += [_tki_row(group, part.filter(pl.col("bcr_abl1") == 1)[TKI]) for group, part in groups]
    return tidy("baseline", rows)


def _tki_row(group: str, values: pl.Series) -> dict[str, object]:
    """Patients with BCR::ABL1 on a TKI, among those of whom it is known; n null where it is known of nobody."""
    known = values.drop_nulls()
    n = int(known.sum()) if known.len() else None
    return {
        "variable": TKI, "level": "1", "group": group, "n": n, "denominator": known.len(), "unit": "patients",
        "missing": values.null_count(), "percent": 100 * n / known.len() if n is not None else None,
    }  # fmt: skip


def site_balance(frames: StudyFrames) -> pl.DataFrame:
    """Standardised mean differences between each pair of sites: numbers by pooled SD, 0/1 levels by their variance."""
    described = _described(frames)
    columns = [(name, None, described[name].cast(pl.Float64)) for name in NUMBERS]
    for variable in ("sex", "indication", "pre_course1_state", "genetics"):
        texts = described[variable].cast(pl.String)
        levels = sorted(texts.drop_nulls().unique())
        # of two levels the second says nothing new
        shown = levels[:1] if len(levels) == 2 else levels
        columns += [(variable, level, (texts == level).cast(pl.Float64)) for level in shown]
    rows: list[dict[str, object]] = []
    for a, b in combinations(sorted(described["site"].drop_nulls().unique()), 2):
        for variable, level, values in columns:
            first = values.filter(described["site"] == a).drop_nulls()
            second = values.filter(described["site"] == b).drop_nulls()
            rows.append({"variable": variable, "level": level, "site_a": a, "site_b": b, "n_a": first.len(),
                         "n_b": second.len()} | _smd(first, second))  # fmt: skip
    return tidy("site_balance", rows)


def _smd(first: pl.Series, second: pl.Series) -> dict[str, object]:
    variances = [float(part.var() or 0.0) for part in (first, second)]  # type: ignore[arg-type]  # float columns
    spread = math.sqrt(sum(variances) / 2)
    if not first.len() or not second.len() or spread == 0:
        return {"note": "not estimable: no values or no variation"}
    return {"smd": (float(first.mean()) - float(second.mean())) / spread}  # type: ignore[arg-type]


def classification_table(frames: StudyFrames) -> pl.DataFrame:
    """T2: how many patients per indication × state before course 1 × survival stratum; only what occurs."""
    keys = [pl.col(c).fill_null("UNKNOWN") for c in ("indication", "pre_course1_state", "km_stratum")]
    counted = frames.patients.group_by(keys).len("n").sort("indication", "pre_course1_state", "km_stratum")
    renamed = counted.rename({"pre_course1_state": "state", "km_stratum": "stratum"})
    return tidy("classification", renamed.to_dicts())


def exposure_table(frames: StudyFrames, parameters: StatisticsParameters) -> pl.DataFrame:
    """T3: courses per patient, delivered and planned days, complete, interruptions, step dose, regimen, by course.

    Sums and medians stand in `value`, counts in `n` of `denominator`; the unit of a row is the course, except
    "courses per patient".
    """
    patients, courses = frames.patients, frames.courses
    rows: list[dict[str, object]] = []

    def count(variable: str, level: str | None, n: int, denominator: int, value: float | None = None) -> None:
        percent = 100 * n / denominator if denominator else None
        rows.append({"variable": variable, "level": level, "n": n, "denominator": denominator, "percent": percent,
                     "value": value})  # fmt: skip

    def levels(variable: str, values: pl.Series) -> None:
        known = values.drop_nulls()
        for level in known.unique().sort():
            text = f"{level:g}" if isinstance(level, float) else str(level)
            count(variable, text, int((known == level).sum()), known.len())
        if values.null_count():
            count(variable, "missing", values.null_count(), values.len())

    levels("courses per patient", patients["n_courses"])
    levels("delivered days", _spanned(courses["infusion_days"]))
    levels("planned days", courses["planned_days"])
    delivered = courses["infusion_days"].drop_nulls().cast(pl.Float64)
    summaries = (
        ("sum", delivered.sum()), ("median", delivered.median()),
        ("q1", delivered.quantile(0.25, interpolation="linear")),
        ("q3", delivered.quantile(0.75, interpolation="linear")),
    )  # fmt: skip
    for name, value in summaries:
        rows.append({"variable": "delivered days", "level": name, "n": delivered.len(), "denominator": courses.height,
                     "value": value})  # fmt: skip
    interrupted = courses.filter(pl.col("interruption_hours") > 0)
    hours = float(interrupted["interruption_hours"].sum() or 0)
    short = courses.filter(pl.col("infusion_days") <= parameters.short_course_days).height
    for variable, column in (("complete", "complete"), ("evaluable", "evaluable"), ("step dose", "step_dose")):
        known = courses[column].drop_nulls()
        count(variable, None, int(known.sum()), known.len())
    count("interrupted", None, interrupted.height, courses["interruption_hours"].drop_nulls().len(), hours)
    count(f"delivered <= {parameters.short_course_days:g} days", None, short, courses.height)
    levels("regimen", courses["dose_regimen"])
    return tidy("exposure", [*rows, *_bag_rows(frames)])


def _spanned(days: pl.Series) -> pl.Series:
    """The days themselves where they are few values, else spans of them: real courses have a decimal each."""
    if days.n_unique() <= _MOST_LEVELS:
        return days
    edges = [str(edge) for edge in _SPANS]
    labels = [f"<= {edges[0]}", *(f"> {a} to {b}" for a, b in pairwise(edges)), f"> {edges[-1]}"]
    return days.cut(list(_SPANS), labels=labels).cast(pl.String).cast(pl.Enum(labels))


def _bag_rows(frames: StudyFrames) -> list[dict[str, object]]:
    """T3's columns that need the bags: their hours, ends and times imputed, evidence; courses with a dose deviation.

    Empty when the frames hold courses only.
    """
    rows: list[dict[str, object]] = []
    if not frames.course_times.is_empty():
        deviation = frames.course_times["dose_deviation"].drop_nulls()
        rows.append(_share_row("dose deviation > 20%", None, int(deviation.sum()), deviation.len()))
    if frames.bags.is_empty():
        return rows
    bags = frames.bags.with_columns(hours=(pl.col("end") - pl.col("start")).dt.total_minutes() / 60)
    hours = bags["hours"]
    for name, value in (("median", hours.median()), ("q1", hours.quantile(0.25, interpolation="linear")),
                        ("q3", hours.quantile(0.75, interpolation="linear"))):  # fmt: skip
        rows.append({"variable": "bag hours", "level": name, "n": bags.height, "denominator": bags.height,
                     "value": value})  # fmt: skip
    usual = {"24": (0, 30), "48": (30, 60), "72": (60, 84), "96": (84, 132), "168": (132, 10_000)}
    for level, (least, below) in usual.items():
        n = int(((hours >= least) & (hours < below)).sum())
        rows.append(_share_row("bag duration, hours (about)", level, n, bags.height))
    for level, column in (("end not recorded", "end_imputed"), ("known to the day only", "time_imputed")):
        rows.append(_share_row("bag times", level, int(bags[column].sum()), bags.height))
    grades = bags["grade"].to_list()
    for level, words in (("A", "administrations"), ("B", "orders only")):
        rows.append(_share_row("evidence of bags", f"{level}: {words}", grades.count(level), len(grades)))
    return rows


def _share_row(variable: str, level: str | None, n: int, denominator: int) -> dict[str, object]:
    percent = 100 * n / denominator if denominator else None
    return {"variable": variable, "level": level, "n": n, "denominator": denominator, "percent": percent}
