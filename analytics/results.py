"""The results as files: every table as Parquet and CSV, all of them as JSON with its schema, and one long table.

The long table has the columns of DARWIN's omopgenerics `summarised_result`; names and levels that belong together are
joined by " &&& " as there. One result_id per tidy table; its settings stand as rows with variable_name "settings".
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from analytics.derived_aggregates import derived_vs_computed
from analytics.replication import published_vs_computed, site_prediction
from analytics.statistics import run_analyses
from analytics.statistics.tables import CONTAINS_INDIVIDUALS, SCHEMAS, TEXT, WHOLE
from analytics.suppression import suppress
from etl.errors import StudyError

__all__ = ["all_results", "json_schema", "summarised_result", "suppress", "write_results"]

LONG_COLUMNS = (
    "result_id", "cdm_name", "group_name", "group_level", "strata_name", "strata_level", "variable_name",
    "variable_level", "estimate_name", "estimate_type", "estimate_value", "additional_name", "additional_level",
)  # fmt: skip
JOINED = " &&& "
OVERALL = "overall"
RESULTS_VERSION = "1.1"


@dataclass(frozen=True, slots=True)
class Layout:
    """How a tidy table is laid out in the long one: which columns name group, strata, variable, level, additional.

    All other columns are estimates.
    """

    variable: str
    level: str | None = None
    group: tuple[str, ...] = ()
    strata: tuple[str, ...] = ()
    additional: tuple[str, ...] = ()


LAYOUTS: dict[str, Layout] = {
    "attrition": Layout("step", additional=("unit",)),
    "baseline": Layout("variable", "level", strata=("group",), additional=("unit",)),
    "site_balance": Layout("variable", "level", group=("site_a", "site_b")),
    "classification": Layout("indication", strata=("state", "stratum")),
    "exposure": Layout("variable", "level"),
    "response": Layout("population", "group", strata=("site",), additional=("analysis_id", "unit_of_analysis")),
    "tests": Layout("comparison", "test", additional=("analysis_id", "unit_of_analysis", "horizon")),
    "predictors": Layout("factor", additional=("coding",)),
    "models": Layout("model", "term", additional=("outcome", "coding")),
    "model_fit": Layout("model", "quantity", additional=("outcome", "coding")),
    "survival_curves": Layout("endpoint", strata=("stratum",), additional=("time",)),
    "risk_table": Layout("endpoint", strata=("stratum",), additional=("time",)),
    "overall_curves": Layout("endpoint", strata=("stratum",), additional=("time",)),
    "overall_risk_table": Layout("endpoint", strata=("stratum",), additional=("time",)),
    "survival_at": Layout("endpoint", strata=("stratum",), additional=("time",)),
    "survival_summary": Layout("endpoint", "measure", strata=("stratum",), additional=("horizon",)),
    "cumulative_incidence": Layout("event", strata=("stratum",), additional=("time",)),
    "paired": Layout("analyte", additional=("unit",)),
    "cytokines": Layout("analyte", "population", additional=("unit",)),
    "cytokine_peaks": Layout("analyte", "crs_grade", additional=("unit",)),
    "cell_windows": Layout("analyte", "window", additional=("unit",)),
    "cell_trajectory": Layout("analyte", "days", additional=("unit",)),
    "state_flow": Layout("state_pre", "state_post", additional=("next_therapy",)),
    "site_prediction": Layout("quantity", strata=("site",), additional=("id",)),
    "safety": Layout("event", "grade", additional=("unit_of_analysis",)),
    "rates": Layout("event", "grade"),
    "sensitivity": Layout("quantity", strata=("stratum",), additional=("analysis_id", "definition", "endpoint")),
    "prediction": Layout("quantity", additional=("unit_of_analysis", "basis", "new_n")),
    "published_vs_computed": Layout("quantity", additional=("id", "unit_of_analysis")),
    "derived_vs_computed": Layout("quantity", additional=("id", "unit_of_analysis")),
}


def all_results(
    derived: object,
    parameters: object = None,
    published: Mapping[str, Any] | Path | None = None,
    variants: Mapping[str, object] | None = None,
) -> dict[str, pl.DataFrame]:
    """Every result table: the analyses, the published values beside them, the derived ones apart.

    `variants` (`analytics.variants.derive_variants`) fill the sensitivity analyses that need another derivation.
    """
    tables = run_analyses(derived, parameters, variants)
    content = published if isinstance(published, Mapping) else None
    tables["published_vs_computed"] = published_vs_computed(tables, published)
    tables["site_prediction"] = site_prediction(tables)
    tables["derived_vs_computed"] = derived_vs_computed(tables, content)
    return tables


def schema_of(name: str) -> Mapping[str, pl.DataType]:
    """Columns and types of a result table. Raises StudyError for a table nobody declared."""
    name = "published_vs_computed" if name == "derived_vs_computed" else name
    if name not in SCHEMAS:
        raise StudyError(f"no result table {name!r}")
    return SCHEMAS[name]


def _names(columns: Sequence[str], kind: str) -> list[pl.Expr]:
    """The name and the level expression of joined columns; null levels are written as "overall"."""
    if not columns:
        return [pl.lit(OVERALL).alias(f"{kind}_name"), pl.lit(OVERALL).alias(f"{kind}_level")]
    levels = [pl.col(column).cast(pl.String).fill_null(OVERALL) for column in columns]
    return [
        pl.lit(JOINED.join(columns)).alias(f"{kind}_name"),
        pl.concat_str(levels, separator=JOINED).alias(f"{kind}_level"),
    ]


def _long(name: str, table: pl.DataFrame, result_id: int, cdm_name: str) -> pl.DataFrame:
    layout = LAYOUTS[name]
    level = pl.col(layout.level).cast(pl.String) if layout.level else pl.lit(None, pl.String)
    keys = [
        pl.lit(result_id, pl.Int64).alias("result_id"),
        pl.lit(cdm_name).alias("cdm_name"),
        *_names(layout.group, "group"),
        *_names(layout.strata, "strata"),
        pl.col(layout.variable).cast(pl.String).alias("variable_name"),
        level.alias("variable_level"),
        *_names(layout.additional, "additional"),
    ]
    used = {layout.variable, layout.level, *layout.group, *layout.strata, *layout.additional}
    parts = []
    for column, kind in schema_of(name).items():
        if column in used:
            continue
        type_name = "character" if kind == TEXT else "integer" if kind == WHOLE else "numeric"
        if column == "percent":
            type_name = "percentage"
        parts.append(
            table.select(
                *keys,
                pl.lit(column).alias("estimate_name"),
                pl.lit(type_name).alias("estimate_type"),
                pl.col(column).cast(pl.String).alias("estimate_value"),
            ).filter(pl.col("estimate_value").is_not_null())
        )
    return pl.concat(parts).select(LONG_COLUMNS)


def summarised_result(tables: Mapping[str, pl.DataFrame], cdm_name: str, min_cell_count: int = 0) -> pl.DataFrame:
    """All tables as one long table with the omopgenerics columns, each followed by its settings.

    Empty estimates have no row. The settings of a result are those that omopgenerics asks for (result_type,
    package_name, package_version, group, strata, additional, min_cell_count) and param_hash.
    """
    digest = _param_hash(tables)
    parts = []
    present = [name for name in LAYOUTS if name in tables]
    for result_id, name in enumerate(present, start=1):
        parts.append(_long(name, tables[name], result_id, cdm_name))
        settings = {
            "result_type": f"blina_{name}", "package_name": "blina", "package_version": version("blina"),
            "group": JOINED.join(LAYOUTS[name].group), "strata": JOINED.join(LAYOUTS[name].strata),
            "additional": JOINED.join(LAYOUTS[name].additional), "min_cell_count": str(min_cell_count),
            "param_hash": digest or "none",
        }  # fmt: skip
        rows: list[dict[str, object]] = [
            dict.fromkeys(LONG_COLUMNS, OVERALL) | {
                "result_id": result_id, "cdm_name": cdm_name, "variable_name": "settings", "variable_level": None,
                "estimate_name": key, "estimate_type": "character", "estimate_value": value,
            }
            for key, value in settings.items()
        ]  # fmt: skip
        parts.append(pl.DataFrame(rows, schema=parts[-1].schema, orient="row"))
    empty = {c: pl.Int64 if c == "result_id" else pl.String for c in LONG_COLUMNS}
    return pl.concat(parts) if parts else pl.DataFrame(schema=empty)


def _param_hash(tables: Mapping[str, pl.DataFrame]) -> str | None:
    settings = tables.get("settings")
    return None if settings is None or settings.is_empty() else str(settings["param_hash"][0])


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the results document: every table a list of rows with its columns, null allowed."""

    def column(kind: pl.DataType) -> dict[str, Any]:
        return {"type": ["string" if kind == TEXT else "integer" if kind == WHOLE else "number", "null"]}

    tables = {}
    for name in (*SCHEMAS, "derived_vs_computed"):
        columns = schema_of(name)
        row = {"type": "object", "properties": {c: column(k) for c, k in columns.items()}}
        tables[name] = {"type": "array", "items": row | {"required": list(columns), "additionalProperties": False}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "blina results",
        "type": "object",
        "required": [
            "results_version",
            "cdm_name",
            "synthetic",
            "min_cell_count",
            "param_hash",
            "tables",
            "contains_individuals",
        ],
        "properties": {
            "results_version": {"const": RESULTS_VERSION},
            "cdm_name": {"type": "string"},
            "synthetic": {"type": "boolean"},
            "min_cell_count": {"type": "integer", "minimum": 0},
            "param_hash": {"type": ["string", "null"]},
            "contains_individuals": {"type": "object", "additionalProperties": {"type": "boolean"}},
            "tables": {"type": "object", "properties": tables, "additionalProperties": False},
        },
        "additionalProperties": False,
    }


def write_results(
    tables: Mapping[str, pl.DataFrame],
    folder: Path,
    *,
    cdm_name: str,
    min_cell_count: int = 0,
    synthetic: bool = False,
    parquet: bool = True,
) -> list[Path]:
    """Writes <name>.parquet and <name>.csv of every table, summarised_result, results.json and its schema.

    The tables are written as given: pass them through `suppress` first where small counts must
    not leave the hospital, and say its `min_cell_count` here. Without `parquet` all files are text. With `synthetic`
    every file name starts "synthetic_".
    Gives back the paths written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    prefix = "synthetic_" if synthetic else ""
    written: list[Path] = []
    frames = dict(tables) | {"summarised_result": summarised_result(tables, cdm_name, min_cell_count)}
    for name, frame in frames.items():
        if parquet:
            frame.write_parquet(folder / f"{prefix}{name}.parquet")
            written.append(folder / f"{prefix}{name}.parquet")
        frame.write_csv(folder / f"{prefix}{name}.csv")
        written.append(folder / f"{prefix}{name}.csv")
    document = {
        "results_version": RESULTS_VERSION, "cdm_name": cdm_name, "synthetic": synthetic,
        "min_cell_count": min_cell_count, "param_hash": _param_hash(tables),
        "contains_individuals": {name: name in CONTAINS_INDIVIDUALS for name in tables},
        "tables": {name: frame.to_dicts() for name, frame in tables.items()},
    }  # fmt: skip
    for stem, content in (("results", document), ("results.schema", json_schema())):
        path = folder / f"{prefix}{stem}.json"
        path.write_text(json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1) + "\n", encoding="utf-8")
        written.append(path)
    return written
