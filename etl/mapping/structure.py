"""What FHIR R4 elements exist: read from `structure.txt`, which is generated from the `fhir.resources` R4B models.

An element has a type (a FHIR type name such as `CodeableConcept`, `dateTime`, or a backbone type such as
`ObservationComponent`), and is single or repeating. Choice elements (`value[x]`) appear under their base name with the
list of their types. The models stay the one source of structure, but building them takes seconds, which a nightly
build has no use for: `etl.mapping.structure_models` writes the file, the checker refuses a stale one, and with another
version of `fhir.resources` than the file's the models themselves are asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files

PRIMITIVES = frozenset(
    "base64Binary boolean canonical code date dateTime decimal id instant integer markdown oid positiveInt string "
    "time unsignedInt uri url uuid xhtml".split()
)
NUMBERS = frozenset({"decimal", "integer", "positiveInt", "unsignedInt"})

FILE = "structure.txt"
"""One line per type: `Type name:type name:type* name[x]:type|type`, `*` for elements that repeat."""


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
    return dict(_element(word) for word in _lines()[fhir_type].split())


def is_type(fhir_type: str) -> bool:
    """Whether FHIR R4 knows a type or resource of this name."""
    return fhir_type in _lines()


def is_primitive(fhir_type: str) -> bool:
    """Whether values of the type are JSON scalars."""
    return fhir_type in PRIMITIVES


def heading(installed: str) -> str:
    """The first line of the file, for a version of `fhir.resources`."""
    return f"# elements of FHIR R4B as fhir.resources {installed} has them; written by etl.mapping.structure_models"


@cache
def _lines() -> dict[str, str]:
    """The elements of each type as the file writes them."""
    installed = version("fhir.resources")
    first, *lines = (files("etl.mapping") / FILE).read_text(encoding="utf-8").splitlines()
    if first != heading(installed):
        from etl.mapping.structure_models import described  # builds every model: seconds

        _, *lines = described(installed).splitlines()
    return {name: words for name, _, words in (line.partition(" ") for line in lines)}


def _element(word: str) -> tuple[str, Element | Choice]:
    name, _, kind = word.partition(":")
    if name.endswith("[x]"):
        base = name.removesuffix("[x]")
        return base, Choice(
            base, {one: Element(base + one[0].upper() + one[1:], one, False) for one in kind.split("|")}
        )
    return name, Element(name, kind.removesuffix("*"), kind.endswith("*"))
