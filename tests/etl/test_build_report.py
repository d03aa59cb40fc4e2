"""What a build says about the identifiers that it was given: their systems, never their values."""

import json
from pathlib import Path
from typing import Any

from etl.build_report import IdentifierSystem
from etl.landing import Source
from etl.pipeline import build
from etl.settings import Settings

RECORD, NATIONAL = "http://hospital.example/record-number", "urn:oid:2.16.578.1.12.4.1.4.1"


def test_each_identifier_system_is_named_with_what_becomes_of_it(hospital: Any, tmp_path: Path) -> None:
    (tmp_path / "fhir").mkdir()
    patients = [
        {"resourceType": "Patient", "id": f"p{n}", "gender": "male", "birthDate": "2015", "identifier": one}
        for n, one in enumerate(
            (
                [{"system": RECORD, "value": "geheim-1"}, {"system": NATIONAL, "value": "geheim-2"}],
                [{"system": RECORD, "value": "geheim-3"}, {"value": "geheim-4"}, {"system": "geheim-5", "value": "1"}],
            )
        )
    ]
    (tmp_path / "fhir" / "all.ndjson").write_text("".join(json.dumps(one) + "\n" for one in patients))
    report = build(
        [Source("SITE9", tmp_path / "fhir")],
        database=f"duckdb:///{tmp_path / 'omop.duckdb'}",
        settings=Settings(key="k", link_persons_by=(NATIONAL,)),
        vocabulary=[hospital.athena],
    )
    kept = "not in the CDM; in the lineage, where it finds references and repeated results"
    assert report.identifier_systems == (
        IdentifierSystem("SITE9", "Patient", RECORD, 2, kept),
        IdentifierSystem("SITE9", "Patient", "", 1, kept),
        IdentifierSystem("SITE9", "Patient", "(no URI)", 1, kept),
        IdentifierSystem("SITE9", "Patient", NATIONAL, 1, f"{kept}; joins the records of one person"),
    )
    told = json.dumps(report.as_dict(), default=str)
    assert RECORD in told
    assert "geheim" not in told
