"""Making a credit note: what it may take back, which request it repeats, and how its refund is to be split."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core import currency
from farthing.core.errors import AlreadyExists, InvalidOperation, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.core.money import EXACT, ZERO, decimals, exact_sum, plain
from farthing.credits.notes.lifecycle import limits
from farthing.credits.notes.lifecycle.events import record_note_event
from farthing.credits.notes.lifecycle.finalization import finalize_note
from farthing.credits.notes.lifecycle.lines import TakenBack, new_line, source_net_of, sums_of, tax_terms_of
from farthing.credits.notes.lifecycle.numbering import number_note
from farthing.credits.notes.schemas import CreateCreditNoteRequest, CreditSplit
from farthing.credits.notes.tables import CreditNote, CreditNoteLine, CreditNoteStatus, CreditNoteType
from farthing.credits.rules.notes import CreditableLine, divide, line_ceiling
from farthing.invoices.tables import Invoice
from farthing.payments.refunds.tables import RefundTarget
from farthing.storage.queries.rows import insert_if_new, lock_row


@dataclass(frozen=True, slots=True)
class CreatedNote:
    """A note that a request made, or that an equal request made before."""

    note: CreditNote
    is_new: bool


async def create_note(session: AsyncSession, given: CreateCreditNoteRequest, now: datetime) -> CreatedNote:
    """Store a note and, if asked to, let it take effect; a repeated request finds the note that it made.

    Raises NotFound, ValidationFailed, InvalidOperation for what cannot be credited, AlreadyExists for a number or key
    in use by something else.
    Rule: docs/rules/credit-notes.md#ceilings
    """
    invoice = await lock_row(session, Invoice, given.invoice_id)
    kind = limits.type_for(invoice)
    repeated = await _repeated(session, given, invoice, kind)
    if repeated is not None:
        return CreatedNote(repeated, is_new=False)
    limits.require_creditable(invoice)
    lines = await _lines(session, given, invoice)
    note = _note(given, invoice, kind, lines)
    limits.require_within(note.total_amount, await limits.available_amount(session, invoice, kind))
    split = _split(given, note)
    note.to_wallet, note.to_source, note.to_next_invoice = (
        split.prepaid_wallet,
        split.back_to_source,
        split.next_invoice,
    )
    if not await insert_if_new(session, note):
        # the locked invoice keeps equal requests apart, so the key is another invoice's
        raise _key_is_taken(note.idempotency_key)
    for line in lines:
        line.credit_note_id = note.id
    session.add_all(lines)
    await session.flush()
    if given.process_credit_note:
        await finalize_note(session, invoice, note, now)
    await number_note(session, note, given.credit_note_number, now)
    await record_note_event(session, "credit_note.created", note)
    if note.credit_note_status is CreditNoteStatus.FINALIZED:
        await record_note_event(session, "credit_note.updated", note)
    return CreatedNote(note, is_new=True)


# which request it repeats


async def _repeated(
    session: AsyncSession, given: CreateCreditNoteRequest, invoice: Invoice, kind: CreditNoteType
) -> CreditNote | None:
    """The note that an equal request made before. Raises AlreadyExists when the caller's key is another request's.

    Rule: docs/rules/credit-notes.md#repeats
    """
    if given.idempotency_key:
        known = await session.scalar(
            select(CreditNote).where(CreditNote.idempotency_key == given.idempotency_key, ~CreditNote.derived_key)
        )
        if known is not None and known.request_hash != _hash_of(given):
            raise _key_is_taken(given.idempotency_key)
        return known
    live = select(CreditNote).where(
        CreditNote.derived_key,
        CreditNote.invoice_id == invoice.id,
        CreditNote.credit_note_status != CreditNoteStatus.VOIDED,
    )
    by_key = await session.scalar(live.where(CreditNote.idempotency_key == _derived_key(given, kind)))
    if by_key is not None:
        return by_key
    # the request itself may have turned what was unpaid into what is paid, and with it the kind of the note
    unchanged = live.where(CreditNote.request_hash == _hash_of(given), CreditNote.invoice_version == invoice.version)
    return await session.scalar(unchanged.limit(1))


def _derived_key(given: CreateCreditNoteRequest, kind: CreditNoteType) -> str:
    parts = [given.invoice_id, given.reason.value, kind.value, str(bool(given.process_credit_note)), *_asked(given)]
    return f"credit_note-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:32]}"


def _asked(given: CreateCreditNoteRequest) -> list[str]:
    return sorted(f"{line.invoice_line_item_id}:{plain(line.amount)}" for line in given.line_items)


def _hash_of(given: CreateCreditNoteRequest) -> str:
    """What tells a repeat of the request from another one."""
    body: Mapping[str, Any] = {
        "invoice_id": given.invoice_id,
        "reason": given.reason.value,
        "lines": _asked(given),
        "process": bool(given.process_credit_note),
        "target": given.refund_target or RefundTarget.PREPAID_WALLET,
        "split": given.split,
    }
    return hashlib.sha256(msgspec.json.encode(body)).hexdigest()


def _key_is_taken(key: str) -> AlreadyExists:
    return AlreadyExists("This idempotency key was used for another credit note", {"idempotency_key": key})


# what it takes back


async def _lines(session: AsyncSession, given: CreateCreditNoteRequest, invoice: Invoice) -> list[CreditNoteLine]:
    digits = currency.digits(invoice.currency)
    overpaid = EXACT.subtract(invoice.amount_paid, invoice.amount_due)
    on_invoice = await limits.creditable_lines(session, invoice)
    left = dict(on_invoice.creditable)
    rates = tax_terms_of(invoice)
    lines = []
    for position, asked in enumerate(given.line_items):
        field = f"line_items[{position}]"
        line = left.get(asked.invoice_line_item_id)
        if line is None:
            raise ValidationFailed.of(f"{field}.invoice_line_item_id", "must be a line of the invoice")
        if decimals(asked.amount) > digits:
            raise ValidationFailed.of(f"{field}.amount", f"must have at most {digits} decimals in {invoice.currency}")
        most = max(EXACT.subtract(line_ceiling(line, overpaid), line.credited), ZERO)
        row = on_invoice.rows[asked.invoice_line_item_id]
        row_name = asked.display_name or row.display_name or row.plan_display_name or ""
        if asked.amount > most:
            raise _above_ceiling(f"{field}.amount", row_name, asked.amount, most)
        figures = divide(line, asked.amount, digits)
        taken = TakenBack(row.id, figures.net, figures.taxes, source_net_of(invoice, row, figures.net))
        lines.append(new_line(row, taken, rates, position, display_name=row_name, meta=dict(asked.metadata or {})))
        left[row.id] = _credited(line, asked.amount, dict(figures.taxes))
    return lines


def _above_ceiling(field: str, name: str, requested: Decimal, most: Decimal) -> ValidationFailed:
    return ValidationFailed(
        f"credit amount exceeds available limit: at most {plain(most)} of '{name}' can be credited",
        {
            field: f"must be at most {plain(most)}",
            "requested_amount": plain(requested),
            "maximum_allowed": plain(most),
        },
    )


def _credited(line: CreditableLine, amount: Decimal, taxes: Mapping[str, Decimal]) -> CreditableLine:
    by_rate = {
        rate: EXACT.add(line.credited_taxes.get(rate, ZERO), taxes.get(rate, ZERO))
        for rate in {*line.credited_taxes, *taxes}
    }
    return replace(line, credited=EXACT.add(line.credited, amount), credited_taxes=by_rate)


def _note(
    given: CreateCreditNoteRequest, invoice: Invoice, kind: CreditNoteType, lines: list[CreditNoteLine]
) -> CreditNote:
    note_id = new_id(Kind.CREDIT_NOTE)
    key = given.idempotency_key or _derived_key(given, kind)
    return CreditNote(
        id=note_id,
        credit_note_number=note_id,  # nobody sees it: the number is given last
        invoice_id=invoice.id,
        customer_id=invoice.customer_id,
        subscription_id=invoice.subscription_id,
        credit_note_status=CreditNoteStatus.DRAFT,
        credit_note_type=kind,
        reason=given.reason,
        memo=given.memo or "",
        currency=invoice.currency,
        **sums_of(lines),
        split_is_exact=given.split is not None,
        meta=dict(given.metadata or {}),
        idempotency_key=key,
        derived_key=not given.idempotency_key,
        request_hash=_hash_of(given),
    )


def _split(given: CreateCreditNoteRequest, note: CreditNote) -> CreditSplit:
    """What is to become of a refund. Raises ValidationFailed for a split that is not the whole of it."""
    if note.credit_note_type is CreditNoteType.ADJUSTMENT:
        if given.split is not None:
            raise InvalidOperation(
                "nothing was paid that could be split: the note lowers what is unpaid", {"invoice_id": note.invoice_id}
            )
        return CreditSplit()
    if given.split is None:
        return split_to(given.refund_target or RefundTarget.PREPAID_WALLET, note.total_amount)
    digits = currency.digits(note.currency)
    parts = (given.split.prepaid_wallet, given.split.back_to_source, given.split.next_invoice)
    if any(decimals(part) > digits for part in parts):
        raise ValidationFailed.of("split", f"must have at most {digits} decimals in {note.currency}")
    if exact_sum(list(parts)) != note.total_amount:
        raise ValidationFailed.of("split", f"must come to the note's total, {plain(note.total_amount)}")
    return given.split


def split_to(target: RefundTarget, total: Decimal) -> CreditSplit:
    """All of a refund to one target."""
    if target is RefundTarget.BACK_TO_SOURCE:
        return CreditSplit(back_to_source=total)
    return CreditSplit(prepaid_wallet=total)
