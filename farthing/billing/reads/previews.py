"""Invoices that are not kept: previews, and second computations of those that are.

A preview is the real thing, undone: it runs in a transaction that is always rolled back, so that it cannot differ from
what the execution will do.
Rule: docs/rules/billing.md#previews-and-recalculation
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.changes.replacement import ClosedPeriods, replace_due
from farthing.billing.periods.drafts import (
    AnnouncedDrafts,
    WantedDraft,
    begin,
    compute_all,
    invoice_request_of,
    new_row,
    write,
)
from farthing.billing.periods.finalize import issue
from farthing.billing.periods.inputs import InvoiceRequest, gather
from farthing.billing.schemas import GetPreviewInvoiceRequest
from farthing.calendar.billing import next_billing_date
from farthing.calendar.period import Period
from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.invoices.figures.terms import opening_credit_of
from farthing.invoices.hooks import InvoiceHooks
from farthing.invoices.lifecycle import transitions
from farthing.invoices.lifecycle.holding import require_free
from farthing.invoices.ports import InvoicePorts
from farthing.invoices.reads.presentation import shown
from farthing.invoices.receivable import InvoiceStatus, InvoiceType
from farthing.invoices.schemas import InvoiceResponse
from farthing.invoices.tables import Invoice
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import find, lock_row
from farthing.subscriptions import roll_forward
from farthing.subscriptions.dates import open_period, recurrence
from farthing.subscriptions.enums import InvoiceTrigger, SubscriptionStatus, SubscriptionType
from farthing.subscriptions.tables import Subscription

COMPUTABLE = frozenset({InvoiceStatus.DRAFT, InvoiceStatus.SKIPPED})


async def preview(
    session: AsyncSession, asked: GetPreviewInvoiceRequest, now: datetime, *, exclude_invoiced: bool = False
) -> InvoiceResponse:
    """What the invoice of a period would be, in a session that will be rolled back. Raises NotFound, ValidationFailed.

    By default of the next invoice: of the open period, of the first paid one while the subscription is in its trial,
    or the opening while the start lies ahead, with every change that is scheduled at or before that boundary.
    """
    subscription = await find(session, Subscription, asked.subscription_id)
    occasion, period = _next_invoice(subscription)
    start, end = asked.period_start or period.start, asked.period_end or period.end
    if end <= start:
        raise ValidationFailed.of("period_end", "must be after period_start")
    preview_of = _PreviewOf(session, subscription, now, repeats=not exclude_invoiced)
    if (start, end) == (period.start, period.end):
        invoice = await _at_boundary(preview_of) or await preview_of.compute(occasion, period)
    else:
        invoice = await preview_of.compute(InvoiceTrigger.CYCLE, Period(start, end))
    if invoice.invoice_status is InvoiceStatus.SKIPPED:
        transitions.move(invoice, InvoiceStatus.DRAFT)
    answer = await shown(session, invoice)
    if asked.hide_zero_charges_line_items:
        answer.line_items = [line for line in answer.line_items or () if line.amount != "0"]
    return answer


def _next_invoice(subscription: Subscription) -> tuple[InvoiceTrigger, Period]:
    """The occasion and period of the next invoice as far as the row says it, before what is scheduled."""
    if subscription.subscription_status is SubscriptionStatus.TRIALING and subscription.trial_end is not None:
        start = subscription.trial_end
        return InvoiceTrigger.TRIAL_END, Period(start, next_billing_date(start, recurrence(subscription)))
    return InvoiceTrigger.CYCLE, open_period(subscription)


@dataclass(frozen=True, slots=True)
class _PreviewOf:
    """Whose invoice is previewed, when it is asked for, and whether it `repeats` what is invoiced already."""

    session: AsyncSession
    subscription: Subscription
    now: datetime
    repeats: bool

    async def compute(self, occasion: InvoiceTrigger, period: Period) -> Invoice:
        """A draft of the subscription as it stands, with its children's lines."""
        invoice = new_row(self.session, WantedDraft(self.subscription, occasion, period))
        invoice.idempotency_key, invoice.derived_key, invoice.billing_sequence = None, False, None
        self.session.add(invoice)
        await self.session.flush()
        wanted = InvoiceRequest(self.subscription.id, occasion, period, invoice.id, repeats=self.repeats)
        gathered = await gather(self.session, [wanted], self.now)
        await write(self.session, [invoice], gathered, self.now, announced=AnnouncedDrafts.NONE)
        return invoice


async def _at_boundary(preview_of: _PreviewOf) -> Invoice | None:
    """The invoice that is made at a subscription's next boundary, or None when none is.

    It is brought there as the run will bring it, with what is scheduled until then.
    """
    session, subscription = preview_of.session, preview_of.subscription
    await lock_row(session, Subscription, subscription.id)
    boundary = _boundary(subscription)
    while True:
        before = boundary, subscription.subscription_status
        advance = await roll_forward.advance_to(session, subscription, boundary)
        if advance.billables or advance.replacement is not None:
            break
        boundary = max(boundary, _boundary(subscription))  # a pause that ends by itself moves it
        if (boundary, subscription.subscription_status) == before:
            break
    if advance.replacement is not None:
        made: list[Invoice] = []

        async def compute_last(
            session: AsyncSession, wanted: Sequence[WantedDraft], now: datetime, effects: InvoiceHooks
        ) -> None:
            made.extend([await preview_of.compute(last.occasion, last.period) for last in wanted[:1]])

        closed = ClosedPeriods(advance.billables, compute_last)
        hooks = ports_of(session, InvoicePorts).hooks
        if await replace_due(session, subscription, advance.replacement, closed, boundary, hooks) and made:
            return made[0]
    await session.flush()
    if not advance.billables:
        return None
    return await preview_of.compute(advance.billables[0].occasion, advance.billables[0].period)


def _boundary(subscription: Subscription) -> datetime:
    """Where something happens to a subscription that ends in an invoice, as far as its row says it: a start, the end of
    a trial, of a pause or of the open period."""
    if subscription.opens_at is not None:
        return subscription.opens_at
    if subscription.subscription_status is SubscriptionStatus.TRIALING:
        return subscription.trial_end or subscription.current_period_end
    if subscription.subscription_status is SubscriptionStatus.PAUSED:
        return subscription.pause_due_at or subscription.current_period_end
    return subscription.current_period_end


async def compute(session: AsyncSession, invoice_id: str, now: datetime) -> tuple[Invoice, bool]:
    """Compute a subscription's draft again; True when its subscription has no invoices of its own.

    Raises InvalidOperation unless it is a draft, or was skipped, and nobody edited it by hand.
    """
    invoice = await _held(session, invoice_id)
    if invoice.invoice_status not in COMPUTABLE:
        raise InvalidOperation(
            "only a draft can be computed", {"invoice_id": invoice.id, "invoice_status": invoice.invoice_status.value}
        )
    subscription = await find(session, Subscription, invoice.subscription_id or "")
    if subscription.subscription_type in {SubscriptionType.INHERITED, SubscriptionType.GROUPED_INVOICING}:
        return invoice, True
    _demand_unedited(invoice)
    await compute_all(session, [invoice], now)
    return invoice, False


async def recompute(
    session: AsyncSession, invoice_id: str, now: datetime, effects: InvoiceHooks, *, finalize: bool
) -> Invoice:
    """Compute a subscription's draft in place, and finalize it if asked to. Raises InvalidOperation."""
    invoice = await _held(session, invoice_id)
    if invoice.invoice_status is not InvoiceStatus.DRAFT:
        raise InvalidOperation(
            "only a draft can be recalculated in place",
            {"invoice_id": invoice.id, "invoice_status": invoice.invoice_status.value},
        )
    _demand_unedited(invoice)
    await compute_all(session, [invoice], now)
    return await issue(session, invoice, now, effects) if finalize else invoice


async def recalculate(
    session: AsyncSession, invoice_id: str, now: datetime, effects: InvoiceHooks
) -> tuple[Invoice, Invoice]:
    """Void an invoice and bill its period afresh; the old and the new one, linked.

    The new one has the old one's reason. If it comes to nothing it is skipped, and linked all the same. Raises
    InvalidOperation when it was recalculated before or cannot be voided.
    """
    old = await _held(session, invoice_id)
    if old.recalculated_invoice_id is not None:
        raise InvalidOperation(
            "the invoice was recalculated before",
            {"invoice_id": old.id, "recalculated_invoice_id": old.recalculated_invoice_id},
        )
    subscription = await find(session, Subscription, old.subscription_id or "")
    if old.invoice_status is not InvoiceStatus.VOIDED:
        await transitions.void(session, old, now, effects=effects)
    asked = invoice_request_of(old)
    wanted = WantedDraft(
        subscription,
        asked.occasion,
        asked.period,
        scale_arrears=asked.scale_arrears,
        opening_credit=opening_credit_of(old),
        reference_date=old.reference_date,
    )
    begun = await begin(session, [wanted])
    if not begun:
        raise InvalidOperation("the period has another finalized invoice already", {"invoice_id": old.id})
    (new,) = begun
    old.recalculated_invoice_id = new.id
    await compute_all(session, [new], now, announced=AnnouncedDrafts.COMPUTED_BEFORE)
    await issue(session, new, now, effects)
    return old, new


async def _held(session: AsyncSession, invoice_id: str) -> Invoice:
    """A subscription's invoice under its lock, after the subscription's. Raises NotFound, InvalidOperation."""
    found = await find(session, Invoice, invoice_id)
    billed = found.invoice_type is InvoiceType.SUBSCRIPTION and found.subscription_id is not None
    if not billed or found.period_start is None or found.period_end is None or found.billing_reason is None:
        raise InvalidOperation("only an invoice of a subscription's period can be", {"invoice_id": found.id})
    await lock_row(session, Subscription, found.subscription_id or "")
    invoice = await lock_row(session, Invoice, invoice_id)
    require_free(invoice)
    return invoice


def _demand_unedited(invoice: Invoice) -> None:
    if invoice.is_manually_edited:
        raise InvalidOperation("a draft that was edited by hand is not computed again", {"invoice_id": invoice.id})
