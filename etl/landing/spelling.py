"""Which resources of a block spell a date or a code in a way that the quick types let pass and FHIR does not.

The quick types read dates natively (a space or a "t" for the "T", a zone without colon pass) and do not look at the
white space in codes. Whole-block passes in C find the few lines where that could matter; those are decoded again by
the strict types. A line that is not named here is spelled as FHIR wants it.
"""

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

_QUOTE, _SPACE, _PLUS, _MINUS, _COLON, _DOT, _BACKSLASH = b'" +-:.\\'
_ESCAPED: Final = re.compile(rb"\\u00(?:20|2[bBdD]|3[0-9]|[57]4|7[aA])")
_WIDE_SPACE: Final = re.compile(
    rb"\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80"
)
_SHORTEST: Final = 32
_FRACTION: Final = 6

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
    if b"\\u" in raw:
        positions += [match.start() for match in _ESCAPED.finditer(raw)]
    return positions


def _well_timed(a: _Bytes, starts: _Places) -> NDArray[np.bool_]:
    """Whether, behind "YYYY-MM-DDT, there is hh:mm:ss, a fraction of up to six digits or none, Z or ±hh:mm, a quote."""
    fits = (_at(a, starts + 14) == _COLON) & (_at(a, starts + 17) == _COLON)
    zone = starts + 20
    fractions = np.flatnonzero(_at(a, zone) == _DOT)
    ends = zone[fractions] + 1
    for _ in range(_FRACTION):
        ends += (_at(a, ends) - np.uint8(48)) < 10
    zone[fractions] = ends
    first = _at(a, zone)
    hour = (_at(a, zone + 1) - np.uint8(48)) * np.uint8(10) + (_at(a, zone + 2) - np.uint8(48))
    signed = ((first == _PLUS) | (first == _MINUS)) & (_at(a, zone + 3) == _COLON) & (_at(a, zone + 6) == _QUOTE)
    return np.asarray(fits & (((first == ord("Z")) & (_at(a, zone + 1) == _QUOTE)) | (signed & (hour < 14))))


def _at(a: _Bytes, places: _Places) -> _Bytes:
    """The bytes at these places, the last one for places beyond the end."""
    return np.asarray(a.take(places, mode="clip"))


def _codes(encoded: bytes) -> list[int]:
    """Positions of strings that start or end with white space or have two in a row, or an escaped control character."""
    a = np.frombuffer(encoded, np.uint8)
    spaces = a == _SPACE
    quotes = a == _QUOTE
    ends = quotes[1:] | spaces[1:]
    if _BACKSLASH in encoded:
        slashes = a == _BACKSLASH
        ends |= slashes[1:]
        escapes = np.flatnonzero(slashes[:-1])
        control = escapes[np.isin(a[escapes + 1], np.frombuffer(b"tnrfu", np.uint8))].tolist()
    else:
        control = []
    odd = (spaces[:-1] & ends) | (quotes[:-1] & spaces[1:])
    positions = [*np.flatnonzero(odd).tolist(), *control]
    if not encoded.isascii():
        positions += [match.start() for match in _WIDE_SPACE.finditer(encoded)]
    return positions
