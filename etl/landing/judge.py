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
from etl.landing.lines import Lines
from etl.landing.reasons import ID_FROM_CONTENT, NO_MAPPING, ZONE_ASSUMED
from etl.landing.rejects import Reject
from etl.landing.spelling import doubtful_lines
from etl.landing.split import Unit, type_of
from etl.landing.structure import decoder_of

_ENCODE: Final = msgspec.json.Encoder()
_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_NO_ZONE: Final = re.compile(rb'"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?)"')
_FAULTS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_SOUND: Final = object()
"""What stands for a resource without a mapping that passed the gate."""
UNKNOWN_TYPE: Final = "(unknown)"
"""The resource type under which something without a usable resourceType is counted."""


@dataclass
class Verdicts:
    """What one file gave: lines by resource type, counts by (type, outcome, reason), refusals."""

    lines: dict[str, Lines] = field(default_factory=dict)
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    rejects: list[Reject] = field(default_factory=list)
    resources: int = 0


class Judge:
    """Judges the resources of one file."""

    def __init__(self, file: int, site: str, mapped: frozenset[str], limits: Limits) -> None:
        self.verdicts = Verdicts()
        self._file = file
        self._site = site
        self._site_json = msgspec.json.encode(site)
        self._mapped = mapped
        self._limits = limits

    def judge(self, units: Sequence[Unit], source: bytes | None = None) -> None:
        """Add the verdicts on a block of resources, in their order; `source` are bytes that hold all of them."""
        source = b"\n".join([unit.raw for unit in units]) if source is None else source
        found = [self._look_at(unit) for unit in units]
        if nested(source, self._limits):
            found = [None if nested(u.raw, self._limits) else f for u, f in zip(units, found, strict=True)]
        if suspicious(source, self._limits):
            for place, unit in enumerate(units):
                if suspicious(unit.raw, self._limits):
                    found[place] = None
        self._doubt_keys_and_spelling(units, found)
        for unit, resource in zip(units, found, strict=True):
            self.verdicts.resources += 1
            if resource is None:
                self._judge_exactly(unit)
            elif resource is _SOUND:
                self._skip(unit.kind or "")
            else:
                meta = resource.meta
                version, updated = (meta.versionId, meta.lastUpdated) if meta is not None else (None, None)
                self._keep(unit, unit.kind or "", resource.id, version, updated)

    def refuse_file(self, refused: Refused) -> None:
        """Count a file that cannot be read as one landed and one rejected resource of type "(file)"."""
        self._reject("(file)", None, refused.reason, refused.detail, 0)

    def _look_at(self, unit: Unit) -> Any:
        """What the fast way finds: the decoded form of a mapped type, `_SOUND` for other types, or None: look exactly.

        Of other types jiter sees that they are sound and repeat no key.
        """
        kind, raw = unit.kind, unit.raw
        if kind is None or kind == "Bundle" or len(raw) > 2 * self._limits.max_nodes:
            return None
        if kind in self._mapped:
            return _decode(raw, kind)
        return _SOUND if is_resource_type(kind) and is_sound(raw) else None

    def _doubt_keys_and_spelling(self, units: Sequence[Unit], found: list[Any]) -> None:
        """Prove over the block that no key is doubled; decode strictly what spells dates or codes oddly."""
        places = [place for place, resource in enumerate(found) if resource is not None and resource is not _SOUND]
        if not places:
            return
        encoded = _ENCODE.encode_lines([found[place] for place in places])
        raw = b"\n".join([units[place].raw for place in places])
        count = keys(raw)
        if count is None:
            raw = b"\n".join([msgspec.json.format(units[place].raw, indent=-1) for place in places])
            count = keys(raw)
        doubtful = doubtful_lines(raw, encoded[:-1])
        if count is None or count != keys(encoded):
            for place in places:
                found[place] = found[place] if is_sound(units[place].raw) else None
        for line in doubtful:
            place = places[line]
            if found[place] is not None:
                found[place] = _decode(units[place].raw, units[place].kind or "", quick=False)

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
        number = (self._file << 32) + verdicts.resources
        if b"\n" in raw or b"\r" in raw:
            raw = raw.translate(None, b"\r\n")
        lines = verdicts.lines.get(kind)
        if lines is None:
            lines = verdicts.lines[kind] = Lines()
        lines.numbers.append(number)
        lines.texts.append(
            b'{"n":%d,"site":%b,"id":"%b","url":%b,"bundle":%d,"version":%b,"updated":%b,"hash":"%b","file":%d,"at":%d,"r":%b}\n'
            % (
                number,
                self._site_json,
                resource_id.encode(),
                _json(unit.url),
                self._file,
                _json(version),
                _json(updated),
                digest.encode(),
                self._file,
                unit.at,
                raw,
            )
        )
        verdicts.counts[kind, "landed", reason] += 1

    def _skip(self, kind: str) -> None:
        self.verdicts.counts[kind, "landed", ""] += 1
        self.verdicts.counts[kind, "skipped", NO_MAPPING] += 1

    def _reject(self, kind: str, resource_id: str | None, reason: str, detail: str, at: int) -> None:
        self.verdicts.counts[kind, "landed", ""] += 1
        self.verdicts.counts[kind, "rejected", reason] += 1
        self.verdicts.rejects.append(Reject(self._site, kind, resource_id, "landing", reason, detail, self._file, at))


def _json(text: str | None) -> bytes:
    return b"null" if text is None else msgspec.json.encode(text)


def _decode(raw: bytes, kind: str, quick: bool = True) -> Any:
    """The typed resource with its contained ones checked as their own types; None when the exact way must decide."""
    for strict in (False, True) if quick else (True,):
        try:
            found = decoder_of(kind, strict).decode(raw)
            contained = getattr(found, "contained", None)
            if contained:
                for inner in contained:
                    decoder_of(type_of(inner) or "", strict).decode(inner)
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
