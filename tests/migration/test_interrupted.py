"""A migration that is killed goes on where it was, and nothing is there twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psycopg
import pytest
from sqlalchemy import func, select

from farthing.core.ids import Kind
from farthing.migration.tables import MigratedRecord
from tests.migration.go_between import GoBetween, going_between
from tests.migration.removal import OPEN_SINCE, Removal, open_invoices_of, summaries_of
from tests.processes import ForkedProcess, farthing, run_farthing
from tests.waiting import PATIENCE_SECONDS, until, until_waited_for


class Command:
    """`farthing migrate-from` as an operator types it, in a process of its own."""

    def __init__(self, removal: Removal, database_url: str) -> None:
        self._removal = removal
        self._environment = {
            "FARTHING_DATABASE_URL": database_url,
            "FARTHING_SECRET_KEY": "a master key for tests only",
            "FARTHING_LOG_LEVEL": "error",
            "FLEXPRICE_API_KEY": removal.source.account.key,
        }

    def _arguments(self, between: GoBetween) -> list[str]:
        target = self._removal.target.account.environment_id
        return [
            *("migrate-from", "flexprice", "--url", between.url),
            *("--environment", target, "--events-since", OPEN_SINCE),
        ]

    def start(self, between: GoBetween) -> ForkedProcess:
        return farthing(self._arguments(between), self._environment)

    async def run(self, between: GoBetween) -> tuple[int, str]:
        """To its end, while this process serves what it asks for."""
        done = await asyncio.to_thread(run_farthing, self._arguments(between), self._environment)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def command(removal: Removal, database_url: str) -> Command:
    return Command(removal, database_url)


async def _noted(removal: Removal) -> int:
    async with removal.target.account.transaction(read_only=True) as session:
        return await session.scalar(select(func.count()).select_from(MigratedRecord)) or 0


def _at_nth(path: str, place: int) -> Callable[[str], bool]:
    seen = 0

    def is_reached(asked: str) -> bool:
        nonlocal seen
        seen += asked.startswith(path)
        return seen >= place

    return is_reached


@pytest.mark.slow
async def test_a_run_that_is_killed_goes_on(removal: Removal, command: Command, database_url: str) -> None:
    noted = 0
    async with going_between(removal.source.account.base_url) as between:
        # the first search of customers asks whether the key is right
        for hold in (_at_nth("/customers/search", 2), _at_nth(f"/invoices/{Kind.INVOICE.value}", 3)):
            between.hold, between.held = hold, asyncio.Event()
            process = command.start(between)
            await asyncio.wait_for(between.held.wait(), PATIENCE_SECONDS)
            process.kill()
            await asyncio.to_thread(process.wait)
            before, noted = noted, await _noted(removal)
            assert noted > before
        between.hold = lambda path: False
        await _kill_in_the_middle_of_a_transaction(command, between, database_url)
        assert await _noted(removal) > noted

        status, output = await command.run(between)

    assert "Both sides agree." in output, output
    assert status == 0
    assert await summaries_of(removal.target) == await summaries_of(removal.source)
    assert await open_invoices_of(removal.target) == await open_invoices_of(removal.source)
    for path in ("customers", "features", "plans", "prices", "subscriptions", "wallets", "coupons"):
        counts = [await _count(office.account, path) for office in (removal.source, removal.target)]
        assert counts[0] == counts[1], path
    assert await removal.differences() == []


async def _kill_in_the_middle_of_a_transaction(command: Command, between: GoBetween, database_url: str) -> None:
    """Somebody else holds what the page of wallets writes last; the process dies while it waits for that."""
    with psycopg.connect(database_url) as holder:
        holder.execute("LOCK TABLE wallet_transactions IN EXCLUSIVE MODE")
        process = command.start(between)
        await until_waited_for(holder)
        process.kill()
        await asyncio.to_thread(process.wait)


async def _count(account: object, path: str) -> int:
    page = await account.post(f"/{path}/search", {"limit": 1}, expect=200)  # type: ignore[attr-defined]
    return int(page["pagination"]["total"])


async def test_two_runs_at_once_do_not_both_copy(removal: Removal, command: Command) -> None:
    async with going_between(removal.source.account.base_url, hold=_at_nth("/plans/search", 1)) as between:
        process = command.start(between)
        await asyncio.wait_for(between.held.wait(), PATIENCE_SECONDS)

        async def refused() -> bool:
            try:
                await removal.migrate()
            except Exception as error:
                return "is running already" in str(error)
            return False

        assert await until(refused)
        process.kill()
        await asyncio.to_thread(process.wait)
