"""The expression language of meters: its grammar, its types, and the tree a text becomes.

A small part of CEL. Names are first-level properties, every name and literal is a number, conditions exist only to
choose and to be combined. Lowest binding first:

    condition ? a : b      ||      &&      == != < <= > >=      + -      * /      - !      names, literals, calls, ( )

Calls: `max(a, b) min(a, b) pow(x, y) abs(x) ceil(x) floor(x) round(x) sqrt(x) log(x)`. There are no macros, no nested
paths, no text literals and no remainder operator.
Rule: docs/rules/metering.md#expressions
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NoReturn

from farthing.metering.canonical import read_number

MAX_LENGTH = 2_000  # characters
MAX_NODES = 200  # names, literals, operators and calls; also bounds how deep a chain like a + b + c + ... nests
MAX_NESTING = 50  # parentheses, calls, signs and choices inside one another

ARITY: Final[Mapping[str, int]] = {
    "max": 2,
    "min": 2,
    "pow": 2,
    "abs": 1,
    "ceil": 1,
    "floor": 1,
    "round": 1,
    "sqrt": 1,
    "log": 1,
}
MAX_COST = 1_000
"""What evaluating an expression may cost, in units of one addition (half a microsecond); see `cost_of`."""

_CALL_COSTS: Final[Mapping[str, int]] = {"pow": 400, "log": 100, "sqrt": 8}
_WHOLE_POWER_COST = 8
_LARGEST_WHOLE_POWER = 10_000
_RESERVED = frozenset({"null", "in"})


class InvalidExpression(ValueError):
    """The text is not an expression. `position` is the 1-based character where it went wrong."""

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(f"{reason} at character {position}")
        self.reason = reason
        self.position = position


@dataclass(frozen=True, slots=True)
class Literal:
    value: Decimal


@dataclass(frozen=True, slots=True)
class Name:
    name: str


@dataclass(frozen=True, slots=True)
class Negated:
    operand: Number


@dataclass(frozen=True, slots=True)
class Arithmetic:
    operator: str  # + - * /
    left: Number
    right: Number


@dataclass(frozen=True, slots=True)
class Call:
    function: str  # a key of ARITY, with that many operands
    operands: tuple[Number, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    condition: Truth
    then: Number
    otherwise: Number


@dataclass(frozen=True, slots=True)
class Constant:
    value: bool


@dataclass(frozen=True, slots=True)
class Not:
    operand: Truth


@dataclass(frozen=True, slots=True)
class Comparison:
    operator: str  # == != < <= > >=
    left: Number
    right: Number


@dataclass(frozen=True, slots=True)
class Agreement:
    operator: str  # == !=
    left: Truth
    right: Truth


@dataclass(frozen=True, slots=True)
class Logic:
    operator: str  # && ||
    left: Truth
    right: Truth


@dataclass(frozen=True, slots=True)
class TruthChoice:
    condition: Truth
    then: Truth
    otherwise: Truth


Number = Literal | Name | Negated | Arithmetic | Call | Choice
Truth = Constant | Not | Comparison | Agreement | Logic | TruthChoice
Node = Number | Truth

_NUMBER_NODES = (Literal, Name, Negated, Arithmetic, Call, Choice)


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression of numeric type; `names` are the properties it reads, in order of first use, at least one."""

    text: str
    root: Number
    names: tuple[str, ...]

    @property
    def cost(self) -> int:
        return cost_of(self.root)


def parse(text: str) -> Expression:
    """Read an expression. Raises InvalidExpression, and nothing else, for any text that is not one."""
    if len(text) > MAX_LENGTH:
        raise InvalidExpression(f"longer than {MAX_LENGTH} characters", MAX_LENGTH + 1)
    parser = _Parser(text)
    root = parser.number(parser.whole())
    if not parser.names:
        raise InvalidExpression("no property is used", 1)
    return Expression(text, root, tuple(parser.names))


def cost_of(node: Node) -> int:
    """What evaluating `node` costs at most, whatever numbers an event holds; both branches of a choice count.

    Everything costs 1 but `pow`, `log` and `sqrt`, whose cost their precision bounds. A `pow` to a whole number that
    stands in the expression is a few multiplications.
    """
    own = 1
    if isinstance(node, Call):
        own = _CALL_COSTS.get(node.function, 1)
        if node.function == "pow" and _is_whole(node.operands[1]):
            own = _WHOLE_POWER_COST
    return own + sum(cost_of(part) for part in _parts(node))


def _is_whole(exponent: Number) -> bool:
    if isinstance(exponent, Negated):
        exponent = exponent.operand
    return (
        isinstance(exponent, Literal)
        and exponent.value <= _LARGEST_WHOLE_POWER
        and exponent.value == exponent.value.to_integral_value()
    )


def _parts(node: Node) -> tuple[Node, ...]:
    match node:
        case Literal() | Name() | Constant():
            return ()
        case Negated(operand) | Not(operand):
            return (operand,)
        case Call(_, operands):
            return operands
        case Choice(condition, then, otherwise) | TruthChoice(condition, then, otherwise):
            return (condition, then, otherwise)
        case Arithmetic(_, left, right) | Comparison(_, left, right):
            return (left, right)
        case Agreement(_, left, right) | Logic(_, left, right):
            return (left, right)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # "number", "name", an operator's own text, or "end"
    text: str
    position: int  # 1-based


_TOKEN = re.compile(
    r"(?P<space>[ \t\n\r\f]+)"
    r"|(?P<number>(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<operator>&&|\|\||==|!=|<=|>=|[-+*/<>!?:(),])"
)
_GLUED = re.compile(r"[A-Za-z0-9_.]")
_HINTS: Final[Mapping[str, str]] = {
    "%": "the remainder operator % is not part of the language",
    ".": "nested paths are not supported",
    "[": "nested paths are not supported",
    '"': "text literals are not supported",
    "'": "text literals are not supported",
    "=": "'=' is not an operator, did you mean '=='",
    "&": "'&' is not an operator, did you mean '&&'",
    "|": "'|' is not an operator, did you mean '||'",
}


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            reason = _HINTS.get(text[at], f"unexpected character {text[at]!r}")
            raise InvalidExpression(reason, at + 1)
        kind = found.lastgroup or ""
        if kind == "number" and _GLUED.match(text, found.end()):
            raise InvalidExpression("malformed number", at + 1)
        if kind != "space":
            tokens.append(_Token(found.group() if kind == "operator" else kind, found.group(), at + 1))
        at = found.end()
    tokens.append(_Token("end", "", len(text) + 1))
    return tokens


_CHOICE = 1
_BINDING: Final[Mapping[str, int]] = {
    "?": _CHOICE,
    "||": 2,
    "&&": 3,
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), 4),
    "+": 5,
    "-": 5,
    "*": 6,
    "/": 6,
}
_SIGN = 7


class _Parser:
    """Precedence climbing over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0
        self._nodes = 0
        self._nesting = 0
        self.names: dict[str, None] = {}  # a dict keeps the order of first use

    def whole(self) -> Node:
        node = self._expression(0)
        if self._next.kind != "end":
            self._unexpected("expected an operator or the end")
        return node

    def number(self, node: Node, position: int = 1) -> Number:
        if not isinstance(node, _NUMBER_NODES):
            raise InvalidExpression("expected a number, found a condition", position)
        return node

    def _truth(self, node: Node, position: int) -> Truth:
        if isinstance(node, _NUMBER_NODES):
            raise InvalidExpression("expected a condition, found a number", position)
        return node

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _expect(self, kind: str) -> None:
        if self._next.kind != kind:
            self._unexpected(f"expected '{kind}'")
        self._at += 1

    def _unexpected(self, wanted: str) -> NoReturn:
        token = self._next
        found = "the end" if token.kind == "end" else f"'{token.text}'"
        raise InvalidExpression(f"{wanted}, found {found}", token.position)

    def _counted(self, token: _Token) -> _Token:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise InvalidExpression(f"more than {MAX_NODES} operands and operators", token.position)
        return token

    def _expression(self, weakest: int) -> Node:
        """An operand and all that binds to it at least as strongly as `weakest`."""
        start = self._next.position
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise InvalidExpression(f"nested deeper than {MAX_NESTING} levels", start)
        left = self._operand()
        while (binding := _BINDING.get(self._next.kind, -1)) >= max(weakest, 0):
            operator = self._counted(self._take())
            if binding == _CHOICE:
                left = self._choice(left, start)
            else:
                right_start = self._next.position
                left = self._joined(operator.text, left, self._expression(binding + 1), start, right_start)
        self._nesting -= 1
        return left

    def _operand(self) -> Node:
        if self._next.kind not in {"number", "name", "-", "!", "("}:
            self._unexpected("expected a property, a number or '('")
        token = self._take()
        if token.kind == "(":
            inner = self._expression(0)
            self._expect(")")
            return inner
        self._counted(token)
        start = self._next.position
        if token.kind == "-":
            return Negated(self.number(self._expression(_SIGN), start))
        if token.kind == "!":
            return Not(self._truth(self._expression(_SIGN), start))
        if token.kind == "number":
            return self._literal(token)
        return self._call(token) if self._next.kind == "(" else self._name(token)

    def _literal(self, token: _Token) -> Literal:
        value = read_number(token.text)
        if not isinstance(value, Decimal):
            raise InvalidExpression("number out of range", token.position)
        return Literal(value)

    def _name(self, token: _Token) -> Name | Constant:
        if token.text in {"true", "false"}:
            return Constant(token.text == "true")
        if token.text in _RESERVED:
            raise InvalidExpression(f"'{token.text}' is not part of the language", token.position)
        self.names.setdefault(token.text)
        return Name(token.text)

    def _call(self, token: _Token) -> Call:
        arity = ARITY.get(token.text)
        if arity is None:
            raise InvalidExpression(f"unknown function '{token.text}'", token.position)
        self._expect("(")
        operands: list[Number] = []
        while self._next.kind != ")" or operands:
            start = self._next.position
            operands.append(self.number(self._expression(0), start))
            if self._next.kind != ",":
                break
            self._take()
        self._expect(")")
        if len(operands) != arity:
            raise InvalidExpression(f"{token.text} takes {arity}, not {len(operands)} arguments", token.position)
        return Call(token.text, tuple(operands))

    def _choice(self, condition: Node, start: int) -> Choice | TruthChoice:
        test = self._truth(condition, start)
        then = self._expression(_CHOICE)
        self._expect(":")
        otherwise_start = self._next.position
        otherwise = self._expression(_CHOICE)
        if isinstance(then, _NUMBER_NODES):
            return Choice(test, then, self.number(otherwise, otherwise_start))
        return TruthChoice(test, then, self._truth(otherwise, otherwise_start))

    def _joined(self, operator: str, left: Node, right: Node, start: int, right_start: int) -> Node:
        if operator in {"&&", "||"}:
            return Logic(operator, self._truth(left, start), self._truth(right, right_start))
        if operator in {"==", "!="} and not isinstance(left, _NUMBER_NODES):
            return Agreement(operator, left, self._truth(right, right_start))
        numbers = self.number(left, start), self.number(right, right_start)
        return (Arithmetic if operator in {"+", "-", "*", "/"} else Comparison)(operator, *numbers)
