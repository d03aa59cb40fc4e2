"""The study on any OMOP CDM 5.4: open_cdm, load_study, check_study, derive; then results_tables and episode_tables.

cdm = open_cdm("duckdb:///omop.duckdb")
derived = derive(cdm, load_study("blinatumomab"))
"""

from analytics.cdm import Cdm, open_cdm
from analytics.checks import StudyCheck, check_study
from analytics.derive import Derived, derive
from analytics.episodes import episode_tables
from analytics.study import Study, load_study
from analytics.tables import results_tables

__all__ = [
    "Cdm",
    "Derived",
    "Study",
    "StudyCheck",
    "check_study",
    "derive",
    "episode_tables",
    "load_study",
    "open_cdm",
    "results_tables",
]
