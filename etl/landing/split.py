"""A file's content as single resources: Bundles unfolded, lines told apart, bytes untouched.

The frame of a Bundle is decoded; the resources in it stay raw bytes (`msgspec.Raw`, 1.2 GB/s). A Bundle that no strict
parser reads because of one bad value (NaN, half a surrogate) is cut up by a tolerant scanner, so that the fault costs
one entry and not the file.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from etl.landing.gate import Refused, has_duplicate_key, keys


class Unit(NamedTuple):
    """One resource as it lies in its file: raw bytes, entry.fullUrl, entry or line number, resourceType if readable."""

    raw: bytes
    url: str | None
    at: int
    kind: str | None


class Deletion(NamedTuple):
    """A DELETE entry: "Type/id", how many resources came before it, and response.lastModified if it is there."""

    target: str
    after: int
    updated: str | None


@dataclass(frozen=True)
class Unfolded:
    """What a Bundle held: resources, and its DELETE entries."""

    units: list[Unit]
    deleted: list[Deletion]


class _Request(msgspec.Struct, omit_defaults=True):
    method: str | None = None
    url: str | None = None


class _Entry(msgspec.Struct, omit_defaults=True):
    fullUrl: str | None = None  # noqa: N815  FHIR's name
    resource: msgspec.Raw = msgspec.Raw(b"")
    request: _Request | None = None
    response: Any = None
    search: Any = None
    link: Any = None
    id: Any = None
    extension: Any = None


class _Bundle(msgspec.Struct, omit_defaults=True):
    resourceType: str  # noqa: N815  FHIR's name
    entry: list[_Entry] | None = None
    type: Any = None
    id: Any = None
    meta: Any = None
    identifier: Any = None
    timestamp: Any = None
    total: Any = None
    link: Any = None


class _Head(msgspec.Struct):
    resourceType: str | None = None  # noqa: N815  FHIR's name
    transactionTime: Any = None  # noqa: N815  FHIR's name
    output: Any = None


_BUNDLE: Final = msgspec.json.Decoder(_Bundle)
_HEAD: Final = msgspec.json.Decoder(_Head)
_ENCODE: Final = msgspec.json.Encoder()
_USUAL: Final = b'{"resourceType":"'
_FIRST_KEY: Final = re.compile(rb'\s*\{\s*"resourceType"\s*:\s*"([A-Za-z]+)"')
_EXCHANGE: Final = ("request", "response")
_DELETED: Final = re.compile(r"(?:.*/)?([A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64})\Z")
_BLANK: Final = msgspec.Raw(b"0")
_RESOURCE: Final = b'"resource":'
_WHITE: Final = re.compile(r"[ \t\r\n]*")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_TOLERANT: Final = json.JSONDecoder(strict=False)


def type_of(raw: bytes) -> str | None:
    """The resourceType of a JSON object; None when it has none. Raises msgspec.DecodeError on what is not JSON."""
    if raw.startswith(_USUAL):
        kind = raw[len(_USUAL) : raw.find(b'"', len(_USUAL))]
        if kind.isalpha():
            return kind.decode()
    first = _FIRST_KEY.match(raw)
    if first:
        return first[1].decode()
    try:
        return _HEAD.decode(raw).resourceType
    except msgspec.ValidationError:
        return None


def kind_of(raw: bytes) -> str | None:
    """The resourceType, or None when there is none or the bytes are no JSON."""
    try:
        return type_of(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def is_bulk_manifest(raw: bytes) -> bool:
    """Whether the bytes are the manifest of a bulk export, which lists files and is no resource."""
    try:
        head = _HEAD.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return head.resourceType is None and head.transactionTime is not None and isinstance(head.output, list)


def compact(data: bytes) -> bytes:
    """The same JSON without white space between its tokens, which are copied verbatim; raises msgspec.DecodeError.

    Indented Bundles shrink to less than half, so everything after this step has half the work.
    """
    if b"\n" not in data[:4096]:
        return data if b"\n" not in data else msgspec.json.format(data, indent=-1)
    return msgspec.json.format(data, indent=-1)


def unfold(data: bytes, at: int | None = None) -> Unfolded:
    """The resources of a Bundle, nested Bundles unfolded too; raises `Refused` when the frame itself is at fault.

    `at` is the line of a Bundle that stands in an NDJSON line; without it entries are counted from 1.
    """
    try:
        bundle = _BUNDLE.decode(data)
    except msgspec.ValidationError:
        raise Refused("invalid_bundle") from None
    entries = bundle.entry or []
    resources = [bytes(entry.resource) for entry in entries]
    for entry in entries:
        if entry.resource:
            entry.resource = _BLANK
    if _repeats_key(_frame(data, resources), bundle):
        raise Refused("duplicate_key")
    result = Unfolded([], [])
    for number, (entry, resource) in enumerate(zip(entries, resources, strict=True), start=1):
        place = number if at is None else at
        if resource and resource != b"null":
            _add(result, resource, entry.fullUrl, place)
        elif entry.request is not None:
            _note_deletion(result, {"method": entry.request.method, "url": entry.request.url}, entry.response)
    return result


def _frame(data: bytes, resources: list[bytes]) -> bytes:
    """The Bundle with 0 in place of each resource; their faults are their own."""
    pieces = []
    position = 0
    for resource in filter(None, resources):
        start = data.find(_RESOURCE, position) + len(_RESOURCE)
        if not data.startswith(resource, start):  # white space, or the word stands somewhere else too
            start = data.index(resource, position)
        pieces += [data[position:start], b"0"]
        position = start + len(resource)
    return b"".join([*pieces, data[position:]])


def _repeats_key(frame: bytes, bundle: _Bundle) -> bool:
    """Whether a key is doubled in the frame; that what was decoded has as many keys proves that none is."""
    if b"\\" not in frame:
        count = keys(frame)
        if count is not None and count == keys(_ENCODE.encode(bundle)):
            return False
    return has_duplicate_key(frame)


def _add(result: Unfolded, raw: bytes, url: str | None, at: int) -> None:
    """Append a resource, or what a nested Bundle holds."""
    kind = kind_of(raw)
    if kind == "Bundle":
        try:
            inner = unfold(raw, at)
        except Refused:
            pass  # refused by the judge, as a resource of type Bundle
        else:
            result.deleted.extend(one._replace(after=len(result.units) + one.after) for one in inner.deleted)
            result.units.extend(inner.units)
            return
    result.units.append(Unit(raw, url if url and "\0" not in url else None, at, kind))


def unfold_tolerantly(data: bytes, at: int | None = None) -> Unfolded:
    """The resources of a Bundle that strict parsers refuse; raises `Refused` when even the tolerant scanner fails."""
    text = data.decode("utf-8")
    result = Unfolded([], [])
    try:
        if text[_value(text, _skip(text, 0))[1] :].strip(" \t\r\n"):
            raise Refused("invalid_json")
        members = _unique(_members(text, _skip(text, 0)))
        if "entry" not in members:
            raise Refused("invalid_json")
        for number, start in enumerate(_items(text, members["entry"]), start=1):
            entry = _unique(_members(text, start))
            url = _value(text, entry["fullUrl"])[0] if "fullUrl" in entry else None
            if "resource" in entry:
                begin = entry["resource"]
                raw = text[begin : _value(text, begin)[1]].encode("utf-8", "surrogatepass")
                _add(result, _one_line(raw), _text(url), number if at is None else at)
            elif "request" in entry:
                _note_deletion(result, *(_value(text, entry[k])[0] if k in entry else None for k in _EXCHANGE))
        return result
    except (json.JSONDecodeError, StopIteration, IndexError, KeyError, TypeError):
        raise Refused("invalid_json") from None
    except RecursionError:
        raise Refused("too_deep") from None


def _note_deletion(result: Unfolded, request: Any, response: Any) -> None:
    """Append what a DELETE entry names; other requests say nothing."""
    if not isinstance(request, dict) or request.get("method") != "DELETE":
        return
    target = _DELETED.match(_text(request.get("url")) or "")
    if target:
        updated = response.get("lastModified") if isinstance(response, dict) else None
        result.deleted.append(Deletion(target[1], len(result.units), _text(updated)))


def _one_line(raw: bytes) -> bytes:
    """The bytes without white space between tokens; as they are when no strict parser reads them."""
    try:
        return compact(raw)
    except (msgspec.DecodeError, RecursionError):
        return raw


def _text(url: Any) -> str | None:
    """A fullUrl if it is a text that can be written as UTF-8."""
    return url if isinstance(url, str) and not _SURROGATE.search(url) else None


def _unique(members: Iterator[tuple[str, int]]) -> dict[str, int]:
    """Key → start of value; raises `Refused` on a doubled key."""
    pairs = list(members)
    if len(dict(pairs)) != len(pairs):
        raise Refused("duplicate_key")
    return dict(pairs)


def _value(text: str, position: int) -> tuple[Any, int]:
    """The value at a position and where it ends."""
    return _TOLERANT.raw_decode(text, position)


def _skip(text: str, position: int) -> int:
    match = _WHITE.match(text, position)
    assert match is not None
    return match.end()


def _members(text: str, position: int) -> Iterator[tuple[str, int]]:
    """Key and start of value of each member of the object at a position."""
    position = _expect(text, _skip(text, position), "{")
    while text[position] != "}":
        key, position = _value(text, position)
        position = _expect(text, _skip(text, position), ":")
        yield key, position
        position = _skip(text, _value(text, position)[1])
        if text[position] == ",":
            position = _skip(text, position + 1)


def _items(text: str, position: int) -> Iterator[int]:
    """Start of each item of the list at a position."""
    position = _expect(text, position, "[")
    while text[position] != "]":
        yield position
        position = _skip(text, _value(text, position)[1])
        if text[position] == ",":
            position = _skip(text, position + 1)


def _expect(text: str, position: int, mark: str) -> int:
    if text[position] != mark:
        raise json.JSONDecodeError("mark expected", "", 0)
    return _skip(text, position + 1)
