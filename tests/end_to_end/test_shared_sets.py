"""Every public data set of ../shared builds to its end: of each type, kept + skipped + rejected = landed.

The number that landed is counted here anew from the files, not taken from the build. Skipped without ../shared.
"""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

import etl.cdm
from etl.build_report import BuildReport
from etl.landing import Source
from etl.landing.elements import is_resource_type
from etl.pipeline import build
from etl.settings import Settings

SHARED = Path(__file__).parents[3] / "shared"
DATA = SHARED / "data"
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data, which is not here"),
]

SETS = (
    "r4-examples", "us-core", "ips", "mcode", "fhir-omop-ig", "synthea-conditional-refs", "synthea-bundles",
    "synthea-ndjson", "synthea-volume",
)  # fmt: skip
NOT_FHIR_NAMES = {"manifest.json"}


@dataclass(frozen=True)
class Built:
    """A built set, its report, and how many resources of each type stand in its files."""

    name: str
    came: Counter[str]
    report: BuildReport
    cdm: duckdb.DuckDBPyConnection


def _resources(path: Path) -> Iterator[dict[str, Any]]:
    """The resources in a file, Bundles unfolded; what is no resource counts as one "(file)"."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    documents = (
        [json.loads(line) for line in raw.splitlines() if line.strip()] if ".ndjson" in path.name else [json.loads(raw)]
    )
    for one in documents:
        yield from _unfolded(one)


def _unfolded(one: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A resource; or those in a Bundle, also in a Bundle in a Bundle."""
    if one.get("resourceType") != "Bundle":
        yield one
        return
    for entry in one.get("entry", []):
        if "resource" in entry:
            yield from _unfolded(entry["resource"])


def _count(folder: Path) -> Counter[str]:
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name.removesuffix(".gz").endswith((".json", ".ndjson"))
        and path.name not in NOT_FHIR_NAMES
    ]
    kinds = [str(one.get("resourceType", "(file)")) for path in files for one in _resources(path)]
    return Counter(kind if kind == "(file)" or is_resource_type(kind) else "(unknown)" for kind in kinds)


@pytest.fixture(scope="module", params=SETS)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """One set, built with the public vocabularies."""
    name = str(request.param)
    database = tmp_path_factory.mktemp(name) / "o.duckdb"
    report = build(
        [Source("SET", DATA / name)],
        database=f"duckdb:///{database}",
        settings=Settings(key="k"),
        vocabulary=[SHARED / "vocabulary" / "athena", SHARED / "vocabulary" / "athena-supplement"],
    )
    with duckdb.connect(str(database), read_only=True) as cdm:
        yield Built(name, _count(DATA / name), report, cdm)


def test_of_each_type_all_that_came_is_kept_skipped_or_rejected(built: Built) -> None:
    counted = built.report.counts.group_by("resource_type").agg(pl.col("n").sum())
    assert dict(counted.iter_rows()) == dict(built.came)
    without_reason = built.report.counts.filter((pl.col("outcome") != "kept") & pl.col("reason").is_null())
    assert without_reason.height == 0


def test_a_kept_resource_of_an_event_has_a_row(built: Built) -> None:
    kept = built.cdm.execute("SELECT count(*) FROM ledger.resource WHERE outcome = 'kept'").fetchone()
    with_row = built.cdm.execute("SELECT count(DISTINCT resource_no) FROM lineage.cdm_row").fetchone()
    assert kept == with_row
    for table, key in etl.cdm.ROW_KEYS.items():
        rows = built.cdm.execute(f"SELECT count(*), count(DISTINCT {key}) FROM cdm.{table}").fetchone()
        assert rows is not None
        assert rows[0] == rows[1], f"{table}: keys that come twice"


def test_an_event_is_of_a_known_person_and_no_required_value_is_missing(built: Built) -> None:
    assert built.report.incomplete_rows == 0
    for table in etl.cdm.EVENT_DATES:
        query = f"SELECT count(*) FROM cdm.{table} WHERE person_id NOT IN (SELECT person_id FROM cdm.person)"
        assert built.cdm.execute(query).fetchone() == (0,), table


def test_every_concept_0_has_its_code_on_the_work_list(built: Built) -> None:
    for table, prefix in (
        ("condition_occurrence", "condition"),
        ("drug_exposure", "drug"),
        ("procedure_occurrence", "procedure"),
        ("measurement", "measurement"),
        ("observation", "observation"),
        ("device_exposure", "device"),
        ("visit_occurrence", "visit"),
    ):
        # of an allergy to a substance the code is the value; what kind of allergy has an id in a whole vocabulary only
        told = "AND NOT coalesce(value_as_concept_id, 0) > 0" if table == "observation" else ""
        missing = built.cdm.execute(
            f"""SELECT {prefix}_source_value, count(*) FROM cdm.{table}
                WHERE {prefix}_concept_id = 0 {told} AND {prefix}_source_value IS NOT NULL
                  AND {prefix}_source_value NOT IN (SELECT left(source_code, 50) FROM lineage.unmapped)
                GROUP BY ALL"""
        ).fetchall()
        assert missing == [], (built.name, table)
