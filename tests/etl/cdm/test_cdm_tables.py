"""The CDM tables equal OHDSI's field list: names, order, types, required, keys, domains, classes, standard."""

import csv
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb
import pytest
from sqlalchemy import BigInteger, Column, Double, Table, create_engine

import etl.cdm

OHDSI = Path(os.environ.get("BLINA_SHARED", "/work/shared")) / "ohdsi"
FIELDS = OHDSI / "cdm" / "OMOP_CDMv5.4_Field_Level.csv"
DQD_FIELDS = OHDSI / "dqd-2.8.4" / "OMOP_CDMv5.4_Field_Level.csv"
needs_ohdsi = pytest.mark.skipif(not FIELDS.exists(), reason=f"OHDSI's field list is not on this machine ({FIELDS})")

# The first 12 hex digits of SHA-256 over the lines of `facts_of` per table, computed from OHDSI/CommonDataModel
# f853f6e39c61 (the test below proves it where that file is present).
DIGESTS = {
    "person": "6fba1ce76d55",
    "observation_period": "5285075220b7",
    "visit_occurrence": "a475af11e44f",
    "visit_detail": "fc250acd7cde",
    "condition_occurrence": "b77454d729fe",
    "drug_exposure": "32adebd0c92f",
    "procedure_occurrence": "d8622c765970",
    "device_exposure": "05b73145ebba",
    "measurement": "feee4305b38c",
    "observation": "d68e93946b9a",
    "death": "82fadf670109",
    "note": "f07280f536fa",
    "note_nlp": "b36e2e0439f3",
    "specimen": "86cdc36724ff",
    "fact_relationship": "bca6bbc6126b",
    "location": "798c51ef20f2",
    "care_site": "7745eabe82af",
    "provider": "bf1018183b10",
    "payer_plan_period": "cbbf0e94cb5a",
    "cost": "ab7f11b73c36",
    "drug_era": "3b467066bfd7",
    "dose_era": "a35b5aa66ed4",
    "condition_era": "c892d5f7fbe4",
    "episode": "e731ffe646fd",
    "episode_event": "0b256afa5e19",
    "metadata": "89f003b9bf92",
    "cdm_source": "67a2a357f696",
    "concept": "9251fc22e072",
    "vocabulary": "e233c2a2fa4d",
    "domain": "5058b3707ef2",
    "concept_class": "6af91661f947",
    "concept_relationship": "9f9fe495af44",
    "relationship": "88e7d83804a8",
    "concept_synonym": "e88b7a65df0f",
    "concept_ancestor": "45f76ae5d489",
    "source_to_concept_map": "d3889158e680",
    "drug_strength": "645811d590d5",
    "cohort": "6bd36126e137",
    "cohort_definition": "c3e80c3d2c20",
}


def facts_of(table: Table) -> Iterator[str]:
    for column in table.columns:
        info = column.info
        parts = (
            column.name,
            info["cdm_type"],
            "optional" if column.nullable else "required",
            "key" if column.primary_key else "",
            info["fk_table"] or "",
            info["fk_field"] or "",
            info["fk_domain"] or "",
            info["fk_class"] or "",
        )
        yield "|".join(parts)


def ohdsi_facts() -> dict[str, list[str]]:
    facts = defaultdict(list)
    with FIELDS.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            if not (row["cdmTableName"] or "").strip():
                continue
            foreign = row["isForeignKey"] == "Yes"
            parts = (
                row["cdmFieldName"].strip('"').lower(),
                row["cdmDatatype"].lower(),
                "required" if row["isRequired"] == "Yes" else "optional",
                "key" if row["isPrimaryKey"] == "Yes" else "",
                row["fkTableName"].lower() if foreign else "",
                row["fkFieldName"].lower() if foreign else "",
                "" if row["fkDomain"] == "NA" else row["fkDomain"],
                "" if row["fkClass"] == "NA" else row["fkClass"],
            )
            facts[row["cdmTableName"].lower()].append("|".join(parts))
    return dict(facts)


def digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def test_tables_equal_the_stored_facts_of_the_cdm() -> None:
    assert {name: digest(facts_of(table)) for name, table in etl.cdm.TABLES.items()} == DIGESTS


@needs_ohdsi
def test_tables_equal_ohdsis_field_list() -> None:
    assert {name: list(facts_of(table)) for name, table in etl.cdm.TABLES.items()} == ohdsi_facts()


@needs_ohdsi
def test_stored_facts_come_from_ohdsis_field_list() -> None:
    assert {name: digest(lines) for name, lines in ohdsi_facts().items()} == DIGESTS


@needs_ohdsi
def test_standard_columns_are_those_dqd_checks() -> None:
    with DQD_FIELDS.open(encoding="utf-8-sig", newline="") as file:
        expected = {
            (row["cdmTableName"].lower(), row["cdmFieldName"].lower())
            for row in csv.DictReader(file)
            if row["isStandardValidConcept"] == "Yes"
        }
    assert {(column.table.name, column.name) for column in all_columns() if column.info["standard"]} == expected


def all_columns() -> Iterator[Column]:
    for table in etl.cdm.TABLES.values():
        yield from table.columns


def test_there_are_39_tables_432_columns_and_28_keys_of_which_64_concepts_must_be_standard() -> None:
    columns = list(all_columns())
    assert (len(etl.cdm.TABLES), len(columns), len(etl.cdm.KEYS)) == (39, 432, 28)
    assert sum(column.info["standard"] for column in columns) == 64


def test_ids_that_are_hashes_have_64_bits_and_concept_ids_32() -> None:
    for column in all_columns():
        if column.info["cdm_type"] == "integer" and (column.primary_key or column.info["fk_table"] == "person"):
            assert isinstance(column.type, BigInteger) == (column.name != "concept_id"), column
        if column.info["fk_table"] == "concept":
            assert not isinstance(column.type, BigInteger), column
        if column.info["cdm_type"] == "float":
            assert isinstance(column.type, Double), column


def test_source_concept_columns_are_told_apart() -> None:
    measurement = etl.cdm.TABLES["measurement"].columns
    assert measurement["measurement_source_concept_id"].info["source_concept"]
    assert not measurement["measurement_concept_id"].info["source_concept"]
    assert not measurement["measurement_concept_id"].nullable


def test_foreign_keys_point_to_columns_that_exist() -> None:
    for column in all_columns():
        if table := column.info["fk_table"]:
            assert column.info["fk_field"] in etl.cdm.TABLES[table].columns, column


def test_event_dates_row_keys_and_domain_tables_name_real_columns() -> None:
    for table, dates in etl.cdm.EVENT_DATES.items():
        assert all(date is None or date in etl.cdm.TABLES[table].columns for date in dates)
    assert all(key in etl.cdm.TABLES[table].columns for table, key in etl.cdm.ROW_KEYS.items())
    assert set(etl.cdm.DOMAIN_TABLES.values()) <= set(etl.cdm.TABLES)
    assert set(etl.cdm.VOCABULARY_TABLES) <= set(etl.cdm.TABLES)


def test_duckdb_makes_every_table_with_the_types_that_are_promised() -> None:
    connection = duckdb.connect()
    connection.execute("CREATE SCHEMA cdm")
    for name, table in etl.cdm.TABLES.items():
        connection.execute(etl.cdm.create_table(table, "cdm"))
        made = connection.execute(
            "SELECT column_name, data_type, is_nullable FROM information_schema.columns WHERE table_name = ?"
            " ORDER BY ordinal_position",
            [name],
        ).fetchall()
        assert {column: kind for column, kind, _ in made} == etl.cdm.column_types(name)
        assert tuple(column for column, _, nullable in made if nullable == "NO") == etl.cdm.required_columns(name)


def test_sqlalchemy_makes_every_table_under_the_schema_that_is_asked_for() -> None:
    engine = create_engine("duckdb:///:memory:")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA elsewhere")
        etl.cdm.metadata("elsewhere").create_all(connection)
        found = connection.exec_driver_sql(
            "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'elsewhere'"
        ).scalar_one()
    engine.dispose()
    assert found == 39


def test_lengths_know_the_limit_of_source_values() -> None:
    limits = etl.cdm.lengths("condition_occurrence")
    assert limits["condition_source_value"] == 50
    assert limits["stop_reason"] == 20
    assert "sig" not in etl.cdm.lengths("drug_exposure")
