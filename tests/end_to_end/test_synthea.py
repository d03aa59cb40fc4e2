"""Synthea's patients from two export forms give the same OMOP rows (material of ../shared; skipped without it)."""

from pathlib import Path

import duckdb
import pytest

import etl.cdm
from etl.landing import Source
from etl.pipeline import build
from etl.settings import Settings

SHARED = Path(__file__).parents[3] / "shared"
pytestmark = pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="needs ../shared/data, which is not here")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The database of each export form."""
    made = {}
    for form in ("synthea-bundles", "synthea-ndjson"):
        made[form] = tmp_path_factory.mktemp(form) / "omop.duckdb"
        build(
            [Source("SYN", SHARED / "data" / form)],
            database=f"duckdb:///{made[form]}",
            settings=Settings(key="k"),
            vocabulary=[SHARED / "vocabulary" / "athena"],
        )
    return made


def test_bundles_and_ndjson_give_the_same_rows(both: dict[str, Path]) -> None:
    with duckdb.connect() as connection:
        for name, path in zip("ab", both.values(), strict=True):
            connection.execute(f"ATTACH '{path}' AS {name} (READ_ONLY)")
        for table in etl.cdm.TABLES:
            for one, other in ("ab", "ba"):
                query = f"SELECT count(*) FROM (FROM {one}.cdm.{table} EXCEPT ALL FROM {other}.cdm.{table})"
                assert connection.execute(query).fetchone() == (0,), table
        persons = connection.execute("SELECT count(*) FROM a.cdm.person").fetchone()
    assert persons == (100,)


@pytest.mark.parametrize("name", ["r4-examples", "us-core", "ips", "mcode", "fhir-omop-ig", "synthea-conditional-refs"])
def test_odd_sets_build_to_the_end_and_add_up(name: str, tmp_path: Path) -> None:
    report = build(
        [Source("ODD", SHARED / "data" / name)],
        database=f"duckdb:///{tmp_path / 'o.duckdb'}",
        settings=Settings(key="k"),
    )
    totals = report.totals
    assert totals["landed"] > 0
    assert totals["landed"] == totals["kept"] + totals["skipped"] + totals["rejected"]
    reasons = report.counts.filter(report.counts["outcome"] != "kept")["reason"]
    assert reasons.null_count() == 0
