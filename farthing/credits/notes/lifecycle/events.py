"""Recording what happened to a credit note, through the outbox.

Rule: docs/rules/recorded-events.md#credit-notes-and-refunds
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.encoding.wire import as_wire
from farthing.credits.notes.tables import CreditNote
from farthing.storage.record.outbox import record_event

_SNAPSHOT_FIELDS = (
    "id",
    "credit_note_number",
    "invoice_id",
    "customer_id",
    "subscription_id",
    "credit_note_status",
    "credit_note_type",
    "reason",
    "memo",
    "currency",
    "total_amount",
    "voided_at",
    "finalized_at",
)


async def record_note_event(session: AsyncSession, event_name: str, note: CreditNote) -> None:
    """Record an event with the note as it is now."""
    payload = {name: as_wire(getattr(note, name)) for name in _SNAPSHOT_FIELDS if getattr(note, name) not in (None, "")}
    payload["metadata"] = dict(note.meta)
    await record_event(session, event_name, "credit_note", note.id, {"credit_note": payload})
