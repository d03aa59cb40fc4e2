"""Every analysis of the plan (PROTOCOL section 8) on the derived frames: frames in, tidy tables out."""

from collections.abc import Mapping

import polars as pl

from analytics.statistics.cells import cell_tables
from analytics.statistics.competing import competing_tables
from analytics.statistics.cytokines import cytokine_table
from analytics.statistics.describe import baseline_table, classification_table, exposure_table, site_balance
from analytics.statistics.flow import state_flow
from analytics.statistics.frames import StudyFrames, study_frames, survival_of
from analytics.statistics.individuals import individual_tables
from analytics.statistics.logrank import log_rank_tests
from analytics.statistics.multilevel import multilevel_models
from analytics.statistics.paired import paired_table
from analytics.statistics.parameters import settings_table, statistics_parameters
from analytics.statistics.pooling import pooled_tables
from analytics.statistics.prediction import prediction_table
from analytics.statistics.proportions import clustered_models, response_table
from analytics.statistics.regression import hazard_checks, response_models, site_models, survival_models
from analytics.statistics.safety import rates_table, safety_table
from analytics.statistics.sensitivity import sensitivity_table
from analytics.statistics.survival import survival_tables
from analytics.statistics.tables import SCHEMAS, finite, stack
from analytics.statistics.tests import benjamini_hochberg, predictors_table, response_tests
from analytics.statistics.timedep import transplant_models

MODELS = (response_models, clustered_models, multilevel_models, survival_models, transplant_models)
"""What fills the table `models`, in its order; the models by site and their pooling follow."""


def run_analyses(
    derived: object, parameters: object = None, variants: Mapping[str, object] | None = None
) -> dict[str, pl.DataFrame]:
    """All result tables of the study, by name (`analytics.statistics.tables.SCHEMAS` gives columns and types).

    `derived` carries the frames patients, courses, lab_windows and attrition as attributes or keys; `parameters` is the
    Study (or a mapping name → value); its parameter `statistics` may set seeds, repeats and horizons. `variants`:
    what was derived with other definitions (`analytics.variants`), for the sensitivity table. No table holds NaN or
    infinity. Raises StudyError on missing frames or columns and on unknown statistics parameters.
    """
    frames = study_frames(derived)
    chosen = statistics_parameters(parameters)
    response = response_table(frames, chosen)
    hazards, fits = hazard_checks(frames, chosen)
    incidence, causes = competing_tables(frames, chosen)
    by_site = site_models(frames, chosen)
    pooled, heterogeneity = pooled_tables(frames, by_site, chosen)
    endpoints = [survival_of(frames.patients, name) for name in ("EFS", "OS")]
    curves = [survival_tables(endpoint, chosen) for endpoint in endpoints]
    comparisons = [log_rank_tests(endpoint, chosen) for endpoint in endpoints]
    paired, cytokines = _adjusted(paired_table(frames, chosen), cytokine_table(frames, chosen))
    tables = {
        "attrition": _attrition(frames),
        "baseline": baseline_table(frames),
        "site_balance": site_balance(frames),
        "classification": classification_table(frames),
        "exposure": exposure_table(frames, chosen),
        "response": response,
        "tests": stack("tests", response_tests(frames), *comparisons, hazards, causes),
        "predictors": predictors_table(frames, chosen),
        "models": stack("models", *(make(frames, chosen) for make in MODELS), by_site, pooled),
        "model_fit": stack("model_fit", fits, heterogeneity),
        "cumulative_incidence": incidence,
        "paired": paired,
        "cytokines": cytokines,
        **cell_tables(frames, chosen),
        "state_flow": state_flow(frames, chosen),
        "safety": safety_table(frames, chosen),
        "rates": rates_table(frames, chosen),
        "sensitivity": sensitivity_table(frames, chosen, variants or {}),
        "prediction": prediction_table(frames, response, chosen),
        "settings": settings_table(parameters, derived),
        **individual_tables(frames, chosen),
    }
    for name in curves[0]:
        tables[name] = stack(name, *(curve[name] for curve in curves))
    return {name: tables[name] for name in SCHEMAS if name in tables}


def _attrition(frames: StudyFrames) -> pl.DataFrame:
    """The attrition as derived, in the table's columns; what is not derived is null."""
    schema = SCHEMAS["attrition"]
    given = frames.attrition
    return given.select(
        (pl.col(name) if name in given.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in schema.items()
    )


def _adjusted(paired: pl.DataFrame, cytokines: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Benjamini–Hochberg over the one family of T cells and cytokines (course 1 for the latter)."""
    first = cytokines["population"] == "course 1"
    own = [finite(p) for p in paired["p"]] + [finite(p) for p in cytokines.filter(first)["p"]]
    adjusted = benjamini_hochberg(own)
    paired = paired.with_columns(pl.Series("p_adjusted", adjusted[: paired.height], pl.Float64))
    rest = iter(adjusted[paired.height :])
    column = [next(rest) if is_first else None for is_first in first]
    return paired, cytokines.with_columns(pl.Series("p_adjusted", column, pl.Float64))
