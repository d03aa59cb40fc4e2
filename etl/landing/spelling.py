"""Which resources of a block spell a date or a code in a way that the quick types let pass and FHIR does not.

The quick types read dates natively (a space or a "t" for the "T", a zone without colon pass) and do not look at the
white space in codes. Whole-block passes in C find the few lines where that could matter; those are decoded again by
the strict types. A line that is not named here is spelled as FHIR wants it.
"""

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from etl.landing.gate import has_unicode_escape

_QUOTE, _SPACE, _PLUS, _MINUS, _COLON, _DOT, _BACKSLASH = b'" +-:.\\'
_ESCAPED: Final = re.compile(rb"\\u00(?:20|2[bBdD]|3[0-9]|[57]4|7[aA])")
_WIDE_SPACE: Final = re.compile(
    rb"\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80"
)
_WIDE_STARTS: Final = ((0xC2, 0x85, 0xA0), (0xE1, 0x9A), (0xE2, 0x80, 0x81), (0xE3, 0x80))
"""How the characters of `_WIDE_SPACE` start: first byte, second bytes."""
_SHORTEST: Final = 32
_CLOCK: Final = np.array([14, 17, *range(20, 27)])
"""Places in a date with a time, counted from its quote: two colons, the point, six digits behind it."""
_ZONE: Final = np.array([0, 1, 2, 3, 6])
"""Places in a zone: sign, hours, colon, the quote behind it."""

_Bytes = NDArray[np.uint8]
_Places = NDArray[np.int64]


def doubtful_lines(raw: bytes, encoded: bytes) -> set[int]:
    """The numbers (from 0) of the lines to decode strictly; `encoded` is compact JSON of the same lines."""
    if len(raw) < _SHORTEST or len(encoded) < _SHORTEST:
        return {*range(raw.count(b"\n") + 1)}
    return _lines_at(raw, _dates(raw)) | _lines_at(encoded, _codes(encoded))


def _lines_at(data: bytes, positions: list[int]) -> set[int]:
    if not positions:
        return set()
    breaks = np.flatnonzero(np.frombuffer(data, np.uint8) == 10)
    return {int(line) for line in np.searchsorted(breaks, positions)}


def _dates(raw: bytes) -> list[int]:
    """Positions of strings that start like a date with a time, unless it is spelled as FHIR wants it; of escapes too.

    Every date with a time starts with a quote and has its first dashes at places 5 and 8 behind it.
    """
    a = np.frombuffer(raw, np.uint8)
    dashes = a == _MINUS
    starts = np.flatnonzero(dashes[5:-6] & dashes[8:-3])
    starts = starts[a[starts] == _QUOTE]
    mark = a[starts + 11]
    timed = starts[mark == ord("T")]
    odd = [starts[(mark == _SPACE) | (mark == ord("t"))], timed[~_well_timed(a, timed)]]
    positions: list[int] = np.concatenate(odd).tolist()
    if has_unicode_escape(raw):
        positions += [match.start() for match in _ESCAPED.finditer(raw)]
    return positions


def _well_timed(a: _Bytes, starts: _Places) -> NDArray[np.bool_]:
    """Whether, behind "YYYY-MM-DDT, there is hh:mm:ss, a fraction of up to six digits or none, Z or ±hh:mm, a quote."""
    clock = a.take(starts[:, None] + _CLOCK, mode="clip")  # the last byte for places beyond the end
    fraction = clock[:, 2] == _DOT
    digits = np.logical_and.accumulate((clock[:, 3:] - np.uint8(48)) < 10, axis=1).sum(axis=1)
    zone = a.take((starts + 20 + fraction * (digits + 1))[:, None] + _ZONE, mode="clip")
    first = zone[:, 0]
    hour = (zone[:, 1] - np.uint8(48)) * np.uint8(10) + (zone[:, 2] - np.uint8(48))
    signed = ((first == _PLUS) | (first == _MINUS)) & (zone[:, 3] == _COLON) & (zone[:, 4] == _QUOTE) & (hour < 14)
    zulu = (first == ord("Z")) & (zone[:, 1] == _QUOTE)
    return np.asarray((clock[:, 0] == _COLON) & (clock[:, 1] == _COLON) & (signed | zulu))


def _codes(encoded: bytes) -> list[int]:
    """Positions of strings that start or end with white space or have two in a row, or an escaped control character."""
    a = np.frombuffer(encoded, np.uint8)
    spaces = np.flatnonzero(a[1:-1] == _SPACE) + 1
    before, after = a[spaces - 1], a[spaces + 1]
    odd = (before == _QUOTE) | (after == _QUOTE) | (after == _SPACE) | (after == _BACKSLASH)
    positions: list[int] = spaces[odd].tolist()
    if _BACKSLASH in encoded:
        slashes = np.flatnonzero(a[:-1] == _BACKSLASH)
        positions += slashes[np.isin(a[slashes + 1], np.frombuffer(b"tnrfu", np.uint8))].tolist()
    if not encoded.isascii():
        positions += _wide_spaces(encoded, a)
    return positions


def _wide_spaces(encoded: bytes, a: _Bytes) -> list[int]:
    """Positions of white space beyond ASCII."""
    firsts = np.flatnonzero(a[:-1] > 0xC1)
    lead, second = a[firsts], a[firsts + 1]
    alike = np.zeros(len(firsts), np.bool_)
    for first, *seconds in _WIDE_STARTS:
        for one in seconds:
            alike |= (lead == first) & (second == one)
    return [place for place in firsts[alike].tolist() if _WIDE_SPACE.match(encoded, place)]
