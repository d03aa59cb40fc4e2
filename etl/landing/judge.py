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

from etl.landing.explain import problems_of, summary
from etl.landing.gate import Limits, Refused, colons, examine, is_sound, large, suspicious
from etl.landing.reasons import ID_FROM_CONTENT, NO_MAPPING, ZONE_ASSUMED
from etl.landing.rejects import Reject
from etl.landing.spelling import doubtful_lines
from etl.landing.split import Unit, type_of
from etl.landing.structure import Unknown, decoder_of, is_resource_type

_ENCODE: Final = msgspec.json.Encoder()
_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_NO_ZONE: Final = re.compile(rb'"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?)"')
_FAULTS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
UNKNOWN_TYPE: Final = "(unknown)"
"""The resource type under which something without a usable resourceType is counted."""


@dataclass
class Verdicts:
    """What one file gave: lines by resource type, counts by (type, outcome, reason), refusals."""

    lines: dict[str, list[bytes]] = field(default_factory=dict)
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    rejects: list[Reject] = field(default_factory=list)
    resources: int = 0


@dataclass(frozen=True)
class _Meant:
    """What a resource says of itself: id, meta.versionId, meta.lastUpdated."""

    id: str | None
    version: str | None
    updated: str | None


class _Pending:
    """A resource on its way: its type if FHIR knows it, the decoded form, whether the fast way accepts it."""

    __slots__ = ("clear", "kind", "resource", "unit")

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.kind = unit.kind if unit.kind is not None and is_resource_type(unit.kind) else ""
        self.resource: Any = None
        self.clear = False


class Judge:
    """Judges the resources of one file."""

    def __init__(self, file: int, site: str, mapped: frozenset[str], limits: Limits) -> None:
        self.verdicts = Verdicts()
        self._file = file
        self._site = site
        self._site_json = msgspec.json.encode(site)
        self._mapped = mapped
        self._limits = limits

    def judge(self, units: Sequence[Unit]) -> None:
        """Add the verdicts on a block of resources, in their order."""
        block = [_Pending(unit) for unit in units]
        for pending in block:
            self._look_at(pending)
        self._doubt_escapes(block)
        self._doubt_keys_and_spelling([pending for pending in block if pending.clear and pending.resource is not None])
        for pending in block:
            self.verdicts.resources += 1
            if not pending.clear:
                self._judge_exactly(pending.unit, pending.kind)
            elif pending.resource is None:
                self._skip(pending.kind)
            else:
                meta = pending.resource.meta
                meant = _Meant(pending.resource.id, meta and meta.versionId, meta and meta.lastUpdated)
                self._keep(pending.unit, pending.kind, meant)

    def refuse_file(self, refused: Refused) -> None:
        """Count a file that cannot be read as one landed and one rejected resource of type "(file)"."""
        self._reject("(file)", None, refused.reason, refused.detail, 0)

    def _look_at(self, pending: "_Pending") -> None:
        """Decode a resource of a mapped type; for other types let jiter see that it is sound and repeats no key."""
        raw = pending.unit.raw
        if pending.kind in ("", "Bundle") or large(raw, self._limits):
            return
        if pending.kind not in self._mapped:
            pending.clear = is_sound(raw)
            return
        pending.resource = _decode(raw, pending.kind)
        pending.clear = pending.resource is not None

    def _doubt_escapes(self, block: Sequence["_Pending"]) -> None:
        """Send resources with telling escapes or endless digits to the exact way."""
        if suspicious(b"\n".join([pending.unit.raw for pending in block]), self._limits):
            for pending in block:
                if suspicious(pending.unit.raw, self._limits):
                    pending.clear = False

    def _doubt_keys_and_spelling(self, decoded: Sequence["_Pending"]) -> None:
        """Prove over the block that no key is doubled; decode strictly what spells dates or codes oddly."""
        if not decoded:
            return
        raw = b"\n".join([pending.unit.raw for pending in decoded])
        encoded = _ENCODE.encode_lines([pending.resource for pending in decoded])
        if colons(raw) != colons(encoded):
            for pending in decoded:
                pending.clear = is_sound(pending.unit.raw)
        for line in doubtful_lines(raw, encoded[:-1]):
            pending = decoded[line]
            pending.clear = pending.clear and _decode(pending.unit.raw, pending.kind, quick=False) is not None

    def _judge_exactly(self, unit: Unit, known: str) -> None:
        """The slow verdict on one resource: every check, value by value, then the models."""
        try:
            parsed = examine(unit.raw, self._limits)
        except Refused as refused:
            self._reject(known or UNKNOWN_TYPE, None, refused.reason, refused.detail, unit.at)
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
        meta = parsed.get("meta") or {}
        meant = (
            _Meant(given, meta.get("versionId"), meta.get("lastUpdated"))
            if isinstance(meta, dict)
            else _Meant(given, None, None)
        )
        sound = _decode(unit.raw, kind, quick=False) is not None  # large resources end here, without pydantic
        if not sound and _decode(_NO_ZONE.sub(rb'"\1Z"', unit.raw), kind, quick=False) is not None:
            # Times without an offset are the only fault: kept as written, read in the site's zone, and counted.
            self._keep(unit, kind, meant, ZONE_ASSUMED)
            return
        problems = [] if sound else problems_of(kind, parsed)
        if problems:
            only_id = all(problem.startswith(f"{kind}.id: ") for problem in problems)
            reason = "invalid_id" if only_id else "invalid_resource"
            self._reject(kind, given if isinstance(given, str) else None, reason, summary(problems), unit.at)
            return
        self._keep(unit, kind, meant)

    def _keep(self, unit: Unit, kind: str, meant: _Meant, repaired: str = "") -> None:
        """Write the landed line, in the form that the transform reads; `repaired` is the reason of a repair."""
        digest = hashlib.sha1(unit.raw, usedforsecurity=False).hexdigest()
        resource_id, reason = meant.id, repaired
        if not resource_id:
            resource_id = id_of_url(unit.url, kind)
            if not resource_id:
                resource_id, reason = f"content-{digest}", repaired or ID_FROM_CONTENT
        number = (self._file << 32) + self.verdicts.resources
        raw = unit.raw if b"\n" not in unit.raw and b"\r" not in unit.raw else unit.raw.translate(None, b"\r\n")
        self.verdicts.lines.setdefault(kind, []).append(
            b'{"n":%d,"site":%b,"id":"%b","url":%b,"bundle":%d,"version":%b,"updated":%b,"hash":"%b","file":%d,"at":%d,"r":%b}\n'
            % (
                number,
                self._site_json,
                resource_id.encode(),
                _json(unit.url),
                self._file,
                _json(meant.version),
                _json(meant.updated),
                digest.encode(),
                self._file,
                unit.at,
                raw,
            )
        )
        self.verdicts.counts[kind, "landed", reason] += 1

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
