"""Trying a refund again: what a provider has not sent back goes into the customer's wallet.

Rule: docs/rules/credit-notes.md#states-of-a-refund
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import InvalidOperation, ServiceUnavailable
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.ports import PaymentPorts, WalletCredit
from farthing.payments.providers.interface import Fatal, Retryable, SentBack
from farthing.payments.refunds.records import return_key
from farthing.payments.refunds.sending import complete_refund, lock_refund, send_refund
from farthing.payments.refunds.tables import UNDERWAY, RefundDestination, RefundRecord, RefundStatus
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import find

PATIENCE = timedelta(minutes=15)
"""How long a refund may be on its way before somebody may have it tried again."""


async def retry_refund(session: AsyncSession, gateways: Gateways, refund_id: str, now: datetime) -> RefundRecord:
    """Pay a refund that failed into the customer's wallet.

    One that has been on its way for more than 15 minutes is asked about first, by its token: what the provider did is
    settled, and only a proven failure goes into the wallet. Raises NotFound, InvalidOperation for one that settled, was
    cancelled or is not late, and ServiceUnavailable when the provider does not say.
    """
    refund = await find(session, RefundRecord, refund_id)
    if refund.refund_status in UNDERWAY:
        if (refund.sent_at or refund.initiated_at) > now - PATIENCE:
            raise _refused(refund, "the refund is on its way; it can be tried again after 15 minutes")
        answer = await send_refund(session, gateways, refund_id, now)
        refund = await session.get_one(RefundRecord, refund_id, populate_existing=True)
        if refund.refund_status in UNDERWAY:
            reason = answer.message if isinstance(answer, (Retryable, Fatal)) else "the provider has not finished it"
            raise ServiceUnavailable(f"Nobody knows yet what became of the refund: {reason}", {"refund_id": refund_id})
        if isinstance(answer, SentBack) or refund.unapplied_money_id is not None:
            return refund
    return await _pay_into_wallet(session, refund_id, now)


async def _pay_into_wallet(session: AsyncSession, refund_id: str, now: datetime) -> RefundRecord:
    locked = await lock_refund(session, refund_id)
    refund = locked.refund
    if refund.refund_status is not RefundStatus.FAILED:
        raise _refused(refund, f"a {refund.refund_status.value} refund is not tried again")
    if refund.unapplied_money_id is not None:
        raise _refused(refund, "the money is on the customer's balance again; allocate it or refund it anew")
    is_return = refund.payment_id is not None and refund.idempotency_key == return_key(refund.payment_id)
    credit = WalletCredit(
        customer_id=refund.customer_id,
        currency=refund.currency,
        amount=refund.amount,
        key=f"{refund.id}/wallet",
        invoice_id=refund.invoice_id or "",
        is_of_credit_note=refund.credit_note_id is not None and not is_return,
    )
    refund.refund_destination_id = await ports_of(session, PaymentPorts).credit_wallet(session, credit, now)
    refund.refund_destination = RefundDestination.WALLET
    refund.attempt += 1
    await complete_refund(session, locked, now)
    return refund


def _refused(refund: RefundRecord, reason: str) -> InvalidOperation:
    return InvalidOperation(reason, {"refund_id": refund.id, "refund_status": refund.refund_status.value})
