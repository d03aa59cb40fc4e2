"""What the project and its sites say about codes: source_to_concept_map files into `vocab.code_map`.

`codes/source_to_concept_map*.csv` below the mappings folder hold for every site, those below `sites/<SITE>`
for one. They have the columns of OMOP's table plus `target_concept_code` and `unit_default`. Targets are found by
(target_vocabulary_id, target_concept_code) in the loaded vocabulary, because ids are expectations and codes are facts.
"""

import csv
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb

from etl.errors import MappingError, did_you_mean
from etl.store.work import insert_rows
from etl.vocabulary.meanings import find_meanings

FILES = "codes/source_to_concept_map*.csv"

COLUMNS = (
    "source_code",
    "source_concept_id",
    "source_vocabulary_id",
    "source_code_description",
    "target_vocabulary_id",
    "target_concept_code",
    "target_concept_id",
    "unit_default",
    "valid_start_date",
    "valid_end_date",
    "invalid_reason",
)
_REQUIRED = ("source_code", "source_vocabulary_id", "target_vocabulary_id")
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_EXPONENT = re.compile(r"(?<=\d)[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+")
_CDM_LENGTH = 50  # characters of source_code in OMOP's own table
_ALWAYS = (date(1970, 1, 1), date(2099, 12, 31))


@dataclass(frozen=True)
class Unresolved:
    """A target that the loaded vocabulary does not have as a valid standard concept; the code maps to 0."""

    place: str
    source_vocabulary_id: str
    source_code: str
    target_vocabulary_id: str
    target_concept_code: str
    reason: str

    def __str__(self) -> str:
        target = f"{self.target_vocabulary_id} {self.target_concept_code}"
        return f"{self.place}: {self.source_vocabulary_id} {self.source_code!r} → {target}: {self.reason}"


@dataclass(frozen=True)
class CodeMaps:
    """How many rows were loaded, and which targets the vocabulary does not have."""

    rows: int
    unresolved: tuple[Unresolved, ...]


@dataclass(frozen=True)
class _Row:
    place: str
    site: str
    values: dict[str, str]
    start: date
    end: date
    ordinal: int = 1


def normalise_code(text: str) -> str:
    """The form in which a code, text or unit is looked up: NFKC (full-width digits become plain ones), trimmed.

    Raised exponents become `10^9` first: NFKC alone would make 10⁹/L the number 109.
    """
    plain = _EXPONENT.sub(lambda found: "^" + found.group().translate(_RAISED), text)
    return unicodedata.normalize("NFKC", plain).strip()


def load_code_maps(connection: duckdb.DuckDBPyConnection, mappings: Path, sites: Sequence[str]) -> CodeMaps:
    """The maps of the project and of `sites`, loaded into `vocab.code_map` and `vocab.source_to_concept_map`.

    `mappings` is the mappings folder. `vocab.code_map` has one row per (site, source_vocabulary_id, source_code,
    target); `site` is '' for the project's own rows, `ordinal` the order within one source code. Call after
    `load_vocabulary`. Raises MappingError with every fault of every file, as file:line.
    """
    problems: list[str] = []
    rows: list[_Row] = []
    folders = [("", mappings), *((site, mappings / "sites" / site) for site in sites)]
    for site, path in [(site, path) for site, folder in folders for path in sorted(folder.glob(FILES))]:
        found, faults = _read(path, site)
        rows += found
        problems += faults
    if problems:
        raise MappingError("the code maps cannot be used", problems=problems)
    rows = _once(rows)
    _create(connection)
    unresolved = _insert(connection, rows)
    return CodeMaps(len(rows), tuple(unresolved))


def _read(path: Path, site: str) -> tuple[list[_Row], list[str]]:
    """The valid rows of one file and its faults."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            header = reader.fieldnames or []
            problems = [
                f"{path}:1: column {name} is missing{did_you_mean(name, header)}"
                for name in (*_REQUIRED, "target_concept_code")
                if name not in header
            ]
            problems += [
                f"{path}:1: unknown column {name}{did_you_mean(name, COLUMNS)}"
                for name in header
                if name not in (*COLUMNS, "reviewed_by", "reviewed_on", "comment")
            ]
            if problems:
                return [], problems
            numbered = [(reader.line_num, {key: (value or "").strip() for key, value in row.items() if key})
                        for row in reader]  # fmt: skip
    except UnicodeDecodeError:
        return [], [f"{path}: not UTF-8"]
    return _check(path, site, numbered)


def _check(path: Path, site: str, numbered: list[tuple[int, dict[str, str]]]) -> tuple[list[_Row], list[str]]:
    rows: list[_Row] = []
    problems: list[str] = []
    seen: dict[tuple[str, ...], int] = {}
    for line, values in numbered:
        if values.get("invalid_reason"):
            continue  # withdrawn by its author; kept in the file for the record
        values["source_code"] = normalise_code(values["source_code"])
        place = f"{path}:{line}"
        faults, start, end = _faults(values)
        key = (
            values["source_vocabulary_id"],
            values["source_code"],
            values["target_vocabulary_id"],
            values["target_concept_code"],
            values.get("unit_default", ""),
        )
        if key in seen:
            faults.append(f"the same row as line {seen[key]}")
        seen.setdefault(key, line)
        problems += [f"{place}: {fault}" for fault in faults]
        rows.append(_Row(place, site, values, start, end))
    return rows, problems


def _faults(values: dict[str, str]) -> tuple[list[str], date, date]:
    faults = [f"{name} is empty" for name in _REQUIRED if not values[name]]
    if not values["target_concept_code"] and not values.get("target_concept_id", "").isdigit():
        faults.append("neither target_concept_code nor target_concept_id")
    days = list(_ALWAYS)
    for slot, name in enumerate(("valid_start_date", "valid_end_date")):
        text = values.get(name, "")
        try:
            days[slot] = _day(text) if text else _ALWAYS[slot]
        except ValueError:
            faults.append(f"{name} is no date (YYYY-MM-DD)")
    return faults, days[0], days[1]


def _day(text: str) -> date:
    return date.fromisoformat(text) if "-" in text else datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007  a day


def _once(rows: list[_Row]) -> list[_Row]:
    """Each (site, source, target) once, wherever it is said, numbered within its source code."""
    kept: dict[tuple[str, ...], _Row] = {}
    for row in rows:
        values = row.values
        kept.setdefault((row.site, values["source_vocabulary_id"], values["source_code"], *_target_key(values)), row)
    numbers: dict[tuple[str, str, str], int] = {}
    numbered = []
    for row in kept.values():
        source = (row.site, row.values["source_vocabulary_id"], row.values["source_code"])
        numbers[source] = numbers.get(source, 0) + 1
        numbered.append(replace(row, ordinal=numbers[source]))
    return numbered


def _create(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(
        """CREATE OR REPLACE TABLE vocab.code_map (
             site VARCHAR, source_vocabulary_id VARCHAR, source_code VARCHAR, description VARCHAR,
             target_concept_id INTEGER, target_vocabulary_id VARCHAR, target_concept_code VARCHAR,
             unit_default VARCHAR, ordinal INTEGER)"""
    )
    connection.execute(
        """CREATE OR REPLACE TABLE vocab.source_to_concept_map (
             source_code VARCHAR, source_concept_id INTEGER, source_vocabulary_id VARCHAR,
             source_code_description VARCHAR, target_concept_id INTEGER, target_vocabulary_id VARCHAR,
             valid_start_date DATE, valid_end_date DATE, invalid_reason VARCHAR)"""
    )


def _insert(connection: duckdb.DuckDBPyConnection, rows: list[_Row]) -> list[Unresolved]:
    """Fills both tables; gives the rows whose target, or whose unit_default, is no valid standard concept."""
    targets = _targets(connection, rows)
    maps: list[list[object]] = []
    omop: list[list[object]] = []
    unresolved: list[Unresolved] = []
    for row in rows:
        values = row.values
        concept_id, reason = targets[_target_key(values)]
        if reason:
            unresolved.append(_unresolved(row, values["target_vocabulary_id"], values["target_concept_code"], reason))
        unit = values.get("unit_default") or None
        if unit and targets[("UCUM", unit, "")][1]:
            unresolved.append(_unresolved(row, "UCUM", unit, targets[("UCUM", unit, "")][1]))
        code, description = values["source_code"], values.get("source_code_description") or None
        code_map = [row.site, values["source_vocabulary_id"], code, description, concept_id]
        maps.append([*code_map, values["target_vocabulary_id"], values["target_concept_code"], unit, row.ordinal])
        source_id = int(values.get("source_concept_id") or 0)
        omop.append([code[:_CDM_LENGTH], source_id, values["source_vocabulary_id"], description, concept_id,
                     values["target_vocabulary_id"], row.start, row.end, None])  # fmt: skip
    insert_rows(connection, "vocab.code_map", maps)
    insert_rows(connection, "vocab.source_to_concept_map", omop)
    return unresolved


def _unresolved(row: _Row, vocabulary: str, code: str, reason: str) -> Unresolved:
    return Unresolved(
        row.place, row.values["source_vocabulary_id"], row.values["source_code"], vocabulary, code, reason
    )


def _target_key(values: dict[str, str]) -> tuple[str, str, str]:
    """By code where there is one: an id written beside it may be that of another release."""
    code = values["target_concept_code"]
    return (values["target_vocabulary_id"], code, "" if code else values.get("target_concept_id", ""))


def _targets(connection: duckdb.DuckDBPyConnection, rows: list[_Row]) -> dict[tuple[str, str, str], tuple[int, str]]:
    """For each wanted (vocabulary, code, id): the concept id and '', or 0 and the reason."""
    wanted = {_target_key(row.values) for row in rows}
    wanted |= {("UCUM", row.values["unit_default"], "") for row in rows if row.values.get("unit_default")}
    if not wanted:
        return {}
    connection.execute("CREATE OR REPLACE TEMP TABLE wanted (vocabulary_id VARCHAR, concept_code VARCHAR, id VARCHAR)")
    insert_rows(connection, "wanted", sorted(wanted))
    by_code = "FROM wanted WHERE concept_code != ''"
    find_meanings(connection, f"SELECT vocabulary_id, concept_code {by_code}", "wanted_meanings")
    hits = connection.execute(
        f"""SELECT vocabulary_id, concept_code, id, own_id, own_standard, own_invalid
            FROM (SELECT * {by_code}) LEFT JOIN wanted_meanings USING (vocabulary_id, concept_code)
            UNION ALL
            SELECT w.vocabulary_id, w.concept_code, w.id, c.concept_id, c.standard_concept, c.invalid_reason
            FROM wanted w LEFT JOIN vocab.concept c ON c.vocabulary_id = w.vocabulary_id
             AND c.concept_id = TRY_CAST(w.id AS INTEGER) WHERE w.concept_code = ''"""
    ).fetchall()
    # Vocabulary None says on purpose that there is no concept: a panel's heading, a word without meaning.
    return {
        (vocabulary, code, given): (0, "") if vocabulary == "None" else _verdict(hit)
        for vocabulary, code, given, *hit in hits
    }


def _verdict(hit: list[Any]) -> tuple[int, str]:
    concept_id, standard, invalid = hit
    if concept_id is None:
        return 0, "not in the loaded vocabulary"
    if invalid:
        return 0, "no longer valid"
    if standard != "S":
        return 0, "not a standard concept"
    return concept_id, ""
