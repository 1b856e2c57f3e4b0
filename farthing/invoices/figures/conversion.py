"""Converting an invoice into the currency that its payer is billed in, once, as it becomes final.

The rate is frozen on the invoice, and so is what it was before, on it and on its lines: whatever is worked out later is
worked out from these.
Rule: docs/rules/currencies.md#conversion
Rule: docs/rules/currencies.md#what-counts-in-which-currency
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.fx.lookup import ConversionNeed, NoRate, rates_for
from farthing.catalogue.fx.resolution import RateInForce
from farthing.customers.tables import Customer
from farthing.invoices.figures.computation import (
    calculate,
    charge_totals,
    clear_reductions,
    conversion_of,
    reductions,
    write_figures,
)
from farthing.invoices.parts import InvoiceParts
from farthing.invoices.receivable import BillingReason, InvoiceStatus, InvoiceType
from farthing.invoices.tables import Invoice
from farthing.storage.postgres import add_new
from farthing.storage.queries.rows import in_array


def conversion_need(invoice: Invoice, payer: Customer | None) -> ConversionNeed | None:
    """What a draft is to be converted into when it becomes final; None where its currency stays.

    Invoices of subscriptions are converted, and those that billing makes for a change of one; what a caller has asked
    for keeps the currency that the caller named.
    """
    if payer is None or not payer.billing_currency or payer.billing_currency == invoice.currency:
        return None
    if invoice.invoice_status is not InvoiceStatus.DRAFT or not _is_made_by_billing(invoice):
        return None
    return ConversionNeed(invoice.currency, payer.billing_currency, invoice.customer_id, invoice.subscription_id)


def _is_made_by_billing(invoice: Invoice) -> bool:
    if invoice.invoice_type is InvoiceType.SUBSCRIPTION:
        return True
    # a caller's one-off has the due date that the caller gave; only billing derives one for the charges of a change
    of_a_change = invoice.billing_reason is BillingReason.SUBSCRIPTION_UPDATE and invoice.derives_due_date
    return invoice.invoice_type is InvoiceType.ONE_OFF and of_a_change


async def rates_of_drafts(
    session: AsyncSession, drafts: Sequence[tuple[Invoice, InvoiceParts]], now: datetime
) -> Mapping[str, RateInForce | NoRate]:
    """The rate at which each draft is converted now, or why there is none, by invoice; others are left out."""
    needs = {invoice.id: conversion_need(invoice, parts.payer) for invoice, parts in drafts}
    wanted = {invoice_id: need for invoice_id, need in needs.items() if need is not None}
    found = await rates_for(session, set(wanted.values()), now)
    return {invoice_id: found[need] for invoice_id, need in wanted.items()}


async def require_rates(
    session: AsyncSession, drafts: Sequence[tuple[Invoice, InvoiceParts]], now: datetime
) -> Mapping[str, RateInForce]:
    """The same, where every draft must have its rate. Raises InvalidOperation naming the pair."""
    rates: dict[str, RateInForce] = {}
    for invoice_id, rate in (await rates_of_drafts(session, drafts, now)).items():
        if isinstance(rate, NoRate):
            raise rate.refusal()
        rates[invoice_id] = rate
    return rates


async def convert(
    session: AsyncSession, invoice: Invoice, parts: InvoiceParts, rate: RateInForce, now: datetime
) -> None:
    """Convert a computed draft, with the credits that wallets of its own currency have paid, and tax it anew."""
    assert parts.payer is not None, "only what a payer's currency asks for is converted"
    computed_at = invoice.last_computed_at or now
    with session.no_autoflush:  # half converted it is refused by the database
        await clear_reductions(session, invoice, parts)
        invoice.charged_in, invoice.currency = invoice.currency, parts.payer.billing_currency or invoice.currency
        invoice.fx_rate, invoice.fx_rate_id, invoice.fx_scope = rate.rate, rate.id, rate.scope
        invoice.converted_at = now
        invoice.source_subtotal, invoice.source_total_discount = invoice.subtotal, invoice.total_discount
        invoice.source_total_prepaid_credits_applied = invoice.total_prepaid_credits_applied
        conversion = conversion_of(invoice)
        for line in parts.lines:
            line.source_amount = line.amount
            line.source_line_item_discount = line.line_item_discount
            line.source_invoice_level_discount = line.invoice_level_discount
            line.source_prepaid_credits_applied = line.prepaid_credits_applied
            line.source_taxed_credits_applied = line.taxed_credits_applied or Decimal(0)
            line.taxed_credits_applied = conversion.converted(line.source_taxed_credits_applied)
            line.currency = invoice.currency
        totals = calculate(invoice, parts.lines)
        write_figures(invoice, parts.lines, totals, computed_at)
        taken = reductions(invoice, totals, now)
    parts.put_reductions(taken)
    source = charge_totals(invoice, parts.lines)
    for row, applied in zip(parts.coupon_applications, source.coupon_applications, strict=True):
        row.source_discounted_amount = applied.discounted_amount
    add_new(session, taken)


async def billing_currencies(session: AsyncSession, payer_ids: Collection[str]) -> dict[str, str]:
    """The currency that each payer is billed in, by payer; those who name none are left out.

    Taxes of another currency than that in which an invoice is paid do not apply to it.
    """
    query = select(Customer.id, Customer.billing_currency).where(in_array(Customer.id, payer_ids))
    with session.no_autoflush:
        rows = (await session.execute(query)).all()
    return {payer_id: code for payer_id, code in rows if code}
