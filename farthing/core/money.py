"""Exact decimals: how they are rounded, split, read and written.

An amount is a plain `Decimal` in a currency's major unit (12.50, not 1250). Nothing here touches a float.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal, DecimalException
from fractions import Fraction
from functools import cache
from math import lcm

ZERO = Decimal(0)

# Wide enough that no sum, product or quotient of stored amounts (at most 20 integer and 15 fraction digits each)
# is ever rounded by the context rather than by a rule.
EXACT = Context(prec=80, rounding=ROUND_HALF_UP)

MAX_INTEGER_DIGITS = 20

LARGEST_AMOUNT = Decimal(10) ** 15
"""What an amount of money comes to at most, in any currency; its columns have room for a sum of a few."""


def round_to(amount: Decimal | Fraction, digits: int) -> Decimal:
    """Round half away from zero to `digits` decimals: the only rounding rule of an amount.

    Rule: docs/rules/pricing.md#rounding
    """
    if isinstance(amount, Fraction):
        return _round_ratio(amount.numerator, amount.denominator, digits)
    return EXACT.add(amount.quantize(_unit(digits), ROUND_HALF_UP, EXACT), ZERO)


def floor_to(amount: Decimal, digits: int) -> Decimal:
    """The largest multiple of 10^-digits not above `amount`: what a wallet can really pay."""
    return EXACT.add(amount.quantize(_unit(digits), ROUND_FLOOR, EXACT), ZERO)


@cache
def _unit(digits: int) -> Decimal:
    return Decimal(1).scaleb(-digits, EXACT)


def _round_ratio(numerator: int, denominator: int, digits: int) -> Decimal:
    """A ratio, whose denominator is above 0, rounded as `round_to` says."""
    units = (2 * abs(numerator) * 10**digits + denominator) // (2 * denominator)
    return _of_units(units if numerator >= 0 else -units, digits)


def _of_units(units: int, digits: int) -> Decimal:
    return EXACT.add(Decimal(units).scaleb(-digits, EXACT), ZERO)


def exact_sum(amounts: Sequence[Decimal]) -> Decimal:
    """Sum without the default context's 28-digit rounding."""
    total = ZERO
    for amount in amounts:
        total = EXACT.add(total, amount)
    return total


def share(amount: Decimal, part: Decimal, whole: Decimal, digits: int) -> Decimal:
    """`amount` x `part` / `whole`, computed exactly and rounded once; zero when `whole` is zero."""
    if whole == 0:
        return ZERO
    (amounts, of_amounts), (parts, of_parts) = amount.as_integer_ratio(), part.as_integer_ratio()
    wholes, of_wholes = whole.as_integer_ratio()
    sign = 1 if wholes > 0 else -1
    return _round_ratio(sign * amounts * parts * of_wholes, of_amounts * of_parts * abs(wholes), digits)


def allocate(amount: Decimal, weights: Sequence[Decimal], digits: int) -> list[Decimal]:
    """Split `amount` over `weights` by largest remainder in units of 10^-digits; the parts sum to `amount` exactly.

    Leftover units go one each by greatest fractional part, ties to the larger weight, then to the earlier one.
    `amount` must be a multiple of the unit and not negative; weights must not be negative. All-zero weights are
    refused unless `amount` is zero.
    Rule: docs/rules/discounts-and-taxes.md#distribution-over-lines
    """
    if amount == 0 or not weights:
        if amount != 0:
            raise ValueError("cannot allocate an amount over nothing")
        return [ZERO for _ in weights]
    # whole numbers in the ratio of the weights: what remains of each division is its fractional part, times their sum
    ratios = [weight.as_integer_ratio() for weight in weights]
    common = lcm(*(denominator for _, denominator in ratios))
    scaled = [numerator * (common // denominator) for numerator, denominator in ratios]
    total = sum(scaled)
    if amount < 0 or total <= 0 or min(scaled) < 0:
        raise ValueError(f"cannot allocate {amount} over weights {list(weights)}")
    numerator, denominator = amount.as_integer_ratio()
    units, beyond = divmod(numerator * 10**digits, denominator)
    if beyond:
        raise ValueError(f"{amount} has more than {digits} decimals")
    divided = [divmod(units * weight, total) for weight in scaled]
    shares = [share for share, _ in divided]
    order = sorted(range(len(weights)), key=lambda i: (-divided[i][1], -scaled[i], i))
    for i in order[: units - sum(shares)]:
        shares[i] += 1
    return [_of_units(share, digits) for share in shares]


def plain(amount: Decimal) -> str:
    """Plain notation as on the wire: no exponent, no trailing zeros, no sign on zero. `Decimal("1E+3")` is "1000"."""
    if not amount:
        return "0"
    text = str(amount)
    if "E" in text:
        text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def parse(text: str) -> Decimal:
    """Read a decimal from text. Raises ValueError unless finite and of at most 20 integer digits."""
    try:
        amount = Decimal(text)
    except DecimalException as error:
        raise ValueError(f"'{text}' is not a decimal number") from error
    return checked(amount)


def checked(amount: Decimal) -> Decimal:
    """`amount` itself. Raises ValueError unless finite, at most 20 integer digits and at most 40 fraction digits."""
    if not amount.is_finite():
        raise ValueError("must be a finite number")
    if amount.adjusted() >= MAX_INTEGER_DIGITS and amount != 0:
        raise ValueError(f"must have at most {MAX_INTEGER_DIGITS} digits before the decimal point")
    exponent = amount.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -40:
        raise ValueError("must have at most 40 digits after the decimal point")
    return amount


def decimals(amount: Decimal) -> int:
    """How many digits after the decimal point `amount` really needs: 2 for 1.50 is 1."""
    exponent = amount.normalize(EXACT).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
