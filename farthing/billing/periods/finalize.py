"""Making drafts payable: finalizing what is due, and what follows when an activating invoice is paid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.dunning.cases import close_case
from farthing.billing.dunning.tables import DunningStatus
from farthing.billing.late_usage.obstacles import require_not_paid_out
from farthing.billing.periods.drafts import AnnouncedDrafts, WantedDraft, begin, compute_all, recomputable, recompute
from farthing.catalogue.fx.lookup import NoRate
from farthing.core.money import exact_sum
from farthing.credits.invoicing.adjustments import open_credits
from farthing.credits.invoicing.purchases import complete_purchase, fail_purchase
from farthing.credits.invoicing.returns import give_back
from farthing.credits.invoicing.wallets import lock_wallets_of_invoice
from farthing.credits.notes.lifecycle.finalization import void_drafts
from farthing.invoices.figures.conversion import rates_of_drafts
from farthing.invoices.hooks import InvoiceCredits, InvoiceHooks
from farthing.invoices.lifecycle import transitions
from farthing.invoices.parts import InvoiceParts, payers_of
from farthing.invoices.receivable import BillingReason, InvoiceStatus, InvoiceType
from farthing.invoices.tables import Invoice
from farthing.payments.integrations.saved_methods import connected_gateways
from farthing.payments.processing.voiding import require_nothing_in_flight, withdraw_open
from farthing.payments.refunds.records import RefundCause
from farthing.payments.refunds.sources import plan_source_refunds, record_source_refunds
from farthing.payments.refunds.unasked import sent_back_unasked
from farthing.payments.unapplied.allocation import apply_to_new_invoice, is_any_set_aside
from farthing.storage.postgres import clock_of
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.enums import InvoiceTrigger, PaymentBehavior, SubscriptionStatus
from farthing.subscriptions.lifecycle import activation
from farthing.subscriptions.tables import Subscription

ACTIVATING = frozenset(
    {
        BillingReason.SUBSCRIPTION_CREATE,
        BillingReason.SUBSCRIPTION_UPDATE,
        BillingReason.SUBSCRIPTION_TRIAL_END,
    }
)
"""Invoices that make an incomplete subscription active once they are paid.

Rule: docs/rules/subscriptions.md#states
"""


_COLLECTS = "billing.collects"
_SETS_ASIDE = "billing.sets_aside"


class BillingHooks:
    """What is done inside an invoice's transaction: a final invoice waits to be collected, so that no crash forgets it;
    prepaid wallets take off what they can; a paid opening activates its subscription, and a paid purchase completes its
    credits; what is open on a voided invoice is withdrawn, and the purchase fails.
    """

    async def open_credits(self, session: AsyncSession, invoices: Sequence[Invoice], now: datetime) -> InvoiceCredits:
        return await open_credits(session, invoices, now)

    async def before_voiding(self, session: AsyncSession, invoice: Invoice) -> None:
        await require_not_paid_out(session, invoice)
        await withdraw_open(session, invoice)
        if invoice.finalized_at is not None:
            await close_case(session, invoice.id, DunningStatus.ENDED)
            await lock_wallets_of_invoice(session, invoice)
        if invoice.wallet_transaction_id is not None:
            await fail_purchase(session, invoice.wallet_transaction_id, clock_of(session).now())
        await void_drafts(session, invoice, clock_of(session).now)

    async def on_recovered(self, session: AsyncSession, invoice: Invoice) -> None:
        await close_case(session, invoice.id, DunningStatus.RECOVERED)

    async def before_writing_off(self, session: AsyncSession, invoice: Invoice) -> None:
        await require_nothing_in_flight(session, invoice)
        await close_case(session, invoice.id, DunningStatus.ENDED)

    async def sent_back_unasked(self, session: AsyncSession, invoice: Invoice) -> Decimal:
        return await sent_back_unasked(session, invoice)

    async def return_to_source(self, session: AsyncSession, invoice: Invoice, amount: Decimal) -> Decimal:
        parts = await plan_source_refunds(session, invoice, amount)
        await record_source_refunds(session, RefundCause(invoice, f"{invoice.id}/void"), parts, clock_of(session).now())
        return exact_sum([part.amount for part in parts])

    async def give_back(self, session: AsyncSession, invoice: Invoice, amount: Decimal, now: datetime) -> None:
        await give_back(session, invoice, amount, now)

    async def on_finalized(
        self, session: AsyncSession, invoice: Invoice, now: datetime, credits: InvoiceCredits
    ) -> None:
        if invoice.checkout_session_id is not None:
            return  # its money is there already
        if await self._sets_aside(session):
            await apply_to_new_invoice(session, invoice, now)
        owed = invoice.subscription_id is not None and invoice.amount_remaining > 0
        collected = owed and (credits.can_pay(invoice) or await self._collects(session))
        invoice.collect_at = now if collected else None

    async def _collects(self, session: AsyncSession) -> bool:
        """Whether any provider is connected that could be asked; found out once a session."""
        if _COLLECTS not in session.info:
            with session.no_autoflush:
                session.info[_COLLECTS] = bool(await connected_gateways(session))
        return bool(session.info[_COLLECTS])

    async def _sets_aside(self, session: AsyncSession) -> bool:
        """Whether any credit note set money aside for a next invoice; found out once a session."""
        if _SETS_ASIDE not in session.info:
            with session.no_autoflush:
                session.info[_SETS_ASIDE] = await is_any_set_aside(session)
        return bool(session.info[_SETS_ASIDE])

    async def on_paid(self, session: AsyncSession, invoice: Invoice) -> None:
        if invoice.wallet_transaction_id is not None:
            await complete_purchase(session, invoice.wallet_transaction_id, clock_of(session).now())
        opens = invoice.billing_reason in ACTIVATING and invoice.invoice_type is InvoiceType.SUBSCRIPTION
        # one that was taken over may be of a subscription that the system before has no more
        if opens and invoice.subscription_id is not None:
            await activation.paid_for(session, invoice.subscription_id, paid=True)


async def issue(session: AsyncSession, invoice: Invoice, now: datetime, effects: InvoiceHooks) -> Invoice:
    """Finalize a computed draft that is locked or new, as `issue_all` does many."""
    await issue_all(session, [invoice], now, effects, {})
    return invoice


async def issue_all(
    session: AsyncSession,
    invoices: Sequence[Invoice],
    now: datetime,
    effects: InvoiceHooks,
    known: Mapping[str, InvoiceParts],
) -> None:
    """Finalize computed drafts that are locked or new; `known` parts, by invoice, are not read again. One that came to
    nothing is skipped, and counts as paid."""
    for invoice in invoices:
        skipped = invoice.invoice_status is InvoiceStatus.SKIPPED
        if skipped and invoice.billing_reason in ACTIVATING and invoice.subscription_id is not None:
            await activation.paid_for(session, invoice.subscription_id, paid=True)
    await transitions.finalize_all(session, invoices, now, effects=effects, known=known)


class WithoutRate(Enum):
    """What becomes of an invoice that must be converted while no exchange rate is in force."""

    REFUSE = "refuse"
    """Nothing of what asks for it is done."""
    WAIT = "wait"
    """It stays a draft, which the billing run takes up again."""


async def issue_with_rates(
    session: AsyncSession,
    invoices: Sequence[Invoice],
    now: datetime,
    effects: InvoiceHooks,
    known: Mapping[str, InvoiceParts],
) -> dict[str, NoRate]:
    """As `issue_all`, but those that must be converted while there is no rate stay drafts: why, by invoice.

    Rule: docs/rules/currencies.md#without-a-rate
    """
    waiting = await drafts_without_rate(session, invoices, now)
    await issue_all(session, [invoice for invoice in invoices if invoice.id not in waiting], now, effects, known)
    return waiting


async def drafts_without_rate(session: AsyncSession, invoices: Sequence[Invoice], now: datetime) -> dict[str, NoRate]:
    """Which of these are drafts that must be converted while there is no rate, and why, by invoice."""
    drafts = [invoice for invoice in invoices if invoice.invoice_status is InvoiceStatus.DRAFT]
    with session.no_autoflush:  # drafts wait to be written until their figures stand
        payers = await payers_of(session, drafts)
    pairs = [(draft, InvoiceParts(payers.get(draft.customer_id))) for draft in drafts]
    rates = await rates_of_drafts(session, pairs, now)
    return {invoice_id: rate for invoice_id, rate in rates.items() if isinstance(rate, NoRate)}


async def issue_at_once(
    session: AsyncSession,
    wanted: Sequence[WantedDraft],
    now: datetime,
    effects: InvoiceHooks,
    *,
    without_rate: WithoutRate,
) -> list[Invoice]:
    """Begin, compute and finalize invoices in one go, as openings and final invoices are.

    A draft that waits while its subscription ends is computed again first, because the final invoice counts what it
    takes of budgets and what it charges.
    """
    await _recompute_waiting(
        session, [wanted_draft for wanted_draft in wanted if wanted_draft.occasion is InvoiceTrigger.FINAL], now
    )
    invoices = await begin(session, wanted)
    drafts = [invoice for invoice in invoices if invoice.invoice_status in {InvoiceStatus.DRAFT, InvoiceStatus.SKIPPED}]
    parts = await compute_all(session, drafts, now, announced=AnnouncedDrafts.COMPUTED_BEFORE)
    if without_rate is WithoutRate.WAIT:
        await issue_with_rates(session, drafts, now, effects, parts)
    else:
        await issue_all(session, drafts, now, effects, parts)
    return invoices


async def _recompute_waiting(session: AsyncSession, finals: Sequence[WantedDraft], now: datetime) -> None:
    if not finals:
        return
    waiting = await session.scalars(
        select(Invoice)
        .where(
            in_array(Invoice.subscription_id, {wanted_draft.subscription.id for wanted_draft in finals}),
            *recomputable(),
        )
        .order_by(Invoice.period_end, Invoice.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    await recompute(session, waiting.all(), now)


def waits_for_payment(subscription: Subscription) -> bool:
    """Whether the subscription becomes active only when its opening invoice is paid."""
    return (
        subscription.subscription_status is SubscriptionStatus.INCOMPLETE
        and subscription.payment_behavior is not PaymentBehavior.DEFAULT_ACTIVE
    )
