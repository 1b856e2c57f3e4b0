"""Invoices as they are shown: each row with its lines, discounts, taxes and payer, one query per relation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.taxes.schemas import TaxRateResponse
from farthing.catalogue.taxes.tables import TaxRate
from farthing.core.enums import Status
from farthing.core.money import EXACT, plain
from farthing.core.wire import as_wire
from farthing.customers.schemas import CustomerResponse
from farthing.customers.tables import Customer
from farthing.invoices.schemas import (
    CouponApplicationResponse,
    InvoiceLineItemResponse,
    InvoiceResponse,
    TaxAppliedResponse,
)
from farthing.invoices.standing import PaymentStatus
from farthing.invoices.tables import CouponApplication, Invoice, InvoiceLineItem, TaxApplied


async def shown(session: AsyncSession, invoice: Invoice) -> InvoiceResponse:
    """One whole invoice."""
    return (await all_shown(session, [invoice]))[0]


async def all_shown(
    session: AsyncSession, invoices: Sequence[Invoice], *, with_lines: bool = True, with_tax_rates: bool = False
) -> list[InvoiceResponse]:
    """Invoices in the order given; as many queries for a page as for one.

    `with_tax_rates` adds to each tax its rate as the catalogue has it now.
    """
    await session.flush()
    ids = [invoice.id for invoice in invoices]
    if not ids:
        return []
    lines = await _lines_of(session, ids) if with_lines else {}
    coupons = await _coupons_of(session, ids)
    taxes = await _taxes_of(session, ids)
    payers = await session.scalars(select(Customer).where(Customer.id.in_({row.customer_id for row in invoices})))
    rates = await _rates_of(session, taxes) if with_tax_rates else {}
    customers = {payer.id: CustomerResponse.of(payer) for payer in payers}
    return [
        _shown(
            invoice,
            line_items=[InvoiceLineItemResponse.of(line) for line in lines.get(invoice.id, ())] if with_lines else None,
            coupon_applications=[CouponApplicationResponse.of(row) for row in coupons.get(invoice.id, ())],
            taxes=[
                TaxAppliedResponse.of(row, tax_rate=rates.get(row.tax_rate_id)) for row in taxes.get(invoice.id, ())
            ],
            customer=customers.get(invoice.customer_id),
        )
        for invoice in invoices
    ]


def _shown(invoice: Invoice, **relations: Any) -> InvoiceResponse:
    overpaid = None
    if invoice.payment_status is PaymentStatus.OVERPAID:
        overpaid = plain(EXACT.subtract(invoice.amount_paid, invoice.amount_due))
    return InvoiceResponse.of(
        invoice,
        overpaid_amount=overpaid,
        issue_date=as_wire(invoice.issue_date or invoice.created_at),
        description=invoice.description or None,
        **relations,
    )


async def _lines_of(session: AsyncSession, ids: Sequence[str]) -> dict[str, list[InvoiceLineItem]]:
    found = await session.scalars(
        select(InvoiceLineItem)
        .where(InvoiceLineItem.invoice_id.in_(ids), InvoiceLineItem.status == Status.PUBLISHED)
        .order_by(InvoiceLineItem.position, InvoiceLineItem.id)
    )
    grouped: defaultdict[str, list[InvoiceLineItem]] = defaultdict(list)
    for line in found:
        grouped[line.invoice_id].append(line)
    return grouped


async def _coupons_of(session: AsyncSession, ids: Sequence[str]) -> dict[str, list[CouponApplication]]:
    found = await session.scalars(
        select(CouponApplication)
        .where(CouponApplication.invoice_id.in_(ids), CouponApplication.status == Status.PUBLISHED)
        .order_by(CouponApplication.position)
    )
    grouped: defaultdict[str, list[CouponApplication]] = defaultdict(list)
    for row in found:
        grouped[row.invoice_id].append(row)
    return grouped


async def _taxes_of(session: AsyncSession, ids: Sequence[str]) -> dict[str, list[TaxApplied]]:
    found = await session.scalars(
        select(TaxApplied)
        .where(TaxApplied.entity_id.in_(ids), TaxApplied.status == Status.PUBLISHED)
        .order_by(TaxApplied.position)
    )
    grouped: defaultdict[str, list[TaxApplied]] = defaultdict(list)
    for row in found:
        grouped[row.entity_id].append(row)
    return grouped


async def _rates_of(session: AsyncSession, taxes: Mapping[str, Sequence[TaxApplied]]) -> dict[str, TaxRateResponse]:
    ids = {row.tax_rate_id for rows in taxes.values() for row in rows}
    found = await session.scalars(select(TaxRate).where(TaxRate.id.in_(ids)))
    return {rate.id: TaxRateResponse.of(rate) for rate in found}
