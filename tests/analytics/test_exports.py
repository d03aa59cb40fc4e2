"""Result tables as LaTeX and HTML; what must not leave is not there."""

import polars as pl
import pytest

from analytics.exports import export_tables, read_tables
from analytics.results import write_results
from analytics.statistics.tables import CONTAINS_INDIVIDUALS, SCHEMAS, tidy
from analytics.suppression import suppress
from etl.errors import StudyError

SWIMMER = tidy("swimmer", [{"lane": 1, "stratum": "RR", "kind": "course", "start_day": 0.0, "end_day": 28.0}])
SAFETY = tidy("safety", [{"event": "CRS", "grade": "any (>= 1)", "n": 3, "denominator": 7, "percent": 42.857142}])


def test_latex_is_escaped_and_has_four_digits(tmp_path):
    (path,) = export_tables({"safety": SAFETY}, tmp_path)
    text = path.read_text(encoding="utf-8")
    assert path.name == "safety.tex"
    assert "42.86" in text
    assert "longtable" in text
    assert "lower" not in text  # a column without any value
    assert r"\%" not in text.replace(r"\%", "")


def test_html_is_offered_and_word_is_not(tmp_path):
    assert "<table" in export_tables({"safety": SAFETY}, tmp_path, "html")[0].read_text(encoding="utf-8")
    with pytest.raises(StudyError, match="no library here writes Word"):
        export_tables({"safety": SAFETY}, tmp_path, "docx")


def test_rows_of_single_persons_and_empty_tables_are_left_out(tmp_path):
    assert export_tables({"swimmer": SWIMMER, "rates": tidy("rates", [])}, tmp_path) == []


def test_a_results_folder_is_read_back(tmp_path):
    write_results({"safety": SAFETY, "swimmer": SWIMMER}, tmp_path, cdm_name="x", synthetic=True)
    assert read_tables(tmp_path)["safety"].equals(SAFETY)
    with pytest.raises(StudyError, match="holds no result tables"):
        read_tables(tmp_path / "none")


def test_the_results_say_which_tables_hold_single_persons_and_a_release_holds_none(tmp_path):
    import json

    write_results({"safety": SAFETY, "swimmer": SWIMMER}, tmp_path, cdm_name="x")
    document = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert document["contains_individuals"] == {"safety": False, "swimmer": True}
    assert "swimmer" not in pl.read_csv(tmp_path / "summarised_result.csv")["estimate_value"].cast(pl.String).to_list()
    released = suppress({name: tidy(name, []) for name in SCHEMAS}, 5)
    assert not set(CONTAINS_INDIVIDUALS) & set(released)
