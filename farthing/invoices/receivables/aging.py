"""How old what a customer owes is: unpaid amounts by days past due, per currency. The basis of dunning.

Rule: docs/rules/customer-summary.md#ageing
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from farthing.core.encoding.wire import DecimalText, Response
from farthing.core.money import plain
from farthing.customers.tables import Customer
from farthing.invoices.receivable import UNPAID
from farthing.storage.connections.hot_reads import Prepared
from farthing.storage.postgres import Database
from farthing.storage.queries.rows import missing
from farthing.storage.scope import Scope


class CurrencyAging(Response):
    """Unpaid amounts of one currency; a bucket's days count from the due date, and no due date is current."""

    currency: str
    current: DecimalText
    days_1_30: DecimalText
    days_31_60: DecimalText
    days_61_90: DecimalText
    days_over_90: DecimalText
    total: DecimalText


class CustomerAging(Response):
    """All currencies in which a customer owes, by code."""

    customer_id: str
    items: list[CurrencyAging]


# payer's view: what it is asked to pay, which adds up over customers
STATEMENT = Prepared(
    "invoice_aging",
    ("text", "timestamptz"),
    f"""
    SELECT currency,
           coalesce(sum(amount_remaining) FILTER (WHERE late IS NULL OR late <= interval '0'), 0),
           coalesce(sum(amount_remaining) FILTER (WHERE late > interval '0' AND late <= interval '30 days'), 0),
           coalesce(sum(amount_remaining) FILTER (WHERE late > interval '30 days' AND late <= interval '60 days'), 0),
           coalesce(sum(amount_remaining) FILTER (WHERE late > interval '60 days' AND late <= interval '90 days'), 0),
           coalesce(sum(amount_remaining) FILTER (WHERE late > interval '90 days'), 0),
           sum(amount_remaining)
    FROM customers AS c LEFT JOIN LATERAL (
        SELECT currency, amount_remaining, make_interval(secs => extract(epoch FROM $2 - due_date)) AS late
        FROM invoices WHERE customer_id = c.id AND {UNPAID.replace("status =", "invoices.status =", 1)}
    ) AS owed ON true
    WHERE c.id = $1 AND c.status <> 'deleted'
    GROUP BY currency ORDER BY currency
    """,
)


async def age(database: Database, scope: Scope, customer_id: str, as_of: datetime) -> CustomerAging:
    """What `customer_id` is asked to pay, by age. Raises NotFound."""
    rows = await database.read_once(scope, STATEMENT, customer_id, as_of)
    if not rows:
        async with database.transaction(scope) as session:
            raise await missing(session, Customer, customer_id)

    def text(amount: Decimal | None) -> str:
        return plain(amount or Decimal(0))

    items = [
        CurrencyAging(
            currency=currency,
            current=text(buckets[0]),
            days_1_30=text(buckets[1]),
            days_31_60=text(buckets[2]),
            days_61_90=text(buckets[3]),
            days_over_90=text(buckets[4]),
            total=text(buckets[5]),
        )
        for currency, *buckets in rows
        if currency is not None
    ]
    return CustomerAging(customer_id=customer_id, items=items)
