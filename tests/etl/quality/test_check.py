"""Whole runs: empty and broken CDMs, a real one from OHDSI, the stored table, the gate, the reports."""

import json
from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pytest

from etl.errors import CdmError, QualityGateError
from etl.quality import RESULT_SCHEMA, assure, check, judge, write_reports
from etl.quality.status import score

TODAY = date(2026, 1, 1)

SYNTHEA = Path("/work/shared/ohdsi/synthea27nj-5.4")


def statuses(frame: pl.DataFrame) -> dict[str, str]:
    return dict(frame.select("check_id", "status").iter_rows())


def test_an_empty_cdm_applies_to_little_and_does_not_pass_the_gate(empty_cdm: duckdb.DuckDBPyConnection) -> None:
    frame = check(empty_cdm, "r", results_schema=None, today=TODAY)
    cdm = frame.filter(pl.col("level") != "STUDY")
    assert cdm.filter(pl.col("status").is_in(["failed", "error"])).is_empty()
    assert score(cdm).headline == 100.0
    # What is left: tables and fields are there, and persons are missing nowhere because there are none.
    asked = {"cdmTable", "cdmField", "measurePersonCompleteness"}
    assert set(cdm.filter(pl.col("status") == "passed")["check_name"]) == asked
    assert judge(frame).refused == ("study_cdm_source_rows", "study_no_person")


def test_missing_tables_are_findings_and_no_crash(empty_cdm: duckdb.DuckDBPyConnection) -> None:
    for table in ("measurement", "person", "concept", "death"):
        empty_cdm.execute(f"DROP TABLE cdm.{table}")
    empty_cdm.execute("INSERT INTO cdm.condition_era VALUES (1, 1, 910, '2020-01-01', '2020-01-02', 1)")
    frame = check(empty_cdm, "r", results_schema=None, today=TODAY)
    found = statuses(frame)
    assert found["table_cdmtable_measurement"] == "failed"
    assert found["field_cdmfield_measurement_measurement_id"] == "not_applicable"
    assert found["field_isrequired_measurement_person_id"] == "not_applicable"
    assert found["field_isforeignkey_condition_era_condition_concept_id"] == "error"
    assert found["field_isrequired_condition_era_person_id"] == "passed"
    assert found["study_no_person"] == "not_applicable"
    notes = dict(frame.select("check_id", "note").iter_rows())
    assert notes["field_isforeignkey_condition_era_condition_concept_id"] == "needs the table concept"


def test_a_schema_that_is_not_there_fails_every_table() -> None:
    with duckdb.connect() as connection:
        frame = check(connection, "r", results_schema=None, today=TODAY)
    tables = frame.filter(pl.col("check_name") == "cdmTable")
    assert set(tables["status"]) == {"failed"}


def test_a_column_that_cannot_be_read_costs_its_own_checks_only(empty_cdm: duckdb.DuckDBPyConnection) -> None:
    empty_cdm.execute("ALTER TABLE cdm.death ALTER death_date TYPE VARCHAR")
    empty_cdm.execute("INSERT INTO cdm.death (person_id, death_date) VALUES (1, 'some text')")
    frame = check(empty_cdm, "r", results_schema=None, today=TODAY)
    found = statuses(frame)
    assert found["field_plausiblevaluehigh_death_death_date"] == "error"
    assert found["field_isrequired_death_person_id"] == "passed"
    notes = " ".join(frame["note"].drop_nulls())
    assert "SQL error: ConversionException" in notes
    assert "some text" not in notes


def test_the_vocabulary_may_stand_in_another_schema(cdm: duckdb.DuckDBPyConnection) -> None:
    whole = check(cdm, "r", results_schema=None, today=TODAY)
    cdm.execute("CREATE SCHEMA words")
    for table in ("concept", "concept_ancestor", "vocabulary", "domain"):
        cdm.execute(f"CREATE TABLE words.{table} AS SELECT * FROM cdm.{table}")
        cdm.execute(f"DELETE FROM cdm.{table}")
    apart = check(cdm, "r", results_schema=None, vocabulary_schema="words", today=TODAY)
    assert apart.equals(whole)


def test_results_are_stored_once_per_run(cdm_file: Path) -> None:
    for run in ("one", "one", "two"):
        frame = check(f"duckdb:///{cdm_file}", run, today=TODAY)
    with duckdb.connect(str(cdm_file), read_only=True) as connection:
        stored = connection.execute("SELECT run_id, count(*) FROM results.quality_check GROUP BY 1 ORDER BY 1")
        assert stored.fetchall() == [("one", frame.height), ("two", frame.height)]
        columns = [row[0] for row in connection.execute("DESCRIBE results.quality_check").fetchall()]
    assert columns == list(RESULT_SCHEMA)


def test_a_file_named_like_its_schema_is_read_and_written(cdm_file: Path) -> None:
    file = cdm_file.rename(cdm_file.with_name("cdm.duckdb"))  # "cdm.person" would be ambiguous in it
    assert statuses(check(f"duckdb:///{file}", "r", today=TODAY))["table_cdmtable_person"] == "passed"


def test_the_gate_opens_and_refuses_with_counts_and_reports(tmp_path: Path, cdm_file: Path) -> None:
    paths = {"json_path": tmp_path / "q.json", "html_path": tmp_path / "out" / "q.html"}
    assert assure(f"duckdb:///{cdm_file}", "r", **paths, today=TODAY).gate_ok
    with duckdb.connect(str(cdm_file)) as connection:
        connection.execute("UPDATE cdm.measurement SET unit_concept_id = 8554 WHERE measurement_id = 1")
    with pytest.raises(QualityGateError, match=r"study_t_cells_percent: 1 of 2, allowed 0 %") as caught:
        assure(f"duckdb:///{cdm_file}", "r", **paths, today=TODAY)
    assert caught.value.exit_code == 15
    content = json.loads(paths["json_path"].read_text(encoding="utf-8"))
    assert content["gate"] == {"ok": False, "refused": ["study_t_cells_percent"]}
    assert len(content["checks"]) == content["summary"]["all"]["total"]
    assert content["checks"][0]["check_id"] == "table_cdmtable_person"
    assert "Gate shut" in paths["html_path"].read_text(encoding="utf-8")


def test_reports_escape_what_they_show(tmp_path: Path, sound_cdm: duckdb.DuckDBPyConnection) -> None:
    frame = check(sound_cdm, "<script>alert(1)</script>", results_schema=None, today=TODAY)
    frame = frame.with_columns(note=pl.lit("</td><b>x"), field=pl.lit("<i>y_z.</i>"))
    write_reports(frame, judge(frame), tmp_path / "q.json", tmp_path / "q.html", "A & B <img src=x>")
    page = (tmp_path / "q.html").read_text(encoding="utf-8")
    assert page.count("<script") == 1
    assert not any(bad in page for bad in ("<b>x", "<i>y", "<img"))
    assert "A &amp; B &lt;img src=x&gt;" in page


@pytest.mark.parametrize("url", ["nonsense", "postgresql://host/db", "duckdb:////nowhere/file.duckdb"])
def test_a_database_that_cannot_be_opened_is_a_cdm_error(url: str) -> None:
    with pytest.raises(CdmError):
        check(url, "r")


def test_storing_inside_the_callers_transaction_is_refused_and_leaves_it_alone(cdm: duckdb.DuckDBPyConnection) -> None:
    cdm.execute("CREATE TABLE mine (x INTEGER)")
    with pytest.raises(CdmError, match="transaction"):
        check(cdm, "r", today=TODAY)
    assert cdm.execute("SELECT count(*) FROM mine").fetchone() == (0,)


@pytest.mark.skipif(not SYNTHEA.is_dir(), reason="OHDSI's Synthea27Nj CDM is not here")
def test_a_real_cdm_fails_where_the_dashboard_says_it_fails(empty_cdm: duckdb.DuckDBPyConnection) -> None:
    for path in sorted(SYNTHEA.glob("*.csv.gz")):
        source = f"read_csv('{path}', header = true, all_varchar = true, nullstr = '')"
        empty_cdm.execute(f"INSERT INTO cdm.{path.name.split('.')[0]} BY NAME SELECT * FROM {source}")
    cdm = check(empty_cdm, "synthea", results_schema=None, today=TODAY).filter(pl.col("level") != "STUDY")
    failed = cdm.filter(pl.col("status") == "failed").group_by("check_name").len()
    # shared/ohdsi/README.md, 3.4; none of the failures there is on concept level.
    assert dict(failed.iter_rows()) == {
        "isForeignKey": 35,
        "standardConceptRecordCompleteness": 7,
        "plausibleValueLow": 2,
        "plausibleValueHigh": 1,
        "measurePersonCompleteness": 1,
    }
    assert cdm.filter(pl.col("status") == "error").is_empty()
