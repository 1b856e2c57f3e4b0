"""What keeps somebody from using a page is found on it, also where the same text was legible on another page."""

from __future__ import annotations

import pytest
from playwright.async_api import Page

from tests.web.browsing import serious_findings

SHADOW = "overflow-x: auto; background: linear-gradient(to left, #fff, transparent) right / 1rem 100% no-repeat"
FAINT = {
    "on a ground that is dark": ('<div style="background: #444">{}</div>', {"light", "dark"}),
    "with something dark over the ground": (
        '<div style="position: relative">{}<div style="position: absolute; inset: 0; background: #444; z-index: -1">'
        "</div></div>",
        {"light", "dark"},
    ),
    "in a table that scrolls": (
        f'<div class="scroll" style="{SHADOW}"><div style="color: #ddd">Faint</div>{{}}</div>',
        {"light", "dark"},
    ),
    "where colours are dark": (
        "<style>@media (prefers-color-scheme: dark) {{ div {{ background: #444 }} }}</style><div>{}</div>",
        {"dark"},
    ),
    "in the last of several rows": (
        '<div>{}</div><div>{}</div><div style="background: #444">{}</div>',
        {"light", "dark"},
    ),
}


async def _shown(page: Page, body: str) -> set[tuple[str, str]]:
    """The colours and the rules of what is found on a page that says this."""
    await page.set_content(
        f'<html lang="en"><title>Shown</title><body style="background: #fff"><main><h1>Shown</h1>{body}'
    )
    return {(scheme, rule) for scheme, _, rule, _ in await serious_findings(page)}


async def test_texts_that_are_hard_to_read(page: Page) -> None:
    text = '<p style="color: #333">Legible on white</p>'
    assert await _shown(page, text) == set()
    for name, (around, schemes) in FAINT.items():
        found = await _shown(page, around.format(*[text] * around.count("{}")))
        assert found == {(scheme, "color-contrast") for scheme in schemes}, name
        assert await _shown(page, text) == set()


@pytest.mark.parametrize(
    ("hidden", "rule"),
    [
        ('<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">', "image-alt"),
        ("<style>@media (min-width: 800px) { input { display: none } }</style><input>", "label"),
        ("<style>@media (max-width: 800px) { input { display: none } }</style><input>", "label"),
    ],
    ids=["at every width", "on a phone alone", "on a screen alone"],
)
async def test_what_has_no_name(page: Page, hidden: str, rule: str) -> None:
    assert await _shown(page, hidden) == {("light", rule)}
