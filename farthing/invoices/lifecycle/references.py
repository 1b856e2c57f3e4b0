"""What the lines of a request refer to: it must exist in the caller's environment, and fit the invoice."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.discounts.tables import CouponAssociation
from farthing.catalogue.plans.tables import Addon, Plan
from farthing.catalogue.prices.tables import Price
from farthing.catalogue.products.tables import MeterRow
from farthing.core.errors import ValidationFailed
from farthing.invoices.requests import CreateInvoiceLineItemRequest, InvoiceCoupon, InvoiceLineItemCoupon
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.tables import Subscription, SubscriptionLineItem

_TABLES: tuple[tuple[str, Any], ...] = (
    ("meter_id", MeterRow),
    ("plan_id", Plan),
    ("subscription_id", Subscription),
    ("subscription_line_item_id", SubscriptionLineItem),
)
_OWNERS: tuple[Any, ...] = (Plan, Addon, Subscription)
"""What a line may name as its entity."""


async def check_references(
    session: AsyncSession, lines: Sequence[CreateInvoiceLineItemRequest] | None, currency: str
) -> None:
    """Raise ValidationFailed naming every id in `lines` that is not there, and every price that does not fit.

    A price fits when it is in the invoice's currency, and belongs to the entity that its line names, if it names one.
    """
    problems: dict[str, str] = {}
    await _check_prices(session, lines or (), currency, problems)
    await _check_entities(session, lines or (), problems)
    for field, table in _TABLES:
        asked = {getattr(line, field) for line in lines or ()} - {None, ""}
        if not asked:
            continue
        found = set((await session.scalars(select(table.id).where(in_array(table.id, sorted(asked))))).all())
        for index, line in enumerate(lines or ()):
            if getattr(line, field) in asked - found:
                problems[f"line_items[{index}].{field}"] = f"no {table.label.lower()} has the id {getattr(line, field)}"
    if problems:
        raise ValidationFailed.listing(problems)


async def check_coupon_references(
    session: AsyncSession, on_lines: Sequence[InvoiceLineItemCoupon], on_invoice: Sequence[InvoiceCoupon]
) -> None:
    """Raise ValidationFailed naming every price, line item and association that coupons name and that is not there."""
    named: list[tuple[str, str | None, tuple[Any, ...]]] = []
    for index, place in enumerate(on_lines):
        where = f"line_item_coupons[{index}]"
        named.append((f"{where}.line_item_id", place.line_item_id, (Price, SubscriptionLineItem)))
        named.append((f"{where}.subscription_line_item_id", place.subscription_line_item_id, (SubscriptionLineItem,)))
        named.append((f"{where}.coupon_association_id", place.coupon_association_id, (CouponAssociation,)))
    for index, coupon in enumerate(on_invoice):
        where = f"invoice_coupons[{index}].coupon_association_id"
        named.append((where, coupon.coupon_association_id, (CouponAssociation,)))
    problems: dict[str, str] = {}
    for field, named_id, tables in named:
        if named_id and not await _existing(session, tables, {named_id}):
            problems[field] = f"nothing has the id {named_id}"
    if problems:
        raise ValidationFailed.listing(problems)


async def _check_entities(
    session: AsyncSession, lines: Sequence[CreateInvoiceLineItemRequest], problems: dict[str, str]
) -> None:
    asked = {line.entity_id for line in lines if line.entity_id}
    known = await _existing(session, _OWNERS, asked)
    for index, line in enumerate(lines):
        if line.entity_id and line.entity_id not in known:
            problems[f"line_items[{index}].entity_id"] = f"no plan, addon or subscription has the id {line.entity_id}"


async def _existing(session: AsyncSession, tables: Sequence[Any], ids: Set[str]) -> set[str]:
    """Those of `ids` that one of the tables has."""
    found: set[str] = set()
    for table in tables:
        if ids - found:
            found |= set(await session.scalars(select(table.id).where(in_array(table.id, sorted(ids - found)))))
    return found


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
