"""Drafts computed again every day, where an environment wants to watch them grow.

It computes the drafts there are and begins none.
Rule: docs/rules/billing.md#recomputing-drafts
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.periods.drafts import recomputable, recompute
from farthing.billing.run.passes import Run, Summary
from farthing.identity.settings.catalogue import DraftInvoiceRecomputeConfig
from farthing.identity.settings.current import read
from farthing.invoices.tables import Invoice
from farthing.subscriptions.tables import Subscription


async def recompute_drafts(run: Run, done: Summary) -> None:
    """Compute the computed drafts again, where that is switched on."""
    async with run.database.transaction(run.scope, read_only=True) as session:
        if not (await read(session, DraftInvoiceRecomputeConfig)).enabled:
            return
    after = ""
    while True:
        async with run.database.transaction(run.scope, read_only=True) as session:
            found = await session.scalars(
                select(Invoice.subscription_id)
                .where(*recomputable(), Invoice.subscription_id > after)
                .distinct()
                .order_by(Invoice.subscription_id)
                .limit(run.batch)
            )
            ids = [one for one in found if one is not None]
        if not ids:
            return
        after = ids[-1]
        await run.each(ids, lambda session, some: _recompute(run, session, some), "drafts again", done)


async def _recompute(run: Run, session: AsyncSession, ids: Sequence[str]) -> Summary:
    did = Summary()
    # as the run locks: subscriptions first, in order of id, and those that somebody holds another day
    free = await session.scalars(
        select(Subscription.id)
        .where(Subscription.id.in_(ids))
        .order_by(Subscription.id)
        .with_for_update(skip_locked=True)
    )
    held = await session.scalars(
        select(Invoice)
        .where(Invoice.subscription_id.in_(free.all()), *recomputable())
        .order_by(Invoice.period_end, Invoice.id)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    drafts = held.all()
    await recompute(session, drafts, run.now)
    did.computed += len(drafts)
    return did
