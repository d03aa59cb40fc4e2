"""A reviewed worklist goes back into the code maps: `mappings/sites/<site>/codes/source_to_concept_map.csv`.

Only rows that a person has set to APPROVED are taken. The approved targets of a source code are all it has: rows of the
same code with other targets go. What stands beside (units, withdrawn rows, other codes) stays as it is.
"""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import unquote

import duckdb

from etl.errors import MappingError, UsageError, did_you_mean
from etl.mapping.worklist import INFO, unguarded
from etl.store.reading import reading
from etl.vocabulary import load_vocabulary, normalise_code, shipped_folder
from etl.vocabulary.scratch import scratch_database
from etl.vocabulary.source_to_concept_map import COLUMNS

FILE = "codes/source_to_concept_map.csv"
STATUSES = ("APPROVED", "UNCHECKED", "AUTO_MAPPED", "AUTO_MAPPED_TO_1", "FLAGGED", "IGNORED", "INVALID_TARGET")
_TO_A_CONCEPT = ("MAPS_TO", "EVENT")  # the word depends on the version of Usagi
_NEEDED = ("sourceCode", "mappingStatus", "conceptId")
_VALID = ("1970-01-01", "2099-12-31")

Target = tuple[str, str]
"""Vocabulary and code of a target concept."""


@dataclass(frozen=True)
class Accepted:
    """What `accept` did: the file, rows added, rows that were there already, rows replaced, rows not approved."""

    file: Path
    added: int
    present: int
    replaced: int
    not_approved: int


@dataclass(frozen=True)
class _Approved:
    place: str
    vocabulary: str
    code: str
    name: str
    concept_id: int
    reviewed_by: str
    reviewed_on: str


def accept(
    reviewed: Path, site: str, *, database: str | None = None, vocabulary: Sequence[Path] = (),
    mappings: Path | None = None, reviewer: str = "",
) -> Accepted:  # fmt: skip
    """Takes the approved rows of a file that Usagi saved into the site's code map; the same file twice changes nothing.

    The targets are looked up in the vocabulary of `database` or, without one, in the Athena folders `vocabulary`.
    `reviewer` signs rows in which Usagi noted nobody. Raises MappingError with every fault as file:line, and then
    writes nothing.
    """
    folder = mappings or shipped_folder().parent
    rows, left, problems = _read(reviewed, site, reviewer)
    targets, faults = _targets(rows, database, vocabulary)
    problems += faults
    if problems:
        raise MappingError(f"{reviewed}: nothing was taken over", problems=problems)
    file = folder / "sites" / site / FILE
    if not rows:
        return Accepted(file, 0, 0, 0, left)
    header, present = _present(file)
    merged, counts = _merge(present, rows, targets)
    _write(file, header, merged)
    return Accepted(file, *counts, left)


def _read(path: Path, site: str, reviewer: str) -> tuple[list[_Approved], int, list[str]]:
    """The approved rows of this site, how many are not approved, and the faults."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            # Usagi puts a backslash before a quotation mark, a spreadsheet doubles it; the worklist has neither.
            reader = csv.DictReader(lines, escapechar="\\")
            header = reader.fieldnames or []
            missing = [name for name in _NEEDED if name not in header]
            if missing:
                return [], 0, [f"{path}:1: column {name} is missing{did_you_mean(name, header)}" for name in missing]
            numbered = [
                (reader.line_num, {key: (value or "").strip() for key, value in row.items() if key}) for row in reader
            ]
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise MappingError(f"{path}: not UTF-8") from None
    rows, problems, left = [], [], 0
    for line, row in numbered:
        if row.get(f"{INFO}site", "") not in {"", site}:
            continue
        status = row["mappingStatus"].upper()
        if status not in STATUSES:
            problems.append(f"{path}:{line}: mappingStatus {status!r} is unknown{did_you_mean(status, STATUSES)}")
        elif status == "APPROVED":
            approved, faults = _approved(f"{path}:{line}", row, site, reviewer)
            problems += faults
            rows.append(approved)
        else:
            left += 1
    return rows, left, problems


def _approved(place: str, row: dict[str, str], site: str, reviewer: str) -> tuple[_Approved, list[str]]:
    exact = unquote(row.get(f"{INFO}exactCode", ""))
    code = normalise_code(exact or unguarded(row["sourceCode"]))
    signed = row.get("statusSetBy") or reviewer
    day, concept_id = _day(row.get("statusSetOn", "")), row["conceptId"]
    kind = row.get("mappingType") or "MAPS_TO"
    faults = [
        fault
        for wrong, fault in (
            (not code, "sourceCode is empty"),
            (not signed, "nobody signed it: statusSetBy is empty, and no reviewer was named"),
            (not concept_id.isdigit() or concept_id == "0", f"conceptId {concept_id!r} is no concept"),
            (kind not in _TO_A_CONCEPT, f"mappingType {kind}: only MAPS_TO can be taken over; write this row by hand"),
        )
        if wrong
    ]
    number = int(concept_id) if concept_id.isdigit() else 0
    home = row.get(f"{INFO}sourceVocabulary") or f"BLINA_{site}"
    name = unguarded(row.get("sourceName", ""))
    return _Approved(place, home, code, name, number, signed, day), [f"{place}: {fault}" for fault in faults]


def _day(text: str) -> str:
    """The day of a review: Usagi writes milliseconds since 1970, people write dates; without one it is today."""
    if text.isdigit() and int(text) > 0:
        return datetime.fromtimestamp(int(text) / 1000, UTC).date().isoformat()
    try:
        return date.fromisoformat(text[:10]).isoformat()
    except ValueError:
        return datetime.now(UTC).date().isoformat()


@contextmanager
def _concepts(database: str | None, vocabulary: Sequence[Path]) -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
    if database is not None:
        with reading(database) as connection:
            yield connection, "cdm.concept"
        return
    with scratch_database() as connection:
        load_vocabulary(connection, [*vocabulary, shipped_folder()])
        yield connection, "vocab.concept"


def _targets(
    rows: list[_Approved], database: str | None, vocabulary: Sequence[Path]
) -> tuple[dict[int, Target], list[str]]:
    """Vocabulary and code of every approved concept; a fault for each that is unknown, retired or not standard."""
    wanted = sorted({row.concept_id for row in rows})
    with _concepts(database, vocabulary) as (connection, table):
        found = connection.execute(
            f"SELECT concept_id, vocabulary_id, concept_code, standard_concept, invalid_reason FROM {table} "
            "WHERE list_contains(?, concept_id)",
            [wanted],
        ).fetchall()
    targets = {number: (home, code) for number, home, code, standard, bad in found if standard == "S" and not bad}
    known = {number for number, *_ in found}
    problems = []
    for row in rows:
        if row.concept_id and row.concept_id not in targets:
            retired = any(number == row.concept_id and bad for number, *_, bad in found)
            why = "no longer valid" if retired else "no standard concept"
            why = why if row.concept_id in known else "not in the loaded vocabulary"
            problems.append(f"{row.place}: concept {row.concept_id} is {why}")
    return targets, problems


def _present(file: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The columns to write and the rows of the site's code map as it is."""
    columns = [*COLUMNS, "reviewed_by", "reviewed_on"]
    if not file.is_file():
        return columns, []
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        rows = [{key: value or "" for key, value in row.items() if key} for row in reader]
        return list(dict.fromkeys([*columns, *(reader.fieldnames or [])])), rows


def _merge(
    present: list[dict[str, str]], rows: list[_Approved], targets: dict[int, Target]
) -> tuple[list[dict[str, str]], tuple[int, int, int]]:
    """The rows of the file afterwards, and how many were added, were there, and were replaced."""
    approved = {(row.vocabulary, row.code, *targets[row.concept_id]): row for row in rows}
    reviewed = {(row.vocabulary, row.code) for row in rows}
    units = {_source(row): row.get("unit_default", "") for row in present if not row.get("invalid_reason")}
    kept, there, replaced = [], set(), 0
    for row in present:
        key = (*_source(row), row.get("target_vocabulary_id", ""), row.get("target_concept_code", ""))
        if row.get("invalid_reason") or _source(row) not in reviewed:
            kept.append(row)
        elif key in approved:
            there.add(key)
            kept.append(row | _signature(approved[key]))
        else:
            replaced += 1
    new = [_map_row(row, key[2:], units) for key, row in approved.items() if key not in there]
    return [*kept, *new], (len(new), len(there), replaced)


def _source(row: dict[str, str]) -> tuple[str, str]:
    return row.get("source_vocabulary_id", ""), normalise_code(row.get("source_code", ""))


def _signature(row: _Approved) -> dict[str, str]:
    return {"reviewed_by": row.reviewed_by, "reviewed_on": row.reviewed_on}


def _map_row(row: _Approved, target: Sequence[str], units: dict[tuple[str, str], str]) -> dict[str, str]:
    # The target's id stays empty: it is looked up by vocabulary and code in whichever release is loaded.
    return _signature(row) | {
        "source_code": row.code,
        "source_concept_id": "0",
        "source_vocabulary_id": row.vocabulary,
        "source_code_description": row.name,
        "target_vocabulary_id": target[0],
        "target_concept_code": target[1],
        "unit_default": units.get((row.vocabulary, row.code), ""),
        "valid_start_date": _VALID[0],
        "valid_end_date": _VALID[1],
    }


def _write(file: Path, header: list[str], rows: list[dict[str, str]]) -> None:
    """Writes the whole file, sorted, through a file beside it: a crash leaves the old one."""
    order = ("source_vocabulary_id", "source_code", "invalid_reason", "target_vocabulary_id", "target_concept_code")
    ordered = sorted(rows, key=lambda row: tuple(row.get(name, "") for name in order))
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.new")
    with beside.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, header, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(ordered)
    beside.replace(file)
