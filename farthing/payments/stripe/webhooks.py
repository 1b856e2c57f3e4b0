"""Stripe's webhooks: the signature over the raw body, and what an event says.

Rule: docs/rules/integrations.md#events-of-stripe
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import msgspec
import stripe

from farthing.payments.providers.interface import (
    BadSignature,
    ChargeState,
    ProviderCharge,
    RefundFailure,
    Report,
    ReportKind,
)
from farthing.payments.stripe.amounts import from_stripe_amount
from farthing.payments.stripe.objects import (
    CHARGE,
    CUSTOMER,
    ENVIRONMENT,
    FLOW,
    LINK,
    MAKE_DEFAULT,
    PAYMENT,
    REFUND,
    DisputedCharge,
    PaymentIntent,
    RefundedCharge,
    StripeCheckout,
    StripeObject,
    StripeRefund,
    charge_of,
    dispute_of,
    reason_of,
)

HEADER = "stripe-signature"
TOLERANCE = timedelta(minutes=5)

INTENT, METHOD_CUSTOMER = "payment_intent", "customer"
SETUP = "setup_intent"
"""What `follow_up` has to know of a report."""


class EventData(msgspec.Struct, frozen=True):
    object: msgspec.Raw


class StripeEvent(msgspec.Struct, frozen=True):
    """The envelope of an event."""

    id: str
    type: str
    data: EventData
    livemode: bool = False
    account: str | None = None
    """Of an event of a connected account: which."""


@dataclass(frozen=True, slots=True)
class EventOwner:
    """Whose events are believed: those of this account, mode and environment."""

    environment_id: str
    account_id: str | None
    is_live: bool


def verify_signature(secret: str, header: str | None, body: bytes, now: datetime) -> None:
    """Raises BadSignature unless `header` signs `body` with `secret`, at most five minutes from `now`."""
    if not secret:
        raise BadSignature("the connection has no webhook secret")
    if header is None:
        raise BadSignature(f"the {HEADER} header is missing")
    try:
        stripe.WebhookSignature.verify_header(body, header, secret)
    except (stripe.SignatureVerificationError, TypeError, ValueError):
        raise BadSignature("the signature does not match") from None
    signed_at = next(int(part.split("=")[1]) for part in header.split(",") if part.startswith("t="))
    if abs(now.timestamp() - signed_at) > TOLERANCE.total_seconds():
        raise BadSignature("the signature is too old, or from the future")


def read_event(body: bytes, owner: EventOwner) -> Report:
    """A signed body in the interface's words. Raises ValueError when it is no event."""
    event = msgspec.json.decode(body, type=StripeEvent)
    other = Report(event_id=event.id, kind=ReportKind.OTHER)
    is_of_other = event.account is not None and event.account != owner.account_id
    if is_of_other or event.livemode is not owner.is_live:
        return other
    reading = _READINGS.get(event.type)
    if reading is None:
        return other
    subject = msgspec.json.decode(event.data.object, type=reading.kind)
    environment_id = subject.note(ENVIRONMENT)
    if environment_id is not None and environment_id != owner.environment_id:
        return other  # one account may serve several environments, and each hears of everything
    return reading.read(other, subject)


def read_page(page: StripeCheckout) -> Report | None:
    """What the events of a page have said by now; None while it is open, or paid in a way that takes time."""
    report = Report(event_id=page.id, kind=ReportKind.OTHER)
    if page.status == "expired":
        return _page_expired(report, page)
    return _page_paid(report, page) if page.payment_status == "paid" else None


def fail_page(page: StripeCheckout) -> Report:
    """What is said of a page whose payment took time, and was not made."""
    return _page_failed(Report(event_id=page.id, kind=ReportKind.OTHER), page)


def _intent_succeeded(report: Report, intent: PaymentIntent) -> Report:
    return replace(report, kind=ReportKind.PAYMENT_SUCCEEDED, payment_id=intent.note(PAYMENT), charge=charge_of(intent))


def _intent_failed(report: Report, intent: PaymentIntent) -> Report:
    """A refusal on a page is one try; a saved method's is the end, unless only its owner was missing."""
    if intent.note(FLOW) == CHARGE and intent.waits_for_authentication:
        return report
    return replace(
        report,
        kind=ReportKind.PAYMENT_FAILED,
        payment_id=intent.note(PAYMENT),
        charge=charge_of(intent),
        reason=reason_of(intent.last_payment_error),
        final=intent.note(FLOW) != LINK,
    )


def _intent_cancelled(report: Report, intent: PaymentIntent) -> Report:
    if intent.note(FLOW) == LINK:
        return report  # its page says when it is over
    return replace(_intent_failed(report, intent), reason="The payment was cancelled at Stripe")


def _page_completed(report: Report, page: StripeCheckout) -> Report:
    if page.mode == "setup":
        return _method_saved(report, page)
    if page.mode != "payment" or page.payment_status != "paid":
        return report
    return _page_paid(report, page)


def _page_paid(report: Report, page: StripeCheckout) -> Report:
    if page.mode != "payment" or page.payment_intent is None or page.currency is None:
        return report
    context = {INTENT: page.payment_intent}
    if page.note(MAKE_DEFAULT) and page.customer is not None:
        context[METHOD_CUSTOMER] = page.customer
    return replace(
        report,
        kind=ReportKind.PAYMENT_SUCCEEDED,
        payment_id=page.note(PAYMENT),
        tracking_id=page.id,
        charge=ProviderCharge(
            gateway_payment_id=page.payment_intent,
            state=ChargeState.SUCCEEDED,
            amount=from_stripe_amount(page.amount_total or 0, page.currency),
            currency=page.currency,
            tracking_id=page.id,
        ),
        context=context,
    )


def _page_failed(report: Report, page: StripeCheckout) -> Report:
    if page.mode != "payment":
        return report
    return replace(
        report,
        kind=ReportKind.PAYMENT_FAILED,
        payment_id=page.note(PAYMENT),
        tracking_id=page.id,
        reason="The bank did not make the payment",
    )


def _page_expired(report: Report, page: StripeCheckout) -> Report:
    if page.mode != "payment":
        return report
    return replace(report, kind=ReportKind.LINK_EXPIRED, payment_id=page.note(PAYMENT), tracking_id=page.id)


def _method_saved(report: Report, page: StripeCheckout) -> Report:
    setup = page.setup_intent
    context = {SETUP: setup if isinstance(setup, str) else setup.id} if setup is not None else {}
    if not page.note(MAKE_DEFAULT) or page.customer is None:
        return replace(report, kind=ReportKind.SETUP_SUCCEEDED)
    context[METHOD_CUSTOMER] = page.customer
    return replace(report, kind=ReportKind.SETUP_SUCCEEDED, customer_id=page.note(CUSTOMER), context=context)


def _charge_refunded(report: Report, charge: RefundedCharge) -> Report:
    if charge.payment_intent is None:
        return report
    return replace(report, kind=ReportKind.REFUND_UPDATED, context={INTENT: charge.payment_intent})


def _refund_changed(report: Report, refund: StripeRefund) -> Report:
    if refund.payment_intent is None:
        return report
    changed = replace(report, kind=ReportKind.REFUND_UPDATED, context={INTENT: refund.payment_intent})
    if refund.status not in {"failed", "canceled"}:
        return changed
    reason = (refund.failure_reason or refund.status).replace("_", " ")
    failure = RefundFailure(refund.id, refund.note(REFUND), f"The refund did not reach the payer: {reason}")
    return replace(changed, kind=ReportKind.REFUND_FAILED, refund_failure=failure)


def _disputed(report: Report, dispute: DisputedCharge) -> Report:
    if dispute.payment_intent is None:
        return report
    return replace(
        report,
        kind=ReportKind.DISPUTE_UPDATED,
        dispute=dispute_of(dispute),
        context={INTENT: dispute.payment_intent},
    )


@dataclass(frozen=True, slots=True)
class EventReading:
    """What the subject of an event is, and how its event is read."""

    kind: type[StripeObject]
    read: Callable[[Report, Any], Report]


_READINGS: Mapping[str, EventReading] = MappingProxyType(
    {
        "payment_intent.succeeded": EventReading(PaymentIntent, _intent_succeeded),
        "payment_intent.payment_failed": EventReading(PaymentIntent, _intent_failed),
        "payment_intent.canceled": EventReading(PaymentIntent, _intent_cancelled),
        "checkout.session.completed": EventReading(StripeCheckout, _page_completed),
        "checkout.session.async_payment_succeeded": EventReading(StripeCheckout, _page_paid),
        "checkout.session.async_payment_failed": EventReading(StripeCheckout, _page_failed),
        "checkout.session.expired": EventReading(StripeCheckout, _page_expired),
        "charge.refunded": EventReading(RefundedCharge, _charge_refunded),
        "refund.created": EventReading(StripeRefund, _refund_changed),
        "refund.updated": EventReading(StripeRefund, _refund_changed),
        "refund.failed": EventReading(StripeRefund, _refund_changed),
        "charge.dispute.created": EventReading(DisputedCharge, _disputed),
        "charge.dispute.updated": EventReading(DisputedCharge, _disputed),
        "charge.dispute.closed": EventReading(DisputedCharge, _disputed),
    }
)

EVENTS = tuple(_READINGS)
"""The events that a webhook endpoint at Stripe should send."""
