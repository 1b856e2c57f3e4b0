"""A page of invoices with their lines, discounts, taxes and payers, straight from their rows.

What travels is the same as of a whole row in memory (`presentation`).
Rule: docs/rules/invoices-and-payments.md#reading-invoices
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET

from farthing.customers.shapes import CUSTOMER
from farthing.invoices.line_tables import CouponApplicationRow, InvoiceLineItem, TaxAppliedRow, line_entries
from farthing.invoices.reads.search import page_of_invoices
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.requests import InvoiceFilter
from farthing.invoices.schemas import (
    CouponApplicationResponse,
    InvoiceLineItemResponse,
    InvoiceResponse,
    TaxAppliedResponse,
)
from farthing.invoices.tables import Invoice, invoice_entries
from farthing.storage.queries.pages import Belonging, PageShape, Read, read_page
from farthing.storage.queries.shapes import RowShape, merged

_PUBLISHED = "r.status = 'published'"


def _with_columns(values: dict[str, Any], extras: Sequence[str | None]) -> None:
    scale_arrears, opening_credit, wallet_transaction_id, auto_completed, fx_rate_id = extras
    if fx_rate_id is not None:
        values["fx_conversion"] = UNSET  # left out as long as nobody reads it
    entries = invoice_entries(
        scale_arrears is not None, opening_credit, wallet_transaction_id, auto_completed is not None
    )
    values["metadata"] = merged(values["metadata"], entries)


def _with_columns_of_line(values: dict[str, Any], extras: Sequence[str | None]) -> None:
    values["metadata"] = merged(values["metadata"], line_entries(*extras))


_INVOICE = RowShape(
    InvoiceResponse,
    Invoice,
    expressions={
        "overpaid_amount": "CASE r.payment_status WHEN 'OVERPAID' THEN trim_scale(r.amount_paid - r.amount_due) END",
        "issue_date": "coalesce(r.issue_date, r.created_at)",
        "description": "nullif(r.description, '')",
    },
    documents={"metadata": "meta"},
    extras=(
        "nullif(r.scale_arrears, false)::text",
        "trim_scale(nullif(r.opening_credit, 0))::text",
        "r.wallet_transaction_id::text",
        "nullif(r.auto_completed, false)::text",
        "r.fx_rate_id::text",
    ),
    complete=_with_columns,
)
_LINE = RowShape(
    InvoiceLineItemResponse,
    InvoiceLineItem,
    documents={"metadata": "meta"},
    extras=(
        "trim_scale(nullif(r.proration_credit, 0))::text",
        "trim_scale(r.already_invoiced)::text",
        "r.late_for_line_id::text",
        "trim_scale(r.overage_factor)::text",
        "trim_scale(r.commitment_amount)::text",
        "trim_scale(r.commitment_utilized)::text",
    ),
    complete=_with_columns_of_line,
)
_PAYERS = Belonging(CUSTOMER, "id", key="customer_id")
_COUPONS = Belonging(
    RowShape(CouponApplicationResponse, CouponApplicationRow),
    "invoice_id",
    where=_PUBLISHED,
    only="page.coupon_terms <> '[]'",
    order="r.position",
)
_TAXES = Belonging(
    RowShape(TaxAppliedResponse, TaxAppliedRow),
    "entity_id",
    where=_PUBLISHED,
    only="page.tax_terms <> '[]'",
    order="r.position",
)
_LINES = Belonging(_LINE, "invoice_id", where=_PUBLISHED, order="r.position, r.id")
_WITH_LINES = PageShape(_INVOICE, (_PAYERS, _COUPONS, _TAXES, _LINES))
_WITHOUT_LINES = PageShape(_INVOICE, (_PAYERS, _COUPONS, _TAXES))


async def invoices_page(
    read: Read, query: InvoiceFilter, customer_id: str | None = None
) -> tuple[list[InvoiceResponse], int]:
    """One page of the invoices that meet all of `query`, newest first, and how many there are.

    `customer_id` is whom the query's external id names. How invoices are converted is not said yet.
    """
    statements = page_of_invoices(query, customer_id)
    listing = _WITHOUT_LINES if query.skip_line_items else _WITH_LINES
    found = await read_page(read, listing, statements)
    payers, coupons, taxes, *lines = found.parts
    for invoice in found.rows:
        invoice.customer = next(iter(payers.get(invoice.customer_id, ())), None)
        invoice.coupon_applications = coupons.get(invoice.id, [])
        invoice.taxes = taxes.get(invoice.id, [])
        if lines:
            invoice.line_items = lines[0].get(invoice.id, [])
    return found.rows, found.total


def may_convert(invoice: InvoiceResponse) -> bool:
    """Whether an invoice of a page was converted, or, a draft, may be: `presentation` says how."""
    if invoice.fx_conversion is not None:
        return True
    currency = invoice.customer.billing_currency if invoice.customer else None
    return invoice.invoice_status == InvoiceStatus.DRAFT.value and bool(currency) and currency != invoice.currency
