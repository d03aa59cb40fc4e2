"""Marrow blasts out of a report's text (`marrow_blasts@1`, REALITIES.md R22): the number that belongs to the blasts."""

import re
from collections.abc import Sequence

from analytics.written import normalise, with_limits

_PART = re.compile(r"([<>]?=?)\s*([0-9]+(?:\.[0-9]+)?)")


def read_blasts(
    text: str | None, patterns: Sequence[str], inadequate: Sequence[str], decimal_separator: str = "."
) -> tuple[float, str | None] | None:
    """Blasts in % and the sign of a limit (`<`), from the first pattern that fits; None for a text without them.

    A pattern of two groups gives the sum: lymphoblasts and prolymphocytes counted apart.
    """
    if text is None or not text.strip() or any(re.search(one, text) for one in inadequate):
        return None
    folded = with_limits(normalise(text, decimal_separator))
    for pattern in patterns:
        if found := re.search(pattern, folded):
            parts = [match.groups() for one in found.groups() if one and (match := _PART.search(one))]
            if parts:
                total = round(sum(float(number) for _, number in parts), 6)
                return total, next((sign for sign, _ in parts if sign), None)
    return None
