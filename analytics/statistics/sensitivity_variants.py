"""Sensitivity analyses beyond the primary frames: other derivations (S7, S10, S13), CD19 (S11), delayed entry (S14)."""

import math
from collections.abc import Iterator, Mapping

import polars as pl

from analytics.statistics.cox import cox
from analytics.statistics.frames import STRATA, StudyFrames, study_frames, survival_of, usable
from analytics.statistics.logrank import log_rank
from analytics.statistics.paired import paired_table
from analytics.statistics.parameters import StatisticsParameters
from analytics.statistics.proportions import disease_courses, each_patient_once, proportion_row
from analytics.statistics.survival import kaplan_meier, survival_point
from analytics.statistics.tests import fisher, two_by_two

Row = dict[str, object]
_SEPARATED = 20  # a standard error of a log hazard ratio that says there is no maximum
_WIDEST = 100  # upper ÷ lower limit from which a hazard ratio is not worth a point estimate
_FEW = 10  # persons at risk at an event below which delayed entry makes a hazard ratio hang on single children
_CD19 = {"cd19_loss_complete": "antigen on blasts", "cd19_loss_2missing": "peripheral B cells"}


def cd19_rows(frames: StudyFrames) -> Iterator[Row]:
    """S11: non-response by each of the two CD19 variables; neither is called the paper's."""
    disease = disease_courses(frames).filter(pl.col("responded").is_not_null())
    if not each_patient_once(disease):
        return
    for column, words in _CD19.items():
        exposed, total, exposed_r, total_r = two_by_two(disease, column)
        p = fisher(exposed, total - exposed, exposed_r, total_r - exposed_r) if total and total_r else None
        yield {
            "analysis_id": "S11", "definition": f"CD19 loss: {words}", "endpoint": "non-response",
            "quantity": f"Fisher P {column}", "p": p, "n": total + total_r, "events": total,
            "method": "Fisher exact, two-sided", "note": f"{exposed}/{total} vs {exposed_r}/{total_r}; after baseline",
        }  # fmt: skip


def delayed_entry_rows(frames: StudyFrames, parameters: StatisticsParameters) -> Iterator[Row]:
    """S14: time counted from the diagnosis, each patient at risk only from the first bag on (left truncation).

    Hazard ratios of the strata against CR_MRDneg; patients without a diagnosis date are left out and counted.
    """
    for endpoint in ("EFS", "OS"):
        rows = usable(frames.patients, endpoint).filter(pl.col("km_stratum").is_in(STRATA))
        entry = (pl.col("first_blina_date") - pl.col("diagnosis_date")).dt.total_days()
        known = rows.with_columns(entry=entry.cast(pl.Float64)).filter(pl.col("entry") >= 0)
        late = known.with_columns(
            *((pl.col("km_stratum") == s).cast(pl.Int8).alias(s) for s in STRATA[1:]),
            time=pl.col("entry") + pl.col("time"),
        )
        left_out = rows.height - known.height
        head: Row = {
            "analysis_id": "S14", "endpoint": endpoint,
            "definition": "time from diagnosis, delayed entry at the first bag",
        }  # fmt: skip
        thin = _thin_risk_sets(late)
        for term in cox(late, STRATA[1:], entry="entry", confidence=parameters.confidence).terms:
            if term.se is not None and term.se > _SEPARATED:
                yield head | {"stratum": term.name, "quantity": "HR vs CR_MRDneg", "n": term.n, "events": term.events,
                              "note": "not estimable: a stratum without an event"}  # fmt: skip
                continue
            said = [f"{left_out} without a diagnosis date" if left_out else None, thin, term.note]
            ratio: float | None = term.ratio
            if term.lower is not None and term.upper is not None and term.upper - term.lower > math.log(_WIDEST):
                said.insert(0, f"no stable estimate: the limits lie more than a factor of {_WIDEST} apart")
                ratio = None
            yield head | {
                "stratum": term.name, "quantity": "HR vs CR_MRDneg", "estimate": ratio, "p": term.p,
                "lower": term.ratio_lower, "upper": term.ratio_upper, "n": term.n, "events": term.events,
                "method": "Cox, Efron ties, left truncation (lifelines)",
                "note": "; ".join(text for text in said if text) or None,
            }  # fmt: skip


def _thin_risk_sets(late: pl.DataFrame) -> str | None:
    """How many events happened with fewer than `_FEW` at risk, in words; None when there are none."""
    entry, time = late["entry"].to_numpy(), late["time"].to_numpy()
    moments = late.filter(pl.col("event"))["time"].to_list()
    thin = sum(1 for moment in moments if ((entry < moment) & (time >= moment)).sum() < _FEW)
    return f"{thin} of {len(moments)} events with fewer than {_FEW} at risk (delayed entry)" if thin else None


def variant_rows(
    frames: StudyFrames, variants: Mapping[str, object], parameters: StatisticsParameters
) -> Iterator[Row]:
    """Response, EFS and T cells of every variant; a quantity that the variant leaves as it is has no row.

    So a variant of the T-cell windows gives rows of T cells only.
    """
    primary = {_key(row): row for row in _estimates(frames, parameters)}
    if variants:
        for row in primary.values():
            if row["endpoint"] in ("T cells", "CRS"):
                yield row | {"analysis_id": "primary", "definition": "primary definitions"}
    for name, derived in variants.items():
        for row in _estimates(study_frames(derived), parameters):
            before = primary.get(_key(row), {})
            if any(row.get(column) != before.get(column) for column in ("estimate", "p", "n", "events")):
                yield row | {"analysis_id": name, "definition": f"derived again: {name}"}
    for name, derived in variants.items():
        notes = ["only quantities that differ from the primary analysis have rows"]
        notes += [*_left_out(name, frames, study_frames(derived)), *_regraded(name, frames)]
        yield {"analysis_id": name, "definition": f"derived again: {name}", "quantity": "computed",
               "note": "; ".join(notes)}  # fmt: skip


def _left_out(name: str, primary: StudyFrames, other: StudyFrames) -> Iterator[str]:
    """What each attrition step that only the variant has leaves out, and T-cell draws: none is said, too."""
    if "step" in primary.attrition.columns:  # else not derived, see StudyFrames
        added = other.attrition.join(primary.attrition, on="step", how="anti")
        for reason, unit, n in added.select("reason", "unit", "excluded").iter_rows():
            yield f"{reason}: {n or 'no'} {unit}{'' if n == 1 else 's'} recorded and left out"
    if name == "S10-chemo" and "days_since_chemo" in primary.lab_windows.columns:
        draws = primary.lab_windows.filter(pl.col("window").is_in(["pre", "post"]))
        after = draws["days_since_chemo"].count()
        unknown = int((primary.patients["chemo_recorded"] == 0).sum())
        yield f"{after or 'none'} of {draws.height} T-cell values were drawn that soon after chemotherapy and left out"
        yield (
            f"{unknown} patients without any chemotherapy on record stay in"
            if unknown
            else "every patient has some on record"
        )


def _regraded(name: str, primary: StudyFrames) -> Iterator[str]:
    """For CRS by another system: how many courses its grades come from, and how many have none in it."""
    column = {"A11-ASTCT": "crs_astct", "A11-CTCAE": "crs_ctcae"}.get(name)
    if column is None:
        return
    crs = primary.courses.filter(pl.col(f"{column}_basis").is_not_null())
    limits = int((crs[f"{column}_basis"] == "at least").sum())
    yield (
        f"{crs[column].count()} of {crs.height} courses with CRS graded from signs, "
        f"{limits or 'none'} of them as a lower limit"
    )


def _key(row: Row) -> tuple[object, ...]:
    return row["endpoint"], row.get("stratum"), row["quantity"]


def _estimates(frames: StudyFrames, parameters: StatisticsParameters) -> Iterator[Row]:
    yield from _responses(frames, parameters)
    horizon = float(parameters.horizon_days)
    efs = survival_of(frames.patients, "EFS")
    efs = efs.of(*(s for s in efs.strata if s != "UNKNOWN"))
    outcome = log_rank(efs)
    yield {"endpoint": "EFS", "quantity": "log-rank P", "p": outcome.p, "n": len(efs.time),
           "events": int(efs.event.sum()), "method": "log-rank", "note": outcome.note}  # fmt: skip
    for stratum in efs.strata:
        part = efs.of(stratum)
        point = survival_point(kaplan_meier(part.time, part.event), horizon, parameters.confidence)
        yield {
            "endpoint": "EFS", "stratum": stratum, "quantity": f"survival at day {horizon:g}",
            "method": point.ci_method,
            "estimate": point.survival, "lower": point.lower, "upper": point.upper, "n": len(part.time),
            "events": int(part.event.sum()), "note": point.note,
        }  # fmt: skip
    yield _severe_crs(frames, parameters)
    for row in paired_table(frames, parameters).iter_rows(named=True):
        yield {
            "endpoint": "T cells", "quantity": f"{row['analyte']} shift", "estimate": row["shift"],
            "lower": row["shift_lower"], "upper": row["shift_upper"], "p": row["p"], "n": row["n_pairs"],
            "method": row["method"], "note": row["note"],
        }  # fmt: skip


def _severe_crs(frames: StudyFrames, parameters: StatisticsParameters) -> Row:
    """A11: the share of grade 3 or more among the courses with a graded CRS."""
    graded = frames.courses.filter(pl.col("crs_grade") >= 1)["crs_grade"]
    severe = int((graded >= 3).sum())
    found = proportion_row(severe, graded.len(), parameters.confidence)
    return {
        "endpoint": "CRS", "quantity": "grade >= 3, percent of courses with a graded CRS",
        "estimate": found.get("percent"), "lower": found.get("cp_lower"), "upper": found.get("cp_upper"),
        "n": graded.len(), "events": severe, "method": "Clopper-Pearson; events = grade >= 3",
    }  # fmt: skip


def _responses(frames: StudyFrames, parameters: StatisticsParameters) -> Iterator[Row]:
    disease = disease_courses(frames).unique("person_id", keep="first", maintain_order=True)
    negative = frames.courses.filter(pl.col("state_pre") == "MRDneg")
    for state, values in (
        ("RR", disease.filter(pl.col("state_pre") == "RR")["responded"]),
        ("MRDpos", disease.filter(pl.col("state_pre") == "MRDpos")["responded"]),
        ("MRDneg", negative["mrd_neg_post"]),
    ):
        known = values.drop_nulls()
        found = proportion_row(int(known.sum()), known.len(), parameters.confidence)
        yield {
            "endpoint": "response", "stratum": state, "quantity": "percent", "estimate": found.get("percent"),
            "lower": found.get("cp_lower"), "upper": found.get("cp_upper"), "n": known.len(),
            "events": int(known.sum()), "method": "Clopper-Pearson; events = successes",
        }  # fmt: skip
