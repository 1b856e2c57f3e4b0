"""Carrying a payment out: reserve under locks, ask the provider without any, store the outcome under locks again.

A crash between the steps leaves a PROCESSING payment on disk, which `reconciliation` asks the provider about. All
functions commit, because what they did must last even if the answer is an error.
Rule: docs/rules/invoices-and-payments.md#processing
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import Clock
from farthing.core.enums import Status
from farthing.core.errors import FarthingError, InvalidOperation, NotFound
from farthing.core.money import EXACT, ZERO
from farthing.invoices import lifecycle
from farthing.invoices.standing import PaymentStatus
from farthing.invoices.tables import Invoice
from farthing.payments import methods, outcomes
from farthing.payments.creation import check_cap, create
from farthing.payments.gateways import Gateways, connection_to
from farthing.payments.providers.interface import (
    Account,
    Capability,
    Charge,
    ChargeState,
    Declined,
    Fatal,
    Link,
    Provider,
    Refusal,
    Retryable,
    Urls,
)
from farthing.payments.providers.registry import demand
from farthing.payments.schemas import CreatePaymentRequest
from farthing.payments.states import OPEN
from farthing.payments.tables import Connection, DestinationType, Payment, PaymentMethodType
from farthing.payments.telling import tell_payment
from farthing.storage.rows import find

_LINK, _OFFLINE = PaymentMethodType.PAYMENT_LINK, PaymentMethodType.OFFLINE


async def make(session: AsyncSession, gateways: Gateways, given: CreatePaymentRequest, clock: Clock) -> Payment:
    """Create a payment and, if asked to, carry it out; a repeated request gets the first payment as it stands.

    Offline money is created and counted in one transaction, which the caller commits, so that a crash leaves all of it
    or nothing. Raises as `creation.create` and `process` do.
    """
    if given.payment_method_type is _OFFLINE and given.process_payment:
        return await _make_offline(session, gateways, given, clock)
    payment, is_new = await create(session, given, clock.now())
    if not (is_new and given.process_payment):
        return payment
    await demand_provider(session, gateways, payment)
    await session.commit()
    return await process(session, gateways, payment.id, clock)


async def _make_offline(
    session: AsyncSession, gateways: Gateways, given: CreatePaymentRequest, clock: Clock
) -> Payment:
    payment, is_new = await create(session, given, clock.now())
    if not is_new:
        return payment
    invoice = await outcomes.lock_destination(session, payment)  # nobody else can see the payment yet
    try:
        await outcomes.succeeded(session, gateways.effects, invoice, payment, clock.now())
    except FarthingError as error:
        # undone with all it did; what lasts is a payment that failed
        await session.rollback()
        payment, is_new = await create(session, given, clock.now())
        if not is_new:
            return payment
        payment_id = payment.id
        await _fail(session, payment_id, error.message, clock)
        raise _failure(payment_id, error.message, error.details) from error
    return payment


async def process(session: AsyncSession, gateways: Gateways, payment_id: str, clock: Clock) -> Payment:
    """Carry a stored payment out and commit what came of it.

    Raises InvalidOperation when its state forbids or when it failed (with `details.payment_id`; the failure is
    stored), NotImplementedHere for a provider this deployment cannot talk to.
    """
    payment = await find(session, Payment, payment_id)
    _check_startable(payment)
    if payment.payment_method_type is _OFFLINE:
        return await _record(session, gateways, payment_id, clock)
    if payment.payment_method_type is PaymentMethodType.CREDITS:
        raise NotFound("No active POST_PAID wallet of the customer in this currency was found")
    if payment.payment_method_type is _LINK:
        return await _open_link(session, gateways, payment, clock)
    return await _charge(session, gateways, payment, clock)


def _check_startable(payment: Payment) -> None:
    startable = {PaymentStatus.PENDING}
    if payment.payment_method_type not in {_OFFLINE, PaymentMethodType.CREDITS}:
        startable.add(PaymentStatus.INITIATED)
    if payment.status is not Status.PUBLISHED:
        raise InvalidOperation("payment was deleted", {"payment_id": payment.id})
    if payment.payment_status not in startable:
        raise InvalidOperation(
            f"payment is {payment.payment_status} and cannot be processed",
            {
                "payment_id": payment.id,
                "current_status": payment.payment_status.value,
                "allowed_statuses": sorted(startable),
            },
        )


async def _record(session: AsyncSession, gateways: Gateways, payment_id: str, clock: Clock) -> Payment:
    """Money that moved elsewhere counts at once."""
    invoice, payment = await outcomes.lock(session, payment_id)
    _check_startable(payment)
    try:
        await outcomes.succeeded(session, gateways.effects, invoice, payment, clock.now())
    except FarthingError as error:
        await session.rollback()
        await _fail(session, payment_id, error.message, clock)
        raise _failure(payment_id, error.message, error.details) from error
    await session.commit()
    return payment


async def _charge(session: AsyncSession, gateways: Gateways, payment: Payment, clock: Clock) -> Payment:
    provider, connection = await _provider(session, gateways, payment, Capability.SAVED_METHODS)
    if provider is None or connection is None:
        return await _give_up(session, payment.id, "No payment provider is connected", clock)
    account, method_id = await _who_and_what(session, provider, connection, payment)
    if not method_id:
        return await _give_up(session, payment.id, "The customer has no saved payment method", clock)
    payment_id = payment.id
    try:
        reserved = await _reserve(session, gateways, payment_id, connection, method_id, clock)
    except FarthingError as error:
        await session.rollback()
        await _fail(session, payment_id, error.message, clock)
        raise
    if not reserved:
        return await _give_up(session, payment_id, "The amount exceeds what remains on the invoice", clock, tried=False)
    result = await provider.charge_saved_method(
        method_id, payment.amount, payment.currency, payment.id, account, key=payment.id
    )
    return await finish(session, gateways, payment.id, result, clock)


async def _who_and_what(
    session: AsyncSession, provider: Provider, connection: Connection, payment: Payment
) -> tuple[Account | None, str]:
    """The payer's account at the provider, and the method to charge: the one given, or the default one saved."""
    customer_id = await _payer(session, payment)
    account = await methods.account_at(session, provider, connection, customer_id)
    await session.commit()
    if payment.payment_method_id or account is None:
        return account, payment.payment_method_id
    saved = await provider.list_methods(account)
    if isinstance(saved, (Declined, Retryable, Fatal)):
        return account, ""
    chargeable = [method for method in saved if method.active and method.chargeable]
    return account, chargeable[0].id if chargeable else ""


async def _payer(session: AsyncSession, payment: Payment) -> str:
    if payment.destination_type is DestinationType.CUSTOMER:
        return payment.destination_id
    return (await find(session, Invoice, payment.destination_id)).customer_id


async def _provider(
    session: AsyncSession, gateways: Gateways, payment: Payment, capability: Capability
) -> tuple[Provider | None, Connection | None]:
    connection = await connection_to(session, payment.payment_gateway)
    if connection is None:
        return None, None
    provider = gateways.behind(connection)
    demand(provider, capability, connection.provider_type)
    return provider, connection


async def demand_provider(session: AsyncSession, gateways: Gateways, payment: Payment) -> None:
    """Raises NotImplementedHere, before anything is stored, when processing would need an adapter that is missing."""
    if payment.payment_method_type in {_OFFLINE, PaymentMethodType.CREDITS}:
        return
    capability = Capability.LINKS if payment.payment_method_type is _LINK else Capability.SAVED_METHODS
    await _provider(session, gateways, payment, capability)


async def _reserve(
    session: AsyncSession, gateways: Gateways, payment_id: str, connection: Connection, method_id: str, clock: Clock
) -> bool:
    """Mark a payment PROCESSING on disk; False when its invoice no longer asks for that much.

    A draft is finalized first, so that credits and tax cannot lower what is owed after the charge.
    """
    now = clock.now()
    invoice, payment = await outcomes.lock(session, payment_id)
    _check_startable(payment)
    if invoice is not None:
        await lifecycle.finalize_to_collect(session, invoice, now, effects=gateways.effects)
        if payment.amount > await _available(session, invoice):
            await session.rollback()
            return False
    payment.payment_status = PaymentStatus.PROCESSING
    payment.processing_since = now
    payment.payment_gateway = connection.provider_type.value
    payment.payment_method_id = method_id
    await tell_payment(session, "payment.pending", payment, invoice)
    await session.commit()
    return True


async def _available(session: AsyncSession, invoice: Invoice) -> Decimal:
    """What remains on a locked invoice beyond what other payments in flight may take."""
    reserved = await session.scalar(
        select(func.coalesce(func.sum(Payment.amount), 0)).where(
            Payment.destination_id == invoice.id, Payment.payment_status == PaymentStatus.PROCESSING
        )
    )
    return EXACT.subtract(invoice.amount_remaining, reserved or ZERO)


async def finish(
    session: AsyncSession, gateways: Gateways, payment_id: str, result: Charge | Refusal, clock: Clock
) -> Payment:
    """Store what the provider answered to a charge, and commit. Raises InvalidOperation when it failed.

    `Retryable` leaves the payment PROCESSING: nobody knows yet, and `reconciliation` asks again.
    """
    now = clock.now()
    invoice, payment = await outcomes.lock(session, payment_id)
    if isinstance(result, Charge):
        await _apply(session, gateways, invoice, payment, result, now)
    elif not isinstance(result, Retryable):
        code = result.code if isinstance(result, Declined) else ""
        await outcomes.failed(session, invoice, payment, result.message, now, code=code)
    await session.commit()
    if payment.payment_status is PaymentStatus.FAILED:
        raise _failure(payment_id, payment.error_message or "The payment failed", {})
    return payment


async def _apply(
    session: AsyncSession,
    gateways: Gateways,
    invoice: Invoice | None,
    payment: Payment,
    charge: Charge,
    now: datetime,
) -> None:
    if charge.state is ChargeState.SUCCEEDED:
        await outcomes.succeeded(session, gateways.effects, invoice, payment, now, charge)
    elif charge.state is ChargeState.FAILED:
        outcomes.note_charge(payment, charge)
        await outcomes.failed(session, invoice, payment, charge.reason or "The charge failed", now)
    else:
        outcomes.note_charge(payment, charge)


async def _open_link(session: AsyncSession, gateways: Gateways, payment: Payment, clock: Clock) -> Payment:
    """Make the hosted page of a link payment; a second call finds the same page."""
    if payment.payment_status is PaymentStatus.PENDING:
        return payment
    provider, connection = await _provider(session, gateways, payment, Capability.LINKS)
    if provider is None or connection is None:
        raise _failure(payment.id, f"'{payment.payment_gateway}' is not connected", {})
    account = await methods.account_at(session, provider, connection, await _payer(session, payment))
    invoice, payment = await outcomes.lock(session, payment.id)
    if invoice is not None:
        check_cap(payment.amount, await _available(session, invoice))
    await session.commit()
    result = await provider.create_payment_link(
        payment.amount,
        payment.currency,
        payment.id,
        account,
        Urls(payment.success_url, payment.cancel_url),
        save_method=payment.save_card_and_make_default,
        key=payment.id,
    )
    invoice, payment = await outcomes.lock(session, payment.id)
    if not isinstance(result, Link):
        payment.error_message = result.message
        await session.commit()
        raise _failure(payment.id, result.message, {})
    payment.gateway_tracking_id = payment.gateway_tracking_id or result.tracking_id
    payment.payment_url = result.url
    if payment.payment_status is PaymentStatus.INITIATED:
        payment.payment_status = PaymentStatus.PENDING
        payment.error_message = None
        await tell_payment(session, "payment.pending", payment, invoice)
    elif payment.payment_status not in OPEN:
        # it was voided or settled while the page was being made
        payment.withdrawal_due = True
    await session.commit()
    return payment


async def _give_up(session: AsyncSession, payment_id: str, reason: str, clock: Clock, *, tried: bool = True) -> Payment:
    """Store the failure of a payment that could not be tried, and raise it."""
    await _fail(session, payment_id, reason, clock, tried=tried)
    raise _failure(payment_id, reason, {})


async def _fail(session: AsyncSession, payment_id: str, reason: str, clock: Clock, *, tried: bool = False) -> None:
    invoice, payment = await outcomes.lock(session, payment_id)
    if payment.payment_status in OPEN:
        await outcomes.failed(session, invoice, payment, reason, clock.now(), tried=tried)
    await session.commit()


def _failure(payment_id: str, reason: str, details: dict[str, object]) -> InvalidOperation:
    return InvalidOperation(f"payment failed: {reason}", {**details, "payment_id": payment_id, "reason": reason})
