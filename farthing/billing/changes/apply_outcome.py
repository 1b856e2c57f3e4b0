"""From a change of a subscription to its money: invoices that are due now, and the settlement of what changed.

Every function of `subscriptions` that changes something returns an `Outcome`; `perform` deals with all of it, in the
transaction that made the change.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.changes.settle import ProrationResult, lock_for_settlement, settle_changes
from farthing.billing.periods.drafts import WantedDraft, begin
from farthing.billing.periods.finalize import WithoutRate, issue_at_once
from farthing.invoices.hooks import InvoiceHooks
from farthing.invoices.tables import Invoice
from farthing.subscriptions.enums import ProrationBehavior, SubscriptionStatus
from farthing.subscriptions.outcome import Outcome
from farthing.subscriptions.snapshot import loading
from farthing.subscriptions.snapshot.values import SubscriptionSnapshot


@dataclass(frozen=True, slots=True)
class Performed:
    """What an outcome led to: invoices made at once, drafts for later, and the settlement of changes."""

    issued: tuple[Invoice, ...] = ()
    drafts: tuple[Invoice, ...] = ()
    settlement: ProrationResult | None = None

    @property
    def to_collect(self) -> list[str]:
        """Invoices to be collected once the transaction is over."""
        made = list(self.issued)
        if self.settlement is not None and self.settlement.invoice is not None:
            made.append(self.settlement.invoice)
        return [invoice.id for invoice in made if invoice.amount_remaining > 0]


async def perform(
    session: AsyncSession,
    outcome: Outcome,
    now: datetime,
    effects: InvoiceHooks,
    *,
    before: SubscriptionSnapshot | None = None,
    onto: Invoice | None = None,
) -> Performed:
    """Bill and settle what a change left to be done.

    `before` is the subscription before it was changed, where the change moved its open period. Nothing is settled
    while it is a draft, in its trial or about to start: nobody has paid. `onto` is the locked draft that a settlement's
    charges are put on, where a checkout holds one for them.
    """
    scale = outcome.proration is ProrationBehavior.CREATE_PRORATIONS
    at_once: list[WantedDraft] = []
    later: list[WantedDraft] = []
    for billable in outcome.billables:
        wanted = WantedDraft(outcome.subscription, billable.occasion, billable.period, scale_arrears=scale)
        (at_once if billable.at_once else later).append(wanted)
    snapshot = await _to_settle(session, outcome, before) if scale else None
    if snapshot is not None and at_once:
        await lock_for_settlement(session, snapshot, outcome.changes)
    issued = await issue_at_once(session, at_once, now, effects, without_rate=WithoutRate.REFUSE)
    drafts = await begin(session, later)
    settlement = None
    if snapshot is not None:
        ends = outcome.subscription.subscription_status is SubscriptionStatus.CANCELLED
        settlement = await settle_changes(session, snapshot, outcome.changes, now, effects, ends=ends, onto=onto)
    return Performed(tuple(issued), tuple(drafts), settlement)


async def _to_settle(
    session: AsyncSession, outcome: Outcome, before: SubscriptionSnapshot | None
) -> SubscriptionSnapshot | None:
    """The subscription whose changes are to be settled; None where there is nothing to settle."""
    if not outcome.changes or outcome.subscription.opens_at is not None:
        return None
    snapshot = before or await loading.load_one(session, outcome.subscription.id)
    return None if snapshot.status in {SubscriptionStatus.DRAFT, SubscriptionStatus.TRIALING} else snapshot
