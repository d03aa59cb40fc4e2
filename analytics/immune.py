"""T cells, B cells and cytokines around each course (PROTOCOL.md 5.5: tcell_pre, tcell_post, cytokine, cd19_*)."""

import polars as pl

from analytics.concept_sets import ConceptSets
from analytics.concomitant import systemic_chemotherapy, with_chemotherapy_before
from analytics.counts import concentrations, subset_counts
from analytics.courses import days_between
from analytics.findings import Findings
from analytics.records import Records
from analytics.study import Study
from analytics.written import folded_unit, with_written_numbers

WINDOWS = {
    "person_id": pl.Int64,
    "course_no": pl.Int32,
    "site": pl.String,
    "analyte": pl.String,
    "window": pl.String,
    "day": pl.Int32,
    "value": pl.Float64,
    "unit": pl.String,
    "operator": pl.String,
    "measurement_id": pl.Int64,
    "days_since_chemo": pl.Int32,
}
"""Columns of the lab windows: window pre, post, baseline or peak; day from the course's first bag; days_since_chemo of
`tcell_chemotherapy@1` (null: none recorded that near)."""

POINTS = {name: kind for name, kind in WINDOWS.items() if name not in ("window", "days_since_chemo")} | {
    "day_after_end": pl.Int32
}
"""Columns of the lab points."""

_KEYS = ["person_id", "course_no"]


def derive_lab_windows(
    courses: pl.DataFrame, records: Records, sets: ConceptSets, study: Study, findings: Findings
) -> pl.DataFrame:
    """One row per course, analyte and window that has a value (columns `WINDOWS`).

    `courses` has start_date, end_date, next_start_date, step_dose, site.
    """
    cells = subset_counts(records, sets, study, findings)
    _check_subsets(cells, study, findings)
    chemotherapy = systemic_chemotherapy(records, sets, study)
    near = with_chemotherapy_before(_near(courses, cells), chemotherapy, study)
    if study.get("tcell_chemotherapy.leave_out"):
        near = near.filter(pl.col("days_since_chemo").is_null())
    after_end = days_between(pl.col("end_date"), pl.col("date"))
    before_next = days_between(pl.col("date"), pl.col("next_start_date"))
    pre, post = study.get("tcell_pre"), study.get("tcell_post")
    in_post = after_end.is_between(0, post["days_after_end"]) & (before_next >= post["days_before_next"]).fill_null(
        value=True
    )
    windows = [
        _one_draw(near.filter(pl.col("day").is_between(pre["first_day"], pre["last_day"])), study, "pre", last=True),
        _one_draw(near.filter(in_post), study, "post", last=False),
    ]
    cell_windows = pl.concat(windows).with_columns(unit=pl.lit(study.get("units_cells.unit")))
    _record_chemotherapy(cell_windows, study, findings)
    cytokines = _cytokines(courses, records, sets, study, findings)
    together = [cell_windows, with_chemotherapy_before(cytokines, chemotherapy, study)]
    frame = pl.concat(one.select(list(WINDOWS)) for one in together).cast(WINDOWS)  # type: ignore[arg-type]
    _count_windows(courses, frame, study, findings)
    return frame.sort("person_id", "course_no", "analyte", "window")


def derive_lab_points(courses: pl.DataFrame, records: Records, sets: ConceptSets, study: Study) -> pl.DataFrame:
    """Every T cell, B cell and cytokine result around a course, for trajectories: columns `POINTS`.

    `day` counts from the course's first bag, `day_after_end` from its last. A draw shortly before the next course's
    first bag (`tcell_post.days_before_next`) is that course's, never the earlier one's.
    """
    rule, cytokine = study.get("trajectory"), study.get("cytokine")
    unseen = Findings()  # these rows are counted once already, by the windows
    cells = subset_counts(records, sets, study, unseen).with_columns(unit=pl.lit(study.get("units_cells.unit")))
    told = concentrations(records, cytokine["analytes"], cytokine["factors"], sets, unseen)
    values = pl.concat([cells, told.with_columns(unit=pl.lit(cytokine["unit"]))])
    near = _near(courses, values).with_columns(day_after_end=days_between(pl.col("end_date"), pl.col("date")))
    before_next = days_between(pl.col("date"), pl.col("next_start_date"))
    inside = near.filter(
        pl.col("day") >= rule["first_day"],
        pl.col("day_after_end") <= rule["days_after_end"],
        (before_next >= study.get("tcell_post.days_before_next")).fill_null(value=True),
    )
    # Between two courses a draw belongs to the one that ended, if it still counts there.
    own = inside.sort("course_no").unique(["measurement_id", "analyte"], keep="first", maintain_order=True)
    # polars' stubs want the exact type of its own mapping, which a plain dict of types is not
    return own.select(list(POINTS)).cast(POINTS).sort([*_KEYS, "analyte", "day", "measurement_id"])  # type: ignore[arg-type]


def paired_courses(windows: pl.DataFrame, study: Study) -> pl.DataFrame:
    """person_id, course_no of the courses with both windows filled for every analyte of `one_draw`."""
    analytes = study.get("one_draw.analytes")
    filled = windows.filter(pl.col("analyte").is_in(analytes) & pl.col("window").is_in(["pre", "post"]))
    counted = filled.group_by(_KEYS).len()
    return counted.filter(pl.col("len") == 2 * len(analytes)).select(_KEYS).sort(_KEYS)


def _near(courses: pl.DataFrame, values: pl.DataFrame) -> pl.DataFrame:
    columns = [*_KEYS, "site", "start_date", "end_date", "next_start_date", "step_dose"]
    return (
        courses.select(columns)
        .join(values, on="person_id")
        .with_columns(day=days_between(pl.col("start_date"), pl.col("date")))
    )


def _one_draw(values: pl.DataFrame, study: Study, window: str, *, last: bool) -> pl.DataFrame:
    """The last (or first) day per analyte; a day with all analytes of `one_draw` goes before others."""
    together = study.get("one_draw.analytes")
    of_draw = pl.col("analyte").is_in(together)
    whole = (pl.col("analyte").filter(of_draw).n_unique() == len(together)).over([*_KEYS, "day"])
    ordered = values.with_columns(whole=whole & of_draw).sort(
        "whole", "day", "time", "measurement_id", descending=[True, last, True, True], nulls_last=True
    )
    chosen = ordered.unique([*_KEYS, "analyte"], keep="first", maintain_order=True)
    return chosen.with_columns(window=pl.lit(window))


def _cytokines(
    courses: pl.DataFrame, records: Records, sets: ConceptSets, study: Study, findings: Findings
) -> pl.DataFrame:
    """`cytokine@1`: the last baseline and the highest peak; limits keep their operator."""
    rule = study.get("cytokine")
    values = _near(courses, concentrations(records, rule["analytes"], rule["factors"], sets, findings))
    values = values.join(_tocilizumab(courses, records, sets, study), on=_KEYS, how="left")
    blocked = (pl.col("analyte") == "IL-6") & (pl.col("date") >= pl.col("tocilizumab_date"))
    findings.count("dq_il6_after_tocilizumab", values.filter(blocked), values)
    values = values.filter(~blocked.fill_null(value=False)).with_columns(unit=pl.lit(rule["unit"]))
    day, stepped = pl.col("day"), pl.col("step_dose") == 1
    in_peak = day.is_between(rule["peak_first_day"], rule["peak_last_day"]) | (
        stepped & day.is_between(rule["step_first_day"], rule["step_last_day"])
    )
    baseline = values.filter(day.is_between(rule["baseline_first_day"], rule["baseline_last_day"]))
    last = baseline.sort("day", "time", "measurement_id", descending=True, nulls_last=True)
    highest = values.filter(in_peak).sort("value", "day", "measurement_id", descending=[True, False, False])
    chosen = [
        rows.unique([*_KEYS, "analyte"], keep="first", maintain_order=True).with_columns(window=pl.lit(window))
        for window, rows in (("baseline", last), ("peak", highest))
    ]
    return pl.concat(chosen)


def _tocilizumab(courses: pl.DataFrame, records: Records, sets: ConceptSets, study: Study) -> pl.DataFrame:
    """person_id, course_no, tocilizumab_date: the first dose from the course's first bag on."""
    doses = records.drugs.filter(
        sets.within("drug_concept_id", "CS_TOCILIZUMAB"),
        pl.col("drug_type_concept_id").is_in(study.get("exposure_type.administration_type_concept_ids")),
    )
    joined = courses.select(*_KEYS, "start_date").join(doses, on="person_id")
    later = joined.filter(pl.col("drug_exposure_start_date") >= pl.col("start_date"))
    return later.group_by(_KEYS).agg(tocilizumab_date=pl.col("drug_exposure_start_date").min())


def derive_cd19_loss(
    courses: pl.DataFrame, records: Records, sets: ConceptSets, study: Study, findings: Findings
) -> pl.DataFrame:
    """person_id, course_no (1), cd19_loss_complete (antigen), cd19_loss_2missing (peripheral B cells); 1, 0 or null."""
    first = courses.filter(pl.col("course_no") == 1)
    result = first.select(_KEYS)
    chosen = (
        ("cd19_loss_complete", "cd19_antigen_loss", "below_pct", _last_gated(first, records, sets, study)),
        ("cd19_loss_2missing", "cd19_bcell_loss", "below", _first_b_cells(first, records, sets, study)),
    )
    for field, rule, limit, rows in chosen:
        lost = rows.select(*_KEYS, (pl.col("value") < study.get(rule)[limit]).cast(pl.Int8).alias(field))
        result = result.join(lost, on=_KEYS, how="left")
        findings.evidence(
            rows,
            table="study_course",
            field=field,
            rule=study.rule(rule),
            grade="A",
            source_table="measurement",
            source_id="measurement_id",
            key=("person_id", "course_no"),
        )
    return result


def _last_gated(first: pl.DataFrame, records: Records, sets: ConceptSets, study: Study) -> pl.DataFrame:
    """`cd19_antigen_loss@1`: the last CD19 gating (% of blasts) up to the post marrow of course 1."""
    told = records.measurements.filter(sets.within("measurement_concept_id", "CS_CD19_BLAST_PCT"))
    rows = with_written_numbers(told.with_columns(operator=pl.lit(None, dtype=pl.String)))
    # "CD19 negative" blasts have lost it, "positive" ones have not, whatever the share.
    spoken = sets.choose("value_as_concept_id", {"CS_VALUE_NEGATIVE": 0.0, "CS_VALUE_POSITIVE": 100.0})
    units = [folded_unit(pl.col(one)) for one in ("unit_source_value", "unit_code")]
    share = (
        pl.when(pl.any_horizontal(one.is_in(["1", "{fraction}", "fraction"]) for one in units)).then(100).otherwise(1)
    )
    gated = rows.select(
        "person_id",
        "measurement_id",
        date="measurement_date",
        value=pl.coalesce(pl.col("value_as_number") * share, spoken.cast(pl.Float64)),
    ).filter(pl.col("value").is_not_null())
    near = first.select(*_KEYS, "start_date", "end_date", "post_date").join(gated, on="person_id")
    near = near.filter(
        days_between(pl.col("start_date"), pl.col("date")) >= study.get("cd19_antigen_loss.first_day"),
        pl.col("date") <= pl.coalesce("post_date", "end_date"),
    )
    return near.sort("date", "measurement_id").unique("person_id", keep="last", maintain_order=True)


def _first_b_cells(first: pl.DataFrame, records: Records, sets: ConceptSets, study: Study) -> pl.DataFrame:
    """`cd19_bcell_loss@1`: the first peripheral CD19 count (10*9/L) after course 1 (A16)."""
    rule = study.get("cd19_bcell_loss")
    # These rows are counted once already, by the lab windows.
    counts = subset_counts(records, sets, study, Findings()).filter(pl.col("analyte") == "CD19")
    after = first.select(*_KEYS, "end_date").join(counts, on="person_id")
    day = days_between(pl.col("end_date"), pl.col("date"))
    after = after.filter(day.is_between(rule["first_day"], rule["last_day"]))
    return after.sort("date", "time", "measurement_id", nulls_last=True).unique(
        "person_id", keep="first", maintain_order=True
    )


def _check_subsets(cells: pl.DataFrame, study: Study, findings: Findings) -> None:
    """R34: CD4 + CD8 above CD3 by more than rounding."""
    draws = (
        cells.filter(pl.col("operator").is_null())
        .group_by("person_id", "date")
        .agg(*(pl.col("value").filter(pl.col("analyte") == name).first().alias(name) for name in ("CD3", "CD4", "CD8")))
    )
    exceeds = (pl.col("CD4") + pl.col("CD8") - pl.col("CD3")).round(6) > study.get("subset_sum.tolerance")
    findings.count("dq_subset_sum_exceeds", draws.filter(exceeds), draws)


def _record_chemotherapy(cell_windows: pl.DataFrame, study: Study, findings: Findings) -> None:
    """Chemotherapy shortly before a draw that counts: how often, and which rows say so."""
    after = cell_windows.filter(pl.col("days_since_chemo").is_not_null())
    findings.count("dq_tcell_after_chemotherapy", after, cell_windows)
    findings.evidence(
        after,
        table="study_lab_window",
        field="days_since_chemo",
        rule=study.rule("tcell_chemotherapy"),
        grade="B",
        source_table="drug_exposure",
        source_id="chemo_ids",
        key=("person_id", "course_no"),
    )


def _count_windows(courses: pl.DataFrame, windows: pl.DataFrame, study: Study, findings: Findings) -> None:
    first = courses.filter(pl.col("course_no") == 1)
    findings.count("dq_window_empty", first.join(paired_courses(windows, study), on=_KEYS, how="anti"), first)
