"""Doing what was paid for, and issuing its invoice; and undoing what waited when nobody paid.

What is done is worked out again, as of when the checkout was opened. Both work on rows that are locked: subscription,
invoice, payment and session, in this order.
Rule: docs/rules/checkout.md#when-it-is-paid
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.changes import modifications, plan_change
from farthing.billing.changes.apply_outcome import perform
from farthing.billing.periods.drafts import AnnouncedDrafts, WantedDraft, begin, compute_all
from farthing.billing.periods.finalize import issue_all
from farthing.checkout.purposes import (
    PaidAddon,
    PaidInvoice,
    PaidModification,
    PaidPlanChange,
    PaidSubscription,
    PaidTopUp,
    purpose_of,
)
from farthing.checkout.tables import CheckoutSession
from farthing.core.enums import Status
from farthing.core.errors import InvalidOperation
from farthing.core.money import ZERO, plain
from farthing.customers.tables import Customer
from farthing.invoices.hooks import InvoiceHooks
from farthing.invoices.lifecycle import transitions
from farthing.invoices.lifecycle.holding import release
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice
from farthing.payments.processing.creation import why_not_payable
from farthing.storage.queries.rows import find, lock_row
from farthing.subscriptions.addons import lifecycle as addons
from farthing.subscriptions.enums import AddonStatus, ProrationBehavior, SubscriptionStatus
from farthing.subscriptions.lifecycle import activation, creation, discard
from farthing.subscriptions.outcome import Outcome
from farthing.subscriptions.tables import AddonAssociation, Subscription


async def complete(
    session: AsyncSession, checkout: CheckoutSession, invoice: Invoice, now: datetime, effects: InvoiceHooks
) -> None:
    """Do what was paid for; the invoice is issued for what its payer was asked for.

    Raises InvalidOperation, or what the change itself raises, where it cannot be done any more or would cost another
    amount; the caller undoes what was done until then.
    """
    customer = await find(session, Customer, checkout.customer_id)
    if checkout.holds_draft and customer.status is not Status.PUBLISHED:  # what is owed may be paid all the same
        raise InvalidOperation("The customer was deleted", {"customer_id": customer.id})
    release(invoice)
    match purpose_of(checkout.configuration):
        case PaidSubscription():
            await _begin(session, checkout, now, effects)
        case PaidAddon() as paid:
            outcome = await addons.settle_pending(session, paid.addon_association_id, paid=True, now=now)
            await perform(session, outcome, now, effects, onto=invoice)
        case PaidModification() as paid:
            outcome, _ = await modifications.make(session, paid.subscription_id, paid.asked, checkout.opened_at)
            await perform(session, outcome, now, effects, onto=invoice)
        case PaidPlanChange() as paid:
            await lock_row(session, Subscription, paid.subscription_id)
            await plan_change.change_now(session, paid.subscription_id, paid.asked, now, effects, onto=invoice)
        case PaidTopUp():
            await transitions.finalize(session, invoice, now, effects=effects)
        case PaidInvoice():
            await _require_owed(session, invoice, now, effects)
    await session.flush()
    if checkout.holds_draft:
        _require_same_amount(invoice, checkout)


def _require_same_amount(invoice: Invoice, checkout: CheckoutSession) -> None:
    due = invoice.total if invoice.invoice_status is InvoiceStatus.FINALIZED else ZERO
    if due != checkout.amount:
        raise InvalidOperation(
            f"what was paid for comes to {plain(due)} by now, not to the {plain(checkout.amount)} that was asked for",
            {"invoice_id": invoice.id},
        )
    transitions.require_currency(invoice, checkout.currency)


async def _require_owed(session: AsyncSession, invoice: Invoice, now: datetime, effects: InvoiceHooks) -> None:
    """Issue the draft of a one-off, or look whether an issued invoice still asks for money."""
    if invoice.invoice_status is InvoiceStatus.DRAFT:
        await transitions.finalize(session, invoice, now, effects=effects)
        return
    refusal = why_not_payable(invoice)
    if refusal is not None:
        raise InvalidOperation(refusal, {"invoice_id": invoice.id})


async def opening_outcome(session: AsyncSession, subscription_id: str, now: datetime) -> Outcome:
    """Let a draft begin on the date it was made for, and say what its opening bills: the payer has asked to pay now,
    also where the start lies ahead.

    Rule: docs/rules/subscriptions.md#starts-in-the-future
    """
    subscription = await lock_row(session, Subscription, subscription_id)
    subscription.checkout_session_id = None
    outcome = await activation.activate(session, subscription_id, subscription.start_date, now)
    if outcome.subscription.opens_at is None:
        return outcome
    outcome.subscription.opens_at = None
    return Outcome(outcome.subscription, creation.opening(outcome.subscription))


async def opening_invoices(session: AsyncSession, outcome: Outcome, now: datetime) -> list[Invoice]:
    """The computed drafts of a subscription's opening, begun now or found as they were begun before."""
    scale = outcome.proration is ProrationBehavior.CREATE_PRORATIONS
    wanted = [
        WantedDraft(outcome.subscription, billable.occasion, billable.period, scale_arrears=scale)
        for billable in outcome.billables
    ]
    invoices = await begin(session, wanted)
    await compute_all(session, invoices, now, announced=AnnouncedDrafts.NONE)
    return invoices


async def _begin(session: AsyncSession, checkout: CheckoutSession, now: datetime, effects: InvoiceHooks) -> None:
    assert checkout.subscription_id is not None
    outcome = await opening_outcome(session, checkout.subscription_id, now)
    await session.flush()
    invoices = await opening_invoices(session, outcome, now)
    await issue_all(session, invoices, now, effects, {})


async def drop(session: AsyncSession, checkout: CheckoutSession, now: datetime) -> None:
    """Undo what waited for a checkout that nobody paid, all but its invoice."""
    match purpose_of(checkout.configuration):
        case PaidSubscription() as paid:
            subscription = await find(session, Subscription, paid.subscription_id)
            if subscription.subscription_status is SubscriptionStatus.DRAFT:
                await discard.discard_draft(session, subscription.id)
        case PaidAddon() as paid:
            association = await find(session, AddonAssociation, paid.addon_association_id)
            if association.addon_status is AddonStatus.PENDING:
                await addons.settle_pending(session, association.id, paid=False, now=now)
        case _:
            pass  # nothing but the invoice waits
