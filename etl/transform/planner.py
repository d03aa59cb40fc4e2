"""Turns one resource mapping into a Plan: every path is translated and checked, every fault gets its place."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import TypeVar

from etl.errors import did_you_mean
from etl.mapping.coding_sets import coding_set, identifier_texts
from etl.mapping.fhirpath_sql import ConditionError, PathError, PathSyntaxError, Translator, Value
from etl.mapping.language import CASTS, Concept, Field, ResourceMapping
from etl.mapping.structure import Element, elements
from etl.sql import quote
from etl.transform.plan import ConceptPlan, Follow, Plan, Reference, Referral, followed_column, way_of

Made = TypeVar("Made")

_VARIABLES = re.compile(r"'(?:[^']|'')*'|\be\d+\b")
"""Texts in quotes, and what `Translator.variable` makes."""

_ROOT = re.compile(r'\br\."')
"""The resource, in the SQL of a path."""

CAST_SQL = {
    "text": "CAST({} AS VARCHAR)",
    "number": "TRY_CAST({} AS DOUBLE)",
    "integer": "TRY_CAST({} AS BIGINT)",
    "boolean": "TRY_CAST({} AS BOOLEAN)",
    "date": "fhir_date({}, zone)",
    "datetime": "fhir_datetime({}, zone)",
}
"""How a path's value becomes a column's; dates are read in the site's time zone."""


@dataclass
class Elements:
    """The elements of a `for_each`: the stage column, the SQL list, and what rules read of each one (`inside`).

    What they read is taken from the elements when those are unfolded: a lambda of its size would be set up for each
    block of resources, which takes longer than all else that is read of them. Only what looks at the resource, too
    (`%resource`), is read with it.
    """

    column: str
    listed: str
    at: Value
    inside: dict[str, str] = field(default_factory=dict)
    concepts: dict[tuple[str, str], str] = field(default_factory=dict)

    def read_into(self, plan: Plan) -> None:
        """Has the elements read in stage 1, and what has been asked of them so far then or when they are unfolded."""
        inner = "{" + (", ".join(f"'{name}': {sql}" for name, sql in self.inside.items()) or "'none': NULL") + "}"
        if _ROOT.search(inner):
            plan.expressions[self.column] = f"list_transform({self.listed}, lambda {self.at.sql}: {inner})"
            plan.unfolded[self.column] = (self.at.sql, self.at.sql)
        else:
            plan.expressions[self.column] = self.listed
            plan.unfolded[self.column] = (self.at.sql, inner)


def known_as(sql: str, expressions: dict[str, str]) -> str | None:
    """The alias of an expression that is equal but for the names of its lambdas' variables."""
    wanted = renamed(sql)
    return next((alias for alias, other in expressions.items() if renamed(other) == wanted), None)


@cache
def renamed(sql: str) -> str:
    """SQL with its variables numbered in order of appearance; texts in quotes stay."""
    names: dict[str, str] = {}
    return _VARIABLES.sub(lambda m: m[0] if m[0][0] == "'" else names.setdefault(m[0], f"#{len(names)}"), sql)


def _is_followed(source: str) -> bool:
    """Whether a concept's source is a field that is read from another resource."""
    return source.startswith("$") and source != "$this"


def _first_set(translator: Translator, paths: tuple[str, ...]) -> str:
    """SQL of the coding set of the first path that says something."""
    sets = [coding_set(translator, translator.translate(path)) for path in paths]
    return sets[0] if len(sets) == 1 else f"coalesce({', '.join(sets)})"


class Planner:
    """Turns one resource mapping into a Plan. Faults are gathered in `problems`, each with file and line."""

    def __init__(self, mapping: ResourceMapping, lookups: dict[str, dict[str, int]]) -> None:
        self.mapping = replace(
            mapping, rules={name: replace(rule, domains=mapping.routed(rule)) for name, rule in mapping.rules.items()}
        )
        self.lookups = lookups
        self.problems: list[str] = []
        self.elements: dict[str, Elements] = {}
        self.ways: dict[str, str] = {}
        self.translator = Translator(mapping.resource, modifiers=mapping.modifiers, conditions=mapping.conditions)
        self.plan = Plan(mapping, self.translator.need)

    def build(self) -> Plan:
        """The plan; look at `problems` before using it."""
        plan = self.plan
        self._for_the_engine()
        for one in self.mapping.fields.values():
            self.guarded(("fields", one.name), partial(self._field, one))
        for concept in self.mapping.concepts.values():
            made = self.guarded(("concepts", concept.name), partial(self._concept, concept))
            if made:
                plan.concepts[concept.name] = made
        outcome = self.guarded(("skip",), self._outcome)
        plan.outcome = outcome or "NULL"
        self.guarded(("report",), self._notes)
        plan.missing = self.guarded(("require",), self._missing) or "NULL"
        if self.mapping.unique_by:
            self.guarded(("unique_by",), self._identifiers)
        return plan

    def _for_the_engine(self) -> None:
        """What the engine itself reads: identifiers (conditional references), and the links between Patients."""
        translate = self.translator.translate
        if "identifier" in elements(self.mapping.resource):
            self.plan.expressions["ids"] = identifier_texts(self.translator, translate("identifier"))
        if self.mapping.resource == "Patient":
            self.plan.expressions["patient_links"] = translate("link.other.reference").sql
            self.plan.expressions["patient_replaced"] = translate("link.where(type = 'replaced-by').exists()").sql

    def problem(self, keys: tuple[str, ...], message: str) -> None:
        """Notes a fault with its place."""
        self.problems.append(f"{self.mapping.place(*keys)}: {'.'.join(keys)}: {message}")

    def guarded(self, keys: tuple[str, ...], make: Callable[[], Made]) -> Made | None:
        """What `make` gives back, or None and a noted fault."""
        try:
            return make()
        except ConditionError as error:
            self.problem(error.keys, str(error))
            return None
        except (PathError, PathSyntaxError) as error:
            self.problem(keys, str(error))
            return None

    def first_of(self, paths: tuple[str, ...], at: Value | None = None) -> tuple[str, str]:
        """SQL of the first path that gives something, and its FHIR type."""
        values = [self.translator.translate(path, at) for path in paths]
        for path, value in zip(paths, values, strict=True):
            if value.many:
                raise PathError(f"{path}: repeats; say .first(), .where(...) or use for_each")
        if len(values) == 1:
            return values[0].sql, values[0].type
        return f"coalesce({', '.join(value.sql for value in values)})", values[0].type

    def read(self, alias: str, sql: str) -> str:
        """Registers a stage-1 expression and gives back its alias; equal SQL is evaluated once."""
        known = known_as(sql, self.plan.expressions)
        if known:
            return known
        self.plan.expressions[alias] = sql
        return alias

    def _field(self, one: Field) -> None:
        if one.cast not in CASTS:
            raise PathError(f"as: {one.cast!r} is unknown{did_you_mean(one.cast, CASTS)}")
        if one.follow:
            self._follow(one)
        elif one.referred_by:
            self._referred_by(one)
        elif one.to:
            self._reference(one)
        elif one.cast in {"date", "datetime"}:
            sql, _ = self.first_of(one.paths)
            self.plan.expressions[f"f_{one.name}"] = f"CAST({sql} AS VARCHAR)"
        else:
            sql, _ = self.first_of(one.paths)
            self.plan.expressions[f"f_{one.name}"] = CAST_SQL[one.cast].format(sql)

    def _reference(self, one: Field) -> None:
        texts = [self.reference_text(self.translator.translate(path), one.to[0]) for path in one.paths]
        self.plan.expressions[f"r_{one.name}"] = f"coalesce({', '.join(texts)})" if len(texts) > 1 else texts[0]
        self.plan.references[one.name] = Reference(one.name, f"r_{one.name}", one.to, one.required)

    def add_reference(self, name: str, text: str, to: tuple[str, ...]) -> None:
        """Registers a reference that a column names itself."""
        self.plan.expressions[f"r_{name}"] = text
        self.plan.references[name] = Reference(name, f"r_{name}", to)

    def reference_text(self, value: Value, to: str) -> str:
        """SQL of a reference as text; a logical reference (identifier only) is written as a conditional one."""
        if value.type != "Reference" or value.many:
            raise PathError(f"needs one Reference, got {'many ' if value.many else ''}{value.type}")
        reference = self.translator.translate("reference", value).sql
        system = self.translator.translate("identifier.system", value).sql
        number = self.translator.translate("identifier.value", value).sql
        logical = f"{quote(to + '?identifier=')} || coalesce({system}, '') || '|' || {number}"
        return f"coalesce({reference}, {logical})"

    def _follow(self, one: Field) -> None:
        """A CodeableConcept of the resource that a reference points to; a contained one is read here and now."""
        to = one.to[0]
        text = self.reference_text(self.translator.translate(str(one.follow)), to)
        self.plan.expressions[f"r_{one.name}"] = text
        contained_element = elements(self.mapping.resource)["contained"]
        assert isinstance(contained_element, Element)
        contained = self.translator.element(self.translator.root, contained_element).sql
        inner = Translator(to, f's."j_{one.name}"')
        inside = _first_set(inner, one.paths)
        each = self.translator.variable()
        same = f"'#' || json_extract_string({each}, '$.id') = {text}"
        self.plan.expressions[f"j_{one.name}"] = (
            f"from_json((list_filter({contained}, lambda {each}: {same}))[1], {quote(inner.need.json_structure())})"
        )
        self.plan.follows[one.name] = Follow(one.name, f"r_{one.name}", to, one.paths, inside)
        self.plan.references[one.name] = Reference(one.name, f"r_{one.name}", one.to)

    def _referred_by(self, one: Field) -> None:
        """A reference that stands in another resource which refers to this one: `referred_by: Type.element`."""
        referrer, _, element = str(one.referred_by).partition(".")
        if not element:
            raise PathError(f"referred_by: {one.referred_by} must be Type.element")
        self.plan.referrals[one.name] = Referral(one.name, referrer, element, one.paths[0], one.to)
        self.plan.references[one.name] = Reference(one.name, f"r_{one.name}", one.to)

    def serve_follow(self, paths: tuple[str, ...]) -> None:
        """Has a coding set read that other resources follow a reference to."""
        self.plan.expressions[followed_column(paths)] = _first_set(self.translator, paths)

    def serve_referral(self, referral: Referral) -> None:
        """Has the references read through which `referral` finds the way back, and what it takes from here."""
        pointing = self.translator.translate(f"{referral.element}.reference")
        listed = pointing.sql if pointing.many else f"[{pointing.sql}]"
        self.plan.expressions[f"back_{referral.element}"] = listed
        target = self.reference_text(self.translator.translate(referral.path), referral.to[0])
        self.plan.expressions[f"taken_{referral.name}"] = target

    def _concept(self, concept: Concept, at: Value | None = None) -> ConceptPlan:
        column = f"c_{concept.name}"
        followed = [number for number, source in enumerate(concept.sources) if _is_followed(source)]
        first_late = followed[-1] + 1 if followed else len(concept.sources)
        early = replace(concept, sources=concept.sources[:first_late])
        sql, follows = self.coding_sets(early, at)
        self.plan.expressions[column] = sql
        self.ways[column] = way_of(concept)
        late = replace(concept, sources=concept.sources[first_late:])
        if not late.sources:
            return ConceptPlan(concept.name, column, concept, follows)
        self.plan.expressions[f"late_{concept.name}"] = self.coding_sets(late, at)[0]
        return ConceptPlan(concept.name, column, concept, follows, f"late_{concept.name}")

    def coding_sets(self, concept: Concept, at: Value | None) -> tuple[str, tuple[str, ...]]:
        """SQL of the first non-empty coding set of a concept's sources, and the names of followed fields."""
        sets, follows = [], []
        for source in concept.sources:
            if _is_followed(source):
                follows.append(source[1:])
            else:
                sets.append(coding_set(self.translator, self.translator.translate(source, at)))
        sql = "NULL::coding_set" if not sets else sets[0] if len(sets) == 1 else f"coalesce({', '.join(sets)})"
        return sql, tuple(follows)

    def _outcome(self) -> str:
        cases = [
            f"WHEN {self.translator.condition(one.when)} THEN {quote(f'{kind}|{one.reason}')}"
            for kind, outcomes in (("skipped", self.mapping.skip), ("rejected", self.mapping.reject))
            for one in outcomes
        ]
        return f"CASE {' '.join(cases)} END" if cases else "NULL"

    def _notes(self) -> None:
        """What is told of kept resources: a list of the reasons that hold."""
        notes = [
            f"CASE WHEN {self.translator.condition(one.when)} THEN {quote(one.reason)} END"
            for one in self.mapping.report
        ]
        if notes:
            each = self.translator.variable()
            self.plan.expressions["noted"] = f"list_filter([{', '.join(notes)}], lambda {each}: {each} IS NOT NULL)"

    def _missing(self) -> str:
        """SQL of the first required field that has no usable value, on stage-2 aliases."""
        names = [
            *self.mapping.require,
            *(one.name for one in self.mapping.fields.values() if one.required and not one.to),
        ]
        cases = []
        for name in dict.fromkeys(names):
            one = self.mapping.fields.get(name)
            if one is None:
                raise PathError(f"{name} is no field{did_you_mean(name, list(self.mapping.fields))}")
            column = f"s.r_{name}" if one.to else f"s.f_{name}"
            usable = f"fhir_date({column}, s.zone)" if one.cast in {"date", "datetime"} else column
            cases.append(f"WHEN {column} IS NULL THEN {quote(f'rejected|missing {name}')}")
            cases.append(f"WHEN {usable} IS NULL THEN {quote(f'rejected|unreadable {name}')}")
        return f"CASE {' '.join(cases)} END" if cases else "NULL"

    def _identifiers(self) -> None:
        value = self.translator.translate(str(self.mapping.unique_by))
        if value.type != "Identifier":
            raise PathError(f"{self.mapping.unique_by} is a {value.type}, not an Identifier")
        corrected = "false"
        if "status" in elements(self.mapping.resource):
            corrected = self.translator.translate("status in ('corrected' | 'amended')").sql
        self.plan.expressions["corrected"] = f"coalesce({corrected}, false)"
        self.plan.expressions["business"] = identifier_texts(self.translator, value)
