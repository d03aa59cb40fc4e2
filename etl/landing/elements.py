"""The elements of every FHIR R4B type, read from `elements_r4b.txt` without building a model.

The file is generated from the `fhir.resources` models (`etl.landing.describe`), the one source of structure; building
them takes seconds, reading this a millisecond. With another version of `fhir.resources` than the file's, the models are
asked after all, so a stale file costs time and never a verdict.

One line per type: `Type element element …`. An element is `name:type`, then `*` when it is a list, `!` when it must be
there, `-` when a primitive has no `_name` beside it (an id never has), and `=code|code` when it is bound to these
codes. A choice is `name[x]:type|type`, with `!` when one must be there. The type's name ends in `+` when it is a
resource. The order is FHIR's own, so that JSON in that order decodes fastest.
"""

import re
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

FILE: Final = Path(__file__).with_name("elements_r4b.txt")
PRIMITIVES: Final = frozenset(
    "base64Binary boolean canonical code date dateTime decimal id instant integer integer64 markdown oid positiveInt "
    "string time unsignedInt uri url uuid xhtml".split()
)
_WORD: Final = re.compile(r"(\w+)(\[x\])?:([\w|]+)(\*?)(!?)(-?)(?:=(\S+))?")


class Unknown(KeyError):  # noqa: N818  an answer, not a failure
    """A type that FHIR R4B does not have."""


class Element(NamedTuple):
    """One element of a type: JSON name, FHIR type, how often, its choice group, the codes it is bound to.

    `extensible`: a primitive whose extensions stand beside it under `_name`.
    """

    name: str
    type: str
    is_list: bool
    required: bool
    choice: str | None
    choice_required: bool
    codes: tuple[str, ...] | None
    extensible: bool

    @property
    def primitive(self) -> bool:
        """Whether values are JSON scalars."""
        return self.type in PRIMITIVES


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


def is_resource_type(type_name: str) -> bool:
    """Whether R4 or R4B has a resource of this name."""
    return type_name in _resource_types()


def is_r4b_resource(type_name: str) -> bool:
    """Whether R4B has a resource of this name, so that its elements are known."""
    return type_name + "+" in _lines()


@cache
def elements_of(type_name: str) -> dict[str, Element]:
    """The elements of a resource, data type or backbone type by JSON name, without `_name`; raises `Unknown`."""
    lines = _lines()
    line = lines.get(type_name + "+", lines.get(type_name))
    if line is None:
        raise Unknown(type_name)
    return {element.name: element for word in line.split() for element in _elements(word)}


def heading(installed: str) -> str:
    """The first line of the file for a version of `fhir.resources`."""
    return f"# FHIR R4B as fhir.resources {installed} has it; written by etl.landing.describe"


@cache
def _resource_types() -> frozenset[str]:
    return _R4_ONLY | {name.removesuffix("+") for name in _lines() if name.endswith("+")}


@cache
def _lines() -> dict[str, str]:
    """The elements of each type as the file writes them."""
    first, *lines = FILE.read_text(encoding="utf-8").splitlines() if FILE.exists() else [""]
    installed = version("fhir.resources")
    if first != heading(installed):
        from etl.landing.describe import described

        _, *lines = described(installed).splitlines()
    return {name: words for name, _, words in (line.partition(" ") for line in lines)}


def _elements(word: str) -> list[Element]:
    """The element of a word of the file, or the elements of a choice."""
    match = _WORD.fullmatch(word)
    assert match is not None, word
    name, choice, kinds, many, required, bare, codes = match.groups()
    if not choice:
        bound = tuple(codes.split("|")) if codes else None
        extensible = kinds in PRIMITIVES and not bare and name != "id"
        return [Element(name, kinds, bool(many), bool(required), None, False, bound, extensible)]
    return [
        Element(
            name + kind[0].upper() + kind[1:], kind, False, False, name, bool(required), None,
            kind in PRIMITIVES and not bare,
        )
        for kind in kinds.split("|")
    ]  # fmt: skip
