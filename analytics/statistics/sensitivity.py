"""Sensitivity analyses S1–S15, and A11 by grading system: the same estimates under another definition, side by side.

Definitions that need another derivation (`DERIVED_AGAIN`) come as `variants`. What these data cannot answer is listed
as not computed, with the reason, so that its absence is seen.
"""

from collections.abc import Iterator, Mapping

import polars as pl

from analytics.statistics.firth import firth_cox
from analytics.statistics.frames import StudyFrames, survival_of, usable
from analytics.statistics.logrank import log_rank
from analytics.statistics.parameters import StatisticsParameters
from analytics.statistics.proportions import disease_courses, each_patient_once, proportion_row
from analytics.statistics.regression import CODINGS
from analytics.statistics.sensitivity_variants import cd19_rows, delayed_entry_rows, variant_rows
from analytics.statistics.survival import kaplan_meier, survival_point
from analytics.statistics.tables import tidy
from analytics.statistics.tests import FACTORS, fisher, two_by_two

Definition = tuple[str, str, pl.DataFrame, str]  # analysis id, text, patients, stratum column

DERIVED_AGAIN = {
    "S7-LOD": ("assay limit of detection as MRD cut-off", ("S7-LOD",)),
    "S10": ("T-cell windows", ("S10-pre", "S10-post")),
    "S10-chemo": ("T cells without chemotherapy in the 14 days before the draw", ("S10-chemo",)),
    "S13-Down": ("without Down syndrome", ("S13-Down",)),
    "A11-ASTCT": ("CRS graded by ASTCT", ("A11-ASTCT",)),
    "A11-CTCAE": ("CRS graded by CTCAE", ("A11-CTCAE",)),
}
"""Analyses that need another derivation: what it is, and how its names in the parameter `sensitivity` begin."""


def censored_at_transplant(patients: pl.DataFrame) -> pl.DataFrame:
    """S1: EFS censored at the first HSCT or CAR-T, if before the end of follow-up; on one day the event counts."""
    first = pl.min_horizontal("hsct_day", "cart_day")
    earlier = first.is_not_null() & (first < pl.col("efs_days"))
    return patients.with_columns(
        efs_days=pl.when(earlier).then(first).otherwise(pl.col("efs_days")),
        efs_event=pl.when(earlier).then(0).otherwise(pl.col("efs_event")),
    )


def refractory_at_zero(patients: pl.DataFrame) -> pl.DataFrame:
    """S2: refractory disease dated on day 0 (counted as 0.5)."""
    failed = (pl.col("efs_event_type") == "refractory") & (pl.col("efs_event") == 1)
    return patients.with_columns(efs_days=pl.when(failed.fill_null(False)).then(0).otherwise(pl.col("efs_days")))


def mrd_reappearance(frames: StudyFrames, cutoff: float) -> pl.DataFrame:
    """S3: the first marrow MRD at or above the cut-off (%) after an MRD-negative one is an event, if it comes first.

    Marrows of a course are dated: before it on its start day, after it on the assessment day.
    """
    before = frames.courses.select("person_id", day="start_day", mrd="mrd_pre_pct", order=pl.lit(0))
    after = frames.courses.select("person_id", day="assessment_day", mrd="mrd_post_pct", order=pl.lit(1))
    looks = pl.concat([before, after]).drop_nulls().sort("person_id", "day", "order")
    negative_before = (pl.col("mrd") < cutoff).cum_max().shift(1, fill_value=False).over("person_id")
    back = looks.filter(negative_before & (pl.col("mrd") >= cutoff)).group_by("person_id").agg(back=pl.col("day").min())
    joined = frames.patients.join(back, on="person_id", how="left")
    first = pl.col("back").is_not_null() & (pl.col("back") < pl.col("efs_days"))
    return joined.with_columns(
        efs_days=pl.when(first).then("back").otherwise("efs_days"),
        efs_event=pl.when(first).then(1).otherwise("efs_event"),
        efs_event_type=pl.when(first).then(pl.lit("mrd_reappearance")).otherwise("efs_event_type"),
    ).drop("back")


def _definitions(frames: StudyFrames, parameters: StatisticsParameters) -> Iterator[Definition]:
    patients, stratum = frames.patients, "km_stratum"
    yield "primary", "primary definitions", patients, stratum
    yield "S1", "EFS censored at HSCT or CAR-T", censored_at_transplant(patients), stratum
    yield "S2", "refractory dated day 0", refractory_at_zero(patients), stratum
    yield "S3", "MRD reappearance is an event", mrd_reappearance(frames, parameters.mrd_cutoff_pct), stratum
    yield "S4-indication", "strata by indication", patients, "indication"
    yield "S4-state", "strata by state before course 1", patients, "pre_course1_state"
    for site in sorted(patients["site"].drop_nulls().unique()):
        yield f"S9-without-{site}", f"without {site}", patients.filter(pl.col("site") != site), stratum
    grown = patients.filter(pl.col("age_years") >= 1)
    yield "S13-infants", "without infants (age < 1 year)", grown, stratum
    yield "S13-BCR::ABL1", "without BCR::ABL1", patients.filter(pl.col("genetics") != "BCR::ABL1"), stratum
    if not _unknown_tki(patients):
        beside = (pl.col("genetics") == "BCR::ABL1") & (pl.col("tki") == 1)
        yield "S13-TKI", "without BCR::ABL1 on a TKI", patients.filter(~beside.fill_null(value=False)), stratum


def _unknown_tki(patients: pl.DataFrame) -> str | None:
    """Why S13-TKI cannot be computed; None if it can. A child of whom it is not recorded stays in."""
    concerned = patients.filter(pl.col("genetics") == "BCR::ABL1")
    if concerned.is_empty():
        return "no patient with BCR::ABL1"
    if concerned["tki"].null_count() == concerned.height:
        return (
            f"TKI not recorded of any of the {concerned.height} with BCR::ABL1 (not recorded is not none); "
            "all BCR::ABL1 are left out instead"
        )
    return None


def _not_computed(frames: StudyFrames, variants: Mapping[str, object]) -> dict[str, tuple[str, str]]:
    """Definition and reason of what these data, or this run, cannot answer, by the name of the analysis."""
    absent = {
        name: (what, "nothing was derived again under this definition")
        for name, (what, begins) in DERIVED_AGAIN.items()
        if not any(variant.startswith(begins) for variant in variants)
    }
    if "S10-chemo" in variants and not frames.patients["chemo_recorded"].sum():
        what, _ = DERIVED_AGAIN["S10-chemo"]
        absent["S10-chemo"] = (what, "no chemotherapy is recorded (not recorded is not none)")
    for name, column in (("A11-ASTCT", "crs_astct"), ("A11-CTCAE", "crs_ctcae")):
        if name in variants and not frames.courses[column].count():
            n = frames.courses["crs_astct_basis"].count()
            why = f"not recorded in this cohort: what a grade needs is charted beside none of {n} courses with CRS"
            absent[name] = (DERIVED_AGAIN[name][0], why if n else "no CRS is recorded")
    if reason := _unknown_tki(frames.patients):
        absent["S13-TKI"] = ("without BCR::ABL1 on a TKI", reason)
    return absent


def _survival_rows(definition: Definition, parameters: StatisticsParameters) -> Iterator[dict[str, object]]:
    identifier, text, patients, column = definition
    horizon = float(parameters.horizon_days)
    for endpoint in (
        ("EFS", "OS") if not identifier.startswith(("S1", "S2", "S3")) or identifier[:3] == "S13" else ("EFS",)
    ):
        found = survival_of(patients, endpoint, column)
        found = found.of(*(s for s in found.strata if s != "UNKNOWN"))
        head: dict[str, object] = {"analysis_id": identifier, "definition": text, "endpoint": endpoint}
        total = {"n": len(found.time), "events": int(found.event.sum())}
        for quantity, data in (("log-rank P", found), (f"log-rank P, horizon {horizon:g} d", found.until(horizon))):
            outcome = log_rank(data)
            yield head | total | {"quantity": quantity, "p": outcome.p, "events": int(data.event.sum()),
                                  "method": "log-rank", "note": outcome.note}  # fmt: skip
        for stratum in found.strata:
            part = found.of(stratum)
            point = survival_point(kaplan_meier(part.time, part.event), horizon, parameters.confidence)
            yield head | {
                "stratum": stratum, "quantity": f"survival at day {horizon:g}", "estimate": point.survival,
                "lower": point.lower, "upper": point.upper, "n": len(part.time), "events": int(part.event.sum()),
                "method": point.ci_method, "note": point.note,
            }  # fmt: skip


def _response_rows(frames: StudyFrames, parameters: StatisticsParameters) -> Iterator[dict[str, object]]:
    """S5–S7 and leave-one-site-out for the response proportions."""
    disease = disease_courses(frames)
    negative = frames.courses.filter(pl.col("state_pre") == "MRDneg").with_columns(responded=pl.col("mrd_neg_post"))
    every = pl.concat([disease, negative.with_columns(pl.col("responded").cast(pl.Int8))], how="vertical")
    long = (pl.col("infusion_days") > parameters.short_course_days) & (pl.col("planned_days") != 14)
    alternative = parameters.mrd_cutoff_alternative_pct
    cleared = pl.when(pl.col("mrd_post_pct").is_not_null()).then((pl.col("mrd_post_pct") < alternative).cast(pl.Int8))
    mrd_based = every.filter(pl.col("state_pre") != "RR").with_columns(responded=cleared)
    variants = [
        ("primary", "primary definitions", every),
        (
            "S5",
            f"without courses of at most {parameters.short_course_days:g} days or planned for 14",
            every.filter(long),
        ),
        ("S6", "first course of the patient only", every.filter(pl.col("course_no") == 1)),
        ("S7", f"MRD response below {alternative:g}%, complete cases", mrd_based),
    ]
    for site in sorted(every["site"].drop_nulls().unique()):
        variants.append((f"S9-without-{site}", f"without {site}", every.filter(pl.col("site") != site)))
    for identifier, text, courses in variants:
        for state in ("MRDpos", "MRDneg") if identifier == "S7" else ("RR", "MRDpos", "MRDneg"):
            known = courses.filter(pl.col("state_pre") == state)["responded"].drop_nulls()
            found = proportion_row(int(known.sum()), known.len(), parameters.confidence)
            yield {
                "analysis_id": identifier, "definition": text, "endpoint": "response", "stratum": state,
                "quantity": "percent", "estimate": found.get("percent"), "lower": found.get("cp_lower"),
                "upper": found.get("cp_upper"), "n": known.len(), "events": int(known.sum()),
                "method": "Clopper-Pearson; events = successes", "note": None if known.len() else "no such course",
            }  # fmt: skip


def _model_rows(frames: StudyFrames, parameters: StatisticsParameters) -> Iterator[dict[str, object]]:
    """Leave-one-site-out (S9), horizon (S12) of the primary Firth Cox model of EFS."""
    horizon = parameters.horizon_days
    early = usable(frames.patients, "EFS").with_columns(
        efs_event=(pl.col("event") & (pl.col("time") <= horizon)).cast(pl.Int8),
        efs_days=pl.min_horizontal(pl.col("time"), pl.lit(float(horizon))),
    )
    nested = ("S8", "nested coding: poor cytogenetics include BCR::ABL1", frames.patients)
    variants = [
        ("primary", "primary definitions", frames.patients),
        nested,
        ("S12", f"truncated at day {horizon}", early),
    ]
    for site in sorted(frames.patients["site"].drop_nulls().unique()):
        part = frames.patients.filter(pl.col("site") != site)
        variants.append((f"S9-without-{site}", f"without {site}", part))
    for identifier, text, patients in variants:
        coding = "nested" if identifier == "S8" else "exclusive"
        for term in firth_cox(patients, "EFS", CODINGS[coding], confidence=parameters.confidence):
            yield {
                "analysis_id": identifier, "definition": text, "endpoint": "EFS", "quantity": f"HR {term.name}",
                "estimate": term.ratio, "lower": term.ratio_lower, "upper": term.ratio_upper, "p": term.p,
                "n": term.n, "events": term.events, "method": f"Firth Cox, {coding} coding", "note": term.note,
            }  # fmt: skip


def _missing_exposure_rows(frames: StudyFrames) -> Iterator[dict[str, object]]:
    """S15: two-by-two tests with every missing exposure set for, and set against, an association."""
    disease = disease_courses(frames).filter(pl.col("responded").is_not_null())
    if not each_patient_once(disease):
        return
    for factor in dict.fromkeys(column for _, _, column, level in FACTORS if level is None):
        missing = disease[factor].null_count()
        if not missing:
            continue
        for case, against in (("for", 0), ("against", 1)):
            filled = pl.when(pl.col(factor).is_null()).then((pl.col("responded") == against).cast(pl.Int8))
            known = disease.with_columns(filled.otherwise(factor).alias(factor))
            exposed, total, exposed_r, total_r = two_by_two(known, factor)
            p = fisher(exposed, total - exposed, exposed_r, total_r - exposed_r) if total and total_r else None
            yield {
                "analysis_id": "S15", "definition": f"missing exposures set {case} an association",
                "endpoint": "non-response", "quantity": f"Fisher P {factor}", "p": p, "n": total + total_r,
                "events": total, "method": "Fisher exact, two-sided",
                "note": f"{missing} missing; {exposed}/{total} vs {exposed_r}/{total_r}",
            }  # fmt: skip


def sensitivity_table(
    frames: StudyFrames, parameters: StatisticsParameters, variants: Mapping[str, object] | None = None
) -> pl.DataFrame:
    """Every sensitivity analysis as long rows; `stratum` is null for comparisons of all strata.

    `variants`: frames derived under other definitions, by the name of the analysis; what is missing among them of
    `DERIVED_AGAIN` is listed as not computed.
    """
    rows: list[dict[str, object]] = []
    for definition in _definitions(frames, parameters):
        rows += _survival_rows(definition, parameters)
    rows += _response_rows(frames, parameters)
    rows += _model_rows(frames, parameters)
    rows += _missing_exposure_rows(frames)
    rows += [*cd19_rows(frames), *delayed_entry_rows(frames, parameters)]
    absent = _not_computed(frames, variants or {})
    answered = {name: one for name, one in (variants or {}).items() if name not in absent}
    rows += variant_rows(frames, answered, parameters)
    for identifier, (what, why) in absent.items():
        rows.append({"analysis_id": identifier, "definition": what, "quantity": "not computed", "note": why})
    return tidy("sensitivity", rows)
