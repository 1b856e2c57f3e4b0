"""Amounts as Stripe takes them: whole numbers of a unit that is not always the currency's minor unit of ISO 4217.

Rule: docs/rules/integrations.md#amounts-at-stripe
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

from farthing.core.money import EXACT, plain


@dataclass(frozen=True, slots=True)
class StripeUnit:
    """How an amount of a currency is written: `digits` after the point, and in steps of how many units."""

    digits: int
    step: int = 1


_WHOLE = StripeUnit(digits=0)
_HUNDREDTHS = StripeUnit(digits=2)
_WHOLE_WRITTEN_IN_HUNDREDTHS = StripeUnit(digits=2, step=100)
_THOUSANDTHS_ENDING_IN_NOUGHT = StripeUnit(digits=3, step=10)

_WHOLE_CODES = ("bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf")

STRIPE_UNITS: Mapping[str, StripeUnit] = MappingProxyType(
    dict.fromkeys(_WHOLE_CODES, _WHOLE)
    | dict.fromkeys(("isk", "ugx"), _WHOLE_WRITTEN_IN_HUNDREDTHS)
    | dict.fromkeys(("bhd", "jod", "kwd", "omr", "tnd"), _THOUSANDTHS_ENDING_IN_NOUGHT)
    | dict.fromkeys(("huf", "twd"), _HUNDREDTHS)  # whole in payouts only
)
"""Currencies that Stripe's page "Supported currencies" names, as of 2026-11-29; every other one is in hundredths."""


class InexactAmount(ValueError):
    """Stripe cannot take exactly this amount; the message says what it can take."""


def to_stripe_amount(amount: Decimal, currency: str) -> int:
    """`amount`, in the currency's major unit, as Stripe takes it. Raises InexactAmount; nothing is rounded."""
    unit = STRIPE_UNITS.get(currency, _HUNDREDTHS)
    scaled = EXACT.scaleb(amount, unit.digits)
    if scaled != scaled.to_integral_value() or int(scaled) % unit.step:
        step = plain(EXACT.scaleb(Decimal(unit.step), -unit.digits))
        raise InexactAmount(
            f"Stripe cannot take {plain(amount)} {currency} exactly: an amount must be a multiple of {step}"
        )
    return int(scaled)


def from_stripe_amount(units: int, currency: str) -> Decimal:
    """An amount that Stripe writes, in the currency's major unit."""
    return EXACT.scaleb(Decimal(units), -STRIPE_UNITS.get(currency, _HUNDREDTHS).digits)
