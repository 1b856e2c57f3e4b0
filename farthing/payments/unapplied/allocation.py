"""Allocating a customer's unapplied money to invoices: by hand, the oldest first, or to the next invoice by itself.

Rule: docs/rules/credit-notes.md#allocation
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache

from sqlalchemy import Select, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import InvalidOperation, ValidationFailed, VersionConflict
from farthing.core.ids import Kind, new_id
from farthing.core.money import EXACT, ZERO, exact_sum, plain
from farthing.customers.tables import Customer
from farthing.invoices.figures.settlement import settle
from farthing.invoices.lifecycle import transitions
from farthing.invoices.ports import InvoicePorts
from farthing.invoices.receivable import UNPAID, InvoiceStatus, PaymentStatus
from farthing.invoices.settlement_tables import PaymentSettlement, SettlementKind
from farthing.invoices.tables import Invoice
from farthing.payments.tables import Payment
from farthing.payments.unapplied.money import require_minor_units
from farthing.payments.unapplied.tables import HAS_REST, UnappliedMoney
from farthing.storage.postgres import clock_of, ports_of
from farthing.storage.queries.kept import KeptStatement, answer_to, kept
from farthing.storage.queries.rows import find, in_array


@dataclass(frozen=True, slots=True)
class Allocation:
    """`amount` of a customer's unapplied money for one invoice."""

    invoice_id: str
    amount: Decimal


async def allocate_by_hand(
    session: AsyncSession,
    customer_id: str,
    code: str,
    wanted: Sequence[Allocation],
    now: datetime,
    *,
    payment_id: str | None = None,
    expected: Decimal | None = None,
) -> list[Allocation]:
    """Let invoices have the amounts that a caller names, of all unapplied money or of what one payment brought.

    Raises NotFound, ValidationFailed, InvalidOperation, and VersionConflict where the money that is left is not the
    `expected` amount that the caller has seen.
    """
    await find(session, Customer, customer_id)
    ids = [part.invoice_id for part in wanted]
    if len(set(ids)) != len(ids):
        raise ValidationFailed.of("allocations", "must name each invoice once")
    invoices = {invoice.id: invoice for invoice in await _lock_invoices(session, ids)}
    for position, part in enumerate(wanted):
        field = f"allocations[{position}]"
        invoice = invoices.get(part.invoice_id)
        if invoice is None or invoice.customer_id != customer_id:
            raise ValidationFailed.of(f"{field}.invoice_id", "must be an invoice of the customer")
        if invoice.currency != code:
            raise ValidationFailed.of(f"{field}.invoice_id", f"must be in {code}")
        _require_open(invoice)
        require_minor_units(f"{field}.amount", part.amount, code)
        available = await _unreserved(session, invoice)
        if part.amount > available:
            raise ValidationFailed.of(f"{field}.amount", f"must be at most what remains, {plain(available)}")
    money = [row for row in await _lock_money(session, customer_id, code) if payment_id in (None, row.payment_id)]
    left, asked = exact_sum([row.left for row in money]), exact_sum([part.amount for part in wanted])
    if expected is not None and left != expected:
        raise VersionConflict(
            "The unapplied money has changed since this was looked at; please look again",
            {"customer_id": customer_id, "unapplied_amount": plain(left)},
        )
    if asked > left:
        raise ValidationFailed.of("allocations", f"must come to at most the unapplied money, {plain(left)}")
    for part in wanted:
        await _allocate(session, invoices[part.invoice_id], money, part.amount)
        await _resettle(session, invoices[part.invoice_id], now)
    return list(wanted)


async def allocate_oldest_first(
    session: AsyncSession, customer_id: str, code: str, most: Decimal | None, now: datetime
) -> list[Allocation]:
    """Spread the unapplied money, at most `most` of it, over the unpaid invoices, those due first first.

    Raises NotFound, and ValidationFailed for more than there is.
    """
    await find(session, Customer, customer_id)
    query = select(Invoice.id).where(text(UNPAID), Invoice.customer_id == customer_id, Invoice.currency == code)
    invoices = await _lock_invoices(session, list(await session.scalars(query)))
    money = await _lock_money(session, customer_id, code)
    left = exact_sum([row.left for row in money])
    if most is not None:
        require_minor_units("amount", most, code)
        if most > left:
            raise ValidationFailed.of("amount", f"must be at most the unapplied money, {plain(left)}")
        left = most
    done = []
    for invoice in sorted(invoices, key=_age):
        if invoice.invoice_status is not InvoiceStatus.FINALIZED:
            continue
        part = min(await _unreserved(session, invoice), left)
        if part > 0:
            await _allocate(session, invoice, money, part)
            await _resettle(session, invoice, now)
            left = EXACT.subtract(left, part)
            done.append(Allocation(invoice.id, part))
    return done


async def apply_to_new_invoice(session: AsyncSession, invoice: Invoice, now: datetime) -> None:
    """Let an invoice that is being finalized have what credit notes set aside for it; its own event tells of it.

    Money that another transaction has in hand is left to that one, so that nobody waits for another's batch.
    """
    if invoice.amount_remaining <= 0:
        return
    query = _money_left(invoice.customer_id, invoice.currency).where(UnappliedMoney.for_next_invoice)
    money = (await session.scalars(query.with_for_update(skip_locked=True))).all()
    part = min(exact_sum([row.left for row in money]), invoice.amount_remaining)
    if part > 0:
        await _allocate(session, invoice, money, part)
        await settle(session, invoice, now)


async def is_any_set_aside(session: AsyncSession) -> bool:
    """Whether any customer of the environment has money that waits for the next invoice."""
    return bool(await answer_to(session, _kept_set_aside().asked()))


@cache
def _kept_set_aside() -> KeptStatement:
    return kept(select(UnappliedMoney.id).where(text(HAS_REST), UnappliedMoney.for_next_invoice).limit(1))


def _age(invoice: Invoice) -> tuple[bool, datetime, datetime, str]:
    issued = invoice.finalized_at or invoice.created_at
    return invoice.due_date is None, invoice.due_date or issued, issued, invoice.id


def _require_open(invoice: Invoice) -> None:
    payable = invoice.payment_status in {PaymentStatus.PENDING, PaymentStatus.FAILED}
    if invoice.invoice_status is not InvoiceStatus.FINALIZED or not payable:
        raise InvalidOperation(
            "money is allocated to finalized, unpaid invoices only",
            {
                "invoice_id": invoice.id,
                "invoice_status": invoice.invoice_status.value,
                "payment_status": invoice.payment_status.value,
            },
        )


async def _unreserved(session: AsyncSession, invoice: Invoice) -> Decimal:
    """What remains of a locked invoice beyond what payments in flight may take."""
    query = select(func.coalesce(func.sum(Payment.amount), 0)).where(
        Payment.destination_id == invoice.id, Payment.payment_status == PaymentStatus.PROCESSING
    )
    return max(EXACT.subtract(invoice.amount_remaining, await session.scalar(query) or ZERO), ZERO)


async def _lock_invoices(session: AsyncSession, invoice_ids: Sequence[str]) -> list[Invoice]:
    query = select(Invoice).where(in_array(Invoice.id, invoice_ids)).order_by(Invoice.id).with_for_update()
    return list(await session.scalars(query.execution_options(populate_existing=True)))


def _money_left(customer_id: str, code: str) -> Select[UnappliedMoney]:
    return (
        select(UnappliedMoney)
        .where(UnappliedMoney.customer_id == customer_id, UnappliedMoney.currency == code, text(HAS_REST))
        .order_by(UnappliedMoney.created_at, UnappliedMoney.id)
        .execution_options(populate_existing=True)
    )


async def _lock_money(session: AsyncSession, customer_id: str, code: str) -> Sequence[UnappliedMoney]:
    return (await session.scalars(_money_left(customer_id, code).with_for_update())).all()


async def _allocate(session: AsyncSession, invoice: Invoice, money: Sequence[UnappliedMoney], amount: Decimal) -> None:
    """Take `amount`, which there is, of locked money in its order, and count it as paid."""
    left = amount
    for row in money:
        part = min(row.left, left)
        if part <= 0:
            continue
        row.allocated = EXACT.add(row.allocated, part)
        left = EXACT.subtract(left, part)
        session.add(
            PaymentSettlement(
                id=new_id(Kind.INVOICE_SETTLEMENT),
                invoice_id=invoice.id,
                kind=SettlementKind.ALLOCATION,
                unapplied_money_id=row.id,
                amount=part,
                created_at=clock_of(session).now(),
            )
        )
    assert left == 0, "the caller looked at what there is"
    await session.flush()


async def _resettle(session: AsyncSession, invoice: Invoice, now: datetime) -> None:
    invoice.latest_attempt_failed = False
    await transitions.resettle(session, invoice, now, effects=ports_of(session, InvoicePorts).hooks)
