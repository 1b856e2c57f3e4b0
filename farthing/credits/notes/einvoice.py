"""What a credit note was issued as, for its e-invoice: the corrected invoice's parties, the note's own net and tax.

Rule: docs/rules/e-invoices.md#mapping
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.zones import to_local
from farthing.core.errors import InvalidOperation
from farthing.credits.notes.reads import lines_of
from farthing.credits.notes.tables import CreditNote, CreditNoteLine, CreditNoteStatus, CreditNoteType
from farthing.invoices.einvoice.accounting import accounting_rate
from farthing.invoices.einvoice.assembly import IssuedDocument
from farthing.invoices.einvoice.issued import (
    MARK,
    MARK_URL,
    IssuedParties,
    carried_by_line,
    header_days,
    issue_day,
    line_days,
    line_name,
    parties_of,
)
from farthing.invoices.einvoice.mapping import CarriedRate, IssuedFigures, IssuedLine
from farthing.invoices.einvoice.model import PrecedingInvoice, TypeCode
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import find, in_array


async def issued_note(session: AsyncSession, note: CreditNote) -> IssuedDocument:
    """The note as it was issued. Raises InvalidOperation unless it is finalized."""
    if note.credit_note_status is not CreditNoteStatus.FINALIZED:
        raise InvalidOperation(
            f"a {note.credit_note_status.value} credit note has no e-invoice: only a FINALIZED one has",
            {"credit_note_id": note.id, "credit_note_status": note.credit_note_status.value},
        )
    invoice = await find(session, Invoice, note.invoice_id)
    parties = await parties_of(session, invoice)
    lines = await lines_of(session, [note.id])
    credited = await _credited_lines(session, lines)
    figures = IssuedFigures(
        type=TypeCode.CREDIT_NOTE,
        number=note.credit_note_number,
        issued=_issue_day(note, parties),
        currency=note.currency,
        lines=tuple(_lines(lines, credited, carried_by_line(invoice, list(credited.values())), parties)),
        total=note.total_amount,
        note=_note_text(note),
        terms=_terms(note, invoice),
        days=header_days(invoice, parties.reading_zone),
        preceding=PrecedingInvoice(invoice.invoice_number or "", issue_day(invoice, parties)),
        mark=note.meta.get(MARK, "").strip(),
        mark_url=note.meta.get(MARK_URL, "").strip(),
        accounting_rate=await accounting_rate(session, invoice, parties.seller, _issue_day(note, parties)),
    )
    return IssuedDocument(figures, parties.seller, parties.buyer)


def _issue_day(note: CreditNote, parties: IssuedParties) -> date:
    assert note.finalized_at is not None, "a finalized note has its time"
    return to_local(note.finalized_at, parties.issue_zone).date()


def _note_text(note: CreditNote) -> str:
    reason = note.reason.value.replace("_", " ").capitalize()
    return f"{reason}: {note.memo}" if note.memo else reason


def _terms(note: CreditNote, invoice: Invoice) -> str:
    """What becomes of the credit."""
    if note.credit_note_type is CreditNoteType.ADJUSTMENT:
        return f"Lowers what is owed on invoice {invoice.invoice_number}."
    return f"Gives back what was paid on invoice {invoice.invoice_number}."


async def _credited_lines(session: AsyncSession, lines: Sequence[CreditNoteLine]) -> dict[str, InvoiceLineItem]:
    ids = [line.invoice_line_item_id for line in lines]
    rows = await session.scalars(select(InvoiceLineItem).where(in_array(InvoiceLineItem.id, ids)))
    return {row.id: row for row in rows}


def _lines(
    lines: Sequence[CreditNoteLine],
    credited: Mapping[str, InvoiceLineItem],
    rates: Mapping[str, tuple[CarriedRate, ...]],
    parties: IssuedParties,
) -> Iterable[IssuedLine]:
    """Each is one correction of a line, net of tax."""
    for number, line in enumerate(lines):
        corrected = credited[line.invoice_line_item_id]
        yield IssuedLine(
            id=line.id,
            field=f"line_items[{number}]",
            name=line.display_name or line_name(corrected),
            amount=line.net_amount,
            tax=line.tax_amount,
            rates=rates[corrected.id],
            days=line_days(corrected, parties.reading_zone),
        )
