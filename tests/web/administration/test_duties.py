"""The page of the duties: whose it is, what it shows, and running one now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import pytest
from playwright.async_api import Browser, Page, expect

from farthing.jobs.duties.duty import Counts, Duty, perform
from farthing.jobs.duties.schedule import duties
from farthing.jobs.workers.pace import WorkerState
from farthing.jobs.workers.worker import keep_working
from farthing.storage.postgres import Database
from farthing.wiring import wire
from tests.account import Account
from tests.conftest import running, settings_for
from tests.waiting import until
from tests.web.browsing import sign_in
from tests.web.stage import Stage

pytestmark = pytest.mark.usefixtures("plain_logs")


@pytest.fixture
async def deployment(new_database: Callable[..., str]) -> AsyncIterator[tuple[Database, Stage, Stage, str]]:
    """A deployment of its own, who runs it, and another tenant."""
    url = new_database()
    database, settings = Database(url, wire()), settings_for(url)
    async with (
        running(settings, database) as base_url,
        Account(base_url, settings, database) as first,
        Account(base_url, settings, database) as second,
    ):
        yield database, await Stage(first).admit(), await Stage(second).admit(), base_url
    await database.close()


async def page_of(browser: Browser, base_url: str, stage: Stage) -> Page:
    context = await browser.new_context(base_url=base_url)
    page = await context.new_page()
    await sign_in(page, stage)
    return page


async def test_who_runs_the_deployment_sees_the_duties_and_runs_one(
    deployment: tuple[Database, Stage, Stage, str], browser: Browser
) -> None:
    database, operator, _, base_url = deployment

    async def leaks(database: Database, now: datetime) -> Counts:
        raise ValueError("/etc/secret: SELECT * FROM users")

    with pytest.raises(ValueError, match="secret"):
        await perform(database, Duty("retention", "0 4 * * *", leaks), datetime.now(UTC))
    page = await page_of(browser, base_url, operator)
    await page.get_by_role("link", name="Duties").click()
    row = page.get_by_role("row", name="Retention").last
    await expect(row).to_contain_text("an internal error (ValueError); the log says more")
    assert "secret" not in await page.content()
    await expect(page.get_by_text("No worker is alive")).to_be_visible()
    await page.get_by_role("button", name="Run now Invoice overdue scan").click()
    await expect(page.get_by_text("Invoice overdue scan is queued.")).to_be_visible()
    await page.get_by_role("button", name="Run now Invoice overdue scan").click()
    await expect(page.get_by_text("waits to be run already")).to_be_visible()
    known = [duty for duty in duties(database, operator.account.settings) if duty.name == "invoice_overdue_scan"]
    working = asyncio.create_task(keep_working(database, known, WorkerState()))
    try:
        succeeded = page.get_by_role("row", name="Invoice overdue scan").get_by_text("Succeeded")

        async def is_shown() -> bool:
            await page.goto("/duties")
            return await succeeded.count() > 0

        await until(is_shown)
    finally:
        working.cancel()
        await asyncio.wait({working})
    await page.context.close()


async def test_another_tenant_is_shown_no_duties_and_runs_none(
    deployment: tuple[Database, Stage, Stage, str], browser: Browser
) -> None:
    _, _, other, base_url = deployment
    page = await page_of(browser, base_url, other)
    await expect(page.get_by_role("link", name="Duties")).to_have_count(0)
    answer = await page.goto("/duties")
    assert answer is not None
    assert answer.status == 403
    await page.context.close()


async def test_a_reader_sees_the_duties_and_runs_none(
    deployment: tuple[Database, Stage, Stage, str], browser: Browser
) -> None:
    _, operator, _, base_url = deployment
    await operator.admit(["all_reader"])
    page = await page_of(browser, base_url, operator)
    await page.goto("/duties")
    await expect(page.get_by_role("heading", name="Duties")).to_be_visible()
    await expect(page.get_by_role("button", name="Run now")).to_have_count(0)
    await page.context.close()
