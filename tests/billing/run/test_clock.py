"""Test clocks: a year of billing in a moment, the same as a year of waiting."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from farthing.billing.clock import advance
from farthing.billing.clock.advance import Clockwork
from farthing.billing.run.passes import Run, Summary
from farthing.billing.run.renewal_notice import announce_renewals
from farthing.billing.tables import ClockAdvance
from farthing.core.clock import instant
from farthing.core.errors import InvalidOperation
from farthing.subscriptions.tables import Subscription
from tests.account import Account
from tests.billing.office import Office
from tests.subscriptions.shop import at, fixed
from tests.waiting import until


async def _move(account: Account, to: str | None, expect: int = 200) -> dict[str, object]:
    path = f"/environments/{account.environment_id}/clock"
    answer: dict[str, object] = await account.post(path, {"frozen_time": to}, expect=expect)
    return answer


@pytest.mark.slow
async def test_a_year_passes_period_by_period(office: Office) -> None:
    await office.settings(compute_delay_seconds=900, finalization_delay_seconds=7200)
    calls = await office.feature("calls")
    plan = await office.plan(fixed("50"), office.usage(calls, "0.02"))
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    for month in range(1, 13):
        await office.used("calls", customer, month, f"2026-{month:02}-15")
    answer = await _move(office.account, "2027-01-01T03:00:00Z")
    assert answer["frozen_time"] == "2027-01-01T03:00:00Z"
    assert answer["progress"]["finished"] is True  # type: ignore[index]
    totals = await office.totals(subscription)
    assert totals == ["50.00", *(f"{50 + month * 0.02:.2f}" for month in range(1, 13))]
    invoices = await office.invoices(subscription)
    assert {str(invoice.invoice_status) for invoice in invoices} == {"FINALIZED"}
    # each became a claim when its time had come, not when the clock stopped
    finalized = [invoice.finalized_at for invoice in invoices[1:]]
    assert [at.month for at in finalized if at is not None] == [*range(2, 13), 1]
    events = await office.account.get(f"/subscriptions/{subscription.id}")
    assert events["current_period_start"] == "2027-01-01T00:00:00Z"


async def test_the_clock_does_not_go_back(office: Office) -> None:
    await office.subscribed(await office.plan(fixed("50")))
    await _move(office.account, "2026-01-15T00:00:00Z")
    refused = await _move(office.account, "2026-01-14T00:00:00Z", expect=400)
    assert "a clock does not go back" in str(refused)


async def test_null_lets_it_run_again(office: Office) -> None:
    answer = await _move(office.account, None)
    assert "frozen_time" not in answer
    read = await office.account.get(f"/environments/{office.account.environment_id}/clock")
    assert "frozen_time" not in read


async def test_a_stranger_cannot_move_it(office: Office, stranger: Account) -> None:
    path = f"/environments/{office.account.environment_id}/clock"
    await stranger.post(path, {"frozen_time": "2030-01-01T00:00:00Z"}, expect=404)


async def test_a_trial_ends_when_the_clock_passes_it(office: Office) -> None:
    subscription = await office.subscribed(await office.plan(fixed("30")), trial_period_days=14)
    await _move(office.account, "2026-01-16T00:00:00Z")
    assert await office.billed(subscription) == [
        ("TRIAL_START", "01-01..01-15", "0.00"),
        ("TRIAL_END", "01-15..02-15", "30.00"),
    ]


async def test_two_moves_at_once_are_one_move_and_a_refusal(office: Office) -> None:
    subscription = await office.subscribed(await office.plan(fixed("50")))
    first, second = (Clockwork(office.account.database, office.account.scope) for _ in range(2))
    made = await asyncio.gather(
        first.move(at("2026-04-01T06:00")), second.move(at("2026-05-01T06:00")), return_exceptions=True
    )
    (refusal,) = (result for result in made if isinstance(result, BaseException))
    assert isinstance(refusal, InvalidOperation)
    assert "The clock is being moved" in refusal.message
    (move,) = (result for result in made if isinstance(result, ClockAdvance))
    read = await office.account.get(f"/environments/{office.account.environment_id}/clock")
    assert read["frozen_time"] == instant(move.target)
    assert len(await office.totals(subscription)) == move.target.month
    # and then it can be moved again
    await _move(office.account, "2026-06-01T06:00:00Z")
    assert await office.totals(subscription) == ["50.00"] * 6


async def test_a_refusal_because_of_another_move_is_no_answer_for_a_key(office: Office) -> None:
    account = office.account
    path = f"/environments/{account.environment_id}/clock"
    asked = {"json": {"frozen_time": "2026-02-01T00:00:00Z"}, "headers": {"Idempotency-Key": "k"}}
    lock = "SELECT pg_advisory_xact_lock(hashtextextended('clock/' || :environment, 0))"
    async with account.transaction() as another:
        await another.execute(text(lock), {"environment": account.environment_id})
        refused = await account.http.post(path, **asked)  # type: ignore[arg-type]
    assert (refused.status_code, refused.headers["retry-after"]) == (400, "1")
    moved = await account.http.post(path, **asked)  # type: ignore[arg-type]
    assert (moved.status_code, moved.json()["frozen_time"]) == (200, "2026-02-01T00:00:00Z")


async def test_a_move_that_fails_halfway_goes_on_when_it_is_made_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscription = await office.subscribed(await office.plan(fixed("50")))

    async def out_of_order(run: Run, done: Summary) -> None:
        if run.now >= at("2026-03-01"):
            raise RuntimeError("the disk is full")
        await announce_renewals(run, done)

    monkeypatch.setattr(advance, "announce_renewals", out_of_order)
    refused = await _move(office.account, "2026-06-01T06:00:00Z", expect=400)
    assert "The clock stopped at 2026-03-01T00:00:00Z on its way to 2026-06-01T06:00:00Z" in str(refused["message"])
    path = f"/environments/{office.account.environment_id}/clock"
    read = await office.account.get(path)
    assert read["frozen_time"] == read["progress"]["reached"] == "2026-03-01T00:00:00Z"
    assert read["progress"]["finished"] is False
    assert read["progress"]["error"] == "an internal error (RuntimeError); the log says more"
    monkeypatch.undo()
    answer = await _move(office.account, "2026-06-01T06:00:00Z")
    assert answer["progress"]["finished"] is True  # type: ignore[index]
    assert await office.totals(subscription) == ["50.00"] * 6
    told = [name for name in await office.events(subscription.id) if name == "subscription.renewal.due"]
    assert len(told) == 5


_MOVER = """
import asyncio, sys
from datetime import datetime
from farthing.billing.clock.advance import Clockwork
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope
from farthing.wiring import wire

async def main(url, tenant, environment, to):
    await Clockwork(Database(url, wire()), Scope(tenant, environment)).move(
        datetime.fromisoformat(to), lambda move: print(move.reached, flush=True)
    )

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.slow
async def test_a_move_whose_process_is_killed_says_so_and_goes_on_when_it_is_made_again(office: Office) -> None:
    subscription = await office.subscribed(await office.plan(fixed("50")))
    scope = office.account.scope
    to = "2026-12-01T06:00:00Z"
    arguments = [office.account.database.url, scope.tenant_id, scope.environment_id, to]
    mover = await asyncio.create_subprocess_exec(sys.executable, "-c", _MOVER, *arguments, stdout=subprocess.PIPE)
    assert mover.stdout is not None
    for _ in range(5):
        await mover.stdout.readline()
    refused = await _move(office.account, "2026-12-20T00:00:00Z", expect=400)
    assert "The clock is being moved to 2026-12-01T06:00:00Z" in str(refused["message"])
    mover.kill()
    await mover.wait()
    path = f"/environments/{office.account.environment_id}/clock"

    async def read_what_failed() -> Any:
        standing = await office.account.get(path)
        return standing if standing["progress"].get("error") else None

    read = await until(read_what_failed)  # once PostgreSQL has noticed that its client is gone
    assert read["progress"]["error"] == "interrupted; set it again to go on"
    assert "2026-01-01T00:00:00Z" < read["frozen_time"] < to
    answer = await _move(office.account, to)
    assert answer["frozen_time"] == to
    assert await office.totals(subscription) == ["50.00"] * 12


async def test_what_fails_on_the_way_is_named_and_the_rest_is_done(office: Office) -> None:
    fine = await office.subscribed(await office.plan(fixed("50")))
    broken = await office.subscribed(await office.plan(fixed("20"), name="Broken"))
    async with office.account.transaction() as session:
        row = await session.get_one(Subscription, broken.id)
        row.timezone = "Nowhere/Land"
    answer: Any = await _move(office.account, "2026-02-02T00:00:00Z")
    assert list(answer["progress"]["failures"]) == [broken.id]
    assert answer["progress"]["counts"]["failed"] == 1
    assert await office.totals(fine) == ["50.00", "50.00"]


_REFUSES = """
CREATE FUNCTION refuse_invoice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a detail of the database' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER refuse_invoice BEFORE INSERT ON invoices FOR EACH ROW
WHEN (NEW.subscription_id = '{subscription}') EXECUTE FUNCTION refuse_invoice()
"""


async def test_what_the_database_refuses_is_named_without_its_words(office: Office, sockets: str) -> None:
    subscription = await office.subscribed(await office.plan(fixed("20")))
    name = make_url(office.account.database.url).database
    with psycopg.connect(f"postgresql://postgres@/{name}?host={sockets}", autocommit=True) as database:
        database.execute(_REFUSES.format(subscription=subscription.id).encode())
        try:
            answer: Any = await _move(office.account, "2026-02-02T00:00:00Z")
        finally:
            database.execute("DROP TRIGGER refuse_invoice ON invoices; DROP FUNCTION refuse_invoice")
    assert answer["progress"]["failures"] == {
        subscription.id: "the database could not do what was asked of it; the log says more"
    }


async def test_a_jump_with_too_many_stops_takes_some_together(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advance, "MOST_STEPS", 20)
    subscription = await office.subscribed(await office.plan(fixed("50")))
    await _move(office.account, "2028-01-01T06:00:00Z")
    assert await office.totals(subscription) == ["50.00"] * 25
    assert {str(invoice.invoice_status) for invoice in await office.invoices(subscription)} == {"FINALIZED"}


async def test_times_that_cannot_be_are_refused(office: Office) -> None:
    for never in ("2300-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "soon", "2026-02-01T00:00:00"):
        refused = await _move(office.account, never, expect=400)
        assert refused["code"] == "validation_error"
