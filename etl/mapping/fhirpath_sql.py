"""FHIRPath to DuckDB SQL, checked against the FHIR structure while it is translated.

A path gives either one value (a SQL scalar) or a repeating one (a SQL list); the FHIR models say which. FHIRPath's
empty collection is SQL NULL (or an empty list), and its three-valued logic is SQL's. A path that would silently take
"any" of several values is refused: say `.first()`, `.where(...)` or `.exists(...)`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from etl.errors import did_you_mean
from etl.mapping.fhirpath import Call, Index, Literal, Name, Negative, Node, Operation, PathSyntaxError, Variable, parse
from etl.mapping.schema import Need, element_of
from etl.mapping.structure import NUMBERS, Choice, Element, elements, is_primitive

FUNCTIONS = (
    "all allTrue anyTrue as contains count distinct empty endsWith exists extension first hasValue iif indexOf is join "
    "last length lower matches not ofType replace select single skip startsWith substring tail take toDecimal "
    "toInteger toString trim upper where"
).split()


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


@dataclass(frozen=True)
class ChoiceValue:
    """A choice element (`value[x]`) before `ofType` says which of its types is meant."""

    base: Value
    choice: Choice


def quote(text: str) -> str:
    """A SQL text literal."""
    return "'" + text.replace("'", "''") + "'"


class Translator:
    """Translates the paths of one resource type and gathers which elements they read."""

    def __init__(self, resource_type: str, root: str = "r") -> None:
        """`root` is the SQL expression that holds the resource."""
        self.need = Need(resource_type, many=False)
        self.root = Value(root, resource_type, many=False, need=self.need)
        self._names = (f"e{number}" for number in count(1))

    def translate(self, expression: str, at: Value | None = None) -> Value:
        """The SQL of an expression on the resource, or on an element `at`. Raises PathError, PathSyntaxError."""
        result = self._node(parse(expression), at or self.root)
        if isinstance(result, ChoiceValue):
            raise PathError(f"{expression}: {result.choice.name}[x] needs ofType(...)")
        return result

    def condition(self, expression: str, at: Value | None = None) -> str:
        """The SQL of an expression that must be a truth value."""
        value = self.translate(expression, at)
        if value.many or value.type != "boolean":
            raise PathError(f"{expression}: is not a yes/no expression")
        return value.sql

    def variable(self) -> str:
        """A fresh name for a SQL lambda."""
        return next(self._names)

    def member(self, base: Value, name: str) -> Value | ChoiceValue:
        """`base.name`."""
        if base.type == "Resource":
            raise PathError(f"{name}: a contained resource is read by `follow`, not by a path")
        if is_primitive(base.type):
            raise PathError(f"{name}: {base.type} has no elements")
        found = element_of(base.type, name)
        if found is None:
            raise PathError(f"{base.type} has no element {name!r}{did_you_mean(name, list(elements(base.type)))}")
        return ChoiceValue(base, found) if isinstance(found, Choice) else self.element(base, found)

    def element(self, base: Value, element: Element) -> Value:
        """The value of an element below `base`."""
        need = base.need.child(element) if base.need else None
        if not base.many:
            sql = (
                f'{base.sql}."{element.name}"'
                if base.sql.isidentifier() or base.sql[-1] in '"])'
                else f'({base.sql})."{element.name}"'
            )
            return Value(sql, element.type, element.many, need, base, element.name)
        each = self.variable()
        inner = f'list_transform({base.sql}, lambda {each}: {each}."{element.name}")'
        sql = f"flatten({inner})" if element.many else inner
        return Value(self._without_nulls(sql), element.type, True, need, base, element.name)

    def _without_nulls(self, sql: str) -> str:
        each = self.variable()
        return f"list_filter({sql}, lambda {each}: {each} IS NOT NULL)"

    def _node(self, node: Node, this: Value) -> "Value | ChoiceValue":  # noqa: C901  # one case per kind of node
        match node:
            case Literal(constant):
                return _literal(constant)
            case Variable("$this"):
                return this
            case Variable("%resource"):
                return self.root
            case Variable("%site"):
                return Value("site", "string", many=False)
            case Variable(name):
                raise PathError(f"{name}: unknown; the mapping language has $this, %resource and %site")
            case Name(None, name):
                return self.member(this, name) if name != this.type else this
            case Name(base, name) if base is not None:
                return self.member(self._value(base, this), name)
            case Index(base, position):
                value = self._value(base, this)
                if not value.many:
                    return value if position == 0 else Value("NULL", value.type, many=False)
                return Value(f"({value.sql})[{position + 1}]", value.type, many=False, need=value.need)
            case Negative(operand):
                value = self._one(operand, this, "-")
                return Value(f"(-{value.sql})", value.type, many=False)
            case Operation(operator, left, right):
                return self._operation(operator, left, right, this)
            case Call(base, name, arguments):
                return self._call(base, name, arguments, this)
        raise PathError(f"{node}: not part of the mapping language")

    def _value(self, node: Node, this: Value) -> Value:
        value = self._node(node, this)
        if isinstance(value, ChoiceValue):
            raise PathError(f"{value.choice.name}[x] needs ofType(...): one of {', '.join(value.choice.by_type)}")
        return value

    def _one(self, node: Node, this: Value, where: str) -> Value:
        """A single value; refuses a path that crosses a repeating element."""
        value = self._value(node, this)
        if value.many:
            raise PathError(f"the operand of {where!r} repeats; say .first(), .where(...) or .exists(...)")
        return value

    # --- operators ---------------------------------------------------------------------------------------------

    def _operation(self, operator: str, left: Node, right: Node, this: Value) -> "Value | ChoiceValue":
        if operator in {"as", "is"}:
            if not isinstance(right, Name):
                raise PathError(f"{operator}: a type name is missing")
            return self._of_type(self._node(left, this), right.name, exists=operator == "is")
        if operator == "|":
            return self._union(self._value(left, this), self._value(right, this))
        if operator in {"in", "contains"}:
            item, whole = (left, right) if operator == "in" else (right, left)
            return self._membership(self._one(item, this, operator), self._value(whole, this))
        one, other = self._one(left, this, operator), self._one(right, this, operator)
        return _binary(operator, one, other)

    def _union(self, left: Value, right: Value) -> Value:
        lists = [value.sql if value.many else f"[{value.sql}]" for value in (left, right)]
        merged = f"list_concat({lists[0]}, {lists[1]})"
        return Value(f"list_distinct({self._without_nulls(merged)})", left.type, many=True)

    def _membership(self, item: Value, whole: Value) -> Value:
        members = whole.sql if whole.many else f"[{whole.sql}]"
        return Value(f"list_contains({members}, {item.sql})", "boolean", many=False)

    # --- functions ---------------------------------------------------------------------------------------------

    def _call(self, base: Node | None, name: str, arguments: tuple[Node, ...], this: Value) -> "Value | ChoiceValue":
        if name not in FUNCTIONS:
            raise PathError(f"{name}(): unknown function{did_you_mean(name, FUNCTIONS)}")
        if name == "iif":
            return self._iif(arguments, this)
        subject: Value | ChoiceValue = this if base is None else self._node(base, this)
        if name in {"ofType", "as", "is"}:
            if len(arguments) != 1 or not isinstance(arguments[0], Name):
                raise PathError(f"{name}(): needs one type name")
            return self._of_type(subject, arguments[0].name, exists=name == "is")
        if isinstance(subject, ChoiceValue):
            return self._choice_function(subject, name)
        if name in {"where", "exists", "all", "select"} and arguments:
            return self._iterate(subject, name, arguments[0])
        if name == "extension":
            return self._extension(subject, arguments)
        if name in _ON_LISTS:
            numbers = [self._one(argument, this, name).sql for argument in arguments]
            return _ON_LISTS[name](subject, numbers)
        if subject.many:
            raise PathError(f"{name}(): its input repeats; say .first() or .where(...)")
        return _ON_SCALARS[name](subject, [self._one(argument, this, name).sql for argument in arguments])

    def _iif(self, arguments: tuple[Node, ...], this: Value) -> Value:
        if len(arguments) not in {2, 3}:
            raise PathError("iif(): needs a condition and one or two results")
        condition = self._one(arguments[0], this, "iif")
        yes = self._one(arguments[1], this, "iif")
        no = self._one(arguments[2], this, "iif").sql if len(arguments) == 3 else "NULL"
        return Value(f"CASE WHEN {condition.sql} THEN {yes.sql} ELSE {no} END", yes.type, many=False)

    def _of_type(self, subject: "Value | ChoiceValue", kind: str, *, exists: bool) -> Value:
        if isinstance(subject, ChoiceValue):
            element = subject.choice.by_type.get(kind)
            if element is None:
                hint = did_you_mean(kind, list(subject.choice.by_type))
                raise PathError(f"{subject.choice.name}[x] is never a {kind}{hint}")
            value = self.element(subject.base, element)
        elif subject.type == kind:
            value = subject
        else:
            raise PathError(f"ofType({kind}): the element is always a {subject.type}")
        return _exists(value, []) if exists else value

    def _choice_function(self, subject: ChoiceValue, name: str) -> Value:
        if name not in {"exists", "empty", "hasValue"}:
            raise PathError(f"{subject.choice.name}[x] needs ofType(...) before {name}()")
        tests = [_exists(self.element(subject.base, one), []).sql for one in subject.choice.by_type.values()]
        any_of = "(" + " OR ".join(tests) + ")"
        return Value(f"(NOT {any_of})" if name == "empty" else any_of, "boolean", many=False)

    def _iterate(self, subject: Value, name: str, argument: Node) -> Value:
        if not subject.many:
            return self._iterate_one(subject, name, argument)
        each = self.variable()
        inner = self._value(argument, Value(each, subject.type, many=False, need=subject.need))
        if name == "select":
            made = f"list_transform({subject.sql}, lambda {each}: {inner.sql})"
            return Value(self._without_nulls(f"flatten({made})" if inner.many else made), inner.type, True, inner.need)
        if name == "all":
            bad = f"list_filter({subject.sql}, lambda {each}: NOT coalesce({inner.sql}, false))"
            return Value(f"(coalesce(len({bad}), 0) = 0)", "boolean", many=False)
        kept = Value(f"list_filter({subject.sql}, lambda {each}: {inner.sql})", subject.type, True, subject.need)
        return _exists(kept, []) if name == "exists" else kept

    def _iterate_one(self, subject: Value, name: str, argument: Node) -> Value:
        inner = self._value(argument, subject)
        if name == "select":
            return inner
        if name == "all":
            return Value(f"({subject.sql} IS NULL OR coalesce({inner.sql}, false))", "boolean", many=False)
        if name == "exists":
            return Value(f"coalesce({inner.sql}, false)", "boolean", many=False)
        return Value(f"(CASE WHEN {inner.sql} THEN {subject.sql} END)", subject.type, False, subject.need)

    def _extension(self, subject: Value, arguments: tuple[Node, ...]) -> Value:
        if len(arguments) != 1 or not isinstance(arguments[0], Literal):
            raise PathError("extension(): needs one URL")
        if is_primitive(subject.type):
            subject = self._primitive_sibling(subject)
        extensions = self.member(subject, "extension")
        assert isinstance(extensions, Value)
        return self._iterate(extensions, "where", Operation("=", Name(None, "url"), arguments[0]))

    def _primitive_sibling(self, subject: Value) -> Value:
        parent = subject.parent
        if parent is None or parent.many or subject.many or parent.need is None:
            raise PathError("extension(): not available on a repeating primitive")
        need = parent.need.primitive_sibling(subject.name)
        return Value(f'{parent.sql}."_{subject.name}"', "Element", many=False, need=need)


def _literal(value: str | int | float | bool | None) -> Value:
    if value is None:
        return Value("NULL", "string", many=False)
    if isinstance(value, bool):
        return Value(str(value).lower(), "boolean", many=False)
    if isinstance(value, int | float):
        return Value(str(value), "decimal" if isinstance(value, float) else "integer", many=False)
    return Value(quote(value), "string", many=False)


_LOGIC = {"and": "{0} AND {1}", "or": "{0} OR {1}", "xor": "{0} != {1}", "implies": "(NOT {0}) OR {1}"}
_ARITHMETIC = {"-": "-", "*": "*", "/": "/", "div": "//", "mod": "%"}


def _binary(operator: str, left: Value, right: Value) -> Value:
    """The SQL of an operator on two single values."""
    pair = (left.sql, right.sql)
    if operator in _LOGIC:
        return Value(f"({_LOGIC[operator].format(*pair)})", "boolean", many=False)
    if operator == "&":
        return Value(f"concat({left.sql}, {right.sql})", "string", many=False)
    if operator in {"~", "!~"}:
        same = f"coalesce(lower({left.sql}) = lower({right.sql}), {left.sql} IS NULL AND {right.sql} IS NULL)"
        return Value(same if operator == "~" else f"(NOT {same})", "boolean", many=False)
    if operator == "+" and not {left.type, right.type} <= NUMBERS:
        return Value(f"({left.sql} || {right.sql})", "string", many=False)
    if operator == "+" or operator in _ARITHMETIC:
        return Value(f"({left.sql} {_ARITHMETIC.get(operator, '+')} {right.sql})", "decimal", many=False)
    if (left.type in NUMBERS) != (right.type in NUMBERS) and "NULL" not in pair:
        raise PathError(f"{operator}: compares {left.type} with {right.type}")
    return Value(f"({left.sql} {operator} {right.sql})", "boolean", many=False)


def _exists(value: Value, _: list[str]) -> Value:
    sql = f"(coalesce(len({value.sql}), 0) > 0)" if value.many else f"({value.sql} IS NOT NULL)"
    return Value(sql, "boolean", many=False)


def _empty(value: Value, _: list[str]) -> Value:
    sql = f"(coalesce(len({value.sql}), 0) = 0)" if value.many else f"({value.sql} IS NULL)"
    return Value(sql, "boolean", many=False)


def _pick(position: str) -> Callable[[Value, list[str]], Value]:
    def pick(value: Value, _: list[str]) -> Value:
        if not value.many:
            return value
        return Value(f"({value.sql})[{position}]", value.type, many=False, need=value.need)

    return pick


def _slice(template: str) -> Callable[[Value, list[str]], Value]:
    def cut(value: Value, numbers: list[str]) -> Value:
        whole = value.sql if value.many else f"[{value.sql}]"
        return Value(f"({whole})[{template.format(*numbers)}]", value.type, many=True, need=value.need)

    return cut


def _count(value: Value, _: list[str]) -> Value:
    sql = f"coalesce(len({value.sql}), 0)" if value.many else f"(CASE WHEN {value.sql} IS NULL THEN 0 ELSE 1 END)"
    return Value(sql, "integer", many=False)


def _list_sql(template: str, kind: str, *, many: bool = False) -> Callable[[Value, list[str]], Value]:
    def make(value: Value, arguments: list[str]) -> Value:
        whole = value.sql if value.many else f"[{value.sql}]"
        return Value(template.format(whole, *(arguments or ["''"])), kind or value.type, many=many, need=value.need)

    return make


def _scalar_sql(template: str, kind: str, arguments_needed: int = 0) -> Callable[[Value, list[str]], Value]:
    def make(value: Value, arguments: list[str]) -> Value:
        if len(arguments) < arguments_needed:
            raise PathError(f"needs {arguments_needed} argument(s)")
        return Value(template.format(value.sql, *arguments), kind or value.type, many=False)

    return make


def _substring(value: Value, arguments: list[str]) -> Value:
    if not arguments:
        raise PathError("substring(): needs a start")
    length = f", {arguments[1]}" if len(arguments) > 1 else ""
    inside = f"{arguments[0]} >= 0 AND {arguments[0]} < length({value.sql})"
    return Value(f"(CASE WHEN {inside} THEN substr({value.sql}, {arguments[0]} + 1{length}) END)", "string", many=False)


def _to_string(value: Value, _: list[str]) -> Value:
    text = f"CAST({value.sql} AS VARCHAR)"
    # JSON's 24 and 24.0 are one number to DuckDB, which writes both 24.0; the shorter text is the hospital's usual one.
    return Value(f"regexp_replace({text}, '\\.0$', '')" if value.type == "decimal" else text, "string", many=False)


_ON_LISTS: dict[str, Callable[[Value, list[str]], Value]] = {
    "exists": _exists,
    "empty": _empty,
    "count": _count,
    "first": _pick("1"),
    "last": _pick("-1"),
    "single": _pick("1"),
    "tail": _slice("2:"),
    "skip": _slice("{0} + 1:"),
    "take": _slice(":{0}"),
    "distinct": _list_sql("list_distinct({0})", "", many=True),
    "join": _list_sql("array_to_string({0}, {1})", "string"),
    "anyTrue": _list_sql("list_bool_or({0})", "boolean"),
    "allTrue": _list_sql("coalesce(list_bool_and({0}), true)", "boolean"),
}
_ON_SCALARS: dict[str, Callable[[Value, list[str]], Value]] = {
    "hasValue": _scalar_sql("({0} IS NOT NULL)", "boolean"),
    "not": _scalar_sql("(NOT {0})", "boolean"),
    "startsWith": _scalar_sql("starts_with({0}, {1})", "boolean", 1),
    "endsWith": _scalar_sql("ends_with({0}, {1})", "boolean", 1),
    "contains": _scalar_sql("contains({0}, {1})", "boolean", 1),
    "matches": _scalar_sql("regexp_matches({0}, {1})", "boolean", 1),
    "indexOf": _scalar_sql("(instr({0}, {1}) - 1)", "integer", 1),
    "replace": _scalar_sql("replace({0}, {1}, {2})", "string", 2),
    "lower": _scalar_sql("lower({0})", "string"),
    "upper": _scalar_sql("upper({0})", "string"),
    "trim": _scalar_sql("trim({0})", "string"),
    "length": _scalar_sql("length({0})", "integer"),
    "toString": _to_string,
    "toInteger": _scalar_sql("TRY_CAST({0} AS BIGINT)", "integer"),
    "toDecimal": _scalar_sql("TRY_CAST({0} AS DOUBLE)", "decimal"),
    "substring": _substring,
}

__all__ = ["FUNCTIONS", "PathError", "PathSyntaxError", "Translator", "Value", "quote"]
