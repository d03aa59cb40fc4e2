"""The study's own checks: a YAML catalogue with two SQL numbers per check, owned by the data manager.

`study_checks.yaml` explains its form. The SQL is put together from the catalogue's own sets and views (as common table
expressions); a catalogue is trusted configuration, read from the project or named by the operator.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import yaml

from etl.cdm import TABLES
from etl.errors import SettingsError, did_you_mean
from etl.quality.catalogue import Check
from etl.quality.counting import Count, kind_of
from etl.quality.terms import Place

STUDY_CHECKS = Path(__file__).with_name("study_checks.yaml")
"""The catalogue of the blinatumomab study."""

_REQUIRED = ("id", "name", "why", "advice", "severity", "gate", "threshold", "table", "numerator", "denominator")
_SEVERITIES = ("fatal", "convention", "characterization")
_CATEGORY = "Study"


@dataclass(frozen=True)
class StudyCheck:
    """A check of the catalogue with its two queries."""

    check: Check
    numerator: str
    denominator: str


@dataclass(frozen=True)
class StudyCatalogue:
    """The checks, concept sets (vocabulary → codes) and views of one study."""

    checks: tuple[StudyCheck, ...]
    sets: Mapping[str, Mapping[str, tuple[str, ...]]]
    views: Mapping[str, str]


def load_catalogue(path: Path = STUDY_CHECKS) -> StudyCatalogue:
    """The catalogue in a YAML file. Raises SettingsError with every mistake found."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror})") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not YAML ({str(error).splitlines()[0]})") from None
    problems = _problems(content)
    if problems:
        raise SettingsError(f"{path}: this catalogue of checks cannot be used", problems=problems)
    sets = {
        name: {vocabulary: tuple(str(code) for code in codes) for vocabulary, codes in members.items()}
        for name, members in (content.get("sets") or {}).items()
    }
    checks = tuple(_study_check(entry) for entry in content.get("checks") or [])
    return StudyCatalogue(checks, sets, dict(content.get("views") or {}))


def count_study_checks(
    connection: duckdb.DuckDBPyConnection, place: Place, catalogue: StudyCatalogue
) -> tuple[dict[str, Count], dict[str, str]]:
    """The counts by check id, and why checks do not apply (missing tables, nothing to look at) by check id."""
    counts: dict[str, Count] = {}
    notes: dict[str, str] = {}
    empty_sets = _empty_sets(connection, place, catalogue)
    for one in catalogue.checks:
        check_id = one.check.check_id
        sql, used, tables = _query(one, place, catalogue)
        missing = sorted(table for table in tables if table not in place.columns)
        if missing:
            notes[check_id] = f"needs the table {', '.join(missing)}"
            continue
        counts[check_id] = _count(connection, sql)
        if counts[check_id].denominator == 0:
            unknown = sorted(used & empty_sets)
            notes[check_id] = (
                f"the vocabulary knows no concept of: {', '.join(unknown)}" if unknown else "nothing to look at"
            )
    return counts, notes


def _count(connection: duckdb.DuckDBPyConnection, sql: str) -> Count:
    try:
        row = connection.execute(sql).fetchone()
    except duckdb.Error as error:
        return Count(error=kind_of(error))
    assert row is not None, "a query without FROM gives one row"
    if row[0] is None or row[1] is None:
        return Count(error="the catalogue's SQL gave no number")
    return Count(int(row[0]), int(row[1]))


def _query(one: StudyCheck, place: Place, catalogue: StudyCatalogue) -> tuple[str, set[str], set[str]]:
    """The SQL of a check, the sets it uses and the CDM tables it reads."""
    body = f"SELECT ({one.numerator.strip()}), ({one.denominator.strip()})"
    used = _used(body, catalogue)
    parts = [(name, _set_sql(catalogue.sets[name], place)) for name in catalogue.sets if name in used]
    parts += [(name, catalogue.views[name]) for name in catalogue.views if name in used]
    text = body if not parts else f"WITH {', '.join(f'{name} AS ({sql.strip()})' for name, sql in parts)} {body}"
    tables = {table.lower() for table in re.findall(r"\{cdm\}\.(\w+)", text)}
    names = {table: place.of(table) for table in tables}
    sql = re.sub(r"\{cdm\}\.(\w+)", lambda found: names[found[1].lower()], text)
    sql = sql.replace("{today}", f"DATE '{place.today}'").replace("{{", "{").replace("}}", "}")
    return sql, used & set(catalogue.sets), tables


def _used(body: str, catalogue: StudyCatalogue) -> set[str]:
    """Every set and view that a text names, directly or through views."""
    known = set(catalogue.sets) | set(catalogue.views)
    found: set[str] = set()
    open_texts = [body]
    while open_texts:
        new = known.intersection(re.findall(r"\w+", open_texts.pop())) - found
        found |= new
        open_texts += [catalogue.views[name] for name in new if name in catalogue.views]
    return found


def _set_sql(members: Mapping[str, tuple[str, ...]], place: Place) -> str:
    vocabularies = {**members, "BLINA": tuple(code for codes in members.values() for code in codes)}
    condition = " OR ".join(
        f"(c.vocabulary_id = {_text(name)} AND c.concept_code IN ({', '.join(_text(code) for code in codes)}))"
        for name, codes in vocabularies.items()
    )
    own = f"SELECT c.concept_id FROM {{cdm}}.concept c WHERE {condition}"
    if "concept_ancestor" not in place.columns:
        return own
    below = f"SELECT a.descendant_concept_id FROM {{cdm}}.concept_ancestor a WHERE a.ancestor_concept_id IN ({own})"
    return f"{own} UNION {below}"


def _empty_sets(connection: duckdb.DuckDBPyConnection, place: Place, catalogue: StudyCatalogue) -> set[str]:
    if "concept" not in place.columns:
        return set(catalogue.sets)
    empty = set()
    for name, members in catalogue.sets.items():
        sql = re.sub(r"\{cdm\}\.(\w+)", lambda found: place.of(found[1]), _set_sql(members, place))
        row = connection.execute(f"SELECT count(*) FROM ({sql})").fetchone()
        if row is None or not row[0]:
            empty.add(name)
    return empty


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _study_check(entry: Mapping[str, Any]) -> StudyCheck:
    check = Check(
        check_id=f"study_{entry['id']}",
        check_name=entry["name"],
        level="STUDY",
        table=entry["table"],
        field=entry.get("field"),
        category=_CATEGORY,
        subcategory="",
        severity=entry["severity"],
        threshold=float(entry["threshold"]),
        gate=entry["gate"],
        meaning=entry["why"],
        advice=entry["advice"],
    )
    return StudyCheck(check, entry["numerator"], entry["denominator"])


def _problems(content: Any) -> list[str]:
    if not isinstance(content, dict):
        return ["the file must be a mapping with the keys sets, views, checks"]
    problems = [
        f"{key}: unknown{did_you_mean(str(key), ('sets', 'views', 'checks'))}"
        for key in content
        if key not in {"sets", "views", "checks"}
    ]
    seen: set[str] = set()
    names: set[str] = set()
    for number, entry in enumerate(content.get("checks") or [], start=1):
        place = f"checks[{number}]"
        if not isinstance(entry, dict):
            problems.append(f"{place}: must be a mapping")
            continue
        place = f"check {entry.get('id', number)}"
        problems += [f"{place}: {problem}" for problem in _entry_problems(entry)]
        if entry.get("id") in seen or entry.get("name") in names:
            problems.append(f"{place}: another check has this id or name")
        seen.add(str(entry.get("id")))
        names.add(str(entry.get("name")))
    return problems


def _entry_problems(entry: Mapping[str, Any]) -> list[str]:
    known = (*_REQUIRED, "field")
    problems = [f"{key}: missing" for key in _REQUIRED if key not in entry]
    problems += [f"{key}: unknown{did_you_mean(str(key), known)}" for key in entry if key not in known]
    if not re.fullmatch(r"[a-z][a-z0-9_]*", str(entry.get("id", ""))):
        problems.append("id: lower-case letters, digits and _ only")
    if entry.get("severity") not in _SEVERITIES:
        problems.append(f"severity: one of {', '.join(_SEVERITIES)}")
    if not isinstance(entry.get("gate"), bool):
        problems.append("gate: true or false")
    threshold = entry.get("threshold")
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 100:
        problems.append("threshold: a percentage from 0 to 100")
    if entry.get("table") not in TABLES:
        problems.append(f"table: not in the CDM{did_you_mean(str(entry.get('table')), tuple(TABLES))}")
    elif entry.get("field") and entry["field"] not in TABLES[entry["table"]].columns:
        problems.append(f"field: not a column of {entry['table']}")
    return problems
