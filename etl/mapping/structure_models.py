"""Writes `structure.txt` from the `fhir.resources` R4B models: `python -m etl.mapping.structure_models [--check]`.

The models are the project's one source of FHIR structure; the file is what a build reads of them.
"""

import re
import sys
from importlib.metadata import version
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin
from uuid import UUID

from etl.mapping.structure import FILE, PRIMITIVES, heading


def described(installed: str) -> str:
    """The text of the file: every type of the models with its elements, in the models' order."""
    from fhir.resources.R4B import fhirtypes  # most importers want none of the models

    lines = [heading(installed)]
    for name in sorted(one.removesuffix("Type") for one in dir(fhirtypes) if one.endswith("Type")):
        if name[:1].lower() + name[1:] not in PRIMITIVES | _NOT_R4:
            lines.append(f"{name} {' '.join(_words(name))}")
    return "\n".join(lines) + "\n"


_NOT_R4 = frozenset({"integer64"})
"""Primitives that the library has for later releases."""


def stale(path: Path) -> str | None:
    """What is wrong with the file at `path`, or None when it says what the models say."""
    written = path.read_text(encoding="utf-8") if path.is_file() else ""
    if written == described(version("fhir.resources")):
        return None
    return f"{path.name}:1: is not what the fhir.resources models say; run python -m etl.mapping.structure_models"


def _words(fhir_type: str) -> list[str]:
    """The elements of a type as the file writes them."""
    from fhir.resources.R4B import get_fhir_model_class

    words: list[str] = []
    choices: dict[str, list[str]] = {}
    for python_name, model_field in get_fhir_model_class(fhir_type).model_fields.items():
        if python_name in {"fhir_comments", "resource_type"} or python_name.endswith("__ext"):
            continue
        name = model_field.alias or python_name
        kind, many = _type_of(model_field.annotation, tuple(model_field.metadata))
        base = (model_field.json_schema_extra or {}).get("one_of_many")  # type: ignore[union-attr]  # always a dict here
        if base is None:
            words.append(f"{name}:{kind}{'*' if many else ''}")
            continue
        if many or name != f"{base}{kind[0].upper()}{kind[1:]}":
            raise LookupError(f"{fhir_type}.{name} is no element of the choice {base}[x] that the file can say")
        if base not in choices:
            words.append(str(base))
        choices.setdefault(str(base), []).append(kind)
    return [f"{word}[x]:{'|'.join(choices[word])}" if word in choices else word for word in words]


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


def structure_file() -> Path:
    """Where the file stands."""
    with as_file(files("etl.mapping") / FILE) as path:
        return Path(path)


def main(arguments: list[str]) -> int:
    """Writes the file, or with `--check` only says whether it is stale; gives the exit code."""
    path = structure_file()
    if "--check" in arguments:
        problem = stale(path)
        sys.stdout.write(f"{problem or f'{path.name}: is what the models say'}\n")
        return 1 if problem else 0
    path.write_text(described(version("fhir.resources")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
