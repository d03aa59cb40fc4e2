"""What the CDM says about itself."""

from datetime import date

import duckdb

import etl.cdm
from etl.settings import Settings
from etl.store import create_work_schema
from etl.transform.derived import write_cdm_source


def test_cdm_source_is_one_row_that_fits_the_cdm() -> None:
    work = duckdb.connect()
    create_work_schema(work)
    for _ in range(2):
        write_cdm_source(
            work,
            Settings(name="n" * 300, abbreviation="a" * 30),
            vocabulary_version="v5.0 09-APR-22 and more words",
            software_version="0.1.0",
            mapping_sha="abc",
            source_release_date=date(2026, 1, 2),
            cdm_release_date=date(2025, 1, 31),
            sites=("SITE1", "SITE2"),
        )
    names = list(etl.cdm.column_types("cdm_source"))
    rows = [dict(zip(names, row, strict=True)) for row in work.execute("FROM out.cdm_source").fetchall()]
    assert len(rows) == 1
    assert (rows[0]["cdm_version"], rows[0]["cdm_version_concept_id"]) == ("5.4", 756265)
    assert rows[0]["source_release_date"] == rows[0]["cdm_release_date"] == date(2025, 1, 31)
    assert rows[0]["source_description"] == "HL7 FHIR R4 of SITE1, SITE2"
    for column, length in etl.cdm.lengths("cdm_source").items():
        assert len(rows[0][column] or "") <= length
    assert all(rows[0][column] is not None for column in etl.cdm.required_columns("cdm_source"))
