"""Driving a real browser: how it is started, and how somebody signs in with it."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any, Literal

from playwright.async_api import Page, expect

from tests.web.stage import PASSWORD, Stage

_BROWSERS = tuple(map(Path, ("/usr/bin/chromium-headless-shell", "/usr/bin/chromium")))
"""Debian's Chromium: the one that was built to draw no windows opens a page for a third of the other's CPU time."""
LAUNCH: dict[str, Any] = {
    "executable_path": next((path for path in _BROWSERS if path.exists()), _BROWSERS[0]),
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
_CONTRAST = "color-contrast"  # by far the slowest rule, and one that the width of a page hardly changes
LOOKS: tuple[tuple[Literal["light", "dark"], int, dict[str, Any]], ...] = (
    ("light", 1280, {}),
    ("dark", 1280, {"runOnly": [_CONTRAST]}),
    ("light", 360, {"rules": {_CONTRAST: {"enabled": False}}}),
)
"""How pages are looked at: colours, width, and which rules can find there what they did not find before."""

_ALSO = frozenset({"landmark-unique"})
"""Rules that axe calls moderate, and that hold as well: a region within one of the same name is announced twice."""


@cache
def _axe() -> str | None:
    package = importlib.util.find_spec("axe_playwright_python")
    folder = next(iter(package.submodule_search_locations or ()), None) if package else None
    return (Path(folder) / "axe.min.js").read_text() if folder else None


def has_axe() -> bool:
    """Whether pages can be looked at with axe."""
    return _axe() is not None


async def serious_findings(page: Page) -> list[tuple[str, int, str, list[str]]]:
    """What axe finds on the page that keeps somebody from using it, in each look: look, rule, and where."""
    await page.evaluate(_axe() or "")
    findings: list[tuple[str, int, str, list[str]]] = []
    for scheme, width, rules in LOOKS:
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        await page.set_viewport_size({"width": width, "height": 900})
        report = await page.evaluate("rules => axe.run(document, {resultTypes: ['violations'], ...rules})", rules)
        findings += [
            (scheme, width, violation["id"], [node["html"] for node in violation["nodes"]][:3])
            for violation in report["violations"]
            if violation["impact"] in {"serious", "critical"} or violation["id"] in _ALSO
        ]
    return findings


async def sign_in(page: Page, stage: Stage) -> None:
    """Sign in as the stage's person and stand on the overview."""
    await page.goto("/sign-in")
    await page.get_by_label("E-mail").fill(stage.email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
