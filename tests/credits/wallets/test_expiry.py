"""Lots past their expiry: left alone for six hours and while billing is behind, then debited once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from farthing.billing.clock.advance import Clockwork
from farthing.core.clock import FixedClock
from farthing.credits.ledger.expiry import expire_due
from farthing.credits.reads.derivation import ledger_differences
from tests.billing.counter import opened
from tests.billing.office import Office
from tests.credits.wallets.test_real_time import wallet_of
from tests.credits.wallets.test_wallets import debit, movements, top_up
from tests.subscriptions.shop import at


async def sweep(office: Office, moment: str, batch: int = 1000) -> int:
    """How many lots were swept at a moment, to which the clock is put."""
    await office.on(moment)
    swept = 0
    while True:
        async with office.transaction() as session:
            done = await expire_due(session, office.now, batch)
        if not done:
            return swept
        swept += done


@pytest.fixture
async def wallet(office: Office) -> Any:
    """100 credits that expire on 10 January at 10:00, of which 40 are left."""
    made = await wallet_of(
        office, await office.customer(), "100", initial_credits_expiry_date_utc="2026-01-10T10:00:00Z"
    )
    await debit(office.account, made, "60", "used")
    return made


async def test_a_lot_is_left_alone_for_six_hours_and_then_taken_once(office: Office, wallet: Any) -> None:
    assert await sweep(office, "2026-01-10T12:00:00Z") == 0
    preview = await office.account.post(f"/wallets/{wallet['id']}/debit/preview", {"credits": "1"}, expect=200)
    assert preview["overdraft"] == "0", "a debit by hand may take what the sweep has not reached"
    assert await sweep(office, "2026-01-10T15:59:59Z") == 0
    assert await sweep(office, "2026-01-10T16:00:00Z") == 1
    lot, _, row = await movements(office.account, wallet)
    assert (row["transaction_reason"], row["credit_amount"], row["credit_balance_after"]) == (
        "CREDIT_EXPIRED",
        "40",
        "0",
    )
    assert (row["idempotency_key"], row["reference_type"], row["reference_id"]) == (lot["id"], "REQUEST", lot["id"])
    assert row["metadata"] == {"expired_transaction_id": lot["id"], "expiry_date": "2026-01-10T10:00:00Z"}
    assert row["consumption_breakdown"] == [{"credit_transaction_id": lot["id"], "credits": "40"}]
    assert await sweep(office, "2026-01-10T16:15:00Z") == 0
    async with office.account.transaction(read_only=True) as session:
        assert await ledger_differences(session) == []


async def test_it_waits_while_billing_is_behind(office: Office) -> None:
    """The period ends on 1 February at midnight, the lot a second later; it waits for the run, and for the draft."""
    calls = await office.feature("calls")
    customer = await office.customer()
    await opened(office, await office.plan(office.usage(calls, "1")), customer)
    wallet = await wallet_of(office, customer, "100", initial_credits_expiry_date_utc="2026-02-01T00:00:01Z")
    await office.used("calls", customer, 30, "2026-01-05")
    await office.settings(finalization_delay_seconds=86400)
    assert await sweep(office, "2026-02-01T08:00:00Z") == 0, "the period is over and not billed"
    await office.run("2026-02-01T08:00:00Z")
    assert await sweep(office, "2026-02-01T09:00:00Z") == 0, "its draft may still use the lot"
    await office.run("2026-02-02T09:00:00Z")
    assert await sweep(office, "2026-02-02T09:15:00Z") == 1
    rows = await movements(office.account, wallet)
    assert [(row["transaction_reason"], row["credit_amount"]) for row in rows[1:]] == [
        ("CREDIT_ADJUSTMENT", "30"),
        ("CREDIT_EXPIRED", "70"),
    ]


async def test_sweeps_at_once_take_each_lot_once(office: Office) -> None:
    """Forty lots in ten wallets, four sweeps at once in small batches, and debits of the same wallets meanwhile."""
    wallets = [await wallet_of(office, await office.customer(), "1") for _ in range(10)]
    for wallet in wallets:
        for number in range(4):
            expiry = f"2026-01-{10 + number}T00:00:00Z"
            await top_up(office.account, wallet, "10", expiry_date_utc=expiry)
    await office.on("2026-02-01")

    async def sweep_once() -> None:
        done = 1
        while done:
            async with office.transaction() as session:
                done = await expire_due(session, office.now, 7)

    debits = (debit(office.account, wallet, "3", f"during {wallet['id']}") for wallet in wallets)
    await asyncio.gather(*(sweep_once() for _ in range(4)), *debits)
    async with office.account.transaction(read_only=True) as session:
        assert await ledger_differences(session) == []
        left = await session.scalar(
            text("SELECT sum(credits_available) FROM wallet_transactions WHERE expiry_date < '2026-02-01'")
        )
        twice = await session.scalar(
            text(
                "SELECT count(*) - count(DISTINCT reference_id) FROM wallet_transactions "
                "WHERE transaction_reason = 'CREDIT_EXPIRED'"
            )
        )
    assert (left, twice) == (0, 0)


async def test_a_test_clock_stops_for_it(office: Office, wallet: Any) -> None:
    await top_up(office.account, wallet, "5", expiry_date_utc="2026-01-20T00:00:00Z")
    await Clockwork(office.account.database, office.account.scope).move(at("2026-03-01"))
    rows = [row for row in await movements(office.account, wallet) if row["transaction_reason"] == "CREDIT_EXPIRED"]
    assert [row["created_at"] for row in rows] == ["2026-01-10T16:00:00Z", "2026-01-20T06:00:00Z"]


async def test_many_lots_take_few_statements(office: Office) -> None:
    """A batch is a fixed number of statements, and every lot has its own movement and event."""
    wallet = await wallet_of(office, await office.customer(), "1")
    for number in range(30):
        await top_up(office.account, wallet, "1", expiry_date_utc=f"2026-01-10T00:00:{number:02}Z")
    assert await sweep(office, "2026-02-01") == 30
    rows = await movements(office.account, wallet)
    assert len(rows) == 61
    async with office.account.database.transaction(office.account.scope, clock=FixedClock(office.now)) as session:
        told = await session.scalar(
            text("SELECT count(*) FROM system_events WHERE event_name = 'wallet.transaction.created'")
        )
    assert told == 61
