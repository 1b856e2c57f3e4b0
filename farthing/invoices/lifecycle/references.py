"""What the lines of a request refer to: it must exist in the caller's environment, and fit the invoice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.plans.tables import Plan
from farthing.catalogue.prices.tables import Price
from farthing.catalogue.products.tables import MeterRow
from farthing.core.errors import ValidationFailed
from farthing.invoices.requests import CreateInvoiceLineItemRequest
from farthing.storage.rows import in_array
from farthing.subscriptions.tables import Subscription, SubscriptionLineItem

_TABLES: tuple[tuple[str, Any], ...] = (
    ("meter_id", MeterRow),
    ("plan_id", Plan),
    ("subscription_id", Subscription),
    ("subscription_line_item_id", SubscriptionLineItem),
)


async def check_references(
    session: AsyncSession, lines: Sequence[CreateInvoiceLineItemRequest] | None, currency: str
) -> None:
    """Raise ValidationFailed naming every id in `lines` that is not there, and every price that does not fit.

    A price fits when it is in the invoice's currency, and belongs to the entity that its line names, if it names one.
    """
    problems: dict[str, str] = {}
    await _check_prices(session, lines or (), currency, problems)
    for field, table in _TABLES:
        asked = {getattr(line, field) for line in lines or ()} - {None, ""}
        if not asked:
            continue
        found = set((await session.scalars(select(table.id).where(in_array(table.id, sorted(asked))))).all())
        for index, line in enumerate(lines or ()):
            if getattr(line, field) in asked - found:
                problems[f"line_items[{index}].{field}"] = f"no {table.label.lower()} has the id {getattr(line, field)}"
    if problems:
        raise ValidationFailed("Request validation failed", problems)


async def _check_prices(
    session: AsyncSession, lines: Sequence[CreateInvoiceLineItemRequest], currency: str, problems: dict[str, str]
) -> None:
    asked = {line.price_id for line in lines if line.price_id}
    if not asked:
        return
    rows = await session.execute(
        select(Price.id, Price.currency, Price.entity_id).where(in_array(Price.id, sorted(asked)))
    )
    prices = {row.id: row for row in rows}
    for index, line in enumerate(lines):
        if not line.price_id:
            continue
        field = f"line_items[{index}].price_id"
        price = prices.get(line.price_id)
        entity = line.entity_id or line.plan_id
        if price is None:
            problems[field] = f"no price has the id {line.price_id}"
        elif price.currency != currency:
            problems[field] = f"is a price in {price.currency}, and the invoice is in {currency}"
        elif entity and price.entity_id != entity:
            problems[field] = f"is a price of {price.entity_id}, not of {entity}"
