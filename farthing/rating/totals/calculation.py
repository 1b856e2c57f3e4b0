"""The money of an invoice, from charges to total: the one calculation behind previews, drafts and final invoices.

Rule: docs/rules/invoices-and-payments.md#totals
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from farthing.core.money import EXACT, ZERO, exact_sum, round_to
from farthing.rating.totals.discounts import Coupon, CouponApplication, invoice_applications, line_applications
from farthing.rating.totals.lines import ChargeLine, LineTotals
from farthing.rating.totals.prepaid import applied_credits
from farthing.rating.totals.taxes import TaxableLine, TaxApplied, TaxRate, applied_taxes


@dataclass(frozen=True, slots=True)
class InvoiceTotals:
    """An invoice's figures, each rounded to the currency; `lines` in the order they were given.

    `total` = max(0, `subtotal` - `total_discount` - `total_prepaid_credits_applied` + `total_tax`).
    """

    lines: tuple[LineTotals, ...]
    coupon_applications: tuple[CouponApplication, ...]
    taxes: tuple[TaxApplied, ...]
    subtotal: Decimal
    total_discount: Decimal
    total_prepaid_credits_applied: Decimal
    taxable_amount: Decimal
    total_tax: Decimal
    total: Decimal


def invoice_totals(
    lines: Sequence[ChargeLine],
    digits: int,
    *,
    coupons: Sequence[Coupon] = (),
    tax_rates: Sequence[TaxRate] = (),
    prepaid_value: Decimal = ZERO,
) -> InvoiceTotals:
    """Discount, credit and tax charges in a currency of `digits` decimals.

    `lines` in stable order (creation, id), with distinct ids; that order breaks ties in single lines. `coupons` in
    the order they apply. `prepaid_value` is the usable value of the prepaid wallet: 0 for drafts, previews, and
    whatever else credits do not pay. Raises ValueError for negative figures and repeated line ids.
    """
    if len({line.id for line in lines}) != len(lines):
        raise ValueError("two lines of an invoice have the same id")
    charges = [
        ChargeLine(
            line.id,
            round_to(line.amount, digits),
            line.price_type,
            line.subscription_line_item_id,
            line.price_id,
            line.tax_rate_ids,
            line.proration_credit,
            line.taxed_credits,
        )
        for line in lines
    ]

    by_line = line_applications(charges, coupons, digits)
    own = _by_line(by_line)
    left = {line.id: EXACT.subtract(line.charge, own.get(line.id, ZERO)) for line in charges}
    by_invoice = invoice_applications(charges, left, coupons, digits)
    shared = _by_line(by_invoice)
    worked = [
        LineTotals(
            line.id,
            line.amount,
            line.price_type,
            line_item_discount=own.get(line.id, ZERO),
            invoice_level_discount=shared.get(line.id, ZERO),
        )
        for line in charges
    ]

    credits_taken = applied_credits(worked, prepaid_value, digits)
    worked = [
        replace(line, prepaid_credits_applied=taken) if taken else line
        for line, taken in zip(worked, credits_taken, strict=True)
    ]

    return summed_up(worked, (*by_line, *by_invoice), charges, tax_rates, digits)


def summed_up(
    reduced: Sequence[LineTotals],
    coupon_applications: Sequence[CouponApplication],
    charges: Sequence[ChargeLine],
    tax_rates: Sequence[TaxRate],
    digits: int,
) -> InvoiceTotals:
    """Tax lines that discounts and credits have `reduced`, and add them up; `charges` are the same lines, in the same
    order, with the rates that each carries and what of its credits was taxed when it was bought."""
    taxable = [
        TaxableLine(
            line.id,
            EXACT.subtract(EXACT.subtract(line.amount, line.discount), charge.taxed_credits),
            charge.tax_rate_ids,
        )
        for line, charge in zip(reduced, charges, strict=True)
    ]
    taxes = applied_taxes(taxable, tax_rates, digits)
    subtotal = exact_sum([line.amount for line in reduced])
    total_discount = exact_sum([line.discount for line in reduced])
    total_credits = exact_sum([line.prepaid_credits_applied for line in reduced])
    total_tax = exact_sum([tax.tax_amount for tax in taxes])
    before_tax = EXACT.subtract(EXACT.subtract(subtotal, total_discount), total_credits)
    return InvoiceTotals(
        lines=tuple(_with_taxes(reduced, taxes)),
        coupon_applications=tuple(coupon_applications),
        taxes=tuple(taxes),
        subtotal=subtotal,
        total_discount=total_discount,
        total_prepaid_credits_applied=total_credits,
        taxable_amount=max(EXACT.subtract(subtotal, total_discount), ZERO),
        total_tax=total_tax,
        total=max(EXACT.add(before_tax, total_tax), ZERO),
    )


def _with_taxes(lines: Sequence[LineTotals], taxes: Sequence[TaxApplied]) -> list[LineTotals]:
    shares: dict[str, list[tuple[str, Decimal]]] = {}
    for tax in taxes:
        for line_id, share in tax.shares:
            shares.setdefault(line_id, []).append((tax.rate.id, share))
    return [replace(line, taxes=tuple(shares[line.id])) if line.id in shares else line for line in lines]


def _by_line(applications: Sequence[CouponApplication]) -> dict[str, Decimal]:
    amounts: dict[str, Decimal] = {}
    for applied in applications:
        for line_id, share in applied.shares:
            amounts[line_id] = EXACT.add(amounts.get(line_id, ZERO), share)
    return amounts
