"""Pictures of every page, in light, dark and at the width of a phone: `python -m tests.web.screenshots [page ...]`.

They land in the folder `screenshots`. A server of its own is started on books of its own, so nothing is needed first.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, async_playwright

from farthing.storage.embedded import EmbeddedPostgres
from farthing.storage.migrations import upgrade
from farthing.storage.postgres import Database
from farthing.wiring import wire
from tests.account import Account
from tests.conftest import running, settings_for
from tests.web.browsing import LAUNCH, sign_in
from tests.web.everywhere.places import Place, places
from tests.web.stage import Stage

FOLDER = Path(__file__).parents[2] / "screenshots"
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}, "device_scale_factor": 2},
}


async def shoot(browser: Browser, base_url: str, stage: Stage, wanted: list[Place]) -> None:
    """Every place in every look."""
    for look, options in LOOKS.items():
        context = await browser.new_context(base_url=base_url, **options)
        page = await context.new_page()
        await page.goto("/sign-in")
        await page.screenshot(path=FOLDER / f"sign-in-{look}.png", full_page=True)
        await sign_in(page, stage)
        for place in wanted:
            await page.goto(place.path)
            await page.screenshot(path=FOLDER / f"{place.name}-{look}.png", full_page=True)
        await context.close()


async def main(names: list[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="farthing-pictures-") as folder,
        EmbeddedPostgres(Path(folder) / "data") as server,
    ):
        await asyncio.to_thread(upgrade, server.url())
        database = Database(server.url(), wire())
        settings = settings_for(server.url())
        async with running(settings, database) as base_url, Account(base_url, settings, database) as account:
            stage = await Stage(account).play()
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(**LAUNCH)
                wanted = [place for place in await places(stage) if not names or place.name in names]
                await shoot(browser, base_url, stage, wanted)
                await browser.close()
        await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
