"""What is told about invoices.

Rule: docs/rules/recorded-events.md#invoice-events
"""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from farthing.storage.record.outbox import SystemEvent
from tests.account import Account
from tests.invoices.desk import Desk, usage
from tests.invoices.lifecycle.test_create import told


async def last_body(account: Account, invoice: dict[str, Any]) -> dict[str, Any]:
    async with account.transaction() as session:
        query = select(SystemEvent).where(SystemEvent.entity_id == invoice["id"]).order_by(SystemEvent.id.desc())
        row = (await session.scalars(query.limit(1))).one()
    assert row.entity_type == "invoice"
    assert row.payload is not None
    return row.payload


async def test_an_event_carries_the_whole_invoice_as_it_was_then(account: Account) -> None:
    desk = Desk(account)
    made = await desk.invoice([usage("10")], tax_rates=[await desk.tax("10%")], coupons=[await desk.coupon("1")])
    body = await last_body(account, made)
    await account.put(f"/invoices/{made['id']}", {"metadata": {"later": "yes"}})
    assert body == {"event_type": "invoice.update.finalized", "invoice": made}


async def test_the_short_form_names_what_matters(account: Account) -> None:
    desk = Desk(account)
    made = await desk.invoice([usage("10")], await desk.customer(email="a@example.com"))
    answer = await account.post(f"/invoices/{made['id']}/comms/trigger", expect=200)
    assert answer == {"message": "communication triggered successfully", "email": "off"}
    body = await last_body(account, made)
    assert body["event_type"] == "invoice.communication.triggered"
    short = body["invoice"]
    assert set(short) == {
        "id",
        "customer_id",
        "environment_id",
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
        "finalized_at",
        "billing_reason",
        "metadata",
        "line_items",
        "customer",
    }
    assert short["customer"]["email"] == "a@example.com"
    (line,) = short["line_items"]
    assert line == {
        "id": made["line_items"][0]["id"],
        "amount": "10",
        "quantity": "1",
        "display_name": "usage 10",
    }


@pytest.mark.parametrize(
    "name",
    [
        "invoice.update.finalized",
        "invoice.update.payment",
        "invoice.update.voided",
        "invoice.communication.triggered",
    ],
)
async def test_an_event_is_told_once_more(account: Account, name: str) -> None:
    made = await Desk(account).invoice([usage("10")])
    answer = await account.post(f"/invoices/{made['id']}/webhook/trigger?event_name={name}", expect=200)
    assert answer["event_name"] == name
    assert (await last_body(account, made))["event_type"] == name


@pytest.mark.parametrize("query", ["", "?event_name=", "?event_name=invoice.payment.overdue", "?event_name=x"])
async def test_other_events_are_not_told_by_hand(account: Account, query: str) -> None:
    made = await Desk(account).invoice([usage("10")])
    before = await told(account, made)
    answer = await account.post(f"/invoices/{made['id']}/webhook/trigger{query}", expect=400)
    assert answer["code"] == "validation_error"
    assert await told(account, made) == before
