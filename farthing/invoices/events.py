"""Events of an invoice: the body of each, as of the transaction that caused it.

Rule: docs/rules/recorded-events.md#invoice-events
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.invoices.parts import InvoiceParts, parts_of_all
from farthing.invoices.reads.conversions import conversion_shown
from farthing.invoices.reads.presentation import whole
from farthing.invoices.tables import Invoice
from farthing.storage.record import outbox

ENTITY = "invoice"


class InvoiceEvent(StrEnum):
    DRAFTED = "invoice.create.drafted"
    UPDATED = "invoice.update"
    FINALIZED = "invoice.update.finalized"
    PAYMENT = "invoice.update.payment"
    VOIDED = "invoice.update.voided"
    OVERDUE = "invoice.payment.overdue"
    COMMUNICATION = "invoice.communication.triggered"


TRIGGERED_BY_HAND = frozenset(
    {InvoiceEvent.FINALIZED, InvoiceEvent.PAYMENT, InvoiceEvent.VOIDED, InvoiceEvent.COMMUNICATION}
)

_LITE = (
    "id",
    "customer_id",
    "environment_id",
    "subscription_id",
    "invoice_type",
    "invoice_status",
    "payment_status",
    "currency",
    "amount_due",
    "amount_paid",
    "amount_remaining",
    "total",
    "subtotal",
    "invoice_number",
    "due_date",
    "paid_at",
    "voided_at",
    "finalized_at",
    "period_start",
    "period_end",
    "invoice_pdf_url",
    "billing_reason",
    "metadata",
)
_LITE_LINE = (
    "id",
    "amount",
    "quantity",
    "display_name",
    "plan_display_name",
    "price_id",
    "period_start",
    "period_end",
)
_LITE_CUSTOMER = (
    "id",
    "external_id",
    "environment_id",
    "name",
    "email",
    "address_line1",
    "address_line2",
    "address_city",
    "address_state",
    "address_postal_code",
    "address_country",
    "timezone",
    "metadata",
)


async def record_invoice_event(
    session: AsyncSession, event: InvoiceEvent, invoice: Invoice, parts: InvoiceParts | None = None
) -> None:
    """Record `event` with the invoice as it stands now; runs no query if its parts are known."""
    (snapshot,) = await bodies(session, [invoice]) if parts is None else [body(invoice, parts)]
    await record_body(session, event, snapshot)


async def repeat_invoice_event(session: AsyncSession, event: InvoiceEvent, invoice: Invoice) -> None:
    """Tell endpoints once more of `event`, with the invoice as it stands now, though nothing happened."""
    (snapshot,) = await bodies(session, [invoice])
    await record_body(session, event, snapshot, is_repeated=True)


async def record_invoice_events(session: AsyncSession, event: InvoiceEvent, invoices: Sequence[Invoice]) -> None:
    """Record `event` for each invoice; as many queries for many as for one."""
    for snapshot in await bodies(session, invoices):
        await record_body(session, event, snapshot)


async def bodies(session: AsyncSession, invoices: Sequence[Invoice]) -> list[dict[str, Any]]:
    """Each invoice as it stands now, whole and ready for an event."""
    parts = await parts_of_all(session, invoices)
    return [body(invoice, part) for invoice, part in zip(invoices, parts, strict=True)]


def body(invoice: Invoice, parts: InvoiceParts) -> dict[str, Any]:
    """An invoice with its parts as they stand in memory, ready for an event; not how a draft would be converted."""
    snapshot: dict[str, Any] = msgspec.to_builtins(whole(invoice, parts, conversion=conversion_shown(invoice)))
    return snapshot


async def record_body(
    session: AsyncSession, event: InvoiceEvent, snapshot: dict[str, Any], *, is_repeated: bool = False
) -> None:
    """Record `event` with a whole body; runs no query."""
    short = lite(snapshot) if event is InvoiceEvent.COMMUNICATION else snapshot
    await outbox.record_event(session, event.value, ENTITY, snapshot["id"], {ENTITY: short}, is_repeated=is_repeated)


def lite(snapshot: dict[str, Any]) -> dict[str, Any]:
    """The short form of a whole body; what is empty is left out."""
    short = _picked(snapshot, _LITE)
    short["line_items"] = [_picked(line, _LITE_LINE) for line in snapshot.get("line_items", ())]
    if "customer" in snapshot:
        short["customer"] = _picked(snapshot["customer"], _LITE_CUSTOMER)
    return short


def _picked(values: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: values[name] for name in names if values.get(name) not in (None, "")}
