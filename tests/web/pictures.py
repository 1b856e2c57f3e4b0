"""Pictures of a page in every look, where somebody asks for them by `FARTHING_PICTURES=folder`."""

from __future__ import annotations

import os

from playwright.async_api import Page


async def take_pictures(page: Page, name: str) -> None:
    """The page in light and dark, at the width of a desk and of a phone; nothing unless asked for."""
    folder = os.environ.get("FARTHING_PICTURES")
    if not folder:
        return
    for scheme in ("light", "dark"):
        for width in (1280, 390):
            await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            await page.set_viewport_size({"width": width, "height": 900})
            await page.screenshot(path=f"{folder}/{name}-{scheme}-{width}.png", full_page=True)
    await page.emulate_media(color_scheme="light")
    await page.set_viewport_size({"width": 1280, "height": 900})
