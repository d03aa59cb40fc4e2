"""What FHIR R4 elements exist, as the mapping language sees them.

An element has a type (a FHIR type name such as `CodeableConcept`, `dateTime`, or a backbone type such as
`ObservationComponent`), and is single or repeating. Choice elements (`value[x]`) appear under their base name with the
list of their types. What the `fhir.resources` models say is read from the generated file of `etl.landing.elements`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from etl.landing.elements import PRIMITIVES, Unknown, elements_of

NUMBERS = frozenset({"decimal", "integer", "positiveInt", "unsignedInt"})


@dataclass(frozen=True)
class Element:
    """One element of a FHIR type: its JSON name, its FHIR type, and whether it repeats."""

    name: str
    type: str
    many: bool


@dataclass(frozen=True)
class Choice:
    """A choice element such as `value[x]`: base name and its elements by type."""

    name: str
    by_type: dict[str, Element]


@cache
def elements(fhir_type: str) -> Mapping[str, Element | Choice]:
    """The elements of a FHIR type by name, choices under their base name. Raises KeyError for an unknown type."""
    found: dict[str, Element | Choice] = {}
    for one in elements_of(fhir_type).values():
        element = Element(one.name, one.type, one.is_list)
        if one.choice is None:
            found[one.name] = element
            continue
        choice = found.setdefault(one.choice, Choice(one.choice, {}))
        assert isinstance(choice, Choice)
        choice.by_type[one.type] = element
    return found


def is_type(fhir_type: str) -> bool:
    """Whether FHIR R4 knows a type or resource of this name."""
    try:
        return bool(elements_of(fhir_type))
    except Unknown:
        return False


def is_primitive(fhir_type: str) -> bool:
    """Whether values of the type are JSON scalars."""
    return fhir_type in PRIMITIVES
