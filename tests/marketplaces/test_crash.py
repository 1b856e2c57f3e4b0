"""kill -9 while a marketplace is told: before it has taken the report, and after it has and nobody has noted that."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime

import pytest

from farthing.core.clock import FixedClock
from farthing.marketplaces.reporting.markets.opening import Marketplaces
from farthing.marketplaces.reporting.run import report_environment
from farthing.marketplaces.tables import ReportStatus
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope
from farthing.wiring import wire
from tests.marketplaces.seller import BLOCKS, Seller, recorded, records
from tests.processes import ForkedProcess


def report(database_url: str, secret_key: str, market_url: str, scope: tuple[str, str], moment: str) -> None:
    """What a worker does, in a process of its own."""
    urls = json.dumps({f"{name}_marketplace": market_url for name in BLOCKS})
    settings = Settings(database_url=database_url, secret_key=secret_key, provider_urls=urls)

    async def run() -> None:
        database = Database(database_url, wire())
        clock = FixedClock(datetime.fromisoformat(moment))
        await report_environment(database, Scope(*scope), Marketplaces(database, settings), clock)

    asyncio.run(run())


@pytest.mark.parametrize("market", list(BLOCKS))
@pytest.mark.parametrize(
    "fault", [pytest.param("ignored", id="before it is taken"), pytest.param("held", id="after it was taken")]
)
async def test_what_a_killed_process_was_sending_is_counted_once(seller: Seller, market: str, fault: str) -> None:
    customer, _ = await seller.sells(market)
    await seller.used(customer, ("2026-01-01T00:30", 5))
    await recorded(seller.office, "2026-01-01T01:10:00")
    account = seller.office.account
    seller.market(market).faults.append(fault)
    process = ForkedProcess(
        report,
        account.settings.database_url,
        account.settings.master_key(),
        seller.markets.url,
        (account.tenant_id, account.environment_id),
        "2026-01-01T01:10:00+00:00",
        environment={},
    )
    await seller.market(market).held.wait()
    process.kill()
    await asyncio.to_thread(process.wait)
    (stored,) = await seller.kept()
    assert (stored.report_status, stored.in_doubt, stored.quantity) == (ReportStatus.WAITING, True, 5)
    assert seller.market(market).total == (5 if fault == "held" else 0)
    # more usage, and hours that went by, change nothing of what was being sent
    await seller.used(customer, ("2026-01-01T00:40", 2))
    await seller.runs("2026-01-01T08:10:00")
    assert seller.market(market).total == 7
    assert seller.market(market).by_hour["01T00"] == 5
    rows = await records(seller.office)
    assert rows[0]["syncs"][f"{market}_marketplace"]["reporting_id"]
    assert all(row["synced"] for row in rows)
