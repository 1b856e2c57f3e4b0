"""The expression language: what it means, what it refuses, and that nothing else can happen."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from farthing.metering.expression import MAX_LENGTH, MAX_NESTING, MAX_NODES, InvalidExpression, parse
from farthing.metering.formula import compiled


def value(text: str, **properties: Any) -> Decimal | None:
    return compiled(text).value(properties)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a / 4", "2.5", id="division is real"),
        pytest.param("a + 2 * 3", "16", id="times binds stronger than plus"),
        pytest.param("(a + 2) * 3", "36", id="parentheses first"),
        pytest.param("a - 2 - 3", "5", id="minus groups to the left"),
        pytest.param("a / 2 / 5", "1", id="division groups to the left"),
        pytest.param("-a + 1", "-9", id="a sign binds strongest"),
        pytest.param("2 * -a", "-20", id="a sign within a product"),
        pytest.param("--a", "10", id="two signs"),
        pytest.param("a * 1.5e1 + .5", "150.5", id="literals with fraction and exponent"),
        pytest.param("max(a, 11) + min(a, 3)", "14", id="max and min"),
        pytest.param("pow(a, 3)", "1000", id="power"),
        pytest.param("pow(a, -1)", "0.1", id="negative power"),
        pytest.param("pow(a - 10, 0)", "1", id="nothing to the nothing is one"),
        pytest.param("abs(3 - a)", "7", id="absolute value"),
        pytest.param("ceil(a / 4)", "3", id="ceil"),
        pytest.param("ceil(-a / 4)", "-2", id="ceil of a negative"),
        pytest.param("floor(-a / 4)", "-3", id="floor of a negative"),
        pytest.param("round(a / 4)", "3", id="round goes half away from zero"),
        pytest.param("round(-a / 4)", "-3", id="round goes half away from zero, below as well"),
        pytest.param("sqrt(a * 10)", "10", id="square root"),
        pytest.param("log(a) - log(a)", "0", id="logarithm"),
        pytest.param("a > 9 ? 1 : 2", "1", id="choice"),
        pytest.param("a < 9 ? 1 : a < 11 ? 2 : 3", "2", id="choices group to the right"),
        pytest.param("a >= 10 && a <= 10 ? 1 : 0", "1", id="and"),
        pytest.param("a == 11 || a != 11 ? 1 : 0", "1", id="or"),
        pytest.param("a > 1 || a > 1 && a > 99 ? 1 : 0", "1", id="and binds stronger than or"),
        pytest.param("!(a > 9) ? 1 : 0", "0", id="not"),
        pytest.param("(a > 9) == true ? 1 : 0", "1", id="conditions can be compared for agreement"),
        pytest.param("(a > 9 ? a < 9 : a > 9) ? 1 : 0", "0", id="a choice of conditions"),
        pytest.param("a == 10.0 ? 1 : 0", "1", id="numbers compare by value"),
        pytest.param("a > 0 && 1 / (a - 10) > 1 || a == 10 ? 1 : 0", None, id="division by zero fails when reached"),
        pytest.param("a == 10 || 1 / (a - 10) > 1 ? 1 : 0", "1", id="and does not when the answer is known before"),
        pytest.param("a == 10 ? 1 : 1 / (a - 10)", "1", id="nor in the branch not taken"),
        pytest.param("a\n\t+\r\n1", "11", id="whitespace anywhere"),
        pytest.param("max + a", "10", id="a property may be called like a function"),
        pytest.param("1 / 3 + 0 * a", "0." + "3" * 34, id="34 significant digits"),
        pytest.param("sqrt(2) + 0 * a", "1.41421356237309504880168872421", id="30 digits for square roots"),
    ],
)
def test_meaning(text: str, expected: str | None) -> None:
    assert value(text, a=10) == (None if expected is None else Decimal(expected))


@pytest.mark.parametrize(
    ("text", "properties", "expected"),
    [
        pytest.param("ceil(duration_ms / 1000)", {"duration_ms": 4200}, "5", id="A32: 4200 ms are 5 s"),
        pytest.param("ceil(duration_ms / 1000)", {"duration_ms": 8100}, "9", id="A32: 8100 ms are 9 s"),
        pytest.param("ceil(duration_ms / 1000)", {"duration_ms": " 500 "}, "1", id="A32: numeric text is converted"),
        pytest.param("ceil(duration_ms / 1000)", {}, "0", id="A32: missing is 0"),
        pytest.param("ceil(duration_ms / 1000)", {"duration_ms": "abc"}, None, id="A32: other text has no value"),
        pytest.param("a / b", {"a": 1}, None, id="A32: division by zero has no value"),
        pytest.param("a / b", {}, None, id="nor has zero by zero"),
        pytest.param("a - b", {"a": 1, "b": 3}, "-2", id="A32: a negative value is still a value here"),
        pytest.param("a + 1", {"a": None}, None, id="null has no value"),
        pytest.param("a + 1", {"a": True}, None, id="a boolean has no value"),
        pytest.param("a + 1", {"a": {"b": 1}}, None, id="an object has no value"),
        pytest.param("a > 0 ? a : b", {"a": 1, "b": "x"}, None, id="not even in the branch not taken"),
        pytest.param("pow(a, 1e30)", {"a": 10}, None, id="overflow has no value"),
        pytest.param("a * a", {"a": Decimal("1e6000")}, None, id="overflow of a product has no value"),
        pytest.param("sqrt(a)", {"a": -1}, None, id="the root of a negative has no value"),
        pytest.param("log(a)", {}, None, id="the logarithm of zero has no value"),
        pytest.param("max(log(a), 1)", {}, None, id="and does not get one by comparison"),
        pytest.param("pow(a, -1)", {}, None, id="nor has a negative power of zero"),
        pytest.param("pow(a, 0.5)", {"a": -4}, None, id="nor a fractional power of a negative"),
        pytest.param("a * 3", {"a": Decimal("0.1")}, "0.3", id="decimal, not binary"),
        pytest.param("a + 1", {"a": 9007199254740993}, "9007199254740994", id="beyond what a double holds"),
        pytest.param(
            "pow(a, a)", {"a": "1." + "0" * 200_000 + "1"}, "1", id="an operand of 200,000 digits takes no time"
        ),
        pytest.param("a - 1", {"a": "1." + "0" * 33 + "1"}, "0", id="operands have 34 significant digits as well"),
        pytest.param("_x1 + Y", {"_x1": 1, "Y": 2, "y": 9}, "3", id="names keep their case"),
    ],
)
def test_values_of_events(text: str, properties: dict[str, object], expected: str | None) -> None:
    assert compiled(text).value(properties) == (None if expected is None else Decimal(expected))


@pytest.mark.parametrize(
    ("text", "reason", "position"),
    [
        pytest.param("", "expected a property, a number or '(', found the end", 1, id="nothing"),
        pytest.param("a +", "expected a property, a number or '(', found the end", 4, id="an operand is missing"),
        pytest.param("a b", "expected an operator or the end, found 'b'", 3, id="an operator is missing"),
        pytest.param("(a + 1", "expected ')', found the end", 7, id="an open parenthesis"),
        pytest.param("a + 1)", "expected an operator or the end, found ')'", 6, id="a parenthesis too many"),
        pytest.param("()", "expected a property, a number or '(', found ')'", 2, id="empty parentheses"),
        pytest.param("a % 2", "the remainder operator % is not part of the language", 3, id="remainder"),
        pytest.param("a.b + 1", "nested paths are not supported", 2, id="a path"),
        pytest.param("a[0]", "nested paths are not supported", 2, id="an index"),
        pytest.param("a + 'x'", "text literals are not supported", 5, id="text"),
        pytest.param("a = 1 ? 1 : 2", "'=' is not an operator, did you mean '=='", 3, id="assignment"),
        pytest.param("a & 1", "'&' is not an operator, did you mean '&&'", 3, id="bit operators"),
        pytest.param("a + é", "unexpected character 'é'", 5, id="letters beyond ASCII"),
        pytest.param("a + 12b", "malformed number", 5, id="a number glued to a name"),
        pytest.param("a + 1.2.3", "malformed number", 5, id="a number with two points"),
        pytest.param("a + 1e99999", "number out of range", 5, id="a number beyond all bounds"),
        pytest.param("has(a)", "unknown function 'has'", 1, id="a macro"),
        pytest.param("1 + foo(a)", "unknown function 'foo'", 5, id="an unknown function"),
        pytest.param("max(a)", "max takes 2, not 1 arguments", 1, id="an argument too few"),
        pytest.param("abs(a, a)", "abs takes 1, not 2 arguments", 1, id="an argument too many"),
        pytest.param("abs()", "abs takes 1, not 0 arguments", 1, id="no argument"),
        pytest.param("max(a,)", "expected a property, a number or '(', found ')'", 7, id="a trailing comma"),
        pytest.param("a > 1", "expected a number, found a condition", 1, id="a condition is no quantity"),
        pytest.param("a + (b > 1)", "expected a number, found a condition", 5, id="a condition is no operand"),
        pytest.param("1 < a < 3 ? 1 : 0", "expected a number, found a condition", 1, id="chained comparison"),
        pytest.param("a ? 1 : 2", "expected a condition, found a number", 1, id="a number is no condition"),
        pytest.param("a && b ? 1 : 2", "expected a condition, found a number", 1, id="numbers are not combined"),
        pytest.param("!a ? 1 : 2", "expected a condition, found a number", 2, id="numbers are not negated by !"),
        pytest.param("a > 1 ? a : b > 1", "expected a number, found a condition", 13, id="branches of two types"),
        pytest.param("a > 1 ? 2", "expected ':', found the end", 10, id="half a choice"),
        pytest.param("a + null", "'null' is not part of the language", 5, id="null"),
        pytest.param("1 + 2", "no property is used", 1, id="a constant"),
        pytest.param("a" * (MAX_LENGTH + 1), f"longer than {MAX_LENGTH} characters", MAX_LENGTH + 1, id="too long"),
        pytest.param("(" * 900 + "a", f"nested deeper than {MAX_NESTING} levels", MAX_NESTING + 1, id="too deep"),
        pytest.param("-" * 900 + "a", f"nested deeper than {MAX_NESTING} levels", MAX_NESTING + 1, id="signs too deep"),
        pytest.param("a" + "+a" * 100, f"more than {MAX_NODES} operands and operators", 201, id="too many operands"),
    ],
)
def test_refusals(text: str, reason: str, position: int) -> None:
    with pytest.raises(InvalidExpression) as refused:
        parse(text)
    assert (refused.value.reason, refused.value.position) == (reason, position)
    assert str(refused.value) == f"{reason} at character {position}"


def test_the_largest_expressions_allowed_run() -> None:
    chain = "a" + "+a" * (MAX_NODES // 2 - 1)
    assert value(chain, a=1) == MAX_NODES // 2
    nested = "(" * (MAX_NESTING - 1) + "a" + ")" * (MAX_NESTING - 1)
    assert value(nested, a=1) == 1


def test_names_are_listed_in_order_of_first_use() -> None:
    assert parse("b + a * b > c ? max(d, 1) : 2").names == ("b", "a", "c", "d")


OPERATORS = [*"+-*/<>!?:(),%.='\" ", "&&", "||", "==", "!=", "<=", ">="]
OPERANDS = [
    "a",
    "b",
    "max",
    "pow",
    "log",
    "round(",
    "true",
    "in",
    "0",
    "1",
    "2.5",
    "1e3",
    "9" * 40,
    "a ? b : a",
    "a > b",
]
FRAGMENTS = st.sampled_from([*OPERATORS, *OPERANDS, "min(a, b)", "\x00", "\ud800", "é"])
PROPERTIES = st.dictionaries(
    st.sampled_from(["a", "b", "max"]),
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.decimals(allow_nan=True, allow_infinity=True)
    | st.sampled_from(["1e9999999", "-0", "0.0000000001", "1e-6000"]),
)


@contextmanager
def little_time() -> Iterator[None]:
    """Two seconds at most, not counting what others do on this machine meanwhile."""
    began = time.thread_time()
    yield
    assert time.thread_time() - began < 2


@given(st.lists(FRAGMENTS, max_size=60).map("".join) | st.text(max_size=80), PROPERTIES)
@example("1" * 1999 + "a", {})
@settings(max_examples=400)
def test_any_text_is_an_expression_or_refused_and_any_event_has_a_finite_value_or_none(
    text: str, properties: dict[str, object]
) -> None:
    with little_time():
        try:
            formula = compiled(text)
        except InvalidExpression as refused:
            position = refused.position
            assert 1 <= position <= len(text) + 1
            return
        result = formula.value(properties)
    assert result is None or result.is_finite()


TERMS = st.recursive(
    st.sampled_from(["a", "b", "0", "2", "0.5", "1e6000", "1e-6000", "9" * 34, "-1"]),
    lambda inner: (
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})")
        | st.tuples(st.sampled_from(["abs", "ceil", "floor", "round", "sqrt", "log"]), inner).map(
            lambda t: f"{t[0]}({t[1]})"
        )
        | st.tuples(st.sampled_from(["max", "min", "pow"]), inner, inner).map(lambda t: f"{t[0]}({t[1]}, {t[2]})")
        | st.tuples(inner, st.sampled_from(["<", "==", ">="]), inner, inner).map(
            lambda t: f"({t[0]} {t[1]} {t[2]} || !({t[3]} > 0) ? {t[2]} : {t[3]})"
        )
    ),
    max_leaves=6,
)


@given(TERMS, PROPERTIES)
@settings(max_examples=400)
def test_any_valid_expression_has_a_finite_value_or_none_in_little_time(
    text: str, properties: dict[str, object]
) -> None:
    with little_time():
        result = compiled(f"{text} + 0 * a").value(properties)
    assert result is None or result.is_finite()


SMALL = st.integers(-1000, 1000)
# pairs of a text and the exact value it must have with a = 7 and b = -3
ARITHMETIC = st.recursive(
    SMALL.map(lambda n: (f"({n})" if n < 0 else str(n), Fraction(n)))
    | st.sampled_from([("a", Fraction(7)), ("b", Fraction(-3))]),
    lambda inner: (
        st.tuples(inner, st.sampled_from("+-*"), inner).map(
            lambda t: (f"({t[0][0]} {t[1]} {t[2][0]})", _exact(t[0][1], t[1], t[2][1]))
        )
        | st.tuples(inner, inner).map(lambda t: (f"max({t[0][0]}, {t[1][0]})", max(t[0][1], t[1][1])))
        | inner.map(lambda one: (f"-{one[0]}", -one[1]))
        | st.tuples(inner, inner).map(
            lambda t: (f"({t[0][0]} < {t[1][0]} ? 1 : 2)", Fraction(1 if t[0][1] < t[1][1] else 2))
        )
    ),
    max_leaves=8,
)


def _exact(left: Fraction, operator: str, right: Fraction) -> Fraction:
    return {"+": left + right, "-": left - right, "*": left * right}[operator]


@given(ARITHMETIC)
@settings(max_examples=200)
def test_integer_arithmetic_is_exact(pair: tuple[str, Fraction]) -> None:
    text, expected = pair
    result = value(f"{text} + 0 * a", a=7, b=-3)
    assert result is not None
    assert Fraction(result) == expected
