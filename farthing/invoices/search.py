"""Finding invoices. Rule: invoices, "reads"."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.lists import select_page
from farthing.customers.lookup import by_external_id
from farthing.invoices.requests import InvoiceFilter
from farthing.invoices.standing import InvoiceStatus
from farthing.invoices.tables import Invoice

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


async def search(session: AsyncSession, query: InvoiceFilter) -> tuple[Sequence[Invoice], int]:
    """One page of the invoices that meet all of `query`, newest first, and how many there are.

    Raises NotFound for an external customer id that nobody has.
    """
    statement = _narrowed(query)
    if query.external_customer_id:
        customer = await by_external_id(session, query.external_customer_id)
        statement = statement.where(Invoice.customer_id == customer.id)
    return await select_page(session, Invoice, query, SEARCHABLE, statement, time_range=False)


def _narrowed(query: InvoiceFilter) -> Select[Invoice]:
    statement = select(Invoice)
    for column, wanted in (
        (Invoice.id, query.invoice_ids),
        (Invoice.subscription_customer_id, query.subscription_customer_id),
        (Invoice.invoice_status, query.invoice_status),
        (Invoice.payment_status, query.payment_status),
    ):
        if wanted:
            statement = statement.where(column.in_(wanted))
    for column, value in (
        (Invoice.customer_id, query.customer_id),
        (Invoice.subscription_id, query.subscription_id),
        (Invoice.invoice_type, query.invoice_type),
        (Invoice.currency, query.currency),
        (Invoice.billing_reason, query.billing_reason),
    ):
        if value:
            statement = statement.where(column == value)
    bounds = (
        (query.period_start_gte, Invoice.period_start >= query.period_start_gte),
        (query.period_start_lte, Invoice.period_start <= query.period_start_lte),
        (query.start_time, Invoice.period_start >= query.start_time),
        (query.period_end_gte, Invoice.period_end >= query.period_end_gte),
        (query.period_end_lte, Invoice.period_end <= query.period_end_lte),
        (query.end_time, Invoice.period_end <= query.end_time),
        (query.finalized_at_gte, Invoice.finalized_at >= query.finalized_at_gte),
        (query.voided_at_gte, Invoice.voided_at >= query.voided_at_gte),
        (query.amount_due_gt, Invoice.amount_due > query.amount_due_gt),
        (query.amount_remaining_gt, Invoice.amount_remaining > query.amount_remaining_gt),
    )
    statement = statement.where(*(clause for bound, clause in bounds if bound is not None))
    if not query.invoice_status:
        statement = statement.where(Invoice.invoice_status != InvoiceStatus.SKIPPED)
    return statement
