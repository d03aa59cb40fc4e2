"""Mappings side by side: one resource's merged file with where each line comes from, and two folders' differences.

A named condition that means something else is told at each entry that says its name, too.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from etl.errors import MappingError, did_you_mean
from etl.mapping.conditions import Conditions, conditions_of, read_conditions, spelt_out
from etl.mapping.files import MappingFile, Tree, read_mapping_files
from etl.vocabulary import shipped_folder

_ENTRIES = frozenset({"conditions", "fields", "concepts", "columns"})
"""Keys below which one entry is shown on one line."""
_ONE_LINE = 1_000_000


@dataclass(frozen=True)
class _Entry:
    """An entry as the file writes it, and what each named condition in it is."""

    shown: str
    conditions: tuple[tuple[str, str], ...] = ()

    def changed(self, after: "_Entry") -> str:
        """How it reads before and after; of equal words, which condition makes the difference."""
        if self.shown != after.shown:
            return f"{self.shown} → {after.shown}"
        names = dict.fromkeys(name for name, _ in sorted({*self.conditions} ^ {*after.conditions}))
        return f"{self.shown} (through {', '.join(f'%{name}' for name in names)})"


def show_mapping(resource: str, site: str | None = None, folder: Path | None = None) -> str:
    """The mapping of a resource type (`Observation` or `observation`) as it holds for a site: key, value, from.

    Without a site, or for one that overrides nothing, it is the base file. Raises MappingError for a resource without
    mapping and for files that cannot be read.
    """
    found = _find(resource, site, folder or shipped_folder().parent)
    rows = [(key, value, _place(found, key)) for key, value in flatten(found.content).items()]
    width = min(max(len(key) for key, _, _ in rows), 60)
    last = max(len(place) for _, _, place in rows)
    return "\n".join(
        [
            f"{'from':<{last}}  {'key':<{width}}  value",
            *(f"{at:<{last}}  {key:<{width}}  {value}" for key, value, at in rows),
        ]
    )


def diff_mappings(folder_a: Path, folder_b: Path) -> list[str]:
    """What differs between two mappings folders, a line each: "- old", "+ new", "~ changed", by file and key."""
    before, after = _everything(folder_a), _everything(folder_b)
    lines = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old is None:
            lines.append(f"+ {key}: {after[key].shown}")
        elif new is None:
            lines.append(f"- {key}: {old.shown}")
        elif old != new:
            lines.append(f"~ {key}: {old.changed(new)}")
    return lines


def flatten(content: Tree) -> dict[str, str]:
    """A mapping file by dotted key; a column, field or concept is one entry, a list one per item, from 1."""
    return {key: _shown(value) for key, value in _leaves(content, ())}


def _leaves(node: Any, above: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    one_line = len(above) >= 2 and above[-2] in _ENTRIES
    if isinstance(node, dict) and node and not one_line:
        for key, value in node.items():
            yield from _leaves(value, (*above, str(key)))
    elif isinstance(node, list) and any(isinstance(one, dict) for one in node) and not one_line:
        for number, value in enumerate(node, 1):
            yield ".".join((*above, str(number))), value
    else:
        yield ".".join(above), node


def _shown(value: Any) -> str:
    """As the file writes it, on one line."""
    if not isinstance(value, dict | list):
        return str(value).lower() if isinstance(value, bool) else str(value)
    return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=_ONE_LINE).strip()


def _find(resource: str, site: str | None, folder: Path) -> MappingFile:
    problems: list[str] = []
    files = read_mapping_files(folder, problems)
    if problems:
        raise MappingError(f"{folder}: the mapping files cannot be used", problems=problems)
    known = {one.path.stem: one for one in files if one.site is None}
    by_name = known | {one.resource: one for one in known.values()}
    if resource not in by_name:
        raise MappingError(f"{resource}: no mapping file{did_you_mean(resource, list(by_name))}")
    base = by_name[resource]
    return next((one for one in files if site and one.site == site and one.resource == base.resource), base)


def _place(file: MappingFile, key: str) -> str:
    keys = [str(int(one) - 1) if one.isdecimal() else one for one in key.split(".")]
    above = (file.places.get(".".join(keys[:length])) for length in range(len(keys), 0, -1))
    return next((place for place in above if place), file.path.name)


def _entry(value: Any, known: Conditions) -> _Entry:
    named = ((one.name, spelt_out(one.path, known)) for one in conditions_of(value, known))
    return _Entry(_shown(value), tuple(sorted(named)))


def _everything(folder: Path) -> dict[str, _Entry]:
    """Every entry of the mapping files, code lists and code maps of a folder."""
    problems: list[str] = []
    entries = {
        f"{f'sites/{one.site}/' if one.site else ''}{one.path.name} {key}": _entry(value, known)
        for one in read_mapping_files(folder, problems)
        for known in [read_conditions(one.content.get("conditions"))]
        for key, value in _leaves(one.content, ())
    }
    if problems:
        raise MappingError(f"{folder}: the mapping files cannot be used", problems=problems)
    for path in sorted([*folder.glob("codes/*.csv"), *folder.glob("sites/*/codes/*.csv")]):
        entries |= {key: _Entry(value) for key, value in _listed(path, path.relative_to(folder).as_posix()).items()}
    return entries


def _listed(path: Path, shown: str) -> dict[str, str]:
    """The rows of a code list; a code that stands several times (several targets) is one entry."""
    rows: dict[str, list[str]] = {}
    with path.open(encoding="utf-8-sig", newline="") as lines:
        for row in csv.DictReader(lines):
            values = ", ".join(f"{name}={value}" for name, value in row.items() if value and name != "source_code")
            rows.setdefault(f"{shown} {row.get('source_code')!r}", []).append(values)
    return {key: "; ".join(sorted(values)) for key, values in rows.items()}
