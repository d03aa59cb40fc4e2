"""Which checks there are: the CDM's own structure, plus the controls of OHDSI's Data Quality Dashboard 2.8.4.

The structural checks (table, field, required, type, keys, domain, class, standard, filled) are derived from
`etl.cdm.TABLES`; thresholds and the columns of the completeness and plausibility checks come from
`controls/dqd_2_8_4.csv`. Table and field level together are DQD's 1,902 checks under DQD's checkIds; the concept level
(472 checks) is not there yet.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml
from sqlalchemy import Column

from etl.cdm import TABLES

DQD_VERSION = "2.8.4"

EXCLUDED_TABLES = frozenset(
    {
        "concept",
        "vocabulary",
        "concept_ancestor",
        "concept_relationship",
        "concept_class",
        "concept_synonym",
        "relationship",
        "domain",
    }
)
"""DQD leaves the vocabulary to OHDSI, and the column `offset` (a reserved word) alone."""

EXCLUDED_FIELDS = frozenset({("note_nlp", "offset")})

KINDS: dict[str, tuple[str, str, str, str]] = {
    # name: level, Kahn category, Kahn subcategory, severity
    "cdmTable": ("TABLE", "Conformance", "Relational", "fatal"),
    "measurePersonCompleteness": ("TABLE", "Completeness", "", "convention"),
    "measureConditionEraCompleteness": ("TABLE", "Completeness", "", "convention"),
    "measureObservationPeriodOverlap": ("TABLE", "Plausibility", "Temporal", "fatal"),
    "cdmField": ("FIELD", "Conformance", "Relational", "fatal"),
    "isRequired": ("FIELD", "Conformance", "Relational", "fatal"),
    "cdmDatatype": ("FIELD", "Conformance", "Value", "fatal"),
    "isPrimaryKey": ("FIELD", "Conformance", "Relational", "fatal"),
    "isForeignKey": ("FIELD", "Conformance", "Relational", "fatal"),
    "fkDomain": ("FIELD", "Conformance", "Value", "convention"),
    "fkClass": ("FIELD", "Conformance", "Computational", "convention"),
    "isStandardValidConcept": ("FIELD", "Conformance", "Value", "convention"),
    "measureValueCompleteness": ("FIELD", "Completeness", "", "characterization"),
    "standardConceptRecordCompleteness": ("FIELD", "Completeness", "", "convention"),
    "sourceConceptRecordCompleteness": ("FIELD", "Completeness", "", "convention"),
    "sourceValueCompleteness": ("FIELD", "Completeness", "", "convention"),
    "plausibleValueLow": ("FIELD", "Plausibility", "Atemporal", "characterization"),
    "plausibleValueHigh": ("FIELD", "Plausibility", "Atemporal", "characterization"),
    "plausibleTemporalAfter": ("FIELD", "Plausibility", "Temporal", "characterization"),
    "plausibleDuringLife": ("FIELD", "Plausibility", "Temporal", "characterization"),
    "withinVisitDates": ("FIELD", "Plausibility", "", "characterization"),
    "plausibleAfterBirth": ("FIELD", "Plausibility", "Temporal", "characterization"),
    "plausibleBeforeDeath": ("FIELD", "Plausibility", "Temporal", "characterization"),
    "plausibleStartBeforeEnd": ("FIELD", "Plausibility", "Temporal", "characterization"),
}
"""The check types of DQD 2.8.4 that are counted here, with Kahn's words and DQD's severity."""


@dataclass(frozen=True)
class Check:
    """One check: what is looked at, how many percent may violate it, and whether the gate hangs on it.

    `threshold` is the percentage of violations allowed (0: none); `parameter` is what the check type needs besides
    the column (a bound, a domain, the other column); `meaning` and `advice` are for the reader of the report.
    """

    check_id: str
    check_name: str
    level: str
    table: str
    field: str | None
    category: str
    subcategory: str
    severity: str
    threshold: float
    gate: bool
    parameter: str = ""
    concept: int | None = None
    meaning: str = ""
    advice: str = ""


@cache
def words() -> dict[str, dict[str, str]]:
    """What each check type means and what to do, by name; the texts of `controls/words.yaml`."""
    content: dict[str, dict[str, str]] = yaml.safe_load(_control("words.yaml"))
    return content


@cache
def cdm_checks() -> tuple[Check, ...]:
    """All checks of the CDM on table and field level, table by table."""
    controls = list(csv.DictReader(_control("dqd_2_8_4.csv").splitlines()))
    omitted = {(row["check_name"], row["table"], row["field"]) for row in controls if row["action"] == "omit"}
    checks = [check for check in _structural() if (check.check_name, check.table, check.field or "") not in omitted]
    checks += [
        _check(row["check_name"], row["table"], row["field"] or None, float(row["threshold"]), row["parameter"])
        for row in controls
        if row["action"] == "add"
    ]
    order = {name: number for number, name in enumerate(TABLES)}
    kinds = {name: number for number, name in enumerate(KINDS)}
    return tuple(sorted(checks, key=lambda check: (order[check.table], kinds[check.check_name])))


def _structural() -> Iterator[Check]:
    for table in TABLES.values():
        if table.name in EXCLUDED_TABLES:
            continue
        yield _check("cdmTable", table.name)
        for column in table.columns:
            if (table.name, column.name) not in EXCLUDED_FIELDS:
                yield from _of_column(table.name, column)


def _of_column(table: str, column: "Column[Any]") -> Iterator[Check]:
    info = column.info
    yield _check("cdmField", table, column.name)
    yield _check("measureValueCompleteness", table, column.name, 100.0 if column.nullable else 0.0)
    if not column.nullable:
        yield _check("isRequired", table, column.name)
    if info["cdm_type"] == "integer":
        yield _check("cdmDatatype", table, column.name)
    if column.primary_key:
        yield _check("isPrimaryKey", table, column.name)
    if info["fk_table"]:
        parent = f"{info['fk_table'].lower()}.{info['fk_field'].lower()}"
        yield _check("isForeignKey", table, column.name, 0.0, parent)
    if info["fk_domain"]:
        yield _check("fkDomain", table, column.name, 0.0, info["fk_domain"])
    if info["fk_class"]:
        yield _check("fkClass", table, column.name, 0.0, info["fk_class"])
    if info["standard"]:
        yield _check("isStandardValidConcept", table, column.name)


def _check(name: str, table: str, field: str | None = None, threshold: float = 0.0, parameter: str = "") -> Check:
    level, category, subcategory, severity = KINDS[name]
    text = words()[name]
    return Check(
        check_id="_".join(part for part in (level, name, table, field) if part).replace(" ", "").lower(),
        check_name=name,
        level=level,
        table=table,
        field=field,
        category=category,
        subcategory=subcategory,
        severity=severity,
        threshold=threshold,
        gate=severity == "fatal",
        parameter=parameter,
        meaning=text["meaning"],
        advice=text["advice"],
    )


def _control(name: str) -> str:
    return files("etl.quality").joinpath("controls", name).read_text(encoding="utf-8")
