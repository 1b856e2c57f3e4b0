"""What a customer was billed, owes, owes late, and how much of that is usage, per currency.

One statement, hence one snapshot; one round trip; and work that grows with what is unpaid, not with what was ever
billed: counts and revenue come from totals the database keeps as invoices change, unpaid figures from an index that
holds unpaid invoices only.
Rule: docs/rules/customer-summary.md#figures
Rule: docs/rules/customer-summary.md#scope
Rule: docs/rules/customer-summary.md#currencies-and-their-order
Rule: docs/rules/customer-summary.md#cases
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from farthing.core.encoding.wire import DecimalText, Response
from farthing.core.money import plain
from farthing.customers.tables import Customer
from farthing.invoices.receivable import COUNTED, UNPAID
from farthing.storage.connections.hot_reads import Prepared
from farthing.storage.postgres import Database
from farthing.storage.queries.rows import missing
from farthing.storage.scope import Scope
from farthing.subscriptions.reads import live


class SummaryScope(StrEnum):
    """Which invoices speak of a customer: those it pays or incurred, pays, or incurred.

    `billed` and `incurred` each add up over customers; `all` counts a delegated invoice for the payer and the owner.
    """

    ALL = "all"
    BILLED = "billed"
    INCURRED = "incurred"


class CustomerInvoiceSummary(Response):
    """The figures of one currency."""

    customer_id: str
    currency: str
    total_revenue_amount: DecimalText
    total_unpaid_amount: DecimalText
    total_overdue_amount: DecimalText
    total_invoice_count: int
    unpaid_invoice_count: int
    overdue_invoice_count: int
    unpaid_usage_charges: DecimalText
    unpaid_fixed_charges: DecimalText


class CustomerMultiCurrencyInvoiceSummary(Response):
    """All currencies of a customer, the default one first."""

    customer_id: str
    default_currency: str
    summaries: list[CustomerInvoiceSummary]


_PAYS = f"customer_id = $1 AND {UNPAID}"
_INCURRED = f"owner_id = $1 AND {UNPAID}"
_PAYS_COUNTED = f"customer_id = $1 AND {COUNTED}"
_INCURRED_COUNTED = f"owner_id = $1 AND {COUNTED}"

_RELATIONS = {
    SummaryScope.ALL: ["self", "payer", "owner"],
    SummaryScope.BILLED: ["self", "payer"],
    SummaryScope.INCURRED: ["self", "owner"],
}
# a branch per index; `all` leaves out of the second what the first has shown
_UNPAID_BRANCHES = {
    SummaryScope.ALL: [_PAYS, f"{_INCURRED} AND customer_id <> $1"],
    SummaryScope.BILLED: [_PAYS],
    SummaryScope.INCURRED: [_INCURRED],
}
_LIVE_SUBSCRIPTIONS = {
    SummaryScope.ALL: live.EITHER,
    SummaryScope.BILLED: live.PAID,
    SummaryScope.INCURRED: live.INCURRED,
}
_LATEST_BRANCHES = {
    SummaryScope.ALL: [_PAYS_COUNTED, _INCURRED_COUNTED],
    SummaryScope.BILLED: [_PAYS_COUNTED],
    SummaryScope.INCURRED: [_INCURRED_COUNTED],
}


def _statement(which: SummaryScope) -> str:
    unpaid = " UNION ALL ".join(
        f"SELECT currency, amount_remaining, usage_remaining, due_date FROM invoices WHERE {branch}"
        for branch in _UNPAID_BRANCHES[which]
    )
    latest = " UNION ALL ".join(
        f"(SELECT currency, finalized_at, id FROM invoices WHERE {branch} ORDER BY finalized_at DESC, id DESC LIMIT 1)"
        for branch in _LATEST_BRANCHES[which]
    )
    return f"""
        WITH customer AS (
            SELECT billing_currency FROM customers WHERE id = $1 AND status <> 'deleted'
        ), live AS (
            {live_subscriptions(which)}
        ), totals AS (
            SELECT currency, sum(invoice_count) AS invoices, sum(revenue) AS revenue
            FROM invoice_totals
            WHERE customer_id = $1 AND relation = ANY($3::text[])
            GROUP BY currency HAVING sum(invoice_count) > 0
        ), unpaid AS (
            SELECT currency, count(*) AS invoices, sum(amount_remaining) AS amount, sum(usage_remaining) AS usage,
                   count(*) FILTER (WHERE due_date < $2) AS overdue_invoices,
                   sum(amount_remaining) FILTER (WHERE due_date < $2) AS overdue_amount
            FROM ({unpaid}) AS open GROUP BY currency
        ), currencies AS (
            SELECT currency FROM totals UNION SELECT currency FROM live
            UNION SELECT billing_currency FROM customer WHERE billing_currency IS NOT NULL
        )
        SELECT coalesce(
                   customer.billing_currency,
                   (SELECT currency FROM live ORDER BY created_at DESC, id DESC LIMIT 1),
                   (SELECT currency FROM ({latest}) AS newest ORDER BY finalized_at DESC, id DESC LIMIT 1),
                   ''
               ) AS default_currency,
               currencies.currency, totals.revenue, unpaid.amount, unpaid.overdue_amount, totals.invoices,
               unpaid.invoices, unpaid.overdue_invoices, unpaid.usage
        FROM customer LEFT JOIN currencies ON true
        LEFT JOIN totals ON totals.currency = currencies.currency
        LEFT JOIN unpaid ON unpaid.currency = currencies.currency
        ORDER BY currencies.currency
    """


def live_subscriptions(which: SummaryScope) -> str:
    """A SELECT of currency, created_at and id of the customer's subscriptions that are not cancelled."""
    return _LIVE_SUBSCRIPTIONS[which]


STATEMENTS = {
    which: Prepared(f"invoice_summary_{which}", ("text", "timestamptz", "text[]"), _statement(which))
    for which in SummaryScope
}


async def summarise(
    database: Database, scope: Scope, customer_id: str, as_of: datetime, which: SummaryScope = SummaryScope.ALL
) -> CustomerMultiCurrencyInvoiceSummary:
    """The summary of one customer at `as_of`. Raises NotFound for a customer this scope does not have."""
    rows = await database.read_once(
        scope,
        STATEMENTS[which],
        customer_id,
        as_of,
        _RELATIONS[which],
    )
    if not rows:
        async with database.transaction(scope) as session:
            raise await missing(session, Customer, customer_id)
    default = rows[0][0]
    summaries = [_row(customer_id, *row[1:]) for row in rows if row[1] is not None]
    summaries.sort(key=lambda summary: summary.currency != default)
    return CustomerMultiCurrencyInvoiceSummary(customer_id=customer_id, default_currency=default, summaries=summaries)


_NOTHING = Decimal(0)


def _row(
    customer_id: str,
    currency: str,
    revenue: Decimal | None,
    unpaid: Decimal | None,
    overdue: Decimal | None,
    invoices: int | None,
    unpaid_invoices: int | None,
    overdue_invoices: int | None,
    usage: Decimal | None,
) -> CustomerInvoiceSummary:
    owed, used = unpaid or _NOTHING, usage or _NOTHING
    return CustomerInvoiceSummary(
        customer_id=customer_id,
        currency=currency,
        total_revenue_amount=plain(revenue or _NOTHING),
        total_unpaid_amount=plain(owed),
        total_overdue_amount=plain(overdue or _NOTHING),
        total_invoice_count=int(invoices or 0),
        unpaid_invoice_count=unpaid_invoices or 0,
        overdue_invoice_count=overdue_invoices or 0,
        unpaid_usage_charges=plain(used),
        unpaid_fixed_charges=plain(owed - used),
    )
