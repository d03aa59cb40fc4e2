"""A public CDM that is not ours (27 invented persons of Synthea) is asked whether it can answer the study."""

from pathlib import Path

import duckdb
import polars as pl
import pytest

from analytics import check_study, derive, load_study, open_cdm
from etl.errors import StudyError

SYNTHEA = Path(__file__).parents[3] / "shared" / "ohdsi" / "synthea27nj-5.4"
pytestmark = pytest.mark.skipif(not SYNTHEA.is_dir(), reason="needs the public CDM of ../shared/ohdsi")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The CDM as its CSV files give it: upper-case names, types as DuckDB guesses them."""
    path = tmp_path_factory.mktemp("other") / "synthea.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("CREATE SCHEMA omop")
        for file in sorted(SYNTHEA.glob("*.csv.gz")):
            name = file.name.removesuffix(".csv.gz")
            connection.execute(f"CREATE TABLE omop.{name} AS SELECT * FROM read_csv_auto('{file}')")
    with open_cdm(f"duckdb:///{path}", schema="omop") as cdm:
        yield cdm


def test_it_is_told_what_it_lacks_in_words(other):
    check = check_study(other, load_study())
    assert not check.can_answer
    lines = {name: (status, detail) for name, status, _, detail in check.lines.iter_rows()}
    assert lines["concept set CS_BLINATUMOMAB"] == ("missing", "resolves to nothing")
    assert lines["bags of blinatumomab"] == ("missing", "no record of blinatumomab")
    assert lines["table measurement"][0] == "ok"
    assert check.lines.filter(pl.col("status") != "ok")["detail"].str.len_chars().min() > 0


def test_running_the_study_on_it_stops_with_the_sets_that_it_does_not_know(other):
    with pytest.raises(StudyError) as error:
        derive(other, load_study())
    assert "CS_BLINATUMOMAB" in error.value.problems
