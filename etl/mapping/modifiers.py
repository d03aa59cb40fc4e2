"""Modifier extensions that the project or a site understands: `modifiers.yaml`, and `sites/<site>/modifiers.yaml`.

FHIR forbids to read a resource past a `modifierExtension` that one does not understand. An entry says, by URL, for
which resource types it is understood (`resources`) and what it `means` there:

* `nothing`: it changes nothing of what is written; the resource, or the element that bears it, is read as without it;
* `skip`: what it says did not happen, or is not about the child: no row, counted under its `reason`;
* `refuted`: like a status "refuted", where the resource's mapping file reads `%refuting_modifiers`.

`valueBoolean: false` takes the meaning of `skip` and `refuted` back. What has no entry stays unknown: the resource is
rejected, an element with it is left out (DECISIONS 36, HL7 f2o-063).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from etl.errors import did_you_mean
from etl.mapping.structure import is_type

if TYPE_CHECKING:
    from etl.mapping.files import MappingFile

FILE = "modifiers.yaml"
MEANINGS = ("nothing", "skip", "refuted")
VARIABLES = {
    "understood_modifiers": frozenset(MEANINGS),
    "harmless_modifiers": frozenset({"nothing"}),
    "refuting_modifiers": frozenset({"refuted"}),
}
"""What a path may name with `%`: the URLs of the modifiers with one of these meanings."""
_KEYS = ("resources", "means", "reason", "why")


@dataclass(frozen=True)
class Modifier:
    """A modifier extension that is understood: its URL, what it means, the reason under which a `skip` is counted."""

    url: str
    means: str
    reason: str = ""

    @property
    def holds(self) -> str:
        """FHIRPath on the resource: whether it has this extension and does not take it back."""
        not_taken_back = "value.ofType(boolean).where($this = false).empty()"
        return f"modifierExtension.where(url = '{self.url}' and {not_taken_back}).exists()"


@dataclass(frozen=True)
class Registry:
    """One `modifiers.yaml`: its entries by URL, and the place of each."""

    entries: dict[str, dict[str, Any]]
    places: dict[str, str]

    def on(self, resource: str) -> dict[str, dict[str, Any]]:
        """The entries that hold for a resource type, without saying so again."""
        return {
            url: {key: value for key, value in entry.items() if key != "resources"}
            for url, entry in self.entries.items()
            if resource in entry["resources"]
        }


def read_registry(content: Mapping[str, Any], places: dict[str, str], shown: str, problems: list[str]) -> Registry:
    """The entries that can be used; the faults of the others are added to `problems`, with file and line."""
    kept = {}
    for url, entry in content.items():
        faults = list(_faults(str(url), entry))
        problems += [f"{places.get(str(url), f'{shown}:1')}: {url}: {fault}" for fault in faults]
        if not faults:
            kept[str(url)] = dict(entry)
    return Registry(kept, places)


def _faults(url: str, entry: Any) -> Iterable[str]:
    if not url.isascii() or any(sign.isspace() or sign in "'\"\\" for sign in url):
        yield "is no URL"
    if not isinstance(entry, dict):
        yield "must be {resources: [types], means: …, why: …}"
        return
    yield from (f"unknown key {key!r}{did_you_mean(str(key), _KEYS)}" for key in entry if key not in _KEYS)
    means = str(entry.get("means"))
    if means not in MEANINGS:
        yield f"means {means!r} is unknown{did_you_mean(means, MEANINGS)}"
    if (means == "skip") != bool(entry.get("reason")):
        yield "`reason` is needed with `means: skip`, and only there"
    if not entry.get("why"):
        yield "needs `why:`, how it is known what the extension means"
    types = entry.get("resources")
    if isinstance(types, list) and types:
        yield from (f"{one} is no FHIR R4 resource type" for one in types if not is_type(str(one)))
    else:
        yield "`resources` must be a list of resource types"


def spread(
    files: Sequence["MappingFile"], registry: Registry, by_site: Mapping[str, Registry], problems: list[str]
) -> "list[MappingFile]":
    """The mapping files with what is understood on their type under `modifiers`; a site's entries go before the base's.

    A site that understands something on a type that it does not override gets a file of its own for it.
    """
    for file in files:
        if "modifiers" in file.content:
            problems.append(f"{file.places['modifiers']}: modifiers: belong into {FILE}")
    base = {file.resource: file for file in files if file.site is None}
    result = [_with(file, registry, by_site.get(file.site or "")) for file in files]
    overridden = {(file.site, file.resource) for file in files}
    for one in (registry, *by_site.values()):
        for url, entry in one.entries.items():
            place = one.places.get(url, FILE)
            unmapped = [name for name in entry["resources"] if name not in base]
            problems += [f"{place}: {url}: {name} has no mapping file" for name in unmapped]
            if one is not registry and {**registry.entries.get(url, {}), "why": ""} == {**entry, "why": ""}:
                problems.append(f"{place}: {url}: changes nothing")
    for site, own in sorted(by_site.items()):
        for resource, file in base.items():
            if own.on(resource) and (site, resource) not in overridden:
                result.append(_with(replace(file, site=site), registry, own))
    return result


def _with(one: "MappingFile", registry: Registry, own: Registry | None) -> "MappingFile":
    entries = registry.on(one.resource) | (own.on(one.resource) if own else {})
    if not entries:
        return one
    places = {f"modifiers.{key}": place for key, place in registry.places.items()}
    places |= {f"modifiers.{key}": place for key, place in (own.places if own else {}).items()}
    return replace(one, content={**one.content, "modifiers": entries}, places={**one.places, **places})


def urls_by_variable(modifiers: Iterable[Modifier]) -> dict[str, tuple[str, ...]]:
    """The URLs that each `%` variable of a path stands for."""
    known = tuple(modifiers)
    return {name: tuple(one.url for one in known if one.means in kinds) for name, kinds in VARIABLES.items()}
