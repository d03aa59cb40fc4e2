"""The report as a document: what it says, what it refuses to say, and that it needs nothing but itself."""

import re
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from analytics.report import ReportMeta, render_report, write_report
from analytics.report.sensitivity import _outcome, _quantity, analysis_name
from analytics.results import LAYOUTS
from analytics.statistics.tables import CONTAINS_INDIVIDUALS, SCHEMAS
from analytics.suppression import suppress

Tables = dict[str, pl.DataFrame]

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Tags, ids, headings and text of a page; notes tags that are closed out of turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.faults: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id" and value]

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


@pytest.fixture(scope="module")
def html(stored_tables: Tables) -> str:
    return render_report(stored_tables, ReportMeta(synthetic=True, cdm_name="BLINA-SAMPLE"))


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_the_summary_states_counts_intervals_and_units(page: Page) -> None:
    assert "105 children started blinatumomab: 30 for relapsed or refractory disease (R/R), 21" in page.text
    assert "complete remission in 9 of 11 patients (81.8%; exact 95% CI 48.2–97.7)" in page.text
    assert "MRD clearance (called CR in the paper) in 33 of 40 patients (82.5%; exact 95% CI 67.2–92.7)" in page.text
    assert "MRD stayed negative in 73 of 74 courses" in page.text
    assert "CR-MRDpos 86.7% (95% CI 68.3–94.8; 4 events in 30 patients)" in page.text
    assert "CR-MRDpos 100.0% (95% CI 87.2–100.0; 0 events in 30 patients)" in page.text
    assert "log-rank P = 0.029 (5 events in 105 patients, all follow-up)" in page.text
    assert "CD4+ 0.35 → 0.47" in page.text


def test_every_block_is_computed_from_the_stored_tables(html: str) -> None:
    assert 'class="absent"' not in html


def test_synthetic_data_is_named_in_title_and_statement(page: Page, html: str) -> None:
    assert re.search(r"<title>[^<]*synthetic[^<]*</title>", html)
    assert page.text.count("Synthetic data test the software and not the study.") == 2


def test_real_data_is_not_called_synthetic(stored_tables: Tables) -> None:
    real = Page(render_report(stored_tables, ReportMeta(synthetic=False)))
    assert "Published values are not targets" in real.text
    assert "Synthetic data test" not in real.text


def test_no_claim_of_replication_or_independence(page: Page) -> None:
    assert not re.search(r"was (replicated|reproduced|confirmed)|independent predictor", page.text, flags=re.I)


def test_without_tables_each_block_says_not_computed(meta: ReportMeta) -> None:
    bare = Page(render_report({}, meta))
    assert bare.text.count("not computed") > 20
    assert "BLINA-SAMPLE (OMOP CDM 5.4)" in bare.text
    assert not bare.faults


@pytest.mark.parametrize("name", ["tests", "survival_at", "risk_table", "response", "model_fit", "exposure"])
def test_one_missing_table_leaves_the_rest(stored_tables: Tables, meta: ReportMeta, name: str) -> None:
    rest = {key: table for key, table in stored_tables.items() if key != name}
    text = Page(render_report(rest, meta)).text
    assert "Table 15." in text
    assert "BLINA-SAMPLE" in text


def test_empty_tables_are_not_computed_either(meta: ReportMeta) -> None:
    empty = {name: pl.DataFrame(schema=schema) for name, schema in SCHEMAS.items()}
    assert "the result table “paired” is empty" in Page(render_report(empty, meta)).text


def test_a_missing_column_is_named(stored_tables: Tables, meta: ReportMeta) -> None:
    tables = stored_tables | {"predictors": stored_tables["predictors"].drop("fisher_p")}
    assert "the result table “predictors” lacks fisher_p" in Page(render_report(tables, meta)).text


def test_the_page_asks_for_nothing_and_runs_nothing(page: Page, html: str) -> None:
    assert "script" not in {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            value = attributes.get(name) or "#"
            assert value.startswith("#") or value == "data:,", f"{tag} {name}"
    assert not re.search(r"@import|url\((?!#)", html)
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")


def test_tags_are_closed_and_ids_unique(page: Page) -> None:
    assert not page.faults
    assert not page.open
    assert len(page.ids) == len(set(page.ids))


def test_references_between_elements_resolve(page: Page) -> None:
    named = set(page.ids)
    for tag, attributes in page.tags:
        for name in ("aria-labelledby", "href", "xlink:href"):
            for target in (attributes.get(name) or "").split():
                if not target.startswith("data:"):
                    assert target.removeprefix("#") in named, f"{tag} {name}={target}"


def test_values_of_tables_are_escaped(stored_tables: Tables, meta: ReportMeta) -> None:
    evil = "<script>alert(1)</script>"
    tables = {
        name: table.with_columns(pl.lit(evil).alias(c) for c, kind in table.schema.items() if kind == pl.String)
        if name not in {"tests", "survival_at", "survival_curves", "risk_table", "cumulative_incidence"}
        else table
        for name, table in stored_tables.items()
    }
    hostile = ReportMeta(synthetic=True, run_id=evil, cdm_name=evil, extra={evil: evil})
    assert evil not in render_report(tables, hostile)


def test_nothing_not_a_number_is_shown(page: Page) -> None:
    assert not re.search(r"\b(nan|inf|None(?! found| of these)|null|NaN)\b", page.text)


def test_the_same_tables_give_the_same_bytes(stored_tables: Tables, meta: ReportMeta) -> None:
    assert render_report(stored_tables, meta) == render_report(stored_tables, meta)


def test_the_file_is_written_whole_and_its_path_returned(
    stored_tables: Tables, meta: ReportMeta, tmp_path: Path
) -> None:
    path = write_report(stored_tables, meta, tmp_path / "new" / "report.html")
    assert path.read_text(encoding="utf-8").endswith("</html>")
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]


def test_provenance_prints_what_was_given(stored_tables: Tables, meta: ReportMeta) -> None:
    text = Page(render_report(stored_tables, meta)).text
    assert stored_tables["settings"]["param_hash"][0] in text
    for value in ("run-1", "blina 0.1.0", "study vocabulary 1", "0123abcd", "2026-01-02 03:04:05+00:00"):
        assert value in text


def test_stored_tables_still_have_the_columns_of_the_statistics(stored_tables: Tables) -> None:
    for name, table in stored_tables.items():
        if name in SCHEMAS:
            assert list(table.columns) == list(SCHEMAS[name]), f"{name}: run make_tables.py again"


def test_single_patients_are_announced_and_absent_from_a_page_for_sharing(
    stored_tables: Tables, meta: ReportMeta
) -> None:
    own = Page(render_report(stored_tables, meta)).text
    assert "this page stays in the hospital" in own
    assert "Courses, marrows and events of each patient" in own
    shared = {name: table for name, table in stored_tables.items() if name not in CONTAINS_INDIVIDUALS}
    text = Page(render_report(shared, meta)).text
    assert "no row of a patient is in this page" in text
    assert "Courses, marrows and events of each patient" not in text


def test_definitions_are_explained_where_the_study_explains_them(stored_tables: Tables) -> None:
    meta = ReportMeta(synthetic=True, definitions={"marrow_pre": "last adequate, from the first bag"})
    text = Page(render_report(stored_tables, meta)).text
    assert "Last adequate, from the first bag" in text
    assert "marrow_pre@1" in text


def test_the_methods_are_made_from_the_parameters(stored_tables: Tables, meta: ReportMeta) -> None:
    text = Page(render_report(stored_tables, meta)).text
    assert "MRD is positive from 0.01%" in text
    assert "gaps of more than 7 days start a new course" in text


def test_published_margins_stand_beside_the_classification(page: Page) -> None:
    assert "All states 45 30 30 105 105 Published strata 45† 30† 30†" in page.text
    assert "MRD-negative 45 0 9 54 54†" in page.text
    assert "† Derived by arithmetic from published numbers, not printed in the paper." in page.text


def test_the_resources_stand_before_the_persons(page: Page) -> None:
    assert re.search(r"resources received: .* resources; .*persons in the CDM: 112 patients", page.text)


def test_sensitivity_rows_start_with_the_primary_definitions(page: Page) -> None:
    tables = page.text.split("Sensitivity of survival to the definitions")[1]
    assert tables.index("Primary definitions") < tables.index("S1: ") < tables.index("S4: ") < tables.index("S13: ")


def test_what_these_data_cannot_answer_is_a_table_with_reasons(page: Page) -> None:
    said = page.text.split("Sensitivity analyses that these data cannot answer")[1]
    assert "S13: without BCR::ABL1 on a TKI" in said
    assert "limit of detection" not in said


def test_what_was_derived_again_is_named_also_where_nothing_moved(page: Page) -> None:
    said = page.text.split("Derived again under ")[1]
    assert "S7: MRD positive is whatever the assay detects" in said
    assert "S13: without Down syndrome (Down syndrome: no patients recorded and left out)" in said


def test_an_unstable_hazard_ratio_is_an_interval_with_a_reason(page: Page) -> None:
    said = page.text.split("hazard ratios of the strata")[1]
    assert "no stable estimate (95% CI 3.70 to > 1" in said
    assert "events with fewer than 10 at risk (delayed entry)" in said


def test_a_page_for_sharing_can_be_made_of_suppressed_tables(stored_tables: Tables, meta: ReportMeta) -> None:
    released = suppress({name: table for name, table in stored_tables.items() if name in LAYOUTS}, 5)
    page = Page(render_report(released, meta))
    assert not page.faults
    assert "– for relapsed" in page.text or "30 for relapsed" in page.text
    assert "105 children" in page.text
    assert not re.search(r"\b[1-4] (?:patients?|courses?|events?)\b", page.text)


def test_no_sensitivity_estimate_hides_another(stored_tables: Tables) -> None:
    table = stored_tables["sensitivity"].filter(~pl.col("quantity").str.contains("survival at|log-rank|not computed"))
    places = [(_outcome(row), analysis_name(row), _quantity(row)) for row in table.to_dicts()]
    assert len(places) == len(set(places))
