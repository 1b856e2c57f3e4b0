"""The tax on credits for unused time: the same share of the tax that was charged for it.

Rule: docs/rules/proration.md#tax-on-what-is-given-back
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.proration import SettledChange
from farthing.billing.tables import ProrationSettlement
from farthing.core import currency
from farthing.core.enums import Status
from farthing.core.money import EXACT, ZERO, round_to
from farthing.invoices.figures.computation import calculate
from farthing.invoices.parts import lines_of
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice, InvoiceLineItem
from farthing.storage.rows import in_array
from farthing.subscriptions.snapshot.values import SubscriptionSnapshot


@dataclass(slots=True)
class TaxedFee:
    """What final invoices charged for a fee in one service period: after discounts, and the tax on that."""

    net: Decimal = ZERO
    tax: Decimal = ZERO


def tax_on(credit: Decimal, fee: TaxedFee, returned: Decimal, digits: int) -> Decimal:
    """The tax on a credit that is given back for a fee, of whose tax some was `returned` before; rounded once."""
    if fee.net <= 0:
        return ZERO
    share = round_to(Fraction(credit) * Fraction(fee.tax) / Fraction(fee.net), digits)
    return min(share, max(EXACT.subtract(fee.tax, returned), ZERO))


async def taxes_given_back(
    session: AsyncSession, snapshot: SubscriptionSnapshot, given: Sequence[tuple[SettledChange, Decimal]]
) -> list[Decimal]:
    """The tax on what each change gives back to the payer."""
    digits = currency.digits(snapshot.currency)
    families = [_family(snapshot, change) for change, _ in given]
    fees = await _taxed_fees(session, {item_id for family in families for item_id in family})
    taxes = []
    for (change, credit), family in zip(given, families, strict=True):
        fee = _behind(fees, family, change) if credit > 0 else TaxedFee()
        returned = await _returned(session, family, change) if fee.tax > 0 else ZERO
        taxes.append(tax_on(credit, fee, returned, digits))
    return taxes


def _family(snapshot: SubscriptionSnapshot, change: SettledChange) -> list[str]:
    """The line item that ends and those that it has followed, newest first."""
    family: list[str] = []
    item = change.change.before
    while item is not None and item.id not in family:
        family.append(item.id)
        item = snapshot.item(item.replaces_id) if item.replaces_id is not None else None
    return family


def _behind(
    fees: dict[str, list[tuple[InvoiceLineItem, TaxedFee]]], family: Sequence[str], change: SettledChange
) -> TaxedFee:
    """What was charged for the newest of a family that was charged anything in the service period."""
    for item_id in family:
        found = TaxedFee()
        for line, fee in fees[item_id]:
            if line.period_start is not None and change.window.contains(line.period_start):
                found.net, found.tax = EXACT.add(found.net, fee.net), EXACT.add(found.tax, fee.tax)
        if found.net > 0:
            return found
    return TaxedFee()


async def _taxed_fees(session: AsyncSession, item_ids: set[str]) -> dict[str, list[tuple[InvoiceLineItem, TaxedFee]]]:
    """The lines of line items on final invoices that carry tax, by line item."""
    line = InvoiceLineItem
    taxed = (
        await session.scalars(
            select(Invoice).where(
                Invoice.id.in_(select(line.invoice_id).where(in_array(line.subscription_line_item_id, item_ids))),
                Invoice.invoice_status == InvoiceStatus.FINALIZED,
                Invoice.total_tax > 0,
            )
        )
    ).all()
    lines = await lines_of(session, [invoice.id for invoice in taxed])
    fees: dict[str, list[tuple[InvoiceLineItem, TaxedFee]]] = defaultdict(list)
    for invoice in taxed:
        totals = calculate(invoice, lines[invoice.id], invoice.total_prepaid_credits_applied)
        for row, worked in zip(lines[invoice.id], totals.lines, strict=True):
            if row.subscription_line_item_id in item_ids:
                net = EXACT.subtract(worked.amount, worked.discount)
                fees[row.subscription_line_item_id].append((row, TaxedFee(net, worked.tax)))
    return fees


async def _returned(session: AsyncSession, family: Sequence[str], change: SettledChange) -> Decimal:
    """What was given back of the tax on a fee in a service period."""
    entry = ProrationSettlement
    total: Decimal = (
        await session.execute(
            select(func.coalesce(func.sum(entry.tax_credited), 0)).where(
                in_array(entry.subscription_line_item_id, family),
                entry.window_start == change.window.start,
                entry.status == Status.PUBLISHED,
            )
        )
    ).scalar_one()
    return total
