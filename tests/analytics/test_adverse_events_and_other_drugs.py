"""Adverse events, TKIs and chemotherapy from OMOP rows to the tables and the page: recorded, none, and not recorded."""

import importlib

import polars as pl
import pytest

from analytics import derive, derive_variants, load_study, open_cdm, results_tables
from analytics.cdm import Cdm
from analytics.derive import Derived
from analytics.example_records import about, write_child
from analytics.explain import explain_course
from analytics.report.meta import ReportMeta
from analytics.report.page import render_report
from analytics.results import suppress
from analytics.statistics import run_analyses

children = importlib.import_module("children")
QUICK = {"statistics": {"permutations": 20, "bootstrap": 20, "concordance_bootstrap": 5}}
NEUTROPENIA, SEIZURE, OTHER = "Febrile neutropenia", "Seizure", "Other graded event"
BLOOD = [{"day": -2, "CD3": 1.0, "CD4": 0.5, "CD8": 0.4}, {"day": 30, "CD3": 1.2, "CD4": 0.6, "CD8": 0.5}]
MARROWS = [{"day": -3, "blasts": 1, "mrd": "<0.01%"}, {"day": 29, "blasts": 1, "mrd": "<0.01%"}]
COURSE = {"blood": BLOOD, "marrows": MARROWS, "visits": [{"day": 400}]}
PH = {"genetics": [{"day": -200, "finding": "BCR_ABL1"}]}
# SITE1 records febrile neutropenia and TKIs, SITE2 neither.
TOLD = {
    "grade 3": COURSE | {"adverse_events": [{"event": "febrile neutropenia", "day": 4, "grade": 3}]},
    "ungraded": COURSE | {"adverse_events": [{"event": "febrile neutropenia", "day": 5}]},
    "none": COURSE | {"drugs": [{"drug": "cytarabine", "day": -10}]},
    "liver": COURSE | {"chemistry": [{"day": 3, "ALT": 250, "upper": 40}, {"day": 9, "ALT": 130, "upper": 40}]},
    "on a TKI": COURSE | PH | {"drugs": [{"drug": "imatinib", "day": 2}]},
    "without a TKI": COURSE | PH,
    "elsewhere": COURSE | PH | {"site": "SITE2"},
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, int]]:
    made = children.Children()
    for name, records in TOLD.items():
        child = made.add(name, **about(records))
        write_child(child, records | {"courses": [{}]})
    return made.cdm.write(tmp_path_factory.mktemp("told") / "omop.duckdb"), made.numbers


@pytest.fixture(scope="module")
def cdm(told: tuple[str, dict[str, int]]) -> Cdm:
    return open_cdm(told[0])


@pytest.fixture(scope="module")
def found(cdm: Cdm) -> Derived:
    return derive(cdm, load_study())


@pytest.fixture(scope="module")
def results(cdm: Cdm, found: Derived) -> dict[str, pl.DataFrame]:
    return run_analyses(found, QUICK, derive_variants(cdm, load_study()))


def events_of(found: Derived, person: int) -> dict[str, tuple[int | None, int | None]]:
    rows = found.adverse_events.filter(pl.col("person_id") == person).to_dicts()
    return {row["event"]: (row["occurred"], row["grade"]) for row in rows}


def test_an_event_has_occurred_or_not_or_nobody_wrote(told: tuple[str, dict[str, int]], found: Derived) -> None:
    number = told[1]
    assert events_of(found, number["grade 3"])[NEUTROPENIA] == (1, 3)
    assert events_of(found, number["ungraded"])[NEUTROPENIA] == (1, None)
    assert events_of(found, number["none"])[NEUTROPENIA] == (0, 0)
    assert events_of(found, number["elsewhere"])[NEUTROPENIA] == (None, None)
    assert events_of(found, number["liver"])["ALT increased"] == (1, 3)
    assert events_of(found, number["none"])["ALT increased"] == (None, None)


def test_a_silent_hospital_can_be_taken_at_its_word(told: tuple[str, dict[str, int]], cdm: Cdm) -> None:
    trusting = load_study().varied({"adverse_event.silent_hospital_is_missing": False})
    assert events_of(derive(cdm, trusting), told[1]["elsewhere"])[NEUTROPENIA] == (0, 0)


def test_every_event_and_drug_is_followed_to_its_rows(told: tuple[str, dict[str, int]], found: Derived) -> None:
    person = told[1]["liver"]
    line = found.evidence.filter(pl.col("key") == f"{person}:1", pl.col("field") == "ALT increased").row(0, named=True)
    assert (line["rule"], line["grade"], line["source_table"]) == ("laboratory_event@1", "B", "measurement")
    fields = found.evidence.filter(pl.col("source_table") == "drug_exposure").select("field", "rule", "grade").unique()
    assert ("tki", "tki@1", "A") in fields.rows()
    assert ("days_since_chemo", "tcell_chemotherapy@1", "B") in fields.rows()
    recorded = found.evidence.filter(pl.col("field") == NEUTROPENIA)
    assert recorded.height == 2
    assert recorded["grade"].unique().to_list() == ["A"]
    assert results_tables(found)["study_adverse_event"].height == found.adverse_events.height == 7 * 7


def test_explain_names_the_event_and_its_row(told: tuple[str, dict[str, int]], cdm: Cdm) -> None:
    shown = explain_course(cdm, load_study(), str(told[1]["grade 3"]), values=True)
    assert "  Febrile neutropenia: 3\n      adverse_event@1, evidence A (coded), condition_occurrence " in shown
    assert "  ALT increased: not known" in shown


def test_the_table_counts_them_and_never_makes_missing_zero(results: dict[str, pl.DataFrame]) -> None:
    safety = results["safety"].filter(pl.col("unit_of_analysis") == "course")
    rows = {row["grade"]: row for row in safety.filter(pl.col("event") == NEUTROPENIA).to_dicts()}
    assert (rows["any (>= 1)"]["n"], rows["any (>= 1)"]["denominator"]) == (2, 6)
    assert (rows[">= 3"]["n"], rows["ungraded"]["n"], rows["0"]["n"], rows["missing"]["n"]) == (1, 1, 4, 1)
    liver = {row["grade"]: row for row in safety.filter(pl.col("event") == "ALT increased").to_dicts()}
    assert (liver["3"]["n"], liver["any (>= 1)"]["denominator"], liver["missing"]["n"]) == (1, 1, 6)
    assert safety.filter(pl.col("event") == "AST increased")["grade"].to_list() == ["missing"]
    rates = results["rates"].filter(pl.col("event") == NEUTROPENIA)
    assert rates["events"].to_list() == [2, 1]
    assert rates["infusion_days"].to_list() == [6 * 28, 6 * 28]
    assert "AST increased" not in results["rates"]["event"]


def test_tki_is_told_of_bcr_abl1_only(results: dict[str, pl.DataFrame]) -> None:
    row = results["baseline"].filter(pl.col("variable") == "tki", pl.col("group") == "overall").row(0, named=True)
    assert (row["n"], row["denominator"], row["missing"]) == (1, 2, 1)


def test_those_on_a_tki_are_left_out_and_the_unknown_stay(results: dict[str, pl.DataFrame]) -> None:
    rows = results["sensitivity"].filter(pl.col("quantity") == "log-rank P", pl.col("endpoint") == "EFS")
    n = dict(rows.select("analysis_id", "n").iter_rows())
    assert (n["primary"], n["S13-BCR::ABL1"], n["S13-TKI"]) == (7, 4, 6)


def test_a_draw_shortly_after_chemotherapy_is_left_out_in_s10(cdm: Cdm, results: dict[str, pl.DataFrame]) -> None:
    rows = results["sensitivity"].filter(pl.col("analysis_id") == "S10-chemo")
    shift = rows.filter(pl.col("quantity") == "CD3 shift")
    primary = results["paired"].filter(pl.col("analyte") == "CD3")
    assert (primary["n_pairs"].item(), shift["n"].item()) == (7, 6)
    (note,) = rows.filter(pl.col("quantity") == "computed")["note"]
    assert "3 of 42 T-cell values were drawn that soon after chemotherapy and left out" in note
    assert "6 patients without any chemotherapy on record stay in" in note


def test_the_page_says_not_recorded(results: dict[str, pl.DataFrame]) -> None:
    tables = results | {"counters": pl.DataFrame()}
    page = render_report(tables, ReportMeta(synthetic=True))
    block = page.split("Other adverse events")[-1]
    assert "2/6 (33.3%); 1 not recorded" in page
    assert "not recorded" in block
    assert "1/2 (50.0%); 1 not recorded" in page
    assert "Of the other adverse events Febrile neutropenia" in page


def test_small_counts_of_events_do_not_leave(results: dict[str, pl.DataFrame]) -> None:
    safety = suppress(results, 5)["safety"].filter(pl.col("event") == NEUTROPENIA)
    small = safety.filter(pl.col("grade").is_in(["3", "ungraded", "any (>= 1)", ">= 3", "missing"]))
    assert small["n"].null_count() == small.height == 10
