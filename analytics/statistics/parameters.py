"""What the statistics can be told: seeds, repetitions, horizons, precisions; and the study's settings as a table."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from analytics.statistics.tables import tidy
from analytics.study import Parameter, Study
from etl.errors import StudyError, did_you_mean


@dataclasses.dataclass(frozen=True, slots=True)
class StatisticsParameters:
    """The constants of the analysis plan (PROTOCOL section 8); every one can be set in the study's parameters.

    Times are days. `reporting_precision` is that of the T-cell counts (10*9/L); differences are rounded to it.
    """

    seed: int = 20250131
    permutations: int = 20_000
    bootstrap: int = 2_000
    concordance_bootstrap: int = 200
    horizon_days: int = 365
    survival_days: tuple[int, ...] = (182, 365, 730)
    risk_table_days: tuple[int, ...] = (0, 90, 180, 365, 730, 1095)
    landmark_days: int = 90
    trajectory_days: tuple[int, ...] = (0, 7, 14, 21, 28)
    confidence: float = 0.95
    reporting_precision: float = 0.01
    new_site_sizes: tuple[int, ...] = (10, 20, 30)
    mrd_cutoff_pct: float = 0.01
    mrd_cutoff_alternative_pct: float = 0.1
    short_course_days: float = 7.0
    blasts_from_pct: float = 5.0

    def __post_init__(self) -> None:
        if not 0.5 < self.confidence < 1:
            raise StudyError("statistics.confidence must lie between 0.5 and 1")
        for name in ("permutations", "bootstrap", "concordance_bootstrap"):
            if getattr(self, name) < 0:
                raise StudyError(f"statistics.{name} must not be negative")


def statistics_parameters(given: object) -> StatisticsParameters:
    """The parameters of the statistics out of `given`: a Study, a mapping, one of these, or None.

    Both may carry a parameter `statistics`, a mapping of the fields of `StatisticsParameters`. Raises StudyError on a
    name in it that does not exist.
    """
    if isinstance(given, StatisticsParameters):
        return given
    values = {name: value for name, _, value in _entries(given)}
    part = values.get("statistics")
    if part is None:
        return StatisticsParameters()
    if isinstance(part, StatisticsParameters):
        return part
    if not isinstance(part, Mapping):
        raise StudyError("the parameter 'statistics' must be a mapping")
    known = [field.name for field in dataclasses.fields(StatisticsParameters)]
    wrong = [f"statistics.{name}: unknown{did_you_mean(str(name), known)}" for name in part if name not in known]
    if wrong:
        raise StudyError("the study's statistics parameters cannot be used", problems=wrong)
    chosen: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in part.items()}
    return StatisticsParameters(**chosen)


def _entries(given: object) -> list[tuple[str, str | None, object]]:
    """Name, version and value of every parameter; a mapping's key may be written `name@version`."""
    if given is None or isinstance(given, StatisticsParameters):
        return []
    source = given.parameters if isinstance(given, Study) else given
    if not isinstance(source, Mapping):
        raise StudyError("the study's parameters are neither a Study nor a mapping")
    found: list[tuple[str, str | None, object]] = []
    for key, value in source.items():
        if isinstance(value, Parameter):
            found.append((value.name, str(value.version), value.value))
        else:
            name, _, version = str(key).partition("@")
            found.append((name, version or None, value))
    return found


def settings_table(given: object, derived: object = None) -> pl.DataFrame:
    """Every parameter in force (values as JSON) with its version and the hash over all of them (16 hex digits).

    What the derived frames were made with wins: their `parameters` (name, version, value) and `param_hash`. Else, with
    a Study, the hash is the study's own. The statistics' parameters stand beside as `statistics.<field>`.
    """
    entries = [entry for entry in _entries(given) if entry[0] != "statistics"]
    own = dataclasses.asdict(statistics_parameters(given))
    entries += [(f"statistics.{name}", None, value) for name, value in own.items()]
    made_with, digest = getattr(derived, "parameters", None), getattr(derived, "param_hash", None)
    rows: list[dict[str, object]] = []
    if isinstance(made_with, pl.DataFrame) and isinstance(digest, str):
        entries = [entry for entry in entries if entry[0].startswith("statistics.")]
        rows = made_with.select("name", "version", "value").to_dicts()
    rows += [
        {"name": name, "version": version, "value": json.dumps(value, ensure_ascii=False, default=str, sort_keys=True)}
        for name, version, value in sorted(entries, key=lambda entry: entry[0])
    ]
    if isinstance(given, Study) and not isinstance(digest, str):
        digest = given.param_hash
    if not isinstance(digest, str):
        digest = hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()[:16]
    return tidy("settings", [row | {"param_hash": digest} for row in rows])
