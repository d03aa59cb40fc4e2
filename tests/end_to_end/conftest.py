"""One build of the four sample hospitals, shared by the tests that look at it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from etl.build_report import BuildReport
from etl.landing import Source
from etl.pipeline import build
from etl.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "sample_bundles"


@dataclass(frozen=True)
class Built:
    """The built database and what the build said."""

    path: Path
    url: str
    report: BuildReport
    settings: Settings
    rejects: Path


def sample_sources(settings: Settings) -> list[Source]:
    """The four hospitals' folders."""
    return [Source(name, site.folder) for name, site in settings.sites.items() if site.folder]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The sample hospitals in a database of their own."""
    folder = tmp_path_factory.mktemp("sample")
    settings = load_settings(SAMPLE / "blina.yaml")
    url = f"duckdb:///{folder / 'omop.duckdb'}"
    report = build(sample_sources(settings), database=url, settings=settings, rejects=folder / "rejects")
    return Built(folder / "omop.duckdb", url, report, settings, folder / "rejects")


@pytest.fixture
def cdm(built: Built) -> Iterator[duckdb.DuckDBPyConnection]:
    """A reader of the built database."""
    connection = duckdb.connect(str(built.path), read_only=True)
    yield connection
    connection.close()
