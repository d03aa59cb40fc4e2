"""Who withdrew, as keyed hashes, and what of landed resources is theirs.

A person is known by marks: a keyed hash of each way in which a reference can lead to one of the person's Patients (id,
full URL, identifier). Nobody without the key of the ids can tell whose a mark is, and the list holds nothing else.
Which Patients are one person is decided as the transform does it: by Patient.link and by the identifier systems that
the settings name (etl.transform.persons).
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from etl.errors import CdmError

FORMAT: Final = "blina withdrawn 1"
_FILE: Final = "list.json"
_TYPED: Final = re.compile(r"(?:^|/)([A-Z][A-Za-z]+)/([A-Za-z0-9.\-]{1,64})(?:/_history/[^/]+)?$")
_CONDITIONAL: Final = re.compile(r"^(?:.*/)?Patient\?(?:.*&)?identifier=([^&]*)")
_SHARED: Final = frozenset({"Organization", "Practitioner", "PractitionerRole", "Location", "Medication", "Substance"})
"""Types that many patients share: they stay, also when only one patient's resource led to them."""


@dataclass(frozen=True)
class Withdrawn:
    """The list of an instance: a hash for each patient that was named, and the marks of these persons."""

    patients: frozenset[str] = frozenset()
    marks: frozenset[str] = frozenset()

    def plus(self, patients: Iterable[str] = (), marks: Iterable[str] = ()) -> "Withdrawn":
        """The list with more on it."""
        return Withdrawn(self.patients | set(patients), self.marks | set(marks))

    def missing_in(self, other: "Withdrawn") -> int:
        """How many of these patients another list does not know."""
        return len(self.patients - other.patients)

    def write(self, folder: Path) -> None:
        """Puts the list in its place; it appears whole, by one rename."""
        content = {"format": FORMAT, "patients": sorted(self.patients), "marks": sorted(self.marks)}
        made = folder / f".{_FILE}"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            made.write_text(json.dumps(content, indent=1), "utf-8")
            made.replace(folder / _FILE)
        except OSError as error:
            raise CdmError(f"{folder}: the list of the withdrawn cannot be written ({error.strerror})") from None


def read_withdrawn(folder: Path) -> Withdrawn:
    """The list of an instance; an empty one when nobody withdrew. Raises CdmError when it cannot be read."""
    try:
        content = json.loads((folder / _FILE).read_text("utf-8"))
        if content["format"] != FORMAT:
            raise ValueError
        return Withdrawn(frozenset(content["patients"]), frozenset(content["marks"]))
    except FileNotFoundError:
        return Withdrawn()
    except (OSError, ValueError, KeyError, TypeError):
        raise CdmError(f"{folder / _FILE}: the list of the withdrawn cannot be read; restore it") from None


class Marker:
    """Makes marks with the key of an instance."""

    def __init__(self, key: str) -> None:
        self._key = hashlib.sha256(key.encode()).digest()
        self._known = lru_cache(2**16)(self._make)  # code systems are URLs, too, and the same ones all the time

    def __call__(self, kind: str, *parts: str) -> str:
        """The mark for one way of naming: 32 hex digits."""
        return self._known(kind, *parts)

    def _make(self, kind: str, *parts: str) -> str:
        name = "\x1f".join(("withdrawn", kind, *parts)).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(name, key=self._key, digest_size=16).hexdigest()

    def patient(self, site: str, patient_id: str) -> str:
        """The mark of a Patient's id at a site."""
        return self("Patient", site, patient_id)


@dataclass(frozen=True)
class Line:
    """One landed resource."""

    n: int
    site: str
    kind: str
    id: str
    url: str | None
    file: int
    resource: dict[str, Any]


def lines(kind: str, paths: Sequence[Path]) -> Iterator[Line]:
    """The landed resources of a type."""
    decode = msgspec.json.Decoder().decode
    for path in paths:
        with path.open("rb") as stream:
            for raw in stream:
                one = decode(raw)
                yield Line(one["n"], one["site"], kind, one["id"], one["url"], one["file"], one["r"])


def strings(value: Any) -> Iterator[str]:
    """Every text in a resource."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)


def identifiers(value: Any, key: str = "") -> Iterator[str]:
    """The "system|value" of every logical reference, and of every contained Patient, in a resource."""
    if isinstance(value, dict):
        named = value.get("identifier")
        is_reference = isinstance(named, dict) and value.keys() <= {"reference", "type", "identifier", "display", "id"}
        if is_reference and value.get("type") in (None, "Patient"):
            yield spelled(named)
        if key == "contained" and value.get("resourceType") == "Patient" and isinstance(named, list):
            yield from map(spelled, named)
        for name, one in value.items():
            yield from identifiers(one, name)
    elif isinstance(value, list):
        for one in value:
            yield from identifiers(one, key)


def spelled(identifier: Any) -> str:
    """An identifier as "system|value"."""
    return f"{identifier.get('system') or ''}|{identifier.get('value') or ''}" if isinstance(identifier, dict) else "|"


def typed(text: str) -> tuple[str, str] | None:
    """(type, id) of a relative or absolute reference; None for any other text."""
    found = _TYPED.search(text)
    return (found[1], found[2]) if found else None


def conditional(text: str) -> str | None:
    """The "system|value" of a conditional reference to a Patient."""
    found = _CONDITIONAL.match(text)
    return unquote(found[1]) if found else None


def is_shared(kind: str) -> bool:
    """Whether resources of this type belong to no single patient."""
    return kind in _SHARED
