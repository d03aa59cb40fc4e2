"""The strict gate in front of everything: which bytes may go on, and why the others may not.

Parsers disagree on duplicate keys, lone surrogates, huge numbers and NaN, so the bytes that several of them read later
must have one meaning. The fast way never looks at a single value in Python: whole-buffer passes in C find *suspects*
(`Suspicion`), and only a suspect resource is examined exactly (`examine`).

Duplicate keys: a typed decode keeps one value of each key, so encoding what it decoded gives fewer keys than the source
had. Equal counts over a whole block prove that no key was doubled (`keys`); a difference sends every resource of the
block to jiter, which reports duplicates at parser speed.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import jiter
import numpy as np


@dataclass(frozen=True)
class Limits:
    """How large, deep and dense input may be. Sizes in bytes after decompression."""

    max_file_bytes: int = 512 * 2**20
    max_line_bytes: int = 64 * 2**20
    max_gzip_ratio: int = 250
    max_depth: int = 100
    max_nodes: int = 200_000
    max_number_digits: int = 48


_ESCAPES: Final = re.compile(rb"\\u(?:0000|0022|003[aA]|[dD][89a-fA-F])")
_SAMPLE: Final = 16
_QUOTE, _COLON, _BACKSLASH, _U = b'":\\u'


class Refused(Exception):  # noqa: N818  a verdict, not a failure
    """Bytes that the gate refuses; `reason` is a code of `etl.landing.reasons`."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(reason)


def keys(data: bytes) -> int | None:
    """How often a quote is followed by a colon: once for each key, and alike inside texts whoever writes them.

    None when white space stands before some colon, so that the count would miss keys; compact JSON has none there.
    """
    a = np.frombuffer(data, np.uint8)
    colons = a[1:] == _COLON
    if (colons & (a[:-1] <= 32)).any():
        return None
    return int(np.count_nonzero(colons & (a[:-1] == _QUOTE)))


def suspicious(data: bytes, limits: Limits) -> bool:
    """Whether these bytes may hold something that the typed decode and the count of keys do not see.

    That is: an escape for NUL, quote, colon or a surrogate; a very long run of digits. A False is a proof, a True asks
    for `examine`.
    """
    return _telling_escape(data) or _long_digit_run(data, limits.max_number_digits)


def _telling_escape(data: bytes) -> bool:
    return has_unicode_escape(data) and _ESCAPES.search(data) is not None


def has_unicode_escape(data: bytes) -> bool:
    """Whether a backslash stands before some u; searching for the pair takes three times as long."""
    if _BACKSLASH not in data:
        return False
    a = np.frombuffer(data, np.uint8)
    return bool((a[np.flatnonzero(a[:-1] == _BACKSLASH) + 1] == _U).any())


def nested(data: bytes, limits: Limits) -> bool:
    """Whether so many extensions stand in the bytes that they may lie within one another beyond the depth limit.

    Only recursion through extensions goes deep.
    """
    return len(data) > 12 * limits.max_depth and data.count(b'"extension"') >= limits.max_depth // 4


def _long_digit_run(data: bytes, longest: int) -> bool:
    """Whether a run of more than `longest` (at least 48) digits may be there, by looking at each 16th byte first."""
    if len(data) <= longest:
        return False
    sampled = (np.frombuffer(data, np.uint8)[::_SAMPLE] - np.uint8(48)) < 10  # wraps below "0"
    starts = np.flatnonzero(sampled[:-2] & sampled[1:-1] & sampled[2:]) * _SAMPLE
    if not len(starts):
        return False
    window = np.frombuffer(data, np.uint8)[starts[:, None] + np.arange(2 * _SAMPLE + 1)]
    return bool(((window - np.uint8(48)) < 10).all(axis=1).any())


def examine(data: bytes, limits: Limits) -> Any:
    """The parsed JSON of one resource, line or file after every check, value by value; raises `Refused`."""
    text = _decode(data)
    try:
        parsed = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_int=lambda digits: _integer(digits, limits),
            parse_float=lambda digits: _float(digits, limits),
        )
    except RecursionError:
        raise Refused("too_deep") from None
    except json.JSONDecodeError:
        raise Refused("nul" if "\0" in text else "invalid_json") from None
    _walk(parsed, limits)
    return parsed


def _decode(data: bytes) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        raise Refused("invalid_utf8") from None


def is_sound(data: bytes) -> bool:
    """Whether jiter, at parser speed, finds JSON without doubled keys, NaN or bad UTF-8; a False asks for `examine`."""
    try:
        jiter.from_json(data, allow_inf_nan=False, catch_duplicate_keys=True, cache_mode="keys")
    except ValueError:
        return False
    return True


def has_duplicate_key(data: bytes) -> bool:
    """Whether some object in the bytes repeats a key; other faults are not this function's."""
    try:
        jiter.from_json(data, catch_duplicate_keys=True)
    except ValueError as error:
        return str(error).startswith("Detected duplicate key")
    return False


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refused("duplicate_key")
    return found


def _constant(_: str) -> NoReturn:
    raise Refused("not_finite")


def _integer(digits: str, limits: Limits) -> int:
    if len(digits) > limits.max_number_digits + 1:
        raise Refused("number_too_long")
    return int(digits)


def _float(digits: str, limits: Limits) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise Refused("number_too_long")
    if len(digits) > limits.max_number_digits and re.search(rf"[0-9]{{{limits.max_number_digits + 1},}}", digits):
        raise Refused("number_too_long")
    return number


def _walk(parsed: Any, limits: Limits) -> None:
    """Count nodes and depth and look into every string, without recursion."""
    nodes = 0
    stack = [(parsed, 1)]
    while stack:
        value, depth = stack.pop()
        nodes += 1
        if depth > limits.max_depth:
            raise Refused("too_deep")
        if nodes > limits.max_nodes:
            raise Refused("too_many_nodes")
        if isinstance(value, str):
            _check_text(value)
        elif isinstance(value, dict):
            for key, inner in value.items():
                _check_text(key)
                stack.append((inner, depth + 1))
        elif isinstance(value, list):
            stack.extend((inner, depth + 1) for inner in value)


def _check_text(text: str) -> None:
    if "\0" in text:
        raise Refused("nul")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise Refused("lone_surrogate")
