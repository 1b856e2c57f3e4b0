"""The life of an invoice: draft, finalized, voided, and money that arrives meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.due import DueTerms
from farthing.catalogue.fx.resolution import RateInForce
from farthing.core.encoding.wire import checked_metadata
from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.core.money import EXACT, ZERO, exact_sum
from farthing.core.states import StateMachine
from farthing.invoices import events
from farthing.invoices.events import InvoiceEvent
from farthing.invoices.figures.computation import compute, take_credits, take_tax_off
from farthing.invoices.figures.conversion import convert, require_rates
from farthing.invoices.figures.settlement import (
    expect_remainder,
    record_settlement,
    settle,
    settled_amounts,
    settlement_by,
)
from farthing.invoices.hooks import InvoiceCredits, InvoiceHooks
from farthing.invoices.lifecycle import numbering
from farthing.invoices.lifecycle.as_issued import keep_as_issued
from farthing.invoices.lifecycle.due_dates import derive_due_date, due_terms_of, is_due_date_open
from farthing.invoices.lifecycle.holding import require_free
from farthing.invoices.parts import InvoiceParts, parts_of, parts_of_all
from farthing.invoices.ports import InvoicePorts
from farthing.invoices.receivable import InvoiceStatus, InvoiceType, PaymentStatus
from farthing.invoices.requests import RESERVED_METADATA, VoidInvoiceRequest
from farthing.invoices.settlement_tables import PaymentSettlement, SettlementKind
from farthing.invoices.tables import Invoice
from farthing.storage.postgres import ports_of
from farthing.storage.queries.bulk import update_all
from farthing.storage.queries.rows import find, lock_row
from farthing.storage.queries.writing import stamp_changed, write_pending


@dataclass(frozen=True, slots=True)
class ReceivedMoney:
    """Money that has arrived for an invoice."""

    amount: Decimal
    currency: str


INVOICE = StateMachine(
    "invoice",
    {
        InvoiceStatus.DRAFT: (InvoiceStatus.FINALIZED, InvoiceStatus.SKIPPED, InvoiceStatus.VOIDED),
        InvoiceStatus.SKIPPED: (InvoiceStatus.DRAFT, InvoiceStatus.VOIDED),
        InvoiceStatus.FINALIZED: (InvoiceStatus.VOIDED,),
    },
)
"""Where an invoice may go.

Rule: docs/rules/invoices-and-payments.md#lifecycle
"""

VOIDABLE = frozenset(
    {
        PaymentStatus.PENDING,
        PaymentStatus.FAILED,
        PaymentStatus.SUCCEEDED,
        PaymentStatus.PARTIALLY_REFUNDED,
        PaymentStatus.OVERPAID,
    }
)

FULLY_PAID = frozenset({PaymentStatus.SUCCEEDED, PaymentStatus.OVERPAID})


def move(invoice: Invoice, to: InvoiceStatus) -> None:
    """Change the state. Raises InvalidOperation naming both states."""
    _check_move(invoice, to)
    invoice.invoice_status = to
    if to is not InvoiceStatus.FINALIZED and invoice.collect_at is not None:
        invoice.collect_at = None
    if to is not InvoiceStatus.SKIPPED and invoice.recompute_at is not None:
        invoice.recompute_at = None


def _check_move(invoice: Invoice, to: InvoiceStatus) -> None:
    now = invoice.invoice_status
    INVOICE.check(now, to, invoice_id=invoice.id, invoice_status=now.value)


async def finalize(
    session: AsyncSession,
    invoice: Invoice,
    now: datetime,
    *,
    effects: InvoiceHooks,
    number: str | None = None,
    parts: InvoiceParts | None = None,
) -> Invoice:
    """Finalize a locked draft: last computation with prepaid credits, what is owed of it, its number.

    `number` is the caller's own and takes no sequence value; known `parts` are not read again. A skipped invoice stays
    as it is. Raises ValidationFailed unless it is a draft, InvalidOperation for a subscription's draft that was never
    computed and for one that must be converted while there is no rate, AlreadyExists for a number in use.
    """
    if invoice.invoice_status is InvoiceStatus.SKIPPED:
        return invoice
    _check_computed_draft(invoice)
    parts = parts or await parts_of(session, invoice)
    rates = await require_rates(session, [(invoice, parts)], now)
    due_terms = await _open_due_terms(session, [invoice], now)
    opened = await effects.open_credits(session, [invoice], now)
    await _claim(session, invoice, now, effects, parts, due_terms, opened, rates.get(invoice.id))
    await opened.post()
    await keep_as_issued(session, [invoice], {invoice.id: parts})
    # whoever finalizes next waits for the sequence, so everything that takes time comes before it
    await write_pending(session)
    snapshot = events.body(invoice, parts)
    if number is None:
        await numbering.number(session, invoice, now)
    else:
        await numbering.number_as_given(session, invoice, number)
    await events.record_body(session, InvoiceEvent.FINALIZED, {**snapshot, "invoice_number": invoice.invoice_number})
    return invoice


async def finalize_all(
    session: AsyncSession,
    invoices: Sequence[Invoice],
    now: datetime,
    *,
    effects: InvoiceHooks,
    known: Mapping[str, InvoiceParts] = MappingProxyType({}),
) -> None:
    """The same for many locked drafts, numbered in their order: what is read and written is so for all at once.

    `known` parts, by invoice, are not read again. Raises what `finalize` does.
    """
    drafts = [invoice for invoice in invoices if invoice.invoice_status is not InvoiceStatus.SKIPPED]
    for invoice in drafts:
        _check_computed_draft(invoice)
    unknown = [invoice for invoice in drafts if invoice.id not in known]
    parts = dict(known)
    if unknown:
        parts |= {invoice.id: part for invoice, part in zip(unknown, await parts_of_all(session, unknown), strict=True)}
    rates = await require_rates(session, [(invoice, parts[invoice.id]) for invoice in drafts], now)
    with session.no_autoflush:  # settlements are written as they are recorded
        paid = await settled_amounts(session, [invoice.id for invoice in drafts])
    due_terms = await _open_due_terms(session, drafts, now)
    opened = await effects.open_credits(session, drafts, now)
    for invoice in drafts:
        parts[invoice.id].paid = paid.get(invoice.id, ZERO)
        await _claim(session, invoice, now, effects, parts[invoice.id], due_terms, opened, rates.get(invoice.id))
    await opened.post()
    await keep_as_issued(session, drafts, parts)
    changed = [invoice.id for invoice in drafts if invoice.total_prepaid_credits_applied > 0 or invoice.id in rates]
    await update_all(session, [line for invoice_id in changed for line in parts[invoice_id].lines])
    # by one statement, so that the totals of payers are locked in one order, whoever else finalizes
    await update_all(session, drafts)
    await session.flush()
    snapshots = [events.body(invoice, parts[invoice.id]) for invoice in drafts]
    await numbering.number_all(session, drafts, now)
    for invoice, body in zip(drafts, snapshots, strict=True):
        await events.record_body(session, InvoiceEvent.FINALIZED, {**body, "invoice_number": invoice.invoice_number})


def _check_computed_draft(invoice: Invoice) -> None:
    if invoice.invoice_status is not InvoiceStatus.DRAFT:
        details = {"invoice_id": invoice.id, "invoice_status": invoice.invoice_status.value}
        raise ValidationFailed("invoice is not in draft status", details)
    require_free(invoice)
    if invoice.invoice_type is InvoiceType.SUBSCRIPTION and invoice.last_computed_at is None:
        raise InvalidOperation("the invoice must be computed before it is finalized", {"invoice_id": invoice.id})


async def _open_due_terms(session: AsyncSession, drafts: Sequence[Invoice], now: datetime) -> dict[str, DueTerms]:
    """The terms of those drafts whose due date their issue may move, by subscription."""
    return await due_terms_of(session, [invoice for invoice in drafts if is_due_date_open(invoice, now)])


async def _claim(
    session: AsyncSession,
    invoice: Invoice,
    now: datetime,
    effects: InvoiceHooks,
    parts: InvoiceParts,
    due_terms: Mapping[str, DueTerms],
    credits: InvoiceCredits,
    rate: RateInForce | None,
) -> None:
    """Finalize a draft in all but its number: its last figures, what is owed of it, and what follows above.

    Credits of the currency that it was charged in pay first, then those of the one that it is converted into.
    """
    if not parts.computed:
        await compute(session, invoice, now, parts=parts)
    _pay_with_credits(invoice, parts, credits)
    if rate is not None:
        await convert(session, invoice, parts, rate, now)
        _pay_with_credits(invoice, parts, credits)

    move(invoice, InvoiceStatus.FINALIZED)
    invoice.finalized_at = now
    if is_due_date_open(invoice, now):
        derive_due_date(invoice, due_terms[invoice.subscription_id or ""], now)
    elif invoice.derives_due_date and invoice.total == 0:
        invoice.due_date = None
    # The totals of the payer are locked by this write and the sequence by the next, always in this order; nobody sees
    # the id that stands in for the number.
    invoice.invoice_number = invoice.id
    if invoice.auto_completed:
        parts.paid = await record_settlement(session, invoice, SettlementKind.AUTO_COMPLETE, invoice.total)
    await settle(session, invoice, now, paid=parts.paid)
    await effects.on_finalized(session, invoice, now, credits)
    if invoice.payment_status in FULLY_PAID:
        await effects.on_paid(session, invoice)
    if invoice.auto_completed and invoice.total > 0:
        await ports_of(session, InvoicePorts).confirm_received(session, invoice, invoice.total)


def _pay_with_credits(invoice: Invoice, parts: InvoiceParts, credits: InvoiceCredits) -> None:
    """Let the prepaid wallet of the invoice's currency pay what it can of a computed draft."""
    # what sells credits is not paid with credits, and what a checkout has asked for is paid there
    sells_credits = invoice.invoice_type is InvoiceType.CREDIT or invoice.wallet_transaction_id is not None
    if sells_credits or invoice.checkout_session_id is not None:
        return
    taken = take_credits(invoice, parts.lines, credits.prepaid_value(invoice))
    amount = exact_sum(taken)
    if amount > 0:
        take_tax_off(invoice, parts, taken, credits.take(invoice, amount))


async def void_as_asked(session: AsyncSession, invoice_id: str, asked: VoidInvoiceRequest, now: datetime) -> None:
    """Void an invoice for a caller, who may say where money goes; one that waits for a checkout ends that.

    Raises NotFound, and what `void` does.
    """
    ports = ports_of(session, InvoicePorts)
    seen = await find(session, Invoice, invoice_id)
    if seen.awaits_checkout and seen.checkout_session_id is not None:
        await ports.checkouts.cancel(session, seen.checkout_session_id, now)
        return
    await void(
        session,
        await lock_row(session, Invoice, invoice_id),
        now,
        metadata=asked.metadata,
        back_to_source=asked.refund_target == "BACK_TO_SOURCE",
        effects=ports.hooks,
    )


async def returned_by_void(session: AsyncSession, invoice: Invoice) -> Decimal:
    """What goes back to the payer when an invoice is voided: money and credits that were not returned yet, by whomever.

    Rule: docs/rules/credit-notes.md#what-went-back-already
    """
    unasked = await ports_of(session, InvoicePorts).hooks.sent_back_unasked(session, invoice)
    return max(EXACT.subtract(_not_returned(invoice), unasked), ZERO)


def _not_returned(invoice: Invoice) -> Decimal:
    """What was paid on it and was not returned by credit notes or a void."""
    funded = EXACT.add(invoice.amount_paid, invoice.total_prepaid_credits_applied)
    return max(EXACT.subtract(funded, invoice.refunded_amount), ZERO)


async def void(
    session: AsyncSession,
    invoice: Invoice,
    now: datetime,
    *,
    metadata: Mapping[str, str] | None = None,
    back_to_source: bool = False,
    effects: InvoiceHooks,
) -> Invoice:
    """Cancel a locked invoice and give back what was paid on it and not returned yet.

    `metadata` is merged. With `back_to_source` money goes back by the way it came, as far as it can, and the rest as
    credits. Raises InvalidOperation when it is voided already, when its payment status forbids, or when
    it sold credits that are paid for, if only in part.
    """
    if invoice.payment_status not in VOIDABLE:
        details = {"invoice_id": invoice.id, "payment_status": invoice.payment_status.value}
        raise InvalidOperation("invoice payment status is not allowed for voiding", details)
    _check_move(invoice, InvoiceStatus.VOIDED)
    require_free(invoice)
    bought_credits = invoice.wallet_transaction_id is not None
    if bought_credits and (invoice.amount_paid > 0 or invoice.payment_status is PaymentStatus.SUCCEEDED):
        sold = invoice.payment_status in {PaymentStatus.SUCCEEDED, PaymentStatus.OVERPAID}
        why = "the credits this invoice sold are in the wallet already" if sold else "part of these credits is paid for"
        raise InvalidOperation(why, {"invoice_id": invoice.id})
    if metadata:
        refuse_reserved(metadata)
        invoice.meta = checked_metadata({**invoice.meta, **metadata})
    # payments and wallets are locked before the totals of the payer, which the change of the state locks
    await effects.before_voiding(session, invoice)
    expect_remainder(session, invoice)
    move(invoice, InvoiceStatus.VOIDED)
    left = _not_returned(invoice)
    invoice.voided_at = now
    if left > 0:
        # what a bank or a provider has given back already counts as returned, and is not given twice
        refund = max(EXACT.subtract(left, await effects.sent_back_unasked(session, invoice)), ZERO)
        invoice.refunded_amount = EXACT.add(invoice.refunded_amount, left)
        returned = await effects.return_to_source(session, invoice, refund) if back_to_source and refund else ZERO
        if refund > returned:
            await effects.give_back(session, invoice, EXACT.subtract(refund, returned), now)
    await settle(session, invoice, now)
    await events.record_invoice_event(session, InvoiceEvent.VOIDED, invoice)
    return invoice


def refuse_reserved(metadata: Mapping[str, str], stored: Mapping[str, str] = MappingProxyType({})) -> None:
    """Raise ValidationFailed where `metadata` sets a key that only the service writes to another value."""
    for key in sorted(RESERVED_METADATA & metadata.keys()):
        if metadata[key] != stored.get(key):
            raise ValidationFailed.of(f"metadata.{key}", "is reserved and cannot be set")


async def receive(
    session: AsyncSession,
    invoice: Invoice,
    payment_id: str,
    money: ReceivedMoney,
    now: datetime,
    *,
    effects: InvoiceHooks,
) -> Invoice:
    """Count a payment that succeeded on a locked invoice; a draft is finalized first.

    The same payment counts once. A voided invoice takes the money too, so that the books show it; returning it is the
    caller's next step. Raises InvalidOperation for a skipped invoice, and for one that was converted into another
    currency than that of the money. Tells `invoice.update.payment`.
    """
    await finalize_to_collect(session, invoice, now, effects=effects)
    require_currency(invoice, money.currency)
    paid = await record_settlement(session, invoice, SettlementKind.PAYMENT, money.amount, payment_id)
    invoice.latest_attempt_failed = False
    await _settle_and_record(session, invoice, now, effects=effects, paid=paid)  # the payment itself is confirmed
    return invoice


async def receive_first(
    session: AsyncSession,
    invoice: Invoice,
    payment_id: str,
    money: ReceivedMoney,
    now: datetime,
    *,
    effects: InvoiceHooks,
    parts: InvoiceParts,
) -> PaymentSettlement:
    """As `receive`, for a payment that has just been made, on a locked, final invoice whose parts and settled sum are
    known: the settlement is written by the caller, with the payment and the invoice.
    """
    assert invoice.invoice_status is InvoiceStatus.FINALIZED
    assert parts.paid is not None
    require_currency(invoice, money.currency)
    parts.paid = EXACT.add(parts.paid, money.amount)
    invoice.latest_attempt_failed = False
    await _settle_and_record(session, invoice, now, effects=effects, paid=parts.paid, parts=parts)
    return settlement_by(session, invoice, money.amount, payment_id)


def require_currency(invoice: Invoice, code: str) -> None:
    """Raise InvalidOperation unless an invoice, which may have been converted since, is in this currency.

    Rule: docs/rules/currencies.md#payments
    """
    if invoice.currency != code:
        details = {"invoice_id": invoice.id, "currency": invoice.currency}
        raise InvalidOperation(f"the invoice is payable in {invoice.currency}, not in {code}", details)


async def note_returned(session: AsyncSession, invoice: Invoice, amount: Decimal, now: datetime) -> None:
    """Note on a locked, voided invoice that money which arrived after the voiding was sent back to where it came from.

    Tells `invoice.update.payment`.
    """
    assert invoice.invoice_status is InvoiceStatus.VOIDED
    funded = EXACT.add(invoice.amount_paid, invoice.total_prepaid_credits_applied)
    invoice.refunded_amount = min(EXACT.add(invoice.refunded_amount, amount), funded)
    await resettle(session, invoice, now, effects=ports_of(session, InvoicePorts).hooks)


async def finalize_to_collect(session: AsyncSession, invoice: Invoice, now: datetime, *, effects: InvoiceHooks) -> None:
    """Finalize a locked draft because money arrives for it; others stay as they are.

    Raises InvalidOperation for a skipped invoice, and for a subscription's draft whose charges are not known yet.
    """
    if invoice.invoice_status is InvoiceStatus.SKIPPED:
        raise InvalidOperation("a skipped invoice cannot be paid", {"invoice_id": invoice.id})
    if invoice.invoice_status is not InvoiceStatus.DRAFT:
        return
    require_free(invoice)
    still_running = invoice.period_end is not None and invoice.period_end > now
    if invoice.invoice_type is InvoiceType.SUBSCRIPTION and (invoice.last_computed_at is None or still_running):
        raise InvalidOperation("the invoice's period has not been billed yet", {"invoice_id": invoice.id})
    await finalize(session, invoice, now, effects=effects)


async def payment_failed(session: AsyncSession, invoice: Invoice, now: datetime) -> Invoice:
    """Note that the latest attempt to collect a locked invoice failed. Tells `invoice.update.payment`."""
    invoice.latest_attempt_failed = True
    await resettle(session, invoice, now, effects=ports_of(session, InvoicePorts).hooks)
    return invoice


async def resettle(
    session: AsyncSession,
    invoice: Invoice,
    now: datetime,
    *,
    effects: InvoiceHooks,
    paid: Decimal | None = None,
) -> None:
    """Settle a locked invoice, record `invoice.update.payment`, and say above if it is now paid, and if more was
    received for it than before by any other way than a payment.

    `paid` is the sum of its settlements, if the caller knows it.
    """
    paid_before = invoice.amount_paid
    await _settle_and_record(session, invoice, now, effects=effects, paid=paid)
    received = EXACT.subtract(invoice.amount_paid, paid_before)
    if received > 0 and invoice.invoice_status is InvoiceStatus.FINALIZED:
        await ports_of(session, InvoicePorts).confirm_received(session, invoice, received)


async def _settle_and_record(
    session: AsyncSession,
    invoice: Invoice,
    now: datetime,
    *,
    effects: InvoiceHooks,
    paid: Decimal | None,
    parts: InvoiceParts | None = None,
) -> None:
    before, owed_before = invoice.payment_status, invoice.amount_remaining
    await settle(session, invoice, now, paid=paid)
    if invoice.amount_remaining == 0 and owed_before > 0:
        await effects.on_recovered(session, invoice)
    if invoice.payment_status in FULLY_PAID and before not in FULLY_PAID:
        await effects.on_paid(session, invoice)
    if parts is not None:
        stamp_changed(session, [invoice])
    await events.record_invoice_event(session, InvoiceEvent.PAYMENT, invoice, parts)
