"""Recording money that arrived outside of any provider: one payment, spread over several invoices of its customer.

Rule: docs/rules/invoices-and-payments.md#money-over-several-invoices
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.elements import ColumnElement

from farthing.core.clock import Clock
from farthing.core.errors import ValidationFailed
from farthing.core.money import EXACT, ZERO, exact_sum, plain
from farthing.customers.tables import Customer
from farthing.invoices.receivable import UNPAID
from farthing.invoices.tables import Invoice
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.processing import changes
from farthing.payments.processing.creation import CreatedPayment
from farthing.payments.processing.execution import record_payment
from farthing.payments.schemas import CreatePaymentRequest, UpdatePaymentRequest
from farthing.payments.tables import DestinationType, Payment, PaymentMethodType
from farthing.payments.unapplied.allocation import Allocation, allocate_by_hand
from farthing.storage.queries.rows import find, lock_row


@dataclass(frozen=True, slots=True)
class ReceivedTransfer:
    """Money of a customer and the invoices that it is for, as somebody records it.

    `key` makes a repeated request the same payment. Without `keeps_rest` all of the money must be for invoices.
    `received_at` is when it arrived; now, where that is not said.
    """

    customer_id: str
    currency: str
    amount: Decimal
    allocations: Sequence[Allocation]
    keeps_rest: bool
    key: str
    metadata: dict[str, str]
    received_at: datetime | None = None

    @property
    def rest(self) -> Decimal:
        """What no invoice is given; below 0 where they are given more than there is."""
        return EXACT.subtract(self.amount, exact_sum([part.amount for part in self.allocations]))


async def open_invoices(session: AsyncSession, customer_id: str, code: str, most: int) -> list[Invoice]:
    """The unpaid invoices of a payer in a currency, those due first first; at most so many."""
    query = select(Invoice).where(*_is_open(customer_id, code))
    order = (Invoice.due_date.asc().nulls_last(), Invoice.finalized_at, Invoice.id)
    return list(await session.scalars(query.order_by(*order).limit(most)))


async def sum_open(session: AsyncSession, customer_id: str, code: str) -> tuple[int, Decimal]:
    """How many unpaid invoices a payer has in a currency, and what remains on them."""
    summed = select(func.count(), func.coalesce(func.sum(Invoice.amount_remaining), 0))
    count, amount = (await session.execute(summed.where(*_is_open(customer_id, code)))).one()
    return count, amount


def _is_open(customer_id: str, code: str) -> tuple[ColumnElement[bool], ...]:
    return Invoice.customer_id == customer_id, Invoice.currency == code, text(UNPAID)  # type: ignore[return-value]


def oldest_first(invoices: Sequence[Invoice], amount: Decimal) -> list[Allocation]:
    """How `amount` is spread over invoices in their order, as far as it reaches."""
    allocations, left = [], amount
    for invoice in invoices:
        part = min(invoice.amount_remaining, left)
        if part > 0:
            allocations.append(Allocation(invoice.id, part))
            left = EXACT.subtract(left, part)
    return allocations


async def record_received(
    session: AsyncSession, gateways: Gateways, received: ReceivedTransfer, clock: Clock
) -> CreatedPayment:
    """Record the payment and give the invoices their parts, all in the caller's transaction; a repeat does nothing.

    Money for one invoice alone is a payment of that invoice; other money is the customer's, and is allocated. Raises
    ValidationFailed, naming the field, for parts that do not come to the amount or that an invoice does not take.
    """
    now = clock.now()
    _check(received, now)
    await find(session, Customer, received.customer_id)
    single = received.allocations[0] if len(received.allocations) == 1 and not received.rest else None
    given = CreatePaymentRequest(
        destination_type=DestinationType.INVOICE if single else DestinationType.CUSTOMER,
        destination_id=single.invoice_id if single else received.customer_id,
        payment_method_type=PaymentMethodType.OFFLINE,
        amount=received.amount,
        currency=received.currency,
        process_payment=True,
        metadata=received.metadata,
        idempotency_key=received.key,
    )
    if single is not None:
        await _require_room(session, received, single)
    created = await record_payment(session, gateways, given, clock)
    if not created.is_new:
        return created
    if single is None and received.allocations:
        await allocate_by_hand(
            session,
            received.customer_id,
            received.currency,
            received.allocations,
            now,
            payment_id=created.payment.id,
        )
    if received.received_at is not None:
        dated = UpdatePaymentRequest(succeeded_at=received.received_at)
        payment = await changes.update(session, gateways.effects, created.payment.id, dated, now)
        created = replace(created, payment=payment)
    return created


def _check(received: ReceivedTransfer, now: datetime) -> None:
    if received.received_at is not None and received.received_at > now:
        raise ValidationFailed.of("received_at", "must not lie ahead")
    if received.rest < ZERO:
        over = exact_sum([part.amount for part in received.allocations])
        raise ValidationFailed.of("amount", f"must be at least what the invoices are given, {plain(over)}")
    if received.rest > ZERO and not received.keeps_rest:
        raise ValidationFailed.of("keep_rest", f"must be ticked to keep {plain(received.rest)} that no invoice has")


async def _require_room(session: AsyncSession, received: ReceivedTransfer, single: Allocation) -> None:
    """Refuse to pay more on the invoice than remains, so that nothing is paid beyond it unseen; a repeat may pass."""
    invoice = await lock_row(session, Invoice, single.invoice_id)
    if await session.scalar(select(Payment.id).where(Payment.idempotency_key == received.key)) is not None:
        return
    if invoice.customer_id != received.customer_id:
        raise ValidationFailed.of("allocations[0].invoice_id", "must be an invoice of the customer")
    if single.amount > invoice.amount_remaining > ZERO:
        raise ValidationFailed.of(
            "allocations[0].amount", f"must be at most what remains, {plain(invoice.amount_remaining)}"
        )
