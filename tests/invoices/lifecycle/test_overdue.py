"""Telling that an invoice is overdue: once per invoice and due date, by the scan alone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select, update

from farthing.invoices.lifecycle.due_dates import notify_overdue
from farthing.invoices.tables import Invoice
from farthing.storage.record.outbox import SystemEvent
from tests.account import Account
from tests.invoices.desk import Desk, fixed

DUE = datetime(2025, 3, 1, tzinfo=UTC)
LATE = DUE + timedelta(microseconds=1)


async def scan(account: Account, now: datetime, batch: int = 100) -> int:
    async with account.transaction() as session:
        return await notify_overdue(session, now, batch)


async def overdue_bodies(account: Account) -> list[dict[str, Any]]:
    async with account.transaction() as session:
        query = select(SystemEvent.payload).where(SystemEvent.event_name == "invoice.payment.overdue")
        return [body["invoice"] for body in await session.scalars(query.order_by(SystemEvent.id))]


async def due_invoice(account: Account, due: datetime = DUE, **more: Any) -> dict[str, Any]:
    return await Desk(account).invoice([fixed("10")], due_date=due.isoformat(), **more)


async def test_each_overdue_invoice_is_told_once(account: Account) -> None:
    made = await due_invoice(account)
    assert await scan(account, DUE) == 0  # due exactly now is not overdue
    assert await scan(account, LATE) == 1
    assert await scan(account, LATE) == 0
    (body,) = await overdue_bodies(account)
    assert (body["id"], body["amount_remaining"], body["payment_status"]) == (made["id"], "10", "PENDING")
    assert body["line_items"][0]["amount"] == "10"
    assert body["customer"]["id"] == made["customer_id"]
    # reading never tells
    await account.get(f"/customers/{made['customer_id']}/invoices/summary")
    assert len(await overdue_bodies(account)) == 1


async def test_moving_the_due_date_arms_it_again_and_a_payment_does_not(account: Account) -> None:
    made = await due_invoice(account)
    await scan(account, LATE)
    await account.put(f"/invoices/{made['id']}/payment", {"payment_status": "PENDING", "amount": "4"})
    assert await scan(account, LATE) == 0
    await account.freeze(LATE)
    later = DUE + timedelta(days=7)
    await account.put(f"/invoices/{made['id']}", {"due_date": later.isoformat()})
    await account.put(f"/invoices/{made['id']}", {"due_date": later.isoformat()})
    assert await scan(account, later) == 0
    assert await scan(account, later + timedelta(seconds=1)) == 1
    assert [body["amount_remaining"] for body in await overdue_bodies(account)] == ["10", "6"]


async def test_what_is_not_owed_is_not_told(account: Account) -> None:
    await due_invoice(account, invoice_status="DRAFT")
    await due_invoice(account, amount_paid="10")
    await due_invoice(account, invoice_type="CREDIT")
    voided = await due_invoice(account)
    await account.post(f"/invoices/{voided['id']}/void", expect=200)
    await Desk(account).invoice([fixed("10")])
    assert await scan(account, LATE) == 0


async def test_scans_at_once_share_the_work_and_tell_nothing_twice(account: Account) -> None:
    desk = Desk(account)
    customer = await desk.customer()
    for _ in range(20):
        await desk.invoice([fixed("1")], customer, due_date=DUE.isoformat())
    told = 0
    while True:
        round_ = sum(await asyncio.gather(*(scan(account, LATE, 4) for _ in range(4))))
        told += round_
        if round_ == 0:
            break
    assert told == 20
    ids = [body["id"] for body in await overdue_bodies(account)]
    assert len(ids) == len(set(ids)) == 20


async def test_an_invoice_that_is_being_paid_is_left_for_the_next_scan(account: Account) -> None:
    made = await due_invoice(account)
    async with account.transaction() as holding:
        await holding.execute(update(Invoice).where(Invoice.id == made["id"]).values(description="held"))
        assert await scan(account, LATE) == 0
    assert await scan(account, LATE) == 1
