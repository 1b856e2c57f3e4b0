"""Other quantities, and prices of its own, for the charges of a subscription."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.schemas import SubscriptionModifyType
from farthing.calendar.billing import BillingPeriod
from farthing.catalogue.prices.enums import PriceUnitType
from farthing.catalogue.prices.tables import Price
from farthing.core.clock import instant
from farthing.core.enums import PriceType, Status
from farthing.core.errors import ValidationFailed
from farthing.core.money import plain
from farthing.invoices.hooks import InvoiceHooks
from farthing.invoices.pdf.figures import grouped
from farthing.subscriptions.tables import Subscription, SubscriptionLineItem
from farthing.web.dashboard.subscriptions.forms.action import SubscriptionAction, modify, price_in_words
from farthing.web.dashboard.subscriptions.forms.consequences import Consequences, wording_of
from farthing.web.dashboard.subscriptions.forms.typed_form import TypedForm
from farthing.web.rendering.words import wording

MOST_CHARGES = 60
"""How many charges one form changes."""


@dataclass(frozen=True, slots=True)
class OpenCharge:
    """A charge that is open, with what may be changed of it."""

    item: SubscriptionLineItem
    price: Price

    @property
    def name(self) -> str:
        return wording_of(self.item.display_name or self.item.meter_display_name, self.item.plan_display_name)

    @property
    def price_words(self) -> str:
        return price_in_words(self.price)

    @property
    def has_quantity(self) -> bool:
        return self.item.price_type is PriceType.FIXED

    @property
    def has_amount(self) -> bool:
        """Whether one amount says what it costs, in money."""
        return not self.price.tiers and self.price.price_unit_type is PriceUnitType.FIAT

    @property
    def quantity(self) -> str:
        return plain(self.item.quantity)

    @property
    def amount(self) -> str:
        return plain(self.price.amount)


async def open_charges(session: AsyncSession, subscription: Subscription, at: datetime) -> list[OpenCharge]:
    """The recurring charges that are open at `at` or begin later, oldest first."""
    item = SubscriptionLineItem
    rows = await session.execute(
        select(item, Price)
        .join(Price, Price.id == item.price_id)
        .where(
            item.subscription_id == subscription.id,
            item.status == Status.PUBLISHED,
            item.billing_period != BillingPeriod.ONETIME,
            item.end_date.is_(None) | (item.end_date > at),
        )
        .order_by(item.start_date, item.id)
        .limit(MOST_CHARGES)
    )
    return [OpenCharge(row, price) for row, price in rows]


async def _options(session: AsyncSession, subscription: Subscription, form: TypedForm) -> Mapping[str, Any]:
    return {"charges": await open_charges(session, subscription, form.as_of)}


async def _make(
    session: AsyncSession, subscription: Subscription, form: TypedForm, now: datetime, effects: InvoiceHooks
) -> Consequences:
    wanted: list[dict[str, Any]] = []
    facts: list[tuple[str, object]] = []
    for charge in await _charges_of(session, subscription, form):
        asked = _asked(charge, form)
        if not asked:
            continue
        form.places[f"line_items[{len(wanted)}]"] = charge.item.id
        facts += _facts(charge, asked)
        at = instant(max(form.as_of, charge.item.start_date))
        wanted.append({"id": charge.item.id, "effective_date": at, **asked})
    if not wanted:
        raise ValidationFailed("Nothing is different yet: change at least one quantity or price")
    body = {
        "type": SubscriptionModifyType.LINE_ITEM_CHANGE.value,
        "line_item_change_params": {"line_items": wanted},
    }
    return await modify(session, subscription, body, now, effects, facts)


async def _charges_of(session: AsyncSession, subscription: Subscription, form: TypedForm) -> list[OpenCharge]:
    """The charges that the form was shown with, also those that others have changed meanwhile."""
    ids = list(dict.fromkeys([*form.of_lines("quantity"), *form.of_lines("amount")]))
    item = SubscriptionLineItem
    rows = await session.execute(
        select(item, Price)
        .join(Price, Price.id == item.price_id)
        .where(item.subscription_id == subscription.id, item.id.in_(ids))
        .order_by(item.start_date, item.id)
    )
    return [OpenCharge(row, price) for row, price in rows]


def _asked(charge: OpenCharge, form: TypedForm) -> dict[str, Decimal]:
    """What the form says otherwise than the charge. Raises ValidationFailed."""
    stands = {"quantity": charge.item.quantity, "amount": charge.price.amount}
    typed = {name: form.number(f"{name}:{charge.item.id}") for name in stands}
    return {name: value for name, value in typed.items() if value is not None and value != stands[name]}


def _facts(charge: OpenCharge, asked: Mapping[str, Decimal]) -> list[tuple[str, object]]:
    facts: list[tuple[str, object]] = []
    if "quantity" in asked:
        facts.append((charge.name, f"{grouped(charge.item.quantity)} → {grouped(asked['quantity'])}"))
    if "amount" in asked:
        code = charge.price.currency
        was, becomes = wording.money(charge.price.amount, code), wording.money(asked["amount"], code)
        facts.append((charge.name, f"{was} → {becomes}, for this subscription alone"))
    return facts


CHANGE_CHARGES = SubscriptionAction(
    title="Change quantities and prices",
    template="subscriptions/forms/charges.html",
    confirm="Change them",
    said="The charges are changed as shown.",
    options=_options,
    make=_make,
)
