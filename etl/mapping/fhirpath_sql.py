"""FHIRPath to DuckDB SQL, checked against the FHIR structure while it is translated.

A path gives either one value (a SQL scalar) or a repeating one (a SQL list); the FHIR models say which. FHIRPath's
empty collection is SQL NULL (or an empty list), and its three-valued logic is SQL's. A path that would silently take
"any" of several values is refused: say `.first()`, `.where(...)` or `.exists(...)`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count

from etl.errors import did_you_mean
from etl.mapping.conditions import NamedCondition, circle, unknown
from etl.mapping.fhirpath import Call, Index, Literal, Name, Negative, Node, Operation, PathSyntaxError, Variable, parse
from etl.mapping.fhirpath_functions import (
    ON_LISTS,
    ON_SCALARS,
    PathError,
    Value,
    binary,
    distinct,
    exists,
    literal,
    truth,
)
from etl.mapping.modifiers import Modifier, urls_by_variable
from etl.mapping.schema import Need, element_of
from etl.mapping.structure import Choice, Element, elements, is_primitive

FUNCTIONS = (
    "all allTrue anyTrue as contains count distinct empty endsWith exists extension first hasValue iif indexOf is join "
    "last length lower matches not ofType replace select skip startsWith substring tail take toDecimal "
    "toInteger toString trim upper where"
).split()


class ConditionError(PathError):
    """A fault within a named condition, which stands at the condition, not where it is used."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.keys = ("conditions", name)


@dataclass(frozen=True)
class ChoiceValue:
    """A choice element (`value[x]`) before `ofType` says which of its types is meant."""

    base: Value
    choice: Choice


class Translator:
    """Translates the paths of one resource type and gathers which elements they read."""

    def __init__(
        self,
        resource_type: str,
        root: str = "r",
        modifiers: Iterable[Modifier] = (),
        conditions: Mapping[str, NamedCondition] | None = None,
    ) -> None:
        """`root` is the SQL expression that holds the resource; `modifiers` are the extensions that are understood,
        `conditions` those that a path may name."""
        self.conditions = conditions or {}
        self._within: list[str] = []
        self.lists = urls_by_variable(modifiers)
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
            if element.many and is_primitive(element.type):
                sql = self._without_nulls(sql)  # null stands for a value that has only extensions
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
                return literal(constant)
            case Variable("$this"):
                return this
            case Variable("%resource"):
                return self.root
            case Variable("%site"):
                return Value("site", "string", many=False)
            case Variable(name):
                return self._condition(name, this)
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
                if value.kind != "number":
                    raise PathError(f"-: needs a number, got {value.type}")
                return Value(f"(-{value.sql})", value.type, many=False)
            case Operation(operator, left, right):
                return self._operation(operator, left, right, this)
            case Call(base, name, arguments):
                return self._call(base, name, arguments, this)
        raise PathError(f"{node}: not part of the mapping language")

    def _condition(self, variable: str, this: Value) -> Value:
        """A named condition, as if its path stood here in brackets."""
        name = variable[1:]
        one = self.conditions.get(name) if variable.startswith("%") else None
        if one is None:
            raise PathError(unknown(variable, self.conditions))
        if name in self._within:
            raise ConditionError(*circle(self._within[self._within.index(name) :]))
        self._within.append(name)
        try:
            value = self._value(parse(one.path), this)
        except ConditionError:
            raise
        except (PathError, PathSyntaxError) as error:
            raise ConditionError(name, str(error)) from error
        finally:
            self._within.pop()
        if value.many or value.type != "boolean":
            raise ConditionError(name, f"{one.path}: is not a yes/no expression")
        return value

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
            return self._of_type(self._node(left, this), right, operator)
        if operator == "|":
            return self._union(self._value(left, this), self._value(right, this))
        if operator in {"in", "contains"}:
            item, whole = (left, right) if operator == "in" else (right, left)
            constants = _constants(whole)
            if isinstance(whole, Variable) and whole.name[1:] in self.lists:
                constants = [literal(url) for url in self.lists[whole.name[1:]]]
                if not constants:
                    return literal(False)
            if constants:
                return self._among(self._one(item, this, operator), constants)
            return self._membership(self._one(item, this, operator), self._value(whole, this))
        one, other = self._one(left, this, operator), self._one(right, this, operator)
        return binary(operator, one, other)

    def _union(self, left: Value, right: Value) -> Value:
        kinds = {left.kind, right.kind} - {"nothing"}
        if len(kinds) > 1 or (kinds == {"complex"} and left.type != right.type):
            raise PathError(f"|: cannot put {left.type} and {right.type} together")
        sides = [value.listed for value in (left, right) if value.kind != "nothing"]
        merged = self._without_nulls(f"list_concat({', '.join(sides)})" if sides else "[]")
        return distinct(Value(merged, right.type if left.kind == "nothing" else left.type, many=True))

    def _membership(self, item: Value, whole: Value) -> Value:
        kinds = {item.kind, whole.kind} - {"nothing"}
        if len(kinds) > 1 or "complex" in kinds:
            raise PathError(f"in: cannot look for {item.type} among {whole.type}")
        found = f"coalesce(list_contains({whole.listed}, {item.sql}), false)"
        return Value(f"(CASE WHEN {item.sql} IS NOT NULL THEN {found} END)", "boolean", many=False)

    def _among(self, item: Value, constants: list[Value]) -> Value:
        """`status in ('a' | 'b')`, the commonest test, as plain SQL."""
        if {item.kind, *(one.kind for one in constants)} - {"nothing"} - {constants[0].kind}:
            raise PathError(f"in: cannot look for {item.type} among {constants[0].type}")
        listed = ", ".join(one.sql for one in constants)
        return Value(f"({item.sql} IN ({listed}))", "boolean", many=False)

    # --- functions ---------------------------------------------------------------------------------------------

    def _call(self, base: Node | None, name: str, arguments: tuple[Node, ...], this: Value) -> "Value | ChoiceValue":
        if name not in FUNCTIONS:
            raise PathError(f"{name}(): unknown function{did_you_mean(name, FUNCTIONS)}")
        if name == "iif":
            return self._iif(arguments, this if base is None else self._one(base, this, "iif"))
        subject: Value | ChoiceValue = this if base is None else self._node(base, this)
        if name in {"ofType", "as", "is"}:
            if len(arguments) != 1 or not isinstance(arguments[0], Name):
                raise PathError(f"{name}(): needs one type name")
            return self._of_type(subject, arguments[0], name)
        if isinstance(subject, ChoiceValue):
            return self._choice_function(subject, name)
        if name in {"where", "exists", "all", "select"} and arguments:
            return self._iterate(subject, name, arguments[0])
        if name == "extension":
            return self._extension(subject, arguments)
        if name in ON_LISTS:
            return ON_LISTS[name](subject, [self._one(argument, this, name) for argument in arguments])
        if subject.many:
            raise PathError(f"{name}(): its input repeats; say .first() or .where(...)")
        return ON_SCALARS[name](subject, [self._one(argument, this, name) for argument in arguments])

    def _iif(self, arguments: tuple[Node, ...], this: Value) -> Value:
        if len(arguments) not in {2, 3}:
            raise PathError("iif(): needs a condition and one or two results")
        condition = truth(self._one(arguments[0], this, "iif"), "iif()")
        results = [self._one(argument, this, "iif") for argument in arguments[1:]]
        if len({one.kind for one in results} - {"nothing"}) > 1:
            raise PathError("iif(): its results must be of one kind")
        yes, no = results[0].sql, results[1].sql if len(results) == 2 else "NULL"
        kind = next((one.type for one in results if one.kind != "nothing"), "string")
        return Value(f"(CASE WHEN {condition} THEN {yes} ELSE {no} END)", kind, many=False)

    def _of_type(self, subject: "Value | ChoiceValue", kind: Name, verb: str) -> Value:
        if kind.base not in {None, Name(None, "FHIR")}:
            raise PathError(f"{verb}: {kind.name} must be a FHIR type")
        if isinstance(subject, ChoiceValue):
            element = subject.choice.by_type.get(kind.name)
            if element is None:
                hint = did_you_mean(kind.name, list(subject.choice.by_type))
                raise PathError(f"{subject.choice.name}[x] is never a {kind.name}{hint}")
            value = self.element(subject.base, element)
        elif subject.type == kind.name:
            value = subject
        else:
            raise PathError(f"{verb}({kind.name}): the element is always a {subject.type}")
        if verb != "ofType" and value.many:
            raise PathError(f"{verb}: its operand repeats; say ofType({kind.name})")
        if verb == "is":  # only then the other types are read, too
            any_type = self._choice_function(subject, "exists") if isinstance(subject, ChoiceValue) else exists(value)
            return Value(f"(CASE WHEN {any_type.sql} THEN {exists(value).sql} END)", "boolean", many=False)
        return value

    def _choice_function(self, subject: ChoiceValue, name: str) -> Value:
        if name not in {"exists", "empty", "hasValue"}:
            raise PathError(f"{subject.choice.name}[x] needs ofType(...) before {name}()")
        base = subject.base
        one = Value(self.variable(), base.type, many=False, need=base.need) if base.many else base
        any_of = " OR ".join(exists(self.element(one, kind)).sql for kind in subject.choice.by_type.values())
        if base.many:  # one lambda for all types
            any_of = exists(Value(f"list_filter({base.sql}, lambda {one.sql}: {any_of})", base.type, many=True)).sql
        any_of = f"({any_of})"
        return Value(f"(NOT {any_of})" if name == "empty" else any_of, "boolean", many=False)

    def _iterate(self, subject: Value, name: str, argument: Node) -> Value:
        each = self.variable() if subject.many else subject.sql
        one = Value(each, subject.type, many=False, need=subject.need) if subject.many else subject
        inner = self._value(argument, one)
        holds = "" if name == "select" else truth(inner, f"{name}()")
        if not subject.many:
            return self._iterate_one(subject, name, inner, holds)
        if name == "select":
            made = f"list_transform({subject.sql}, lambda {each}: {inner.sql})"
            return Value(self._without_nulls(f"flatten({made})" if inner.many else made), inner.type, True, inner.need)
        if name == "all" and holds == "false":  # of nothing only
            return Value(f"(NOT {exists(subject).sql})", "boolean", many=False)
        if name == "all":
            bad = f"list_filter({subject.sql}, lambda {each}: NOT coalesce({holds}, false))"
            return Value(f"(coalesce(len({bad}), 0) = 0)", "boolean", many=False)
        kept = Value(f"list_filter({subject.sql}, lambda {each}: {holds})", subject.type, True, subject.need)
        return exists(kept) if name == "exists" else kept

    def _iterate_one(self, subject: Value, name: str, inner: Value, holds: str) -> Value:
        there = f"{subject.sql} IS NOT NULL"
        if name == "select":
            return Value(f"(CASE WHEN {there} THEN {inner.sql} END)", inner.type, inner.many, inner.need)
        if name == "all":
            return Value(f"(NOT ({there}) OR coalesce({holds}, false))", "boolean", many=False)
        if name == "exists":
            return Value(f"({there} AND coalesce({holds}, false))", "boolean", many=False)
        return Value(f"(CASE WHEN {holds} THEN {subject.sql} END)", subject.type, False, subject.need)

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


def _constants(node: Node) -> list[Value]:
    """The constants of `('a' | 'b' | …)`; none when anything else is in it."""
    if isinstance(node, Literal) and node.value is not None:
        return [literal(node.value)]
    if isinstance(node, Operation) and node.operator == "|":
        left, right = _constants(node.left), _constants(node.right)
        return left + right if left and right else []
    return []


__all__ = ["FUNCTIONS", "ConditionError", "PathError", "PathSyntaxError", "Translator", "Value"]
