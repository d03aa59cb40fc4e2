"""Static checks of one mapping: what its columns are made of, and which rows its rules write.

The compiler (etl.transform) refuses what it cannot translate; these checks refuse what it could translate but what
cannot be meant: a date in a number column, an unknown word in a form, two rules for one row, a domain that belongs to
another table.
"""

import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import etl.cdm
from etl.errors import did_you_mean
from etl.mapping.conditions import spelt_out
from etl.mapping.fhirpath_sql import PathError, PathSyntaxError, Translator, Value
from etl.mapping.language import ColumnForm, Concept, ResourceMapping, Rule
from etl.mapping.structure import NUMBERS, is_primitive
from etl.vocabulary import SUBSTANCE

STATEMENTS = frozenset(
    f"f2o-{number}"
    for number in (
        "001 002 003 004 010 011 012 013 014 020 021 022 023 024 025 026 030 031 032 033 034 035 036 037 038 039 040 "
        "050 051 052 053 060 061 062 063 070 071 072 073 080 081 082 090 091 092 093 100 102 103 110 111 112 120 121 "
        "122 132"
    ).split()
)
"""The numbered conformance statements of the HL7 FHIR-to-OMOP guide 2.0.0-ballot."""

_SOURCES = ("DECISIONS ", "THEMIS", "HL7 guide")
_KINDS = ("code", "value", "unit")
_FORM_KEYS = (
    "lookup path first_of as default local field value text first reference to row_of of when_set when then plus_days "
    "if_known named else text_of why"
).split()
_COLUMN_KINDS = {
    "VARCHAR": frozenset({"text", "number", "integer", "boolean", "date", "datetime"}),
    "DOUBLE": frozenset({"number", "integer"}),
    "INTEGER": frozenset({"integer"}),
    "BIGINT": frozenset({"id"}),
    "BOOLEAN": frozenset({"boolean"}),
    "DATE": frozenset({"date"}),
    "TIMESTAMP": frozenset({"datetime"}),
}
_FIXED_KINDS = {
    "lookup": "concept",
    "if_known": "concept",
    "text": "text",
    "text_of": "text",
    "row_of": "id",
    "reference": "id",
    "plus_days": "date",
}
_ALWAYS = {"site": "text", "data_until": "date", "last_visit": "date"}
_CONCEPT_PARTS = {
    "": "concept",
    "standard": "concept",
    "source": "concept",
    "value": "concept",
    "unit_default": "concept",
}
_DATE_PARTS = {
    "date": "date",
    "datetime": "datetime",
    "midnight": "datetime",
    "year": "integer",
    "month": "integer",
    "day": "integer",
}


class FormCheck:
    """The static faults of one mapping, in `problems`."""

    def __init__(self, mapping: ResourceMapping) -> None:
        self.mapping = mapping
        self.problems: list[str] = []
        self._translator = Translator(mapping.resource, modifiers=mapping.modifiers, conditions=mapping.conditions)

    def run(self) -> list[str]:
        """Every fault found, each with file and line."""
        self._check_departures()
        for field in self.mapping.fields.values():
            if not field.to:
                for path in field.paths:
                    self._path_kind(path, None, ("fields", field.name))
        for concept, keys in self._concepts():
            if concept.kind not in _KINDS:
                self._problem((*keys, "kind"), f"{concept.kind!r} is unknown{did_you_mean(concept.kind, _KINDS)}")
        for rule in self.mapping.rules.values():
            self._check_columns(rule)
            self._check_domains(rule)
        self._check_unmapped()
        self._check_same_rows()
        return self.problems

    def _problem(self, keys: tuple[str, ...], message: str) -> None:
        self.problems.append(f"{self.mapping.place(*keys)}: {'.'.join(keys)}: {message}")

    def _concepts(self) -> Iterator[tuple[Concept, tuple[str, ...]]]:
        for concept in self.mapping.concepts.values():
            yield concept, ("concepts", concept.name)
        for rule in self.mapping.rules.values():
            for concept in rule.concepts.values():
                yield concept, ("rules", rule.name, "concepts", concept.name)

    def _check_departures(self) -> None:
        for number, one in enumerate(self.mapping.departs_from):
            rule = str(one.get("rule", ""))
            if rule in STATEMENTS or rule.startswith(_SOURCES):
                continue
            hint = did_you_mean(rule, [*sorted(STATEMENTS), *_SOURCES])
            self._problem(
                ("departs_from", str(number)),
                f"{rule!r} is no f2o statement, DECISIONS number, THEMIS or HL7 guide rule{hint}",
            )

    # --- columns -----------------------------------------------------------------------------------------------

    def _check_columns(self, rule: Rule) -> None:
        table = etl.cdm.TABLES.get(rule.table)
        if table is None:
            return  # the compiler says so
        at = self._element(rule)
        for name, form in rule.columns.items():
            if name not in table.columns:
                continue
            column, keys = table.columns[name], ("rules", rule.name, "columns", name)
            is_concept = column.info["fk_table"] == "concept"
            wanted = frozenset({"concept"}) if is_concept else _COLUMN_KINDS[etl.cdm.duckdb_type(column)]
            for kind, shown in self._kinds(form, rule, at, keys, is_concept=is_concept):
                if kind not in wanted:
                    self._problem(keys, f"takes {' or '.join(sorted(wanted))}, but {shown} is {_article(kind)}")

    def _element(self, rule: Rule) -> Value | None:
        if not rule.for_each:
            return None
        try:
            elements = self._translator.translate(rule.for_each)
        except (PathError, PathSyntaxError):
            return None
        return Value("e", elements.type, many=False, need=elements.need)

    def _kinds(
        self, form: ColumnForm, rule: Rule, at: Value | None, keys: tuple[str, ...], *, is_concept: bool
    ) -> Iterator[tuple[str, str]]:
        """The kinds of value that a form can give, each with how it is written."""
        if form is None:
            return
        if isinstance(form, str) and form.startswith("$"):
            kind = self._reference_kind(form, rule)
            if kind:
                yield kind, form
        elif not isinstance(form, dict):
            yield _constant_kind(form, is_concept=is_concept), repr(form)
        else:
            yield from self._dictionary_kinds(form, rule, at, keys, is_concept=is_concept)

    def _dictionary_kinds(
        self, form: dict[str, Any], rule: Rule, at: Value | None, keys: tuple[str, ...], *, is_concept: bool
    ) -> Iterator[tuple[str, str]]:
        for key in form:
            if key not in _FORM_KEYS:
                self._problem(keys, f"unknown key {key!r}{did_you_mean(str(key), _FORM_KEYS)}")
        if "plus_days" in form:
            self._check_days(list(form["plus_days"]), rule, at, keys)
        fixed = next((verb for verb in _FIXED_KINDS if verb in form), None)
        if fixed:
            yield _FIXED_KINDS[fixed], f"{fixed}: {form[fixed] if fixed == 'lookup' else '…'}"
        elif "path" in form or "first_of" in form:
            for path in form.get("first_of") or [form["path"]]:
                kind = self._path_kind(str(path), at, keys)
                if kind:
                    yield str(form.get("as", kind)), str(path)
        else:
            inner = (
                [f"${form['field']}"] if "field" in form else form.get("first") or [form.get("value", form.get("then"))]
            )
            for one in inner:
                yield from self._kinds(one, rule, at, keys, is_concept=is_concept)

    def _check_days(self, parts: list[ColumnForm], rule: Rule, at: Value | None, keys: tuple[str, ...]) -> None:
        for part, wanted in zip(parts, ("date", "integer"), strict=False):
            for kind, shown in self._kinds(part, rule, at, keys, is_concept=False):
                if kind != wanted:
                    self._problem(keys, f"plus_days: takes {_article(wanted)} here, but {shown} is {_article(kind)}")

    def _path_kind(self, path: str, at: Value | None, keys: tuple[str, ...]) -> str | None:
        """The kind of a path's values; None where the compiler has already refused it."""
        try:
            found = self._translator.translate(path, at).type
        except (PathError, PathSyntaxError):
            return None
        if not is_primitive(found):
            self._problem(keys, f"{path} is a {found}; say which of its elements is meant")
            return None
        if found in NUMBERS:
            return "number" if found == "decimal" else "integer"
        return "boolean" if found == "boolean" else "text"

    def _reference_kind(self, form: str, rule: Rule) -> str | None:
        name, _, part = form[1:].partition(".")
        if name == "person" and self.mapping.resource == "Patient":
            return "id"
        if name in rule.concepts or name in self.mapping.concepts:
            return _CONCEPT_PARTS.get(part, "text")
        field = self.mapping.fields.get(name)
        if field is None:
            return _ALWAYS.get(name)
        if field.to:
            return "id"
        return _DATE_PARTS.get(part or field.cast, "text") if field.cast in {"date", "datetime"} else field.cast

    # --- rules -------------------------------------------------------------------------------------------------

    def _check_domains(self, rule: Rule) -> None:
        main = f"{rule.table.partition('_')[0]}_concept_id"
        routed = rule.columns.get(main) in (f"${rule.concept}.standard", f"${rule.concept}")
        for domain in rule.domains if routed else ():
            home = etl.cdm.DOMAIN_TABLES.get("Observation" if domain == SUBSTANCE else domain)
            if home and home != rule.table:
                keys = ("rules", rule.name, "domain")
                self._problem(keys, f"concepts of domain {domain} belong to {home}, not to {rule.table}")
        if rule.unmapped and not (rule.concept and rule.domains):
            self._problem(("rules", rule.name, "unmapped"), "needs a concept and a domain")
        if rule.domains and not rule.concept:
            self._problem(("rules", rule.name, "domain"), "needs the concept whose domain is meant")

    def _check_unmapped(self) -> None:
        """Of the rules that share the codes of a concept one takes those without a standard concept, or several do
        that are told apart by `when`."""
        for (each, _), rules in self._by_concept().items():
            takers = [rule for rule in rules if rule.unmapped]
            for first, other in combinations(takers, 2):
                if not self._told_apart(first, other):
                    message = f"{first.name} takes the codes without a concept already"
                    self._problem(("rules", other.name, "unmapped"), message)
            said = any(f"rules.{rule.name}.unmapped" in self.mapping.places for rule in rules)
            if not takers and not said:
                where = f"the elements of {each}" if each else "the resource"
                self._problem(
                    ("rules", rules[0].name),
                    f"codes of {rules[0].concept} without a concept would be lost from {where}: one rule needs "
                    "`unmapped: true`, or `unmapped: false` when they are left out on purpose",
                )

    def _told_apart(self, one: Rule, other: Rule) -> bool:
        """Whether both have a `when`, and not the same one."""
        if not (one.when and other.when):
            return False
        first, second = (_spaceless(spelt_out(when, self.mapping.conditions)) for when in (one.when, other.when))
        return first != second

    def _by_concept(self) -> dict[tuple[str | None, tuple[str, ...]], list[Rule]]:
        groups: dict[tuple[str | None, tuple[str, ...]], list[Rule]] = {}
        for rule in self.mapping.rules.values():
            if rule.concept and rule.domains:
                groups.setdefault((rule.for_each, self._sources(rule)), []).append(rule)
        return groups

    def _sources(self, rule: Rule) -> tuple[str, ...]:
        concept = rule.concepts.get(str(rule.concept)) or self.mapping.concepts.get(str(rule.concept))
        return concept.sources if concept else (str(rule.concept),)

    def _check_same_rows(self) -> None:
        for one, other in combinations(self.mapping.rules.values(), 2):
            if one.table == other.table and one.for_each == other.for_each and self._overlap(one, other):
                self._problem(
                    ("rules", other.name),
                    f"could write the same {other.table} row as {one.name}: give them other domains or a `when` each",
                )

    def _overlap(self, one: Rule, other: Rule) -> bool:
        if self._told_apart(one, other):
            return False
        if bool(one.concept) != bool(other.concept):
            return False
        if one.concept:
            same_codes = self._sources(one) == self._sources(other)
            return same_codes and (not one.domains or not other.domains or bool({*one.domains} & {*other.domains}))
        told_apart = (
            name
            for name in one.columns.keys() & other.columns.keys()
            if _is_constant(one.columns[name])
            and _is_constant(other.columns[name])
            and one.columns[name] != other.columns[name]
        )
        return next(told_apart, None) is None


def _spaceless(text: str) -> str:
    return re.sub(r"\s+", "", text)


def _is_constant(form: ColumnForm) -> bool:
    return form is not None and not isinstance(form, dict) and not (isinstance(form, str) and form.startswith("$"))


def _constant_kind(form: int | float | str, *, is_concept: bool) -> str:
    if isinstance(form, bool):
        return "boolean"
    if isinstance(form, int):
        return "concept" if is_concept else "integer"
    return "number" if isinstance(form, float) else "text"


def _article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
