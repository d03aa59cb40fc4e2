"""The structure of FHIR R4B resources as msgspec types, generated from the `fhir.resources` models.

`fhir.resources` is the one source of structure: every model class becomes one msgspec Struct with the same elements,
JSON names, cardinalities, choice groups and required primitives. The generated types may be *stricter* than the models
(a leap second, an explicit null), never looser: what they refuse is judged again by `etl.landing.explain`, so
strictness costs time on rare resources and never changes a verdict. Types are built once per process, on first use.

Measured on 5.7 MB of compact Synthea Observations on one busy core: orjson.loads 99 MB/s; these types 149 to 250 MB/s,
straight from bytes; a JSON Schema generated from the same elements and run by jsonschema-rs 482 MB/s, but on Python
objects that orjson must make first, together 82 MB/s. So the types were kept. With a regular expression on every code
and date they took three times as long (84 against 246 MB/s); hence the quick and the strict form below.
"""

import sys
import types
from collections.abc import Callable
from datetime import date, datetime
from functools import cache
from importlib import import_module
from operator import attrgetter
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import msgspec
from msgspec import Meta

MODELS: Final = "fhir.resources.R4B"
_NAMESPACE: Final = types.ModuleType("etl.landing._generated_structure")
sys.modules[_NAMESPACE.__name__] = _NAMESPACE  # msgspec resolves forward references through the module of a class

_DAY: Final = (
    r"(?:02-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    r"|(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01]))"
)
_YEAR: Final = r"(?:[1-9][0-9]{3}|0[0-9]{2}[1-9])"
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
    "date": Annotated[str, Meta(pattern=rf"^{_YEAR}(?:-(?:{_DAY}|0[1-9]|1[0-2]))?\Z")],
    "dateTime": Annotated[str, Meta(pattern=rf"^{_YEAR}(?:-(?:{_DAY}(?:T{_CLOCK}{_ZONE})?|0[1-9]|1[0-2]))?\Z")],
    "instant": Annotated[str, Meta(pattern=rf"^{_YEAR}-{_DAY}T{_CLOCK}{_ZONE}\Z")],
    "time": Annotated[str, Meta(pattern=rf"^{_CLOCK}\Z")],
}
"""FHIR primitive → msgspec type, never looser than `fhir_core.types`. 29 February and second 60 go the slow way."""

_INSTANT: Final = Annotated[datetime, Meta(tz=True)]
_QUICK: Final[dict[str, Any]] = {"code": PRIMITIVES["string"], "date": date, "dateTime": _INSTANT, "instant": _INSTANT}
"""What stands in for a pattern in the quick form: patterns are Python regular expressions and took two thirds of the
time. Native dates also refuse 30 February; partial dates go to the strict form."""

_FULL_LISTS: Final[dict[str, tuple[str, ...]]] = {
    "Encounter.status": (
        "planned", "arrived", "triaged", "in-progress", "onleave", "finished", "cancelled", "entered-in-error",
        "unknown",
    ),
    "Observation.status": (
        "registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error", "unknown",
    ),
    "DiagnosticReport.status": (
        "registered", "partial", "preliminary", "final", "amended", "corrected", "appended", "cancelled",
        "entered-in-error", "unknown",
    ),
    "Quantity.comparator": ("<", "<=", ">=", ">"),
}  # fmt: skip
"""Required bindings that the models shorten to "… | +" or leave out (hl7.org/fhir/R4)."""

_BOUND: Final = frozenset({"status", "intent", "gender"})
"""Root elements whose required binding is held: mapping files decide by them what is skipped."""


class Element(msgspec.Struct, frozen=True):
    """One element of a model: its Python and JSON names, what it holds, and how often."""

    name: str
    json_name: str
    primitive: str | None
    model: str | None
    is_list: bool
    required: bool
    choice: str | None
    choice_required: bool
    codes: tuple[str, ...] | None


class Unknown(KeyError):  # noqa: N818  an answer, not a failure
    """A resource type that FHIR R4B does not have."""


@cache
def model_class(type_name: str) -> Any:
    """The pydantic model of a resource type, such as Patient; raises `Unknown` for any other word."""
    package = import_module(MODELS)
    try:
        model = package.get_fhir_model_class(type_name)
    except (KeyError, ValueError, ImportError, AttributeError):
        raise Unknown(type_name) from None
    if not model.has_resource_base():
        raise Unknown(type_name)
    return model


_R4_ONLY: Final = frozenset(
    {
        "EffectEvidenceSynthesis", "MedicinalProduct", "MedicinalProductAuthorization",
        "MedicinalProductContraindication", "MedicinalProductIndication", "MedicinalProductIngredient",
        "MedicinalProductInteraction", "MedicinalProductManufactured", "MedicinalProductPackaged",
        "MedicinalProductPharmaceutical", "MedicinalProductUndesirableEffect", "RiskEvidenceSynthesis",
        "SubstanceNucleicAcid", "SubstancePolymer", "SubstanceProtein", "SubstanceReferenceInformation",
        "SubstanceSourceMaterial", "SubstanceSpecification",
    }
)  # fmt: skip
"""Types of R4 that R4B dropped: known, but never mapped."""


@cache
def is_resource_type(type_name: str) -> bool:
    """Whether R4 or R4B has a resource of this name."""
    if type_name in _R4_ONLY:
        return True
    try:
        model_class(type_name)
    except Unknown:
        return False
    return True


@cache
def elements(model: Any) -> dict[str, Element]:
    """The elements of a pydantic model by JSON name, without the comments field that R4 no longer has."""
    required_primitives = {name for name, _ in _class_list(model, "get_required_fields", [])}
    found = {}
    for name, info in model.model_fields.items():
        if name == "fhir_comments":
            continue
        extra = info.json_schema_extra or {}
        kind, is_list = _kind(info.annotation, info.metadata)
        json_name = info.alias or name
        found[json_name] = Element(
            name=name,
            json_name=json_name,
            primitive=kind if isinstance(kind, str) else None,
            model=None if isinstance(kind, str) else kind._model_klass,
            is_list=is_list,
            required=info.is_required() or json_name in required_primitives,
            choice=extra.get("one_of_many"),
            choice_required=bool(extra.get("one_of_many_required")),
            codes=_bound_codes(model, json_name, extra.get("enum_values")),
        )
    return found


def _class_list(model: Any, method: str, default: Any) -> Any:
    """What a model's list-giving method returns; the methods read nothing of the instance."""
    return getattr(model.model_construct(), method)() or default


def _bound_codes(model: Any, json_name: str, listed: list[str] | None) -> tuple[str, ...] | None:
    """The complete code list of a bound element, or None when it is open or not held."""
    full = _FULL_LISTS.get(f"{model.__name__}.{json_name}")
    if full:
        return full
    if json_name in _BOUND and model.has_resource_base() and listed and "+" not in listed:
        return tuple(listed)
    return None


def _kind(annotation: Any, metadata: list[Any]) -> tuple[Any, bool]:
    """The FHIR primitive's name or the model type of an annotation, and whether it is a list."""
    if get_origin(annotation) is Annotated:
        marks = [getattr(mark, "__visit_name__", None) for mark in get_args(annotation)[1:]]
        return next((mark for mark in marks if mark), None) or _kind(get_args(annotation)[0], [])[0], False
    marks = [getattr(mark, "__visit_name__", None) for mark in metadata]
    visit = next((mark for mark in marks if mark), None)
    arguments = [argument for argument in get_args(annotation) if argument is not type(None)]
    if get_origin(annotation) is list:
        return _kind(arguments[0], metadata)[0], True
    if visit:
        return visit, False
    if arguments:
        if len(arguments) == 1:
            return _kind(arguments[0], metadata)
        return "url", False
    if hasattr(annotation, "_model_klass"):
        return annotation, False
    return {bool: "boolean", str: "string", int: "integer"}.get(annotation, "uuid"), False


def load_model(path: str) -> Any:
    """The model class behind a dotted path of `fhir.resources`."""
    module, name = path.rsplit(".", 1)
    return getattr(import_module(module), name)


@cache
def struct_of(model: Any, strict: bool) -> type[msgspec.Struct]:
    """The msgspec Struct of a pydantic model; the Structs it refers to are built with it."""
    key = _struct_name(model, strict)
    required: list[Any] = []
    optional: list[Any] = []
    waiting: list[Any] = []
    for element in elements(model).values():
        inner, referred = _inner_type(element, strict)
        if referred is not None:
            waiting.append(referred)
        if element.is_list:
            complex_items = element.model and not element.name.endswith("__ext")
            inner = types.GenericAlias(list, (inner if complex_items else inner | None,))
        if element.required:
            required.append((element.name, inner, msgspec.field(name=element.json_name)))
        else:
            optional.append((element.name, inner | None, msgspec.field(name=element.json_name, default=None)))
    options: dict[str, Any] = {"tag_field": "resourceType", "tag": model.__name__} if model.has_resource_base() else {}
    struct = msgspec.defstruct(
        key,
        [*required, *optional],
        module=_NAMESPACE.__name__,
        namespace=_choice_check(model),
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


def _struct_name(model: Any, strict: bool) -> str:
    return f"{model.__module__.rsplit('.', 1)[-1]}_{model.__name__}_{'strict' if strict else 'quick'}"


def _inner_type(element: Element, strict: bool) -> tuple[Any, Any]:
    """The type of one value of an element, and the model it refers to (None: primitive or any resource)."""
    if element.codes:
        return Literal[element.codes], None
    if element.primitive:
        quick = None if strict or element.name == "lastUpdated" else _QUICK.get(element.primitive)
        return quick or PRIMITIVES[element.primitive], None
    assert element.model is not None
    model = load_model(element.model)
    if model.__name__ == "Resource":
        return msgspec.Raw, None  # judged as its own type
    return _reference(_struct_name(model, strict)), model


def _reference(name: str) -> Any:
    """A forward reference that `|` and list[] understand."""
    return msgspec._utils._forward_ref(name)  # type: ignore[attr-defined]


def _choice_check(model: Any) -> dict[str, Callable[[Any], None]]:
    """A `__post_init__` that holds the model's choice groups (value[x]): at most one, one if required."""
    groups: dict[str, list[Element]] = {}
    for element in elements(model).values():
        if element.choice:
            groups.setdefault(element.choice, []).append(element)
    checks = [
        (attrgetter(*(e.name for e in group)), len(group) - 1, group[0].choice_required)
        for group in groups.values()
        if len(group) > 1
    ]
    if not checks:
        return {}

    def __post_init__(self: Any) -> None:  # noqa: N807  the name msgspec calls
        for values, others, needed in checks:
            absent = values(self).count(None)
            if absent < others or (needed and absent > others):
                raise ValueError("choice")

    return {"__post_init__": __post_init__}


@cache
def decoder_of(type_name: str, strict: bool = False) -> msgspec.json.Decoder[Any]:
    """The decoder that validates one resource type; raises `Unknown` for a word that is no type.

    The quick form leaves the white space of codes and the spelling of dates to `etl.landing.gate.ill_spelled`, and
    knows no partial date; what it refuses, or the gate doubts, goes to the strict form.
    """
    return msgspec.json.Decoder(struct_of(model_class(type_name), strict))
