"""The FHIRPath subset of the mapping language: text to syntax tree.

Grammar and precedence are those of FHIRPath (normative release 2); what `etl.mapping.fhirpath_sql` can translate is
listed there. Errors name the place in the expression.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias


class PathSyntaxError(ValueError):
    """An expression that is not FHIRPath, with the place where reading stopped."""


@dataclass(frozen=True)
class Literal:
    """A text, number, boolean or the empty collection (`value` None)."""

    value: str | int | float | bool | None


@dataclass(frozen=True)
class Name:
    """A member access: `base.name`, or a name at the start of a path (base None)."""

    base: "Node | None"
    name: str


@dataclass(frozen=True)
class Call:
    """A function call: `base.name(arguments)`."""

    base: "Node | None"
    name: str
    arguments: tuple["Node", ...]


@dataclass(frozen=True)
class Index:
    """`base[position]`, counted from 0."""

    base: "Node"
    position: int


@dataclass(frozen=True)
class Operation:
    """A binary operator."""

    operator: str
    left: "Node"
    right: "Node"


@dataclass(frozen=True)
class Negative:
    """Unary minus."""

    operand: "Node"


@dataclass(frozen=True)
class Variable:
    """`$this`, `%resource`, `%site` and the like, with its sign."""

    name: str


Node: TypeAlias = Literal | Name | Call | Index | Operation | Negative | Variable

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>'(?:[^'\\]|\\.)*')
    | (?P<number>\d+(?:\.\d+)?)
    | (?P<variable>[$%][A-Za-z_][A-Za-z0-9_]*)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*|`[^`]+`)
    | (?P<sign><=|>=|!=|!~|[=~<>|&+\-*/.,()\[\]{}])
    )""",
    re.VERBOSE,
)
_LEVELS: tuple[frozenset[str], ...] = (
    frozenset({"implies"}),
    frozenset({"or", "xor"}),
    frozenset({"and"}),
    frozenset({"in", "contains"}),
    frozenset({"=", "!=", "~", "!~"}),
    frozenset({"<", ">", "<=", ">="}),
    frozenset({"|"}),
    frozenset({"is", "as"}),
    frozenset({"+", "-", "&"}),
    frozenset({"*", "/", "div", "mod"}),
)
_LEVEL_OF = {operator: level for level, operators in enumerate(_LEVELS) for operator in operators}
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "'": "'", "\\": "\\", "/": "/", '"': '"', "`": "`"}


@cache
def parse(expression: str) -> Node:
    """The syntax tree of an expression. Raises PathSyntaxError. Mappings say the same things again and again."""
    reader = _Reader(expression)
    node = reader.binary(0)
    if reader.peek() is not None:
        raise reader.error("the expression should end here")
    return node


class _Reader:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.tokens: list[tuple[str, str, int]] = []
        position = 0
        while position < len(expression.rstrip()):
            match = _TOKEN.match(expression, position)
            if not match or match.lastgroup is None:
                raise PathSyntaxError(f"cannot read {expression[position : position + 12]!r} in {expression!r}")
            self.tokens.append((match.lastgroup, match.group(match.lastgroup), match.start(match.lastgroup)))
            position = match.end()
        self.at = 0

    def peek(self) -> str | None:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else None

    def take(self, expected: str | None = None) -> tuple[str, str]:
        if self.at >= len(self.tokens):
            raise self.error(f"{expected or 'something'} is missing at the end")
        kind, text, _ = self.tokens[self.at]
        if expected is not None and text != expected:
            raise self.error(f"{expected!r} is missing")
        self.at += 1
        return kind, text

    def error(self, what: str) -> PathSyntaxError:
        place = self.tokens[self.at][2] if self.at < len(self.tokens) else len(self.expression)
        return PathSyntaxError(f"{what}, at character {place + 1} of {self.expression!r}")

    def binary(self, level: int) -> Node:
        """An expression whose operators all bind at least as tightly as `level`; equal ones group to the left."""
        node = self.unary()
        while (own := _LEVEL_OF.get(self.peek() or "", -1)) >= level:
            operator = self.take()[1]
            node = Operation(operator, node, self.binary(own + 1))
        return node

    def unary(self) -> Node:
        if self.peek() == "-":
            self.take()
            return Negative(self.unary())
        return self.postfix()

    def postfix(self) -> Node:
        node = self.primary()
        while self.peek() in {".", "["}:
            if self.take()[1] == ".":
                node = self.invocation(node)
            else:
                node = Index(node, int(self.take()[1]))
                self.take("]")
        return node

    def primary(self) -> Node:
        kind, text, _ = self.tokens[self.at] if self.at < len(self.tokens) else ("end", "", 0)
        if kind == "text":
            self.take()
            return Literal(re.sub(r"\\(u[0-9a-fA-F]{4}|.)", _unescape, text[1:-1]))
        if kind == "number":
            self.take()
            return Literal(float(text) if "." in text else int(text))
        if kind == "variable":
            self.take()
            return Variable(text)
        if text == "(":
            self.take()
            node = self.binary(0)
            self.take(")")
            return node
        if text == "{":
            self.take()
            self.take("}")
            return Literal(None)
        if text in {"true", "false"}:
            self.take()
            return Literal(text == "true")
        return self.invocation(None)

    def invocation(self, base: Node | None) -> Node:
        kind, text = self.take()
        if kind != "name":
            self.at -= 1
            raise self.error("an element name is missing")
        name = text.strip("`")
        if self.peek() != "(":
            return Name(base, name)
        self.take("(")
        arguments: list[Node] = []
        while self.peek() != ")":
            arguments.append(self.binary(0))
            if self.peek() == ",":
                self.take()
        self.take(")")
        return Call(base, name, tuple(arguments))


def _unescape(match: re.Match[str]) -> str:
    code = match.group(1)
    return chr(int(code[1:], 16)) if len(code) > 1 else _ESCAPES.get(code, code)
