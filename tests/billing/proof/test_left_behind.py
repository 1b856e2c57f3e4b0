"""What the doctor names of what a crash or a race could leave behind."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import update

from farthing.billing.proof.interrupted import left_behind
from farthing.core.clock import SystemClock
from farthing.invoices.tables import Invoice
from farthing.payments.tables import Payment
from farthing.subscriptions.tables import Subscription
from tests.billing.counter import opened
from tests.billing.office import Office
from tests.payments.till import TIMEOUT, Till
from tests.subscriptions.shop import fixed


async def named(office: Office) -> list[str]:
    now = SystemClock().now()
    async with office.account.transaction(read_only=True) as session:
        return [difference.figure for difference in await left_behind(session, now, now)]


async def change(office: Office, table: Any, id: str, **values: Any) -> None:
    async with office.account.transaction() as session:
        await session.execute(update(table).where(table.id == id).values(**values))


async def test_two_live_subscriptions_made_by_one_request_are_named(office: Office) -> None:
    plan = await office.plan(fixed("10"))
    twins = [await opened(office, plan), await opened(office, plan)]
    assert await named(office) == []
    for twin in twins:
        await change(office, Subscription, twin["id"], request_token="t" * 64)
    assert await named(office) == ["made by the same request as"]


async def test_money_kept_on_a_voided_invoice_is_named(office: Office) -> None:
    till = Till(office.account)
    invoice = await till.invoice()
    await till.pay(invoice)
    await office.account.post(f"/invoices/{invoice['id']}/void", {}, 200)
    assert await named(office) == []
    await change(office, Invoice, invoice["id"], refunded_amount=40)
    assert await named(office) == ["money on a voided invoice"]


async def test_a_card_payment_that_nobody_processes_is_named(office: Office) -> None:
    till = Till(office.account)
    card: dict[str, Any] = {"payment_method_type": "CARD", "process_payment": False}
    payment = await till.pay(await till.invoice(), **card)
    await change(office, Payment, payment["id"], payment_status="PENDING", created_at=SystemClock().now())
    assert await named(office) == []
    await change(office, Payment, payment["id"], created_at=SystemClock().now() - timedelta(hours=2))
    assert await named(office) == ["waits for a process that ended"]


async def test_a_charge_that_nobody_can_ask_about_any_more_is_named(office: Office) -> None:
    till = Till(office.account)
    connection = await till.connect()
    payment = await till.charge(await till.invoice(), method=TIMEOUT)
    await office.account.delete(f"/connections/{connection['id']}")
    await change(office, Payment, payment["id"], processing_since=SystemClock().now())
    assert await named(office) == []
    await change(office, Payment, payment["id"], processing_since=SystemClock().now() - timedelta(hours=2))
    assert await named(office) == ["may have been made at a provider that is not connected"]
    await till.connect()
    assert await named(office) == []
