"""`farthing bill` and `farthing clock` as an operator runs them: processes of their own, beside a server or without."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
from sqlalchemy import func, select, text

from farthing.invoices.tables import Invoice
from farthing.storage.postgres import Database
from farthing.storage.record.outbox import SystemEvent
from farthing.storage.scope import SYSTEM
from farthing.subscriptions.tables import Subscription
from farthing.wiring import wire
from tests.account import Account
from tests.billing.office import Office
from tests.conftest import running, settings_for
from tests.processes import run_farthing
from tests.subscriptions.shop import fixed


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str


async def farthing(account: Account, *command: str) -> Ended:
    """Run the command line against the account's database."""
    environment = {
        **os.environ,
        "FARTHING_DATABASE_URL": account.database.url,
        "FARTHING_SECRET_KEY": account.settings.secret_key or "",
        "FARTHING_LOG_LEVEL": "error",
    }
    done = await asyncio.to_thread(run_farthing, list(command), environment)
    return Ended(done.returncode, done.stdout, done.stderr)


async def broken(office: Office, name: str) -> Subscription:
    """A subscription that cannot roll."""
    subscription = await office.subscribed(await office.plan(fixed("20"), name=name))
    async with office.account.transaction() as session:
        row = await session.get_one(Subscription, subscription.id)
        row.timezone = "Nowhere/Land"
    return subscription


async def counted(account: Account) -> list[int]:
    """How many rows there are of what a run would write, and the sum of what it would change."""
    async with account.transaction(read_only=True) as session:
        tables = (Invoice, SystemEvent)
        rows = [await session.scalar(select(func.count()).select_from(table)) or 0 for table in tables]
        return [*rows, await session.scalar(select(func.sum(Subscription.version))) or 0]


@pytest.fixture
async def offices(new_database: Callable[..., str]) -> AsyncIterator[tuple[Office, Office]]:
    """Two offices in a database of their own: the environments of other tests would all be billed, too."""
    url = new_database()
    database, settings = Database(url, wire()), settings_for(url)
    async with (
        running(settings, database) as base_url,
        Account(base_url, settings, database) as account,
        Account(base_url, settings, database) as stranger,
    ):
        both = Office(account), Office(stranger)
        for office in both:
            await office.on("2026-01-01")
            await office.settings(compute_delay_seconds=0, finalization_delay_seconds=0)
        yield both
    await database.close()


class TestBill:
    @pytest.mark.slow
    async def test_it_bills_what_is_due_and_says_so(self, office: Office) -> None:
        plan = await office.plan(fixed("1234.5"))
        subscriptions = [await office.subscribed(plan) for _ in range(3)]
        await office.on("2026-02-01")
        ended = await farthing(office.account, "bill", "--environment", office.account.environment_id)
        assert ended == Ended(
            0,
            f"Sandbox ({office.account.environment_id}) as of 2026-02-01T00:00:00Z\n"
            "         3  subscriptions brought up to date\n"
            "         3  invoices drafted\n"
            "         3  invoices finalized\n"
            "    3703.5  usd\n",
            "",
        )
        assert await office.totals(subscriptions[0]) == ["1234.50", "1234.50"]
        again = await farthing(office.account, "bill", "--environment", office.account.environment_id)
        assert again.out == f"Sandbox ({office.account.environment_id}) as of 2026-02-01T00:00:00Z: nothing is due\n"

    async def test_until_says_as_of_when(self, office: Office) -> None:
        subscription = await office.subscribed(await office.plan(fixed("10")))
        ended = await farthing(
            office.account, "bill", "--environment", office.account.environment_id, "--until", "2026-04-01T00:00:00"
        )
        assert "as of 2026-04-01T00:00:00Z" in ended.out
        assert await office.totals(subscription) == ["10.00"] * 4

    async def test_a_dry_run_says_what_would_be_and_leaves_no_trace(self, office: Office) -> None:
        await office.subscribed(await office.plan(fixed("10")))
        await office.on("2026-02-01")
        before = await counted(office.account)
        ended = await farthing(office.account, "bill", "--environment", office.account.environment_id, "--dry-run")
        assert ended.status == 0
        assert "a dry run, nothing of it is kept" in ended.out
        assert "1  invoice drafted" in ended.out
        assert "10  usd" in ended.out
        assert await counted(office.account) == before

    async def test_what_fails_is_named_and_the_rest_is_billed(self, office: Office) -> None:
        fine = await office.subscribed(await office.plan(fixed("10")))
        bad = [await broken(office, name) for name in ("One", "Other")]
        await office.on("2026-02-01")
        ended = await farthing(office.account, "bill", "--environment", office.account.environment_id)
        assert ended.status == 1
        assert "2  failed, and will be tried again:" in ended.out
        for subscription in bad:
            assert f"{subscription.id}: " in ended.out
        assert await office.totals(fine) == ["10.00", "10.00"]

    @pytest.mark.slow
    async def test_all_environments_are_billed_each_at_its_own_time(self, offices: tuple[Office, Office]) -> None:
        subscriptions = [await office.subscribed(await office.plan(fixed("10"))) for office in offices]
        for office, now in zip(offices, ("2026-02-01", "2026-03-01"), strict=True):
            await office.on(now)
        ended = await farthing(offices[0].account, "bill")
        assert (ended.status, ended.err) == (0, "")
        for office, now in zip(offices, ("2026-02-01", "2026-03-01"), strict=True):
            assert f"({office.account.environment_id}) as of {now}T00:00:00Z" in ended.out
        totals = [
            await office.totals(subscription) for office, subscription in zip(offices, subscriptions, strict=True)
        ]
        assert [len(amounts) for amounts in totals] == [2, 3]


class TestClock:
    @pytest.mark.slow
    async def test_it_stands_moves_and_runs_again(self, office: Office) -> None:
        environment = office.account.environment_id
        subscription = await office.subscribed(await office.plan(fixed("10")))
        ended = await farthing(office.account, "clock", environment, "2026-03-05T00:00:00")
        assert ended == Ended(
            0,
            f"the clock of Sandbox ({environment}) stands at 2026-03-05T00:00:00Z\n"
            "         2  rolled\n"
            "         2  drafted\n"
            "         2  computed\n"
            "         2  finalized\n"
            "         2  renewals told\n"
            "         3  overdue told\n",
            "",
        )
        assert await office.totals(subscription) == ["10.00"] * 3
        ended = await farthing(office.account, "clock", environment)
        assert ended == Ended(0, f"the clock of Sandbox ({environment}) runs again\n", "")
        async with office.account.database.transaction(SYSTEM, read_only=True) as session:
            found = text("SELECT frozen_time FROM environments WHERE id = :id")
            assert await session.scalar(found, {"id": environment}) is None

    async def test_what_fails_on_the_way_is_named(self, office: Office) -> None:
        bad = await broken(office, "Bad")
        ended = await farthing(office.account, "clock", office.account.environment_id, "2026-02-05T00:00:00")
        assert ended.status == 1
        assert "stands at 2026-02-05T00:00:00Z" in ended.out
        assert f"{bad.id}: " in ended.out

    async def test_it_does_not_go_back(self, office: Office) -> None:
        await office.subscribed(await office.plan(fixed("10")))
        ended = await farthing(office.account, "clock", office.account.environment_id, "2025-12-01T00:00:00")
        assert ended == Ended(
            2, "", "farthing: frozen_time must not be before 2026-01-01T00:00:00Z: a clock does not go back\n"
        )


@pytest.mark.parametrize(
    ("command", "said"),
    [
        pytest.param(["bill", "--environment", "env_none"], "There is no environment env_none", id="bill nowhere"),
        pytest.param(["clock", "env_none", "2026-01-01"], "There is no environment env_none", id="clock nowhere"),
        pytest.param(["bill", "--until", "soon"], "Invalid value for --until", id="bill until some time"),
        pytest.param(["clock", "env_none", "soon"], "Invalid value for TIME", id="clock at some time"),
    ],
)
async def test_a_mistake_is_said_in_a_line(account: Account, command: list[str], said: str) -> None:
    ended = await farthing(account, *command)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"farthing: {said}")
    assert ended.err.count("\n") == 1
