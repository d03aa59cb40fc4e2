"""The mapping files as typed objects, with the place of everything for error messages.

One YAML file per FHIR resource type (mappings/resources); a site's overrides (mappings/sites/<site>) are merged by
key. What each verb means stands in mappings/FORMS.md; what is refused, in etl.mapping.checker.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from etl.errors import MappingError, did_you_mean
from etl.mapping.conditions import NamedCondition, faults, read_conditions
from etl.mapping.files import MappingFile, read_mapping_files
from etl.mapping.modifiers import Modifier
from etl.mapping.policies import apply_policies, choose_policies
from etl.mapping.structure import is_type
from etl.vocabulary import SUBSTANCE

ColumnForm: TypeAlias = int | float | str | dict[str, Any] | None

CASTS = ("text", "number", "integer", "boolean", "date", "datetime")
_TOP = (
    "resource purpose departs_from unique_by conditions fields concepts skip reject report require rules extends why"
).split()
_FIELD = "path first_of as reference to required follow referred_by why".split()
_CONCEPT = "from prefer kind vocabulary why".split()
_RULE = "table for_each concept domain unmapped when unless_row_of concepts columns why".split()


@dataclass(frozen=True)
class Field:
    """A named value read once per resource."""

    name: str
    paths: tuple[str, ...]
    cast: str = "text"
    to: tuple[str, ...] = ()
    follow: str | None = None
    referred_by: str | None = None
    required: bool = False
    why: str = ""

    @property
    def is_reference(self) -> bool:
        """Whether the value is the key of another resource's row."""
        return bool(self.to) and self.follow is None


@dataclass(frozen=True)
class Concept:
    """A source code that is resolved to concepts. A source is a path, or `$name` for a followed field."""

    name: str
    sources: tuple[str, ...]
    prefer: tuple[str, ...] = ()
    kind: str = "code"
    vocabulary: str | None = None
    why: str = field(default="", compare=False)


@dataclass(frozen=True)
class Outcome:
    """When a resource is left out, and the reason under which it is counted."""

    when: str
    reason: str


@dataclass(frozen=True)
class Rule:
    """What is written into one CDM table."""

    name: str
    table: str
    columns: dict[str, ColumnForm]
    concept: str | None = None
    domains: tuple[str, ...] = ()
    unmapped: bool = False
    when: str | None = None
    for_each: str | None = None
    concepts: dict[str, Concept] = field(default_factory=dict)
    unless_row_of: str | None = None
    why: str = ""


@dataclass(frozen=True)
class ResourceMapping:
    """One resource type's mapping, as the base file and a site's overrides give it."""

    resource: str
    purpose: str
    fields: dict[str, Field]
    concepts: dict[str, Concept]
    skip: tuple[Outcome, ...]
    reject: tuple[Outcome, ...]
    report: tuple[Outcome, ...]
    require: tuple[str, ...]
    rules: dict[str, Rule]
    unique_by: str | None
    departs_from: tuple[dict[str, str], ...]
    file: Path
    places: dict[str, str]
    modifiers: tuple[Modifier, ...] = ()
    conditions: dict[str, NamedCondition] = field(default_factory=dict)

    def understanding(self, modifiers: tuple[Modifier, ...]) -> "ResourceMapping":
        """The same with modifier extensions that are understood beside (and before) those that are already."""
        skipped = tuple(Outcome(one.holds, one.reason) for one in modifiers if one.means == "skip")
        return replace(self, modifiers=(*modifiers, *self.modifiers), skip=(*skipped, *self.skip))

    def routed(self, rule: Rule) -> tuple[str, ...]:
        """The domains that a rule takes: those it names, and with Observation the things within it (`SUBSTANCE`) unless
        a rule for the same concept and grain names these."""
        rivals = [one for one in self.rules.values() if (one.concept, one.for_each) == (rule.concept, rule.for_each)]
        if "Observation" not in rule.domains or any(SUBSTANCE in one.domains for one in rivals):
            return rule.domains
        return (*rule.domains, SUBSTANCE)

    def place(self, *keys: str) -> str:
        """ "file:line" of a key, or of the nearest key above it."""
        for length in range(len(keys), 0, -1):
            found = self.places.get(".".join(keys[:length]))
            if found:
                return found
        return str(self.file.name)


@dataclass(frozen=True)
class Mappings:
    """All mapping files of an instance: the base ones, and per site the merged ones."""

    folder: Path
    base: dict[str, ResourceMapping]
    by_site: dict[str, dict[str, ResourceMapping]]
    sha: str
    policies: dict[str, str] = field(default_factory=dict)

    def variants(self, resource: str, sites: tuple[str, ...]) -> dict[tuple[str, ...], ResourceMapping]:
        """The mappings of a resource type with the sites that each holds for."""
        groups: dict[int, tuple[list[str], ResourceMapping]] = {}
        for site in sites:
            mapping = self.by_site.get(site, {}).get(resource, self.base[resource])
            groups.setdefault(id(mapping), ([], mapping))[0].append(site)
        return {tuple(names): mapping for names, mapping in groups.values()}


def load_mappings(folder: Path, policies: Mapping[str, str] | None = None) -> Mappings:
    """Every mapping file below a folder, with the chosen policies (others at their default).

    Raises MappingError with all mistakes of form, with file and line.
    """
    mappings, problems = read_mappings(folder, policies)
    if problems:
        raise MappingError(f"{folder}: the mapping files cannot be used", problems=problems)
    return mappings


def read_mappings(folder: Path, policies: Mapping[str, str] | None = None) -> tuple[Mappings, list[str]]:
    """The mapping files of a folder as far as they can be read, and every mistake of form."""
    problems: list[str] = []
    values = choose_policies(folder, policies or {}, problems)
    base: dict[str, ResourceMapping] = {}
    by_site: dict[str, dict[str, ResourceMapping]] = {}
    for one in read_mapping_files(folder, problems):
        if not is_type(one.resource):
            problems.append(f"{one.places['resource']}: {one.resource} is no FHIR R4 resource type")
            continue
        problems += [fault for fault in _condition_faults(one) if fault not in problems]
        home = base if one.site is None else by_site.setdefault(one.site, {})
        content = apply_policies(one.content, values, one.path.name, problems)
        home[one.resource] = _build(content, one.places, one.path, problems)
    return Mappings(folder, base, by_site, _sha(folder), values), problems


def _condition_faults(file: MappingFile) -> list[str]:
    """What is wrong with a file's named conditions, before any policy switches a use of them off.

    A site is asked only about those that it writes itself.
    """
    places = {name: file.places.get(f"conditions.{name}", "") for name in file.content.get("conditions") or ()}
    own = None if file.site is None else [name for name, place in places.items() if place.startswith(f"{file.site}/")]
    found = ((".".join(keys), said) for keys, said in faults(file.content, own))
    return list(dict.fromkeys(f"{file.places[key]}: {key}: {said}" for key, said in found))


_ONLY_ABOUT = frozenset({"conformance.yaml", "provenance.csv"})
"""Files that speak about the mapping and change no row."""


def _sha(folder: Path) -> str:
    """One hash over every file that decides what is written."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.suffix in {".yaml", ".csv"} and file.name not in _ONLY_ABOUT:
            digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _build(tree: dict[str, Any], places: dict[str, str], file: Path, problems: list[str]) -> ResourceMapping:
    def unknown(content: dict[str, Any], known: list[str], *above: str) -> None:
        for key in content:
            if key not in known:
                place = places.get(".".join((*above, key)), file.name)
                problems.append(f"{place}: unknown key {key!r}{did_you_mean(str(key), known)}")

    unknown(tree, [*_TOP, "modifiers"])
    for name, content in (tree.get("fields") or {}).items():
        unknown(content, _FIELD, "fields", name)
    for name, content in (tree.get("rules") or {}).items():
        unknown(content, _RULE, "rules", name)
        for own, inner in (content.get("concepts") or {}).items():
            unknown(inner, _CONCEPT, "rules", name, "concepts", own)
    for name, content in (tree.get("concepts") or {}).items():
        unknown(content, _CONCEPT, "concepts", name)
    modifiers = tuple(
        Modifier(url, one["means"], str(one.get("reason", ""))) for url, one in (tree.get("modifiers") or {}).items()
    )
    for one in modifiers:
        if one.means == "refuted" and "%refuting_modifiers" not in str(tree):
            place = places.get(f"modifiers.{one.url}", file.name)
            problems.append(
                f"{place}: {one.url}: {tree['resource']} has no rule for what is refuted; say `means: skip`, a reason"
            )
    return ResourceMapping(
        resource=tree["resource"],
        purpose=str(tree.get("purpose", "")),
        fields={name: _field(name, content) for name, content in (tree.get("fields") or {}).items()},
        concepts=_concepts(tree.get("concepts")),
        skip=_outcomes(tree.get("skip")),
        reject=_outcomes(tree.get("reject")),
        report=_outcomes(tree.get("report")),
        require=tuple(tree.get("require") or ()),
        rules={name: _rule(name, content) for name, content in (tree.get("rules") or {}).items()},
        unique_by=tree.get("unique_by"),
        departs_from=tuple(tree.get("departs_from") or ()),
        file=file,
        places=places,
        conditions=read_conditions(tree.get("conditions")),
    ).understanding(modifiers)


def _texts(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(str(one) for one in value) if isinstance(value, list) else (str(value),)


def _field(name: str, content: dict[str, Any]) -> Field:
    return Field(
        name=name,
        paths=_texts(content.get("reference") or content.get("first_of") or content.get("path")),
        cast=str(content.get("as", "text")),
        to=_texts(content.get("to")),
        follow=content.get("follow"),
        referred_by=content.get("referred_by"),
        required=bool(content.get("required", False)),
        why=str(content.get("why", "")),
    )


def _concepts(content: dict[str, Any] | None) -> dict[str, Concept]:
    return {name: _concept(name, one) for name, one in (content or {}).items()}


def _concept(name: str, content: dict[str, Any]) -> Concept:
    origin = content.get("from")
    if isinstance(origin, dict):
        origin = origin.get("first_of", origin)
    sources = origin if isinstance(origin, list) else [origin]
    return Concept(
        name=name,
        sources=tuple(f"${one['field']}" if isinstance(one, dict) and "field" in one else str(one) for one in sources),
        prefer=_texts(content.get("prefer")),
        kind=str(content.get("kind", "code")),
        vocabulary=content.get("vocabulary"),
        why=str(content.get("why", "")),
    )


def _outcomes(content: list[dict[str, str]] | None) -> tuple[Outcome, ...]:
    return tuple(Outcome(str(one["when"]), str(one["reason"])) for one in content or ())


def _rule(name: str, content: dict[str, Any]) -> Rule:
    return Rule(
        name=name,
        table=str(content.get("table", name)),
        columns=dict(content.get("columns") or {}),
        concept=content.get("concept"),
        domains=_texts(content.get("domain")),
        unmapped=bool(content.get("unmapped", False)),
        when=content.get("when"),
        for_each=content.get("for_each"),
        concepts=_concepts(content.get("concepts")),
        unless_row_of=content.get("unless_row_of"),
        why=str(content.get("why", "")),
    )
