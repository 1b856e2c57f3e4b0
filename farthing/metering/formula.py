"""Running an expression: a parsed tree becomes nested closures over the numbers of one event.

Arithmetic is decimal with 34 significant digits (IEEE decimal128); `pow`, `sqrt` and `log` give 30. Division by zero,
overflow and anything undefined fail the evaluation as a whole; there are no infinities and no not-a-number.
Rule: docs/rules/metering.md#expressions
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import (
    ROUND_CEILING,
    ROUND_FLOOR,
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    Context,
    Decimal,
    DecimalException,
    DivisionByZero,
    InvalidOperation,
    Overflow,
)
from typing import Final

from farthing.core.money import ZERO
from farthing.metering.canonical import MAX_MAGNITUDE, read_number
from farthing.metering.expression import (
    Agreement,
    Arithmetic,
    Call,
    Choice,
    Comparison,
    Constant,
    Expression,
    Literal,
    Logic,
    Name,
    Negated,
    Not,
    Number,
    Truth,
    TruthChoice,
    parse,
)


def _context(digits: int) -> Context:
    return Context(
        prec=digits,
        rounding=ROUND_HALF_EVEN,
        Emin=1 - MAX_MAGNITUDE,
        Emax=MAX_MAGNITUDE,
        traps=[InvalidOperation, DivisionByZero, Overflow],
    )


# Operands are rounded to 34 digits before anything else: pow takes half a minute for 20,000 digits.
_WORKING = _context(34)
_FUNCTIONS_OF_REALS = _context(30)
_ONE = Decimal(1)
_MISSING = object()

# The numbers of the names, in the expression's order.
_Row = Sequence[Decimal]
_NumberOf = Callable[[_Row], Decimal]
_TruthOf = Callable[[_Row], bool]


@dataclass(frozen=True, slots=True)
class Formula:
    """An expression ready to run."""

    expression: Expression
    _run: _NumberOf

    def value(self, properties: Mapping[str, object]) -> Decimal | None:
        """The value for one event; None when the event cannot be measured.

        A missing property is 0 and a string that spells a number is that number. A property that is present and not
        a number fails, in whichever branch it stands; so do division by zero and undefined or unbounded results.
        """
        row: list[Decimal] = []
        for name in self.expression.names:
            value = properties.get(name, _MISSING)
            number = ZERO if value is _MISSING else read_number(value)
            if not isinstance(number, Decimal):
                return None
            row.append(_WORKING.plus(number))
        try:
            return self._run(row)
        except DecimalException:
            return None


def compiled(text: str) -> Formula:
    """Read and prepare an expression. Raises InvalidExpression."""
    expression = parse(text)
    places = {name: place for place, name in enumerate(expression.names)}
    return Formula(expression, _number(expression.root, places))


_ARITHMETIC: Final[Mapping[str, Callable[[Decimal, Decimal], Decimal]]] = {
    "+": _WORKING.add,
    "-": _WORKING.subtract,
    "*": _WORKING.multiply,
    "/": _WORKING.divide,
}
_COMPARISONS: Final[Mapping[str, Callable[[Decimal, Decimal], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _power(base: Decimal, exponent: Decimal) -> Decimal:
    """`base` to the `exponent`; anything to the 0 is 1, as in every other expression language."""
    if exponent == 0:
        return _ONE
    if base == 0 and exponent < 0:
        raise DivisionByZero
    return _FUNCTIONS_OF_REALS.power(base, exponent)


def _logarithm(number: Decimal) -> Decimal:
    if number == 0:
        raise DivisionByZero  # the decimal module would answer minus infinity
    return _FUNCTIONS_OF_REALS.ln(number)


_UNARY: Final[Mapping[str, Callable[[Decimal], Decimal]]] = {
    "abs": Decimal.copy_abs,
    "ceil": lambda number: number.to_integral_value(ROUND_CEILING),
    "floor": lambda number: number.to_integral_value(ROUND_FLOOR),
    "round": lambda number: number.to_integral_value(ROUND_HALF_UP),
    "sqrt": _FUNCTIONS_OF_REALS.sqrt,
    "log": _logarithm,
}
_BINARY: Final[Mapping[str, Callable[[Decimal, Decimal], Decimal]]] = {"max": max, "min": min, "pow": _power}


def _number(node: Number, places: Mapping[str, int]) -> _NumberOf:
    match node:
        case Literal(value):
            rounded = _WORKING.plus(value)
            return lambda row: rounded
        case Name(name):
            place = places[name]
            return lambda row: row[place]
        case Negated(operand):
            inner = _number(operand, places)
            return lambda row: inner(row).copy_negate()
        case Arithmetic(symbol, left, right):
            return _applied(_ARITHMETIC[symbol], left, right, places)
        case Call(function, (left, right)):
            return _applied(_BINARY[function], left, right, places)
        case Call(function, operands):
            apply, (only,) = _UNARY[function], (_number(operand, places) for operand in operands)
            return lambda row: apply(only(row))
        case Choice(condition, then, otherwise):
            test = _truth(condition, places)
            yes, no = _number(then, places), _number(otherwise, places)
            return lambda row: yes(row) if test(row) else no(row)


def _applied(
    apply: Callable[[Decimal, Decimal], Decimal], left: Number, right: Number, places: Mapping[str, int]
) -> _NumberOf:
    first, second = _number(left, places), _number(right, places)
    return lambda row: apply(first(row), second(row))


def _truth(node: Truth, places: Mapping[str, int]) -> _TruthOf:
    match node:
        case Constant(value):
            return lambda row: value
        case Not(operand):
            inner = _truth(operand, places)
            return lambda row: not inner(row)
        case Comparison(symbol, left, right):
            compare = _COMPARISONS[symbol]
            low, high = _number(left, places), _number(right, places)
            return lambda row: compare(low(row), high(row))
        case Agreement(symbol, left, right):
            first, second, wanted = _truth(left, places), _truth(right, places), symbol == "=="
            return lambda row: (first(row) == second(row)) is wanted
        case Logic(symbol, left, right):
            first, second = _truth(left, places), _truth(right, places)
            if symbol == "&&":
                return lambda row: first(row) and second(row)
            return lambda row: first(row) or second(row)
        case TruthChoice(condition, then, otherwise):
            test, yes, no = _truth(condition, places), _truth(then, places), _truth(otherwise, places)
            return lambda row: yes(row) if test(row) else no(row)
