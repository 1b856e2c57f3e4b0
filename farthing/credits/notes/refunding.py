"""Having providers send back what a credit note gives back to its source, once the note is on disk."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.credits.notes.tables import CreditNote
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.refunds.sending import send_waiting
from farthing.payments.refunds.tables import RefundRecord


async def send_refunds_of(
    session: AsyncSession, gateways: Gateways, note: CreditNote, point: msgspec.Struct, now: datetime
) -> None:
    """Ask providers for the refunds of a note that wait for them; after a crash the reconciliation duty does.

    `point` says to a repeat of the request that the note has taken effect.
    """
    await session.flush()
    refunds = await session.scalars(select(RefundRecord.id).where(RefundRecord.credit_note_id == note.id))
    await send_waiting(session, gateways, refunds.all(), point, now)
    await session.refresh(note)
