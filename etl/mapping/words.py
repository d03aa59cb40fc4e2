"""What a mapping says, in words: the rule of each column as a data manager reads it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from etl.mapping.conditions import NamedCondition, conditions_of
from etl.mapping.language import ColumnForm, Concept, Field, ResourceMapping, Rule

_PARTS = {
    "": "standard concept of {0}, 0 if none",
    "standard": "standard concept of {0}, 0 if none",
    "source": "source concept of {0}, 0 if none",
    "source_value": "{0} as it came (code, else text)",
    "source_name": "the display of {0} as it came",
    "domain": "domain of {0}'s standard concept",
    "value": "value that {0}'s code maps to (Maps to value)",
    "unit_default": "unit that the code map assumes for {0}",
    "unit_default_source": "unit that the code map assumes for {0}, as UCUM code",
    "date": "day of {0}, local to the site",
    "datetime": "local time of {0}; empty if the source has only a day",
    "midnight": "midnight, where {0} is a day without a time",
    "precision": "how precise {0} is",
    "year": "year of {0}",
    "month": "month of {0}",
    "day": "day of the month of {0}",
}
_ALWAYS = {
    "site": "the name of the site",
    "data_until": "the day until which the data reaches (data lock)",
    "last_visit": "the first day of the person's last visit",
}
_VISITS = {
    "visit_occurrence_id": "visit of the Encounter referred to; where that is part of a visit, the whole visit",
    "visit_detail_id": "visit detail of the Encounter referred to, where that is part of a visit",
}
_CASTS = {"number": "as a number", "integer": "as a whole number"}
_VALUE_STANDARD = "standard concept of {0}, empty if there is no {0}"


@dataclass(frozen=True)
class Said:
    """A column's rule: in words, its FHIR paths, its code list."""

    words: str
    path: str = ""
    lookup: str = ""


class FormWords:
    """Puts the parts of one mapping (and one of its rules) into words."""

    def __init__(self, mapping: ResourceMapping, rule: Rule | None, names: dict[int, str]) -> None:
        """`names` are concept names by id, so that a constant can be read."""
        self.mapping = mapping
        self.names = names
        self.concepts = {**mapping.concepts, **(rule.concepts if rule else {})}

    def paths(self, paths: Sequence[str]) -> str:
        """Paths, the first that gives something."""
        return ", else ".join(f"`{path}`" for path in paths)

    def field(self, one: Field) -> str:
        """What a field is, and why so where the file says it."""
        return f"{one.why}: {self._field(one)}" if one.why else self._field(one)

    def _field(self, one: Field) -> str:
        if one.follow:
            return f"read from the {one.to[0]} that `{one.follow}` refers to"
        if one.referred_by:
            return f"the {' or '.join(one.to)} named by the {one.referred_by} that refers to this resource"
        if one.to:
            return f"the {' or '.join(one.to)} referred to{'; required' if one.required else ''}"
        return {"text": "as it is", "date": "a date", "datetime": "a date, with time where there is one"}.get(
            one.cast, _CASTS.get(one.cast, f"as {one.cast}")
        )

    def concept(self, one: Concept) -> str:
        """How a concept is chosen."""
        kind = {"unit": "a unit (UCUM)", "value": "a coded value"}.get(one.kind, "a code")
        prefer = f"; of several codings {', then '.join(one.prefer)}" if one.prefer else ""
        vocabulary = f"; without system it is {one.vocabulary}" if one.vocabulary else ""
        return f"{one.why}: {kind}{prefer}{vocabulary}" if one.why else f"{kind}{prefer}{vocabulary}"

    def rule(self, rule: Rule) -> str:
        """Why there is a rule, where the file says it; when it writes a row, and for what."""
        why = f"{rule.why[:1].upper()}{rule.why[1:]}. " if rule.why else ""
        each = f"One row per element of `{rule.for_each}`" if rule.for_each else "One row per resource"
        if rule.concept and rule.domains:
            each += f" whose `${rule.concept}` has a standard concept of domain {' or '.join(rule.domains)}"
            each += ", or none at all (concept 0, on the work list)" if rule.unmapped else ""
        unless = f"; not where rule `{rule.unless_row_of}` wrote a row" if rule.unless_row_of else ""
        return f"{why}{each}{f', when `{rule.when}`' if rule.when else ''}{unless}."

    def conditions(self, rule: Rule) -> list[NamedCondition]:
        """The named conditions that a rule says, and those that these say."""
        concepts = [one.sources for one in rule.concepts.values()]
        return conditions_of([rule.when, rule.for_each, rule.columns, concepts], self.mapping.conditions)

    def column(self, form: ColumnForm, column: str = "") -> Said:
        """A column's rule; `column` is its name, where that says which row of a visit is meant."""
        if form is None:
            return Said("empty")
        if isinstance(form, str) and form.startswith("$"):
            said = self._reference(form)
            field = self.mapping.fields.get(form[1:])
            visit = _VISITS.get(column) if field and field.to == ("Encounter",) else None
            return Said(visit, said.path) if visit else said
        if not isinstance(form, dict):
            return Said(f"always {self._constant(form)}")
        said = self._form(form)
        return Said(f"{form['why']}: {said.words}", said.path, said.lookup) if "why" in form else said

    def _form(self, form: dict[str, Any]) -> Said:
        if "lookup" in form:
            return self._lookup(form)
        if "if_known" in form:
            other = self.column(form.get("else")).words.removeprefix("always ")
            return Said(f"{form['if_known']} ({form['named']}) where the loaded vocabulary has it, else {other}")
        if "when_set" in form:
            other = form["when_set"]
            there = self._form(other).words if isinstance(other, dict) else other
            return Said(f"{self._constant(form['value'])} where {there} has a value")
        if "when" in form:
            said = self.column(form["then"])
            return Said(f"when `{form['when']}`: {said.words}", said.path, said.lookup)
        if "plus_days" in form:
            day, days = (self.column(one) for one in form["plus_days"])
            return Said(f"{day.words}, plus {days.words} days", ", ".join(filter(None, (day.path, days.path))))
        if "first" in form:
            return self._first([self.column(one) for one in form["first"]])
        if "text" in form:
            parts = [one for one in form["text"] if any(letter.isalpha() for letter in str(one))]
            return Said("put together as text; empty if a part is missing", ", ".join(f"`{one}`" for one in parts))
        return self._single(form)

    def _single(self, form: dict[str, Any]) -> Said:
        """A form that is one value: a row, a field, a constant, a path."""
        if "of" in form:
            path = self.paths(self.mapping.fields[str(form["of"]).removeprefix("$")].paths)
            words = (
                f"the row that rule `{form['row_of']}` wrote from the {self.mapping.resource} referred to, if it did"
            )
            return Said(words, path)
        if "row_of" in form:
            return Said(f"the row that rule `{form['row_of']}` wrote from the same resource")
        if "text_of" in form:
            words = "the text within the first attachment that is plain text, HTML or RTF; never fetched"
            return Said(words, self.paths([str(form["text_of"])]))
        if "reference" in form:
            to = form.get("to")
            return Said(f"the {' or '.join(to) if isinstance(to, list) else to} referred to", f"`{form['reference']}`")
        if "field" in form:
            return self._reference(f"${form['field']}")
        if "value" in form:
            return self.column(form["value"])
        paths = [str(path) for path in form.get("first_of") or [form.get("path")]]
        return Said(_CASTS.get(form["as"], f"as {form['as']}") if "as" in form else "as it is", self.paths(paths))

    def _lookup(self, form: dict[str, Any]) -> Said:
        inner = {key: value for key, value in form.items() if key not in {"lookup", "default", "local", "why"}}
        default = form.get("default")
        if isinstance(default, dict):
            other = self._form(default).words
        else:
            other = "empty" if default is None else self._constant(default)
        site = ", else in the site's code map" if form.get("local") else ""
        name = form["lookup"]
        return Said(
            f"looked up in {name}{site}; else {other}{' and on the work list' if site else ''}",
            self._form(inner).path,
            f"[{name}](../codes/{name}.csv)",
        )

    def _first(self, said: list[Said]) -> Said:
        # what follows says what stands there if there is nothing; several ways that sound alike are said once
        words = [one.words.removesuffix("; else empty") for one in said[:-1]] + [one.words for one in said[-1:]]
        return Said(
            "; else ".join(
                one if at == 0 else one.removeprefix("always ") for at, one in enumerate(dict.fromkeys(words))
            ),
            ", else ".join(dict.fromkeys(one.path for one in said if one.path)),
            ", ".join(dict.fromkeys(one.lookup for one in said if one.lookup)),
        )

    def _reference(self, form: str) -> Said:
        name, _, part = form[1:].partition(".")
        shown = f"`${name}`"
        if name == "person" and name not in self.mapping.fields:
            return Said("the person (linked records are one)")
        if name in self.concepts:
            concept = self.concepts[name]
            whole = part in {"", "standard"} and concept.kind != "code"
            template = _VALUE_STANDARD if whole else _PARTS.get(part, "{0}")
            return Said(template.format(shown), self.paths(concept.sources))
        field = self.mapping.fields.get(name)
        if field is None:
            return Said(_ALWAYS[name])
        if field.to:
            why = f" ({field.why})" if field.why else ""
            return Said(f"row of {self._field(field).partition(';')[0]}{why}", self.paths(field.paths))
        part = part or (field.cast if field.cast in {"date", "datetime"} else "")
        return Said(_PARTS[part].format(shown) if part else shown, self.paths(field.paths))

    def _constant(self, value: object) -> str:
        name = self.names.get(value) if isinstance(value, int) and not isinstance(value, bool) else None
        return f"{value} ({name})" if name else f"{value}"
