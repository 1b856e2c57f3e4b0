"""A page is seen before all of it is there: nothing that it loads keeps it from being painted, and figures that take
long to read follow in the same answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from playwright.async_api import Browser, Page, expect

from farthing.app import read_document
from farthing.web.rendering import assets
from tests.waiting import until, until_waited_for
from tests.web.browsing import sign_in
from tests.web.everywhere.places import Place
from tests.web.stage import Stage
from tests.web.visitor import Visitor

ASSETS = Path(assets.__file__).parents[1] / "assets"
LARGEST_STYLE_BYTES = 48_000
REPORT = "/reports/recognized_revenue"
FIGURES_READ = {REPORT: "invoice_line_items", "/": "meter_usage"}
"""Pages whose figures take long, and the table that these are read from."""


@pytest.fixture
def admin(stage: Stage, sockets: str) -> Iterator[psycopg.Connection[Any]]:
    database = stage.account.database.engine.url.database
    with psycopg.connect(f"postgresql://postgres@/{database}?host={sockets}", autocommit=True) as connection:
        yield connection


@asynccontextmanager
async def beginning(visitor: Visitor, path: str) -> AsyncIterator[tuple[str, AsyncIterator[str]]]:
    """What comes first of a page, and what follows."""
    async with visitor.http.stream("GET", path) as answer:
        assert answer.status_code == 200
        pieces = answer.aiter_text()
        first = ""
        while "</main>" not in first and 'class="waiting' not in first:
            first += await anext(pieces)
        yield first, pieces


@pytest.mark.parametrize("style", sorted(ASSETS.glob("*.css")), ids=lambda style: style.name)
def test_a_style_sheet_waits_for_nothing(style: Path) -> None:
    text = style.read_text()
    assert "@import" not in text, "another style sheet is asked for when this one has come, and waited for"
    assert "@font-face" not in text, "texts wait for their font"
    assert len(text.encode()) < LARGEST_STYLE_BYTES


@pytest.mark.parametrize("path", FIGURES_READ)
async def test_a_page_is_painted_before_its_figures_are_read_and_needs_no_script(
    browser: Browser, stage: Stage, admin: psycopg.Connection[Any], path: str
) -> None:
    context = await browser.new_context(base_url=stage.account.base_url, java_script_enabled=False)
    page = await context.new_page()
    await sign_in(page, stage)
    waiting = page.locator(".waiting")
    with admin.transaction():
        admin.execute(f"LOCK TABLE {FIGURES_READ[path]} IN ACCESS EXCLUSIVE MODE")  # whoever reads it waits
        await page.goto(path, wait_until="commit")
        await until_waited_for(admin)
        await expect(page.locator("h1")).to_be_visible()
        await expect(waiting).to_be_visible()

        async def is_painted() -> bool:
            return bool(await page.evaluate("performance.getEntriesByName('first-contentful-paint').length"))

        await until(is_painted)
        assert not await page.evaluate("performance.getEntriesByType('navigation')[0].responseEnd"), "more is to come"
    await expect(page.locator(".waiting + *")).to_be_visible()
    await expect(waiting).to_be_hidden()
    assert await page.locator("main table").count()
    await context.close()


async def test_the_menu_of_a_phone_is_never_seen_open_before_the_page_is_whole(
    looking: Page, stage: Stage, admin: psycopg.Connection[Any]
) -> None:
    size = looking.viewport_size
    await looking.set_viewport_size({"width": 390, "height": 800})
    places = looking.get_by_role("navigation", name="Main")
    with admin.transaction():
        admin.execute(f"LOCK TABLE {FIGURES_READ[REPORT]} IN ACCESS EXCLUSIVE MODE")
        await looking.goto(REPORT, wait_until="commit")
        await until_waited_for(admin)
        await expect(looking.locator(".waiting")).to_be_visible()
        await expect(places).to_be_hidden()
    await expect(looking.get_by_role("region", name="Figures", exact=True)).to_be_visible()
    await looking.get_by_text("Menu").click()
    await expect(places).to_be_visible()
    await looking.set_viewport_size(size or {"width": 1280, "height": 800})


async def test_a_failure_after_the_page_has_begun_is_told_in_the_place_of_the_figures(
    stage: Stage, admin: psycopg.Connection[Any]
) -> None:
    visitor = await Visitor(stage.account).sign_in(stage)
    with admin.transaction():
        admin.execute(f"LOCK TABLE {FIGURES_READ[REPORT]} IN ACCESS EXCLUSIVE MODE")
        async with beginning(visitor, f"{REPORT}?grain=week") as (first, pieces):
            assert "Recognized revenue" in first
            await until_waited_for(admin)
            admin.execute(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
                "WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))"
            )
            rest = "".join([piece async for piece in pieces])
    assert 'role="alert"' in rest
    assert f'href="{REPORT}?grain=week"' in rest, "it can be tried again"
    assert "Figures" not in rest
    assert rest.rstrip().endswith("</html>")
    assert "Figures" in (await visitor.http.get(REPORT)).text


async def test_who_leaves_before_the_figures_are_there_keeps_nothing_from_others(
    stage: Stage, admin: psycopg.Connection[Any]
) -> None:
    visitor = await Visitor(stage.account).sign_in(stage)
    with admin.transaction():
        admin.execute(f"LOCK TABLE {FIGURES_READ[REPORT]} IN ACCESS EXCLUSIVE MODE")
        for _ in range(4):  # more than a tenant may have computed at a time
            async with beginning(visitor, REPORT):
                await until_waited_for(admin)

            async def nobody_waits() -> bool:
                waits = "SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))"
                return admin.execute(waits).fetchone() == (0,)

            await until(nobody_waits)
    assert "Figures" in (await visitor.http.get(REPORT)).text


async def test_of_a_long_page_only_what_is_looked_at_is_laid_out(looking: Page, everywhere: list[Place]) -> None:
    read_document()  # made of new code it takes seconds, which the page would wait for
    await looking.goto(next(place.path for place in everywhere if place.name == "api"))
    tables = looking.locator("main table.operations")
    seen = "tables => tables.filter(table => table.checkVisibility({contentVisibilityAuto: true})).length"
    assert 0 < await tables.evaluate_all(seen) < await tables.count() / 2
