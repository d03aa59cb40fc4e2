"""Which elements of a mapped resource type are read, and whether all others are named as lost (f2o-080).

An element counts as read when a path of the mapping file names it; otherwise `departs_from` must name it by its FHIR
name, or `not_read` of conformance.yaml, where what is the same for all types stands once with its reason.
"""

import re
from collections.abc import Iterator, Mapping

from etl.mapping.language import ColumnForm, ResourceMapping
from etl.mapping.structure import elements

_WORD = re.compile(r"[A-Za-z]+")


def unsaid(mapping: ResourceMapping, not_read: Mapping[str, str]) -> list[str]:
    """The elements of the type that are neither read nor named as lost, in FHIR's order."""
    known = _words(_paths(mapping)) | _words(_departures(mapping)) | not_read.keys()
    return [name for name in elements(mapping.resource) if name not in known]


def _words(texts: Iterator[str]) -> set[str]:
    return {word for text in texts for word in _WORD.findall(text)}


def _departures(mapping: ResourceMapping) -> Iterator[str]:
    yield from (str(one["what"]) for one in mapping.departs_from)


def _paths(mapping: ResourceMapping) -> Iterator[str]:
    """Every expression of the file, and what else could hold one."""
    for field in mapping.fields.values():
        yield from field.paths
        yield field.follow or ""
    for outcome in (*mapping.skip, *mapping.reject, *mapping.report):
        yield outcome.when
    for condition in mapping.conditions.values():
        yield condition.path
    for concept in mapping.concepts.values():
        yield from concept.sources
    yield mapping.unique_by or ""
    for rule in mapping.rules.values():
        yield from (rule.when or "", rule.for_each or "")
        for concept in rule.concepts.values():
            yield from concept.sources
        for form in rule.columns.values():
            yield from _texts(form)


def _texts(form: ColumnForm | list[ColumnForm]) -> Iterator[str]:
    if isinstance(form, str):
        yield form
    elif isinstance(form, dict):
        for key, value in form.items():
            if key not in {"why", "named"}:
                yield from _texts(value)
    elif isinstance(form, list):
        for one in form:
            yield from _texts(one)
