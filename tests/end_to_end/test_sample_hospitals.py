"""The four sample hospitals in OMOP: the counts add up, the planted cases end where they must, nothing leaks."""

import json
from pathlib import Path

import duckdb
import polars as pl

import etl.cdm
from etl.pipeline import build
from tests.end_to_end.conftest import SAMPLE, Built, sample_sources

PLANTS = json.loads((SAMPLE / "plants.json").read_text(encoding="utf-8"))


def _one(cdm: duckdb.DuckDBPyConnection, query: str) -> int:
    found = cdm.execute(query).fetchone()
    assert found is not None
    return int(found[0])


def _ids(rule: str) -> list[tuple[str, str, str]]:
    """(site, type, id) of the resources planted under a rule."""
    return [
        (site, *resource.split("/", 1))
        for site, planted in PLANTS[rule]["sites"].items()
        for resource in planted["resources"]
        if "/" in resource
    ]


def test_kept_skipped_and_rejected_add_up_to_what_landed(built: Built) -> None:
    totals = built.report.totals
    assert totals["landed"] == totals["kept"] + totals["skipped"] + totals["rejected"]
    assert totals["rejected"] == 0
    assert totals["landed"] == built.report.counts["n"].sum()


def test_every_child_is_one_person(cdm: duckdb.DuckDBPyConnection) -> None:
    assert _one(cdm, "SELECT count(*) FROM cdm.person") == 105
    linked = cdm.execute("SELECT fhir_id FROM lineage.person_source WHERE NOT canonical ORDER BY 1").fetchall()
    assert linked == [("P031-B",), ("P091-S1",)]


def test_not_done_and_mistaken_administrations_have_no_row(cdm: duckdb.DuckDBPyConnection) -> None:
    for rule in ("K01", "K02"):
        for site, kind, one in _ids(rule):
            outcome = cdm.execute(
                "SELECT outcome FROM ledger.resource WHERE site = ? AND resource_type = ? AND fhir_id = ?",
                [site, kind, one],
            ).fetchall()
            assert outcome == [("skipped",)], (rule, site)


def test_one_business_identifier_is_one_row(cdm: duckdb.DuckDBPyConnection) -> None:
    reason = "superseded or duplicate business identifier"
    administrations = f"resource_type = 'MedicationAdministration' AND reason = '{reason}'"
    assert _one(cdm, f"SELECT count(*) FROM ledger.resource WHERE {administrations}") == PLANTS["K03"]["children"]


def test_only_the_corrected_result_is_loaded(cdm: duckdb.DuckDBPyConnection) -> None:
    superseded = _one(
        cdm,
        "SELECT count(*) FROM ledger.resource WHERE resource_type = 'Observation' "
        "AND reason IN ('superseded version', 'not final')",
    )
    assert superseded == PLANTS["K05"]["children"]


def test_marrow_and_blood_are_told_apart_by_the_specimen(cdm: duckdb.DuckDBPyConnection) -> None:
    """Also where only the DiagnosticReport names the specimen (SITE3)."""
    without = _one(
        cdm,
        """SELECT count(*) FROM cdm.measurement m JOIN cdm.concept c ON c.concept_id = m.measurement_concept_id
           WHERE c.concept_code IN ('MRD_BM_FLOW', '11150-0') AND m.measurement_event_id IS NULL""",
    )
    assert without == 0


def test_instants_become_local_days(cdm: duckdb.DuckDBPyConnection) -> None:
    """SITE4 writes UTC: 07:00 in Shanghai is 23:00Z of the day before (K19)."""
    hours = cdm.execute(
        """SELECT DISTINCT hour(m.measurement_datetime) FROM cdm.measurement m
           JOIN lineage.cdm_row r ON r.table_name = 'measurement' AND r.row_id = m.measurement_id
           JOIN lineage.resource s USING (resource_no)
           JOIN cdm.concept c ON c.concept_id = m.measurement_concept_id
           WHERE s.site = 'SITE4' AND c.concept_code = '8122-4'"""
    ).fetchall()
    assert hours == [(7,)]


def test_every_row_of_an_event_table_has_its_lineage(cdm: duckdb.DuckDBPyConnection) -> None:
    for table, key in etl.cdm.ROW_KEYS.items():
        if table in {"observation_period", "condition_era", "drug_era", "episode", "concept", "vocabulary", "domain"}:
            continue
        if table not in etl.cdm.EVENT_DATES and table not in {"person", "death", "care_site", "provider"}:
            continue
        orphans = _one(
            cdm,
            f"""SELECT count(*) FROM cdm.{table} t WHERE NOT EXISTS (
                  SELECT 1 FROM lineage.cdm_row r JOIN lineage.resource s USING (resource_no)
                  JOIN lineage.rule u USING (rule_id)
                  WHERE r.table_name = '{table}' AND r.row_id = t.{key})""",
        )
        assert orphans == 0, table


def test_a_month_only_death_is_the_first_day_and_its_precision_is_kept(cdm: duckdb.DuckDBPyConnection) -> None:
    rows = cdm.execute(
        """SELECT d.death_date::VARCHAR, p.precision FROM cdm.death d
           JOIN lineage.precision p ON p.table_name = 'death' AND p.row_id = d.person_id
            AND p.column_name = 'death_date'"""
    ).fetchall()
    assert rows == [("2022-05-01", "month")]


def test_no_name_or_record_number_reaches_the_cdm(built: Built) -> None:
    """f2o-020 to -022: business identifiers and names stand in no column of any CDM table."""
    secrets: set[str] = set()
    for file in sorted((SAMPLE / "site1").glob("P00*.json")) + sorted((SAMPLE / "site2").glob("*.json"))[:10]:
        for entry in json.loads(file.read_text(encoding="utf-8"))["entry"]:
            resource = entry["resource"]
            if resource["resourceType"] == "Patient":
                secrets |= {one["value"] for one in resource["identifier"]}
                secrets |= {name["text"] for name in resource.get("name", []) if "text" in name}
    assert len(secrets) > 10
    connection = duckdb.connect(str(built.path), read_only=True)
    for table in etl.cdm.TABLES:
        if table in etl.cdm.VOCABULARY_TABLES:
            continue
        texts = [name for name, kind in etl.cdm.column_types(table).items() if kind == "VARCHAR"]
        for column in texts:
            found = {row[0] for row in connection.execute(f'SELECT DISTINCT "{column}" FROM cdm."{table}"').fetchall()}
            assert not found & secrets, (table, column)
    connection.close()


def test_the_same_build_twice_changes_nothing(built: Built, tmp_path: Path) -> None:
    url = f"duckdb:///{tmp_path / 'twice.duckdb'}"
    sources = sample_sources(built.settings)
    first = build(sources, database=url, settings=built.settings)
    second = build(sources, database=url, settings=built.settings)
    assert "cdm.person" in first.changed_tables
    assert second.changed_tables == ()
    assert second.rows == first.rows
    assert second.counts.equals(first.counts)


def test_the_order_of_the_sources_does_not_matter(built: Built, tmp_path: Path) -> None:
    backwards = tmp_path / "backwards.duckdb"
    build(sample_sources(built.settings)[::-1], database=f"duckdb:///{backwards}", settings=built.settings)
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{built.path}' AS one (READ_ONLY)")
        connection.execute(f"ATTACH '{backwards}' AS other (READ_ONLY)")
        for table in etl.cdm.TABLES:
            if table == "cdm_source":
                continue
            different = connection.execute(
                f"SELECT count(*) FROM (SELECT * FROM one.cdm.{table} EXCEPT ALL SELECT * FROM other.cdm.{table})"
            ).fetchone()
            assert different == (0,), table


def test_the_counts_in_the_ledger_are_those_of_the_report(built: Built, cdm: duckdb.DuckDBPyConnection) -> None:
    ledger = cdm.execute("SELECT site, resource_type, outcome, reason, n FROM ledger.count ORDER BY ALL").pl()
    assert ledger["n"].sum() == built.report.counts["n"].sum()
    assert ledger.height == built.report.counts.height
    assert set(ledger["outcome"]) <= {"kept", "skipped", "rejected"}
    assert ledger.filter(pl.col("outcome") != "kept")["reason"].null_count() == 0
