"""Invoices as they are shown: each row with its lines, discounts, taxes and payer, one query per relation."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.taxes.schemas import TaxRateResponse
from farthing.catalogue.taxes.tables import TaxRateRow
from farthing.core.encoding.wire import as_wire
from farthing.core.money import EXACT, plain
from farthing.customers.schemas import CustomerResponse
from farthing.customers.tables import Customer
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.parts import InvoiceParts, parts_of_all
from farthing.invoices.reads.conversions import ShownConversion, conversions_of
from farthing.invoices.receivable import PaymentStatus
from farthing.invoices.schemas import (
    CouponApplicationResponse,
    InvoiceLineItemResponse,
    InvoiceResponse,
    TaxAppliedResponse,
)
from farthing.invoices.tables import Invoice
from farthing.storage.postgres import clock_of
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.reads.answers import Wanted, subscription_answers
from farthing.subscriptions.schemas.responses import SubscriptionResponse
from farthing.subscriptions.tables import Subscription


async def shown(session: AsyncSession, invoice: Invoice) -> InvoiceResponse:
    """One whole invoice."""
    return (await all_shown(session, [invoice]))[0]


async def all_shown(session: AsyncSession, invoices: Sequence[Invoice]) -> list[InvoiceResponse]:
    """Invoices in the order given; as many queries for a page as for one."""
    parts = await parts_of_all(session, invoices)
    conversions = await conversions_of(session, invoices, parts, clock_of(session).now())
    # one customer's invoices are what is listed most: whoever pays several of them is shaped once
    payers = {payer.id: CustomerResponse.of(payer) for payer in _payers(parts)}
    return [
        whole(
            invoice,
            part,
            conversion=conversions.get(invoice.id),
            payer=payers.get(invoice.customer_id),
        )
        for invoice, part in zip(invoices, parts, strict=True)
    ]


def _payers(parts: Sequence[InvoiceParts]) -> Iterable[Customer]:
    return {part.payer.id: part.payer for part in parts if part.payer is not None}.values()


async def with_subscriptions(
    session: AsyncSession, answers: Sequence[InvoiceResponse], wanted: Wanted, now: datetime
) -> None:
    """Add to each invoice its subscription, with what is `wanted` of that; one query for all, and one per relation."""
    ids = {answer.subscription_id for answer in answers if answer.subscription_id}
    if not ids:
        return
    rows = (await session.scalars(select(Subscription).where(Subscription.id.in_(ids)))).all()
    found: dict[str | None, SubscriptionResponse] = {
        subscription.id: subscription for subscription in await subscription_answers(session, rows, wanted, now)
    }
    for answer in answers:
        answer.subscription = found.get(answer.subscription_id)


async def with_conversions(session: AsyncSession, answers: Sequence[InvoiceResponse]) -> None:
    """Add to invoices and their lines how they were converted, or, drafts, would be now."""
    if not answers:
        return
    ids = [answer.id for answer in answers]
    rows = {row.id: row for row in await session.scalars(select(Invoice).where(in_array(Invoice.id, ids)))}
    invoices = [rows[invoice_id] for invoice_id in ids]
    parts = await parts_of_all(session, invoices)
    conversions = await conversions_of(session, invoices, parts, clock_of(session).now())
    for answer, invoice, part in zip(answers, invoices, parts, strict=True):
        conversion = conversions.get(invoice.id)
        answer.fx_conversion = None if conversion is None else conversion.of_invoice(invoice)
        for shown_line, line in zip(answer.line_items or (), part.lines, strict=False):
            shown_line.fx_conversion = None if conversion is None else conversion.of_line(line)


async def with_tax_rates(session: AsyncSession, answers: Sequence[InvoiceResponse]) -> None:
    """Add to each tax its rate as the catalogue has it now; one query for all."""
    taxes = [tax for answer in answers for tax in answer.taxes or ()]
    rates = await _rates_of(session, {tax.tax_rate_id for tax in taxes})
    for tax in taxes:
        tax.tax_rate = rates.get(tax.tax_rate_id)


def whole(
    invoice: Invoice,
    parts: InvoiceParts,
    *,
    conversion: ShownConversion | None,
    payer: CustomerResponse | None = None,
) -> InvoiceResponse:
    """An invoice with its parts, as they stand in memory.

    `payer` is the one of `parts`, where it is shaped already.
    """
    overpaid = None
    if invoice.payment_status is PaymentStatus.OVERPAID:
        overpaid = plain(EXACT.subtract(invoice.amount_paid, invoice.amount_due))
    return InvoiceResponse.of(
        invoice,
        overpaid_amount=overpaid,
        issue_date=as_wire(invoice.issue_date or invoice.created_at),
        description=invoice.description or None,
        fx_conversion=None if conversion is None else conversion.of_invoice(invoice),
        line_items=[_line(line, conversion) for line in parts.lines],
        coupon_applications=[CouponApplicationResponse.of(row) for row in parts.coupon_applications],
        taxes=[TaxAppliedResponse.of(row) for row in parts.taxes],
        customer=payer or (None if parts.payer is None else CustomerResponse.of(parts.payer)),
    )


def _line(line: InvoiceLineItem, conversion: ShownConversion | None) -> InvoiceLineItemResponse:
    if conversion is None:
        return InvoiceLineItemResponse.of(line)
    return InvoiceLineItemResponse.of(line, fx_conversion=conversion.of_line(line))


async def _rates_of(session: AsyncSession, ids: Collection[str]) -> dict[str, TaxRateResponse]:
    if not ids:
        return {}
    found = await session.scalars(select(TaxRateRow).where(in_array(TaxRateRow.id, ids)))
    return {rate.id: TaxRateResponse.of(rate) for rate in found}
