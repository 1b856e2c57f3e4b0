"""Every action on every page, done in a browser, and checked over the API."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect
from pypdf import PdfReader

from farthing.identity.settings import catalogue as configuration
from farthing.web.administration import clock as clock_page
from farthing.web.administration.settings.setting_pages import PAGES
from tests.identity.test_logo import png
from tests.invoices.desk import Desk, fixed, usage
from tests.subscriptions.shop import Shop
from tests.subscriptions.shop import fixed as fixed_price
from tests.waiting import until
from tests.web.browsing import sign_in
from tests.web.stage import PASSWORD, Stage


async def an_invoice(own: Stage, **more: Any) -> dict[str, Any]:
    return await Desk(own.account).invoice([usage("60"), fixed("40")], **more)


async def test_signing_in_leads_where_one_wanted_to_go_and_signing_out_ends_it(page: Page, own: Stage) -> None:
    await page.goto("/invoices?standing=paid")
    await expect(page).to_have_url("/sign-in?next=%2Finvoices%3Fstanding%3Dpaid")
    await page.get_by_label("E-mail").fill(own.email.upper())
    await page.get_by_label("Password").fill("wrong")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_have_text("Invalid email or password")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page).to_have_url("/invoices?standing=paid")
    await page.get_by_role("button", name="Sign out").click()
    await page.goto("/invoices")
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


async def test_an_account_is_created_and_enters_its_empty_sandbox(page: Page, own: Stage) -> None:
    await page.goto("/sign-up")
    await page.get_by_label("Company").fill("Fresh & Co")
    await page.get_by_label("E-mail").fill(own.email)
    await page.get_by_label("Password").fill("long enough")
    await page.get_by_role("button", name="Create account").click()
    await expect(page.get_by_role("alert")).to_have_text("An account with this email already exists")
    await page.get_by_label("E-mail").fill(f"new-{own.email}")
    await page.get_by_label("Password").fill("long enough")
    await page.get_by_role("button", name="Create account").click()
    await expect(page.get_by_text("Nothing has been invoiced yet")).to_be_visible()
    await expect(page.get_by_text("Fresh & Co")).to_be_visible()


async def test_switching_the_environment_shows_other_books(page: Page, own: Stage) -> None:
    invoice = await an_invoice(own)
    await own.account.new_environment()
    await sign_in(page, own)
    await page.goto("/invoices")
    await expect(page.get_by_role("link", name=invoice["invoice_number"])).to_be_visible()
    await page.locator("details.switcher summary").click()
    await page.get_by_role("button", name="Other").click()
    await expect(page.get_by_text("You are now looking at Other.")).to_be_visible()
    await page.goto("/invoices")
    await expect(page.get_by_text("There are no invoices yet.")).to_be_visible()
    await page.goto(f"/invoices/{invoice['id']}")
    await expect(page.get_by_role("heading", name="There is nothing here")).to_be_visible()


async def test_a_draft_is_finalized(page: Page, own: Stage) -> None:
    invoice = await an_invoice(own, invoice_status="DRAFT")
    await sign_in(page, own)
    await page.goto(f"/invoices/{invoice['id']}")
    await page.get_by_role("button", name="Finalize").click()
    now = await own.account.get(f"/invoices/{invoice['id']}")
    await expect(page.get_by_role("status")).to_have_text(f"Finalized as {now['invoice_number']}.")
    assert now["invoice_status"] == "FINALIZED"
    await page.reload()
    assert await page.get_by_role("status").count() == 0


async def test_a_payment_is_recorded_once_and_shown(page: Page, own: Stage) -> None:
    invoice = await an_invoice(own)
    await sign_in(page, own)
    await page.goto(f"/invoices/{invoice['id']}")
    await page.get_by_role("link", name="Record payment").click()
    await expect(page.get_by_label("Amount in USD")).to_have_value("100.00")
    await page.get_by_label("Amount in USD").fill("1,0x")
    await page.get_by_role("button", name="Record the payment").click()
    await expect(page.locator("#wrong-amount")).to_contain_text("is no number")
    await page.get_by_label("Amount in USD").fill("30.50")
    await page.get_by_label(f"Paid on {invoice['invoice_number']}").fill("30.50")
    await page.get_by_label("Note").fill("Bank 4711")
    await page.get_by_role("button", name="Record the payment").click()
    await expect(page.get_by_role("status")).to_have_text("$30.50 recorded, for 1 invoice.")
    await page.goto(f"/invoices/{invoice['id']}")
    now = await own.account.get(f"/invoices/{invoice['id']}")
    assert (now["amount_paid"], now["amount_remaining"]) == ("30.5", "69.5")
    await expect(page.get_by_text("Bank 4711")).to_be_visible()
    await expect(page.locator("dl.figures")).to_contain_text("$69.50")
    summary = await own.account.get(f"/customers/{invoice['customer_id']}/invoices/summary")
    await page.goto(f"/customers/{invoice['customer_id']}")
    await expect(page.get_by_role("table").filter(has_text="Usage").first).to_contain_text("$41.70")
    assert summary["summaries"][0]["unpaid_usage_charges"] == "41.7"


async def test_an_invoice_is_voided_after_a_second_look(page: Page, own: Stage) -> None:
    invoice = await an_invoice(own)
    await sign_in(page, own)
    await page.goto(f"/invoices/{invoice['id']}")
    await page.get_by_text("Void", exact=True).click()
    await page.get_by_role("button", name="Void it").click()
    await expect(page.get_by_text("Voided. Nobody owes it any more.")).to_be_visible()
    assert (await own.account.get(f"/invoices/{invoice['id']}"))["invoice_status"] == "VOIDED"
    assert await page.get_by_text("Record payment").count() == 0


async def test_the_document_is_downloaded_under_its_number(page: Page, own: Stage, tmp_path: Path) -> None:
    invoice = await an_invoice(own)
    await sign_in(page, own)
    await page.goto(f"/invoices/{invoice['id']}")
    async with page.expect_download() as waiting:
        await page.get_by_role("link", name="Download PDF").click()
    download = await waiting.value
    assert download.suggested_filename == f"{invoice['invoice_number']}.pdf"
    await download.save_as(tmp_path / "invoice.pdf")
    assert invoice["invoice_number"] in PdfReader(tmp_path / "invoice.pdf").pages[0].extract_text()


async def test_a_key_is_made_shown_once_and_revoked(page: Page, own: Stage) -> None:
    await sign_in(page, own)
    await page.goto("/keys")
    await page.get_by_text("New key").click()
    await page.get_by_label("What it is for").fill("ingest")
    await page.get_by_role("button", name="Create the key").click()
    key = await page.locator("code.secret").inner_text()
    async with own.account.client(key) as client:
        assert (await client.get("/customers")).status_code == 200
    await page.goto("/keys")
    assert key not in await page.content()
    page.on("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("button", name="Revoke ingest").click()
    await expect(page.get_by_text("Revoked.")).to_be_visible()
    async with own.account.client(key) as client:
        assert (await client.get("/customers")).status_code == 401


async def test_a_setting_is_changed_checked_and_put_back(page: Page, own: Stage) -> None:
    await sign_in(page, own)
    await page.goto("/settings/invoice_config")
    await page.get_by_label("Prefix", exact=True).fill("ACME")
    await page.get_by_label("Due after days").fill("30")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Saved.")).to_be_visible()
    value = (await own.account.get("/settings/invoice_config"))["value"]
    assert (value["prefix"], value["due_date_days"]) == ("ACME", 30)
    await page.get_by_label("Due after days").fill("1.5")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("alert")).to_contain_text("Nothing was saved")
    await page.goto("/settings")
    await expect(page.get_by_text("Numbers such as ACME-202611-00001; due within 30 days")).to_be_visible()
    await page.goto("/settings/invoice_config")
    page.on("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("button", name="Back to the defaults").click()
    await expect(page.get_by_text("The defaults apply again.")).to_be_visible()
    assert (await own.account.get("/settings/invoice_config"))["value"]["prefix"] == "INV"


@pytest.mark.slow
async def test_every_setting_opens_and_saves_unchanged(page: Page, own: Stage) -> None:
    await sign_in(page, own)
    for key in configuration.CATALOGUE:
        await page.goto(f"/settings/{key}")
        save = page.get_by_role("button", name="Save")
        if not await save.count():
            assert PAGES[key].form is None
            continue
        await save.click()
        await expect(page.get_by_text("Saved."), key).to_be_visible()


async def test_the_test_clock_stands_moves_forward_only_and_runs_again(page: Page, own: Stage) -> None:
    invoice = await an_invoice(own, due_date="2030-01-15T00:00:00Z")
    await sign_in(page, own)
    await page.goto("/clock")
    await page.get_by_label("Date and time (UTC)").fill("2030-01-10T12:00")
    await page.get_by_role("button", name="Stand there").click()
    await expect(page.get_by_text("The clock stands at 10 Jan 2030, 12:00 UTC.")).to_be_visible()
    await page.goto(f"/invoices/{invoice['id']}")
    await expect(page.locator(".head .chip")).to_have_text("Unpaid")
    await page.goto("/clock")
    await page.get_by_role("button", name="One week").click()
    await page.goto(f"/invoices/{invoice['id']}")
    await expect(page.locator(".head .chip")).to_have_text("Overdue")
    await page.goto("/clock")
    await page.get_by_label("Date and time (UTC)").fill("2027-07-01T00:00")
    await page.get_by_role("button", name="Stand there").click()
    await expect(page.locator(".notice.refused")).to_contain_text("a clock does not go back")
    await page.get_by_role("button", name="Let it run").click()
    await expect(page.get_by_text("The clock runs again.")).to_be_visible()
    await page.goto(f"/invoices/{invoice['id']}")
    await expect(page.locator(".head .chip")).to_have_text("Unpaid")


async def test_the_clock_does_what_is_due_on_its_way_and_says_what(page: Page, own: Stage) -> None:
    shop = Shop(own.account)
    await shop.on("2026-01-01")
    plan = await shop.plan(fixed_price("40"))
    body = {"customer_id": (await shop.customer())["id"], "plan_id": plan["id"], "currency": "usd"}
    await own.account.post(
        "/subscriptions", {**body, "billing_period": "MONTHLY", "start_date": "2026-01-01T00:00:00Z"}
    )
    await sign_in(page, own)
    await page.goto("/clock")
    await page.get_by_label("Date and time (UTC)").fill("2026-04-10T00:00")
    await page.get_by_role("button", name="Stand there").click()
    await expect(page.get_by_role("heading", name="What the last move did")).to_be_visible(timeout=60_000)
    await expect(page.get_by_role("row", name="3 invoices finalized")).to_be_visible()
    await expect(page.get_by_role("row", name="4 invoices became overdue")).to_be_visible()
    invoices = await own.account.get("/invoices")
    assert [item["invoice_status"] for item in invoices["items"]] == ["FINALIZED"] * 4


@pytest.mark.slow
@pytest.mark.parametrize("scripted", [True, False], ids=["with scripts", "without scripts"])
async def test_a_long_move_is_followed_and_nobody_else_can_make_another(
    browser: Browser, base_url: str, own: Stage, monkeypatch: pytest.MonkeyPatch, scripted: bool
) -> None:
    shop = Shop(own.account)
    await shop.on("2026-01-01")
    plan = await shop.plan(fixed_price("40"))
    body = {"customer_id": (await shop.customer())["id"], "plan_id": plan["id"], "currency": "usd"}
    await own.account.post(
        "/subscriptions", {**body, "billing_period": "MONTHLY", "start_date": "2026-01-01T00:00:00Z"}
    )
    monkeypatch.setattr(clock_page, "PATIENCE_SECONDS", 0.05)
    context = await browser.new_context(base_url=base_url, java_script_enabled=scripted)
    page = await context.new_page()
    await sign_in(page, own)
    await page.goto("/clock")
    await page.get_by_label("Date and time (UTC)").fill("2027-07-01T00:00")
    await page.get_by_role("button", name="Stand there").click()
    await expect(page.get_by_role("heading", name="On its way to 1 Jul 2027, 00:00")).to_be_visible()
    assert await page.get_by_role("progressbar").count() == 1
    assert await page.get_by_role("button", name="One week").count() == 0
    path = f"/environments/{own.account.environment_id}/clock"
    refusal = await own.account.post(path, {"frozen_time": "2033-01-01T00:00:00Z"}, expect=400)
    assert "The clock is being moved to 2027-07-01T00:00:00Z and has come to" in refusal["message"]
    await expect(page.get_by_role("row", name="17 invoices finalized")).to_be_visible(timeout=120_000)
    await expect(page.get_by_role("button", name="One week")).to_be_visible()
    assert await page.get_by_role("progressbar").count() == 0
    await context.close()


async def test_new_events_appear_while_one_looks(page: Page, own: Stage) -> None:
    await own.account.post("/customers", {"external_id": "live-1", "name": "Live"})
    await sign_in(page, own)
    await page.goto("/events?customer=live-1")
    await expect(page.get_by_text("No event is like this.")).to_be_visible()
    event = {
        "event_id": "arrives/later?&",
        "event_name": "ping",
        "external_customer_id": "live-1",
        "timestamp": datetime.now(UTC).isoformat(),
        "properties": {"a": "<b>"},
    }
    await own.account.post("/events", event, expect=202)
    await page.get_by_role("link", name="ping").click()
    await expect(page.get_by_role("heading", name="ping")).to_be_visible()
    await expect(page.get_by_text("No meter")).to_be_visible()
    await page.goto("/events?from=nonsense")
    await expect(page.get_by_role("alert")).to_contain_text("must be a date or a time")


async def test_a_customer_pays_an_invoice_in_the_portal(page: Page, context: BrowserContext, own: Stage) -> None:
    invoice = await an_invoice(own)
    await own.account.post("/connections", {"name": "s", "provider_type": "stripe", "metadata": {"mode": "test"}})
    await sign_in(page, own)
    await page.goto(f"/customers/{invoice['customer_id']}")
    await page.get_by_role("button", name="Open their portal").click()
    await expect(page.get_by_role("heading", name="What you owe")).to_be_visible()
    await context.clear_cookies()
    await page.get_by_role("link", name=invoice["invoice_number"], exact=True).click()
    invoice_page = page.url
    await page.get_by_role("button", name="Pay $100.00").click()
    await page.get_by_role("link", name="Pay $100.00").click()
    await page.get_by_role("button", name="Let it be declined").click()
    await expect(page.get_by_role("alert")).to_contain_text("declined")
    await page.get_by_role("button", name="Pay now").click()
    await expect(page.get_by_role("heading", name="Paid. Thank you.")).to_be_visible()
    await page.goto(invoice_page)
    await expect(page.locator(".head .chip")).to_have_text("Paid")
    now = await own.account.get(f"/invoices/{invoice['id']}")
    assert (now["payment_status"], now["amount_paid"]) == ("SUCCEEDED", "100")
    async with page.expect_download() as waiting:
        await page.get_by_role("link", name="Download PDF").click()
    assert (await waiting.value).suggested_filename == f"{invoice['invoice_number']}.pdf"


async def test_the_api_reference_is_a_link_on_every_page_and_leads_to_an_operation_and_its_types(
    page: Page, own: Stage
) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    await sign_in(page, own)
    await page.get_by_role("link", name="API reference").click()
    await expect(page.get_by_role("heading", name="The API", exact=True)).to_be_visible()
    await page.get_by_role("link", name="/v1/customers/{id}/invoices/summary").click()
    await expect(page).to_have_url("/docs/invoices#getCustomerInvoiceSummary")
    operation = page.locator("#getCustomerInvoiceSummary")
    await expect(operation.get_by_text("GET", exact=True)).to_be_visible()
    await operation.get_by_role("link", name="CustomerMultiCurrencyInvoiceSummary").click()
    await expect(page.get_by_role("rowheader", name="summaries")).to_be_visible()
    await page.get_by_role("link", name="The dashboard").click()
    await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    assert said == []


async def test_the_company_is_changed_and_its_invoices_show_it(page: Page, own: Stage) -> None:
    await own.account.put("/tenants/update", {"billing_details": {"phone": "1", "address": {"address_state": "BE"}}})
    await sign_in(page, own)
    await page.get_by_role("link", name="Letterhead", exact=True).click()
    await expect(page.get_by_label("Telephone")).to_have_value("1")
    picture = page.get_by_role("img", name="The first page of an invoice")
    before = await picture.get_attribute("src")
    await page.get_by_label("Name", exact=True).fill("Acme & Co")
    # the picture follows what is typed, before anything is saved
    await expect(picture).not_to_have_attribute("src", str(before))
    await until(lambda: picture.evaluate("image => image.naturalWidth > 0"))
    await page.get_by_label("IBAN").fill("IE29 AIBK 9311 5212 3456 78")
    await page.get_by_label("VAT or tax id").fill("DE123456789")
    await page.get_by_label("Telephone").fill("")
    await page.get_by_label("City").fill("Berlin")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("status")).to_have_text("Saved. Invoices show it from the next one on.")
    tenant = await own.account.get(f"/tenants/{own.account.tenant_id}")
    assert tenant["name"] == "Acme & Co"
    assert tenant["billing_details"]["tax_id"] == "DE123456789"
    assert "phone" not in tenant["billing_details"]
    assert tenant["billing_details"]["address"]["address_city"] == "Berlin"
    assert tenant["billing_details"]["address"]["address_state"] == "BE"
    account = (await own.account.get("/settings/einvoice_config"))["value"]["payment"]
    assert account["iban"] == "IE29AIBK93115212345678"
    # a new company goes on with its first steps
    await expect(page.get_by_role("region", name="To your first invoice")).to_be_visible()
    await page.goto("/company")
    await page.get_by_label("IBAN").fill("IE00")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("alert")).to_contain_text("Nothing was saved")
    await expect(page.get_by_text("must be an IBAN")).to_be_visible()


async def test_a_logo_is_chosen_refused_shown_and_taken_away(page: Page, own: Stage) -> None:
    await sign_in(page, own)
    await page.goto("/company")
    chosen = page.get_by_label("A PNG or JPEG")
    await page.get_by_label("City").fill("Porto")
    await chosen.set_input_files({"name": "logo.png", "mimeType": "image/png", "buffer": b"no picture"})
    await page.get_by_role("button", name="Use this logo").click()
    await expect(page.locator(".notice.refused")).to_contain_text("PNG or JPEG")
    await expect(page.get_by_label("City")).to_have_value("Porto")
    await chosen.set_input_files({"name": "logo.png", "mimeType": "image/png", "buffer": png(40, 20)})
    # a file that waits is not forgotten without a word, and what was typed goes with the file
    await page.get_by_role("button", name="Save").last.click()
    await expect(page.get_by_role("status").first).to_contain_text("but for the logo")
    await page.get_by_label("City").fill("Lisbon")
    await chosen.set_input_files({"name": "logo.png", "mimeType": "image/png", "buffer": png(40, 20)})
    await page.get_by_role("button", name="Use this logo").click()
    await expect(page.get_by_role("img", name="The logo of")).to_be_visible()
    await expect(page.get_by_label("City")).to_have_value("Lisbon")
    assert await page.evaluate("document.querySelector('img.logo').naturalWidth") == 40
    stored = (await own.account.get("/settings/invoice_pdf_config"))["value"]["logo"]
    assert stored == base64.b64encode(png(40, 20)).decode()
    page.on("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("button", name="Take the logo away").click()
    await expect(page.get_by_role("status")).to_contain_text("taken away")
    assert (await own.account.get("/settings/invoice_pdf_config"))["value"]["logo"] == ""


async def test_an_endpoint_is_registered_tried_and_a_message_sent_again(page: Page, own: Stage) -> None:
    await sign_in(page, own)
    await page.goto("/webhooks")
    await page.get_by_text("New endpoint").click()
    await page.get_by_label("URL").fill("https://192.168.0.1/hook")
    await page.get_by_role("button", name="Register it").click()
    await expect(page.get_by_role("status")).to_contain_text("private")
    await page.get_by_label("URL").fill("https://nowhere.invalid/hook")
    await page.get_by_label("Events, separated by blanks").fill("customer.created, invoice.update")
    await page.get_by_role("button", name="Register it").click()
    await expect(page.get_by_role("status")).to_contain_text("whsec_")
    (endpoint,) = (await own.account.get("/webhooks/endpoints"))["items"]
    assert endpoint["filter_types"] == ["customer.created", "invoice.update"]
    await page.get_by_role("button", name="Send a sample").click()
    await expect(page.get_by_role("status")).to_contain_text("cannot be resolved")
    await page.get_by_role("link", name="customer.created").click()
    await expect(page.get_by_text("the name of the host cannot be resolved").first).to_be_visible()
    await page.get_by_role("button", name="Send again to all").click()
    await expect(page.get_by_role("status")).to_contain_text("sent again")
    (message,) = (await own.account.get("/webhooks/messages"))["items"]
    assert message["deliveries"][0]["state"] == "pending"
    await page.goto("/webhooks")
    await page.get_by_role("button", name="Disable").click()
    await expect(page.get_by_role("cell", name="Disabled")).to_be_visible()
    assert (await own.account.get(f"/webhooks/endpoints/{endpoint['id']}"))["disabled_reason"] == "by_hand"


async def test_credits_are_granted_by_a_plan_and_to_a_subscription_and_ended(page: Page, own: Stage) -> None:
    account, shop = own.account, Shop(own.account)
    await shop.on("2026-05-01")
    plan = await shop.plan(fixed_price("49"))
    await sign_in(page, own)
    await page.goto(f"/catalogue/plans/{plan['id']}")
    await page.get_by_text("New grant").click()
    await page.get_by_label("Name").fill("Included")
    await page.get_by_label("Credits", exact=True).fill("100")
    await page.get_by_label("Expires").select_option("MONTH")
    await page.get_by_role("button", name="Make it").click()
    await expect(page.get_by_role("status")).to_contain_text("after how many months do they expire?")
    # the form is open, and what was typed is still in it
    await page.get_by_label("After how many").fill("2")
    await page.get_by_label("Carried over at most").fill("50")
    await page.get_by_role("button", name="Make it").click()
    await expect(page.get_by_role("row", name="Included")).to_contain_text("After 2 months")
    (template,) = (await account.get(f"/plans/{plan['id']}/creditgrants"))["items"]
    assert (template["period"], template["rollover_maximum"], template["credits"]) == ("MONTHLY", "50", "100")

    made = await shop.subscribe(plan)
    await page.goto(f"/subscriptions/{made.subscription.id}")
    await expect(page.get_by_role("row", name="1 May 2026 100 Applied")).to_be_visible()
    await page.get_by_text("New grant").click()
    await page.get_by_label("Name").fill("Thanks")
    await page.get_by_label("Credits", exact=True).fill("7")
    await page.get_by_label("Given").select_option("ONCE")
    await page.get_by_role("button", name="Make it").click()
    await expect(page.get_by_role("row", name="Thanks")).to_be_visible()
    (wallet,) = await account.get(f"/customers/{made.subscription.customer_id}/wallets")
    assert wallet["credit_balance"] == "107"
    page.on("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("button", name="End Included").click()
    await expect(page.get_by_role("row", name="Included")).to_contain_text("ends 2026-05-01")
    await page.goto(f"/catalogue/plans/{plan['id']}")
    await page.get_by_role("button", name="End Included").click()
    await expect(page.get_by_text("No credits come with it.")).to_be_visible()


async def test_usage_is_included_by_a_plan_and_its_windows_are_shown(page: Page, own: Stage) -> None:
    account, shop = own.account, Shop(own.account)
    await shop.on("2026-05-01")
    feature = await shop.feature("granted-calls")
    plan = await shop.plan(shop.usage(feature, "1"))
    customer = await shop.customer("caller")
    made = await shop.subscribe(plan, customer)
    await sign_in(page, own)
    await page.goto(f"/catalogue/plans/{plan['id']}")
    await page.get_by_role("link", name="Include a feature").click()
    await page.get_by_label("Feature", exact=True).select_option("granted-calls")
    await page.get_by_label("How much").select_option("quota")
    await page.get_by_label("Quota", exact=True).fill("2")
    await page.get_by_label("It lasts for").select_option("hour")
    await page.get_by_role("button", name="Include it").last.click()
    await expect(page.locator(".problem")).to_have_text("is required, 1 or more")
    await page.get_by_label("How many of them").fill("5")
    await page.get_by_role("button", name="Include it").last.click()
    await expect(page.get_by_role("row", name="granted-calls 2 for 5 hours, from the first usage")).to_be_visible()
    event = {"event_name": "granted-calls", "external_customer_id": customer["external_id"], "properties": {}}
    events = [{**event, "timestamp": f"2026-05-01T{hour}:00:00Z"} for hour in ("02", "03", "09")]
    await account.post("/events/bulk", {"events": events}, expect=202)
    await shop.on("2026-05-01T10:00")
    await page.goto(f"/subscriptions/{made.subscription.id}")
    windows = page.get_by_role("region", name="Usage windows").locator("tbody tr")
    await expect(windows.nth(0)).to_contain_text("Open")
    await expect(windows.nth(1)).to_contain_text("Used up")
