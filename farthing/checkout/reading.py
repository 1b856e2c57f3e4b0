"""Checkouts as they are answered. Nobody is asked: how far one is stands in its row."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.checkout.preparation.opening import page_url
from farthing.checkout.purposes import purpose_of, shown
from farthing.checkout.tables import OPEN, CheckoutSession
from farthing.core.checkout import (
    CheckoutAction,
    CheckoutPaymentBlock,
    CheckoutProviderResult,
    CheckoutResult,
    CheckoutSessionResponse,
    CheckoutStatus,
    CreateSubscriptionResult,
    EntityCreationResult,
    PaymentAction,
    ShownProviderConfig,
)
from farthing.core.composition import Composition
from farthing.core.encoding.wire import as_wire
from farthing.payments.tables import Payment
from farthing.settings import Settings
from farthing.storage.queries.rows import in_array

POLL_AFTER_MS = 2000
STALE_AFTER = timedelta(seconds=60)


async def answer_of(
    session: AsyncSession, services: Composition, checkout: CheckoutSession, now: datetime, *, is_read: bool = False
) -> CheckoutSessionResponse:
    """A checkout as it travels; one that `is_read` says when to look again, and whether its provider is silent."""
    payment = await session.get_one(Payment, checkout.payment_id)
    return _answer(services, checkout, payment, now, is_read=is_read)


async def answers_of(
    session: AsyncSession, services: Composition, checkouts: Sequence[CheckoutSession], now: datetime
) -> list[CheckoutSessionResponse]:
    """Checkouts as a list that is read answers them; one query for the payments of all."""
    found = await session.scalars(select(Payment).where(in_array(Payment.id, [row.payment_id for row in checkouts])))
    payments = {payment.id: payment for payment in found}
    return [_answer(services, row, payments[row.payment_id], now, is_read=True) for row in checkouts]


def _answer(
    services: Composition, checkout: CheckoutSession, payment: Payment, now: datetime, *, is_read: bool
) -> CheckoutSessionResponse:
    open_ = checkout.checkout_status in OPEN
    config = checkout.payment_provider_config
    base_url = services.part(Settings).base_url
    return CheckoutSessionResponse.of(
        checkout,
        metadata=dict(checkout.meta),
        hosted_url=page_url(base_url, checkout.environment_id, checkout.page_key),
        terminal=not open_,
        stale=is_read and open_ and now - checkout.heard_at > STALE_AFTER,
        next_poll_after_ms=POLL_AFTER_MS if is_read and open_ else 0,
        configuration=shown(purpose_of(checkout.configuration)),
        payment_provider_config=None if config is None else _config(config),
        checkout_invoice_id=checkout.invoice_id,
        checkout_payment_id=checkout.payment_id,
        payment=CheckoutPaymentBlock(
            id=payment.id, status=payment.payment_status.value, gateway=payment.payment_gateway
        ),
        payment_action=_action(payment),
        provider_result=_provider_result(checkout, payment),
        result=_result(checkout),
        entity_creation_result=_creation(checkout),
    )


def _config(config: dict[str, object]) -> ShownProviderConfig:
    return ShownProviderConfig(**{name: value for name, value in config.items() if value is not None})  # type: ignore[arg-type]  # stored from the request of the same fields


def _action(payment: Payment) -> PaymentAction | None:
    return PaymentAction(type="payment_link", url=payment.payment_url) if payment.payment_url else None


def _provider_result(checkout: CheckoutSession, payment: Payment) -> CheckoutProviderResult | None:
    if payment.gateway_tracking_id is None:
        return None
    return CheckoutProviderResult(
        provider_session_id=payment.gateway_tracking_id,
        provider_payment_intent_id=payment.gateway_payment_id,
        expires_at=as_wire(checkout.provider_expires_at),
        next_action=_action(payment),
    )


def _result(checkout: CheckoutSession) -> CheckoutResult | None:
    created = checkout.action is CheckoutAction.CREATE_SUBSCRIPTION
    if not created or checkout.checkout_status is not CheckoutStatus.COMPLETED:
        return None
    return CheckoutResult(
        create_subscription_result=CreateSubscriptionResult(
            subscription_id=checkout.entity_id, invoice_id=checkout.invoice_id, payment_id=checkout.payment_id
        )
    )


def _creation(checkout: CheckoutSession) -> EntityCreationResult | None:
    if checkout.entity_status is None:
        return None
    return EntityCreationResult(entity_id=checkout.entity_id, status=checkout.entity_status)
