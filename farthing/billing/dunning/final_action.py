"""What is done when no retry helped.

Rule: docs/rules/dunning.md#final-action
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.dunning.cases import end, end_with_invoice, lock_case
from farthing.billing.dunning.tables import OPEN_CASES, DunningCase, DunningStatus, FinalAction
from farthing.invoices.lifecycle.write_off import write_off
from farthing.invoices.ports import InvoicePorts
from farthing.invoices.receivable import is_unpaid
from farthing.invoices.tables import Invoice
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import lock_if_there, lock_row
from farthing.subscriptions.enums import SubscriptionStatus
from farthing.subscriptions.lifecycle import cancellation, pausing
from farthing.subscriptions.tables import Subscription

REASON = "payment failed after every retry"


async def take_final_action(session: AsyncSession, invoice_id: str, now: datetime) -> None:
    """Do what the case of an invoice says is done in the end, and close it, in the caller's transaction.

    The subscription is locked before the invoice, as its cancellation does. One that is not active is left as it is.
    """
    subscription_id = await session.scalar(
        select(DunningCase.subscription_id).where(DunningCase.invoice_id == invoice_id)
    )
    subscription = await lock_if_there(session, Subscription, subscription_id or "")
    invoice = await lock_row(session, Invoice, invoice_id)
    held = await lock_case(session, invoice_id)
    if held is None or held.case_status not in OPEN_CASES:
        return
    if not is_unpaid(invoice):
        end_with_invoice(held, invoice, now)
        return
    end(held, DunningStatus.EXHAUSTED, now)
    await session.flush()
    if held.final_action is FinalAction.MARK_UNCOLLECTIBLE:
        await write_off(session, invoice_id, REASON, now, effects=ports_of(session, InvoicePorts).hooks)
        return
    if subscription is None or subscription.subscription_status is not SubscriptionStatus.ACTIVE:
        return
    if held.final_action is FinalAction.CANCEL:
        await cancellation.cancel_now(session, subscription, now, now, reason=REASON)
    elif held.final_action is FinalAction.PAUSE and subscription.active_pause_id is None:
        await pausing.pause(session, subscription.id, pausing.PauseSubscriptionRequest(reason=REASON), now)
