"""GEE, mixed model, pooled hospitals, individual tables, variants: what they say, and what they refuse to say."""

import math

import numpy as np
import polars as pl
import pytest

from analytics.derive import Derived
from analytics.statistics.frames import StudyFrames, study_frames
from analytics.statistics.individuals import individual_tables
from analytics.statistics.multilevel import multilevel_models
from analytics.statistics.parameters import StatisticsParameters
from analytics.statistics.pooling import pooled
from analytics.statistics.run import run_analyses
from analytics.study import load_study
from analytics.variants import derive_variants

PARAMETERS = StatisticsParameters()
QUICK = {"statistics": {"permutations": 50, "bootstrap": 20, "concordance_bootstrap": 2}}


@pytest.fixture(scope="module")
def frames(derived: Derived) -> StudyFrames:
    return study_frames(derived)


@pytest.fixture(scope="module")
def individuals(frames: StudyFrames) -> dict[str, pl.DataFrame]:
    return individual_tables(frames, PARAMETERS)


def test_gee_agrees_with_the_plain_proportion_and_stays_between_zero_and_hundred(frames: StudyFrames) -> None:
    row = multilevel_models(frames, PARAMETERS).filter(pl.col("model") == "gee").row(0, named=True)
    assert row["estimate"] == pytest.approx(100 * 73 / 74, abs=0.2)
    assert 0 < row["lower"] < row["estimate"] < row["upper"] < 100


def test_the_mixed_model_is_the_paired_ratio_when_patients_have_one_course_more(frames: StudyFrames) -> None:
    rows = multilevel_models(frames, PARAMETERS).filter(pl.col("model") == "mixed")
    assert rows["n"].to_list() == [105, 105, 105]
    assert rows["estimate"].is_between(1.1, 1.4).all()
    assert (rows["lower"] < rows["estimate"]).all()


def test_what_cannot_be_modelled_says_why(frames: StudyFrames) -> None:
    first = frames.courses.filter(pl.col("course_no") == 1).with_columns(mrd_neg_post=pl.lit(1, pl.Int8))
    windows = frames.lab_windows.filter(pl.col("course_no") == 1)
    import dataclasses

    rows = multilevel_models(dataclasses.replace(frames, courses=first, lab_windows=windows), PARAMETERS)
    assert rows["estimate"].null_count() == rows.height
    assert rows["note"].str.starts_with("not ").all()


def test_pooling_is_dersimonians_when_sites_agree_and_wider_when_they_do_not() -> None:
    same = pooled([0.5, 0.5, 0.5], [0.1, 0.2, 0.4], 0.95)
    assert same is not None
    assert (same.effect, same.tau2, same.i2) == (pytest.approx(0.5), 0.0, 0.0)
    assert same.upper - same.effect == pytest.approx(1.959964 / math.sqrt(1 / 0.1 + 1 / 0.2 + 1 / 0.4), rel=1e-6)
    apart = pooled([-1.0, 0.5, 2.0], [0.1, 0.1, 0.1], 0.95)
    assert apart is not None
    # Paule and Mandel with equal variances: the variance of the effects less the variance within
    assert apart.tau2 == pytest.approx(np.var([-1.0, 0.5, 2.0], ddof=1) - 0.1, rel=1e-4)
    assert apart.i2 > 90
    assert apart.q_p < 0.001


def test_one_site_is_not_pooled() -> None:
    assert pooled([0.5], [0.1], 0.95) is None


def test_lanes_are_running_numbers_without_ids_or_dates(individuals: dict[str, pl.DataFrame]) -> None:
    for name in ("swimmer", "mrd_change", "cytokine_points"):
        lanes = individuals[name]["lane"].unique().sort().to_list()
        assert lanes == list(range(1, len(lanes) + 1)), name
        assert not {"person_id", "course_no", "site", "date"} & set(individuals[name].columns)
        assert pl.Date not in individuals[name].dtypes


def test_the_swimmer_has_every_course_and_one_end_per_lane(individuals: dict[str, pl.DataFrame]) -> None:
    swimmer = individuals["swimmer"]
    assert swimmer.filter(pl.col("kind") == "course").height == 125
    assert swimmer.filter(pl.col("kind").is_in(["death", "last_contact"]))["lane"].is_unique().all()
    assert swimmer["lane"].n_unique() == 105
    pauses = swimmer.filter(pl.col("kind") == "interruption")
    assert pauses.height
    assert (pauses["end_day"] > pauses["start_day"]).all()
    strata = swimmer.group_by("lane").agg(pl.col("stratum").first()).sort("lane")["stratum"]
    assert strata.rle().struct.field("value").to_list() == ["CR_MRDneg", "CR_MRDpos", "RR"]


def test_an_mrd_without_a_number_is_a_word_not_a_zero(individuals: dict[str, pl.DataFrame]) -> None:
    change = individuals["mrd_change"]
    assert (change["pre"].drop_nulls() > 0).all()
    assert change.filter(pl.col("pre_censoring") == "negative")["pre"].null_count() > 0
    assert change.filter(pl.col("post_censoring") == "=")["post"].null_count() == 0


def not_computed(tables: dict[str, pl.DataFrame]) -> set[str]:
    return set(tables["sensitivity"].filter(pl.col("quantity") == "not computed")["analysis_id"])


def test_variants_change_only_what_they_are_about(derived: Derived, truth_cdm: object) -> None:
    study = load_study()
    variants = derive_variants(truth_cdm, study)  # type: ignore[arg-type]
    assert set(variants) == set(study.get("sensitivity"))
    assert variants["S10-post-7"].patients.equals(derived.patients)
    rows = run_analyses(derived, QUICK, variants)["sensitivity"].filter(pl.col("analysis_id") == "S10-post-7")
    assert rows.drop_nulls("endpoint")["endpoint"].unique().to_list() == ["T cells"]
    # nobody's TKI is on record, and no vital sign beside any CRS
    assert not_computed(run_analyses(derived, QUICK, variants)) == {"S13-TKI", "A11-ASTCT", "A11-CTCAE"}
    without = {"S7-LOD", "S10", "S10-chemo", "S13-Down", "S13-TKI", "A11-ASTCT", "A11-CTCAE"}
    assert not_computed(run_analyses(derived, QUICK)) == without
    shorter = rows.filter(pl.col("quantity") == "CD3 shift")["n"].item()
    assert shorter < 85


def test_delayed_entry_leaves_out_who_has_no_diagnosis_date(derived: Derived) -> None:
    patients = derived.patients.with_columns(
        diagnosis_date=pl.when(pl.int_range(pl.len()) < 5).then(None).otherwise("diagnosis_date")
    )
    frames = {
        "patients": patients, "courses": derived.courses, "lab_windows": derived.lab_windows,
        "attrition": derived.attrition,
    }  # fmt: skip
    table = run_analyses(frames, QUICK)["sensitivity"].filter(pl.col("analysis_id") == "S14")
    efs = table.filter(pl.col("endpoint") == "EFS")
    assert efs["n"].unique().to_list() == [100]
    assert efs["note"].str.contains("5 without a diagnosis date").all()
    assert table["estimate"].drop_nulls().is_between(1e-3, 1e5).all()


def test_exposure_tells_of_bags_their_evidence_and_dose_deviations(derived: Derived) -> None:
    table = run_analyses(derived, QUICK)["exposure"]
    bags = table.filter(pl.col("variable") == "evidence of bags")
    assert bags["n"].to_list() == [derived.bags.height, 0]
    durations = table.filter(pl.col("variable") == "bag duration, hours (about)")
    assert durations["n"].sum() == derived.bags.height
    assert table.filter(pl.col("variable") == "dose deviation > 20%").select("n", "denominator").row(0) == (0, 125)


def test_the_curve_of_all_strata_stands_apart(derived: Derived) -> None:
    tables = run_analyses(derived, QUICK)
    assert "all" not in tables["survival_curves"]["stratum"].to_list()
    risk = tables["overall_risk_table"].filter((pl.col("endpoint") == "EFS") & (pl.col("time") == 0))
    assert risk["at_risk"].to_list() == [105]
    curve = tables["overall_curves"].filter(pl.col("endpoint") == "OS")
    assert curve["survival"].is_sorted(descending=True)
    assert curve["events"].sum() == 5
