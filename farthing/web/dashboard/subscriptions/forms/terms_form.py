"""The form of a new subscription, read into the request that the API takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from farthing.calendar.due import NET_DAYS, PaymentTerms
from farthing.calendar.zones import zone
from farthing.core.clock import instant
from farthing.core.encoding.decoding import convert
from farthing.core.errors import ValidationFailed
from farthing.customers.tables import Customer
from farthing.subscriptions.schemas.requests import CreateSubscriptionRequest
from farthing.web.dashboard.subscriptions.forms.typed_form import TypedForm, body_without_nothing

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


LATER_PHASES = (2, 3, 4)
"""How many phases the form has beside the first, by their numbers."""


def creation_request(form: TypedForm, customer: Customer, sharing: Sequence[str] = ()) -> CreateSubscriptionRequest:
    """What the form asks for, for a customer; those with the external ids `sharing` share it. Raises ValidationFailed.

    Days begin at the midnight of the customer's time zone; without a day it begins at the moment of the form.
    """
    place = zone(customer.timezone)
    currency, _, terms = form.text("rhythm").partition(":")
    period, _, count = terms.partition(":")
    if not (currency and period and count.isascii() and count.isdigit()):
        raise ValidationFailed.of("rhythm", "must be chosen")
    start, end = form.midnight("start_date", place) or instant(form.as_of), form.midnight("end_date", place)
    inheritance = body_without_nothing(
        invoicing_customer_external_id=form.text("payer"),
        external_customer_ids_to_inherit_subscription=list(sharing),
    )
    body = body_without_nothing(
        **form.given(*_CHOSEN),
        commitment_amount=form.number("commitment_amount"),
        overage_factor=form.number("overage_factor") if form.text("commitment_amount") else None,
        commitment_duration=form.text("commitment_duration"),
        enable_true_up=True if form.text("enable_true_up") == "yes" else None,
        inheritance=inheritance,
        phases=_phases(form, place, start, end),
        customer_id=customer.id,
        currency=currency,
        billing_period=period,
        billing_period_count=int(count[:6]),
        # only a period of the calendar can be shorter than the others
        proration_behavior=form.text("proration_behavior") if form.text("billing_cycle") == "calendar" else "",
        start_date=start,
        end_date=end,
        trial_period_days=_days(form),
        override_line_items=_overrides(form),
        coupons=list(form.given("coupon").values()),
        addons=[
            {"addon_id": addon_id, "proration_behavior": "create_prorations"} for addon_id in form.of_lines("addon")
        ],
    )
    return convert(body, CreateSubscriptionRequest)


def _phases(form: TypedForm, place: ZoneInfo, start: str, end: str | None) -> list[dict[str, Any]]:
    """The phases, each until the next begins; none if there is no later one. The first has the terms above."""
    begins = {
        number: day for number in LATER_PHASES if (day := form.midnight(f"phase_start:{number}", place)) is not None
    }
    if not begins:
        return []
    starts = [start, *begins.values()]
    ends = [*begins.values(), end]
    phases = []
    for place_of, (number, begin, until) in enumerate(zip((1, *begins), starts, ends, strict=True)):
        form.places[f"phases[{place_of}]"] = str(number)
        overrides = _overrides_of_phase(form, number) if number != 1 else []
        phases.append(body_without_nothing(start_date=begin, end_date=until, override_line_items=overrides))
    return phases


def _overrides_of_phase(form: TypedForm, number: int) -> list[dict[str, Any]]:
    quantities, amounts = form.of_lines(f"phase_quantity:{number}"), form.of_lines(f"phase_amount:{number}")
    return [
        body_without_nothing(
            price_id=price_id,
            quantity=form.number(f"phase_quantity:{number}:{price_id}"),
            amount=form.number(f"phase_amount:{number}:{price_id}"),
        )
        for price_id in dict.fromkeys([*quantities, *amounts])
    ]


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
