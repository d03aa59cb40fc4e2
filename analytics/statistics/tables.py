"""The tidy result tables: their columns and types, and the one door by which rows become a table.

A table never holds NaN or infinity: such a number becomes null and, where the table has a `note`, the note says which
column was not estimable. Percentages are 0–100, times are days, survival and incidence are fractions 0–1.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np
import polars as pl

TEXT, WHOLE, REAL = pl.String(), pl.Int64(), pl.Float64()
Row = Mapping[str, object]


def _columns(**groups: str) -> dict[str, pl.DataType]:
    """Columns of one table, written as `order="name:t name:i name:f"` so that a schema stays one readable line."""
    kinds: dict[str, pl.DataType] = {"t": TEXT, "i": WHOLE, "f": REAL}
    return {name: kinds[kind] for name, kind in (pair.split(":") for pair in groups["order"].split())}


_SPREAD = "median:f minimum:f maximum:f q1:f q3:f"


def _prefixed(prefix: str) -> str:
    return " ".join(prefix + pair for pair in _SPREAD.split())


SCHEMAS: dict[str, dict[str, pl.DataType]] = {
    "attrition": _columns(order="step:t unit:t n:i excluded:i reason:t"),
    "baseline": _columns(
        order="variable:t level:t group:t n:i denominator:i percent:f median:f q1:f q3:f minimum:f maximum:f"
        " missing:i unit:t"
    ),
    "site_balance": _columns(order="variable:t level:t site_a:t site_b:t smd:f n_a:i n_b:i note:t"),
    "classification": _columns(order="indication:t state:t stratum:t n:i"),
    "exposure": _columns(order="variable:t level:t n:i denominator:i percent:f value:f"),
    "response": _columns(
        order="analysis_id:t population:t unit_of_analysis:t group:t site:t k:i n:i percent:f cp_lower:f cp_upper:f"
        " wilson_lower:f wilson_upper:f"
    ),
    "tests": _columns(
        order="analysis_id:t comparison:t test:t statistic:f df:f p:f n:i events:i unit_of_analysis:t horizon:f note:t"
    ),
    "predictors": _columns(
        order="factor:t coding:t nonresponse_exposed:i nonresponse_total:i response_exposed:i response_total:i"
        " fisher_p:f midp_p:f pearson_p:f yates_p:f risk_difference:f rd_lower:f rd_upper:f"
        " odds_ratio:f or_lower:f or_upper:f barnard_p:f fisher_p_adjusted:f note:t"
    ),
    "models": _columns(
        order="model:t outcome:t coding:t term:t label:t estimate:f lower:f upper:f p:f coef:f se:f n:i events:i"
        " method:t note:t"
    ),
    "model_fit": _columns(
        order="model:t outcome:t coding:t quantity:t value:f lower:f upper:f n:i events:i method:t note:t"
    ),
    "survival_curves": _columns(
        order="endpoint:t stratum:t time:f survival:f lower:f upper:f at_risk:i events:i censored:i"
    ),
    "risk_table": _columns(order="endpoint:t stratum:t time:f at_risk:i cumulative_events:i cumulative_censored:i"),
    "overall_curves": _columns(
        order="endpoint:t stratum:t time:f survival:f lower:f upper:f at_risk:i events:i censored:i"
    ),
    "overall_risk_table": _columns(
        order="endpoint:t stratum:t time:f at_risk:i cumulative_events:i cumulative_censored:i"
    ),
    "survival_at": _columns(
        order="endpoint:t stratum:t time:f survival:f se:f lower:f upper:f ci_method:t at_risk:i n:i events:i note:t"
    ),
    "survival_summary": _columns(
        order="endpoint:t stratum:t measure:t horizon:f estimate:f se:f lower:f upper:f n:i events:i method:t note:t"
    ),
    "cumulative_incidence": _columns(
        order="stratum:t event:t time:f cif:f se:f lower:f upper:f ci_method:t at_risk:i events:i"
    ),
    "paired": _columns(
        order="analyte:t unit:t n_pairs:i "
        + _prefixed("pre_")
        + " "
        + _prefixed("post_")
        + " median_difference:f shift:f shift_lower:f shift_upper:f ratio:f ratio_lower:f ratio_upper:f p:f"
        " p_correction:f p_adjusted:f n_zero:i n_tied:i method:t note:t"
    ),
    "cytokines": _columns(
        order="analyte:t population:t unit:t n:i n_censored:i baseline_median:f baseline_minimum:f baseline_maximum:f"
        " peak_median:f peak_minimum:f peak_maximum:f ratio:f ratio_lower:f ratio_upper:f p:f p_adjusted:f"
        " method:t note:t"
    ),
    "cytokine_peaks": _columns(
        order="analyte:t crs_grade:t unit:t n:i n_censored:i median:f q1:f q3:f minimum:f maximum:f note:t"
    ),
    "cell_windows": _columns(
        order="analyte:t window:t unit:t n:i n_censored:i median:f q1:f q3:f minimum:f maximum:f note:t"
    ),
    "cell_trajectory": _columns(
        order="analyte:t days:t day:f unit:t n:i n_censored:i median:f q1:f q3:f minimum:f maximum:f note:t"
    ),
    "state_flow": _columns(order="state_pre:t state_post:t next_therapy:t n:i"),
    "cytokine_points": _columns(order="lane:i analyte:t crs_grade:t unit:t peak:f censoring:t"),
    "mrd_change": _columns(
        order="lane:i stratum:t state_pre:t pre:f pre_censoring:t post:f post_censoring:t response:i"
    ),
    "swimmer": _columns(order="lane:i stratum:t kind:t start_day:f end_day:f label:t"),
    "safety": _columns(order="event:t grade:t unit_of_analysis:t n:i denominator:i percent:f lower:f upper:f"),
    "rates": _columns(order="event:t grade:t events:i infusion_days:f rate_per_100_days:f lower:f upper:f method:t"),
    "sensitivity": _columns(
        order="analysis_id:t definition:t endpoint:t stratum:t quantity:t estimate:f lower:f upper:f p:f n:i events:i"
        " method:t note:t"
    ),
    "prediction": _columns(order="quantity:t unit_of_analysis:t basis:t k:i n:i new_n:i lower:i upper:i method:t"),
    "site_prediction": _columns(
        order="id:t quantity:t site:t basis:t k:i n:i percent:f cp_lower:f cp_upper:f lower:i upper:i verdict:t"
        " method:t"
    ),
    "published_vs_computed": _columns(order="id:t quantity:t unit_of_analysis:t published:t computed:t match:t note:t"),
    "settings": _columns(order="name:t version:t value:t param_hash:t"),
}


CONTAINS_INDIVIDUALS = ("cytokine_points", "mrd_change", "swimmer")
"""Tables with one row or lane per person or course: without ids, but never part of a release for sharing."""


def finite(value: object) -> float | None:
    """The value as a float, or None if it is missing, NaN or infinite."""
    if value is None:
        return None
    number = float(value)  # type: ignore[arg-type]  # numpy scalars and numbers only
    return number if math.isfinite(number) else None


def _clean(row: Row, schema: Mapping[str, pl.DataType]) -> dict[str, object]:
    unknown = sorted(set(row) - set(schema))
    if unknown:
        raise KeyError(f"columns not in the table: {', '.join(unknown)}")
    cleaned: dict[str, object] = {}
    lost: list[str] = []
    for name, kind in schema.items():
        value = row.get(name)
        if isinstance(value, np.generic):
            value = value.item()
        if kind == REAL and value is not None:
            number = finite(value)
            if number is None:
                lost.append(name)
            value = number
        cleaned[name] = value
    if lost and "note" in schema:
        said = f"not estimable: {', '.join(lost)}"
        cleaned["note"] = f"{cleaned['note']}; {said}" if cleaned["note"] else said
    return cleaned


def tidy(name: str, rows: Iterable[Row]) -> pl.DataFrame:
    """The rows as the table `name`: its columns in order, its types, no NaN, no infinity; absent columns are null."""
    schema = SCHEMAS[name]
    return pl.DataFrame([_clean(row, schema) for row in rows], schema=schema, orient="row")


def stack(name: str, *tables: pl.DataFrame) -> pl.DataFrame:
    """Several tables of the kind `name` one under the other; none gives the empty table."""
    return pl.concat([tidy(name, []), *tables], how="vertical")
