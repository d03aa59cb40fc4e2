"""Exports of other countries and vendors: nothing crashes, nothing is lost, what has no row has a reason.

What has no concept is on the work list. The data are made by tests/end_to_end/foreign_exports.py; only the vocabulary
that comes with blina is used.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from etl.build_report import BuildReport
from etl.landing import Source
from etl.mapping.worklist import worklist, write_worklist
from etl.pipeline import build
from etl.settings import Settings, SiteSettings
from tests.end_to_end.foreign_exports import EXPORTS

ZONES = {"JP": "Asia/Tokyo", "CN": "Asia/Shanghai", "DE": "Europe/Berlin", "US": "America/New_York", "ODD": "UTC"}


@dataclass(frozen=True)
class Built:
    """The built database of all five, and what the build said."""

    url: str
    cdm: duckdb.DuckDBPyConnection
    report: BuildReport

    def rows(self, table: str, key: str, site: str, *columns: str) -> dict[str, list[tuple[Any, ...]]]:
        """The values of some columns, dates as text, by the FHIR id that the row comes from."""
        found: dict[str, list[tuple[Any, ...]]] = {}
        query = f"""SELECT s.fhir_id, {", ".join("o." + column for column in columns)} FROM cdm.{table} o
                    JOIN lineage.cdm_row r ON r.table_name = '{table}' AND r.row_id = o.{key}
                    JOIN lineage.resource s USING (resource_no) WHERE s.site = ? ORDER BY ALL"""
        for one, *values in self.cdm.execute(query, [site]).fetchall():
            found.setdefault(one, []).append(tuple(str(v) if isinstance(v, date) else v for v in values))
        return found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """One build of all five exports."""
    folder = tmp_path_factory.mktemp("foreign")
    sources = []
    for site, export in EXPORTS.items():
        (folder / site).mkdir()
        for name, content in export().items():
            (folder / site / name).write_bytes(content)
        sources.append(Source(site, folder / site))
    sites = {site: SiteSettings(site, time_zone=zone) for site, zone in ZONES.items()}
    settings = Settings(key="k", data_lock=date(2025, 1, 31), sites=sites)
    url = f"duckdb:///{folder / 'o.duckdb'}"
    report = build(sources, database=url, settings=settings, rejects=folder / "rejects")
    with duckdb.connect(str(folder / "o.duckdb"), read_only=True) as cdm:
        yield Built(url, cdm, report)


def test_everything_that_came_is_kept_skipped_or_rejected_and_has_its_reason(built: Built) -> None:
    came = {"JP": 7, "CN": 9, "DE": 11, "US": 11, "ODD": 29}
    by_site = built.report.counts.group_by("site").agg(pl.col("n").sum())
    assert dict(by_site.iter_rows()) == came
    left_out = built.report.counts.filter(pl.col("outcome") != "kept").select("site", "resource_type", "reason", "n")
    assert sorted(left_out.iter_rows()) == [
        ("DE", "Condition", "provisional", 1),
        ("DE", "Condition", "refuted", 1),
        ("DE", "Medication", "read through the resource that refers to it", 1),
        ("ODD", "Binary", "no mapping", 1),
        ("ODD", "Encounter", "missing start", 1),
        ("ODD", "Group", "no mapping", 1),
        ("ODD", "List", "no mapping", 1),
        ("ODD", "Observation", "missing person", 1),
        ("ODD", "Observation", "person not found", 1),
        ("ODD", "Observation", "status unknown", 1),
        ("ODD", "Parameters", "no mapping", 1),
        ("ODD", "Patient", "no year of birth", 1),
        ("ODD", "Patient", "superseded version", 1),
        ("ODD", "Procedure", "status unknown", 1),
        ("US", "Observation", "data absent", 1),
        ("US", "Observation", "invalid_id", 1),
        ("US", "Observation", "person not found", 1),
        ("US", "Observation", "superseded version", 1),
        ("US", "Observation", "unknown modifier extension", 1),
        ("US", "OperationOutcome", "no mapping", 1),
    ]
    assert built.report.noted == {
        "Observation: a source code was cut to 50 characters": 1,
        "Patient: deceased without a date": 1,
    }
    assert built.report.reversed_ends == 2
    assert built.report.decoded == {"gb18030": 1}


def test_every_code_without_a_concept_is_on_the_work_list_once(built: Built, tmp_path: Path) -> None:
    expected = {
        "JP": {"C910", "入院", "124867301", "2A010000001930101", "2A030000001930101", "骨髄像"},
        "CN": {"急性淋巴细胞白血病", "贝林妥欧单抗注射液", "CD19", "MRD", "MRD2", "PLT", "WBC", "骨髓"},
        "DE": {"Blasten-KM", "proz", "8-544.0"},
        "US": {"2003160"},
        "ODD": {"11202"},  # a code with a standard concept, but of a domain (Drug) that no rule takes from a result
    }
    write_worklist(worklist(built.url, rare_texts=True), tmp_path / "list.csv")
    with (tmp_path / "list.csv").open(encoding="utf-8", newline="") as lines:
        listed = [
            (row["ADD_INFO:site"], row["sourceCode"], int(row["sourceFrequency"])) for row in csv.DictReader(lines)
        ]
    for site, codes in expected.items():
        assert {(code, n) for at, code, n in listed if at == site and code in codes} == {(code, 1) for code in codes}
    # every concept 0 of an event has its code there
    for table, prefix in (
        ("condition_occurrence", "condition"),
        ("drug_exposure", "drug"),
        ("procedure_occurrence", "procedure"),
        ("measurement", "measurement"),
        ("observation", "observation"),
        ("visit_occurrence", "visit"),
    ):
        missing = built.cdm.execute(
            f"""SELECT {prefix}_source_value FROM cdm.{table} WHERE {prefix}_concept_id = 0
                AND {prefix}_source_value NOT IN
                  (SELECT left(source_code, 50) FROM lineage.unmapped)"""
        ).fetchall()
        assert missing == [], table


def test_the_japanese_rows(built: Built) -> None:
    rows = built.rows(
        "measurement", "measurement_id", "JP",
        "measurement_source_value", "value_as_number", "unit_concept_id", "unit_source_value", "value_source_value",
    )  # fmt: skip
    assert rows == {
        "jp-o1": [("2A010000001930101", 4.5, 8848, "×10³／μＬ", None)],
        "jp-o2": [("2A030000001930101", 12.3, 8713, "ｇ／ｄＬ", None)],
        "jp-o3": [("骨髄像", None, None, None, "芽球 ＜０.０１％")],
    }
    drugs = built.rows(
        "drug_exposure", "drug_exposure_id", "JP",
        "drug_exposure_start_datetime", "quantity", "dose_unit_source_value", "sig",
    )  # fmt: skip
    assert drugs == {"jp-m1": [("2024-05-02 10:00:00", 35.0, "μg", "10 mL/1 時間")]}
    assert built.rows("visit_occurrence", "visit_occurrence_id", "JP", "visit_concept_id", "visit_source_value") == {
        "jp-e1": [(0, "入院")]
    }


def test_the_chinese_rows(built: Built) -> None:
    rows = built.rows(
        "measurement", "measurement_id", "CN",
        "operator_concept_id", "value_as_number", "unit_concept_id", "value_source_value",
    )  # fmt: skip
    assert rows == {
        "cn-o1": [(None, 3.2, 9444, None)],
        "cn-o2": [(None, 12.0, 8647, None)],
        "cn-o3": [(None, None, None, "＜0.01%")],
        "cn-o4": [(None, 88.0, 9444, None)],
        "cn-o5": [(4171756, 0.01, 8554, None)],
        "cn-o6": [(None, None, None, "完全缓解")],
    }
    drugs = built.rows("drug_exposure", "drug_exposure_id", "CN", "drug_source_value", "sig")
    assert drugs == {"cn-m1": [("贝林妥欧单抗注射液", "9微克/天，持续静脉输注")]}


def test_the_german_rows(built: Built) -> None:
    conditions = built.rows(
        "condition_occurrence", "condition_occurrence_id", "DE", "condition_concept_id", "condition_source_value"
    )
    # G, certain; what is excluded (A) or suspected (V) is no diagnosis
    assert conditions == {"de-c1": [(4173963, "C91.00")]}
    numbers = built.rows(
        "measurement", "measurement_id", "DE", "value_as_number", "unit_concept_id", "value_source_value"
    )
    assert numbers == {
        "de-o1": [(None, None, "12,3 g/dl")],  # a decimal comma in a text is not read as a number
        "de-o2": [(12.3, 8713, None)],
        "de-o3": [(3.0, 0, None)],
    }
    drugs = built.rows("drug_exposure", "drug_exposure_id", "DE", "drug_source_value", "sig", "verbatim_end_date")
    assert drugs == {"de-m1": [("L01FX07", "9 µg/24 h", None)]}
    visits = built.rows("visit_occurrence", "visit_occurrence_id", "DE", "visit_concept_id", "visit_end_date")
    assert visits == {"de-e1": [(9201, "2025-01-31")]}


def test_the_vendors_rows(built: Built) -> None:
    drugs = built.rows(
        "drug_exposure", "drug_exposure_id", "US", "drug_concept_id", "drug_source_value", "drug_type_concept_id"
    )
    assert drugs == {"eMr-1": [(1308290, "11202", 32838)]}  # contained Medication, patient by record number, local day
    numbers = built.rows(
        "measurement", "measurement_id", "US",
        "measurement_concept_id", "value_as_number", "value_source_value", "measurement_type_concept_id",
    )  # fmt: skip
    assert numbers == {
        "eOb-1": [(3000963, 9.1, None, 32856)],  # the corrected version, though the first one stands last
        "eOb-3": [(0, 3.0, None, 32856)],
        "eOb-6": [(0, None, "Never smoker", 32865)],
    }


def test_the_odd_rows(built: Built) -> None:
    dates = built.rows("measurement", "measurement_id", "ODD", "measurement_date", "measurement_datetime")
    assert dates["year"] == dates["month"] == [("2019-05-21", None)]  # not before the birth by imputation alone
    assert dates["leap-second"] == [("2016-12-31", "2016-12-31 23:59:59")]
    assert dates["year-one"] == [("0001-01-01", None)]
    assert dates["future"] == [("2099-01-01", None)]
    values = built.rows("measurement", "measurement_id", "ODD", "value_as_number", "value_source_value")
    assert values["negative"] == [(-3.5e-07, None)]
    assert values["samples"] == [(None, "1 2 3 E U")]
    assert sorted(map(str, values["components"])) == ["(90.0, None)", "(None, 'sitting')"]
    visits = built.rows("visit_occurrence", "visit_occurrence_id", "ODD", "visit_concept_id", "visit_end_date")
    assert visits == {
        "backwards": [(9202, "2024-03-05")],
        "own-part": [(9201, "2024-03-05")],  # a part of itself is a visit
    }
    drugs = built.rows("drug_exposure", "drug_exposure_id", "ODD", "drug_source_value", "sig")
    assert drugs == {"ratio": [("blinatumomab", "9 ug/24 h")], "nested": [("x", None)]}
    assert built.cdm.execute("SELECT count(*) FROM cdm.death").fetchone() == (0,)


def test_no_name_number_or_address_is_in_any_column(built: Built) -> None:
    tables = built.cdm.execute(
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = 'cdm' AND data_type = 'VARCHAR' AND table_name NOT LIKE 'concept%'"
    ).fetchall()
    for table, column in tables:
        for secret in ("山田", "ヤマダ", "患者", "千代田", "王小明", "110101201408090012", "4711", "260123451"):
            query = f'SELECT count(*) FROM cdm.{table} WHERE contains("{column}", ?)'
            assert built.cdm.execute(query, [secret]).fetchone() == (0,), (table, column)
