"""Whole pieces of work without a mouse: what is wanted is reached by Tab, and it is always seen where one is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from playwright.async_api import Page, ViewportSize, expect

from tests.invoices.desk import Desk, fixed
from tests.web.browsing import serious_findings
from tests.web.stage import PASSWORD, Stage

MOST_TABS = 150
DESK: ViewportSize = {"width": 1280, "height": 900}
"""What is looked at is left as narrow as a phone."""
_AT = """() => {
    const at = document.activeElement, style = getComputedStyle(at), box = at.getBoundingClientRect();
    const labels = [...(at.labels || [])].map(label => label.textContent);
    const names = [at.getAttribute("aria-label"), ...labels, at.innerText];
    const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0 && box.width > 0 && box.height > 0;
    return {name: (names.find(name => name && name.trim()) || "").replace(/\\s+/g, " ").trim(), seen,
            isPage: at === document.body};
}"""


@dataclass
class Keyboard:
    """A person's hands on a keyboard."""

    page: Page

    async def reach(self, name: str) -> None:
        """Go on by Tab to what is called so, or begins so; it and all on the way are seen to have the focus."""
        passed = []
        for _ in range(MOST_TABS):
            at = await self.page.evaluate(_AT)
            if not at["isPage"]:
                assert at["seen"], at
                if at["name"].startswith(name):
                    return
                passed.append(at["name"])
            await self.page.keyboard.press("Tab")
        raise AssertionError(f"{name} is not come by: {passed}")

    async def type(self, name: str, text: str) -> None:
        await self.reach(name)
        await self.page.keyboard.press("ControlOrMeta+a")
        await self.page.keyboard.type(text)

    async def press(self, name: str) -> None:
        """Reach what opens something on this page, and press Enter."""
        await self.reach(name)
        await self.page.keyboard.press("Enter")

    async def follow(self, name: str = "") -> None:
        """Reach a link or a button, or stay in a field, and press Enter; another page comes."""
        if name:
            await self.reach(name)
        async with self.page.expect_navigation():
            await self.page.keyboard.press("Enter")

    async def sign_in(self, stage: Stage) -> None:
        await self.page.goto("/sign-in")
        await self.type("E-mail", stage.email)
        await self.type("Password", PASSWORD)
        await self.follow()
        await expect(self.page.get_by_role("heading", name="Overview")).to_be_visible()


async def test_a_month_is_closed_without_a_mouse(page: Page, own: Stage) -> None:
    desk, keys = Desk(own.account), Keyboard(page)
    customer = await desk.customer()
    invoices = [
        await desk.invoice([fixed(amount)], customer, due_date="2030-01-01T00:00:00Z") for amount in ("90", "60")
    ]
    await keys.sign_in(own)
    await keys.press("Skip to the page")
    await keys.follow("Brightwater")
    await keys.follow(invoices[0]["invoice_number"])

    await keys.follow("Credit note")
    await keys.type("Credit of", "10x")
    await keys.follow("See what will happen")
    await expect(page.get_by_role("alert")).to_be_visible()
    await expect(page.get_by_label("Credit of")).to_have_accessible_description(re.compile("10x"))
    assert await serious_findings(page) == []
    await page.set_viewport_size(DESK)
    await keys.type("Credit of", "10")
    await keys.follow("See what will happen")
    await keys.follow("Issue")
    await expect(page.get_by_role("status")).to_be_visible()

    await page.keyboard.press("/")
    dialog = page.get_by_role("dialog", name="Search")
    await expect(dialog.get_by_role("searchbox")).to_be_focused()
    await page.keyboard.type("Brightwater")
    await expect(dialog.get_by_role("link", name=re.compile("Brightwater")).first).to_be_visible()
    assert await serious_findings(page) == []
    await page.set_viewport_size(DESK)
    await page.keyboard.press("ArrowDown")
    await keys.follow()
    await expect(page.get_by_role("heading", name="Brightwater", exact=True)).to_be_visible()

    await keys.follow("Record payment")
    await keys.type("Amount in USD", "many")
    await keys.follow("Spread it")
    await expect(page.get_by_label("Amount in USD")).to_be_focused()
    await expect(page.locator("#wrong-amount")).to_be_visible()
    await keys.type("Amount in USD", "140")
    await keys.follow("Spread it")
    await keys.follow("Record the payment")
    await expect(page.get_by_role("heading", name="$140.00")).to_be_visible()
    paid = [await own.account.get(f"/invoices/{invoice['id']}") for invoice in invoices]
    assert [invoice["amount_remaining"] for invoice in paid] == ["0", "0"]

    await keys.follow(invoices[1]["invoice_number"])
    await keys.press("Write a note")
    await keys.type("Note", "They pay on Friday")
    await keys.follow("Write it")
    await expect(page.get_by_text("They pay on Friday")).to_be_visible()

    await keys.follow("Reports")
    await keys.follow("Tax")
    async with page.expect_download() as waiting:
        await keys.press("Download as CSV")
    assert (await waiting.value).suggested_filename.endswith(".csv")


async def test_the_first_product_is_sold_without_a_mouse(page: Page) -> None:
    keys = Keyboard(page)
    await page.goto("/sign-up")
    await keys.type("Company", "Brightwater Works")
    await keys.type("E-mail", f"ada.{id(page)}@brightwater.example")
    await keys.type("Password", "a password of one's own")
    await keys.follow()
    await expect(page.get_by_role("region", name="To your first invoice")).to_be_visible()
    await keys.follow("Fill in the letterhead")
    await keys.type("Street", "12 Grattan Quay")
    await keys.type("City", "Dublin")
    await keys.reach("Country")
    await page.keyboard.type("Irel")
    await expect(page.get_by_label("Country", exact=True)).to_have_value("IE")
    await keys.follow("Save")
    await expect(page.get_by_role("status")).to_contain_text("Saved.")
    await keys.follow("Make a plan")
    await keys.type("Name", "Growth")
    await keys.type("Fixed fee", "49")
    await keys.follow()
    await expect(page.get_by_role("status")).to_contain_text("Next comes your first customer")
    await page.goto("/")
    await keys.follow("Add a customer")
    await keys.type("Name", "Halden Robotics")
    await keys.follow()
    await expect(page.get_by_text("halden-robotics")).to_be_visible()
    await page.goto("/")
    await keys.follow("Subscribe the customer")
    await keys.follow("See the first invoices")
    await expect(page.get_by_text("An invoice of €49.00")).to_be_visible()
    await keys.follow("Subscribe")
    await expect(page.get_by_role("status")).to_contain_text("The subscription is made")
