"""MRD results as hospitals write them → value in %, operator, class (`mrd_parse@1`, PROTOCOL.md section 5.3).

Each distinct result is read once. Nothing is guessed: a bare number without unit and without a site's word for it is
UNPARSED.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Any

POSITIVE, NEGATIVE, BELOW_CUTOFF = "POSITIVE", "NEGATIVE", "BELOW_CUTOFF"
POS_BQ, INDETERMINATE, UNPARSED, INADEQUATE = "POS_BQ", "INDETERMINATE", "UNPARSED", "INADEQUATE"

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_SUPERSCRIPT_RUN = re.compile(r"(?<=\d)([⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)")
_COMPARATOR = re.compile(r"^(<=|>=|<|>|=)?(.*)$", re.DOTALL)
_NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?"
_PLAIN = re.compile(rf"^({_NUMBER})$")
_PERCENT = re.compile(rf"^({_NUMBER})%$")
_SCIENTIFIC = re.compile(rf"^({_NUMBER})×10\^?([+-][0-9]+)$")
_POWER = re.compile(r"^10\^?(-[0-9]+)$")
_LOG = re.compile(r"^(-[0-9]+(?:\.[0-9]+)?)log(?:10)?$")
_PER_MILLION = re.compile(rf"^({_NUMBER})/(?:10\^?6|1000000|million|百万)$")


@dataclass(frozen=True)
class Mrd:
    """One MRD result: value in % (None when there is none), operator (`=`, `<`, `>` or None), and its class."""

    value: float | None
    operator: str | None
    kind: str


def normalise(text: str, decimal_separator: str = ".") -> str:
    """The text with plain digits and signs, `×` for every multiplication sign, no thousands separators, lower case.

    Superscript exponents become `^-4` before NFKC, which would lose them. Only the sign that is not the site's decimal
    separator is removed, and only in groups of three (A01).
    """
    marked = _SUPERSCRIPT_RUN.sub(lambda run: "^" + run.group(1).translate(_SUPERSCRIPTS), text)
    folded = unicodedata.normalize("NFKC", marked.replace("−", "-")).strip().lower()
    other = "," if decimal_separator == "." else "."
    folded = re.sub(rf"(?<=\d){re.escape(other)}(?=\d{{3}}(?:\D|$))", "", folded)
    if decimal_separator == ",":
        folded = re.sub(r"(?<=\d),(?=\d)", ".", folded)
    return re.sub(r"(?<=[\d.\s])[x*](?=\s*10)", "×", folded)


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
) -> Mrd:
    """One result read by the grammar: a number with its unit and operator first, else the text.

    `rule` is the parameter `mrd_parse`; `inadequate` are patterns of words for a sample that gives no result.
    """  # fmt: skip
    if number is not None:
        percent = _in_percent(number, (unit or "").strip(), rule)
        if percent is None:
            return Mrd(0.0, "=", NEGATIVE) if number == 0 else Mrd(None, operator, UNPARSED)
        return _by_value(percent, operator or "=", cutoff_pct)
    if text is None or not text.strip():
        return Mrd(None, None, UNPARSED)
    if any(re.search(pattern, text) for pattern in inadequate):
        return Mrd(None, None, INADEQUATE)
    folded = normalise(text, decimal_separator)
    return _words(folded, rule) or _numeric(folded, (unit or "").strip(), operator, rule, cutoff_pct)


def _words(folded: str, rule: dict[str, Any]) -> Mrd | None:
    spoken = re.sub(r"[\s,，;；。]+", " ", folded).strip()
    if any(spoken == word or spoken.replace(" ", "") == word.replace(" ", "") for word in rule["pos_bq_words"]):
        return Mrd(None, None, POS_BQ)
    if spoken in rule["negative_words"]:
        return Mrd(0.0 if spoken == "0" else None, "=" if spoken == "0" else None, NEGATIVE)
    return Mrd(None, None, POSITIVE) if spoken in rule["positive_words"] else None


def _numeric(folded: str, unit: str, operator: str | None, rule: dict[str, Any], cutoff_pct: float) -> Mrd:
    match = _COMPARATOR.match(re.sub(r"\s+", "", folded))
    sign, rest = match.groups() if match else (None, folded)
    percent = _read_percent(rest, unit, rule)
    if percent is None:
        return Mrd(None, None, UNPARSED)
    return _by_value(percent, sign or operator or "=", cutoff_pct)


def _read_percent(rest: str, unit: str, rule: dict[str, Any]) -> float | None:
    """A number as written, in %. Powers of ten and logs are fractions of cells: 10^-4 is 0.01 %."""
    if found := _PERCENT.match(rest):
        return float(found[1])
    if found := _SCIENTIFIC.match(rest):
        return _scaled(found[1], int(found[2]) + 2)
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


def _in_percent(number: float, unit: str, rule: dict[str, Any]) -> float | None:
    if unit in rule["percent_units"]:
        return number
    if unit in rule["fraction_units"]:
        return round(number * 100, 12)
    return round(number * 1e-4, 12) if unit in rule["per_million_units"] else None


def _by_value(percent: float, operator: str, cutoff_pct: float) -> Mrd:
    if operator in ("<", "<="):
        return Mrd(percent, operator, NEGATIVE if percent <= cutoff_pct else INDETERMINATE)
    if operator in (">", ">="):
        return Mrd(percent, operator, POSITIVE)
    if percent == 0:
        return Mrd(0.0, "=", NEGATIVE)
    return Mrd(percent, "=", POSITIVE if percent >= cutoff_pct else BELOW_CUTOFF)
