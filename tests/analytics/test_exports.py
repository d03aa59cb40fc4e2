"""Result tables as LaTeX and HTML; what must not leave is not there."""

import json
import re
from pathlib import Path

import polars as pl
import pytest
from docx import Document

from analytics import load_study
from analytics.exports import export_tables, read_meta, read_tables
from analytics.report import ReportMeta
from analytics.results import write_results
from analytics.statistics.tables import CONTAINS_INDIVIDUALS, SCHEMAS, tidy
from analytics.suppression import suppress
from etl.errors import StudyError

TABLES = Path(__file__).parent / "report" / "tables"
SWIMMER = tidy("swimmer", [{"lane": 1, "stratum": "RR", "kind": "course", "start_day": 0.0, "end_day": 28.0}])
SAFETY = tidy(
    "safety",
    [
        {
            "event": "CRS",
            "grade": "any (>= 1)",
            "unit_of_analysis": "course",
            "n": 3,
            "denominator": 7,
            "percent": 42.857142,
        }
    ],
)


def test_latex_is_escaped_and_has_four_digits(tmp_path):
    (path,) = export_tables({"safety": SAFETY}, tmp_path)
    text = path.read_text(encoding="utf-8")
    assert path.name == "safety.tex"
    assert "42.86" in text
    assert "longtable" in text
    assert "lower" not in text  # a column without any value
    assert r"\%" not in text.replace(r"\%", "")


def test_html_is_offered_and_another_form_is_refused(tmp_path):
    assert "<table" in export_tables({"safety": SAFETY}, tmp_path, "html")[0].read_text(encoding="utf-8")
    with pytest.raises(StudyError, match="choose latex, html, docx"):
        export_tables({"safety": SAFETY}, tmp_path, "pdf")


def test_synthetic_patients_are_named_in_every_file_and_title(tmp_path):
    meta = ReportMeta(synthetic=True)
    (path,) = export_tables({"safety": SAFETY}, tmp_path, meta=meta)
    assert path.name == "synthetic_safety.tex"
    assert "synthetic safety" in path.read_text(encoding="utf-8")
    (word,) = export_tables({"safety": SAFETY}, tmp_path, "docx", meta=meta)
    assert word.name == "synthetic_study.docx"
    assert "synthetic cohort" in Document(str(word)).core_properties.title


@pytest.fixture(scope="module")
def stored():
    return {path.stem: pl.read_csv(path, schema=SCHEMAS.get(path.stem)) for path in TABLES.glob("*.csv")}


@pytest.fixture(scope="module")
def manuscript(stored, tmp_path_factory):
    tables = {name: table for name, table in stored.items() if name in SCHEMAS or name == "derived_vs_computed"}
    meta = ReportMeta(synthetic=True, cdm_name="BLINA-SAMPLE")
    (path,) = export_tables(tables, tmp_path_factory.mktemp("word"), "docx", meta=meta)
    return Document(str(path))


def cells(table):
    return [[cell.text for cell in row.cells] for row in table.rows]


def table_after(document, caption):
    """The table that follows the caption, by the order of the document's body."""
    found = False
    for element in document.element.body:
        if element.tag.endswith("}p"):
            found = found or caption in "".join(element.itertext())
        elif found and element.tag.endswith("}tbl"):
            return next(table for table in document.tables if table._tbl is element)
    raise AssertionError(f"no table after {caption!r}")


def test_the_word_document_holds_the_numbers_of_the_tables(manuscript, stored):
    rows = cells(table_after(manuscript, "Response by state before the course"))
    assert [
        "First course in state R/R, complete remission",
        "patient",
        "9/11 (81.8%)",
        "48.2–97.7",
        "52.3–94.9",
    ] in rows
    rows = cells(table_after(manuscript, "Survival at fixed times"))
    assert ["R/R (30)", "365", "20", "8", "73.3 ± 8.1", "53.7–85.7", "log-log (Greenwood)"] in rows
    rows = cells(table_after(manuscript, "T-cell subsets before and after course 1"))
    assert ["CD4+ (×10⁹/L)", "85", "0.35 (0.01–1.39)", "0.47 (0.07–2.94)"] in [row[:4] for row in rows]


def test_every_table_has_a_caption_column_heads_on_every_page_and_a_note(manuscript):
    captions = [p.text for p in manuscript.paragraphs if p.style.name == "Caption"]
    assert [c.split(".")[0] for c in captions if c.startswith("Table")] == [
        f"Table {n}" for n in range(1, len(manuscript.tables) + 1)
    ]
    for table in manuscript.tables:
        assert "w:tblHeader" in table.rows[0]._tr.xml
    assert any("Unit: patient. SE: Greenwood." in p.text for p in manuscript.paragraphs)


def test_figures_are_pictures_with_the_numbers_as_alternative_text(manuscript):
    texts = [shape._inline.docPr.get("descr") for shape in manuscript.inline_shapes]
    captions = [p.text for p in manuscript.paragraphs if p.style.name == "Caption" and p.text.startswith("Figure")]
    assert len(texts) == len(captions) >= 10
    assert any("R/R: 73.3% at 1 year (95% CI 53.7–85.7)" in text for text in texts)
    assert all(any(letter.isdigit() for letter in text) for text in texts)


def test_no_single_patient_is_in_the_word_document(manuscript):
    captions = " ".join(p.text for p in manuscript.paragraphs if p.style.name == "Caption")
    assert "of each patient" not in captions
    assert "Change of marrow MRD" not in captions


def test_a_suppressed_word_document_says_so_and_holds_no_small_count(stored, tmp_path):
    tables = {name: table for name, table in stored.items() if name in SCHEMAS}
    (path,) = export_tables(tables, tmp_path, "docx", meta=ReportMeta(synthetic=True), min_cell_count=5)
    document = Document(str(path))
    assert any("Counts below 5, and what would give them away, are not shown" in p.text for p in document.paragraphs)
    for caption in ("Baseline characteristics", "Survival at fixed times", "Cytokine release syndrome"):
        text = " ".join(" ".join(row) for row in cells(table_after(document, caption)))
        assert not re.search(r"(?<![\d.,–/])[1-4](?:/\d+)? \(\d", text), caption


def test_tables_of_another_version_are_refused_by_name(tmp_path):
    write_results({"safety": SAFETY}, tmp_path, cdm_name="x")
    pl.read_parquet(tmp_path / "safety.parquet").drop("lower").write_parquet(tmp_path / "safety.parquet")
    with pytest.raises(StudyError, match="columns missing: lower"):
        read_tables(tmp_path)


def test_the_export_knows_from_the_results_whether_patients_are_invented(tmp_path):
    write_results({"safety": SAFETY}, tmp_path, cdm_name="four hospitals", synthetic=True)
    assert read_meta(tmp_path).synthetic
    assert read_meta(tmp_path).cdm_name == "four hospitals"
    assert not read_meta(tmp_path / "nothing").synthetic


def test_rows_of_single_persons_and_empty_tables_are_left_out(tmp_path):
    assert export_tables({"swimmer": SWIMMER, "rates": tidy("rates", [])}, tmp_path) == []


def test_a_results_folder_is_read_back(tmp_path):
    write_results({"safety": SAFETY, "swimmer": SWIMMER}, tmp_path, cdm_name="x", synthetic=True)
    assert read_tables(tmp_path)["safety"].equals(SAFETY)
    with pytest.raises(StudyError, match="holds no result tables"):
        read_tables(tmp_path / "none")


def test_the_results_say_which_tables_hold_single_persons_and_a_release_holds_none(tmp_path):
    write_results({"safety": SAFETY, "swimmer": SWIMMER}, tmp_path, cdm_name="x")
    document = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert document["contains_individuals"] == {"safety": False, "swimmer": True}
    assert "swimmer" not in pl.read_csv(tmp_path / "summarised_result.csv")["estimate_value"].cast(pl.String).to_list()
    released = suppress({name: tidy(name, []) for name in SCHEMAS}, 5)
    assert not set(CONTAINS_INDIVIDUALS) & set(released)


def test_what_is_shared_is_text_with_the_definitions_and_without_single_persons(tmp_path):
    tables = {"safety": SAFETY, "swimmer": SWIMMER, "settings": load_study().settings_table()}
    written = export_tables(tables, tmp_path, "csv", meta=ReportMeta(synthetic=False, cdm_name="x"), min_cell_count=5)
    assert {path.suffix for path in written} == {".csv", ".json"}
    names = {path.name for path in written}
    assert {"safety.csv", "settings.csv", "summarised_result.csv", "results.json"} <= names
    assert "swimmer.csv" not in names
    said = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert (said["min_cell_count"], said["param_hash"]) == (5, load_study().param_hash)
