"""Refunds of unapplied money: what stands on no invoice goes back to who paid it, in parts and several times.

What is on its way back is withdrawn from the balance at once, so that nothing else can use it; what does not arrive is
put back. Locks are taken invoice first, payment second, money third.
Rule: docs/rules/credit-notes.md#refunds-of-unapplied-money
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.core.money import EXACT, ZERO, exact_sum, plain
from farthing.customers.tables import Customer
from farthing.invoices.tables import Invoice
from farthing.payments.locks import lock_destination
from farthing.payments.refunds.events import record_refund_event
from farthing.payments.refunds.records import (
    BalanceRefund,
    mark_succeeded,
    name_gateway,
    new_balance_refund,
    sum_underway,
)
from farthing.payments.refunds.sent_back import record_money_sent_back
from farthing.payments.refunds.tables import RefundDestination, RefundRecord
from farthing.payments.refunds.unasked import ON_THE_WAY_OR_BACK, unasked_of_payment
from farthing.payments.states import SETTLING
from farthing.payments.tables import Payment, PaymentMethodType
from farthing.payments.unapplied.money import lock_money_of, put_back, require_minor_units, withdraw
from farthing.payments.unapplied.reads import money_left
from farthing.payments.unapplied.tables import UnappliedMoney
from farthing.storage.queries.rows import find, in_array, lock_row


@dataclass(frozen=True, slots=True)
class BalanceRefundRequest:
    """What of a customer's unapplied money is to go back: `amount` of it, or all; of one source, or of any.

    Without a destination each part goes the way it came: through its provider, or by hand. The same `key` again finds
    the refunds of the first time.
    """

    customer_id: str
    currency: str
    amount: Decimal | None
    money_id: str | None
    destination: RefundDestination | None
    cause: BalanceRefund
    key: str | None = None


@dataclass(frozen=True, slots=True)
class _BalancePart:
    """`amount` of locked money, the locked payment it came by, and where it goes."""

    money: UnappliedMoney
    payment: Payment | None
    amount: Decimal
    destination: RefundDestination


async def refund_unapplied_money(
    session: AsyncSession, request: BalanceRefundRequest, now: datetime
) -> list[RefundRecord]:
    """Withdraw money and record its refunds; those by hand are done, those through a provider wait to be sent.

    Raises NotFound, ValidationFailed for more than can go back that way, and InvalidOperation where nothing can.
    """
    await find(session, Customer, request.customer_id)
    if request.amount is not None:
        require_minor_units("amount", request.amount, request.currency)
    money, payments = await _lock(session, request)
    repeated = await _made_before(session, request)
    if repeated:
        return repeated
    parts = await _plan(session, request, money, payments)
    available = exact_sum([part.amount for part in parts])
    if available <= ZERO:
        raise InvalidOperation(
            "no unapplied money can go back that way",
            {"customer_id": request.customer_id, "currency": request.currency},
        )
    wanted = available if request.amount is None else request.amount
    if wanted > available:
        raise ValidationFailed.of("amount", f"must be at most what can go back that way, {plain(available)}")
    refunds: list[RefundRecord] = []
    for part in parts:
        amount = min(part.amount, wanted)
        if amount > ZERO:
            key = f"{_key_of(request)}{len(refunds)}" if request.key else None
            refunds.append(await _record(session, replace(request.cause, key=key), part, amount, now))
            wanted = EXACT.subtract(wanted, amount)
    return refunds


async def withdraw_unasked(session: AsyncSession, payment: Payment) -> None:
    """Withdraw what a provider, or a bank, sent back of a locked payment without being asked, as far as it is there;
    put back what did not reach the payer."""
    await session.flush()
    unasked, withdrawn = await unasked_of_payment(session, payment)
    if unasked >= withdrawn:
        await withdraw(session, payment, EXACT.subtract(unasked, withdrawn))
    else:
        await _put_back_unasked(session, payment, EXACT.subtract(withdrawn, unasked))


async def _put_back_unasked(session: AsyncSession, payment: Payment, amount: Decimal) -> None:
    """Give the balance what had been withdrawn beside the refunds that were asked for here."""
    reserved = await session.execute(
        select(RefundRecord.unapplied_money_id, func.sum(RefundRecord.amount))
        .where(
            RefundRecord.payment_id == payment.id,
            RefundRecord.unapplied_money_id.is_not(None),
            RefundRecord.refund_status.in_(ON_THE_WAY_OR_BACK),
        )
        .group_by(RefundRecord.unapplied_money_id)
    )
    asked: dict[str | None, Decimal] = dict(reserved.all())
    left = amount
    for money in await lock_money_of(session, payment.id):
        part = min(EXACT.subtract(money.withdrawn, asked.get(money.id, ZERO)), left)
        if part > ZERO:
            await put_back(session, money.id, part)
            left = EXACT.subtract(left, part)


async def unapplied_refunds_of(session: AsyncSession, customer_id: str, limit: int) -> Sequence[RefundRecord]:
    """The newest refunds of a customer's unapplied money."""
    query = select(RefundRecord).where(
        RefundRecord.customer_id == customer_id, RefundRecord.unapplied_money_id.is_not(None)
    )
    return (await session.scalars(query.order_by(RefundRecord.created_at.desc(), RefundRecord.id).limit(limit))).all()


def _key_of(request: BalanceRefundRequest) -> str:
    return f"{request.customer_id}/{request.key}/"


async def _made_before(session: AsyncSession, request: BalanceRefundRequest) -> list[RefundRecord]:
    """What the same request made; looked for under the locks, so that a repeat beside it waits for it."""
    if request.key is None:
        return []
    made = select(RefundRecord).where(RefundRecord.idempotency_key.startswith(_key_of(request), autoescape=True))
    own = RefundRecord.customer_id == request.customer_id
    return list(await session.scalars(made.where(own).order_by(RefundRecord.idempotency_key)))


async def _lock(
    session: AsyncSession, request: BalanceRefundRequest
) -> tuple[list[UnappliedMoney], dict[str, Payment]]:
    """The money to choose from, and the payments that it came by; what arrives meanwhile waits for the next time."""
    seen = [row for row in await money_left(session, request.customer_id) if row.currency == request.currency]
    if request.money_id is not None:
        seen = [row for row in seen if row.id == request.money_id]
        if not seen:
            raise ValidationFailed.of(
                "unapplied_money_id", f"must be money of the customer in {request.currency} of which something is left"
            )
    payment_ids = sorted({row.payment_id for row in seen if row.payment_id is not None})
    invoices = (
        select(Invoice.id)
        .join(Payment, Payment.destination_id == Invoice.id)
        .where(in_array(Payment.id, payment_ids))
        .order_by(Invoice.id)
        .with_for_update(of=Invoice)
    )
    await session.execute(invoices)
    payments = {payment_id: await lock_row(session, Payment, payment_id) for payment_id in payment_ids}
    money = [await lock_row(session, UnappliedMoney, row.id) for row in sorted(seen, key=lambda row: row.id)]
    return money, payments


async def _plan(
    session: AsyncSession,
    request: BalanceRefundRequest,
    money: Sequence[UnappliedMoney],
    payments: Mapping[str, Payment],
) -> list[_BalancePart]:
    """What can go back, in the order in which it does: through providers first, the newest money first."""
    underway = await sum_underway(session, list(payments))
    left = {
        payment.id: EXACT.subtract(payment.amount, EXACT.add(payment.refunded_amount, underway.get(payment.id, ZERO)))
        for payment in payments.values()
    }
    parts = []
    for row in sorted(money, key=lambda row: (row.created_at, row.id), reverse=True):
        payment = payments.get(row.payment_id or "")
        destination = _way_of(payment, request.destination)
        if destination is None:
            continue
        most = row.left if payment is None else min(row.left, left[payment.id])
        if most <= ZERO:
            continue
        if payment is not None:
            left[payment.id] = EXACT.subtract(left[payment.id], most)
        parts.append(_BalancePart(row, payment, most, destination))
    return sorted(parts, key=lambda part: part.destination is not RefundDestination.GATEWAY)


def _way_of(payment: Payment | None, wanted: RefundDestination | None) -> RefundDestination | None:
    """Where money of a payment, or of a credit note, goes; None when it cannot go as wanted."""
    if payment is None:
        return None if wanted is RefundDestination.GATEWAY else RefundDestination.OUT_OF_BAND
    if payment.payment_method_type is PaymentMethodType.CREDITS or payment.payment_status not in SETTLING:
        return None
    through_provider = payment.payment_gateway is not None and payment.gateway_payment_id is not None
    own_way = RefundDestination.GATEWAY if through_provider else RefundDestination.OUT_OF_BAND
    if wanted is RefundDestination.GATEWAY and not through_provider:
        return None
    return wanted or own_way


async def _record(
    session: AsyncSession, cause: BalanceRefund, part: _BalancePart, amount: Decimal, now: datetime
) -> RefundRecord:
    part.money.withdrawn = EXACT.add(part.money.withdrawn, amount)
    refund = new_balance_refund(cause, part.money, amount, part.destination, now)
    payment = part.payment
    if payment is not None and part.destination is RefundDestination.GATEWAY:
        name_gateway(refund, payment)
    session.add(refund)
    await session.flush()
    await record_refund_event(session, "refund.created", refund)
    if part.destination is RefundDestination.OUT_OF_BAND:
        if payment is not None:
            invoice = await lock_destination(session, payment)
            in_all = EXACT.add(payment.refunded_amount, amount)
            await record_money_sent_back(session, invoice, payment, in_all, now)
        await mark_succeeded(session, refund, now)
    return refund
