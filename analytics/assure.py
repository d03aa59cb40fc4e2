"""The study's own examples: invented children, what was recorded of them, and what the study must make of it.

An example is YAML that a physician can read and correct (`studies/<study>/examples/*.yaml`). All examples are put into
one small CDM in memory and derived once; `expect` is then compared field by field.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from analytics.derive import Derived, derive
from analytics.example_records import about, problems_of, write_child
from analytics.invented import ZERO, Children
from analytics.study import Study
from etl.errors import StudyError, did_you_mean

LINES = {
    "file": pl.String, "example": pl.String, "field": pl.String, "expected": pl.String, "obtained": pl.String,
    "same": pl.Boolean,
}  # fmt: skip
EXPECTED = ("in_study", "patient", "courses", "windows", "days_since_chemo", "adverse_events", "events")
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Example:
    """One invented child: its name, where it stands, its records, and what is expected of it."""

    file: str
    name: str
    child: Mapping[str, Any]
    expect: Mapping[str, Any]


@dataclass(frozen=True)
class Assurance:
    """Every expected value beside the obtained one: columns `LINES`, one row per field."""

    lines: pl.DataFrame

    @property
    def holds(self) -> bool:
        """Whether every value is as expected."""
        return bool(self.lines["same"].all())

    @property
    def differing(self) -> pl.DataFrame:
        """The lines that are not as expected."""
        return self.lines.filter(~pl.col("same"))

    def words(self) -> str:
        """A line per difference, and the counts."""
        texts = [
            f"{row['file']}: {row['example']}: {row['field']}: expected {row['expected']}, obtained {row['obtained']}"
            for row in self.differing.iter_rows(named=True)
        ]
        n = self.lines.select("file", "example").n_unique()
        told = f"{n} examples, {self.lines.height} values: {self.lines['same'].sum()} as expected"
        return "\n".join([*texts, f"{told}, {len(texts)} not"])


def read_examples(folder: Path) -> list[Example]:
    """All examples of a folder's YAML files. Raises StudyError with every mistake found."""
    found: list[Example] = []
    problems: list[str] = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            problems.append(f"{path.name}: not YAML ({str(error).splitlines()[0]})")
            continue
        for entry in content.get("examples") or () if isinstance(content, Mapping) else ():
            found.append(
                Example(path.name, str(entry.get("name")), entry.get("child") or {}, entry.get("expect") or {})
            )
            problems += [f"{path.name}: {entry.get('name')}: {problem}" for problem in _wrong(entry)]
    names = [(one.file, one.name) for one in found]
    problems += [f"{file}: {name}: told twice" for file, name in sorted({one for one in names if names.count(one) > 1})]
    if not found:
        problems.append("no examples")
    if problems:
        raise StudyError(f"{folder}: these examples cannot be used", problems=problems)
    return found


def _wrong(entry: Mapping[str, Any]) -> list[str]:
    expect = entry.get("expect")
    problems = problems_of(entry.get("child", {}))
    problems += [f"an example has no {word!r}" for word in entry if word not in ("name", "child", "expect", "why")]
    if not isinstance(expect, Mapping) or not expect:
        return [*problems, "expects nothing"]
    return problems + [
        f"cannot expect {word!r}{did_you_mean(word, EXPECTED)}" for word in expect if word not in EXPECTED
    ]


def assure(study: Study, folder: Path | None = None) -> Assurance:
    """Runs the study's examples (by default those in its folder). Raises StudyError when one cannot be told."""
    examples = read_examples(folder or study.folder / "examples")
    children = Children(study)
    for one in examples:
        child = children.add(f"{one.file}: {one.name}", **about(one.child))
        try:
            write_child(child, one.child)
        except (KeyError, ValueError, TypeError) as error:
            raise StudyError(f"{one.file}: {one.name}: cannot be told ({error})") from None
    with children.cdm.in_memory() as cdm:
        derived = derive(cdm, study)
    lines = [
        (one.file, one.name, *line)
        for one in examples
        for line in _compared(one, children.numbers[f"{one.file}: {one.name}"], derived)
    ]
    return Assurance(pl.DataFrame(lines, schema=LINES, orient="row"))


_Line = tuple[str, str, str, bool]


def _compared(one: Example, person: int, derived: Derived) -> Iterator[_Line]:
    mine = pl.col("person_id") == person
    patients = derived.patients.filter(mine)
    expect = one.expect
    if "in_study" in expect:
        yield _line("in the study", expect["in_study"], patients.height == 1)
    if patients.is_empty():
        if expect.get("in_study", True):
            yield "patient", "in the study", "not in the study", False
        return
    yield from _fields("patient", expect.get("patient") or {}, patients)
    if "courses" in expect:
        extra = [name for name in derived.course_times.columns if name not in derived.courses.columns]
        times = derived.course_times.select("person_id", "course_no", *extra)
        courses = derived.courses.join(times, on=["person_id", "course_no"]).filter(mine).sort("course_no")
        yield _line("number of courses", len(expect["courses"]), courses.height)
        for number, told in enumerate(expect["courses"], start=1):
            yield from _fields(f"course {number}", told, courses.filter(pl.col("course_no") == number))
    windows = derived.lab_windows.filter(mine)
    yield from _windows(expect.get("windows"), windows, "value")
    recent = windows.filter(pl.col("days_since_chemo").is_not_null())
    yield from _windows(expect.get("days_since_chemo"), recent, "days_since_chemo")
    yield from _adverse_events(expect.get("adverse_events"), derived.adverse_events.filter(mine))
    if "events" in expect:
        events = derived.events.filter(mine & (pl.col("label") == "outcome")).sort("day", "event")
        got = [f"{event} on day {day}" for event, day in events.select("event", "day").iter_rows()]
        yield _line("events", "; ".join(expect["events"]) or "none", "; ".join(got) or "none")


def _fields(where: str, told: Mapping[str, Any], rows: pl.DataFrame) -> Iterator[_Line]:
    for field, expected in told.items():
        if field not in rows.columns:
            yield f"{where}, {field}", _text(expected), f"no such field{did_you_mean(field, rows.columns)}", False
        elif rows.is_empty():
            yield f"{where}, {field}", _text(expected), "not there", False
        else:
            yield _line(f"{where}, {field}", expected, rows[field][0])


def _windows(told: object, rows: pl.DataFrame, column: str) -> Iterator[_Line]:
    """`told` names every window of course 1 ("CD3 pre") or another ("CD3 pre, course 2"), and what a column holds."""
    if not isinstance(told, Mapping):
        return
    got: dict[str, Any] = {}
    for row in rows.sort("course_no", "analyte", "window").iter_rows(named=True):
        name = f"{row['analyte']} {row['window']}" + (f", course {row['course_no']}" if row["course_no"] > 1 else "")
        operator = row["operator"] if row["operator"] in ("<", ">", "<=", ">=") else None
        got[name] = f"{operator}{row['value']:g}" if operator and column == "value" else row[column]
    suffix = "" if column == "value" else f", {column}"
    for name in sorted({*told, *got}):
        yield _line(f"window {name}{suffix}", told.get(name), got.get(name))


def _adverse_events(told: object, rows: pl.DataFrame) -> Iterator[_Line]:
    """`adverse_events` names events of course 1: the grade, 0 for none, `ungraded`, or null for not recorded."""
    if not isinstance(told, Mapping):
        return
    first = rows.filter(pl.col("course_no") == 1).select("event", "occurred", "grade").iter_rows()
    got = {event: "ungraded" if occurred and grade is None else grade for event, occurred, grade in first}
    for event, expected in told.items():
        if event not in got:
            yield f"adverse event {event}", _text(expected), f"no such event{did_you_mean(event, list(got))}", False
        else:
            yield _line(f"adverse event {event}", expected, got[event])


def _line(field: str, expected: object, obtained: object) -> _Line:
    if isinstance(obtained, date) and isinstance(expected, int) and not isinstance(expected, bool):
        expected = ZERO + timedelta(days=expected)  # dates are told as days from the first bag
    if isinstance(expected, int | float) and isinstance(obtained, int | float):
        return field, _text(expected), _text(obtained), abs(expected - obtained) <= TOLERANCE
    return field, _text(expected), _text(obtained), expected == obtained


def _text(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, date):
        return f"day {(value - ZERO).days}"
    return f"{value:g}" if isinstance(value, float) else str(value) or "nothing written"
