"""One rule of a mapping turned into SQL: its columns, the concepts and references it needs."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import etl.cdm
from etl.errors import did_you_mean
from etl.mapping.fhirpath_sql import PathError, Value
from etl.mapping.language import ColumnForm, Rule
from etl.sql import quote
from etl.transform.plan import (
    LAST_VISIT,
    REFERENCED_TABLES,
    ConceptPlan,
    Lookup,
    RulePlan,
    Unlisted,
    concept_alias,
    way_of,
)
from etl.transform.planner import CAST_SQL, Elements, Planner, known_as, renamed

CONCEPT_PARTS = (
    "standard",
    "source",
    "source_value",
    "source_name",
    "domain",
    "value",
    "unit_default",
    "unit_default_source",
)
_ALWAYS = {"site": "s.site", "data_until": "data_until()", "last_visit": LAST_VISIT}
"""References that every mapping has: the site's name, the day until which the data reaches, the person's last visit."""
DATE_PARTS = ("date", "datetime", "midnight", "precision", "year", "month", "day")


class RulePlanner:
    """Builds the RulePlan of one rule; faults are noted in the Planner with their place."""

    def __init__(self, planner: Planner, rule: Rule) -> None:
        self.planner = planner
        self.rule = rule
        self.at: Value | None = None
        self.inside: dict[str, str] = {}
        self.each: str | None = None
        self.each_concepts: dict[str, ConceptPlan] = {}
        self.used: dict[str, ConceptPlan] = {}
        self.lookups: dict[str, Lookup] = {}
        self.links: list[str] = []
        self.precisions: dict[str, tuple[str, str]] = {}
        self.unlisted: list[Unlisted] = []
        self.above: list[str] = []

    def build(self) -> RulePlan:
        """The rule's plan."""
        rule = self.rule
        if rule.for_each:
            self._enter_element()
        for concept in rule.concepts.values():
            self._own_concept(concept.name)
        when = self._place("w", self.planner.translator.condition(rule.when, self.at)) if rule.when else None
        if rule.concept:
            self._concept(rule.concept)
        unless = f"{self._row_of(rule.unless_row_of)} IS NULL" if rule.unless_row_of else None
        columns = self._columns()
        if rule.for_each:
            self.planner.elements[rule.for_each].read_into(self.planner.plan)
        return RulePlan(
            rule, when, self.each, columns, self.used, self.each_concepts, self.lookups, tuple(self.links),
            self.precisions, self._claimed(), tuple(self.unlisted), unless, tuple(self.above),
        )  # fmt: skip

    def _enter_element(self) -> None:
        """Makes the rule's paths start at the element, which it shares with the other rules of the same `for_each`."""
        path = str(self.rule.for_each)
        if path not in self.planner.elements:
            translator = self.planner.translator
            found = translator.translate(path)
            listed = found.sql if found.many else f"(CASE WHEN {found.sql} IS NOT NULL THEN [{found.sql}] END)"
            at = Value(translator.variable(), found.type, many=False, need=found.need)
            self.planner.elements[path] = Elements(f"e_{self.rule.name}", listed, at)
        elements = self.planner.elements[path]
        self.at, self.inside, self.each = elements.at, elements.inside, elements.column

    def _place(self, name: str, sql: str) -> str:
        """Has an expression evaluated in stage 1 and gives back how the rule reads it."""
        if self.at is None or not re.search(rf"\b{self.at.sql}\b", sql):  # of the resource, or the same for all
            return f's."{self.planner.read(f"x{len(self.planner.plan.expressions)}_{name}", sql)}"'
        known = known_as(sql, self.inside)
        if known:
            return f'e."{known}"'
        alias = f"x{len(self.inside)}_{name}"
        self.inside[alias] = sql
        return f'e."{alias}"'

    def _own_concept(self, name: str) -> None:
        concept = self.rule.concepts[name]
        sql, follows = self.planner.coding_sets(concept, self.at)
        if self.at is None:
            own = f"c_{self.rule.name}_{name}"
            alias = self.planner.read(own, sql)
            if self.planner.ways.setdefault(alias, way_of(concept)) != way_of(concept):
                alias = own  # the same sets, resolved in another way
                self.planner.plan.expressions[own] = sql
            self.used[name] = ConceptPlan(name, alias, concept, follows)
        else:
            known = self.planner.elements[str(self.rule.for_each)].concepts
            column = known.setdefault((renamed(sql), way_of(concept)), f"c_{self.rule.name}_{name}")
            self.inside.setdefault(column, sql)
            self.each_concepts[name] = ConceptPlan(name, column, concept)

    def _concept(self, name: str) -> None:
        if name in self.each_concepts or name in self.used:
            return
        known = self.planner.plan.concepts
        if name not in known:
            raise PathError(f"{name} is no concept{did_you_mean(name, list(known))}")
        self.used[name] = known[name]

    def _claimed(self) -> tuple[str, ...]:
        """The domains that some rule of the same grain takes for this rule's concept."""
        rules = self.planner.mapping.rules.values()
        return tuple(
            domain
            for other in rules
            if other.concept == self.rule.concept and other.for_each == self.rule.for_each
            for domain in other.domains
        )

    # --- columns -----------------------------------------------------------------------------------------------

    def _columns(self) -> dict[str, str]:
        table = self.rule.table
        if table not in etl.cdm.TABLES:
            raise PathError(f"{table} is no CDM table{did_you_mean(table, list(etl.cdm.TABLES))}")
        types, lengths = etl.cdm.column_types(table), etl.cdm.lengths(table)
        columns = {}
        for name, form in self.rule.columns.items():
            keys = ("rules", self.rule.name, "columns", name)
            if name not in types:
                self.planner.problem(keys, f"{table} has no such column{did_you_mean(name, list(types))}")
                continue
            sql = self.planner.guarded(keys, partial(self._form, form, name))
            if sql is not None:
                columns[name] = _cast(sql, types[name], lengths.get(name))
        key = etl.cdm.KEYS.get(table)
        for name in etl.cdm.required_columns(table):
            if name not in columns and name != key and name not in self.rule.columns:
                self.planner.problem(("rules", self.rule.name, "columns"), f"{name} is required by the CDM")
        return columns

    def _form(self, form: ColumnForm, column: str) -> str:
        """SQL of a column form: a constant, `$name`, or one verb with what belongs to it."""
        if form is None:
            return "NULL"
        if isinstance(form, str):
            return self._ref(form, column) if form.startswith("$") else quote(form)
        if not isinstance(form, dict):
            return str(form)
        verbs: dict[str, Callable[[], str]] = {
            "lookup": lambda: self._lookup(form, column),
            "if_known": lambda: self._if_known(form, column),
            "when_set": lambda: self._when_set(form["when_set"], str(form["value"]), column),
            "when": lambda: self._when(str(form["when"]), form["then"], column),
            "plus_days": lambda: self._plus_days(form["plus_days"], column),
            "first": lambda: f"coalesce({', '.join(self._form(one, column) for one in form['first'])})",
            "text": lambda: "(" + " || ".join(self._text_part(one, column) for one in form["text"]) + ")",
            "text_of": lambda: self._text_of(str(form["text_of"])),
            "reference": lambda: self._reference(form, column),
            "row_of": lambda: (
                self._row_above(str(form["row_of"]), str(form["of"]), column)
                if "of" in form
                else self._row_of(str(form["row_of"]))
            ),
            "path": lambda: self._path(form),
            "first_of": lambda: self._path(form),
            "field": lambda: self._form(f"${form['field']}", column),
            "value": lambda: self._form(form["value"], column),
        }
        verb = next((name for name in verbs if name in form), None)
        if verb is None:
            raise PathError(f"unknown form {sorted(form)}{did_you_mean(next(iter(form), ''), list(verbs))}")
        return verbs[verb]()

    def _when_set(self, other: str | dict[str, Any], value: str, column: str) -> str:
        """A constant that stands beside another column, and only when that (or another form) has a value."""
        if isinstance(other, dict):
            return f"(CASE WHEN {self._form(other, column)} IS NOT NULL THEN {int(value)} END)"
        if other not in self.rule.columns:
            raise PathError(f"when_set: {other} is no column here{did_you_mean(other, list(self.rule.columns))}")
        return f"(CASE WHEN {self._form(self.rule.columns[other], other)} IS NOT NULL THEN {int(value)} END)"

    def _when(self, condition: str, then: ColumnForm, column: str) -> str:
        """A form that holds only under a condition, else NULL."""
        holds = self._place("q", self.planner.translator.condition(condition, self.at))
        return f"(CASE WHEN {holds} THEN {self._form(then, column)} END)"

    def _plus_days(self, parts: list[ColumnForm], column: str) -> str:
        """A date and a number of days after it; NULL when either is missing."""
        if len(parts) != 2:
            raise PathError("plus_days: needs a date and a number of days")
        day, days = (self._form(part, column) for part in parts)
        return f"({day} + CAST({days} AS INTEGER))"

    def _text_part(self, form: ColumnForm, column: str) -> str:
        """A part of a text: a path, or (without any letter) the characters themselves."""
        if isinstance(form, str) and not any(letter.isalpha() for letter in form):
            return quote(form)
        if isinstance(form, str) and not form.startswith("$"):
            form = {"path": f"({form}).toString()"}  # 24.0 of the source is written 24
        return f"CAST({self._form(form, column)} AS VARCHAR)"

    def _text_of(self, path: str) -> str:
        """The text within the first attachment that can be read (etl.transform.attachment_text)."""
        translator = self.planner.translator
        found = translator.translate(path, self.at)
        if found.type != "Attachment":
            raise PathError(f"text_of: {path} is {'many ' if found.many else 'a '}{found.type}, not an Attachment")
        each = translator.variable()
        one = Value(each, found.type, many=False, need=found.need)
        types, data = (
            f"list_transform({found.listed}, lambda {each}: {translator.translate(name, one).sql})"
            for name in ("contentType", "data")
        )
        return self._place("t", f"attachment_text({types}, {data})")

    def _path(self, form: dict[str, Any]) -> str:
        paths = form.get("first_of") or [form["path"]]
        sql, _ = self.planner.first_of(tuple(str(path) for path in paths), self.at)
        cast = form.get("as")
        if cast is None:
            return self._place("p", sql)
        if cast not in CAST_SQL:
            raise PathError(f"as: {cast!r} is unknown{did_you_mean(cast, list(CAST_SQL))}")
        return self._place("p", CAST_SQL[cast].format(sql))

    def _lookup(self, form: dict[str, Any], column: str) -> str:
        name = str(form["lookup"])
        table = self.planner.lookups.get(name)
        if table is None:
            raise PathError(
                f"lookup {name!r}: no mappings/codes/{name}.csv{did_you_mean(name, list(self.planner.lookups))}"
            )
        inner = {key: value for key, value in form.items() if key not in {"lookup", "default", "local", "why"}}
        given = f"CAST({self._form(inner, column)} AS VARCHAR)"
        default = "NULL" if form.get("default") is None else self._form(form["default"], column)
        if form.get("local"):
            if not {"path", "first_of", "field"} & inner.keys():
                raise PathError("local: the code must be read by a path or from a field")
            default = f"coalesce(u_{len(self.unlisted)}.concept_id, {default})"
            self.unlisted.append(Unlisted(column, given, tuple(table), self._words(inner)))
        cases = " ".join(f"WHEN {quote(code)} THEN {concept}" for code, concept in table.items())
        return f"(CASE {given} {cases} ELSE {default} END)"

    def _words(self, form: dict[str, Any]) -> str:
        """SQL of what a form reads where that is no code but what somebody wrote; NULL where it is a code."""
        field = self.planner.mapping.fields.get(str(form.get("field")))
        paths, at = (field.paths, None) if field else (form.get("first_of") or [form["path"]], self.at)
        found = [self.planner.translator.translate(str(path), at) for path in paths]
        if all(_is_code(one) for one in found):
            return "NULL"
        cases = (f"WHEN {one.sql} IS NOT NULL THEN {'NULL' if _is_code(one) else one.sql}" for one in found)
        return self._place("t", f"CAST((CASE {' '.join(cases)} END) AS VARCHAR)")

    def _if_known(self, form: dict[str, Any], column: str) -> str:
        """A concept id that is used only if the loaded vocabulary has it, standard and by this name; else another."""
        concept, name = int(form["if_known"]), str(form.get("named", ""))
        if not name:
            raise PathError("if_known: needs `named`, the concept's name, so that a wrong id is not believed")
        other = self._form(form.get("else"), column)
        return (
            f"coalesce((SELECT concept_id FROM vocab.concept WHERE concept_id = {concept} AND standard_concept = 'S' "
            f"AND invalid_reason IS NULL AND lower(concept_name) = {quote(name.lower())}), {other})"
        )

    def _reference(self, form: dict[str, Any], column: str) -> str:
        to = form["to"] if isinstance(form.get("to"), list) else [form.get("to")]
        text = self.planner.reference_text(
            self.planner.translator.translate(str(form["reference"]), self.at), str(to[0])
        )
        if self.at is not None:
            raise PathError("a reference inside for_each is not supported; name it under fields")
        name = f"{self.rule.name}_{column}"
        self.planner.add_reference(name, text, tuple(str(one) for one in to))
        return self._looked_up(name, column)

    def _row_of(self, rule: str) -> str:
        if rule not in self.planner.mapping.rules:
            raise PathError(f"row_of: {rule} is no rule{did_you_mean(rule, list(self.planner.mapping.rules))}")
        if rule not in self.links:
            self.links.append(rule)
        return f"l_{self.links.index(rule)}.row_id"

    def _row_above(self, rule: str, name: str, column: str) -> str:
        """The key of the row that this rule writes from the resource of the same type that a field refers to.

        Whether there is such a row is seen when all of the rule's rows are there (`etl.transform.write`).
        """
        resource = self.planner.mapping.resource
        one = self.planner.mapping.fields.get(name.removeprefix("$"))
        if one is None or not name.startswith("$"):
            names = [f"${known}" for known in self.planner.mapping.fields]
            raise PathError(f"row_of: of: {name} is no field{did_you_mean(name, names)}")
        if one.to != (resource,) or one.referred_by:
            raise PathError(f"row_of: of: {name} is no reference from {resource} to {resource}")
        if rule != self.rule.name or self.rule.for_each or self.rule.domains:
            raise PathError("row_of: of: works for the rule's own rows, one per resource, whatever the domain")
        self.above.append(column)
        found = f's."ri_{one.name}"'
        key = f"row_key(s.site, {quote(resource)}, {found}, {quote(rule)}, '0')"
        return f'(CASE WHEN s."rt_{one.name}" = {quote(resource)} AND {found} IS NOT NULL THEN {key} END)'

    def _ref(self, form: str, column: str) -> str:
        """`$name` or `$name.part`."""
        name, _, part = form[1:].partition(".")
        mapping = self.planner.mapping
        if name == "person" and mapping.resource == "Patient":
            return "s.k_person"
        if name in self.rule.concepts or name in mapping.concepts:
            return self._concept_part(name, part)
        one = mapping.fields.get(name)
        if one is None and name == "last_visit" and mapping.resource != "Patient":
            raise PathError("$last_visit is known in the rules of Patient only")  # increments look for it there
        if one is None and name in _ALWAYS:
            return _ALWAYS[name]
        if one is None:
            known = [*mapping.fields, *mapping.concepts, *self.rule.concepts, *_ALWAYS]
            raise PathError(f"${name}: no such field or concept{did_you_mean(name, known)}")
        if one.to:
            return self._looked_up(name, column)
        if one.cast in {"date", "datetime"}:
            return self._date_part(name, part or one.cast, column)
        if part:
            raise PathError(f"{form}: {name} has no parts")
        return f's."f_{name}"'

    def _looked_up(self, name: str, column: str) -> str:
        reference = self.planner.plan.references[name]
        if reference.to == ("Patient",):
            return f's."k_{name}"'
        table = (
            next((t for t in etl.cdm.KEYS if column.endswith(f"{t}_id")), None) or REFERENCED_TABLES[reference.to[0]]
        )
        for alias, known in self.lookups.items():
            if known == Lookup(name, table):
                return f"{alias}.row_id"
        alias = f"i_{len(self.lookups)}"
        self.lookups[alias] = Lookup(name, table)
        return f"{alias}.row_id"

    def _concept_part(self, name: str, part: str) -> str:
        part = part or "standard"
        if part not in CONCEPT_PARTS:
            raise PathError(f"${name}.{part}: unknown part{did_you_mean(part, CONCEPT_PARTS)}")
        self._concept(name)
        if part == "standard" and name == self.rule.concept and self.rule.domains:
            return "t.id"
        plan = self.used.get(name) or self.each_concepts[name]
        found = f"{concept_alias(name)}.{part}"
        absent_is_0 = part == "source" or (part == "standard" and plan.concept.kind not in {"unit", "value"})
        return f"coalesce({found}, 0)" if absent_is_0 else found

    def _date_part(self, name: str, part: str, column: str) -> str:
        if part not in DATE_PARTS:
            raise PathError(f"${name}.{part}: unknown part{did_you_mean(part, DATE_PARTS)}")
        source = f's."f_{name}"'
        if part in {"date", "datetime"} and column not in self.precisions:
            self.precisions[column] = (name, source)
        return f"fhir_{part}({source}, s.zone)"


def _is_code(value: Value) -> bool:
    """Whether a value is a code (or a number, a yes or no), by its FHIR type: no text that somebody wrote."""
    return value.type == "code" or value.kind != "text"


def _cast(sql: str, kind: str, length: int | None) -> str:
    if kind == "VARCHAR":
        return f"left(CAST({sql} AS VARCHAR), {length})" if length else f"CAST({sql} AS VARCHAR)"
    return f"CAST({sql} AS {kind})"
