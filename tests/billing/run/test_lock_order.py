"""Whoever waits for a lock holds none that comes after it: so no two flows ever wait for each other.

A story's row is locked, a flow runs into it, and while it waits every row of the tables that come later is free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from tests.billing.counter import Body, cancel, do, open_items, opened, seats
from tests.billing.office import Office
from tests.subscriptions.shop import fixed
from tests.waiting import until

ORDER = [
    "subscriptions",
    "credit_grant_applications",
    "invoices",
    "credit_notes",
    "payments",
    "wallets",
    "credit_note_sequences",
    "invoice_sequences",
]


@dataclass
class Story:
    """A taxed customer with wallets; `paid` and `unpaid` are final invoices of its subscription, `draft` waits."""

    office: Office
    customer: Body
    subscription: Body
    paid: str
    unpaid: str
    draft: str

    async def post(self, path: str, body: Any = None) -> None:
        answer = await self.office.account.http.post(path, json=body)
        assert answer.status_code in {200, 201}, answer.text


async def told(office: Office) -> Story:
    """Two months billed, the third waiting to be corrected; numbers of notes have no gaps."""
    await office.settings(credit_note_numbers="sequential")
    customer = await office.customer()
    rate = {"name": "VAT", "code": "vat", "tax_rate_type": "percentage", "percentage_value": "19"}
    await office.account.post("/taxes/rates", rate)
    association = {"tax_rate_code": "vat", "external_customer_id": customer["external_id"], "auto_apply": True}
    await office.account.post("/taxes/associations", association, expect=200)
    calls = await office.feature("calls")
    plan = await office.plan(fixed("50", display_name="seats"), office.usage(calls, "1"), name="Small")
    subscription = await opened(office, plan, customer)
    await office.run("2026-02-01")
    await office.settings(finalization_delay_seconds=30 * 86400)
    await office.run("2026-03-01")
    shown = (await office.account.get("/invoices", subscription_id=subscription["id"]))["items"]
    by_status = {(invoice["billing_reason"], invoice["invoice_status"]): invoice["id"] for invoice in shown}
    story = Story(
        office,
        customer,
        subscription,
        by_status["SUBSCRIPTION_CREATE", "FINALIZED"],
        by_status["SUBSCRIPTION_CYCLE", "FINALIZED"],
        by_status["SUBSCRIPTION_CYCLE", "DRAFT"],
    )
    await story.post("/payments", payment_of(story.paid, "59.5"))
    for kind in ("PRE_PAID", "POST_PAID"):
        body = {"customer_id": customer["id"], "currency": "usd", "wallet_type": kind, "initial_credits_to_load": "5"}
        await office.account.post("/wallets", body, expect=200)
    return story


def payment_of(invoice_id: str, amount: str, method: str = "OFFLINE") -> Body:
    body = {"destination_type": "INVOICE", "destination_id": invoice_id, "payment_method_type": method}
    return {**body, "amount": amount, "currency": "usd", "process_payment": True}


async def ended(story: Story) -> None:
    await cancel(
        story.office,
        story.subscription,
        cancel_immediately_invoice_policy="generate_invoice",
        proration_behavior="create_prorations",
    )


async def more_seats(story: Story) -> None:
    (item,) = [item for item in await open_items(story.office, story.subscription) if item["display_name"] == "seats"]
    await seats(story.office, story.subscription, item, 3)


async def another_plan(story: Story) -> None:
    plan = await story.office.plan(fixed("20", display_name="seats"), name="Other")
    body = {"target_plan_id": plan["id"], "proration_behavior": "create_prorations"}
    await do(story.office, story.subscription, "change/v2/execute", body)


async def replaced(story: Story) -> None:
    plan = await story.office.plan(fixed("20", display_name="seats"), name="Other")
    body = {"target_plan_id": plan["id"], "proration_behavior": "create_prorations", "billing_period": "MONTHLY"}
    body |= {"billing_cadence": "RECURRING", "billing_period_count": 1, "billing_cycle": "anniversary"}
    await do(story.office, story.subscription, "change/execute", body)


async def draft_paid(story: Story) -> None:
    await story.post("/payments", payment_of(story.draft, "10"))


async def draft_issued(story: Story) -> None:
    await story.post(f"/invoices/{story.draft}/finalize")


async def paid_by_wallet(story: Story) -> None:
    await story.post("/payments", payment_of(story.unpaid, "2", "CREDITS"))


async def voided(story: Story) -> None:
    await story.post(f"/invoices/{story.paid}/void")


async def noted(story: Story) -> None:
    shown = await story.office.account.get(f"/invoices/{story.paid}")
    line = {"invoice_line_item_id": shown["line_items"][0]["id"], "amount": "10"}
    body = {"invoice_id": story.paid, "reason": "BILLING_ERROR", "line_items": [line], "process_credit_note": True}
    await story.post("/creditnotes", body)


async def ended_in_time(story: Story) -> None:
    """The run ends a subscription that was to end in the middle of a paid month."""
    assert (await story.office.run("2026-03-16")).failed == {}


FLOWS = [ended, more_seats, another_plan, replaced, draft_paid, draft_issued, paid_by_wallet, voided, noted]
LOCKED = {
    "the paid invoice": ("invoices", "paid"),
    "the unpaid invoice": ("invoices", "unpaid"),
    "the draft": ("invoices", "draft"),
    "the wallets": ("wallets", None),
    "the subscription": ("subscriptions", None),
}


@pytest.mark.parametrize("locked", list(LOCKED))
@pytest.mark.parametrize("flow", FLOWS)
async def test_who_waits_holds_nothing_that_comes_later(
    office: Office, flow: Callable[[Story], Awaitable[None]], locked: str
) -> None:
    story = await told(office)
    if flow in {more_seats, another_plan, replaced}:
        await story.post(f"/invoices/{story.draft}/finalize")
    table, which = LOCKED[locked]
    where = "true" if which is None else f"id = '{getattr(story, which)}'"
    await run_into(office, table, where, flow(story))


@pytest.mark.parametrize("locked", list(LOCKED))
async def test_a_run_that_ends_subscriptions_holds_nothing_that_comes_later(office: Office, locked: str) -> None:
    story = await told(office)
    await story.post(f"/invoices/{story.draft}/finalize")
    await cancel(
        office,
        story.subscription,
        "scheduled_date",
        cancel_at="2026-03-15T00:00:00Z",
        proration_behavior="create_prorations",
    )
    table, which = LOCKED[locked]
    where = "true" if which is None else f"id = '{getattr(story, which)}'"
    await run_into(office, table, where, ended_in_time(story))


@pytest.mark.parametrize("locked", ["first", "last"])
async def test_a_run_over_many_payers_waits_for_a_wallet_without_the_numbers(office: Office, locked: str) -> None:
    """Trials that end are invoiced at once; another who holds a wallet and waits for a number must get it."""
    plan = await office.plan(fixed("50"))
    wallet_ids = []
    for _ in range(3):
        customer = await office.customer()
        body = {"customer_id": customer["id"], "currency": "usd", "initial_credits_to_load": "5"}
        wallet_ids.append((await office.account.post("/wallets", body, expect=200))["id"])
        await opened(office, plan, customer, trial_period_days=7)
    wallet_id = wallet_ids[0 if locked == "first" else -1]

    async def run() -> None:
        assert (await office.run("2026-01-08")).failed == {}

    await run_into(office, "wallets", f"id = '{wallet_id}'", run())


async def run_into(office: Office, table: str, where: str, flow: Awaitable[None]) -> None:
    """Hold rows of a table, let a flow run into them or finish, and look at what it holds meanwhile."""
    later = ORDER[ORDER.index(table) + 1 :]
    async with office.account.transaction() as session:
        await session.execute(text(f"SELECT id FROM {table} WHERE {where} FOR UPDATE"))
        running = asyncio.ensure_future(flow)

        async def is_waiting() -> bool:
            return running.done() or bool(await session.scalar(text(WAITED_FOR)))

        await until(is_waiting)
        held = {name: await held_rows(office, name) for name in later}
        assert {name: rows for name, rows in held.items() if rows} == {}
    await running


WAITED_FOR = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))"


async def held_rows(office: Office, table: str) -> int:
    """How many rows of a table somebody has locked."""
    async with office.account.transaction() as session:
        free = await session.execute(text(f"SELECT id FROM {table} FOR UPDATE SKIP LOCKED"))
        return await count(session, table) - len(free.all())


async def count(session: AsyncSession, table: str) -> int:
    return int(await session.scalar(text(f"SELECT count(*) FROM {table}")) or 0)
