"""Recording what happened to a refund, through the outbox.

Rule: docs/rules/recorded-events.md#credit-notes-and-refunds
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.encoding.wire import as_wire
from farthing.payments.refunds.tables import RefundRecord
from farthing.storage.record.outbox import record_event

_SNAPSHOT_FIELDS = (
    "id",
    "customer_id",
    "invoice_id",
    "credit_note_id",
    "payment_id",
    "unapplied_money_id",
    "reference",
    "payment_gateway",
    "gateway_refund_id",
    "amount",
    "settled_amount",
    "currency",
    "refund_status",
    "refund_reason",
    "refund_destination",
    "refund_destination_id",
    "attempt",
    "failure_reason",
    "initiated_at",
    "succeeded_at",
    "failed_at",
)


async def record_refund_event(session: AsyncSession, event_name: str, refund: RefundRecord) -> None:
    """Record an event with the refund as it is now."""
    payload = {name: as_wire(getattr(refund, name)) for name in _SNAPSHOT_FIELDS if getattr(refund, name) is not None}
    await record_event(session, event_name, "refund", refund.id, {"refund": payload})
