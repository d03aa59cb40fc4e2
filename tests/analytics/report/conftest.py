"""The result tables of the synthetic cohort (tables/*.csv, written by make_tables.py) and a provenance."""

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from analytics.report import ReportMeta
from analytics.statistics.tables import SCHEMAS

TABLES = Path(__file__).parent / "tables"


@pytest.fixture(scope="session")
def stored_tables() -> dict[str, pl.DataFrame]:
    """Every stored table by name, in the types of the statistics."""
    return {path.stem: pl.read_csv(path, schema=SCHEMAS.get(path.stem)) for path in sorted(TABLES.glob("*.csv"))}


@pytest.fixture
def meta() -> ReportMeta:
    """The provenance of an invented run."""
    return ReportMeta(
        synthetic=True,
        run_id="run-1",
        software="blina 0.1.0",
        vocabulary_release="study vocabulary 1",
        mapping_sha="0123abcd",
        cdm_name="BLINA-SAMPLE",
        data_lock=date(2025, 1, 31),
        created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )
