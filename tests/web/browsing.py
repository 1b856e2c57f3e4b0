"""Driving a real browser: how it is started, and how somebody signs in with it."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Page, expect

from tests.web.stage import PASSWORD, Stage

LAUNCH: dict[str, Any] = {
    "executable_path": "/usr/bin/chromium",
    "args": [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ],
}


async def sign_in(page: Page, stage: Stage) -> None:
    """Sign in as the stage's person and stand on the overview."""
    await page.goto("/sign-in")
    await page.get_by_label("Email").fill(stage.email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
