"""Corrections of an invoice as they are shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.corrections.one_off import charged_at_once
from farthing.billing.corrections.schemas import InvoiceCorrectionResponse, correction_answer
from farthing.billing.corrections.tables import InvoiceCorrection, InvoiceCorrectionLine
from farthing.credits.notes.tables import CreditNote
from farthing.storage.queries.rows import in_array

MOST_SHOWN = 1000


async def corrections_of(session: AsyncSession, invoice_id: str) -> list[InvoiceCorrectionResponse]:
    """The corrections of an invoice, oldest first."""
    row = InvoiceCorrection
    query = select(row).where(row.invoice_id == invoice_id).order_by(row.created_at, row.id).limit(MOST_SHOWN)
    return await answers_of(session, (await session.scalars(query)).all())


async def answers_of(
    session: AsyncSession, corrections: Sequence[InvoiceCorrection]
) -> list[InvoiceCorrectionResponse]:
    """Corrections with their lines, credit notes and invoices; three statements for any number."""
    ids = [correction.id for correction in corrections]
    lines: dict[str, list[InvoiceCorrectionLine]] = defaultdict(list)
    row = InvoiceCorrectionLine
    for line in await session.scalars(select(row).where(in_array(row.correction_id, ids)).order_by(row.id)):
        lines[line.correction_id].append(line)
    notes: dict[str, list[str]] = defaultdict(list)
    made = select(CreditNote.correction_id, CreditNote.id).where(in_array(CreditNote.correction_id, ids))
    for correction_id, note_id in await session.execute(made.order_by(CreditNote.id)):
        notes[correction_id or ""].append(note_id)
    invoices = await charged_at_once(session, ids)
    return [
        correction_answer(correction, lines[correction.id], notes[correction.id], invoices.get(correction.id))
        for correction in corrections
    ]
