"""Finding invoices.

Rule: docs/rules/invoices-and-payments.md#reading-invoices
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.orm import InstrumentedAttribute

from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.requests import InvoiceFilter
from farthing.invoices.tables import Invoice
from farthing.storage.queries.listing import PageStatements, one_of, page_statements

SEARCHABLE = (
    "id",
    "customer_id",
    "subscription_id",
    "subscription_customer_id",
    "currency",
    "invoice_type",
    "invoice_status",
    "payment_status",
    "billing_reason",
    "invoice_number",
    "idempotency_key",
    "description",
    "subtotal",
    "total_discount",
    "total_prepaid_credits_applied",
    "total_tax",
    "total",
    "adjustment_amount",
    "amount_due",
    "amount_paid",
    "amount_remaining",
    "refunded_amount",
    "billing_period",
    "billing_sequence",
    "due_date",
    "issue_date",
    "paid_at",
    "voided_at",
    "finalized_at",
    "last_computed_at",
    "period_start",
    "period_end",
    "version",
    "is_manually_edited",
    "status",
    "created_at",
    "updated_at",
    "created_by",
    "updated_by",
)


def page_of_invoices(query: InvoiceFilter, customer_id: str | None = None) -> PageStatements:
    """What reads one page of the invoices that meet all of `query`, newest first, and of `customer_id` if given."""
    statement = _narrowed(query)
    if customer_id is not None:
        statement = statement.where(Invoice.customer_id == customer_id)
    return page_statements(Invoice, query, SEARCHABLE, statement, time_range=False)


def _narrowed(query: InvoiceFilter) -> Select[Invoice]:
    statement = select(Invoice)
    for column, wanted in (
        (Invoice.id, query.invoice_ids),
        (Invoice.subscription_customer_id, query.subscription_customer_id),
        (Invoice.invoice_status, query.invoice_status),
        (Invoice.payment_status, query.payment_status),
    ):
        if wanted:
            statement = statement.where(one_of(column, wanted))
    for column, value in (
        (Invoice.customer_id, query.customer_id),
        (Invoice.subscription_id, query.subscription_id),
        (Invoice.invoice_type, query.invoice_type),
        (Invoice.currency, query.currency),
        (Invoice.billing_reason, query.billing_reason),
    ):
        if value:
            statement = statement.where(column == value)
    at_least: tuple[tuple[InstrumentedAttribute[datetime | None], datetime | None], ...] = (
        (Invoice.period_start, query.period_start_gte),
        (Invoice.period_start, query.start_time),
        (Invoice.period_end, query.period_end_gte),
        (Invoice.finalized_at, query.finalized_at_gte),
        (Invoice.voided_at, query.voided_at_gte),
    )
    at_most: tuple[tuple[InstrumentedAttribute[datetime | None], datetime | None], ...] = (
        (Invoice.period_start, query.period_start_lte),
        (Invoice.period_end, query.period_end_lte),
        (Invoice.period_end, query.end_time),
    )
    statement = statement.where(*(moment >= bound for moment, bound in at_least if bound is not None))
    statement = statement.where(*(moment <= bound for moment, bound in at_most if bound is not None))
    if query.amount_due_gt is not None:
        statement = statement.where(Invoice.amount_due > query.amount_due_gt)
    if query.amount_remaining_gt is not None:
        statement = statement.where(Invoice.amount_remaining > query.amount_remaining_gt)
    if not query.invoice_status:
        statement = statement.where(Invoice.invoice_status != InvoiceStatus.SKIPPED)
    return statement
