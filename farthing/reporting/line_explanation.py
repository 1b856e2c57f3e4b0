"""Where a line's number came from, worked out anew from its sources: the price, the quantity, and the events behind it.

Nothing here decides an amount. What is stored on the line is shown; beside it stands what the price and the events
say today, so that a reader can see that they agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.prices.rated import rated
from farthing.catalogue.prices.tables import Price
from farthing.catalogue.products.tables import MeterRow
from farthing.core import currency
from farthing.core.errors import ValidationFailed
from farthing.core.money import EXACT, ZERO, exact_sum, round_to
from farthing.customers.tables import Customer
from farthing.events.ingest.meters import meter_of
from farthing.events.usage.usage_query import usage
from farthing.events.usage.usage_statement import UsageQuery
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.tables import Invoice
from farthing.metering.model import Usage
from farthing.rating.pricing.breakdown import Breakdown
from farthing.rating.pricing.cost import explain as parts_of
from farthing.storage.queries.rows import find


@dataclass(frozen=True, slots=True)
class LineExplanation:
    """What a line is made of.

    `price`, `meter` and `owner` are where it comes from, as far as there are such. `breakdown` prices the line's
    quantity at the price; `plain` says whether that alone is the line's amount, as it is unless commitments, minimums,
    buckets or proration had a say. `usage_now` is what the events say today.
    """

    invoice: Invoice
    line: InvoiceLineItem
    price: Price | None
    meter: MeterRow | None
    owner: Customer | None
    breakdown: Breakdown | None
    plain: bool
    net: Decimal
    reductions: Decimal
    usage_now: Usage | None
    usage_agrees: bool
    details: tuple[tuple[str, Any], ...]
    """Whatever else the calculation noted on the line."""


async def explain_line(session: AsyncSession, invoice_id: str, line_id: str, *, sees_events: bool) -> LineExplanation:
    """The story of one line; without `sees_events` nothing is said of its meter and its events.

    Raises NotFound, and ValidationFailed for a line of another invoice.
    """
    invoice = await find(session, Invoice, invoice_id)
    line = await find(session, InvoiceLineItem, line_id)
    if line.invoice_id != invoice.id:
        raise ValidationFailed.of("line", "is not on this invoice")
    price = await session.get(Price, line.price_id) if line.price_id else None
    meter = await session.get(MeterRow, line.meter_id) if line.meter_id and sees_events else None
    owner = await session.get(Customer, invoice.owner_id)
    breakdown = parts_of(rated(price), line.quantity) if price is not None and line.quantity > 0 else None
    reductions = exact_sum([line.line_item_discount, line.invoice_level_discount, line.prepaid_credits_applied])
    used = await _usage(session, line, meter, owner)
    metered = line.raw_usage if line.raw_usage is not None else line.quantity
    if line.rating is not None and "current_usage" in line.rating:
        metered = Decimal(line.rating["current_usage"])  # a late line charges a part of what its window holds
    charged_digits = currency.digits(invoice.charge_currency)
    return LineExplanation(
        invoice=invoice,
        line=line,
        price=price,
        meter=meter,
        owner=owner,
        breakdown=breakdown,
        plain=breakdown is not None and round_to(breakdown.amount, charged_digits) == line.charge_amount,
        net=max(EXACT.subtract(line.amount, reductions), ZERO),
        reductions=reductions,
        usage_now=used,
        usage_agrees=used is not None and used.value == metered,
        details=tuple((line.rating or {}).items()) + tuple((line.commitment_info or {}).items()),
    )


async def _usage(
    session: AsyncSession, line: InvoiceLineItem, meter: MeterRow | None, owner: Customer | None
) -> Usage | None:
    if meter is None or owner is None or line.period_start is None or line.period_end is None:
        return None
    query = UsageQuery(
        meter=meter_of(meter),
        start=line.period_start,
        end=line.period_end,
        customers=frozenset({owner.id}),
        customers_are_ids=True,
    )
    return await usage(session, query)
