"""The verdict on single resources: landed, skipped or rejected, with the line that the transform reads.

The fast way: one typed decode per resource, one encode per block to prove that no key was doubled. Whatever the fast
way does not accept is examined exactly, alone; the fast way never rejects by itself.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from etl.landing.elements import Unknown, is_resource_type
from etl.landing.explain import problems_of, summary
from etl.landing.gate import Limits, Refused, examine, is_sound, keys, nested, suspicious
from etl.landing.lines import Line
from etl.landing.reasons import ID_FROM_CONTENT, NO_MAPPING, ZONE_ASSUMED
from etl.landing.rejects import Reject
from etl.landing.spelling import doubtful_lines
from etl.landing.split import Unit, type_of
from etl.landing.structure import decoder_of

_ENCODE: Final = msgspec.json.Encoder()
_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_NO_ZONE: Final = re.compile(rb'"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?)"')
_FAULTS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_Found = tuple[str | None, str | None, str | None] | None
"""What the fast way finds: id, meta.versionId, meta.lastUpdated of a mapped type; `_SOUND`; None: look exactly."""
_SOUND: Final[_Found] = (None, None, "")
"""What stands for a resource without a mapping; jiter saw that it is sound and repeats no key."""
_CHUNK: Final = 32
UNKNOWN_TYPE: Final = "(unknown)"
"""The resource type under which something without a usable resourceType is counted."""


@dataclass
class Verdicts:
    """What one file gave: lines by resource type, counts by (type, outcome, reason), refusals."""

    lines: dict[str, list[Line]] = field(default_factory=dict)
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    rejects: list[Reject] = field(default_factory=list)
    resources: int = 0


class Judge:
    """Judges the resources of one file."""

    def __init__(self, file: int, site: str, mapped: frozenset[str], limits: Limits) -> None:
        self.verdicts = Verdicts()
        self._file = file
        self._site = site
        self._mapped = mapped
        self._limits = limits

    def judge(self, units: Sequence[Unit], source: bytes | None = None) -> None:
        """Add the verdicts on a block of resources, in their order; `source` are bytes that hold all of them."""
        found, encoded = self._look_at(units, self._suspects(units, source))
        self._doubt_keys_and_spelling(units, found, encoded)
        for unit, one in zip(units, found, strict=True):
            self.verdicts.resources += 1
            if one is None:
                self._judge_exactly(unit)
            elif one is _SOUND:
                self._skip(unit.kind or "")
            else:
                self._keep(unit, unit.kind or "", *one)

    def refuse_file(self, refused: Refused) -> None:
        """Count a file that cannot be read as one landed and one rejected resource of type "(file)"."""
        self._reject("(file)", None, refused.reason, refused.detail, 0)

    def _suspects(self, units: Sequence[Unit], source: bytes | None) -> set[int]:
        """The places of resources with telling escapes, endless digits or deep nesting."""
        source = b"\n".join([unit.raw for unit in units]) if source is None else source
        tests = [test for test in (suspicious, nested) if test(source, self._limits)]
        return {place for place, unit in enumerate(units) if any(test(unit.raw, self._limits) for test in tests)}

    def _look_at(self, units: Sequence[Unit], suspects: set[int]) -> tuple[list[_Found], bytes]:
        """What the fast way finds of each resource, and the decoded resources encoded again, one per line.

        Decoded resources are dropped every few, so that their memory is used again while it is in the cache.
        """
        found: list[_Found] = []
        lines: list[bytes] = []
        chunk: list[Any] = []
        for place, unit in enumerate(units):
            kind, raw = unit.kind, unit.raw
            if kind is None or kind == "Bundle" or place in suspects or len(raw) > 2 * self._limits.max_nodes:
                found.append(None)
            elif kind not in self._mapped:
                found.append(_SOUND if is_resource_type(kind) and is_sound(raw) else None)
            else:
                resource = _decode(raw, kind)
                found.append(resource and _meant(resource))
                if resource is not None:
                    chunk.append(resource)
                    if len(chunk) == _CHUNK:
                        lines.append(_ENCODE.encode_lines(chunk))
                        chunk.clear()
        return found, b"".join([*lines, _ENCODE.encode_lines(chunk)])

    def _doubt_keys_and_spelling(self, units: Sequence[Unit], found: list[_Found], encoded: bytes) -> None:
        """Prove over the block that no key is doubled; decode strictly what spells dates or codes oddly."""
        places = [place for place, one in enumerate(found) if one is not None and one is not _SOUND]
        if not places:
            return
        raw = b"\n".join([units[place].raw for place in places])
        count = keys(raw)
        if count is None:
            raw = b"\n".join([msgspec.json.format(units[place].raw, indent=-1) for place in places])
            count = keys(raw)
        if count is None or count != keys(encoded):
            for place in places:
                found[place] = found[place] if is_sound(units[place].raw) else None
        for line in doubtful_lines(raw, encoded[:-1]):
            unit = units[places[line]]
            if _decode(unit.raw, unit.kind or "", quick=False) is None:
                found[places[line]] = None

    def _judge_exactly(self, unit: Unit) -> None:
        """The slow verdict on one resource: every check, value by value, then the models."""
        known = unit.kind if unit.kind is not None and is_resource_type(unit.kind) else UNKNOWN_TYPE
        try:
            parsed = examine(unit.raw, self._limits)
        except Refused as refused:
            self._reject(known, None, refused.reason, refused.detail, unit.at)
            return
        kind = parsed.get("resourceType") if isinstance(parsed, dict) else None
        if not isinstance(kind, str):
            self._reject(UNKNOWN_TYPE, None, "missing_resource_type", "", unit.at)
            return
        if not is_resource_type(kind):
            self._reject(UNKNOWN_TYPE, None, "unknown_resource_type", "", unit.at)
            return
        if kind == "Bundle":  # a sound one has been unfolded
            self._reject(kind, None, "invalid_bundle", "", unit.at)
            return
        if kind not in self._mapped:
            self._skip(kind)
            return
        given = parsed.get("id")
        meta = parsed.get("meta")
        version, updated = (meta.get("versionId"), meta.get("lastUpdated")) if isinstance(meta, dict) else (None, None)
        sound = _decode(unit.raw, kind, quick=False) is not None  # large resources end here, without pydantic
        if not sound and _decode(_NO_ZONE.sub(rb'"\1Z"', unit.raw), kind, quick=False) is not None:
            # Times without an offset are the only fault: kept as written, read in the site's zone, and counted.
            self._keep(unit, kind, given, version, updated, ZONE_ASSUMED)
            return
        problems = [] if sound else problems_of(kind, parsed)
        if problems:
            only_id = all(problem.startswith(f"{kind}.id: ") for problem in problems)
            reason = "invalid_id" if only_id else "invalid_resource"
            self._reject(kind, given if isinstance(given, str) else None, reason, summary(problems), unit.at)
            return
        self._keep(unit, kind, given, version, updated)

    def _keep(
        self, unit: Unit, kind: str, given: str | None, version: str | None, updated: str | None, reason: str = ""
    ) -> None:
        """Write the landed line, in the form that the transform reads; id, version and time as the resource says.

        `reason` says what was mended.
        """
        verdicts, raw = self.verdicts, unit.raw
        digest = hashlib.sha1(raw, usedforsecurity=False).hexdigest()
        resource_id = given or id_of_url(unit.url, kind)
        if not resource_id:
            resource_id, reason = f"content-{digest}", reason or ID_FROM_CONTENT
        if b"\n" in raw or b"\r" in raw:
            raw = raw.translate(None, b"\r\n")
        file, number = self._file, (self._file << 32) + verdicts.resources
        line = Line(
            number, self._site, resource_id, unit.url, file, version, updated, digest, file, unit.at, msgspec.Raw(raw)
        )
        verdicts.lines.setdefault(kind, []).append(line)
        verdicts.counts[kind, "landed", reason] += 1

    def _skip(self, kind: str) -> None:
        self.verdicts.counts[kind, "landed", ""] += 1
        self.verdicts.counts[kind, "skipped", NO_MAPPING] += 1

    def _reject(self, kind: str, resource_id: str | None, reason: str, detail: str, at: int) -> None:
        self.verdicts.counts[kind, "landed", ""] += 1
        self.verdicts.counts[kind, "rejected", reason] += 1
        self.verdicts.rejects.append(Reject(self._site, kind, resource_id, "landing", reason, detail, self._file, at))


def _meant(resource: Any) -> _Found:
    """What a decoded resource says of itself."""
    meta = resource.meta
    return (resource.id, None, None) if meta is None else (resource.id, meta.versionId, meta.lastUpdated)


def _decode(raw: bytes, kind: str, quick: bool = True) -> Any:
    """The typed resource with its contained ones checked as their own types; None when the exact way must decide."""
    for strict in (False, True) if quick else (True,):
        try:
            found = decoder_of(kind, strict).decode(raw)
            contained = getattr(found, "contained", None)
            if contained:
                for inner in contained:
                    decoder_of(type_of(bytes(inner)) or "", strict).decode(inner)
                if not is_sound(raw):
                    return None
            return found
        except (*_FAULTS, Unknown):
            continue
    return None


def id_of_url(url: str | None, kind: str) -> str | None:
    """The id that an entry's fullUrl gives to a resource without one: the uuid, or what follows ".../Type/"."""
    if not url:
        return None
    if url.startswith("urn:uuid:"):
        found = url.removeprefix("urn:uuid:").lower()
    else:
        before, _, last = url.rpartition("/")
        found = last if before.rpartition("/")[2] == kind else ""
    return found if _ID.fullmatch(found) else None
