"""Great Expectations judges the result frame. The only module that imports it: importing takes seconds.

It sees counts and names of checks, never a row of the CDM. The data source is pandas in an ephemeral context: version
1.24 has no DuckDB engine, and its Data Docs write values into HTML unescaped, so they stay off. Telemetry is switched
off in code before the import.
"""

import os
import warnings
from typing import Any

import polars as pl

os.environ["GX_ANALYTICS_ENABLED"] = "false"
os.environ["DO_NOT_TRACK"] = "1"

with warnings.catch_warnings():
    # Its imports use modules that Python has deprecated; nothing of ours can be seen or mended there.
    warnings.simplefilter("ignore", DeprecationWarning)
    import great_expectations
    import great_expectations.expectations
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.expectations.row_conditions import Column

from etl.errors import BlinaError
from etl.quality.status import ALLOWED, BURDEN, score
from etl.quality.verdict import Expectation, Verdict

# Its classes are made at import and unknown to a type checker.
expect: Any = great_expectations.expectations

_SEVERITIES = {"fatal": "critical", "convention": "warning", "characterization": "info"}
_FORMAT = {"result_format": "COMPLETE", "unexpected_index_column_names": ["check_id"]}


def judge_frame(frame: pl.DataFrame) -> Verdict:
    """The verdict over a result frame whose thresholds are in force (see `status.evaluate`).

    One expectation per check type and per study check: allowed violations >= violations, on whole numbers, so that a
    count exactly at its threshold passes; besides, that the result table itself is sound and no check met an error.
    """
    errors = frame.filter(pl.col("status") == "error")["check_id"].to_list()
    whole = _validate(frame.select("check_id", "status"), _soundness())
    judged = frame.filter(pl.col("status").is_in(["passed", "failed"])).with_columns(BURDEN, ALLOWED)
    counted = judged.select("check_id", "check_name", "violated", "denominator", "burden", "allowed")
    results = whole + (_validate(counted, _thresholds(judged)) if judged.height else [])
    failed = sorted({check for result in results if _is_threshold(result) for check in _refused_ids(result)})
    _compare(frame, failed)
    gated = set(frame.filter(pl.col("gate"))["check_id"])
    return Verdict(
        failed=tuple(failed),
        errors=tuple(sorted(errors)),
        refused=tuple(sorted(gated.intersection([*failed, *errors]))),
        overall=score(frame),
        cdm=score(frame.filter(pl.col("level") != "STUDY")),
        study=score(frame.filter(pl.col("level") == "STUDY")),
        expectations=tuple(_summary(result) for result in results),
        great_expectations=str(great_expectations.__version__),
    )


def _soundness() -> list[Any]:
    return [
        expect.ExpectColumnValuesToNotBeNull(column="check_id", severity="critical"),
        expect.ExpectColumnValuesToBeUnique(column="check_id", severity="critical"),
        expect.ExpectColumnValuesToBeInSet(
            column="status", value_set=["passed", "failed", "not_applicable"], severity="critical"
        ),
    ]


def _thresholds(judged: pl.DataFrame) -> list[Any]:
    kinds = judged.group_by("check_name", maintain_order=True).agg(pl.col("severity").first())
    expectations: list[Any] = [
        expect.ExpectColumnPairValuesAToBeGreaterThanB(
            column_A="allowed",
            column_B="burden",
            or_equal=True,
            row_condition=Column("check_name") == name,
            severity=_SEVERITIES[severity],
            meta={"check_name": name},
        )
        for name, severity in kinds.iter_rows()
    ]
    return [
        expect.ExpectColumnValuesToBeBetween(column="violated", min_value=0, severity="critical"),
        expect.ExpectColumnValuesToBeBetween(column="denominator", min_value=0, severity="critical"),
        *expectations,
    ]


def _validate(frame: pl.DataFrame, expectations: list[Any]) -> list[Any]:
    context: Any = great_expectations.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("results").add_dataframe_asset("quality_check")
    batch = asset.add_batch_definition_whole_dataframe("run").get_batch({"dataframe": frame.to_pandas()})
    suite = great_expectations.ExpectationSuite(name="quality", expectations=expectations)
    validation = batch.validate(suite, result_format=_FORMAT)
    results = list(validation.results)
    broken = [_subject(one) for one in results if (one.exception_info or {}).get("raised_exception")]
    if broken:
        raise BlinaError("Great Expectations could not judge the quality results", problems=broken)
    return results


def _is_threshold(result: Any) -> bool:
    return "check_name" in (result.expectation_config.meta or {})


def _subject(result: Any) -> str:
    config = result.expectation_config
    return str((config.meta or {}).get("check_name") or config.kwargs.get("column") or config.type)


def _refused_ids(result: Any) -> list[str]:
    return [str(row["check_id"]) for row in result.result.get("unexpected_index_list") or []]


def _summary(result: Any) -> Expectation:
    config = result.expectation_config
    return Expectation(
        kind=str(config.type),
        subject=_subject(result),
        severity=str(getattr(config.severity, "value", config.severity)),
        success=bool(result.success),
        examined=int(result.result.get("element_count") or 0),
        refused=int(result.result.get("unexpected_count") or 0),
    )


def _compare(frame: pl.DataFrame, failed: list[str]) -> None:
    """The status column (polars) and Great Expectations must agree; if not, neither is to be trusted."""
    ours = set(frame.filter(pl.col("status") == "failed")["check_id"])
    if ours != set(failed):
        raise BlinaError(
            "two judges disagree about the quality results", problems=sorted(ours.symmetric_difference(failed))
        )
