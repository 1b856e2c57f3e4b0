"""A test clock in one jump, day by day or unevenly: the same invoices, statuses and events in the same order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import select

from farthing.billing.clock.advance import Clockwork
from farthing.invoices.ports import InvoicePorts
from farthing.invoices.tables import Invoice
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.tables import Payment
from farthing.storage.record.outbox import SystemEvent
from farthing.subscriptions.tables import Subscription
from tests.account import Account
from tests.billing.office import ARREAR, Office
from tests.subscriptions.shop import fixed

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 5, 20, 5, tzinfo=UTC)
EVENTFUL = datetime(2026, 1, 28, tzinfo=UTC), datetime(2026, 3, 13, tzinfo=UTC)
"""In these weeks trials and weekly periods end, plans change, usage crosses its threshold and a pause begins."""


def at_once() -> Iterator[datetime]:
    yield END


UNEVEN = timedelta(days=11, hours=5, minutes=23, seconds=17)
"""So that stops fall between everything else."""


def day_by_day() -> Iterator[datetime]:
    """Every day of the eventful weeks, and unevenly before and after them."""
    begins, ends = EVENTFUL
    at = START
    while at < END:
        if at < begins:
            at = min(at + UNEVEN, begins)
        else:
            at += timedelta(days=1) if at < ends else UNEVEN
        yield min(at, END)


def unevenly() -> Iterator[datetime]:
    at = START
    while at < END:
        at += UNEVEN
        yield min(at, END)


Pace = Callable[[], Iterator[datetime]]


@dataclass
class Cast:
    """Subscriptions that between them meet everything the clock has to stop for, in the order they were made."""

    office: Office
    ids: list[str] = field(default_factory=list)

    async def begin(self, *, cancels_unpaid: bool) -> Cast:
        office, account = self.office, self.office.account
        await office.on("2026-01-01")
        await office.settings(compute_delay_seconds=900, finalization_delay_seconds=7200, due_date_days=10)
        await account.put("/settings/draft_invoice_recompute_config", {"value": {"enabled": True}})
        if cancels_unpaid:
            value = {"auto_cancellation_enabled": True, "grace_period_days": 40}
            await account.put("/settings/subscription_config", {"value": value})
        calls = await office.feature("calls", type="SUM", field="n")
        fee, usage = fixed("50"), office.usage(calls, "0.02")
        plan = await office.plan(fee, usage, name="Plan")
        dearer = await office.plan(fixed("80"), usage, name="Dearer")
        arrears = await office.plan(fixed("30", **ARREAR), usage, name="Arrears")
        weekly = await office.plan(fixed("7", billing_period="WEEKLY"), name="Weekly")
        await self._subscribe(plan, used=range(1, 6))
        await self._subscribe(
            plan, used=range(1, 6), start_date="2026-01-31T10:20:30Z", end_date="2026-04-30T00:00:00Z"
        )
        await self._subscribe(plan, trial_period_days=14, end_date="2026-04-24T00:00:00Z")
        await self._subscribe(weekly, billing_period="WEEKLY", end_date="2026-02-26T00:00:00Z")
        await self._subscribe(arrears, used=(3, 4), end_date="2026-04-20T12:00:00Z")
        await self._subscribe(plan, billing_cycle="calendar", start_date="2026-01-10T00:00:00Z")
        metered = await office.plan(usage, name="Metered")
        await self._subscribe(metered, auto_invoice_threshold="70", used=(2, 5), units=1_900)
        paused = await self._subscribe(plan, used=range(1, 6), end_date="2026-05-15T00:00:00Z")
        await self._do(paused, "pause", pause_mode="scheduled", pause_start="2026-03-10T08:00:00Z", pause_days=20)
        rests = await self._subscribe(arrears, end_date="2026-05-01T00:00:00Z")
        await self._do(rests, "pause", pause_mode="period_end", pause_end="2026-03-20T00:00:00Z")
        leaves = await self._subscribe(plan, used=(1, 2))
        await self._do(leaves, "cancel", cancellation_type="end_of_period")
        later = await self._subscribe(plan, used=(1, 2, 3, 4))
        await self._do(later, "cancel", cancellation_type="scheduled_date", cancel_at="2026-04-17T09:00:00Z")
        grows = await self._subscribe(plan, used=(1, 2, 3))
        change = {"target_plan_id": dearer["id"], "proration_behavior": "none", "change_at": "end_of_period"}
        await self._do(grows, "change/v2/execute", **change)
        moves = await self._subscribe(plan, used=(1, 2, 3))
        replaced = {"billing_cadence": "RECURRING", "billing_period": "MONTHLY", "billing_cycle": "anniversary"}
        await self._do(moves, "change/execute", **change, **replaced)
        return self

    async def _subscribe(self, plan: dict[str, Any], *, used: Sequence[int] = (), units: int = 40, **more: Any) -> str:
        """A subscription of a customer of its own, who uses on the 5th and 20th of these months."""
        office = self.office
        customer = await office.customer()
        for number, month in enumerate(used):
            for day in ("05T03:07", "20T18:41"):
                await office.used("calls", customer, 1, f"2026-{month:02}-{day}", n=units + number)
        body = {
            "customer_id": customer["id"],
            "plan_id": plan["id"],
            "currency": "usd",
            "billing_period": "MONTHLY",
            "start_date": "2026-01-01T00:00:00Z",
            **more,
        }
        made = await office.account.post("/subscriptions", body)
        self.ids.append(made["id"])
        return str(made["id"])

    async def _do(self, subscription_id: str, what: str, **body: Any) -> None:
        await self.office.account.post(f"/subscriptions/{subscription_id}/{what}", body, expect=200)

    async def live(self, pace: Iterator[datetime]) -> None:
        account = self.office.account
        gateways = Gateways(account.database, account.settings, account.database.ports.part(InvoicePorts).hooks)
        for at in pace:
            move = await Clockwork(account.database, account.scope, gateways).move(at)
            assert move.counts.get("failures") is None

    async def told(self) -> list[dict[str, Any]]:
        """For each customer: its subscriptions, their invoices and everything that was told, without what is random."""
        async with self.office.account.transaction(read_only=True) as session:
            first = {subscription.id: subscription for subscription in await session.scalars(select(Subscription))}
            invoices = (await session.scalars(select(Invoice))).all()
            payments = (await session.scalars(select(Payment))).all()
            events = (
                await session.scalars(
                    select(SystemEvent).where(SystemEvent.payload.is_not(None)).order_by(SystemEvent.id)
                )
            ).all()
        order = [first[invoice_id].customer_id for invoice_id in self.ids]
        found = []
        for customer_id in order:
            subscriptions = sorted(
                (owned for owned in first.values() if owned.customer_id == customer_id),
                key=lambda one: one.created_at,
            )
            theirs = sorted(
                (invoice for invoice in invoices if invoice.customer_id == customer_id),
                key=lambda one: (one.subscription_id != subscriptions[0].id, one.billing_sequence or 0),
            )
            paid = [payment for payment in payments if payment.destination_id in {invoice.id for invoice in theirs}]
            names = {subscription.id: f"subscription {number}" for number, subscription in enumerate(subscriptions)}
            names |= {invoice.id: f"invoice {number}" for number, invoice in enumerate(theirs)}
            names |= {payment.id: f"payment of {names[payment.destination_id]}" for payment in paid}
            found.append(
                {
                    "subscriptions": [_of_subscription(subscription) for subscription in subscriptions],
                    "invoices": [_of_invoice(invoice) for invoice in theirs],
                    "events": [
                        (event.event_name, names[event.entity_id], event.created_at)
                        for event in events
                        if event.entity_id in names
                    ],
                }
            )
        return found


def _of_subscription(row: Subscription) -> dict[str, Any]:
    kept = "subscription_status current_period_start current_period_end billing_anchor cancelled_at cancel_at end_date"
    return {name: getattr(row, name) for name in f"{kept} pause_status".split()}


def _of_invoice(row: Invoice) -> dict[str, Any]:
    kept = "invoice_status payment_status billing_reason period_start period_end subtotal total amount_remaining"
    more = "created_at last_computed_at finalized_at due_date overdue_notified_at billing_sequence"
    return {name: getattr(row, name) for name in f"{kept} {more}".split()}


async def _lived(account: Account, pace: Iterator[datetime], *, cancels_unpaid: bool) -> list[dict[str, Any]]:
    cast = await Cast(Office(account)).begin(cancels_unpaid=cancels_unpaid)
    await cast.live(pace)
    return await cast.told()


async def _assert_lived_the_same(expected: list[dict[str, Any]], account: Account, pace: Pace, **given: bool) -> None:
    lived = await _lived(account, pace(), **given)
    for number, (at_one_go, in_steps) in enumerate(zip(expected, lived, strict=True)):
        for compared in ("subscriptions", "invoices", "events"):
            assert in_steps[compared] == at_one_go[compared], f"{pace.__name__}: {compared} of subscription {number}"


@pytest.mark.slow
async def test_the_months_are_the_same_day_by_day(account: Account, stranger: Account) -> None:
    expected = await _lived(account, at_once(), cancels_unpaid=False)
    # enough happened to be worth comparing
    names = {name for history in expected for name, _, _ in history["events"]}
    assert names >= {
        "subscription.renewal.due",
        "subscription.paused",
        "subscription.resumed",
        "subscription.cancelled",
        "subscription.plan_changed",
        "invoice.create.drafted",
        "invoice.update.finalized",
        "invoice.payment.overdue",
    }
    reasons = {invoice["billing_reason"] for history in expected for invoice in history["invoices"]}
    assert "AUTO_INVOICE_THRESHOLD" in reasons
    await _assert_lived_the_same(expected, stranger, day_by_day, cancels_unpaid=False)


@pytest.mark.slow
async def test_everything_happens_at_its_own_instant_however_the_months_pass(
    account: Account, stranger: Account
) -> None:
    expected = await _lived(account, at_once(), cancels_unpaid=True)
    events = expected[0]["events"]
    told = {name: at for name, what, at in reversed(events) if what in {"subscription 0", "invoice 1"}}
    assert told["subscription.renewal.due"] == datetime(2026, 1, 31, tzinfo=UTC)
    assert told["invoice.create.drafted"] == datetime(2026, 2, 1, 0, 15, tzinfo=UTC)
    soon = timedelta(microseconds=1)
    assert told["invoice.update.finalized"] == datetime(2026, 2, 1, 2, 15, tzinfo=UTC) + soon
    # the opening fell due ten days after the start of January, and forty more passed
    assert told["subscription.cancelled"] == datetime(2026, 2, 20, tzinfo=UTC) + soon
    threshold = [
        invoice for invoice in expected[6]["invoices"] if invoice["billing_reason"] == "AUTO_INVOICE_THRESHOLD"
    ]
    # each of February's two days of usage came to 38, and was told to the clock in advance
    assert [invoice["period_end"] for invoice in threshold][:1] == [datetime(2026, 2, 20, 18, 45, tzinfo=UTC)]
    assert all(before["period_end"] <= after["period_start"] for before, after in pairwise(threshold))
    await _assert_lived_the_same(expected, stranger, unevenly, cancels_unpaid=True)
