"""What is computed from the rows of a run, in its work database: periods, eras, and what the CDM says about itself.

Everything here reads `out.*` and `vocab.*`, is made anew each time, and comes out the same for the same
rows in any order.
"""

from collections.abc import Sequence
from datetime import date

import duckdb
import polars as pl

from etl.settings import Settings
from etl.store import insert_frame
from etl.transform.derived_eras import derive_condition_eras, derive_drug_eras
from etl.transform.derived_periods import derive_observation_periods

__all__ = ["derive_condition_eras", "derive_drug_eras", "derive_observation_periods", "write_cdm_source"]

CDM_VERSION = "5.4"
CDM_VERSION_CONCEPT_ID = 756265
"""The concept of "OMOP CDM Version 5.4.0"."""


def write_cdm_source(
    work: duckdb.DuckDBPyConnection,
    settings: Settings,
    *,
    vocabulary_version: str,
    software_version: str,
    mapping_sha: str,
    source_release_date: date,
    cdm_release_date: date,
    sites: Sequence[str] = (),
    documentation: str | None = None,
) -> None:
    """Writes the one row of out.cdm_source (DECISIONS 46; HL7 f2o-001, -040).

    `source_release_date`: the day until which the data reaches; it is never later than `cdm_release_date`. Give the
    same `cdm_release_date` for the same input if the second of two runs is to change nothing. Texts are cut to the
    CDM's lengths; a vocabulary without a version is said to be "not stated".
    """
    row = {
        "cdm_source_name": settings.name[:255],
        "cdm_source_abbreviation": settings.abbreviation[:25],
        "cdm_holder": settings.name[:255],
        "source_description": "HL7 FHIR R4" + (f" of {', '.join(sites)}" if sites else ""),
        "source_documentation_reference": documentation[:255] if documentation else None,
        "cdm_etl_reference": f"blina {software_version}, mapping {mapping_sha}"[:255],
        "source_release_date": min(source_release_date, cdm_release_date),
        "cdm_release_date": cdm_release_date,
        "cdm_version": CDM_VERSION,
        "cdm_version_concept_id": CDM_VERSION_CONCEPT_ID,
        "vocabulary_version": vocabulary_version[:20] or "not stated",
    }
    work.execute("DELETE FROM out.cdm_source")
    insert_frame(work, "out.cdm_source", pl.DataFrame([row]))
