"""What providers report by webhook, and what follows from it.

Rule: docs/rules/integrations.md#inbound-webhooks
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import Clock, FixedClock
from farthing.core.encoding.decoding import UNREADABLE
from farthing.core.enums import Status
from farthing.core.errors import NotFound, ServiceUnavailable, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.core.money import LARGEST_AMOUNT, ZERO
from farthing.core.origin import Actor, ActorType, ChangeSource, acting_as
from farthing.identity.tables import Environment
from farthing.invoices.tables import Invoice
from farthing.payments.integrations.gateways import Gateways, connection_to
from farthing.payments.locks import lock_payment
from farthing.payments.ports import PaymentPorts
from farthing.payments.processing import outcomes
from farthing.payments.providers.interface import (
    BadSignature,
    ChargeState,
    Declined,
    Provider,
    ProviderCharge,
    Report,
    ReportKind,
)
from farthing.payments.refunds.disputes import record_dispute
from farthing.payments.refunds.records import waiting_returns
from farthing.payments.refunds.sending import fail_reported, send_refunds, settle_reported
from farthing.payments.tables import Payment, ProviderEvent
from farthing.storage.midway import commit_midway
from farthing.storage.postgres import Database, ports_of
from farthing.storage.scope import SYSTEM, Scope

log = structlog.get_logger(__name__)

_ABOUT_MONEY = {
    ReportKind.PAYMENT_SUCCEEDED,
    ReportKind.PAYMENT_FAILED,
    ReportKind.LINK_EXPIRED,
    ReportKind.REFUND_UPDATED,
    ReportKind.REFUND_FAILED,
    ReportKind.DISPUTE_UPDATED,
}


async def receive(
    gateways: Gateways, provider_type: str, scope: Scope, headers: Mapping[str, str], body: bytes
) -> list[str]:
    """Take a provider's webhook; the ids of the events that were news.

    The signature over the raw body is proven before anything else is believed; header names are in lower case. Raises
    NotFound without a connection, ValidationFailed for a bad signature or a body that cannot be read, and
    ServiceUnavailable where the provider has to be asked and does not answer: it is to send the event again.
    """
    database = gateways.database
    clock = await _clock(database, scope)
    async with database.transaction(scope, read_only=True) as session:
        connection = await connection_to(session, provider_type)
    if connection is None or connection.tenant_id != scope.tenant_id:
        raise NotFound("No such webhook", {"provider": provider_type})
    provider = gateways.behind(connection)
    try:
        # providers sign by real time, whatever an environment's test clock says
        reports = provider.verify_webhook(headers, body, database.clock.now())
    except BadSignature as error:
        raise ValidationFailed("Invalid webhook signature", {"signature": str(error)}) from error
    except (ValueError, *UNREADABLE) as error:
        raise ValidationFailed("Invalid webhook", {"body": "cannot be read"}) from error
    news = []
    with acting_as(Actor(ActorType.PROVIDER, provider_type, provider_type), ChangeSource.WEBHOOK):
        for report in [await follow_up(provider, report) for report in reports]:
            async with database.session(scope, clock=clock) as session:
                if await _take(session, gateways, provider_type, report, body, clock):
                    news.append(report.event_id)
    return news


async def follow_up(provider: Provider, report: Report) -> Report:
    """Let the provider's adapter ask or do what an event makes necessary, while nothing is locked or held."""
    followed = await provider.follow_up(report)
    if isinstance(followed, Report):
        return followed
    if isinstance(followed, Declined):
        log.warning("webhook.not_followed_up", event_id=report.event_id, reason=followed.message)
        return report
    raise ServiceUnavailable(followed.message)


async def _clock(database: Database, scope: Scope) -> Clock:
    """The environment's clock. Raises NotFound for an environment that is not the tenant's."""
    async with database.transaction(SYSTEM, read_only=True) as session:
        environment = await session.get(Environment, scope.environment_id)
    if environment is None or environment.tenant_id != scope.tenant_id:
        raise NotFound("No such webhook")
    return FixedClock(environment.frozen_time) if environment.frozen_time else database.clock


async def _take(
    session: AsyncSession,
    gateways: Gateways,
    provider_type: str,
    report: Report,
    body: bytes,
    clock: Clock,
) -> bool:
    """Let one event take effect, in the transaction that stores it; False if it did before."""
    payment = await _about(session, provider_type, report) if report.kind in _ABOUT_MONEY else None
    stored = await session.scalar(
        insert(ProviderEvent)
        .values(
            id=new_id(Kind.INCOMING_WEBHOOK),
            tenant_id=session.info["scope"].tenant_id,
            environment_id=session.info["scope"].environment_id,
            provider=provider_type,
            event_id=report.event_id,
            kind=report.kind.value,
            payment_id=payment.id if payment else None,
            body=body.decode("utf-8", "replace").replace("\x00", ""),
            received_at=clock.now(),
        )
        .on_conflict_do_nothing(index_elements=["environment_id", "provider", "event_id"])
        .returning(ProviderEvent.id)
    )
    if stored is None:
        await session.rollback()
        return False
    if payment is None:
        if report.kind in _ABOUT_MONEY:
            log.warning("webhook.unknown_payment", provider=provider_type, event_id=report.event_id)
        if report.kind is ReportKind.SETUP_SUCCEEDED and report.customer_id is not None:
            await ports_of(session, PaymentPorts).retry_with_new_method(session, report.customer_id, clock.now())
        await commit_midway(session)
        return True
    await apply_report(session, gateways, payment, report, clock.now())
    return True


async def _about(session: AsyncSession, provider_type: str, report: Report) -> Payment | None:
    """The payment a report is about: by our id, which the provider was given along, else by the provider's own."""
    charge_id = report.charge.gateway_payment_id if report.charge else None
    for column, value in (
        (Payment.id, report.payment_id),
        (Payment.gateway_payment_id, charge_id),
        (Payment.gateway_tracking_id, report.tracking_id),
    ):
        if value is None:
            continue
        found = (
            await session.scalars(
                select(Payment)
                .where(column == value, Payment.payment_gateway == provider_type, Payment.status != Status.DELETED)
                .limit(1)
            )
        ).first()
        if found is not None:
            return found
    return None


async def apply_report(
    session: AsyncSession, gateways: Gateways, payment: Payment, report: Report, now: datetime
) -> None:
    """Let what a provider says of a payment take effect, and commit; money that nobody wants is sent back then.

    Said again, it changes nothing, but for one more try on a page that may still be paid.
    """
    payment_id = payment.id
    await _apply(session, gateways, payment_id, report, now)
    returns = await waiting_returns(session, payment_id)
    await commit_midway(session)  # the report has taken effect; what follows from it asks the provider
    await send_refunds(session, gateways, returns, now)


async def _apply(session: AsyncSession, gateways: Gateways, payment_id: str, report: Report, now: datetime) -> None:
    charge = report.charge
    invoice, payment = await lock_payment(session, payment_id)
    if payment.checkout_session_id is not None:
        await ports_of(session, PaymentPorts).checkouts.heard(session, payment, now)
    if charge is not None and charge.currency != payment.currency:
        log.error(
            "webhook.other_currency",
            provider=payment.payment_gateway,
            payment_id=payment_id,
            currency=charge.currency,
        )
        payment.error_message = f"the provider reports {charge.currency} instead of {payment.currency}"
        return
    if charge is not None and charge.state is ChargeState.SUCCEEDED and not _may_be_money(charge):
        log.error("webhook.impossible_amount", provider=payment.payment_gateway, payment_id=payment_id)
        payment.error_message = "the provider reports an amount that no payment has"
        return
    if report.kind is ReportKind.PAYMENT_FAILED:
        if charge is not None and report.final:
            outcomes.note_charge(payment, charge)
        reason = report.reason or "The payment failed"
        is_hard = charge is not None and charge.is_hard
        code = "" if charge is None else charge.code
        await outcomes.record_failure(
            session, invoice, payment, reason, now, final=report.final, code=code, is_hard=is_hard
        )
    elif report.kind is ReportKind.LINK_EXPIRED:
        await outcomes.record_closed_page(session, invoice, payment, now)
    elif charge is not None and charge.state is ChargeState.SUCCEEDED:
        await _apply_money(session, gateways, LockedPayment(invoice, payment), report, charge, now)


def _may_be_money(charge: ProviderCharge) -> bool:
    """Whether a payment may come to what was charged, and to what of it has gone back."""
    return ZERO < charge.amount <= LARGEST_AMOUNT and ZERO <= charge.refunded <= LARGEST_AMOUNT


@dataclass(frozen=True, slots=True)
class LockedPayment:
    """A locked payment, and the locked invoice that it pays, if it pays one."""

    invoice: Invoice | None
    payment: Payment


async def _apply_money(
    session: AsyncSession,
    gateways: Gateways,
    locked: LockedPayment,
    report: Report,
    charge: ProviderCharge,
    now: datetime,
) -> None:
    """Money was taken, and perhaps a part of it has gone back: whatever is heard of first, all of it counts."""
    invoice, payment = locked.invoice, locked.payment
    if payment.gateway_payment_id not in {None, charge.gateway_payment_id}:
        # two charges for one payment: only a person can say which of them goes back
        log.error("webhook.other_charge", payment_id=payment.id, gateway_payment_id=charge.gateway_payment_id)
        payment.gateway_metadata = {**payment.gateway_metadata, "other_charge": charge.gateway_payment_id}
        return
    await outcomes.record_success(session, gateways.effects, invoice, payment, now, charge)
    if charge.refunded > 0:
        await settle_reported(session, invoice, payment, charge, now)
    if report.refund_failure is not None:
        await fail_reported(session, invoice, payment, charge, report.refund_failure, now)
    if report.dispute is not None:
        await record_dispute(session, invoice, payment, report.dispute, now)
