"""Numbers and units as people write them: value, sign and unit out of a text, units as tables of units know them."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import polars as pl

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_SUPERSCRIPT_RUN = re.compile(r"(?<=\d)([⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)")
_SIGNS = str.maketrans({"−": "-", "≤": "≤", "≦": "≤", "≥": "≥", "≧": "≥"})
_LIMITS = (("less than", "<"), ("below", "<"), ("unter", "<"), ("小于", "<"), ("低于", "<"), ("greater than", ">"),
           ("above", ">"), ("über", ">"), ("大于", ">"), ("高于", ">"), ("≤", "<="), ("≥", ">="))  # fmt: skip
_FLAG = r"(?:[↑↓]|\((?:h|l)\)|\b[hl]$)?"
_WRITTEN = re.compile(rf"^(<=|>=|<|>|=)?\s*([0-9]+(?:\.[0-9]+)?)\s*{_FLAG}\s*([^0-9<>=].*)?$", re.DOTALL)
_NUMBER = {"number": pl.Float64, "sign": pl.String, "unit": pl.String}


def normalise(text: str, decimal_separator: str = ".") -> str:
    """The text with plain digits and signs, `×` for every multiplication sign, no thousands separators, lower case.

    Superscript exponents become `^-4` before NFKC, which would lose them. Only the sign that is not the site's decimal
    separator is removed, and only in groups of three (A01).
    """
    marked = _SUPERSCRIPT_RUN.sub(lambda run: "^" + run.group(1).translate(_SUPERSCRIPTS), text)
    folded = unicodedata.normalize("NFKC", marked.translate(_SIGNS)).strip().lower()
    other = "," if decimal_separator == "." else "."
    folded = re.sub(rf"(?<=\d){re.escape(other)}(?=\d{{3}}(?:\D|$))", "", folded)
    if decimal_separator == ",":
        folded = re.sub(r"(?<=\d),(?=\d)", ".", folded)
    return re.sub(r"(?<=[\d.\s])[x*](?=\s*10)", "×", folded)


def with_limits(folded: str) -> str:
    """A normalised text with `<` and `>` for the words that mean them."""
    for word, sign in _LIMITS:
        folded = re.sub(re.escape(word) + r"\s*(?=[0-9])", sign, folded)
    return folded


def read_number(text: str, decimal_separator: str = ".") -> tuple[float, str | None, str | None] | None:
    """Number, sign (`<` …, None without one) and unit (None without one) of a text that says one number; else None."""
    match = _WRITTEN.match(with_limits(normalise(text, decimal_separator)))
    if match is None:
        return None
    sign, number, unit = match.groups()
    if unit and (unit.startswith("-") or re.search(r"(?:^|\s)[0-9.]+\s*$", unit)):
        return None  # a range, or several numbers
    return float(number), sign, (unit or "").strip() or None


def folded_unit(unit: pl.Expr) -> pl.Expr:
    """A unit as the tables of units write it: NFKC, lower case, `u` for µ and μ, no blanks."""
    # NFKC would turn 10⁹ into 109.
    powers = unit.str.replace_many(["⁹", "⁶", "³"], ["^9", "^6", "^3"])
    plain = powers.str.normalize("NFKC").str.to_lowercase().str.replace_all(r"\s", "").str.replace("^[×x*]", "")
    return plain.str.replace_all("[µμ]", "u")


def once_each(
    rows: pl.DataFrame, columns: Iterable[str], read: Callable[..., tuple[Any, ...] | None], schema: Mapping[str, Any]
) -> pl.DataFrame:
    """The rows with the columns of `schema`: what `read` makes of these columns, asked once per combination."""
    keys = list(columns)
    distinct = rows.select(keys).unique(maintain_order=True)
    nothing = (None,) * len(schema)
    found = [read(*row) or nothing for row in distinct.iter_rows()]
    answers = pl.DataFrame(found, schema=dict(schema), orient="row")
    return rows.join(distinct.hstack(answers), on=keys, how="left", nulls_equal=True)


def with_written_numbers(rows: pl.DataFrame) -> pl.DataFrame:
    """Measurements whose result is a text get value_as_number, operator and unit_source_value from it.

    `rows` has operator and decimal_separator beside OMOP's columns. A number that the CDM holds is left alone.
    """

    def read(text: str | None, separator: str | None) -> tuple[Any, ...] | None:
        return read_number(text, separator or ".") if text else None

    told = once_each(rows, ["value_source_value", "decimal_separator"], read, _NUMBER)
    is_text = pl.col("value_as_number").is_null() & pl.col("number").is_not_null()
    return told.with_columns(
        from_text=is_text,
        value_as_number=pl.coalesce("value_as_number", "number"),
        operator=pl.when(is_text).then(pl.coalesce("sign", "operator")).otherwise("operator"),
        unit_source_value=pl.coalesce(pl.when(is_text).then("unit"), "unit_source_value"),
    ).drop(_NUMBER)
