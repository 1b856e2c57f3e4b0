"""How an invoice begins: a draft with its lines, one per idempotency key and one per subscription period.

The database decides who was first; whoever lost is told which invoice stands in the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.core.errors import AlreadyExists, VersionConflict
from farthing.core.ids import Kind, new_id
from farthing.invoices.figures.computation import published_lines
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.receivable import InvoiceStatus, InvoiceType
from farthing.invoices.tables import Invoice
from farthing.storage.postgres import add_new
from farthing.storage.queries.rows import insert_if_new

REOPENED = frozenset({InvoiceStatus.DRAFT, InvoiceStatus.SKIPPED})
MOST_ATTEMPTS = 3


async def begin(session: AsyncSession, invoice: Invoice) -> Invoice:
    """Insert `invoice`, or return the draft or skipped one that has its key or its period, locked.

    The answer is `invoice` itself if and only if it was inserted. Raises AlreadyExists, with `invoice_id`, when the
    one in the way was finalized.
    """
    invoice.id = invoice.id or new_id(Kind.INVOICE)
    for _ in range(MOST_ATTEMPTS):
        if await insert_if_new(session, invoice):
            return invoice
        for what, like in _likenesses(invoice):
            rival = await session.scalar(
                select(Invoice)
                .where(Invoice.status == Status.PUBLISHED, Invoice.invoice_status != InvoiceStatus.VOIDED, *like)
                .with_for_update()
                .execution_options(populate_existing=True)
            )
            if rival is None:
                continue  # the other index, or it was voided meanwhile, which frees the key
            if rival.invoice_status in REOPENED:
                return rival
            raise AlreadyExists(f"An invoice with this {what} already exists", {"invoice_id": rival.id})
    raise VersionConflict("The invoice was changed by another request at the same time; please try again")


async def refill(session: AsyncSession, draft: Invoice, wanted: Invoice) -> Invoice:
    """Empty a locked draft and give it the period and key of `wanted`, so that its charges can be written anew."""
    for line in await published_lines(session, draft.id):
        line.status = Status.ARCHIVED
    for name in ("period_start", "period_end", "reference_date", "billing_period", "idempotency_key"):
        setattr(draft, name, getattr(wanted, name))
    await session.flush()
    return draft


def _likenesses(invoice: Invoice) -> Iterator[tuple[str, tuple[ColumnElement[bool], ...]]]:
    """In what a unique index may have found another invoice like it."""
    if invoice.idempotency_key is not None:
        yield "idempotency key", (Invoice.idempotency_key == invoice.idempotency_key,)
    if invoice.derived_key:
        yield "subscription period", _same_period(invoice)


def _same_period(invoice: Invoice) -> tuple[ColumnElement[bool], ...]:
    return (
        Invoice.subscription_id == invoice.subscription_id,
        Invoice.period_start == invoice.period_start,
        Invoice.period_end == invoice.period_end,
        Invoice.billing_reason == invoice.billing_reason,
        Invoice.invoice_type == InvoiceType.SUBSCRIPTION,
        Invoice.derived_key.is_(True),
    )


def add_lines(session: AsyncSession, invoice: Invoice, lines: Sequence[InvoiceLineItem], *, start: int = 0) -> None:
    """Put lines on an invoice behind position `start`, in the order given; they take its payer and currency."""
    for position, line in enumerate(lines, start):
        line.id = line.id or new_id(Kind.INVOICE_LINE_ITEM)
        line.invoice_id = invoice.id
        line.customer_id = line.customer_id or invoice.customer_id
        line.currency = invoice.currency
        line.position = position
    add_new(session, lines)
