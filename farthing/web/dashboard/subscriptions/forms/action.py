"""What every change of a subscription that exists has in common: its form, its words, and how it is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.changes import modifications
from farthing.billing.plan_change_schemas import ChangedInvoice
from farthing.billing.schemas import ExecuteSubscriptionModifyRequest
from farthing.calendar.billing import BillingPeriod
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.prices.tables import Price
from farthing.core.encoding.decoding import convert
from farthing.core.enums import Status
from farthing.core.money import plain
from farthing.invoices.hooks import InvoiceHooks
from farthing.invoices.schemas import InvoiceResponse
from farthing.subscriptions.tables import Subscription
from farthing.web.dashboard.subscriptions.forms.consequences import Consequences
from farthing.web.dashboard.subscriptions.forms.typed_form import TypedForm
from farthing.web.rendering.words import wording

Options = Callable[[AsyncSession, Subscription, TypedForm], Awaitable[Mapping[str, Any]]]
Make = Callable[[AsyncSession, Subscription, TypedForm, datetime, InvoiceHooks], Awaitable[Consequences]]


@dataclass(frozen=True, slots=True)
class SubscriptionAction:
    """A change of a subscription. `template` holds the fields of its form, `confirm` the words on the last button.

    `options` are what the form offers; `make` carries the change out, at the moment of the form.
    """

    title: str
    template: str
    confirm: str
    said: str
    options: Options
    make: Make


async def nothing_to_choose(session: AsyncSession, subscription: Subscription, form: TypedForm) -> Mapping[str, Any]:
    """The options of a form without a choice."""
    del session, subscription, form
    return {}


def page_of(subscription: Subscription) -> str:
    """The address of a subscription's page."""
    return f"/subscriptions/{subscription.id}"


async def modify(
    session: AsyncSession,
    subscription: Subscription,
    body: Mapping[str, Any],
    now: datetime,
    effects: InvoiceHooks,
    facts: Sequence[tuple[str, object]] = (),
) -> Consequences:
    """Make a modification as the API does."""
    asked = convert(body, ExecuteSubscriptionModifyRequest)
    answer, to_collect = await modifications.modify(session, subscription.id, asked, now, effects)
    changed = answer.changed_resources.invoices
    return Consequences(page_of(subscription), made_invoices(changed), credits_of(changed), to_collect, facts)


def made_invoices(changed: Sequence[ChangedInvoice]) -> list[InvoiceResponse]:
    """The invoices among what a change has made."""
    return [made.invoice for made in changed if made.invoice is not None]


def credits_of(changed: Sequence[ChangedInvoice]) -> list[ChangedInvoice]:
    """What a change has given back."""
    return [made for made in changed if made.invoice is None]


_EVERY = {
    BillingPeriod.DAILY: ("daily", "days"),
    BillingPeriod.WEEKLY: ("weekly", "weeks"),
    BillingPeriod.MONTHLY: ("monthly", "months"),
    BillingPeriod.QUARTERLY: ("quarterly", "quarters"),
    BillingPeriod.HALF_YEARLY: ("every half-year", "half-years"),
    BillingPeriod.ANNUAL: ("yearly", "years"),
}


def period_in_words(period: BillingPeriod, count: int) -> str:
    """ "monthly", "every 3 years"."""
    if period not in _EVERY:
        return "once"
    alone, several = _EVERY[period]
    return alone if count == 1 else f"every {count} {several}"


def price_in_words(price: Price) -> str:
    """ "$10.00 each", "$5.00 per 1,000", "in tiers"."""
    if price.tiers:
        return "in tiers"
    amount = wording.money(price.amount, price.currency)
    divide_by = price.transform_quantity.get("divide_by", 1)
    return f"{amount} per {divide_by:,}" if divide_by != 1 else f"{amount} each"


@dataclass(frozen=True, slots=True)
class FeeChoice:
    """A fixed price whose quantity somebody may choose."""

    price_id: str
    name: str
    price: str
    quantity: str
    once: bool


async def fee_choices(
    session: AsyncSession,
    owner: PriceEntityType,
    owner_id: str,
    currency: str,
    at: datetime,
    terms: tuple[str, int] | None,
) -> list[FeeChoice]:
    """The fixed prices of a plan (in its `terms`: period and count) or an addon, oldest first."""
    rows = await session.scalars(
        select(Price)
        .where(
            Price.entity_type == owner,
            Price.entity_id == owner_id,
            Price.status == Status.PUBLISHED,
            Price.type == "FIXED",
            Price.currency == currency,
            Price.end_date.is_(None) | (Price.end_date > at),
        )
        .order_by(Price.sequence)
        .limit(100)
    )
    return [
        FeeChoice(
            price.id,
            price.display_name or "Fee",
            price_in_words(price),
            plain(price.min_quantity or Decimal(1)),
            price.billing_period is BillingPeriod.ONETIME,
        )
        for price in rows
        if terms is None
        or price.billing_period is BillingPeriod.ONETIME
        or (price.billing_period.value, price.billing_period_count) == terms
    ]
