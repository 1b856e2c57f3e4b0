"""Finding invoices.

Rule: docs/rules/invoices-and-payments.md#reading-invoices
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy import BigInteger, Select, String, bindparam, func, literal_column, select, text
from sqlalchemy.orm import InstrumentedAttribute

from farthing.core.enums import Status
from farthing.invoices.receivable import LISTED_UNCOUNTED, InvoiceStatus
from farthing.invoices.requests import InvoiceFilter
from farthing.invoices.tables import Invoice, InvoiceTotal
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


_OF_NO_INVOICE = frozenset(
    {"customer_id", "external_customer_id", "skip_line_items", "limit", "offset", "order", "sort", "expand", "status"}
)
"""What a filter may say without leaving out any of a payer's invoices."""


def page_of_invoices(query: InvoiceFilter, customer_id: str | None = None) -> PageStatements:
    """What reads one page of the invoices that meet all of `query`, newest first, and of `customer_id` if given.

    All invoices, or all of a payer, are not counted one by one: totals that the database keeps say how many were
    issued, and an index holds the others alone.
    """
    payers = [bindparam(None, payer, String, unique=True) for payer in (query.customer_id, customer_id) if payer]
    statement = _narrowed(query).where(*(Invoice.customer_id == payer for payer in payers))
    statements = page_statements(Invoice, query, SEARCHABLE, statement, time_range=False)
    if not _is_whole(query):
        return statements
    issued = (
        select(literal_column("coalesce(sum(invoice_count), 0)", BigInteger))
        .select_from(InvoiceTotal)
        .where(text("relation IN ('self', 'payer')"), *(InvoiceTotal.id == payer for payer in payers))
    )
    others = (
        select(func.count())
        .select_from(Invoice)
        .where(text(LISTED_UNCOUNTED), *(Invoice.customer_id == payer for payer in payers))
    )
    count = select(issued.scalar_subquery() + others.scalar_subquery())
    return replace(statements, count=count, counted_by="totals")


def _is_whole(query: InvoiceFilter) -> bool:
    if query.status not in (None, Status.PUBLISHED):
        return False
    return all(getattr(query, name) in (None, "", []) for name in _NARROWING)


_NARROWING = tuple(name for name in InvoiceFilter.__struct_fields__ if name not in _OF_NO_INVOICE)


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
        # written out: a plan that is kept would take a parameter for the status that most invoices have
        statement = statement.where(Invoice.invoice_status != literal_column(f"'{InvoiceStatus.SKIPPED.value}'"))
    return statement
