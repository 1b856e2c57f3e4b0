"""The form of a new subscription, read into the request that the API takes."""

from __future__ import annotations

from typing import Any

from farthing.calendar.due import NET_DAYS, PaymentTerms
from farthing.calendar.zones import zone
from farthing.core.clock import instant
from farthing.core.encoding.decoding import convert
from farthing.core.errors import ValidationFailed
from farthing.customers.tables import Customer
from farthing.subscriptions.schemas.requests import CreateSubscriptionRequest
from farthing.web.dashboard.subscriptions.typed_form import TypedForm, body_without_nothing

_CHOSEN = ("plan_id", "billing_cycle", "collection_method", "payment_terms")
_OTHER_TERMS = {
    PaymentTerms.END_OF_MONTH: "At the end of the month",
    PaymentTerms.END_OF_NEXT_MONTH: "At the end of the next month",
}
PAYMENT_TERMS = [
    (terms.value, f"Within {NET_DAYS[terms]} days" if terms in NET_DAYS else _OTHER_TERMS[terms])
    for terms in PaymentTerms
]
"""The payment terms that a subscription may have, in words."""


def creation_request(form: TypedForm, customer: Customer) -> CreateSubscriptionRequest:
    """What the form asks for, for a customer. Raises ValidationFailed.

    Days begin at the midnight of the customer's time zone; without a day it begins at the moment of the form.
    """
    place = zone(customer.timezone)
    currency, _, terms = form.text("rhythm").partition(":")
    period, _, count = terms.partition(":")
    if not (currency and period and count.isascii() and count.isdigit()):
        raise ValidationFailed.of("rhythm", "must be chosen")
    body = body_without_nothing(
        **form.given(*_CHOSEN),
        customer_id=customer.id,
        currency=currency,
        billing_period=period,
        billing_period_count=int(count[:6]),
        # only a period of the calendar can be shorter than the others
        proration_behavior=form.text("proration_behavior") if form.text("billing_cycle") == "calendar" else "",
        start_date=form.midnight("start_date", place) or instant(form.as_of),
        end_date=form.midnight("end_date", place),
        trial_period_days=_days(form),
        override_line_items=_overrides(form),
        coupons=list(form.given("coupon").values()),
        addons=[
            {"addon_id": addon_id, "proration_behavior": "create_prorations"} for addon_id in form.of_lines("addon")
        ],
    )
    return convert(body, CreateSubscriptionRequest)


def _days(form: TypedForm) -> int | None:
    days = form.number("trial_period_days")
    if days is not None and days != days.to_integral_value():
        raise ValidationFailed.of("trial_period_days", "must be a whole number")
    return None if days is None else int(days)


def _overrides(form: TypedForm) -> list[dict[str, Any]]:
    """Quantities and prices of its own, by the plan's price."""
    ids = dict.fromkeys([*form.of_lines("quantity"), *form.of_lines("amount")])
    overrides = []
    for place, price_id in enumerate(ids):
        form.places[f"override_line_items[{place}]"] = price_id
        overrides.append(
            body_without_nothing(
                price_id=price_id,
                quantity=form.number(f"quantity:{price_id}"),
                amount=form.number(f"amount:{price_id}"),
            )
        )
    return overrides
