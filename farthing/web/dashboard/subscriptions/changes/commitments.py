"""What a customer commits to spend or use: on the whole subscription or on one charge, in words and as a change."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.changes import answers
from farthing.billing.changes.apply_outcome import perform
from farthing.calendar.billing import BillingPeriod
from farthing.core.clock import instant
from farthing.core.encoding.decoding import convert
from farthing.core.enums import PriceType
from farthing.core.errors import ValidationFailed
from farthing.invoices.hooks import InvoiceHooks
from farthing.invoices.pdf.figures import grouped
from farthing.subscriptions.line_items import revise
from farthing.subscriptions.schemas.requests import UpdateSubscriptionLineItemRequest
from farthing.subscriptions.tables import Subscription, SubscriptionLineItem
from farthing.web.dashboard.subscriptions.changes.charges import OpenCharge, open_charges
from farthing.web.dashboard.subscriptions.forms.action import (
    SubscriptionAction,
    credits_of,
    made_invoices,
    page_of,
    period_in_words,
)
from farthing.web.dashboard.subscriptions.forms.consequences import Consequences
from farthing.web.dashboard.subscriptions.forms.typed_form import TypedForm, body_without_nothing
from farthing.web.rendering.words import wording

COMMITTED_PERIODS = [
    (period.value, period_in_words(period, 1).capitalize())
    for period in BillingPeriod
    if period is not BillingPeriod.ONETIME
]
"""The periods that a commitment may be for, in words."""


def commitment_in_words(row: Subscription) -> str:
    """ "$500.00 of usage per period; beyond it usage costs 1.5 times as much; what is left of it is charged"."""
    if not row.commitment_amount:
        return ""
    span = period_in_words(row.commitment_duration, 1) if row.commitment_duration else "per billing period"
    said = f"{wording.money(row.commitment_amount, row.currency)} of usage {span}"
    return said + _terms(row.overage_factor, true_up=row.enable_true_up)


def charge_commitment_in_words(item: SubscriptionLineItem) -> str:
    """As `commitment_in_words`, of one charge."""
    if item.commitment_amount is not None:
        said = wording.money(item.commitment_amount, item.currency)
    elif item.commitment_quantity is not None:
        said = f"{grouped(item.commitment_quantity)} units"
    else:
        return ""
    span = period_in_words(item.commitment_duration, 1) if item.commitment_duration else "per billing period"
    windows = ", window by window" if item.commitment_windowed else ""
    factor = item.commitment_overage_factor or Decimal(1)
    return f"{said} {span}{windows}" + _terms(factor, true_up=item.commitment_true_up_enabled)


def _terms(factor: Decimal, *, true_up: bool) -> str:
    beyond = f"; beyond it usage costs {grouped(factor)} times as much" if factor > 1 else ""
    return beyond + ("; what is left of it is charged at the end" if true_up else "")


async def _options(session: AsyncSession, subscription: Subscription, form: TypedForm) -> Mapping[str, Any]:
    charges = await _usage_charges(session, subscription, form.as_of)
    return {
        "charges": [(charge.item.id, _named(charge)) for charge in charges],
        "committed_periods": COMMITTED_PERIODS,
    }


async def _usage_charges(session: AsyncSession, subscription: Subscription, at: datetime) -> list[OpenCharge]:
    found = await open_charges(session, subscription, at)
    return [charge for charge in found if charge.item.price_type is PriceType.USAGE]


def _named(charge: OpenCharge) -> str:
    stands = charge_commitment_in_words(charge.item)
    return f"{charge.name}, now {stands}" if stands else charge.name


async def _make(
    session: AsyncSession, subscription: Subscription, form: TypedForm, now: datetime, effects: InvoiceHooks
) -> Consequences:
    charges = {charge.item.id: charge for charge in await _usage_charges(session, subscription, form.as_of)}
    charge = charges.get(form.text("line_item_id"))
    if charge is None:
        raise ValidationFailed.of("line_item_id", "must be chosen")
    body = body_without_nothing(
        commitment_amount=form.number("commitment_amount"),
        commitment_quantity=form.number("commitment_quantity"),
        commitment_overage_factor=form.number("commitment_overage_factor") or Decimal(1),
        commitment_true_up_enabled=form.text("commitment_true_up_enabled") == "yes",
        commitment_duration=form.text("commitment_duration"),
        effective_from=instant(max(form.as_of, charge.item.start_date)),
    )
    if "commitment_amount" not in body and "commitment_quantity" not in body:
        raise ValidationFailed.of("commitment_amount", "or a number of units is required")
    asked = convert(body, UpdateSubscriptionLineItemRequest)
    item, outcome = await revise.update(session, charge.item.id, asked, form.as_of)
    performed = await perform(session, outcome, now, effects)
    changed = await answers.changed_invoices(session, performed)
    return Consequences(
        page_of(subscription),
        made_invoices(changed),
        credits_of(changed),
        performed.to_collect,
        [(charge.name, charge_commitment_in_words(item))],
    )


COMMIT = SubscriptionAction(
    title="Commit to a charge",
    template="subscriptions/forms/commitment.html",
    confirm="Agree on it",
    said="The commitment counts as shown.",
    options=_options,
    make=_make,
)
