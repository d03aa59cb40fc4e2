"""The exact verdict on one resource that the generated types refused: what is wrong, and where.

Two judges: the `fhir.resources` model, and a walk over the parsed JSON for what the model lets pass (a number written
as a string, a boolean written as a number, a code outside its required binding, an id that is too long). No problem
from either means that the resource is valid and the fast types were only stricter. What comes out names elements and
kinds of error, never a value; a key that is no element of FHIR is shown as "?", since it may be anything.
"""

from collections.abc import Iterator
from typing import Any, Final

from etl.landing.elements import Element, elements_of, is_r4b_resource

_TEXT_LIMIT: Final = 5
"""So many problems are named; more say no more."""

_NUMBERS: Final = frozenset({"decimal", "integer", "integer64", "unsignedInt", "positiveInt"})


def problems_of(type_name: str, resource: Any) -> list[str]:
    """What is wrong with a parsed resource of this type, as "path: kind"; empty when it is valid."""
    return list(_walk(type_name, resource, type_name)) or _model_problems(type_name, resource)


def summary(problems: list[str]) -> str:
    """The first problems in one line."""
    more = len(problems) - _TEXT_LIMIT
    return "; ".join(problems[:_TEXT_LIMIT]) + (f"; and {more} more" if more > 0 else "")


def _model_problems(type_name: str, resource: Any) -> list[str]:
    """What `fhir.resources` says, with list positions kept and unknown keys masked."""
    from fhir.resources.R4B import get_fhir_model_class
    from pydantic import ValidationError

    try:
        get_fhir_model_class(type_name).model_validate(resource)
    except ValidationError as error:
        return [
            f"{_path(type_name, detail['loc'], detail['type'])}: {detail['type']}"
            for detail in error.errors(include_url=False, include_context=False, include_input=False)
        ]
    except (KeyError, AttributeError, TypeError, ValueError, ImportError) as error:
        # The models raise these on an unknown contained type or on shapes their own validators do not expect.
        return [f"{type_name}: {type(error).__name__}"]
    return []


def _path(type_name: str, location: tuple[str | int, ...], kind: str) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    if kind == "extra_forbidden" and parts:
        parts[-1] = ".?"
    return type_name + "".join(parts)


def _walk(type_name: str, value: Any, path: str) -> Iterator[str]:
    """Problems of one object against its type's elements: names, JSON kinds, codes, id."""
    if not isinstance(value, dict):
        yield f"{path}: object expected"
        return
    known = elements_of(type_name)
    for key, inner in value.items():
        if key == "resourceType" and is_r4b_resource(type_name):
            if inner != type_name:
                yield f"{path}.resourceType: {type_name} expected"
            continue
        element = known.get(key) or _sibling(known.get(key.removeprefix("_")))
        if element is None:
            yield f"{path}.?: unknown element"
        elif inner is not None:
            yield from _element(element, inner, f"{path}.{key}")


def _sibling(element: Element | None) -> Element | None:
    """What stands beside a primitive element under `_name`."""
    if element is None or not element.extensible:
        return None
    return element._replace(type="FHIRPrimitiveExtension", codes=None)


def _element(element: Element, value: Any, path: str) -> Iterator[str]:
    if element.is_list:
        if not isinstance(value, list):
            yield f"{path}: list expected"
            return
        for position, item in enumerate(value):
            if item is not None:
                yield from _single(element, item, f"{path}[{position}]")
    else:
        yield from _single(element, value, path)


def _single(element: Element, value: Any, path: str) -> Iterator[str]:
    if element.primitive:
        yield from _primitive(element, value, path)
        return
    type_name = element.type
    if type_name == "Resource":
        given = value.get("resourceType") if isinstance(value, dict) else None
        if not isinstance(given, str) or not is_r4b_resource(given):
            yield f"{path}.resourceType: unknown resource type"
            return
        type_name = given
    yield from _walk(type_name, value, path)


def _primitive(element: Element, value: Any, path: str) -> Iterator[str]:
    kind = element.type
    if kind == "boolean":
        fits = isinstance(value, bool)
    elif kind in _NUMBERS:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    else:
        fits = isinstance(value, str)
    if not fits:
        yield f"{path}: JSON type of {kind} expected"
    elif element.codes and value not in element.codes:
        yield f"{path}: not in the required value set"
    elif kind == "id" and len(value) > 64:
        yield f"{path}: longer than 64 characters"
