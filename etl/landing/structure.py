"""The structure of FHIR R4B resources as msgspec types, generated from the elements that `fhir.resources` has.

Every type becomes one msgspec Struct with the same elements, JSON names, cardinalities, choice groups and required
primitives. The generated types may be *stricter* than the models (a leap second, an explicit null), never looser: what
they refuse is judged again by `etl.landing.explain`, so strictness costs time on rare resources and never changes a
verdict. Types are built once per process, on first use.

Measured on 5.7 MB of compact Synthea Observations on one busy core: orjson.loads 99 MB/s; these types 149 to 250 MB/s,
straight from bytes; a JSON Schema generated from the same elements and run by jsonschema-rs 482 MB/s, but on Python
objects that orjson must make first, together 82 MB/s. So the types were kept. With a regular expression on every code
and date they took three times as long (84 against 246 MB/s); hence the quick and the strict form below.
"""

import keyword
import sys
import types
from datetime import date, datetime
from functools import cache
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from etl.landing.elements import Element, Unknown, elements_of, is_r4b_resource

_NAMESPACE: Final = types.ModuleType("etl.landing._generated_structure")
sys.modules[_NAMESPACE.__name__] = _NAMESPACE  # msgspec resolves forward references through the module of a class

_DAY: Final = (
    r"(?:02-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    r"|(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01]))"
)
_YEAR: Final = r"(?:[1-9][0-9]{3}|0[0-9]{2}[1-9])"
_LEAP_DAY: Final = r"(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|0[48]|[13579][26])00)-02-29"
_DATE: Final = rf"(?:{_YEAR}-{_DAY}|{_LEAP_DAY})"
_CLOCK: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
_ZONE: Final = r"(?:Z|[+\-](?:0[0-9]|1[0-3]):[0-5][0-9])"
_CODE: Final = r"^[^\s]+(?:\s[^\s]+)*\Z"
_URL: Final = r"^(?:https?://[a-z][a-z0-9-]*(?:\.[a-z][a-z0-9-]*)+(?:/[A-Za-z0-9/_.-]*)?\Z|[A-Za-z0-9.#-]+(?:/|\Z))"

PRIMITIVES: Final[dict[str, Any]] = {
    "boolean": bool,
    "string": Annotated[str, Meta(min_length=1)],
    "markdown": str,
    "xhtml": str,
    "uri": str,
    "canonical": str,
    "url": Annotated[str, Meta(pattern=_URL)],
    "oid": Annotated[str, Meta(pattern=r"^urn:oid:[0-2](?:\.(?:0|[1-9][0-9]*))+\Z")],
    "uuid": Annotated[
        str, Meta(pattern=r"^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")
    ],
    "code": Annotated[str, Meta(pattern=_CODE)],
    "id": Annotated[str, Meta(pattern=r"^[A-Za-z0-9\-.]{1,64}\Z")],
    "base64Binary": bytes,
    "decimal": float,
    "integer": Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)],
    "integer64": int,
    "unsignedInt": Annotated[int, Meta(ge=0, le=2**31 - 1)],
    "positiveInt": Annotated[int, Meta(ge=1, le=2**31 - 1)],
    "date": Annotated[str, Meta(pattern=rf"^(?:{_DATE}|{_YEAR}(?:-(?:0[1-9]|1[0-2]))?)\Z")],
    "dateTime": Annotated[str, Meta(pattern=rf"^(?:{_DATE}(?:T{_CLOCK}{_ZONE})?|{_YEAR}(?:-(?:0[1-9]|1[0-2]))?)\Z")],
    "instant": Annotated[str, Meta(pattern=rf"^{_DATE}T{_CLOCK}{_ZONE}\Z")],
    "time": Annotated[str, Meta(pattern=rf"^{_CLOCK}\Z")],
}
"""FHIR primitive → msgspec type, never looser than `fhir_core.types`. Second 60 goes the slow way."""

_INSTANT: Final = Annotated[datetime, Meta(tz=True)]
_QUICK: Final[dict[str, Any]] = {"code": PRIMITIVES["string"], "date": date, "dateTime": _INSTANT, "instant": _INSTANT}
"""What stands in for a pattern in the quick form: patterns are Python regular expressions and took two thirds of the
time. Native dates also refuse 30 February; partial dates go to the strict form."""


@cache
def struct_of(type_name: str, strict: bool) -> type[msgspec.Struct]:
    """The msgspec Struct of a FHIR type; the Structs it refers to are built with it.

    Fields stand in FHIR's order: msgspec looks for a key from the place of the last one on.
    """
    key = _struct_name(type_name, strict)
    fields: list[Any] = []
    waiting: set[str] = set()
    for element in elements_of(type_name).values():
        inner, referred = _inner_type(element, strict)
        if referred is not None:
            waiting.add(referred)
        many = None if not element.is_list else inner if not element.primitive else inner | None
        fields.append(_field(_attribute(element), element.name, many, inner, element.required))
        if element.extensible:
            waiting.add("FHIRPrimitiveExtension")
            inner = _reference(_struct_name("FHIRPrimitiveExtension", strict))
            many = inner | None if element.is_list else None
            fields.append(_field(f"{element.name}__ext", f"_{element.name}", many, inner, False))
    options: dict[str, Any] = {"tag_field": "resourceType", "tag": type_name} if is_r4b_resource(type_name) else {}
    struct = msgspec.defstruct(
        key,
        fields,
        module=_NAMESPACE.__name__,
        namespace=_choice_check(type_name),
        forbid_unknown_fields=True,
        omit_defaults=True,
        kw_only=True,
        gc=False,
        **options,
    )
    setattr(_NAMESPACE, key, struct)
    for other in waiting:
        if not hasattr(_NAMESPACE, _struct_name(other, strict)):
            struct_of(other, strict)
    return struct


def _field(attribute: str, json_name: str, item: Any, single: Any, required: bool) -> Any:
    """A field of a Struct: a list of `item`, or (None) a single value."""
    kind = single if item is None else types.GenericAlias(list, (item,))
    if required:
        return attribute, kind, msgspec.field(name=json_name)
    return attribute, kind | None, msgspec.field(name=json_name, default=None)


def _attribute(element: Element) -> str:
    """The attribute of an element: its name, unless that is a word of Python, such as class."""
    return f"{element.name}_" if keyword.iskeyword(element.name) else element.name


def _struct_name(type_name: str, strict: bool) -> str:
    return f"{type_name}_{'strict' if strict else 'quick'}"


def _inner_type(element: Element, strict: bool) -> tuple[Any, str | None]:
    """The type of one value of an element, and the FHIR type it refers to (None: primitive or any resource)."""
    if element.codes:
        return Literal[element.codes], None
    if element.primitive:
        quick = None if strict or element.name == "lastUpdated" else _QUICK.get(element.type)
        return quick or PRIMITIVES[element.type], None
    if element.type == "Resource":
        return msgspec.Raw, None  # judged as its own type
    return _reference(_struct_name(element.type, strict)), element.type


def _reference(name: str) -> Any:
    """A forward reference that `|` and list[] understand."""
    return msgspec._utils._forward_ref(name)  # type: ignore[attr-defined]


def _choice_check(type_name: str) -> dict[str, Any]:
    """A `__post_init__` that holds the type's choice groups (value[x]): at most one, one if required.

    It is written out as source, one attribute after the other: generic code took a quarter of the decoding time.
    """
    groups: dict[str, list[Element]] = {}
    for element in elements_of(type_name).values():
        if element.choice:
            groups.setdefault(element.choice, []).append(element)
    source = []
    for group in groups.values():
        if len(group) > 1:
            source += ["    given = 0", *(f"    if self.{_attribute(e)} is not None: given += 1" for e in group)]
            condition = "given != 1" if group[0].choice_required else "given > 1"
            source.append(f"    if {condition}: raise ValueError('choice')")
    if not source:
        return {}
    namespace: dict[str, Any] = {}
    exec("\n".join(["def __post_init__(self):", *source]), namespace)  # noqa: S102  names of our own file only
    return {"__post_init__": namespace["__post_init__"]}


@cache
def decoder_of(type_name: str, strict: bool = False) -> msgspec.json.Decoder[Any]:
    """The decoder that validates one resource type; raises `Unknown` for a word that is no type.

    The quick form leaves the white space of codes and the spelling of dates to `etl.landing.spelling`, and knows no
    partial date; what it refuses, or the gate doubts, goes to the strict form.
    """
    if not is_r4b_resource(type_name):
        raise Unknown(type_name)
    return msgspec.json.Decoder(struct_of(type_name, strict))
