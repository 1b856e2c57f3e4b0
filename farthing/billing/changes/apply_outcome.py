"""From a change of a subscription to its money: invoices that are due now, and the settlement of what changed.

Every function of `subscriptions` that changes something returns an `Outcome`; `perform` deals with all of it, in the
transaction that made the change.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.changes.settle import ProrationResult, settle_changes
from farthing.billing.periods.drafts import Wanted, begin
from farthing.billing.periods.finalize import issue_at_once
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
) -> Performed:
    """Bill and settle what a change left to be done.

    `before` is the subscription before it was changed, where the change moved its open period. Nothing is settled
    while it is a draft, in its trial or about to start: nobody has paid.
    """
    scale = outcome.proration is ProrationBehavior.CREATE_PRORATIONS
    at_once: list[Wanted] = []
    later: list[Wanted] = []
    for one in outcome.billables:
        wanted = Wanted(outcome.subscription, one.occasion, one.period, scale_arrears=scale)
        (at_once if one.at_once else later).append(wanted)
    issued = await issue_at_once(session, at_once, now, effects)
    drafts = await begin(session, later)
    settlement = None
    if scale and outcome.changes and outcome.subscription.opens_at is None:
        snapshot = before or await loading.load_one(session, outcome.subscription.id)
        if snapshot.status not in {SubscriptionStatus.DRAFT, SubscriptionStatus.TRIALING}:
            settlement = await settle_changes(session, snapshot, outcome.changes, now, effects)
    return Performed(tuple(issued), tuple(drafts), settlement)
