"""What billing's endpoints answer about a change, made of what it came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.proration import Proration
from farthing.billing.changes.apply_outcome import Performed
from farthing.billing.changes.give_back import ReturnedCredit
from farthing.billing.changes.replacement import Replaced
from farthing.billing.plan_change_schemas import (
    BillingCycleInfo,
    ChangedInvoice,
    ChangedLineItem,
    ChangedLineItemAction,
    ChangedResources,
    ChangedSubscription,
    InvoiceLineItemPreview,
    InvoicePreview,
    PlanSummary,
    ProrationDetails,
    SubscriptionSummary,
)
from farthing.billing.schemas import AddAddonToSubscriptionResponse, CancelSubscriptionResponse, ProrationDetail
from farthing.calendar.period import Period
from farthing.catalogue.plans.tables import Plan
from farthing.core.clock import instant
from farthing.core.encoding.wire import as_wire
from farthing.core.money import EXACT, ZERO, plain
from farthing.credits.ledger.tables import WalletTransaction
from farthing.credits.notes.lifecycle.finalization import note_credit_key
from farthing.credits.notes.tables import CreditNoteType
from farthing.invoices.reads.presentation import all_shown, shown
from farthing.invoices.schemas import InvoiceResponse
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import find, in_array
from farthing.subscriptions.enums import CancellationType
from farthing.subscriptions.item_changes import ItemChange
from farthing.subscriptions.lifecycle.cancellation import Cancellation
from farthing.subscriptions.outcome import Outcome
from farthing.subscriptions.reads.answers import association_answers, subscription_answer
from farthing.subscriptions.reads.late_prices import warn_of_late_prices
from farthing.subscriptions.schemas.responses import SubscriptionResponse
from farthing.subscriptions.snapshot.values import LineItemSnapshot
from farthing.subscriptions.tables import AddonAssociation, Subscription

CREATED = "(preview-created)"
ENDED = "(preview-ended)"
PREVIEWED = "preview"


async def describe_opening(
    session: AsyncSession, subscription: Subscription, invoice: Invoice | None, now: datetime
) -> SubscriptionResponse:
    """A subscription that began, with its opening invoice and what its caller may not have meant."""
    given: dict[str, Any] = {}
    if invoice is not None:
        await session.refresh(invoice)
        given["latest_invoice"] = msgspec.to_builtins(await shown(session, invoice))
    await session.refresh(subscription)
    given["warnings"] = await warn_of_late_prices(session, subscription, now) or None
    return await subscription_answer(session, subscription, now, **given)


async def describe_attachment(
    session: AsyncSession, association: AddonAssociation, invoice: Invoice | None
) -> AddAddonToSubscriptionResponse:
    """An addon that was attached, or waits for its payment, and the invoice of its charge."""
    (shown_association,) = await association_answers(session, [association])
    fields = {name: getattr(shown_association, name) for name in shown_association.__struct_fields__}
    return AddAddonToSubscriptionResponse(**fields, invoice=None if invoice is None else await shown(session, invoice))


def describe_cancellation(done: Cancellation, proration: Proration, now: datetime) -> CancelSubscriptionResponse:
    """What a cancellation came to, with the credit for each fee that was paid and not had."""
    details = [
        ProrationDetail(
            line_item_id=item.id,
            price_id=item.price_id,
            plan_name=item.plan_display_name,
            original_amount=plain(change.listed),
            credit_amount=plain(change.credit),
            charge_amount=plain(change.net_charge),
            proration_days=_days(change.window.end - change.change.at),
            description=f"Unused time from {instant(change.change.at)}",
        )
        for change in proration.changes
        if (item := change.change.before) is not None
    ]
    status = done.outcome.subscription.subscription_status
    when = {
        CancellationType.IMMEDIATE: "Subscription cancelled",
        CancellationType.END_OF_PERIOD: "Subscription will be cancelled at the end of the period",
        CancellationType.SCHEDULED_DATE: "Subscription will be cancelled on the date",
    }
    return CancelSubscriptionResponse(
        subscription_id=done.outcome.subscription.id,
        cancellation_type=done.type,
        effective_date=instant(done.at),
        status=status,
        reason=done.reason,
        proration_details=details,
        total_credit_amount=plain(proration.credit),
        message=when[done.type],
        processed_at=instant(now),
    )


def _days(span: timedelta) -> int:
    """Days begun."""
    return max(-(-span // timedelta(days=1)), 0)


def changed_items(changes: Sequence[ItemChange]) -> list[ChangedLineItem]:
    """The line items that were ended, made and re-pointed."""
    answers = []
    for change in changes:
        if change.carried and change.after is not None:
            answers.append(_item(change.after, ChangedLineItemAction.UPDATED, change.after.end))
            continue
        if change.before is not None:
            answers.append(_item(change.before, ChangedLineItemAction.ENDED, change.at))
        if change.after is not None:
            answers.append(_item(change.after, ChangedLineItemAction.CREATED, change.after.end))
    return answers


def _item(item: LineItemSnapshot, action: ChangedLineItemAction, end: datetime | None) -> ChangedLineItem:
    return ChangedLineItem(
        id=item.id,
        price_id=item.price_id,
        quantity=plain(item.quantity),
        start_date=instant(item.start),
        end_date=None if end is None else instant(end),
        change_action=action,
    )


async def changed_invoices(session: AsyncSession, performed: Performed) -> list[ChangedInvoice]:
    """Where the money went."""
    made = list(performed.issued)
    settlement = performed.settlement
    if settlement is not None and settlement.invoice is not None:
        made.append(settlement.invoice)
    for invoice in made:
        await session.refresh(invoice)
    answers = [
        ChangedInvoice(id=invoice.id, action="created", status="issued", invoice=invoice)
        for invoice in await all_shown(session, made)
    ]
    if settlement is not None:
        answers += await _credits_given(session, settlement.returned)
    return answers


async def _credits_given(session: AsyncSession, returned: ReturnedCredit) -> list[ChangedInvoice]:
    """What went into the wallet, and the notes that lowered what is unpaid."""
    answers = [
        ChangedInvoice(id=note.id, action="credit_note", status="issued", amount=plain(note.total_amount))
        for note in returned.notes
        if note.credit_note_type is CreditNoteType.ADJUSTMENT
    ]
    keys = [note_credit_key(note.id) for note in returned.notes]
    row = WalletTransaction
    given = await session.scalars(
        select(row).where(in_array(row.system_key, keys) | (row.id == returned.wallet_transaction_id)).order_by(row.id)
    )
    return answers + [
        ChangedInvoice(id=credit.id, action="wallet_credit", status="issued", amount=plain(credit.amount))
        for credit in given
    ]


async def resources(
    session: AsyncSession, outcome: Outcome, performed: Performed, touched: Sequence[Subscription] = ()
) -> ChangedResources:
    """All that a change touched."""
    return ChangedResources(
        line_items=changed_items(outcome.changes),
        invoices=await changed_invoices(session, performed),
        subscriptions=[changed_subscription(subscription) for subscription in touched],
    )


def changed_subscription(row: Subscription, *, made: bool = False) -> ChangedSubscription:
    """A subscription that a change made or touched."""
    return ChangedSubscription(
        id=row.id,
        action="created" if made else "updated",
        status=row.subscription_status,
        current_period_end=instant(row.current_period_end),
        trial_end=None if row.trial_end is None else instant(row.trial_end),
    )


def as_preview(found: ChangedResources) -> ChangedResources:
    """The same, said of what was undone again: nothing has an id to be looked up by."""
    for item in found.line_items:
        if item.change_action is ChangedLineItemAction.CREATED:
            item.id = CREATED
        elif item.change_action is ChangedLineItemAction.ENDED:
            item.id = ENDED
    for invoice in found.invoices:
        invoice.status = PREVIEWED
        invoice.id = CREATED
        if invoice.invoice is not None:
            invoice.invoice.invoice_number = None
            invoice.invoice.id = CREATED
    for subscription in found.subscriptions:
        if subscription.action == "created":
            subscription.id = CREATED
    return found


async def plan_summary(session: AsyncSession, plan_id: str) -> PlanSummary:
    """A plan in short."""
    plan = await find(session, Plan, plan_id)
    return PlanSummary(id=plan.id, name=plan.name, description=plan.description or "", lookup_key=plan.lookup_key or "")


def summary(row: Subscription) -> SubscriptionSummary:
    """A subscription in short."""
    return SubscriptionSummary.of(
        row,
        status=row.subscription_status,
        archived_at=as_wire(row.cancelled_at) if row.cancelled_at is not None else None,
    )


def billing_cycle(row: Subscription) -> BillingCycleInfo:
    """When a subscription bills."""
    return BillingCycleInfo.of(
        row, period_start=as_wire(row.current_period_start), period_end=as_wire(row.current_period_end)
    )


def details(replaced: Replaced, period: Period, at: datetime, code: str) -> ProrationDetails:
    """What a replacement credited, and what the new opening charges beside it."""
    credit = replaced.proration.credit
    taken = EXACT.subtract(credit, replaced.refunded)
    opening = replaced.opening
    charge = ZERO if opening is None else EXACT.add(EXACT.subtract(opening.subtotal, opening.total_discount), taken)
    return ProrationDetails(
        credit_amount=plain(credit),
        credit_description="Unused time of the current plan",
        charge_amount=plain(charge),
        charge_description="First period of the new plan",
        net_amount=plain(EXACT.subtract(charge, credit)),
        proration_date=instant(at),
        current_period_start=instant(period.start),
        current_period_end=instant(period.end),
        days_used=_days(at - period.start),
        days_remaining=max((period.end - at) // timedelta(days=1), 0),
        currency=code,
    )


def _noted(name: str, note: str | None) -> str:
    return name if note is None else f"{name} ({note})"


def invoice_preview(shown_invoice: InvoiceResponse, notes: Mapping[str, str]) -> InvoicePreview:
    """An invoice in short; `notes`, by price, say which quantities were carried over."""
    lines = shown_invoice.line_items or []
    return InvoicePreview(
        subtotal=shown_invoice.subtotal,
        tax_amount=shown_invoice.total_tax,
        total=shown_invoice.total,
        currency=shown_invoice.currency,
        due_date=shown_invoice.due_date,
        line_items=[
            InvoiceLineItemPreview(
                description=_noted(line.display_name or "", notes.get(line.price_id or "")),
                amount=line.amount,
                quantity=line.quantity,
                is_proration="proration_credit" in line.metadata,
                period_start=line.period_start,
                period_end=line.period_end,
            )
            for line in lines
        ],
    )
