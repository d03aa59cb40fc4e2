"""Named conditions: `conditions` at the head of a mapping file says once what many of its paths ask for.

    conditions:
      refuted: {is: "verificationStatus.coding.where(code = 'refuted').exists()", why: "there is no such disease"}

A path then says `%refuted`, as if what it `is` stood there in brackets: it begins where it stands, at the resource or
at the element of a `for_each` or `where`, and `%resource` in it leads back to the whole. `why` says it in words. One
condition may name another one.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from etl.errors import did_you_mean
from etl.mapping.fhirpath import PathSyntaxError, parse
from etl.mapping.modifiers import VARIABLES
from etl.mapping.structure import elements, is_type

KNOWN = frozenset({"resource", "site", *VARIABLES})
"""What `%` stands before without being a named condition."""

_ELSEWHERE = frozenset("context rootResource ucum sct loinc factory terminologies server".split())
"""What FHIRPath itself calls so."""

_KEYS = ("is", "why")
_WORDS = frozenset({"why", "reason", "purpose", "what", "rule", "named", "policy"})
"""Keys of a mapping file under which there are words, no paths."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_NAMED = re.compile(r"'(?:[^'\\]|\\.)*'|`[^`]*`|%([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True)
class NamedCondition:
    """A condition that has a name: its FHIRPath, and what it means in words."""

    name: str
    path: str
    why: str = ""


Conditions = Mapping[str, NamedCondition]


def named_in(content: Any) -> list[str]:
    """The names after `%` in a path, or in all paths of a part of a mapping file, in order of appearance."""
    return list(dict.fromkeys(_named(content)))


def _named(content: Any) -> Iterator[str]:
    if isinstance(content, str) and "%" in content:
        yield from (found[1] for found in _NAMED.finditer(content) if found[1])
    elif isinstance(content, dict):
        for key, value in content.items():
            if key not in _WORDS:
                yield from _named(value)
    elif isinstance(content, list | tuple):
        for one in content:
            yield from _named(one)


def conditions_of(content: Any, known: Conditions) -> list[NamedCondition]:
    """The conditions that a part of a mapping file names, and those that these name."""
    found: dict[str, NamedCondition] = {}
    waiting = named_in(content)
    while waiting:
        name = waiting.pop(0)
        if name in known and name not in found:
            found[name] = known[name]
            waiting += named_in(known[name].path)
    return list(found.values())


def spelt_out(path: str, known: Conditions, within: tuple[str, ...] = ()) -> str:
    """A path with what each named condition is in its place."""

    def said(found: re.Match[str]) -> str:
        name = found[1]
        if name not in known or name in within:
            return found[0]
        return f"({spelt_out(known[name].path, known, (*within, name))})"

    return _NAMED.sub(said, path) if "%" in path else path


def unknown(name: str, known: Iterable[str]) -> str:
    """What is said of `%name` where there is nothing of that name."""
    own = [f"%{one}" for one in known]
    there = ["$this", "%resource", "%site", *own]
    lists = ", ".join(f"%{one}" for one in VARIABLES)
    hint = did_you_mean(name, [*there, *(f"%{one}" for one in VARIABLES)])
    return f"{name}: unknown here{hint}; there are {', '.join(there)} and, after `in`, {lists}"


def circle(names: Iterable[str]) -> tuple[str, str]:
    """Of conditions that name each other in a circle: the one under which it is told, and what is said."""
    ring = list(names)
    first = ring.index(min(ring))
    ring = [*ring[first:], *ring[:first], ring[first]]
    return ring[0], f"goes round in a circle: {' → '.join(f'%{one}' for one in ring)}"


def read_conditions(content: Any) -> dict[str, NamedCondition]:
    """The conditions of a mapping file, as far as they can be read."""
    return {
        str(name): NamedCondition(str(name), str(one["is"]), str(one.get("why", "")))
        for name, one in (content or {}).items()
        if isinstance(one, dict) and isinstance(one.get("is"), str)
    }


def faults(tree: Mapping[str, Any], only: Iterable[str] | None = None) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is wrong with the conditions of a file (all of them, or `only` these): keys and message of each fault.

    Whether a path fits the resource, and gives yes or no, is seen where it is used.
    """
    written: dict[str, Any] = tree.get("conditions") or {}
    known = read_conditions(written)
    used = _used(tree, known)
    taken = _taken(tree)
    for name, one in written.items():
        if only is not None and name not in only:
            continue
        keys = ("conditions", str(name))
        yield from ((keys, fault) for fault in _form_faults(str(name), one))
        if str(name) in taken:
            yield keys, f"{name} is {taken[str(name)]}; give the condition a name of its own"
        if name not in used:
            yield keys, "no path of this file says %" + str(name)
        if name in known:
            yield from _path_faults(known[name], known)


def _form_faults(name: str, one: Any) -> Iterator[str]:
    if not _NAME.fullmatch(name):
        yield "a name has small letters, digits and _ only, a letter first"
    if not isinstance(one, dict):
        yield "must be {is: a path, why: words}"
        return
    yield from (f"unknown key {key!r}{did_you_mean(str(key), _KEYS)}" for key in one if key not in _KEYS)
    if not isinstance(one.get("is"), str):
        yield "`is` must be a path, in quotation marks"
    if not isinstance(one.get("why"), str) or not one["why"].strip():
        yield "needs `why:`, what it means in words"


def _path_faults(one: NamedCondition, known: Conditions) -> Iterator[tuple[tuple[str, ...], str]]:
    keys = ("conditions", one.name)
    try:
        parse(one.path)
    except PathSyntaxError as error:
        yield keys, str(error)
    for name in named_in(one.path):
        if name not in known and name not in KNOWN:
            yield keys, unknown(f"%{name}", known)
    yield from ((("conditions", first), said) for first, said in (circle(ring) for ring in _rings(one.name, known, ())))


def _rings(name: str, known: Conditions, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The circles that a condition leads into."""
    if name in above:
        yield above[above.index(name) :]
    elif name in known:
        for one in named_in(known[name].path):
            yield from _rings(one, known, (*above, name))


def _used(tree: Mapping[str, Any], known: Conditions) -> set[str]:
    """The conditions that a path outside of the conditions says, or that those need."""
    outside = [value for key, value in tree.items() if key != "conditions" and key not in _WORDS]
    return {one.name for one in conditions_of(outside, known)}


def _taken(tree: Mapping[str, Any]) -> dict[str, str]:
    """Names that would hide something, or be taken for it where the sign before it is forgotten."""
    resource = str(tree.get("resource"))
    taken = dict.fromkeys(elements(resource) if is_type(resource) else (), f"an element of {resource}")
    taken |= dict.fromkeys(_ELSEWHERE, "what FHIRPath has as %… already")
    taken |= dict.fromkeys(KNOWN, "what every mapping has as %… already")
    rules = (tree.get("rules") or {}).values()
    inner = [name for rule in rules if isinstance(rule, dict) for name in rule.get("concepts") or ()]
    taken |= dict.fromkeys([*(tree.get("concepts") or ()), *inner], "a concept of this file")
    return taken | dict.fromkeys(tree.get("fields") or (), "a field of this file")
