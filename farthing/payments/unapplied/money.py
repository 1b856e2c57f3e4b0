"""Putting money on a customer's balance, and taking it off when it goes back.

Rule: docs/rules/credit-notes.md#unapplied-money
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import delete, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core import currency
from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.core.money import EXACT, ZERO, decimals, plain
from farthing.invoices.lifecycle import transitions
from farthing.invoices.ports import InvoicePorts
from farthing.invoices.receivable import InvoiceStatus, PaymentStatus
from farthing.invoices.settlement_tables import PaymentSettlement, SettlementKind
from farthing.invoices.tables import Invoice
from farthing.payments.tables import Payment
from farthing.payments.unapplied.tables import HAS_REST, UnappliedMoney, UnappliedSource
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import insert_if_new, lock_row


async def keep_payment(session: AsyncSession, payment: Payment) -> None:
    """Put a payment that names no invoice on its customer's balance; reported again, it changes nothing."""
    money = _money(payment.destination_id, payment.currency, UnappliedSource.PAYMENT, payment.amount)
    money.payment_id = payment.id
    await insert_if_new(session, money)


async def keep_credit(session: AsyncSession, invoice: Invoice, credit_note_id: str, amount: Decimal) -> UnappliedMoney:
    """Put what a credit note gives back on the customer's balance, for the next invoices to take."""
    money = _money(invoice.customer_id, invoice.currency, UnappliedSource.CREDIT_NOTE, amount)
    money.invoice_id, money.credit_note_id, money.for_next_invoice = invoice.id, credit_note_id, True
    session.add(money)
    await session.flush()
    return money


async def move_overpayment(
    session: AsyncSession, invoice_id: str, amount: Decimal | None, now: datetime
) -> list[UnappliedMoney]:
    """Move what was paid beyond an invoice, or `amount` of it, to its customer's balance; the newest payments first.

    Raises NotFound, InvalidOperation unless the invoice is overpaid, and ValidationFailed for more than that.
    """
    invoice = await lock_row(session, Invoice, invoice_id)
    kept = EXACT.subtract(
        EXACT.subtract(invoice.amount_paid, invoice.refunded_amount),
        await ports_of(session, InvoicePorts).hooks.sent_back_unasked(session, invoice),
    )
    excess = min(EXACT.subtract(invoice.amount_paid, invoice.amount_due), max(kept, ZERO))
    if invoice.invoice_status is not InvoiceStatus.FINALIZED or invoice.payment_status is not PaymentStatus.OVERPAID:
        raise InvalidOperation(
            "only what was paid beyond a finalized invoice can be moved",
            {"invoice_id": invoice.id, "payment_status": invoice.payment_status.value},
        )
    wanted = excess if amount is None else amount
    if wanted > excess:
        raise ValidationFailed.of("amount", f"must be at most what was paid too much, {plain(excess)}")
    require_minor_units("amount", wanted, invoice.currency)
    moved = await _take_off(session, invoice, wanted)
    await transitions.resettle(session, invoice, now, effects=ports_of(session, InvoicePorts).hooks)
    return moved


def require_minor_units(field: str, amount: Decimal, code: str) -> None:
    """Raises ValidationFailed for an amount finer than its currency."""
    digits = currency.digits(code)
    if decimals(amount) > digits:
        raise ValidationFailed.of(field, f"must have at most {digits} decimals in {code}")


async def _take_off(session: AsyncSession, invoice: Invoice, wanted: Decimal) -> list[UnappliedMoney]:
    settlements = await session.execute(
        select(PaymentSettlement, Payment)
        .join(Payment, Payment.id == PaymentSettlement.payment_id)
        .where(PaymentSettlement.invoice_id == invoice.id, PaymentSettlement.kind == SettlementKind.PAYMENT)
        .order_by(PaymentSettlement.created_at.desc(), PaymentSettlement.id.desc())
        .execution_options(populate_existing=True)
    )
    moved, left = [], wanted
    for settlement, payment in settlements.all():
        part = min(settlement.amount, left)
        if part <= 0:
            continue
        settlement.amount = EXACT.subtract(settlement.amount, part)
        money = _money(invoice.customer_id, invoice.currency, UnappliedSource.OVERPAYMENT, part)
        money.payment_id, money.invoice_id = payment.id, invoice.id
        session.add(money)
        moved.append(money)
        left = EXACT.subtract(left, part)
    if left > 0:
        raise InvalidOperation(
            "only money of payments can be moved; what was marked or allocated by hand stays",
            {"invoice_id": invoice.id, "movable_amount": plain(EXACT.subtract(wanted, left))},
        )
    await session.flush()
    return moved


async def withdraw(session: AsyncSession, payment: Payment, amount: Decimal) -> None:
    """Take what went back of a payment off its customer's balance, as far as it is still there."""
    if amount <= ZERO:
        return
    left = amount
    for money in await lock_money_of(session, payment.id):
        part = min(money.left, left)
        money.withdrawn = EXACT.add(money.withdrawn, part)
        left = EXACT.subtract(left, part)
    await session.flush()


async def put_back(session: AsyncSession, money_id: str, amount: Decimal) -> None:
    """Give the balance what was on its way back to the payer and did not arrive."""
    money = await lock_row(session, UnappliedMoney, money_id)
    money.withdrawn = EXACT.subtract(money.withdrawn, amount)
    await session.flush()


async def forget_payment(session: AsyncSession, payment: Payment) -> None:
    """Take a payment that turned out not to be one off the balance. Raises InvalidOperation once it was used."""
    kept = await lock_money_of(session, payment.id)
    if any(money.allocated or money.withdrawn for money in kept):
        raise InvalidOperation("money of the payment was allocated or sent back already", {"payment_id": payment.id})
    await session.execute(delete(UnappliedMoney).where(UnappliedMoney.payment_id == payment.id))


async def lock_money_of(session: AsyncSession, payment_id: str) -> list[UnappliedMoney]:
    """What a payment brought to its customer's balance, locked."""
    await session.flush()
    query = select(UnappliedMoney).where(UnappliedMoney.payment_id == payment_id).order_by(UnappliedMoney.id)
    rows = await session.scalars(query.with_for_update().execution_options(populate_existing=True))
    return list(rows.all())


def _money(customer_id: str, code: str, source: UnappliedSource, amount: Decimal) -> UnappliedMoney:
    return UnappliedMoney(
        id=new_id(Kind.UNAPPLIED_MONEY),
        customer_id=customer_id,
        currency=code,
        source=source,
        amount=amount,
        allocated=ZERO,
        withdrawn=ZERO,
        for_next_invoice=False,
    )


async def require_no_unapplied_money(session: AsyncSession, customer_id: str) -> None:
    """Raises InvalidOperation if the customer has money that stands on no invoice.

    Rule: docs/rules/customers.md#deletion
    """
    row = UnappliedMoney
    query = select(row.id).where(row.customer_id == customer_id, text(HAS_REST))
    money_id = await session.scalar(query.limit(1))
    if money_id is not None:
        raise InvalidOperation(
            "The customer has unapplied money; allocate it or give it back first",
            {"customer_id": customer_id, "unapplied_money_id": money_id},
        )
