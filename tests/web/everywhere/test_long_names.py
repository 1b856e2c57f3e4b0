"""Names without a space, keys of sixty characters and large amounts fit a phone; no number is cut in two."""

from __future__ import annotations

from playwright.async_api import Page

from tests.invoices.desk import Desk, fixed
from tests.web.browsing import sign_in
from tests.web.stage import Stage

NAME = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
_BROKEN_FIGURES = """() => [...document.querySelectorAll(".figures dd:first-of-type")].filter(figure => {
    const words = document.createRange();
    words.selectNodeContents(figure);
    return new Set([...words.getClientRects()].map(part => Math.round(part.bottom))).size > 1;
}).map(figure => figure.innerText)"""


async def test_long_names_keys_and_amounts_fit_a_phone(page: Page, own: Stage) -> None:
    desk = Desk(own.account)
    customer = await desk.customer(name=NAME, metadata={"a_key_of_sixty_characters_" + "x" * 34: "value" * 30})
    await desk.invoice([fixed("123456789012.34")], customer, due_date="2026-01-15T00:00:00Z")
    await desk.invoice([fixed("12")], customer, due_date="2026-01-15T00:00:00Z")
    await sign_in(page, own)
    await page.set_viewport_size({"width": 360, "height": 800})
    for path in ("/", f"/customers/{customer}", f"/customers/{customer}/statement"):
        await page.goto(path)
        beyond = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert beyond == 0, path
        assert await page.evaluate(_BROKEN_FIGURES) == [], path
    await page.set_viewport_size({"width": 1440, "height": 900})
    await page.goto("/invoices")
    box = await page.get_by_role("link", name=NAME).first.bounding_box()
    assert box is not None
    assert box["width"] <= 18 * 16  # it leaves the columns of money where they are seen
