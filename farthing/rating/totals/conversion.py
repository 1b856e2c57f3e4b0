"""An invoice that was worked out in one currency, converted into another at one rate. Pure.

What is payable of each line is converted and rounded, once, and so is each reduction; the gross is their sum, so the
gross takes the rounding and what is payable is exact.
Rule: docs/rules/currencies.md#arithmetic
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

from farthing.core.money import EXACT, ZERO, allocate, exact_sum, round_to
from farthing.rating.totals.calculation import InvoiceTotals, summed_up
from farthing.rating.totals.discounts import CouponApplication
from farthing.rating.totals.lines import ChargeLine, LineTotals
from farthing.rating.totals.prepaid import applied_credits
from farthing.rating.totals.taxes import TaxRate


@dataclass(frozen=True, slots=True)
class CurrencyConversion:
    """`rate` units of the billing currency, which has `digits` decimals, for one of the charge currency."""

    rate: Decimal
    digits: int

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ValueError(f"an exchange rate must be above 0, not {self.rate}")

    def converted(self, amount: Decimal) -> Decimal:
        """An amount of the charge currency in the billing currency, rounded half away from zero."""
        return round_to(EXACT.multiply(amount, self.rate), self.digits)


def converted_line(line: LineTotals, conversion: CurrencyConversion) -> LineTotals:
    """A line's net and each of its reductions converted alone; its amount is their sum. Its taxes are left out."""
    net = conversion.converted(line.net)
    own, shared = conversion.converted(line.line_item_discount), conversion.converted(line.invoice_level_discount)
    credits_taken = conversion.converted(line.prepaid_credits_applied)
    return LineTotals(
        line.id,
        exact_sum([net, own, shared, credits_taken]),
        line.price_type,
        line_item_discount=own,
        invoice_level_discount=shared,
        prepaid_credits_applied=credits_taken,
    )


def converted_totals(
    source: InvoiceTotals,
    charges: Sequence[ChargeLine],
    conversion: CurrencyConversion,
    *,
    tax_rates: Sequence[TaxRate] = (),
    prepaid_value: Decimal = ZERO,
) -> InvoiceTotals:
    """`source`, which is in the charge currency, in the billing currency, and taxed there.

    `charges` are the same lines, in the same order: of them the tax rates and the taxed credits are read, the latter in
    the billing currency. `prepaid_value` is what credits of the billing currency may pay beyond those converted.
    """
    converted = [converted_line(line, conversion) for line in source.lines]
    applications = _converted_applications(source, converted, conversion)
    taken = applied_credits(converted, prepaid_value, conversion.digits)
    reduced = [
        replace(line, prepaid_credits_applied=EXACT.add(line.prepaid_credits_applied, credits_taken))
        for line, credits_taken in zip(converted, taken, strict=True)
    ]
    return summed_up(reduced, applications, charges, tax_rates, conversion.digits)


def _converted_applications(
    source: InvoiceTotals, converted: Sequence[LineTotals], conversion: CurrencyConversion
) -> list[CouponApplication]:
    """What each coupon took, as its share of the converted discount of each line that it reached.

    Rule: docs/rules/currencies.md#coupons
    """
    shares: dict[int, list[tuple[str, Decimal]]] = defaultdict(list)
    for line in converted:
        for discount, of_line in ((line.line_item_discount, True), (line.invoice_level_discount, False)):
            reaching = [
                (place, amount)
                for place, applied in enumerate(source.coupon_applications)
                if (applied.line_id is not None) is of_line
                for line_id, amount in applied.shares
                if line_id == line.id
            ]
            parts = allocate(discount, [amount for _, amount in reaching], conversion.digits)
            for (place, _), part in zip(reaching, parts, strict=True):
                shares[place].append((line.id, part))
    return [
        _converted_application(applied, shares[place], conversion)
        for place, applied in enumerate(source.coupon_applications)
    ]


def _converted_application(
    applied: CouponApplication, shares: Sequence[tuple[str, Decimal]], conversion: CurrencyConversion
) -> CouponApplication:
    discount = exact_sum([share for _, share in shares])
    return replace(
        applied,
        original_price=EXACT.add(discount, conversion.converted(applied.final_price)),
        discounted_amount=discount,
        shares=tuple(shares),
    )


def converted_share(part: Fraction, source: Decimal, converted: Decimal, digits: int) -> Decimal:
    """What `part` of a line's `source` figure, at most all of it, is of its `converted` one, whatever the rate is now.

    Rule: docs/rules/currencies.md#giving-back
    """
    if source == 0:
        return ZERO
    return min(round_to(Fraction(converted) * part / Fraction(source), digits), converted)
