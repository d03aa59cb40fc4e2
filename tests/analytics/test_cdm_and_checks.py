"""Any CDM can be opened and asked whether it can answer the study; nothing about it raises but what must."""

import duckdb
import polars as pl
import pytest
from children import TABLES, Children

from analytics import check_study, derive, load_study, open_cdm
from analytics.concept_sets import resolve_concept_sets
from etl.cdm import TABLES as CDM_TABLES
from etl.cdm import create_table
from etl.errors import CdmError, StudyError


def _database(path, names, schema="cdm"):
    with duckdb.connect(path) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        for name in names:
            connection.execute(create_table(CDM_TABLES[name], schema, required=False))
    return f"duckdb:///{path}"


def test_the_truth_can_answer_the_study(truth_cdm):
    check = check_study(truth_cdm, load_study())
    assert check.can_answer
    assert check.lines.columns == ["check", "status", "n", "detail"]


def test_administrations_of_a_type_that_no_list_names_are_not_taken_for_orders(truth_cdm):
    check = check_study(truth_cdm, load_study().varied({"exposure_type.administration_type_concept_ids": [38000180]}))
    said = {name: (status, detail) for name, status, _, detail in check.lines.iter_rows()}
    assert not check.can_answer
    assert said["bags of blinatumomab"][0] == "missing"
    assert "drug_type_concept_id 32818: left out" in said["blinatumomab of other types"][1]


def test_a_file_that_is_not_there_is_refused_and_not_made(tmp_path):
    with pytest.raises(CdmError, match="no such database"):
        open_cdm(f"duckdb:///{tmp_path}/none.duckdb")
    assert list(tmp_path.iterdir()) == []


def test_a_url_that_is_none_is_refused():
    with pytest.raises(CdmError):
        open_cdm("not a url")


def test_a_database_without_persons_is_no_cdm(tmp_path):
    with pytest.raises(CdmError, match="no PERSON table"):
        open_cdm(_database(tmp_path / "x.duckdb", ["death"]))


def test_a_cdm_with_half_its_tables_is_told_what_it_lacks(tmp_path):
    check = check_study(open_cdm(_database(tmp_path / "x.duckdb", ["person", "measurement"])), load_study())
    missing = check.lines.filter(pl.col("status") == "missing")["check"].to_list()
    assert not check.can_answer
    assert {"table drug_exposure", "table visit_occurrence", "vocabulary"} <= set(missing)


def test_an_empty_cdm_is_told_that_its_vocabulary_knows_nothing(tmp_path):
    cdm = open_cdm(_database(tmp_path / "x.duckdb", CDM_TABLES))
    check = check_study(cdm, load_study())
    assert "concept set CS_BLINATUMOMAB" in check.lines.filter(pl.col("status") == "missing")["check"].to_list()
    with pytest.raises(StudyError) as error:
        derive(cdm, load_study())
    assert set(error.value.problems) == set(load_study().required_concept_sets)


def test_a_cdm_without_any_patient_of_the_study_gives_empty_frames(tmp_path):
    cdm = open_cdm(Children().cdm.write(tmp_path / "x.duckdb"))
    check = check_study(cdm, load_study())
    assert "bags of blinatumomab" in check.lines.filter(pl.col("status") == "missing")["check"].to_list()
    derived = derive(cdm, load_study())
    assert (derived.patients.height, derived.courses.height, derived.evidence.height) == (0, 0, 0)
    assert (
        derived.counters["n"].sum() == derived.concept_sets.select(pl.col("members") - pl.col("resolved")).sum().item()
    )


def test_other_schemas_can_be_named(tmp_path):
    cdm = open_cdm(_database(tmp_path / "x.duckdb", TABLES, "omop"), schema="omop")
    assert cdm.count("person") == 0
    assert not check_study(cdm, load_study()).can_answer


def test_a_query_that_fails_says_so_without_a_traceback_of_the_driver(truth_cdm):
    with pytest.raises(CdmError, match="refuses a query"):
        truth_cdm.query("SELECT nothing FROM nowhere")


def test_values_can_be_bound(truth_cdm):
    assert truth_cdm.query("SELECT CAST(:x AS BIGINT) AS x, 'a:b' AS y", x=7).rows() == [(7, "a:b")]


def test_columns_that_a_cdm_lacks_read_as_null(tmp_path):
    url = _database(tmp_path / "x.duckdb", ["person"])
    with duckdb.connect(tmp_path / "x.duckdb") as connection:
        connection.execute("ALTER TABLE cdm.person DROP COLUMN birth_datetime")
        connection.execute("INSERT INTO cdm.person (person_id) VALUES (1)")
    frame = open_cdm(url).read("person", ["person_id", "birth_datetime"])
    assert frame.rows() == [(1, None)]
    assert frame.schema["birth_datetime"] == pl.Datetime("us")


def test_descendants_belong_to_a_set_and_unknown_members_are_listed(tmp_path):
    kids = Children()
    brand = 77_000_001
    kids.cdm.rows["concept_ancestor"] = [
        {"ancestor_concept_id": kids.cdm.concept("RxNorm", "1597258"), "descendant_concept_id": brand}
    ]
    kids.cdm.rows["concept"].append(
        {"concept_id": 77_000_002, "concept_name": "TCF3::HLF gene fusion measurement", "vocabulary_id": "OMOP Genomic",
         "concept_code": "open"}
    )  # fmt: skip
    sets = resolve_concept_sets(open_cdm(kids.cdm.write(tmp_path / "x.duckdb")), load_study())
    assert brand in sets.ids("CS_BLINATUMOMAB")
    assert 77_000_002 in sets.ids("CS_GEN_TCF3_HLF")
    assert "J9039" in sets.unresolved["concept_code"].to_list()


def test_a_cdm_that_lacks_columns_is_told_which(tmp_path):
    url = _database(tmp_path / "x.duckdb", CDM_TABLES)
    with duckdb.connect(tmp_path / "x.duckdb") as connection:
        connection.execute("ALTER TABLE cdm.measurement DROP COLUMN value_source_value")
        connection.execute("ALTER TABLE cdm.drug_exposure DROP COLUMN drug_concept_id")
    lines = check_study(open_cdm(url), load_study()).lines.filter(pl.col("check").str.starts_with("columns"))
    assert sorted(lines.select("check", "status", "detail").rows()) == [
        ("columns of drug_exposure", "missing", "not there: drug_concept_id"),
        ("columns of measurement", "warning", "not there: value_source_value"),
    ]


def test_a_closed_cdm_lets_the_same_process_write(tmp_path):
    url = _database(tmp_path / "x.duckdb", ["person"])
    with open_cdm(url) as cdm:
        assert cdm.count("person") == 0
    with duckdb.connect(tmp_path / "x.duckdb") as connection:
        connection.execute("INSERT INTO cdm.person (person_id) VALUES (1)")
    with open_cdm(url) as cdm:
        assert cdm.count("person") == 1
