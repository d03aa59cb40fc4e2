"""`elements_r4b.txt` from the `fhir.resources` models: `python -m etl.landing.describe [--check]`.

The only module, beside `etl.landing.explain`, that builds models.
"""

import inspect
import pkgutil
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, Final, get_args, get_origin

from etl.landing.elements import FILE, heading

MODELS: Final = "fhir.resources.R4B"

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


def described(installed: str) -> str:
    """The text of the file for the installed models."""
    models = _models()
    lines = [
        f"{name}{'+' if models[name].has_resource_base() else ''} {_words(models[name])}" for name in sorted(models)
    ]
    return "\n".join([heading(installed), *lines]) + "\n"


def _models() -> dict[str, Any]:
    """Every model of the package by its name, which is the FHIR type's name."""
    package = import_module(MODELS)
    found = {}
    for entry in pkgutil.iter_modules(package.__path__):
        module = import_module(f"{MODELS}.{entry.name}")
        for name, model in inspect.getmembers(module, inspect.isclass):
            if model.__module__ == module.__name__ and hasattr(model, "model_fields"):
                assert name not in found, name
                found[name] = model
    return found


def _words(model: Any) -> str:
    """The elements of a model in FHIR's order, without `_name`s and the comments field that R4 no longer has."""
    plain = model.model_construct()  # the methods below read nothing of the instance
    needed = {name for name, _ in plain.get_required_fields() or []}
    order = {name: place for place, name in enumerate(model.elements_sequence())}
    names = [name for name in model.model_fields if name != "fhir_comments" and not name.endswith("__ext")]
    siblings = {info.alias for name, info in model.model_fields.items() if name.endswith("__ext")}
    words: dict[str, str] = {}
    for name in sorted(names, key=lambda name: order.get(_json_name(model, name), len(order))):
        info = model.model_fields[name]
        kind, is_list = _kind(info.annotation, info.metadata)
        primitive = isinstance(kind, str)
        kind = kind if primitive else kind._model_klass.rsplit(".", 1)[1]
        json_name = _json_name(model, name)
        extra = info.json_schema_extra or {}
        choice = extra.get("one_of_many")
        bare = "-" if primitive and json_name != "id" and f"_{json_name}" not in siblings else ""
        if choice:
            assert json_name == choice + kind[0].upper() + kind[1:], json_name
            before = words[f"{choice}[x]"].rstrip("!-") + "|" if f"{choice}[x]" in words else f"{choice}[x]:"
            bare = "-" if words.get(f"{choice}[x]", "").endswith("-") else bare
            words[f"{choice}[x]"] = before + kind + ("!" if extra.get("one_of_many_required") else "") + bare
            continue
        codes = _bound_codes(model, json_name, extra.get("enum_values"))
        required = info.is_required() or json_name in needed
        bound = "=" + "|".join(codes) if codes else ""
        words[json_name] = f"{json_name}:{kind}{'*' if is_list else ''}{'!' if required else ''}{bare}{bound}"
    return " ".join(words.values())


def _json_name(model: Any, name: str) -> str:
    return str(model.model_fields[name].alias or name)


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


def main(arguments: list[str]) -> int:
    """Writes the file, or says (with --check) whether it is stale; 0 when all is well."""
    text = described(version("fhir.resources"))
    if "--check" not in arguments:
        FILE.write_text(text, encoding="utf-8")
    elif not FILE.exists() or FILE.read_text(encoding="utf-8") != text:
        sys.stderr.write(f"{FILE.name} is stale: python -m etl.landing.describe\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
