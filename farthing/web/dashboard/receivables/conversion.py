"""How an invoice was converted, or why it cannot be yet, as its page shows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.fx.enums import FxScope
from farthing.catalogue.fx.lookup import NoRate
from farthing.core.money import ZERO
from farthing.customers.tables import Customer
from farthing.invoices.figures.conversion import rates_of_drafts
from farthing.invoices.parts import InvoiceParts
from farthing.invoices.reads.conversions import conversions_of
from farthing.invoices.tables import Invoice


@dataclass(frozen=True, slots=True)
class ConvertedFigures:
    """What an invoice was before, in the currency of its charges, and the rate; `converted_at` is None for a draft."""

    charge_currency: str
    billing_currency: str
    rate: Decimal
    scope: FxScope
    converted_at: datetime | None
    subtotal: Decimal
    discount: Decimal
    credits: Decimal


async def converted_figures(session: AsyncSession, invoice: Invoice, now: datetime) -> ConvertedFigures | None:
    """What an invoice was converted from, or a draft would be converted into now; None where nothing is converted."""
    parts = InvoiceParts(await session.get(Customer, invoice.customer_id))
    shown = (await conversions_of(session, [invoice], [parts], now)).get(invoice.id)
    if shown is None:
        return None
    was = shown.converted_at is not None
    return ConvertedFigures(
        shown.charge_currency,
        shown.billing_currency,
        shown.rate,
        shown.scope,
        shown.converted_at,
        (invoice.source_subtotal if was else invoice.subtotal) or ZERO,
        (invoice.source_total_discount if was else invoice.total_discount) or ZERO,
        (invoice.source_total_prepaid_credits_applied if was else invoice.total_prepaid_credits_applied) or ZERO,
    )


async def missing_rate(session: AsyncSession, invoice: Invoice, now: datetime) -> str | None:
    """Why a draft cannot be finalized for want of a rate; None where it can."""
    parts = InvoiceParts(await session.get(Customer, invoice.customer_id))
    rate = (await rates_of_drafts(session, [(invoice, parts)], now)).get(invoice.id)
    return rate.refusal().message if isinstance(rate, NoRate) else None
