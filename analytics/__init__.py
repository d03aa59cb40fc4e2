"""The study on any OMOP CDM 5.4, in a few words that give polars frames.

cdm = open_cdm("duckdb:///omop.duckdb")
study = load_study("blinatumomab")           # or a YAML file that extends it
courses = derive_courses(cdm, study)         # one frame; or all of them at once:
derived = derive(cdm, study)                 # patients, courses, lab_windows, events, counters, …
tables = all_results(derived, study, variants=derive_variants(cdm, study))
print(compare_studies(cdm, study, load_study("mine.yaml")).text())
"""

from typing import TYPE_CHECKING, Any

from analytics.cdm import Cdm, open_cdm
from analytics.checks import StudyCheck, check_study
from analytics.derive import Derived, derive
from analytics.episodes import episode_tables
from analytics.study import Study, load_study
from analytics.tables import results_tables
from analytics.variants import derive_variants

if TYPE_CHECKING:
    from polars import DataFrame

    from analytics.compare import Comparison, compare_studies
    from analytics.results import all_results

_WITH_STATISTICS = {"Comparison": "compare", "compare_studies": "compare", "all_results": "results"}
"""Loaded when asked for: their libraries take seconds to import, and not every command needs them."""


def derive_courses(cdm: Cdm, study: Study) -> "DataFrame":
    """One row per course (`Derived.courses`). Who wants several frames asks `derive` once."""
    return derive(cdm, study).courses


def derive_patients(cdm: Cdm, study: Study) -> "DataFrame":
    """One row per child of the full analysis set (`Derived.patients`)."""
    return derive(cdm, study).patients


def __getattr__(name: str) -> Any:
    if name not in _WITH_STATISTICS:
        raise AttributeError(f"module 'analytics' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"analytics.{_WITH_STATISTICS[name]}"), name)


__all__ = [
    "Cdm",
    "Comparison",
    "Derived",
    "Study",
    "StudyCheck",
    "all_results",
    "check_study",
    "compare_studies",
    "derive",
    "derive_courses",
    "derive_patients",
    "derive_variants",
    "episode_tables",
    "load_study",
    "open_cdm",
    "results_tables",
]
