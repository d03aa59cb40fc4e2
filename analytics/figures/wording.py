"""How numbers and categories are written, in figures and in the report alike.

Percentages have one decimal, P values three ("< 0.001" below), intervals an en dash ("to" when a bound is negative).
Categories keep their code when they have no word here, so that a new level shows instead of vanishing.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeGuard

Row: TypeAlias = Mapping[str, Any]
"""One row of a result table."""

DASH = "–"
_HUGE = 1000.0
NOT_ESTIMABLE = "not estimable"

STRATA = ("CR_MRDneg", "CR_MRDpos", "RR", "UNKNOWN")
"""The survival strata in the order in which they are shown."""

_WORDS = {
    "RR": "R/R",
    "CR_MRDpos": "CR-MRDpos",
    "CR_MRDneg": "CR-MRDneg",
    "CHEMO_DELAY": "Chemotherapy delay",
    "MRDpos": "MRD-positive",
    "MRDneg": "MRD-negative",
    "UNKNOWN": "Unknown",
    "overall": "Overall",
    "EFS": "Event-free survival",
    "OS": "Overall survival",
    "relapse_refractory": "Relapse or refractory",
    "relapse_or_refractory": "Relapse or refractory",
    "relapse/refractory": "Relapse or refractory",
    "relapse": "Relapse or refractory",
    "death_in_remission": "Death in remission",
    "nonresponse": "Non-response",
    "10*9/L": "×10⁹/L",
    "10^9/L": "×10⁹/L",
    "m2": "m²",
    "poor_cytogenetics": "Poor cytogenetics",
    "bcr_abl1": "BCR::ABL1",
    "other_poor": "Other poor cytogenetics",
    "cd19_antigen_loss": "CD19 antigen loss on blasts",
    "cd19_bcell_loss": "Peripheral CD19+ B-cell loss",
    "cd19_loss_complete": "CD19 antigen loss on blasts",
    "cd19_loss_2missing": "Peripheral CD19+ B-cell loss",
    "high_mrd": "High MRD",
    "0.01-<0.1%": "0.01% to < 0.1%",
    "0.1-<1%": "0.1% to < 1%",
    "hypodiploidy_lt44": "Hypodiploidy (< 44 chromosomes)",
    "high_hyperdiploidy": "High hyperdiploidy",
    "complex_karyotype": "Complex karyotype",
    "normal/other": "Normal or other",
    "firth_logistic": "Firth logistic regression",
    "firth_cox": "Firth Cox regression",
    "cox": "Ordinary Cox regression",
    "hsct_td": "Time-dependent transplant (Cox)",
    "cart_td": "Time-dependent CAR-T (Cox)",
    "hsct_landmark": "Transplant by the landmark (Firth Cox)",
    "cart_landmark": "CAR-T by the landmark (Firth Cox)",
    "hsct_naive": "Transplant ever or never (Cox), biased, shown as a warning",
    "cart_naive": "CAR-T ever or never (Cox), biased, shown as a warning",
    "firth_logistic_site": "Firth logistic regression within a site",
    "firth_cox_site": "Firth Cox regression within a site",
    "cox_site_stratified": "Cox regression stratified by site",
    "cox_treated_for_disease": "Cox regression, patients treated for disease",
    "cox_cluster_robust": "Cox regression with site-robust standard errors",
    "gee": "Generalised estimating equations",
    "mixed": "Mixed model",
    "cluster_bootstrap": "Bootstrap over patients",
    "random_effects": "Random effects over sites",
    "mrd_neg_post": "MRD kept negative",
    "hsct": "HSCT",
    "cart": "CAR-T",
    "all": "All",
    "NONE": "None found",
    "IFN-g": "IFN-γ",
    "TNF-a": "TNF-α",
    "second_malignancy": "Second malignancy",
    "GLOBAL": "All terms",
    "OTHER_POOR": "Other poor cytogenetics",
}

_CODES = re.compile(r"\b(CR_MRDpos|CR_MRDneg|CHEMO_DELAY|MRDpos|MRDneg|RR|OTHER_POOR)\b")
_SIGNS = ((">=", "≥"), ("<=", "≤"), ("->", "→"), ("-<", "–<"), ("ug/", "µg/"), ("/m2/", "/m²/"))


def word(code: object) -> str:
    """The written form of a category; unknown codes get spaces for underscores, an empty one a dash."""
    text = "" if code is None else str(code)
    return _WORDS.get(text) or spell(text) or DASH


def spell(text: str) -> str:
    """Free text of a table with its codes, comparison signs and units as they are printed."""
    for plain, printed in _SIGNS:
        text = text.replace(plain, printed)
    return _CODES.sub(lambda code: _WORDS[code.group()], text).replace("_", " ")


def sentence(text: str) -> str:
    """The text with a capital first letter; a unit (µg) or the name of a definition (rule@1) stays as it is."""
    first = text.split(" ", 1)[0]
    return text if text[:1] in "µμ" or "@" in first else text[:1].upper() + text[1:]


def quantity(text: object) -> str:
    """A published quantity in the protocol's words: MRD clearance is not called CR without saying who does."""
    written = "" if text is None else str(text)
    clearance = "MRD clearance in CR-MRDpos (called CR in the paper)"
    written = written.replace("CR rate in CR-MRDpos", clearance)
    return written.replace("P for CR rate R/R vs CR-MRDpos", f"P for CR in R/R vs {clearance}")


def in_order(levels: Sequence[str], order: Sequence[str] = STRATA) -> list[str]:
    """The distinct levels: known ones in the given order, others behind them by name."""
    present = {level for level in levels if level is not None}
    return [level for level in order if level in present] + sorted(present - set(order))


def is_number(value: object) -> TypeGuard[float]:
    """Whether the value is a finite number (a missing, infinite or NaN estimate is not)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(value: float | int | None, decimals: int = 1) -> str:
    """A number with fixed decimals, thousands separated by a thin space, a true minus sign; a dash when missing."""
    if value is None or not is_number(value):
        return DASH
    text = f"{value:,.{decimals}f}".replace(",", "\u202f")
    return "0" + text[2:] if text.startswith("-0") and float(value) > -0.5 * 10**-decimals else text.replace("-", "−")


def count(value: float | int | None) -> str:
    """A whole number."""
    return number(value, 0)


def plural(value: float | int | None, thing: str) -> str:
    """A count with its noun: "1 event", "4 events", "2 children"."""
    several = "children" if thing == "child" else f"{thing}s"
    return f"{count(value)} {thing if value == 1 else several}"


def measure(value: float | None) -> str:
    """A number at the precision it deserves: two decimals below 10, one below 100, none above."""
    if value is None or not is_number(value):
        return DASH
    return number(value, 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0)


def decimals_for(values: Sequence[object]) -> int:
    """The decimals of a quantity in a whole row: none for whole or large numbers, two for small ones."""
    numbers = [float(value) for value in values if is_number(value)]
    largest = max((abs(value) for value in numbers), default=0.0)
    if largest >= 100 or all(value.is_integer() for value in numbers):
        return 0
    return 2 if largest < 5 else 1


def percent(value: float | None, decimals: int = 1) -> str:
    """A percentage (input in percent, 0–100); 100 and 0 keep their decimals, as a table column needs it."""
    return DASH if value is None or not is_number(value) else f"{number(value, decimals)}%"


def share(k: float | int | None, n: float | int | None) -> str:
    """Numerator, denominator and percentage: "9/11 (81.8%)"; without a percentage when the denominator is 0."""
    if k is None or n is None:
        return DASH
    return f"{count(k)}/{count(n)} ({percent(100 * k / n)})" if n else f"{count(k)}/{count(n)}"


def interval(lower: float | None, upper: float | None, decimals: int = 1) -> str:
    """An interval with an en dash, or "to" where a minus sign stands; an open side is written with ∞."""
    if lower is None or upper is None or math.isnan(lower) or math.isnan(upper):
        return NOT_ESTIMABLE
    low = number(lower, decimals) if math.isfinite(lower) else "−∞"
    high = number(upper, decimals) if math.isfinite(upper) else "∞"
    return f"{low} to {high}" if "−" in low + high else f"{low}–{high}"


def span(low: str, high: str) -> str:
    """Two written ends with an en dash; one dash where both are hidden."""
    return DASH if low == high == DASH else f"{low}{DASH}{high}"


def ratio(value: float | None) -> str:
    """An odds or hazard ratio: two decimals, one from 10 on, none from 100 on."""
    return measure(value) if value is not None and is_number(value) else NOT_ESTIMABLE


def ratio_interval(lower: float | None, upper: float | None) -> str:
    """The interval of a ratio; limits too small or too large to be read are written with < and >."""
    if lower is None or upper is None or math.isnan(lower) or math.isnan(upper):
        return NOT_ESTIMABLE
    low = "< 0.001" if 0 <= lower < 0.001 else number(lower, 3) if lower < 0.01 else measure(lower)
    high = "∞" if not math.isfinite(upper) else f"> {number(_HUGE, 0)}" if upper > _HUGE else measure(upper)
    return f"{low} to {high}" if "<" in low or ">" in high else f"{low}–{high}"


def p_value(value: float | None) -> str:
    """A P value for a table cell: three decimals, "< 0.001" below, "> 0.999" never (1.000 is printed)."""
    if value is None or not is_number(value):
        return DASH
    return "< 0.001" if value < 0.001 else number(value, 3)


def p_phrase(value: float | None) -> str:
    """A P value in a sentence: "P = 0.016" or "P < 0.001"."""
    written = p_value(value)
    return f"P {written}" if written.startswith("<") else f"P = {written}"


def months(days: float) -> str:
    """Days as whole months of 30.44 days, for axis labels ("12" for 365)."""
    return str(round(days / 30.4375))


def hundred(value: float | None) -> float | None:
    """A fraction as a percentage; a missing one stays missing."""
    return None if value is None else 100 * value


_ENDPOINT = {
    "RR": "complete remission",
    "MRDpos": "MRD clearance",
    "CR_MRDpos": "MRD clearance",
    "MRDneg": "stayed MRD-negative",
    "CR_MRDneg": "stayed MRD-negative",
}


def endpoint_of(group: str) -> str:
    """What counts as success in a state: CR, MRD clearance (called CR in the paper), or MRD negativity kept."""
    return _ENDPOINT.get(group, "response")
