"""What FHIR R4 elements exist: read from the `fhir.resources` R4B models, the project's one source of FHIR structure.

An element has a type (a FHIR type name such as `CodeableConcept`, `dateTime`, or a backbone type such as
`ObservationComponent`), and is single or repeating. Choice elements (`value[x]`) appear under their base name with the
list of their types.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, get_args, get_origin
from uuid import UUID

from fhir.resources.R4B import get_fhir_model_class

PRIMITIVES = frozenset(
    "base64Binary boolean canonical code date dateTime decimal id instant integer markdown oid positiveInt string "
    "time unsignedInt uri url uuid xhtml".split()
)
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
def elements(fhir_type: str) -> dict[str, Element | Choice]:
    """The elements of a FHIR type by name, choices under their base name. Raises KeyError for an unknown type."""
    model = get_fhir_model_class(fhir_type)
    found: dict[str, Element | Choice] = {}
    for python_name, model_field in model.model_fields.items():
        if python_name in {"fhir_comments", "resource_type"} or python_name.endswith("__ext"):
            continue
        name = model_field.alias or python_name
        kind, many = _type_of(model_field.annotation, tuple(model_field.metadata))
        element = Element(name, kind, many)
        base = (model_field.json_schema_extra or {}).get("one_of_many")  # type: ignore[union-attr]  # always a dict here
        if base:
            choice = found.setdefault(str(base), Choice(str(base), {}))
            assert isinstance(choice, Choice)
            choice.by_type[kind] = element
        else:
            found[name] = element
    return found


@cache
def is_type(fhir_type: str) -> bool:
    """Whether FHIR R4 knows a type or resource of this name."""
    try:
        get_fhir_model_class(fhir_type)
    except (ValueError, LookupError, ImportError):
        return False
    return True


def is_primitive(fhir_type: str) -> bool:
    """Whether values of the type are JSON scalars."""
    return fhir_type in PRIMITIVES


def _type_of(annotation: Any, metadata: tuple[Any, ...]) -> tuple[str, bool]:
    """FHIR type name and repetition of a pydantic annotation."""
    many = "List[" in repr(annotation) or "list[" in repr(annotation)
    for candidate in _leaves(annotation, metadata):
        if candidate is bool:
            return "boolean", many
        if candidate is UUID:
            return "uuid", many
        name = candidate if isinstance(candidate, str) else getattr(candidate, "__name__", type(candidate).__name__)
        if name == "type":
            name = type(candidate).__name__
        if name.endswith("Type") and name != "Type":
            return name.removesuffix("Type"), many
        lowered = name[:1].lower() + name[1:]
        if lowered in PRIMITIVES:
            return lowered, many
    raise LookupError(f"no FHIR type in {re.sub(r'0x[0-9a-f]+', '', repr(annotation))}")


def _leaves(annotation: Any, metadata: tuple[Any, ...]) -> list[Any]:
    """The candidates for a type name, the most telling first: Annotated metadata, then classes."""
    found: list[Any] = [type(item) for item in metadata]
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *extra = get_args(annotation)
        return [*found, *(type(item) for item in extra), *_leaves(inner, ())]
    if origin is not None:
        for argument in get_args(annotation):
            if argument is not type(None):
                found += _leaves(argument, ())
        return found
    return [*found, annotation]
