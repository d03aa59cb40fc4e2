"""The commands as users and `make demo` call them: exit codes, one JSON object, files at the promised places."""

import gzip
import json
import shutil
from pathlib import Path

import duckdb
import polars as pl
import pytest

from tests.flows.conftest import SAMPLE, Ended, blina

SETTINGS = ("--settings", SAMPLE / "blina.yaml", "--site", "SITE2")
MRD = ("mrd_pre_pct", "mrd_post_pct")
ROUNDED = {"age_years": 0.1, "bsa_m2": 0.01}
"""What the bundles cannot say more exactly (truth/README.md): one rounding step."""
PROMISED = {"run_id", "totals", "resources", "rows", "seconds", "standard_concepts"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """The folder that `blina demo` leaves, and how it ended."""
    folder = tmp_path_factory.mktemp("demo") / "made"
    return folder, blina("demo", "--to", folder)


def test_the_demo_ends_with_the_path_of_the_report(demo: tuple[Path, Ended]) -> None:
    folder, ended = demo
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[-1] == f"report: {folder / 'report.html'}"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "synthetic cohort" in page.split("</title>")[0]


def test_the_demo_leaves_every_file_that_others_rely_on(demo: tuple[Path, Ended]) -> None:
    folder, _ = demo
    names = ("omop.duckdb", "report.html", "quality.json", "quality.html", "rejects/rejects.ndjson")
    results = ("courses.parquet", "courses.csv", "patients.parquet", "patients.csv", "published_vs_computed.csv")
    for name in (*names, *(f"results/{one}" for one in results)):
        assert (folder / name).is_file(), name
    compared = pl.read_csv(folder / "results" / "published_vs_computed.csv")
    assert compared.columns[0] == "id"
    assert {"published", "computed", "match"} < set(compared.columns)
    assert json.loads((folder / "results" / "results.json").read_text(encoding="utf-8"))["synthetic"] is True


@pytest.mark.parametrize(("name", "keys"), [("patients", ["patient_id"]), ("courses", ["patient_id", "course_no"])])
def test_the_rows_join_to_the_truth_by_the_fhir_id(demo: tuple[Path, Ended], name: str, keys: list[str]) -> None:
    truth = pl.read_csv(SAMPLE / "truth" / f"{name}.csv", infer_schema_length=None)
    made = pl.read_csv(demo[0] / "results" / f"{name}.csv", infer_schema_length=None).rename({"fhir_id": "patient_id"})
    joined = truth.join(made, on=keys, how="full", coalesce=True, suffix="_made")
    assert joined.height == truth.height == made.height
    assert set(truth.columns) - set(made.columns) <= {"course_id"}
    for column in set(truth.columns) - {"course_id", *keys}:
        said, derived = pl.col(column), pl.col(f"{column}_made")
        if truth[column].dtype.is_numeric():
            allowed = said.abs() * 0.005 if column in MRD else pl.lit(ROUNDED.get(column, 0))
            same = (said.cast(pl.Float64) - derived.cast(pl.Float64)).abs() <= allowed + 1e-9
        else:
            same = said == derived
        neither = said.is_null() & derived.is_null()
        assert joined.filter(~(same.fill_null(value=False) | neither)).select(*keys, column).rows() == [], column


def test_the_demo_stores_its_results_under_the_run_of_the_build(demo: tuple[Path, Ended]) -> None:
    with duckdb.connect(str(demo[0] / "omop.duckdb"), read_only=True) as connection:
        runs = connection.execute("SELECT run_id, outcome FROM ledger.run").fetchall()
        courses = connection.execute("SELECT run_id, count(*) FROM results.study_course GROUP BY 1").fetchall()
        episodes = connection.execute(
            "SELECT episode_concept_id, count(*) FROM cdm.episode GROUP BY 1 ORDER BY 1"
        ).fetchall()
        cohorts = connection.execute("SELECT count(*) FROM cdm.cohort").fetchone()
    assert [outcome for _, outcome in runs] == ["passed the quality gate"]
    assert courses == [(runs[0][0], 125)]
    assert episodes == [(32531, 105), (32532, 125)]
    assert cohorts is not None
    assert cohorts[0] > 0


def test_a_build_prints_one_object_that_adds_up(tmp_path: Path) -> None:
    ended = blina("build", SAMPLE / "site2", *SETTINGS, "--db", f"duckdb:///{tmp_path / 'o.duckdb'}", "--json")
    assert ended.code == 0, ended.err
    report = ended.json
    assert set(report) >= PROMISED
    for one in (report["totals"], *report["resources"].values()):
        skipped, rejected = (
            sum(one[name].values()) if isinstance(one[name], dict) else one[name] for name in ("skipped", "rejected")
        )
        assert one["landed"] == one["kept"] + skipped + rejected


def test_a_build_says_what_was_rejected_and_loads_the_rest(tmp_path: Path) -> None:
    """The exit code tells a scheduler; `--accept-rejects` is for those who have read the list."""
    folder = tmp_path / "in"
    folder.mkdir()
    for file in sorted((SAMPLE / "site2").glob("*.json"))[:3]:
        shutil.copy(file, folder)
    good = (folder / "P002.json").read_bytes()
    (folder / "flipped.json").write_bytes(good.replace(b'"entry"', b'\xff"entry"', 1))
    (folder / "empty.json").write_bytes(b"")
    (folder / "bomb.json.gz").write_bytes(gzip.compress(b" " * 50_000_000))
    (folder / "notes.json").write_text('{"name": "not FHIR"}')
    call = ("build", folder, *SETTINGS, "--db", f"duckdb:///{tmp_path / 'o.duckdb'}", "--rejects", tmp_path / "no")
    ended = blina(*call)
    assert ended.code == 12
    assert "4 rejected, the rest is loaded" in ended.err
    assert "rejected: gzip_ratio" in ended.out
    with duckdb.connect(str(tmp_path / "o.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM cdm.person").fetchone() == (3,)
    assert len((tmp_path / "no" / "rejects.ndjson").read_text().splitlines()) == 4
    accepted = blina(*call, "--accept-rejects", "--json")
    assert accepted.code == 0
    assert accepted.json["totals"]["rejected"] == 4
    assert accepted.json["changed_tables"] == []
