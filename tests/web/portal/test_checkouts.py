"""The page of a checkout in a real browser: paid, declined, confirmed, cancelled, on a phone, in six languages."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.async_api import Page, expect
from sqlalchemy import update

from farthing.core.standards.languages import LANGUAGES
from farthing.identity.tables import InternalStatus, Tenant
from farthing.storage.scope import SYSTEM
from farthing.web.rendering.languages import CHECKOUT, choose_language, page_texts
from tests.account import Account
from tests.payments.till import Till
from tests.web.browsing import sign_in
from tests.web.stage import Stage


@pytest.fixture
async def shop(own: Stage) -> Stage:
    """An account of its own with a connected provider."""
    await own.account.post("/connections", {"name": "stripe", "provider_type": "stripe", "metadata": {"mode": "test"}})
    return own


async def _customer(shop: Stage) -> dict[str, Any]:
    made: dict[str, Any] = await shop.account.post("/customers", {"external_id": uuid.uuid4().hex, "name": "Acme"})
    return made


async def _opened(shop: Stage, **params: str) -> tuple[str, str]:
    """The path of a new checkout's page, and the session's id."""
    body = {
        "customer_id": (await _customer(shop))["id"],
        "currency": "usd",
        **dict.fromkeys(("amount_due", "subtotal", "total"), "250"),
        "line_items": [{"display_name": "Workshop", "amount": "250", "quantity": "1"}],
        "checkout": {"payment_provider": "stripe", **params},
    }
    session = (await shop.account.post("/invoices", body))["checkout_session"]
    return urlsplit(session["hosted_url"]).path, session["id"]


async def _status(shop: Stage, session_id: str) -> str:
    return str((await shop.account.get(f"/checkout/sessions/{session_id}"))["checkout_status"])


async def test_a_checkout_of_a_suspended_seller_is_shown_and_not_changed(shop: Stage) -> None:
    path, session_id = await _opened(shop)
    async with shop.account.database.transaction(SYSTEM) as session:
        await session.execute(
            update(Tenant).where(Tenant.id == shop.account.tenant_id).values(internal_status=InternalStatus.SUSPENDED)
        )
    async with httpx.AsyncClient(base_url=shop.account.base_url, timeout=60) as payer:
        assert (await payer.get(path)).status_code == 200
        for action, form in (("cancel", {}), ("test-payment", {"action": "pay"})):
            assert (await payer.post(f"{path}/{action}", data=form)).status_code == 403, action
    assert await _status(shop, session_id) == "pending"


async def test_a_payer_is_declined_then_confirms_and_goes_back_to_the_shop(page: Page, shop: Stage) -> None:
    path, session_id = await _opened(shop, success_url="https://shop.example.com/thanks")
    await page.set_viewport_size({"width": 390, "height": 844})
    await page.goto(path)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Invoice")
    await page.get_by_role("link", name="Pay $250.00").click()
    await page.get_by_role("button", name="Let it be declined").click()
    await expect(page.get_by_role("alert")).to_have_text("The payment was declined. You can try again.")
    assert await _status(shop, session_id) == "pending"
    await page.get_by_role("button", name="Pay with a card that asks for confirmation").click()
    await expect(page.get_by_role("heading", name="Confirm the payment")).to_be_visible()
    assert await _status(shop, session_id) == "pending"
    await page.get_by_role("button", name="Confirm").click()
    await expect(page.get_by_role("heading", name="Paid. Thank you.")).to_be_visible()
    back = page.get_by_role("link", name="Continue to shop.example.com")
    assert await back.get_attribute("href") == "https://shop.example.com/thanks"
    assert await _status(shop, session_id) == "completed"
    width = await page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390  # nothing sticks out of a phone


async def test_a_payer_gives_up(page: Page, shop: Stage) -> None:
    path, session_id = await _opened(shop, cancel_url="https://shop.example.com/cart")
    await page.goto(path)
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_role("heading", name="This checkout was cancelled")).to_be_visible()
    await expect(page.get_by_role("link", name="Back to shop.example.com")).to_be_visible()
    assert await _status(shop, session_id) == "failed"


async def test_each_language_has_every_text(page: Page, shop: Stage) -> None:
    path, _ = await _opened(shop)
    for language in LANGUAGES:
        await page.goto(f"{path}?lang={language}")
        texts = page_texts(CHECKOUT, language)
        assert texts.keys() == page_texts(CHECKOUT, "en").keys()
        assert await page.locator("html").get_attribute("lang") == language
        await expect(page.get_by_role("heading", level=1)).to_have_text(texts["action_pay_invoice"])


@pytest.mark.parametrize(
    ("asked", "accepted", "chosen"),
    [
        ("de", "fr", "de"),
        ("", "fr-CH, fr;q=0.9, en;q=0.8", "fr"),
        ("", "en;q=0.5, ja;q=0.7, xx", "ja"),
        ("", "xx, yy;q=0.1", "en"),
        ("klingon", "", "en"),
        ("", "de;q=nonsense, es;q=0.1", "es"),
        ("", "hi-IN", "hi"),
    ],
)
def test_which_language_is_chosen(asked: str, accepted: str, chosen: str) -> None:
    assert choose_language(asked, accepted=accepted) == chosen


async def test_the_dashboard_cancels_a_checkout(page: Page, shop: Stage) -> None:
    _, session_id = await _opened(shop)
    await sign_in(page, shop)
    await page.goto("/checkouts?state=pending")
    await page.get_by_role("button", name=f"Cancel {session_id}").click()
    await expect(page.get_by_text("The checkout is cancelled, and its page is closed.")).to_be_visible()
    assert await _status(shop, session_id) == "failed"


async def test_a_customer_saves_a_card_and_pays_an_invoice_in_the_portal(page: Page, shop: Stage) -> None:
    customer = await _customer(shop)
    amounts = dict.fromkeys(("amount_due", "subtotal", "total"), "90")
    invoice = await shop.account.post("/invoices", {"customer_id": customer["id"], "currency": "usd", **amounts})
    portal = await shop.account.get(f"/customers/portal/{customer['external_id']}")
    await page.goto(f"/portal/{portal['token']}/methods")
    await page.get_by_role("button", name="Add a payment method").click()
    await page.get_by_role("button", name="Save the test card").click()
    await expect(page.get_by_text("•••• 4242").first).to_be_visible()
    await page.goto(f"/portal/{portal['token']}/invoices/{invoice['id']}")
    await page.get_by_role("button", name="Pay").click()
    await page.wait_for_url("**/checkout/**")
    await expect(page.get_by_role("link", name="Pay")).to_be_visible()
    await page.goto(f"/portal/{portal['token']}/invoices/{invoice['id']}")
    await page.get_by_role("link", name="Continue to payment").click()  # the same page again
    await page.get_by_role("link", name="Pay").click()
    await page.get_by_role("button", name="Pay now").click()
    await expect(page.get_by_role("heading", name="Paid. Thank you.")).to_be_visible()
    found = await shop.account.get(f"/invoices/{invoice['id']}")
    assert found["payment_status"] == "SUCCEEDED"


async def _pay_in_portal(account: Account, visitor: httpx.AsyncClient) -> tuple[str, str]:
    """Go from the portal to the checkout of an invoice; the paths of the invoice there, and of the checkout."""
    till = Till(account)
    await till.connect()
    invoice = await till.invoice()
    customer = await account.get(f"/customers/{invoice['customer_id']}")
    token = (await account.get(f"/customers/portal/{customer['external_id']}"))["token"]
    here = f"/portal/{token}/invoices/{invoice['id']}"
    answer = await visitor.post(f"{here}/pay")
    assert answer.status_code == 303, answer.text
    return here, answer.headers["location"]


async def test_whoever_came_from_the_portal_goes_back_there(account: Account) -> None:
    headers = {"origin": account.base_url}
    async with httpx.AsyncClient(base_url=account.base_url, headers=headers, timeout=60) as visitor:
        here, checkout = await _pay_in_portal(account, visitor)
        assert here not in (await visitor.get(checkout)).text  # there is something else to do first
        paid = await visitor.post(f"{checkout}/test-payment", data={"action": "pay"}, follow_redirects=True)
        assert f'href="{here}"' in paid.text
        async with httpx.AsyncClient(base_url=account.base_url, timeout=60) as somebody:
            assert "/portal/" not in (await somebody.get(checkout)).text
            for token in ("nonsense", here.split("/")[2][:-4] + "AAAA", "//evil.example"):
                forged = await somebody.get(checkout, headers={"cookie": f"farthing_portal={token}"})
                assert "/portal/" not in forged.text
        async with Account(account.base_url, account.settings, account.database) as stranger:
            await _pay_in_portal(stranger, visitor)  # another customer's portal now
        assert "/portal/" not in (await visitor.get(checkout)).text


async def test_a_provider_is_not_told_of_the_portal(account: Account) -> None:
    async with httpx.AsyncClient(base_url=account.base_url, headers={"origin": account.base_url}) as visitor:
        await _pay_in_portal(account, visitor)
    payments = (await account.get("/payments"))["items"]
    assert payments
    assert not any("/portal/" in str(payment) for payment in payments)


async def test_a_provider_that_saves_a_method_is_not_told_of_the_portal(account: Account) -> None:
    till = Till(account)
    await till.connect()
    customer = await account.get(f"/customers/{(await till.invoice())['customer_id']}")
    token = (await account.get(f"/customers/portal/{customer['external_id']}"))["token"]
    async with httpx.AsyncClient(base_url=account.base_url, headers={"origin": account.base_url}) as visitor:
        begun = await visitor.post(f"/portal/{token}/methods", data={"provider": "stripe"})
        assert begun.status_code == 303, begun.text
        page = await account.get(f"/test/gateway/sessions/{begun.headers['location'].rsplit('/', 1)[-1]}")
        assert token not in str(page)
        back = urlsplit(page["success_url"])._replace(scheme="", netloc="").geturl()
        returned = await visitor.get(back)
        assert (returned.status_code, returned.headers["location"]) == (303, f"/portal/{token}/methods")
        assert returned.headers["referrer-policy"] == "no-referrer"
    async with httpx.AsyncClient(base_url=account.base_url) as somebody:
        assert (await somebody.get(back)).status_code == 401


async def test_a_customer_goes_once_nobody_can_pay_for_them_in_vain(shop: Stage) -> None:
    path, session_id = await _opened(shop)
    customer_id = (await shop.account.get(f"/checkout/sessions/{session_id}"))["customer_id"]
    for method, address in (("DELETE", f"/customers/{customer_id}"), ("POST", f"/customers/{customer_id}/erase")):
        refused = await shop.account.http.request(method, address)
        assert (refused.status_code, refused.json()["details"].get("checkout_session_id")) == (400, session_id)
    await shop.account.post(f"/checkout/sessions/{session_id}/cancel", expect=200)
    await shop.account.delete(f"/customers/{customer_id}")
    async with httpx.AsyncClient(base_url=shop.account.base_url, timeout=60) as payer:
        await payer.post(f"{path}/test-payment", data={"action": "pay"})
    assert await _status(shop, session_id) == "failed"
