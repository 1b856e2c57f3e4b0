"""From signing up to the first invoice and its PDF, on pages alone."""

from __future__ import annotations

from dataclasses import dataclass, field

from playwright.async_api import Locator, Page, expect

from tests.web.pictures import take_pictures

MOST_CLICKS, MOST_FIELDS = 15, 16
"""What a person has to do at most, from the form of the sign-up to the PDF."""


@dataclass
class Hand:
    """A person's hand: it clicks, types and chooses, and counts."""

    page: Page
    clicks: int = 0
    fields: int = 0
    passed: list[str] = field(default_factory=list)

    async def press(self, name: str, role: str = "button") -> None:
        self.clicks += 1
        wanted: Locator = self.page.get_by_role(role, name=name, exact=True)  # type: ignore[arg-type]
        await wanted.first.click()

    async def type(self, label: str, text: str) -> None:
        self.fields += 1
        await self.page.get_by_label(label, exact=True).first.fill(text)


async def test_a_new_company_sees_its_first_invoice_and_its_pdf_without_the_api(page: Page) -> None:
    hand = Hand(page)
    await page.goto("/sign-up")
    await hand.type("Company", "Brightwater Works")
    await hand.type("E-mail", f"ada.{id(page)}@brightwater.example")
    await hand.type("Password (8 characters or more)", "a password of one's own")
    await hand.press("Create account")
    steps = page.get_by_role("region", name="To your first invoice")
    await expect(steps.get_by_role("listitem")).to_have_count(5)
    await expect(steps.get_by_text("Done", exact=True)).to_have_count(0)
    await take_pictures(page, "first-steps")

    await hand.press("Fill in the letterhead", "link")
    await hand.type("Street", "12 Grattan Quay")
    await hand.type("City", "Dublin")
    hand.fields += 1
    await page.get_by_label("Country", exact=True).select_option("IE")
    await hand.press("Save")
    await expect(page.get_by_role("status")).to_contain_text("Saved.")

    await expect(steps.get_by_text("Done", exact=True)).to_have_count(1)
    await hand.press("Make a plan", "link")
    await hand.type("Name", "Growth")
    await hand.type("Fixed fee", "49")
    await expect(page.get_by_label("Currency")).to_have_value("EUR")
    await hand.type("price for usage 1, what is counted", "API calls")
    await hand.type("price for usage 1, name of its events", "api_call")
    await hand.type("price for usage 1, each costs", "0.002")
    await take_pictures(page, "first-plan")
    await hand.press("Create the plan")
    await expect(page.get_by_role("status")).to_contain_text("Next comes your first customer")
    await expect(page.get_by_text("€49.00 per month")).to_be_visible()

    await page.goto("/")
    hand.clicks += 1
    await hand.press("Add a customer", "link")
    await hand.type("Name", "Halden Robotics")
    await hand.press("Create the customer")
    await expect(page.get_by_text("halden-robotics")).to_be_visible()

    await page.goto("/")
    hand.clicks += 1
    await hand.press("Subscribe the customer", "link")
    await hand.press("See the first invoices")
    await expect(page.get_by_text("An invoice of €49.00")).to_be_visible()
    await hand.press("Subscribe")
    await expect(page.get_by_role("status")).to_contain_text("The subscription is made")
    invoice = page.get_by_role("region", name="Invoices").get_by_role("row").nth(1).get_by_role("link")
    hand.clicks += 1
    await invoice.first.click()
    await expect(page.get_by_text("€49.00").first).to_be_visible()
    hand.clicks += 1
    link = page.get_by_role("link", name="PDF").first
    answer = await page.request.get(str(await link.get_attribute("href")))
    assert (answer.status, (await answer.body())[:5]) == (200, b"%PDF-")

    await page.goto("/")
    await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    await expect(steps).to_have_count(0)
    assert hand.clicks <= MOST_CLICKS, hand.clicks
    assert hand.fields <= MOST_FIELDS, hand.fields
