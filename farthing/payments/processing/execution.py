"""Carrying a payment out: reserve under locks, ask the provider without any, store the outcome under locks again.

`record_payment` is the one entrance for whoever records a payment or asks for one: API, dashboard and portal. A payment
that a provider has to be asked for is committed before: a crash between the steps leaves it PENDING or PROCESSING on
disk, where a repeat of the request goes on, `collection` or `reconciliation`.
Rule: docs/rules/invoices-and-payments.md#processing
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import NoReturn

import msgspec
import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import Clock
from farthing.core.enums import Status
from farthing.core.errors import FarthingError, InvalidOperation
from farthing.core.money import EXACT, ZERO
from farthing.invoices.lifecycle import transitions
from farthing.invoices.receivable import InvoiceStatus, PaymentStatus
from farthing.invoices.tables import Invoice
from farthing.payments.events import record_payment_event
from farthing.payments.integrations import saved_methods
from farthing.payments.integrations.gateways import Gateways, connection_to
from farthing.payments.locks import lock_payment
from farthing.payments.ports import PaymentPorts
from farthing.payments.processing import outcomes
from farthing.payments.processing.asking import find_account_and_method, find_payer, lookup_of, title_of
from farthing.payments.processing.creation import (
    AT_ONCE,
    CreatedPayment,
    check_cap,
    create,
    prepare,
    store,
    why_not_payable,
)
from farthing.payments.providers.interface import (
    Account,
    Capability,
    ChargeState,
    Declined,
    Fatal,
    Link,
    Provider,
    ProviderCharge,
    Refusal,
    Retryable,
    Urls,
)
from farthing.payments.providers.registry import require_capability
from farthing.payments.schemas import CreatePaymentRequest
from farthing.payments.states import OPEN
from farthing.payments.tables import Connection, DestinationType, Payment, PaymentMethodType
from farthing.storage.midway import commit_midway, resume_point
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import find, lock_row

log = structlog.get_logger(__name__)

_LINK = PaymentMethodType.PAYMENT_LINK
_ASKING = frozenset(PaymentMethodType) - AT_ONCE
"""Methods for which a provider has to be asked."""


class NotStartable(InvalidOperation):
    """The payment does not wait to be processed: it is in hand, over, or deleted."""


class PaymentPoint(msgspec.Struct):
    """Where a repeated request goes on: with the payment it made, or began to process."""

    payment_id: str


async def record_payment(
    session: AsyncSession, gateways: Gateways, given: CreatePaymentRequest, clock: Clock
) -> CreatedPayment:
    """Create a payment and, if asked to, carry it out; a repeated request gets the first payment as it stands.

    Offline money and credits are created and counted in one transaction, which the caller commits, so that a crash
    leaves all of it or nothing. One that an interrupted request has left waiting is carried on with. Raises as
    `creation.create` and `process` do.
    """
    interrupted = resume_point(session, PaymentPoint)
    if interrupted is not None:
        payment = await find(session, Payment, interrupted.payment_id)
        return CreatedPayment(await carry_on(session, gateways, payment, clock), None, is_new=True)
    if given.payment_method_type in AT_ONCE and given.process_payment:
        return await _record_at_once(session, gateways, given, clock)
    created = await create(session, given, clock.now())
    if not given.process_payment or not (created.is_new or _waits_for_provider(created.payment)):
        return created
    if created.is_new:
        await require_provider_of(session, gateways, created.payment)
    await commit_midway(session, PaymentPoint(created.payment.id))  # the provider is asked next
    try:
        return replace(created, payment=await _carry_out(session, gateways, created.payment, clock))
    except NotStartable:
        # an equal request has gone on with it meanwhile, whichever of them made it
        return replace(created, payment=await session.get_one(Payment, created.payment.id, populate_existing=True))


def _waits_for_provider(payment: Payment) -> bool:
    """Whether whoever made a payment has not come to ask its provider yet."""
    return payment.payment_status in OPEN and payment.payment_url is None and payment.payment_method_type in _ASKING


async def _record_at_once(
    session: AsyncSession, gateways: Gateways, given: CreatePaymentRequest, clock: Clock
) -> CreatedPayment:
    created = await prepare(session, given, clock.now())
    if not created.is_new:
        return created
    moved = created.is_counted_by_itself
    if not moved:
        created = await store(session, given, created)
        if not created.is_new:
            return created
    stored = True
    try:
        if moved:
            stored = await outcomes.record_moved(session, gateways.effects, created, clock.now())
        else:
            await _succeed_at_once(session, gateways, created.invoice, created.payment, clock.now())
    except FarthingError as error:
        # undone with all it did; what lasts is a payment that failed
        await session.rollback()
        created = await create(session, given, clock.now())
        if not created.is_new:
            return created
        await _give_up(session, created.payment.id, error.message, clock, PaymentPoint(created.payment.id))
    if not stored:
        # the key has been used meanwhile, for something else: the invoice is locked
        await session.rollback()
        return await _record_at_once(session, gateways, given, clock)
    return created


async def process(session: AsyncSession, gateways: Gateways, payment_id: str, clock: Clock) -> Payment:
    """Carry a stored payment out and commit what came of it.

    Raises InvalidOperation when its state forbids or when it failed (with `details.payment_id`; the failure is
    stored), NotImplementedHere for a provider this deployment cannot talk to.
    """
    payment = await find(session, Payment, payment_id)
    if resume_point(session, PaymentPoint) is not None:
        return await carry_on(session, gateways, payment, clock)
    check_startable(payment)
    if payment.payment_method_type in AT_ONCE:
        return await _count(session, gateways, payment_id, clock)
    await require_provider_of(session, gateways, payment)
    await commit_midway(session, PaymentPoint(payment_id))  # nothing is written yet; the provider is asked next
    return await _carry_out(session, gateways, payment, clock)


async def carry_on(session: AsyncSession, gateways: Gateways, payment: Payment, clock: Clock) -> Payment:
    """Go on with a payment where whoever processed it was interrupted; one that is over stays as it is.

    A provider may be asked a second time: the payment's id is the key of the charge, so that it charges once. Raises
    InvalidOperation when the payment failed, now or before the interruption.
    """
    if payment.payment_status is PaymentStatus.FAILED:
        raise _failure(payment.id, payment.error_message or "The payment failed")
    if payment.payment_status is PaymentStatus.PROCESSING:
        return await _charge_again(session, gateways, payment, clock)
    if payment.payment_status in OPEN:
        return await _carry_out(session, gateways, payment, clock)
    return payment


async def _carry_out(session: AsyncSession, gateways: Gateways, payment: Payment, clock: Clock) -> Payment:
    if payment.payment_status is PaymentStatus.PENDING and payment.payment_url is not None:
        return payment  # its page is there, and waits for the payer
    if payment.payment_method_type in AT_ONCE:
        return await _count(session, gateways, payment.id, clock)
    if payment.payment_method_type is _LINK:
        return await _open_link(session, gateways, payment, clock)
    return await _charge(session, gateways, payment, clock)


def check_startable(payment: Payment) -> None:
    """Raises NotStartable, naming both states, unless the payment waits to be processed."""
    startable = {PaymentStatus.PENDING}
    if payment.payment_method_type not in AT_ONCE:
        startable.add(PaymentStatus.INITIATED)
    if payment.status is not Status.PUBLISHED:
        raise NotStartable("payment was deleted", {"payment_id": payment.id})
    if payment.payment_status not in startable:
        raise NotStartable(
            f"payment is {payment.payment_status} and cannot be processed",
            {
                "payment_id": payment.id,
                "current_status": payment.payment_status.value,
                "allowed_statuses": sorted(startable),
            },
        )


async def _count(session: AsyncSession, gateways: Gateways, payment_id: str, clock: Clock) -> Payment:
    """Money that moved elsewhere, and credits, count at once, in the caller's transaction."""
    invoice, payment = await lock_payment(session, payment_id)
    check_startable(payment)
    try:
        await _succeed_at_once(session, gateways, invoice, payment, clock.now())
    except FarthingError as error:
        await session.rollback()
        await _give_up(session, payment_id, error.message, clock, PaymentPoint(payment_id))
    return payment


async def _succeed_at_once(
    session: AsyncSession, gateways: Gateways, invoice: Invoice | None, payment: Payment, now: datetime
) -> None:
    """Count a locked payment that asks no provider; credits leave their wallet in the same transaction.

    Raises InvalidOperation where the invoice or the wallet refuses, or when credits exceed what remains.
    """
    if payment.payment_method_type is PaymentMethodType.CREDITS:
        assert invoice is not None, "credits pay invoices only"
        refusal = why_not_payable(invoice)
        if refusal is not None:
            raise InvalidOperation(refusal, {"invoice_id": invoice.id})
        ports = ports_of(session, PaymentPorts)
        # all wallets of the payer are locked at once, before the draft takes prepaid credits
        await ports.choose_wallet(session, invoice, payment.payment_method_id, payment.amount, now)
        await transitions.finalize_to_collect(session, invoice, now, effects=gateways.effects)
        transitions.require_currency(invoice, payment.currency)
        if payment.amount > await available(session, invoice):
            raise InvalidOperation("The amount exceeds what remains on the invoice", {"invoice_id": invoice.id})
        await ports.debit_wallet(session, invoice, payment, now)
    await outcomes.record_success(session, gateways.effects, invoice, payment, now)


async def pay_by_wallet(session: AsyncSession, gateways: Gateways, invoice_id: str, clock: Clock) -> Payment | None:
    """Let the payer's wallet pay its share of what remains on an invoice, in the caller's transaction.

    Rule: docs/rules/credits.md#payments-by-wallet
    """
    now = clock.now()
    invoice = await lock_row(session, Invoice, invoice_id)
    if invoice.invoice_status is not InvoiceStatus.FINALIZED or why_not_payable(invoice) is not None:
        return None
    ports = ports_of(session, PaymentPorts)
    await ports.lock_wallets(session, invoice)
    share = await ports.find_share(session, invoice, now)
    amount = ZERO if share is None else min(share.amount, await available(session, invoice))
    if share is None or amount <= 0:
        return None
    given = CreatePaymentRequest(
        destination_type=DestinationType.INVOICE,
        destination_id=invoice.id,
        payment_method_type=PaymentMethodType.CREDITS,
        payment_method_id=share.wallet_id,
        amount=amount,
        currency=invoice.currency,
        process_payment=True,
        # what remains is paid once: every payment is another version
        idempotency_key=f"credits-{invoice.id}-{invoice.version}",
        metadata={"wallet_id": share.wallet_id, "wallet_type": "POST_PAID", "payment_source": "wallet"},
    )
    created = await create(session, given, now)
    if created.is_new:
        await _succeed_at_once(session, gateways, invoice, created.payment, now)
    return created.payment


async def _charge(session: AsyncSession, gateways: Gateways, payment: Payment, clock: Clock) -> Payment:
    payment_id = payment.id
    provider, connection = await _provider(session, gateways, payment, Capability.SAVED_METHODS)
    if provider is None or connection is None:
        await _give_up(session, payment_id, "No payment provider is connected", clock, tried=True)
    account, method_id = await find_account_and_method(session, provider, connection, payment)
    if not method_id:
        await _give_up(session, payment_id, "The customer has no saved payment method", clock, tried=True)
    try:
        reserved = await _reserve(session, gateways, payment_id, connection, method_id, clock)
    except NotStartable:
        raise
    except FarthingError as error:
        await session.rollback()
        await _give_up(session, payment_id, error.message, clock)
    if not reserved:
        await _give_up(session, payment_id, "The amount exceeds what remains on the invoice", clock)
    return await _ask(session, gateways, provider, account, payment, clock)


async def _charge_again(session: AsyncSession, gateways: Gateways, payment: Payment, clock: Clock) -> Payment:
    """Ask for the outcome of a charge that may or may not have reached its provider; one that has not is sent again.

    It is asked for first, because providers forget keys after a while. A provider that refuses to say decides nothing:
    the payment stays PROCESSING, as in `reconciliation`.
    """
    provider, connection = await _provider(session, gateways, payment, Capability.SAVED_METHODS)
    if provider is None or connection is None:
        return payment  # `reconciliation` names what cannot be asked for
    account = await saved_methods.account_at(session, provider, connection, await find_payer(session, payment))
    await commit_midway(session)  # nothing was written; no connection waits for the provider
    charge = await provider.get_payment(lookup_of(payment, account))
    if isinstance(charge, (Declined, Retryable, Fatal)):
        log.warning("payment.unknown", payment_id=payment.id, reason=charge.message)
        return payment
    if charge is not None:
        return await finish(session, gateways, payment.id, charge, clock)
    return await _ask(session, gateways, provider, account, payment, clock)


async def _ask(
    session: AsyncSession,
    gateways: Gateways,
    provider: Provider,
    account: Account | None,
    payment: Payment,
    clock: Clock,
) -> Payment:
    result = await provider.charge_saved_method(
        payment.payment_method_id,
        payment.amount,
        payment.currency,
        payment.id,
        account,
        return_url=payment.success_url,
        key=payment.id,
    )
    return await finish(session, gateways, payment.id, result, clock)


async def _provider(
    session: AsyncSession, gateways: Gateways, payment: Payment, capability: Capability
) -> tuple[Provider | None, Connection | None]:
    connection = await connection_to(session, payment.payment_gateway)
    if connection is None:
        return None, None
    provider = gateways.behind(connection)
    require_capability(provider, capability, connection.provider_type)
    return provider, connection


async def require_provider_of(session: AsyncSession, gateways: Gateways, payment: Payment) -> None:
    """Raises NotImplementedHere, before anything is stored, when processing would need an adapter that is missing."""
    if payment.payment_method_type in AT_ONCE:
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
    invoice, payment = await lock_payment(session, payment_id)
    check_startable(payment)
    if invoice is not None:
        refusal = why_not_payable(invoice)
        if refusal is not None:
            raise InvalidOperation(refusal, {"invoice_id": invoice.id})
        await transitions.finalize_to_collect(session, invoice, now, effects=gateways.effects)
        transitions.require_currency(invoice, payment.currency)
        if payment.amount > await available(session, invoice):
            await session.rollback()
            return False
    payment.payment_status = PaymentStatus.PROCESSING
    payment.processing_since = now
    payment.payment_gateway = connection.provider_type.value
    payment.payment_method_id = method_id
    await record_payment_event(session, "payment.pending", payment, invoice)
    await commit_midway(session)  # before the charge: a crash must leave it to be asked about
    return True


async def available(session: AsyncSession, invoice: Invoice) -> Decimal:
    """What remains on a locked invoice beyond what other payments in flight may take."""
    reserved = await session.scalar(
        select(func.coalesce(func.sum(Payment.amount), 0)).where(
            Payment.destination_id == invoice.id, Payment.payment_status == PaymentStatus.PROCESSING
        )
    )
    return EXACT.subtract(invoice.amount_remaining, reserved or ZERO)


async def finish(
    session: AsyncSession, gateways: Gateways, payment_id: str, result: ProviderCharge | Refusal, clock: Clock
) -> Payment:
    """Store what the provider answered to a charge, and commit. Raises InvalidOperation when it failed.

    `Retryable` leaves the payment PROCESSING: nobody knows yet, and `reconciliation` asks again.
    """
    now = clock.now()
    invoice, payment = await lock_payment(session, payment_id)
    if isinstance(result, ProviderCharge):
        await _apply(session, gateways, invoice, payment, result, now)
    elif not isinstance(result, Retryable):
        declined = result if isinstance(result, Declined) else Declined("", result.message)
        await outcomes.record_failure(
            session, invoice, payment, declined.message, now, code=declined.code, is_hard=declined.is_hard
        )
    await commit_midway(session)  # what the provider did lasts, also where the answer is an error
    if payment.payment_status is PaymentStatus.FAILED:
        raise _failure(payment_id, payment.error_message or "The payment failed")
    return payment


async def _apply(
    session: AsyncSession,
    gateways: Gateways,
    invoice: Invoice | None,
    payment: Payment,
    charge: ProviderCharge,
    now: datetime,
) -> None:
    if charge.state is ChargeState.SUCCEEDED:
        await outcomes.record_success(session, gateways.effects, invoice, payment, now, charge)
    elif charge.state is ChargeState.FAILED:
        outcomes.note_charge(payment, charge)
        reason = charge.reason or "The charge failed"
        await outcomes.record_failure(session, invoice, payment, reason, now, code=charge.code, is_hard=charge.is_hard)
    else:
        await outcomes.wait_on(session, invoice, payment, charge)


async def _open_link(session: AsyncSession, gateways: Gateways, payment: Payment, clock: Clock) -> Payment:
    """Make the hosted page of a link payment; a second call finds the same page."""
    if payment.payment_status is PaymentStatus.PENDING:
        return payment
    provider, connection = await _provider(session, gateways, payment, Capability.LINKS)
    if provider is None or connection is None:
        raise _failure(payment.id, f"'{payment.payment_gateway}' is not connected")
    account = await saved_methods.account_at(session, provider, connection, await find_payer(session, payment))
    invoice, payment = await lock_payment(session, payment.id)
    check_startable(payment)
    if invoice is not None:
        check_cap(payment.amount, await available(session, invoice))
    await commit_midway(session)  # nothing was written; no lock waits for the provider
    result = await provider.create_payment_link(
        payment.amount,
        payment.currency,
        payment.id,
        account,
        Urls(payment.success_url, payment.cancel_url),
        title=title_of(invoice),
        options=payment.gateway_metadata,
        save_method=payment.save_card_and_make_default,
        key=payment.id,
    )
    invoice, payment = await lock_payment(session, payment.id)
    if not isinstance(result, Link):
        payment.error_message = result.message
        await commit_midway(session)  # the reason lasts, although the answer is an error
        raise _failure(payment.id, result.message)
    if payment.payment_url is None:  # of two pages that were made at once, only one is told of
        payment.gateway_tracking_id = payment.gateway_tracking_id or result.tracking_id
        payment.payment_url = result.url
    if payment.payment_status is PaymentStatus.INITIATED:
        payment.payment_status = PaymentStatus.PENDING
        payment.error_message = None
        await record_payment_event(session, "payment.pending", payment, invoice)
        if payment.checkout_session_id is not None:
            checkouts = ports_of(session, PaymentPorts).checkouts
            await checkouts.opened(session, payment, result.expires_at, clock.now())
    elif payment.payment_status not in OPEN:
        # it was voided or settled while the page was being made
        payment.withdrawal_due = True
    await commit_midway(session)  # the page exists from now on, whatever else fails
    return payment


async def _give_up(
    session: AsyncSession,
    payment_id: str,
    reason: str,
    clock: Clock,
    point: PaymentPoint | None = None,
    *,
    tried: bool = False,
) -> NoReturn:
    """Store the failure of a payment that could not be carried out, and raise it. `tried`: the invoice shows it."""
    invoice, payment = await lock_payment(session, payment_id)
    if payment.payment_status in OPEN:
        await outcomes.record_failure(session, invoice, payment, reason, clock.now(), tried=tried)
    await commit_midway(session, point)  # the failure lasts, although the answer is an error
    raise _failure(payment_id, reason)


def _failure(payment_id: str, reason: str) -> InvalidOperation:
    return InvalidOperation(f"payment failed: {reason}", {"payment_id": payment_id, "reason": reason})
