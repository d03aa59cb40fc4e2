"""The statistics on frames derived from a CDM are those on the truth itself."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from analytics.derive import Derived
from analytics.replication import published_vs_computed
from analytics.statistics import run_analyses
from analytics.study import load_study

Tables = dict[str, pl.DataFrame]
SAME = (
    "classification", "exposure", "response", "predictors", "tests", "models", "model_fit", "survival_curves",
    "risk_table", "survival_at", "survival_summary", "cumulative_incidence", "paired", "cytokines", "safety", "rates",
    "sensitivity", "prediction",
)  # fmt: skip


@pytest.fixture(scope="module")
def from_cdm(derived: Derived) -> Tables:
    return run_analyses(derived, load_study())


@pytest.mark.parametrize("name", SAME)
def test_a_table_from_the_cdm_equals_the_one_from_the_truth(name: str, from_cdm: Tables, tables: Tables) -> None:
    made = from_cdm[name]
    if name == "exposure":  # the truth has no bags
        made = made.join(tables[name].select("variable").unique(), on="variable", how="semi")
    if name == "safety":  # nor adverse events beside these two
        made = made.filter(pl.col("event").is_in(["CRS", "ICANS"]))
    assert_frame_equal(made, tables[name], rel_tol=1e-6, abs_tol=1e-6)


def test_the_settings_are_those_of_the_derivation(from_cdm: Tables, derived: Derived) -> None:
    assert from_cdm["settings"]["param_hash"].unique().to_list() == [derived.param_hash]
    assert set(derived.parameters["name"]) <= set(from_cdm["settings"]["name"])


def test_the_attrition_passes_through(from_cdm: Tables, derived: Derived) -> None:
    assert from_cdm["attrition"]["step"].to_list() == derived.attrition["step"].to_list()
    assert from_cdm["attrition"]["n"].to_list() == derived.attrition["n"].to_list()


def test_every_published_entry_agrees_from_the_cdm(from_cdm: Tables) -> None:
    compared = published_vs_computed(from_cdm)
    assert compared.filter(pl.col("match") == "yes")["id"].n_unique() == 37
