"""Which resources of a block spell a date or a code in a way that the quick types let pass and FHIR does not.

The quick types read dates natively (a space or a "t" for the "T", a zone without colon pass) and do not look at the
white space in codes. Whole-block passes in C find the few lines where that could matter; those are decoded again by
the strict types. A line that is not named here is spelled as FHIR wants it.
"""

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

_QUOTE, _SPACE, _PLUS, _MINUS, _COLON, _BACKSLASH = b'" +-:\\'
_ESCAPED: Final = re.compile(rb"\\u00(?:20|2[bBdD]|3[0-9]|[57]4|7[aA])")
_WIDE_SPACE: Final = re.compile(
    rb"\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80"
)
_SHORTEST: Final = 32


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
    """Positions of date-like text with a wrong separator, a lower-case z, an odd zone, or escaped characters."""
    a = np.frombuffer(raw, np.uint8)
    ends = a[11:]
    dates = (a[:-11] == _QUOTE) & (a[5:-6] == _MINUS) & (a[8:-3] == _MINUS) & ((ends == _SPACE) | (ends == ord("t")))
    zulu = (a[:-1] == ord("z")) & (a[1:] == _QUOTE)
    signs = (a == _PLUS) | (a == _MINUS)
    bare = np.flatnonzero(signs[1:-5] & (a[6:] == _QUOTE)) + 1
    zoned = np.flatnonzero(signs[1:-6] & (a[7:] == _QUOTE) & (a[4:-3] == _COLON)) + 1
    bare = bare[_digits(a, bare - 1) & _digits(a, bare + 1) & _digits(a, bare + 4)]
    zoned = zoned[
        _digits(a, zoned - 1) & ((a[zoned + 1] > ord("1")) | (a[zoned + 2] > ord("3")) & (a[zoned + 1] > ord("0")))
    ]
    found = [np.flatnonzero(dates), np.flatnonzero(zulu), bare, zoned]
    positions = [int(position) for each in found for position in each]
    if b"\\u" in raw:
        positions += [match.start() for match in _ESCAPED.finditer(raw)]
    return positions


def _digits(a: NDArray[np.uint8], positions: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.asarray((a[positions] - np.uint8(48)) < 10)


def _codes(encoded: bytes) -> list[int]:
    """Positions of strings that start or end with white space or have two in a row, or an escaped control character."""
    a = np.frombuffer(encoded, np.uint8)
    spaces = np.flatnonzero(a[1:-1] == _SPACE) + 1
    before, after = a[spaces - 1], a[spaces + 1]
    odd = spaces[(before == _QUOTE) | (after == _QUOTE) | (after == _SPACE) | (after == _BACKSLASH)]
    positions = [int(position) for position in odd]
    if b"\\" in encoded:
        slashes = np.flatnonzero(a[:-1] == _BACKSLASH)
        control = slashes[np.isin(a[slashes + 1], np.frombuffer(b"tnrfu", np.uint8))]
        positions += [int(position) for position in control]
    if not encoded.isascii():
        positions += [match.start() for match in _WIDE_SPACE.finditer(encoded)]
    return positions
