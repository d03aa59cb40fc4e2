"""Data-quality findings that touch a result: one row per counter, one column per site, in the reader's words."""

from html import escape
from typing import Any

import polars as pl

from analytics.figures.wording import DASH, count, in_order, percent, sentence
from analytics.report.material import Material, Section
from analytics.report.tables import Column, html_table

EXPOSURE, MARROW, GENETICS, CELLS, EVENTS, PERSONS = (
    "Exposure and courses",
    "Marrow, MRD and state",
    "Genetics",
    "T cells, B cells and cytokines",
    "Relapse, death, follow-up and toxicity",
    "Persons, indication and records",
)

COUNTERS: dict[str, tuple[str, str]] = {
    "bags_per_course": (EXPOSURE, "bags of blinatumomab used"),
    "admin_status_rejected": (EXPOSURE, "administrations refused for their status"),
    "bag_end_imputed": (EXPOSURE, "bags without an end: end = start + stated hours, or 24 h"),
    "bag_hours_default": (EXPOSURE, "bags without hours: 24 h taken"),
    "bag_overlap": (EXPOSURE, "bags that overlapped the next one and were cut"),
    "duplicate_admin": (EXPOSURE, "duplicate administrations"),
    "exposure_low_evidence": (EXPOSURE, "patients whose courses stand on orders only (grade B)"),
    "overfill": (EXPOSURE, "bags that hold more than was delivered"),
    "dose_unit_unconvertible": (EXPOSURE, "courses whose dose cannot be converted to µg/d"),
    "dose_deviation_gt20pct": (EXPOSURE, "courses more than 20% off the nominal dose"),
    "step_dose": (EXPOSURE, "courses with a step dose"),
    "interruptions": (EXPOSURE, "interruptions of 4 h to 7 days"),
    "course_split_gt7d": (EXPOSURE, "courses that follow a gap of more than 7 days"),
    "course_multi_site": (EXPOSURE, "courses over two sites"),
    "course_end_unseen": (EXPOSURE, "patients whose last bags are not in the record"),
    "course_longer_than_planned": (EXPOSURE, "courses longer than any planned length"),
    "planned_days_inferred": (EXPOSURE, "courses whose planned length is inferred"),
    "steroid_role_unclear": (EXPOSURE, "dexamethasone doses of unclear role"),
    "time_imputed": (EXPOSURE, "bag starts known to the day only (12:00 taken)"),
    "zone_assumed": (EXPOSURE, "times without a zone, read in the site’s zone"),
    "mrd_negative_text": (MARROW, "MRD results negative by word"),
    "mrd_unparsed": (MARROW, "MRD results that could not be read"),
    "mrd_comparator": (MARROW, "MRD results given as a limit"),
    "mrd_unit_normalised": (MARROW, "MRD results converted to %"),
    "mrd_unit_unknown": (MARROW, "MRD results without a known unit, not used"),
    "mrd_not_marrow": (MARROW, "MRD results not from marrow, not used"),
    "mrd_multi_method": (MARROW, "marrow days with several MRD methods"),
    "mrd_pos_bq": (MARROW, "MRD positive below quantification"),
    "mrd_cd19_gated": (MARROW, "MRD results gated on CD19 only"),
    "marrow_inadequate": (MARROW, "inadequate marrow samples, not used"),
    "marrow_out_of_window": (MARROW, "marrows outside the windows, not used for response"),
    "blast_from_text": (MARROW, "blast percentages read from text (grade C)"),
    "counts_missing": (MARROW, "remissions without neutrophil and platelet counts"),
    "state_rr_without_rr_indication": (MARROW, "state R/R without an R/R indication"),
    "superseded_versions": (MARROW, "results replaced by a later version"),
    "fullwidth": (MARROW, "texts with full-width digits or signs"),
    "report_date_used": (MARROW, "results dated by the report, not the sample"),
    "sample_date_used": (MARROW, "results reported after the day of the sample, dated by the sample"),
    "genetics_from_text": (GENETICS, "subtypes read from text"),
    "genetics_unparsed": (GENETICS, "genetic reports that could not be read"),
    "genetics_missing": (GENETICS, "patients without any genetic result (unknown)"),
    "genetics_single_method": (GENETICS, "subtypes known by one method only"),
    "cytogenetics_failed": (GENETICS, "failed cultures (unknown, not normal)"),
    "clone_changed": (GENETICS, "another clone at relapse (baseline clone used)"),
    "unit_normalised": (CELLS, "cell counts converted to ×10⁹/L"),
    "unit_unknown": (CELLS, "values without a known unit, not used"),
    "abs_from_pct": (CELLS, "absolute counts from percentage × lymphocytes (grade B)"),
    "pct_beside_absolute": (CELLS, "percentages beside absolute counts, not used"),
    "code_unit_conflict": (CELLS, "percentages under a code for absolute counts"),
    "below_lod": (CELLS, "counts of 0 or below the detection limit"),
    "window_empty": (CELLS, "windows without a value"),
    "tcell_after_chemotherapy": (CELLS, "T-cell values of the windows drawn soon after systemic chemotherapy"),
    "subset_sum_exceeds": (CELLS, "CD4 + CD8 above CD3"),
    "cytokine_censored": (CELLS, "cytokine values given as a limit"),
    "il6_after_tocilizumab": (CELLS, "IL-6 values after tocilizumab, not used"),
    "relapse_from_text": (EVENTS, "relapses known from text only (grade C)"),
    "default_remission_code": (EVENTS, "default remission codes, not used for the state"),
    "death_source_conflict": (EVENTS, "deaths on which the sources disagree"),
    "death_month_only": (EVENTS, "deaths known to the month (day 15 taken)"),
    "nonclinical_after_contact": (EVENTS, "non-clinical records after the last contact"),
    "after_death": (EVENTS, "records after death, not used"),
    "after_lock": (EVENTS, "deaths after the data lock, not events"),
    "hsct_external": (EVENTS, "transplants elsewhere (grade C)"),
    "negative_survival_time": (EVENTS, "negative survival times"),
    "crs_system": (EVENTS, "CRS records that name their grading system"),
    "crs_ungraded": (EVENTS, "CRS records without a grade"),
    "crs_regraded_astct": (EVENTS, "courses with CRS graded from signs by ASTCT"),
    "crs_regraded_ctcae": (EVENTS, "courses with CRS graded from signs by CTCAE"),
    "crs_no_fever_astct": (EVENTS, "courses with CRS and a charted temperature, never fever: no ASTCT grade"),
    "crs_no_fever_ctcae": (EVENTS, "courses with CRS and a charted temperature, nothing that CTCAE grades"),
    "crs_at_least_astct": (EVENTS, "ASTCT grades from signs that are lower limits"),
    "crs_at_least_ctcae": (EVENTS, "CTCAE grades from signs that are lower limits"),
    "crs_differs_astct": (EVENTS, "courses whose ASTCT grade from signs is not the recorded grade"),
    "crs_differs_ctcae": (EVENTS, "courses whose CTCAE grade from signs is not the recorded grade"),
    "crs_sign_unusable": (EVENTS, "temperatures, pressures and oxygen without a known unit, or implausible, not used"),
    "icans_system": (EVENTS, "ICANS records that name their grading system"),
    "icans_ungraded": (EVENTS, "ICANS records without a grade"),
    "seizure_unclassified": (EVENTS, "seizures near a bag, for review"),
    "adverse_event_ungraded": (EVENTS, "other adverse events without a grade"),
    "upper_limit_missing": (EVENTS, "liver and kidney values without an upper limit of normal, not graded"),
    "tki_not_recorded": (EVENTS, "patients with BCR::ABL1 of whom no record tells whether they had a TKI"),
    "chemotherapy_not_recorded": (PERSONS, "patients without any systemic chemotherapy on record"),
    "person_linked": (PERSONS, "patients linked over two record numbers"),
    "person_possible_duplicate": (PERSONS, "patients that may be the same child (not linked)"),
    "date_shift_conflict": (PERSONS, "patients with shifted dates over sites"),
    "down_syndrome": (PERSONS, "patients with Down syndrome on record"),
    "drug_unmapped": (PERSONS, "drug records without a standard concept"),
    "diagnosis_absent": (PERSONS, "patients without a diagnosis date"),
    "sex_missing": (PERSONS, "patients without a recorded sex"),
    "delay_grade_b": (PERSONS, "chemotherapy delays derived from dates (grade B)"),
    "delay_grade_c": (PERSONS, "chemotherapy delays known from text (grade C)"),
    "delay_too_short": (PERSONS, "planned blocks delayed too briefly to count"),
    "indication_conflict": (PERSONS, "order reasons that contradict the record"),
    "concept_unresolved": (PERSONS, "concepts of the study absent from the vocabulary"),
}
"""What each counter counts, and the results that it touches; others are shown by their own name."""

OTHER = "Other counters"


def counters(material: Material) -> str:
    """The counters above zero by site; those at zero are named below, because "not seen" is not "not looked for"."""
    table = material.need("counters", "counter", "site", "n", "denominator")
    found = table.filter(pl.col("n") > 0)["counter"].unique().to_list()
    sites = [site for site in in_order(table["site"].to_list(), ()) if site != "all"] + ["all"]
    rows = [_row(table.filter(pl.col("counter") == name), name, sites) for name in sorted(found)]
    order = [*dict.fromkeys(block for block, _ in COUNTERS.values()), OTHER]
    rows.sort(key=lambda row: (order.index(row["block"]), row["what"]))
    nowhere = set(table.filter(pl.col("site") == "all", pl.col("denominator") == 0)["counter"].to_list())
    zero = " ".join(
        f"{said}: {'; '.join(sorted(described(name)[1] for name in names))}."
        for said, names in (
            ("Looked for and not seen", set(table["counter"].to_list()) - set(found) - nowhere),
            ("Not seen, because there is no record to look at", nowhere - set(found)),
        )
        if names
    )
    if not rows:
        return f"<p>No data-quality counter is above zero. {zero}</p>"
    columns = [Column("what", "Finding", "left")]
    columns += [Column(site, "All sites" if site == "all" else escape(site)) for site in sites]
    note = "n/N: findings among the rows or patients in which they were looked for. Counts only, no identifier."
    body = html_table(rows, columns, stub="what", group="block")
    return material.table("Data-quality findings and the results that they touch", body, [note, zero])


def grading_system(slug: str) -> str:
    """A grading system as it is written: "Lee 2014" for lee_2014."""
    return "Lee 2014" if slug == "lee_2014" else slug.upper().replace("_", " ")


def described(counter: str) -> tuple[str, str]:
    """The block and the words of a counter."""
    name = counter.removeprefix("dq_")
    event, is_graded, system = name.partition("_by_")
    if is_graded and event in ("crs", "icans"):
        return EVENTS, f"{event.upper()} records graded by {grading_system(system)}"
    return COUNTERS.get(name, (OTHER, name.replace("_", " ")))


def _row(part: pl.DataFrame, name: str, sites: list[str]) -> dict[str, Any]:
    block, words = described(name)
    cells = {row["site"] or "all": row for row in part.to_dicts()}
    return {"block": block, "what": sentence(words), **{site: _cell(cells.get(site)) for site in sites}}


def _cell(row: dict[str, Any] | None) -> str:
    if row is None or (not row["n"] and not row["denominator"]):
        return DASH
    if not row["denominator"]:
        return count(row["n"])
    share = 100 * row["n"] / row["denominator"]
    return f"{count(row['n'])}/{count(row['denominator'])} ({percent(share, 0 if share >= 1 or not share else 1)})"


QUALITY = Section("quality", "Data quality", (("Data quality counters", counters),))
