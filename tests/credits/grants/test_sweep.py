"""The duty that applies grants: many at once, by several workers, through failures and kill -9."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import Process
from functools import partial
from typing import Any

from sqlalchemy import text

from farthing.jobs.duties.duty import perform
from farthing.jobs.duties.schedule import duties
from tests.account import Account
from tests.billing.counter import opened
from tests.conftest import settings_for
from tests.credits.grants.granting import GrantingOffice
from tests.waiting import until

_SWEEPER = """
import asyncio, sys
from datetime import datetime
from farthing.credits.grants.sweep import GrantSweep
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope
from farthing.wiring import wire

async def main(url, tenant, environment, at):
    await GrantSweep(Database(url, wire()), Scope(tenant, environment), datetime.fromisoformat(at), page=3).run()

asyncio.run(main(*sys.argv[1:]))
"""


async def many(office: GrantingOffice, count: int, **terms: Any) -> list[dict[str, Any]]:
    """Subscriptions of so many customers, each granted 100 a month from January on."""
    plan = await office.granting_plan(**terms)
    return [await opened(office, plan) for _ in range(count)]


async def granted(office: GrantingOffice) -> int:
    """How many lots grants have given."""
    async with office.account.transaction(read_only=True) as session:
        statement = "SELECT count(*) FROM wallet_transactions WHERE transaction_reason = 'SUBSCRIPTION_CREDIT_GRANT'"
        return int(await session.scalar(text(statement)) or 0)


async def reached(office: GrantingOffice, sweeper: Process, enough: int) -> bool:
    """Whether a sweep has come so far, or has ended."""
    return sweeper.returncode is not None or await granted(office) >= enough


async def test_several_workers_apply_each_period_once(office: GrantingOffice) -> None:
    made = await many(office, 12)
    await office.on("2025-03-15")
    sweeps = await asyncio.gather(*(office.swept(page=size) for size in (2, 3, 5, 12)))
    # what one worker holds is left by the others, and is theirs no more when they come to it
    assert sum(sweep.counts()["succeeded"] for sweep in sweeps) == 24
    assert sum(len(sweep.failed) for sweep in sweeps) == 0
    assert {await office.balance(wallet) for wallet in made} == {"300"}
    assert await granted(office) == 36
    assert await office.differences() == []


async def test_parallel_creations_for_one_customer_share_one_wallet(office: GrantingOffice) -> None:
    plan, customer = await office.granting_plan(), await office.customer()
    made = await asyncio.gather(*(opened(office, plan, customer) for _ in range(8)))
    assert await office.balance(made[0]) == "800"
    assert len(await office.account.get(f"/customers/{customer['id']}/wallets")) == 1
    assert await office.differences() == []


async def test_what_fails_alone_does_not_stop_the_page(office: GrantingOffice) -> None:
    made = await many(office, 4)
    async with office.account.transaction() as session:
        await session.execute(
            text("UPDATE subscriptions SET timezone = 'Nowhere/At_All' WHERE id = :id"), {"id": made[1]["id"]}
        )
    swept = await office.swept("2025-02-01")
    assert (swept.counts()["succeeded"], swept.counts()["failed"]) == (3, 1)
    assert [await office.balance(wallet) for wallet in made] == ["200", "100", "200", "200"]
    (_, failed) = await office.applications(made[1])
    assert (failed["application_status"], failed["retry_count"]) == ("failed", 1)
    assert failed["failure_reason"]
    assert (await office.swept("2025-02-01")).counts()["failed"] == 0  # not before its time
    async with office.account.transaction() as session:
        await session.execute(text("UPDATE subscriptions SET timezone = 'UTC' WHERE id = :id"), {"id": made[1]["id"]})
    assert (await office.swept("2025-02-01T00:15")).counts()["succeeded"] == 1
    assert await office.balance(made[1]) == "200"


async def test_a_sweep_that_is_killed_is_taken_up_by_the_next(office: GrantingOffice) -> None:
    made = await many(office, 12)
    await office.on("2025-06-15")
    scope = office.account.scope
    arguments = [office.account.database.url, scope.tenant_id, scope.environment_id, office.now.isoformat()]
    for enough in (15, 27, 39):
        sweeper = await asyncio.create_subprocess_exec(sys.executable, "-c", _SWEEPER, *arguments)
        await until(partial(reached, office, sweeper, enough))
        if sweeper.returncode is None:
            sweeper.kill()
        await sweeper.wait()
    await office.swept()
    assert {await office.balance(wallet) for wallet in made} == {"600"}
    assert await granted(office) == 72
    assert await office.differences() == []


async def test_the_duty_goes_through_environments_with_their_own_clocks(alone: Account) -> None:
    office = GrantingOffice(alone)
    await office.on("2025-01-01")
    (made,) = await many(office, 1)
    await office.on("2025-02-01")
    settings = settings_for(office.account.database.url)
    database = office.account.database
    duty = next(duty for duty in duties(database, settings) if duty.name == "credit_grant_processing")
    run = await perform(database, duty, office.now)
    assert run.error is None
    assert run.counts["succeeded"] >= 1
    assert await office.balance(made) == "200"


async def test_the_doctor_finds_what_is_not_as_it_was_granted(office: GrantingOffice) -> None:
    (made,) = await many(office, 1)
    await office.swept("2025-03-01")
    async with office.account.transaction() as session:
        rows = (await office.applications(made))[:2]
        await session.execute(
            text("UPDATE credit_grant_applications SET credits = 99 WHERE id = :id"), {"id": rows[0]["id"]}
        )
        await session.execute(
            text("UPDATE credit_grant_applications SET period_end = period_end - interval '1 day' WHERE id = :id"),
            {"id": rows[1]["id"]},
        )
    found = sorted(
        (difference.figure, difference.stored, difference.derived) for difference in await office.differences()
    )
    assert [figure for figure, _, _ in found] == ["credits", "credits", "period after 2025-02-01 00:00:00+00"]
    assert ("credits", "100", "99") in found
