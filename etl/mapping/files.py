"""The mapping files as they are written: YAML with the line of every key, and a site's overrides laid over the base.

Merging is by key, never by list position: a mapping is merged into a mapping, a site's `skip`, `reject` and
`departs_from` entries go before the base file's (they are looked at first), anything else is replaced.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from etl.errors import did_you_mean
from etl.mapping import modifiers

Tree = dict[str, Any]

Loader: type[yaml.SafeLoader] | type[yaml.CSafeLoader] = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
"""libyaml reads ten times as fast as PyYAML's own reader, and gives the same lines."""

_BY_ENTRY = frozenset({"conditions", "fields", "concepts", "rules", "columns"})
"""Keys below which each entry counts as one thing that a site changes."""
_KINDS: dict[str, tuple[type, str]] = {
    "conditions": (dict, "a mapping of names"),
    "fields": (dict, "a mapping of names"),
    "concepts": (dict, "a mapping of names"),
    "rules": (dict, "a mapping of rule names"),
    "columns": (dict, "a mapping of column names"),
    "skip": (list, "a list of {when, reason}"),
    "reject": (list, "a list of {when, reason}"),
    "report": (list, "a list of {when, reason}"),
    "require": (list, "a list of field names"),
    "departs_from": (list, "a list of {rule, what, why}"),
}
_VERBS = frozenset(
    "path first_of reference follow referred_by field value text text_of first row_of when_set when plus_days".split()
)
_LIST_KEYS = {
    "skip": ("when", "reason"),
    "reject": ("when", "reason"),
    "report": ("when", "reason"),
    "departs_from": ("rule", "what", "why"),
}


@dataclass(frozen=True)
class MappingFile:
    """One resource type's mapping as written: `places` has "file:line" for each dotted key; `site` None = base."""

    content: Tree
    places: dict[str, str]
    path: Path
    site: str | None = None

    @property
    def resource(self) -> str:
        """The FHIR resource type."""
        return str(self.content["resource"])


def read_mapping_files(folder: Path, problems: list[str]) -> list[MappingFile]:
    """The base files of a mappings folder, then the sites' merged ones. Faults of form are added to `problems`."""
    base: dict[str, MappingFile] = {}
    for path in sorted((folder / "resources").glob("*.yaml")):
        content, places = _read(path, path.name, problems)
        if content and _well_formed(content, places, path.name, problems):
            base[path.stem] = MappingFile(content, places, path)
    _refuse_doubled_types(base, problems)
    overrides = [path for path in sorted((folder / "sites").glob("*/*.yaml")) if path.name != modifiers.FILE]
    merged = [_merged(path, base, problems) for path in overrides]
    files = [*base.values(), *(one for one in merged if one)]
    by_site = {
        path.parent.name: _registry(path, f"{path.parent.name}/{path.name}", problems)
        for path in sorted((folder / "sites").glob(f"*/{modifiers.FILE}"))
    }
    return modifiers.spread(files, _registry(folder / modifiers.FILE, modifiers.FILE, problems), by_site, problems)


def _registry(path: Path, shown: str, problems: list[str]) -> modifiers.Registry:
    """The modifier extensions that a file declares as understood; none where there is no such file."""
    content, places = _read(path, shown, problems) if path.exists() else ({}, {})
    return modifiers.read_registry(content, places, shown, problems)


def _read(path: Path, shown: str, problems: list[str]) -> tuple[Tree, dict[str, str]]:
    """The content of a YAML file and the place of each of its keys; nothing where it is no YAML mapping."""
    try:
        loader = Loader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        # Before the values are made of the nodes: that takes `<<` out of them.
        places = dict(_places(node, (), shown, problems)) if isinstance(node, yaml.MappingNode) else {}
        content = loader.construct_document(node) if places else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problems.append(f"{shown}:{mark.line + 1 if mark else '?'}: {getattr(error, 'problem', 'not YAML')}")
        return {}, {}
    except (UnicodeDecodeError, OSError) as error:
        problems.append(f"{shown}:1: cannot be read ({type(error).__name__})")
        return {}, {}
    if not isinstance(content, dict):
        problems.append(f"{shown}:1: must be a mapping")
        return {}, {}
    return content, places


def _places(node: yaml.Node, above: tuple[str, ...], shown: str, problems: list[str]) -> Iterator[tuple[str, str]]:
    if isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            keys = (*above, str(number))
            yield ".".join(keys), f"{shown}:{value.start_mark.line + 1}"
            yield from _places(value, keys, shown, problems)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        keys = (*above, str(key.value))
        if key.value in seen:
            problems.append(f"{shown}:{key.start_mark.line + 1}: {'.'.join(keys)} stands twice")
        seen.add(key.value)
        yield ".".join(keys), f"{shown}:{key.start_mark.line + 1}"
        yield from _places(value, keys, shown, problems)


def _well_formed(content: Tree, places: dict[str, str], shown: str, problems: list[str], *, base: bool = True) -> bool:
    """Whether everything has the kind (mapping, list) that it must have, so that it can be read at all."""
    faults: list[str] = []
    if base and not isinstance(content.get("resource"), str):
        faults.append(f"{shown}:1: resource: the FHIR resource type is missing")
    _check_kinds(content, (), places, shown, faults)
    problems += faults
    return not faults


def _check_kinds(content: Tree, above: tuple[str, ...], places: dict[str, str], shown: str, faults: list[str]) -> None:
    for key, value in content.items():
        keys = (*above, str(key))
        place = places.get(".".join(keys), f"{shown}:1")
        kind = _KINDS.get(str(key))
        if kind and value is not None and not isinstance(value, kind[0]):
            faults.append(f"{place}: {'.'.join(keys)}: must be {kind[1]}")
        elif isinstance(value, dict) and str(key) in _BY_ENTRY - {"columns"} and kind:
            for name, entry in value.items():
                if isinstance(entry, dict):
                    _check_kinds(entry, (*keys, str(name)), places, shown, faults)
                else:
                    where = places.get(".".join((*keys, str(name))), place)
                    such = "{is: …, why: …}" if key == "conditions" else "{path: …}"
                    faults.append(f"{where}: {'.'.join((*keys, str(name)))}: must be a mapping, such as {such}")
        elif isinstance(value, list) and str(key) in _LIST_KEYS and kind:
            for number, entry in enumerate(value):
                lacking = [one for one in _LIST_KEYS[key] if not isinstance(entry, dict) or one not in entry]
                if lacking:
                    where = places.get(".".join((*keys, str(number))), place)
                    faults.append(f"{where}: {'.'.join(keys)}: {', '.join(lacking)} is missing")


def _refuse_doubled_types(base: dict[str, MappingFile], problems: list[str]) -> None:
    seen: dict[str, str] = {}
    for one in base.values():
        if one.resource in seen:
            problems.append(f"{one.places['resource']}: {one.resource} is mapped in {seen[one.resource]} already")
        seen.setdefault(one.resource, one.path.name)


def _merged(path: Path, base: dict[str, MappingFile], problems: list[str]) -> MappingFile | None:
    """A site's override laid over the base file by key."""
    site = path.parent.name
    shown = f"{site}/{path.name}"
    override, places = _read(path, shown, problems)
    if not override or not _well_formed(override, places, shown, problems, base=False):
        return None
    name = str(override.pop("extends", ""))
    if name not in base:
        problems.append(f"{shown}:1: extends {name!r}, which is no file{did_you_mean(name, list(base))}")
        return None
    own = base[name]
    if override.get("resource", own.resource) != own.resource:
        problems.append(f"{places['resource']}: resource: an override cannot change the resource type")
        return None
    layer = _Layer(shown, places, problems)
    content = layer.over(own.content, override, (), said_why="why" in override)
    return MappingFile(content, {**layer.moved(own.places), **places}, path, site)


class _Layer:
    """One site's override while it is laid over the base file."""

    def __init__(self, shown: str, places: dict[str, str], problems: list[str]) -> None:
        self.shown = shown
        self.places = places
        self.problems = problems
        self.shifts: dict[str, int] = {}

    def problem(self, keys: tuple[str, ...], message: str) -> None:
        place = next(
            (found for n in range(len(keys), 0, -1) if (found := self.places.get(".".join(keys[:n])))),
            f"{self.shown}:1",
        )
        self.problems.append(f"{place}: {'.'.join(keys)}: {message}")

    def over(self, base: Tree, override: Tree, above: tuple[str, ...], *, said_why: bool) -> Tree:
        """The merged tree below `above`; each change needs `why:` beside it or above it."""
        result = dict(base)
        for key, value in override.items():
            if key == "why":
                continue
            keys = (*above, str(key))
            old = base.get(key, {} if keys == ("conditions",) else None)
            explained = said_why or (isinstance(value, dict) and "why" in value)
            if keys[:-1] == ("conditions",) and isinstance(value, dict):
                result[key] = self._condition(old, value, keys, explained=explained)
            elif isinstance(old, dict) and isinstance(value, dict):
                if self._is_form(keys):
                    result[key] = self._replaced(old, _form_over(old, value), keys, present=True, explained=explained)
                else:
                    result[key] = self.over(old, value, keys, said_why=explained)
            elif isinstance(old, list) and isinstance(value, list) and key in _LIST_KEYS:
                result[key] = self._added(old, value, keys, explained=explained)
            else:
                result[key] = self._replaced(old, value, keys, present=key in base, explained=explained)
        return result

    @staticmethod
    def _is_form(keys: tuple[str, ...]) -> bool:
        """Whether the key is one column, field or concept, which is changed as one thing."""
        return len(keys) >= 2 and keys[-2] in {"columns", "fields", "concepts"}

    def _replaced(self, old: object, value: object, keys: tuple[str, ...], *, present: bool, explained: bool) -> object:
        if isinstance(value, dict):
            value = {name: one for name, one in value.items() if name != "why"}
        if present and old == value:
            self.problem(keys, "changes nothing")
        elif not explained:
            self.problem(keys, "a change needs `why:` beside it")
        return value

    def _condition(self, old: Tree | None, value: Tree, keys: tuple[str, ...], *, explained: bool) -> Tree:
        """A named condition with what a site says of it; its `why` is what the condition means there."""
        merged = {**(old or {}), **value}
        before, after = ({key: one for key, one in tree.items() if key != "why"} for tree in (old or {}, merged))
        self._replaced(before, after, keys, present=old is not None, explained=explained)
        return merged

    def _added(self, old: list[Any], value: list[Any], keys: tuple[str, ...], *, explained: bool) -> list[Any]:
        for number, entry in enumerate(value):
            if {name: one for name, one in entry.items() if name != "why"} in old:
                self.problem((*keys, str(number)), "changes nothing")
            elif not explained and "why" not in entry:
                self.problem((*keys, str(number)), "a change needs `why:` beside it")
        self.shifts[".".join(keys)] = len(value)
        return value + old

    def moved(self, places: dict[str, str]) -> dict[str, str]:
        """The base file's places, with the entries of lengthened lists where they stand after merging."""
        shifted = {}
        for key, place in places.items():
            name, _, rest = key.partition(".")
            number, _, below = rest.partition(".")
            if name in self.shifts and number.isdigit():
                key = ".".join(filter(None, (name, str(int(number) + self.shifts[name]), below)))
            shifted[key] = place
        return shifted


def _form_over(old: Tree, value: Tree) -> Tree:
    """A column, field or concept with a site's keys; another verb (`first_of` for `path`) replaces the old one."""
    verbs = _VERBS & value.keys()
    kept = {name: one for name, one in old.items() if not (verbs and name in _VERBS)}
    return {**kept, **{name: one for name, one in value.items() if name != "why"}}
