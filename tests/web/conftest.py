"""A browser, and books that all page tests look at; tests that change something bring an account of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect
from sqlalchemy import update

from farthing.api.transport import ratelimit
from farthing.identity.tables import Tenant
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM
from tests.account import Account
from tests.conftest import running, settings_for
from tests.web.browsing import LAUNCH, sign_in
from tests.web.everywhere.places import Place, places
from tests.web.stage import Stage
from tests.web.visitor import Visitor


@pytest.fixture(scope="session")
def settings(database_url: str) -> Settings:
    return settings_for(database_url)


@pytest.fixture(scope="session")
async def base_url(settings: Settings, database: Database) -> AsyncIterator[str]:
    """A server of its own, on which many tests may sign in within a minute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ratelimit, "SIGN_IN_PER_MINUTE", 100_000)
        async with running(settings, database) as url:
            yield url


PATIENCE_MILLISECONDS = 30_000
"""How long a page may take where other work runs on the machine."""


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(**LAUNCH)
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
async def stage(base_url: str, settings: Settings, database: Database) -> AsyncIterator[Stage]:
    """Half a year of books. Only to be looked at."""
    async with Account(base_url, settings, database) as account:
        async with database.transaction(SYSTEM) as session:
            # the first tenant is who runs the deployment, and sees every page
            first = (
                update(Tenant).where(Tenant.id == account.tenant_id).values(created_at=datetime(2020, 1, 1, tzinfo=UTC))
            )
            await session.execute(first)
        yield await Stage(account).play()


@pytest.fixture(scope="session")
async def everywhere(stage: Stage) -> list[Place]:
    return await places(stage)


@pytest.fixture
async def own(account: Account) -> Stage:
    """An empty account with a person who can sign in."""
    return await Stage(account).admit()


@pytest.fixture
async def context(browser: Browser, base_url: str) -> AsyncIterator[BrowserContext]:
    context = await browser.new_context(base_url=base_url)
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    yield context
    await context.close()


@pytest.fixture
async def page(context: BrowserContext) -> Page:
    """A browser that nobody signed in with."""
    return await context.new_page()


@pytest.fixture(scope="session")
async def looking(browser: Browser, base_url: str, stage: Stage) -> AsyncIterator[Page]:
    """A browser in which the stage's person is signed in."""
    context = await browser.new_context(base_url=base_url)
    page = await context.new_page()
    await sign_in(page, stage)
    yield page
    await context.close()


@pytest.fixture
async def inside(own: Stage) -> AsyncIterator[Visitor]:
    """Somebody signed in, who needs no screen."""
    visitor = await Visitor(own.account).sign_in(own)
    yield visitor
    await visitor.http.aclose()


@pytest.fixture
async def outside(own: Stage) -> AsyncIterator[Visitor]:
    """Somebody who is not signed in, and needs no screen."""
    visitor = Visitor(own.account)
    yield visitor
    await visitor.http.aclose()
