"""Invoices that were made in the window, oldest first."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.encoding.parquet_table import ColumnKind
from farthing.core.enums import Status
from farthing.invoices.tables import Invoice
from farthing.storage.postgres import scope_of
from farthing.transfer.exports.selections.selection import Column, ExportRequest, ExportSelection, streamed, texts

_DECIMAL, _MOMENT, _INTEGER = ColumnKind.DECIMAL, ColumnKind.MOMENT, ColumnKind.INTEGER

_COLUMNS = [
    *texts("id", "tenant_id", "environment_id", "customer_id", "subscription_id", "invoice_number", "invoice_type"),
    *texts("invoice_status", "payment_status", "currency"),
    *(Column(name, _DECIMAL) for name in ("amount_due", "amount_paid", "amount_remaining", "subtotal", "total")),
    *(Column(name, _DECIMAL) for name in ("total_discount", "total_tax", "adjustment_amount", "refunded_amount")),
    Column("billing_sequence", _INTEGER),
    Column("description"),
    *(Column(name, _MOMENT) for name in ("due_date", "paid_at", "voided_at", "finalized_at")),
    Column("billing_period"),
    *(Column(name, _MOMENT) for name in ("period_start", "period_end")),
    *texts("invoice_pdf_url", "billing_reason", "metadata", "idempotency_key"),
    Column("version", _INTEGER),
    *texts("status", "created_by", "updated_by"),
    *(Column(name, _MOMENT) for name in ("created_at", "updated_at")),
]


def select_invoices(session: AsyncSession, request: ExportRequest) -> ExportSelection:
    """Rule: docs/rules/imports-and-exports.md#exported-invoices"""
    attributes = [getattr(Invoice, "meta" if column.name == "metadata" else column.name) for column in _COLUMNS]
    query = (
        select(*attributes)
        .where(
            Invoice.environment_id == scope_of(session).environment_id,
            Invoice.status != Status.DELETED,
            Invoice.created_at >= request.window.start,
            Invoice.created_at < request.window.end,
        )
        .order_by(Invoice.created_at, Invoice.id)
    )
    return ExportSelection(_COLUMNS, streamed(session, query))
