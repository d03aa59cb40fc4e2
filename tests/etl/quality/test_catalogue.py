"""The list of checks equals the Data Quality Dashboard's own list on table and field level."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from etl.errors import SettingsError
from etl.quality.catalogue import EXCLUDED_TABLES, KINDS, cdm_checks, words
from etl.quality.study import load_catalogue

DQD = Path("/work/shared/ohdsi/dqd-2.8.4")

needs_dqd = pytest.mark.skipif(not DQD.is_dir(), reason="the control files of the Data Quality Dashboard are not here")

PLAIN_FLAGS = (
    "isRequired",
    "isPrimaryKey",
    "isForeignKey",
    "isStandardValidConcept",
    "measureValueCompleteness",
    "standardConceptRecordCompleteness",
    "sourceConceptRecordCompleteness",
    "sourceValueCompleteness",
    "plausibleTemporalAfter",
    "plausibleDuringLife",
    "plausibleStartBeforeEnd",
    "plausibleAfterBirth",
    "plausibleBeforeDeath",
    "withinVisitDates",
)


def filled(value: str | None) -> bool:
    return bool((value or "").strip())


def expected() -> dict[str, float]:
    """DQD's checkIds on table and field level with their thresholds, read from its control files."""
    checks: dict[str, float] = {}

    def add(level: str, name: str, row: dict[str, str], field: str = "") -> None:
        parts = [level, name, row["cdmTableName"], field]
        checks["_".join(part for part in parts if part).replace(" ", "").lower()] = float(
            row.get(f"{name}Threshold") or 0
        )

    for row in rows("Table"):
        add("TABLE", "cdmTable", row)
        for name in ("measurePersonCompleteness", "measureConditionEraCompleteness", "measureObservationPeriodOverlap"):
            if row[name] == "Yes":
                add("TABLE", name, row)
    for row in rows("Field"):
        field = row["cdmFieldName"].strip('"')
        if field == "offset":
            continue
        add("FIELD", "cdmField", row, field)
        names = [name for name in PLAIN_FLAGS if row[name] == "Yes"]
        names += ["cdmDatatype"] if row["cdmDatatype"] == "integer" else []
        names += [name for name in ("plausibleValueLow", "plausibleValueHigh") if filled(row[name])]
        names += [name for name in ("fkDomain", "fkClass") if row["isForeignKey"] == "Yes" and filled(row[name])]
        for name in names:
            add("FIELD", name, row, field)
    return checks


def rows(level: str) -> list[dict[str, str]]:
    with (DQD / f"OMOP_CDMv5.4_{level}_Level.csv").open(encoding="utf-8-sig", newline="") as file:
        return [row for row in csv.DictReader(file) if row["cdmTableName"].lower() not in EXCLUDED_TABLES]


@needs_dqd
def test_the_checks_and_thresholds_are_those_of_the_dashboard() -> None:
    assert {check.check_id: check.threshold for check in cdm_checks()} == expected()


@needs_dqd
def test_severities_and_categories_are_those_of_the_dashboard() -> None:
    with (DQD / "OMOP_CDMv5.4_Check_Descriptions.csv").open(encoding="utf-8-sig", newline="") as file:
        theirs = {
            row["checkName"]: (row["checkLevel"], row["kahnCategory"], row["kahnSubcategory"], row["severity"])
            for row in csv.DictReader(file)
            if row["checkLevel"] != "CONCEPT"
        }
    assert theirs == KINDS


def test_there_are_1902_checks_with_ids_of_their_own() -> None:
    ids = Counter(check.check_id for check in cdm_checks())
    assert len(ids) == 1902
    assert max(ids.values()) == 1


def test_every_check_type_is_explained() -> None:
    assert set(words()) == set(KINDS)
    assert all(text["meaning"].strip() and text["advice"].strip() for text in words().values())


def test_the_study_catalogue_loads_and_every_set_and_view_is_used() -> None:
    catalogue = load_catalogue()
    text = " ".join([*catalogue.views.values(), *(one.numerator + one.denominator for one in catalogue.checks)])
    assert all(name in text for name in [*catalogue.sets, *catalogue.views])


def test_a_wrong_catalogue_is_refused_with_every_mistake(tmp_path: Path) -> None:
    path = tmp_path / "checks.yaml"
    path.write_text(
        "checks:\n"
        "  - {id: Bad Id, name: a, why: b, advice: c, severity: fatl, gate: perhaps, threshold: 101, table: persn,\n"
        "     numerator: SELECT 1, denominator: SELECT 1, fied: x}\n"
        "  - {id: second}\n",
        encoding="utf-8",
    )
    with pytest.raises(SettingsError) as caught:
        load_catalogue(path)
    text = str(caught.value)
    for hint in (
        "severity: one of",
        "gate: true or false",
        "threshold:",
        "did you mean 'person'",
        "'field'",
        "why: missing",
    ):
        assert hint in text
