"""What FHIRPath's operators and functions are in DuckDB SQL, once their operands are translated.

FHIRPath's empty collection is SQL NULL or an empty list. Where FHIRPath would convert silently or fail while it runs
(`true and 'x'`, `1 = 'a'`, a division by a text), the expression is refused when it is translated.
"""

from collections.abc import Callable
from dataclasses import dataclass

from etl.mapping.schema import Need
from etl.mapping.structure import NUMBERS, is_primitive
from etl.sql import quote


class PathError(ValueError):
    """A path that the FHIR structure or the mapping language does not allow."""


@dataclass(frozen=True)
class Value:
    """A translated expression: SQL, FHIR type, whether it is a list, and the node of the schema it came from."""

    sql: str
    type: str
    many: bool
    need: Need | None = None
    parent: "Value | None" = None
    name: str = ""

    @property
    def kind(self) -> str:
        """What it can be compared with: number, boolean, text, complex, or nothing (the empty collection)."""
        if self.sql == "NULL":
            return "nothing"
        if self.type in NUMBERS:
            return "number"
        if self.type == "boolean":
            return "boolean"
        return "text" if is_primitive(self.type) else "complex"

    @property
    def listed(self) -> str:
        """SQL of the value as a list; the empty collection is an empty list (or NULL)."""
        return self.sql if self.many else f"(CASE WHEN {self.sql} IS NOT NULL THEN [{self.sql}] ELSE [] END)"


Function = Callable[[Value, list[Value]], Value]


def literal(value: str | int | float | bool | None) -> Value:
    """A constant."""
    if value is None:
        return Value("NULL", "string", many=False)
    if isinstance(value, bool):
        return Value(str(value).lower(), "boolean", many=False)
    if isinstance(value, int | float):
        return Value(str(value), "decimal" if isinstance(value, float) else "integer", many=False)
    return Value(quote(value), "string", many=False)


def truth(value: Value, where: str) -> str:
    """The SQL of a yes/no value; anything else is refused (FHIRPath would read any other single value as true)."""
    if value.kind not in {"boolean", "nothing"} or value.many:
        raise PathError(
            f"{where}: needs a yes/no value, got {'many ' if value.many else ''}{value.type}; say .exists()"
        )
    return "NULL::BOOLEAN" if value.kind == "nothing" else value.sql


_LOGIC = {"and": "{0} AND {1}", "or": "{0} OR {1}", "xor": "{0} != {1}", "implies": "(NOT {0}) OR {1}"}
_ARITHMETIC = {
    "+": "{0} + {1}",
    "-": "{0} - {1}",
    "*": "{0} * {1}",
    "/": "{0} / nullif({1}, 0)",
    "div": "CAST(trunc({0} / nullif({1}, 0)) AS BIGINT)",
    "mod": "{0} % nullif({1}, 0)",
}


def binary(operator: str, left: Value, right: Value) -> Value:
    """The SQL of an operator on two single values."""
    if operator in _LOGIC:
        sides = (truth(left, operator), truth(right, operator))
        return Value(f"({_LOGIC[operator].format(*sides)})", "boolean", many=False)
    kinds = {left.kind, right.kind} - {"nothing"}
    if "complex" in kinds or len(kinds) > 1:
        raise PathError(f"{operator}: cannot take {left.type} and {right.type}")
    if operator == "&":
        _texts(operator, kinds)
        return Value(f"concat({left.sql}, {right.sql})", "string", many=False)
    if operator in {"~", "!~"}:
        _texts(operator, kinds)
        return _equivalent(operator, left, right)
    if operator == "+" and "number" not in kinds:
        _texts(operator, kinds)
        return Value(f"({left.sql} || {right.sql})", "string", many=False)
    if operator in _ARITHMETIC:
        if kinds - {"number"}:
            raise PathError(f"{operator}: needs numbers, got {left.type} and {right.type}")
        whole = operator == "div" or (operator != "/" and "decimal" not in {left.type, right.type})
        sql = _ARITHMETIC[operator].format(left.sql, right.sql)
        return Value(f"({sql})", "integer" if whole else "decimal", many=False)
    return Value(f"({left.sql} {operator} {right.sql})", "boolean", many=False)


def _texts(operator: str, kinds: set[str]) -> None:
    if kinds - {"text"}:
        raise PathError(f"{operator}: is for texts in the mapping language; say .toString()")


def _equivalent(operator: str, left: Value, right: Value) -> Value:
    plain = [rf"lower(regexp_replace(trim({side.sql}), '\s+', ' ', 'g'))" for side in (left, right)]
    same = f"coalesce({plain[0]} = {plain[1]}, {left.sql} IS NULL AND {right.sql} IS NULL)"
    return Value(same if operator == "~" else f"(NOT {same})", "boolean", many=False)


def exists(value: Value, _: list[Value] | None = None) -> Value:
    """Whether there is anything."""
    sql = f"(coalesce(len({value.sql}), 0) > 0)" if value.many else f"({value.sql} IS NOT NULL)"
    return Value(sql, "boolean", many=False)


def _empty(value: Value, _: list[Value]) -> Value:
    return Value(f"(NOT {exists(value).sql})", "boolean", many=False)


def _pick(position: str) -> Function:
    def pick(value: Value, _: list[Value]) -> Value:
        if not value.many:
            return value
        return Value(f"({value.sql})[{position}]", value.type, many=False, need=value.need)

    return pick


def _slice(template: str) -> Function:
    def cut(value: Value, numbers: list[Value]) -> Value:
        position = template.format(*(f"greatest({_number(one)}, 0)" for one in numbers))
        return Value(f"({value.listed})[{position}]", value.type, many=True, need=value.need)

    return cut


def _number(value: Value) -> str:
    if value.kind != "number":
        raise PathError(f"needs a number, got {value.type}")
    return value.sql


def _count(value: Value, _: list[Value]) -> Value:
    sql = f"coalesce(len({value.sql}), 0)" if value.many else f"(CASE WHEN {value.sql} IS NULL THEN 0 ELSE 1 END)"
    return Value(sql, "integer", many=False)


def distinct(value: Value, _: list[Value] | None = None) -> Value:
    """Each value once, in the order of first appearance (DuckDB's own list_distinct loses the order)."""
    first_time = "list_filter(dl, lambda d, di: list_position(dl, d) = di)"
    sql = f"(list_transform([{value.listed}], lambda dl: {first_time}))[1]"  # so that the list is written once
    return Value(sql, value.type, many=True, need=value.need)


def _join(value: Value, arguments: list[Value]) -> Value:
    if value.kind != "text":
        raise PathError(f"join(): needs texts, got {value.type}")
    separator = arguments[0].sql if arguments else "''"
    sql = f"(CASE WHEN len({value.listed}) > 0 THEN array_to_string({value.listed}, {separator}) END)"
    return Value(sql, "string", many=False)


def _of_truths(template: str, when_empty: str) -> Function:
    def make(value: Value, _: list[Value]) -> Value:
        truth(Value(value.sql, value.type, many=False), "allTrue/anyTrue")
        return Value(f"coalesce({template.format(value.listed)}, {when_empty})", "boolean", many=False)

    return make


def _scalar(template: str, result: str, arguments: int = 0, needs: str = "text") -> Function:
    """A function of one value (and so many arguments) of a kind."""

    def make(value: Value, given: list[Value]) -> Value:
        if len(given) != arguments:
            raise PathError(f"needs {arguments} argument(s), got {len(given)}")
        for one in (value, *given):
            if needs and one.kind not in {needs, "nothing"}:
                raise PathError(f"needs a {needs}, got {one.type}")
        sides = [f"{one.sql}::VARCHAR" if one.kind == "nothing" else one.sql for one in (value, *given)]
        return Value(template.format(*sides), result, many=False)

    return make


def _not(value: Value, _: list[Value]) -> Value:
    return Value(f"(NOT {truth(value, 'not()')})", "boolean", many=False)


def _replace(value: Value, arguments: list[Value]) -> Value:
    if arguments and arguments[0].sql == "''":
        raise PathError("replace(): an empty text cannot be replaced")
    return _scalar("replace({0}, {1}, {2})", "string", 2)(value, arguments)


def _substring(value: Value, arguments: list[Value]) -> Value:
    if not arguments or value.kind not in {"text", "nothing"}:
        raise PathError("substring(): needs a text and a start")
    start = _number(arguments[0])
    length = f", greatest({_number(arguments[1])}, 0)" if len(arguments) > 1 else ""
    text = f"CAST({value.sql} AS VARCHAR)"
    inside = f"{start} >= 0 AND {start} < length({text})"
    return Value(f"(CASE WHEN {inside} THEN substr({text}, {start} + 1{length}) END)", "string", many=False)


def _to_string(value: Value, _: list[Value]) -> Value:
    if value.kind == "complex":
        raise PathError(f"toString(): {value.type} is no single value")
    text = f"CAST({value.sql} AS VARCHAR)"
    # JSON's 24 and 24.0 are one number to DuckDB, which writes both 24.0; the shorter text is the hospital's usual one.
    return Value(f"regexp_replace({text}, '\\.0$', '')" if value.type == "decimal" else text, "string", many=False)


def _to_number(pattern: str, kind: str, result: str) -> Function:
    def convert(value: Value, _: list[Value]) -> Value:
        if value.kind == "complex":
            raise PathError(f"needs a single value, got {value.type}")
        if value.kind == "boolean":
            return Value(f"CAST({value.sql} AS {kind})", result, many=False)
        text = f"CAST({value.sql} AS VARCHAR)"
        # Only what FHIRPath calls a number: DuckDB alone would also read '1e5', 'inf' and, as an integer, '1.1'.
        sql = f"(CASE WHEN regexp_full_match({text}, '{pattern}') THEN TRY_CAST({text} AS {kind}) END)"
        return Value(sql, result, many=False)

    return convert


ON_LISTS: dict[str, Function] = {
    "exists": exists,
    "empty": _empty,
    "count": _count,
    "first": _pick("1"),
    "last": _pick("-1"),
    "tail": _slice("2:"),
    "skip": _slice("{0} + 1:"),
    "take": _slice(":{0}"),
    "distinct": distinct,
    "join": _join,
    "anyTrue": _of_truths("list_bool_or({0})", "false"),
    "allTrue": _of_truths("list_bool_and({0})", "true"),
}
"""Functions that take a whole collection."""

ON_SCALARS: dict[str, Function] = {
    "hasValue": _scalar("({0} IS NOT NULL)", "boolean", needs=""),
    "not": _not,
    "startsWith": _scalar("starts_with({0}, {1})", "boolean", 1),
    "endsWith": _scalar("ends_with({0}, {1})", "boolean", 1),
    "contains": _scalar("contains({0}, {1})", "boolean", 1),
    "matches": _scalar("regexp_matches({0}, {1}, 's')", "boolean", 1),
    "indexOf": _scalar("(CASE WHEN {1} = '' AND {0} IS NOT NULL THEN 0 ELSE instr({0}, {1}) - 1 END)", "integer", 1),
    "replace": _replace,
    "lower": _scalar("lower({0})", "string"),
    "upper": _scalar("upper({0})", "string"),
    "trim": _scalar("trim({0}, chr(9) || chr(10) || chr(13) || ' ')", "string"),
    "length": _scalar("length({0})", "integer"),
    "toString": _to_string,
    "toInteger": _to_number("[+-]?\\d+", "BIGINT", "integer"),
    "toDecimal": _to_number("[+-]?\\d+(\\.\\d+)?", "DOUBLE", "decimal"),
    "substring": _substring,
}
"""Functions that take a single value."""
