"""Real R4 resources of many makers land; the few that do not are known, with the reason."""

from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from etl.landing import RejectWriter, Source, land

DATA = Path("/work/shared/data")
MAPPED = (
    "Patient Encounter Condition Observation MedicationAdministration MedicationRequest Procedure Organization "
    "Practitioner PractitionerRole Location Specimen DiagnosticReport Medication Immunization AllergyIntolerance"
    " Device ServiceRequest MedicationStatement MedicationDispense CarePlan RelatedPerson EpisodeOfCare"
    " FamilyMemberHistory"
).split()
EXPECTED = {  # folder: resources, rejected details
    "r4-examples": (1175, {}),
    "us-core": (229, {"DiagnosticReport.text.div: model_field_validation.missing": 1}),
    "ips": (138, {}),
    "mcode": (242, {}),
    "synthea-conditional-refs": (7873, {}),
    "synthea-bundles": (38971, {}),
    "synthea-ndjson": (38483, {}),
}
"""Counts as in SOURCES.md. us-core: diagnosticreport-cbc.json has a narrative without the div that FHIR requires."""


@pytest.mark.parametrize("folder", EXPECTED)
def test_real_resources_land(folder: str, tmp_path: Path) -> None:
    if not (DATA / folder).is_dir():
        pytest.skip(f"{DATA / folder} is not here")
    resources, rejected = EXPECTED[folder]
    with RejectWriter(tmp_path / "rejects", "key") as writer:
        landed = land([Source("S", DATA / folder)], tmp_path / "out", MAPPED, rejects=writer)
    assert landed.files["resources"].sum() == resources
    assert dict(Counter(pl.read_ndjson(writer.path)["detail"]) if writer.count else {}) == rejected
    assert landed.counts.filter(outcome="landed")["n"].sum() == resources
