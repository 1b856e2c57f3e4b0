"""What stands on an invoice besides its own row: read once, and carried from one step of a change to the next."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.customers.tables import Customer
from farthing.invoices.tables import CouponApplication, Invoice, InvoiceLineItem, TaxApplied
from farthing.storage.rows import among


@dataclass(slots=True)
class Parts:
    """The published lines in their order, the discounts and taxes in theirs, and the payer.

    True for as long as the invoice's row is locked, or new; whoever changes one of them changes it here too.
    """

    payer: Customer | None
    lines: list[InvoiceLineItem] = field(default_factory=list)
    coupon_applications: list[CouponApplication] = field(default_factory=list)
    taxes: list[TaxApplied] = field(default_factory=list)
    paid: Decimal | None = None
    """The sum of the invoice's settlements; None as long as nobody needed it."""
    computed: bool = False
    """Whether the figures were worked out from these very parts in this transaction, without prepaid credits."""


async def parts_of(session: AsyncSession, invoice: Invoice) -> Parts:
    """Read the parts of one invoice."""
    return (await parts_of_all(session, [invoice]))[0]


async def parts_of_all(session: AsyncSession, invoices: Sequence[Invoice], *, with_lines: bool = True) -> list[Parts]:
    """Read the parts of invoices, in their order; as many queries for a page as for one.

    An invoice without terms has no discounts and no taxes: they come from terms alone.
    """
    await session.flush()
    lines = await lines_of(session, [row.id for row in invoices] if with_lines else [])
    coupons = await _coupons_of(session, [row.id for row in invoices if row.coupon_terms])
    taxes = await _taxes_of(session, [row.id for row in invoices if row.tax_terms])
    payers = await _payers_of(session, invoices)
    return [Parts(payers.get(row.customer_id), lines[row.id], coupons[row.id], taxes[row.id]) for row in invoices]


async def _payers_of(session: AsyncSession, invoices: Sequence[Invoice]) -> dict[str, Customer]:
    if not invoices:
        return {}
    found = await session.scalars(select(Customer).where(among(Customer.id, {row.customer_id for row in invoices})))
    return {payer.id: payer for payer in found}


async def lines_of(session: AsyncSession, ids: Sequence[str]) -> dict[str, list[InvoiceLineItem]]:
    """The published lines of invoices, by invoice, in the order they stand on it."""
    grouped: defaultdict[str, list[InvoiceLineItem]] = defaultdict(list)
    if ids:
        for line in await session.scalars(
            select(InvoiceLineItem)
            .where(among(InvoiceLineItem.invoice_id, ids), InvoiceLineItem.status == Status.PUBLISHED)
            .order_by(InvoiceLineItem.position, InvoiceLineItem.id)
        ):
            grouped[line.invoice_id].append(line)
    return grouped


async def _coupons_of(session: AsyncSession, ids: Sequence[str]) -> dict[str, list[CouponApplication]]:
    grouped: defaultdict[str, list[CouponApplication]] = defaultdict(list)
    if ids:
        for row in await session.scalars(
            select(CouponApplication)
            .where(among(CouponApplication.invoice_id, ids), CouponApplication.status == Status.PUBLISHED)
            .order_by(CouponApplication.position)
        ):
            grouped[row.invoice_id].append(row)
    return grouped


async def _taxes_of(session: AsyncSession, ids: Sequence[str]) -> dict[str, list[TaxApplied]]:
    grouped: defaultdict[str, list[TaxApplied]] = defaultdict(list)
    if ids:
        for row in await session.scalars(
            select(TaxApplied)
            .where(among(TaxApplied.entity_id, ids), TaxApplied.status == Status.PUBLISHED)
            .order_by(TaxApplied.position)
        ):
            grouped[row.entity_id].append(row)
    return grouped
