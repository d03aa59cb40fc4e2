"""MRD results as hospitals write them → value in %, operator, class (`mrd_parse@1`, PROTOCOL.md section 5.3).

Each distinct result is read once. Nothing is guessed: a bare number without unit and without a site's word for it is
UNPARSED.
"""

import re
from dataclasses import dataclass
from typing import Any

from analytics.written import normalise, with_limits

POSITIVE, NEGATIVE, BELOW_CUTOFF = "POSITIVE", "NEGATIVE", "BELOW_CUTOFF"
POS_BQ, INDETERMINATE, UNPARSED, INADEQUATE = "POS_BQ", "INDETERMINATE", "UNPARSED", "INADEQUATE"

_COMPARATOR = re.compile(r"^(<=|>=|<|>|=)?(.*)$", re.DOTALL)
_NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?"
_PLAIN = re.compile(rf"^({_NUMBER})$")
_PERCENT = re.compile(rf"^({_NUMBER})%$")
_SCIENTIFIC = re.compile(rf"^({_NUMBER})×10(?:\^?([+-][0-9]+)|e([+-]?[0-9]+))$")
_POWER = re.compile(r"^10\^?(-[0-9]+)$")
_LOG = re.compile(r"^(-[0-9]+(?:\.[0-9]+)?)log(?:10)?$")
_PER_MILLION = re.compile(rf"^({_NUMBER})(?:cells?|个)?/(?:10[\^*]?6|1000000|million|百万)(?:cells?|个)?$")
_POWER_UNIT = re.compile(r"^[×x*]?(?:1×)?10[\^*]?(-[0-9]+)$")
_ANTIGEN = re.compile(r"cd\s?[0-9]+[a-z]?\s*(?:\([-+]\)|[-+]|阴性|阳性|negative|positive|neg|pos)?")
_SELF_TELLING = rf"{_NUMBER}(?:\s*%|\s*×\s*10(?:\^?[+-]|e[+-]?)[0-9]+|\s*/\s*10[\^*]?6)"
_VALUE = re.compile(rf"(<=|>=|<|>|=)?\s*({_SELF_TELLING}|10\^?-[0-9]+)")


@dataclass(frozen=True)
class Mrd:
    """One MRD result: value in % (None when there is none), operator (`=`, `<`, `>` or None), and its class."""

    value: float | None
    operator: str | None
    kind: str


def parse_mrd(
    text: str | None,
    number: float | None,
    unit: str | None,
    operator: str | None,
    rule: dict[str, Any],
    *,
    cutoff_pct: float,
    inadequate: tuple[str, ...] = (),
    decimal_separator: str = ".",
    by_lod: bool = False,
) -> Mrd:
    """One result read by the grammar: a number with its unit and operator first, else the text.

    `rule` is the parameter `mrd_parse`; `inadequate` are patterns of words for a sample that gives no result. `by_lod`:
    whatever the assay quantified is positive, whatever lies below its own limit is negative (S7).
    """  # fmt: skip
    cutoff = 0.0 if by_lod else cutoff_pct
    if number is not None:
        percent = _in_percent(number, unit, rule)
        if percent is None:
            return Mrd(0.0, "=", NEGATIVE) if number == 0 else Mrd(None, operator, UNPARSED)
        return _by_value(percent, operator or "=", cutoff, by_lod)
    if text is None or not text.strip():
        return Mrd(None, None, UNPARSED)
    if any(re.search(pattern, text) for pattern in inadequate):
        return Mrd(None, None, INADEQUATE)
    folded = with_limits(normalise(text, decimal_separator))
    found = _words(folded, rule) or _numeric(folded, unit, operator, rule, cutoff, by_lod)
    return found or _words_and_number(folded, rule, cutoff, by_lod) or Mrd(None, None, UNPARSED)


def _words(folded: str, rule: dict[str, Any]) -> Mrd | None:
    spoken = re.sub(r"[\s,，;；。:：]+", " ", folded).strip()
    if any(spoken == word or spoken.replace(" ", "") == word.replace(" ", "") for word in rule["pos_bq_words"]):
        return Mrd(None, None, POS_BQ)
    if spoken in rule["negative_words"]:
        return Mrd(0.0 if spoken == "0" else None, "=" if spoken == "0" else None, NEGATIVE)
    return Mrd(None, None, POSITIVE) if spoken in rule["positive_words"] else None


def _numeric(
    folded: str, unit: str | None, operator: str | None, rule: dict[str, Any], cutoff: float, by_lod: bool
) -> Mrd | None:
    match = _COMPARATOR.match(re.sub(r"\s+", "", folded))
    sign, rest = match.groups() if match else (None, folded)
    percent = _read_percent(rest, unit, rule)
    return None if percent is None else _by_value(percent, sign or operator or "=", cutoff, by_lod)


def _words_and_number(folded: str, rule: dict[str, Any], cutoff: float, by_lod: bool) -> Mrd | None:
    """A known word beside other words, perhaps with one number that says its own unit: `negative (<0.01%)`.

    The number beside "negative" is a limit of detection, never a result. Words that the grammar does not know beside a
    number leave the result UNPARSED; the sample's or the method's name (`label_words`) may stand there.
    """
    text = _ANTIGEN.sub(" ", folded)
    values = _VALUE.findall(text)
    rest = _VALUE.sub(" ", text)
    if any(_says(rest, word) for word in rule["pos_bq_words"]):
        return Mrd(None, None, POS_BQ)
    is_negative = any(_says(rest, word) for word in rule["negative_words"] if word != "0")
    if is_negative:
        limits = [_read_percent(re.sub(r"\s+", "", one), None, rule) for sign, one in values if sign.startswith("<")]
        if limits and limits[0] is not None:
            return _by_value(limits[0], "<", cutoff, by_lod)
        return Mrd(None, None, NEGATIVE)
    if len(values) > 1:
        return None
    is_positive = any(_says(rest, word) for word in rule["positive_words"])
    labels = re.sub("|".join(rule["label_words"]), " ", rest)
    if not values or not (is_positive or not re.search(r"\w", labels)):
        return Mrd(None, None, POSITIVE) if is_positive and not values else None
    sign, written = values[0]
    percent = _read_percent(re.sub(r"\s+", "", written), None, rule)
    if percent is None:
        return None
    if is_positive and sign.startswith("<"):
        return Mrd(None, None, POS_BQ)
    return _by_value(percent, sign or "=", cutoff, by_lod)


def _says(text: str, word: str) -> bool:
    """Whether a text holds a word: Latin words whole, others anywhere."""
    pattern = re.escape(word)
    return (
        re.search(rf"(?<![a-z]){pattern}(?![a-z])" if word[0].isascii() and word[0].isalpha() else pattern, text)
        is not None
    )


def _read_percent(rest: str, unit: str | None, rule: dict[str, Any]) -> float | None:
    """A number as written, in %. Powers of ten and logs are fractions of cells: 10^-4 is 0.01 %."""
    if found := _PERCENT.match(rest):
        return float(found[1])
    if found := _SCIENTIFIC.match(rest):
        return _scaled(found[1], int(found[2] or found[3]) + 2)
    if found := _POWER.match(rest):
        return _scaled("1", int(found[1]) + 2)
    if found := _LOG.match(rest):
        return round(10 ** (float(found[1]) + 2), 12)
    if found := _PER_MILLION.match(rest):
        return _scaled(found[1], -4)
    if found := _PLAIN.match(rest):
        return 0.0 if float(found[1]) == 0 else _in_percent(float(found[1]), unit, rule)
    return None


def _scaled(number: str, exponent: int) -> float:
    """number × 10^exponent without the rounding of a float product: 1.0 × 10^-2 is 0.01, the cut-off itself."""
    return float(f"{number}e{exponent}") if "e" not in number else float(number) * 10.0**exponent


def exponent_of_unit(unit: str | None, rule: dict[str, Any]) -> int | None:
    """The power of ten that brings a number with this unit to %; None for a unit that is not known."""
    folded = re.sub(r"\s+", "", normalise(unit or ""))
    if any(folded.startswith(one) for one in rule["percent_units"]):
        return 0
    if folded in rule["fraction_units"]:
        return 2
    if folded in rule["per_million_units"]:
        return -4
    power = _POWER_UNIT.match(folded)
    return int(power[1]) + 2 if power else None


def _in_percent(number: float, unit: str | None, rule: dict[str, Any]) -> float | None:
    exponent = exponent_of_unit(unit, rule)
    return None if exponent is None else round(number * 10.0**exponent, 12) if exponent else number


def _by_value(percent: float, operator: str, cutoff: float, by_lod: bool) -> Mrd:
    if operator in ("<", "<="):
        return Mrd(percent, operator, NEGATIVE if percent <= cutoff or by_lod else INDETERMINATE)
    if operator in (">", ">="):
        return Mrd(percent, operator, POSITIVE)
    if percent == 0:
        return Mrd(0.0, "=", NEGATIVE)
    return Mrd(percent, "=", POSITIVE if percent >= cutoff else BELOW_CUTOFF)
