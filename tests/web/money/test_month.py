"""A month's money on the pages alone: invoices made and changed, transfers recorded, statements, notes and files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from playwright.async_api import Page, expect
from pypdf import PdfReader

from tests.invoices.desk import Desk, fixed
from tests.web.browsing import sign_in
from tests.web.stage import Stage


async def _customer_with_debts(own: Stage, *amounts: str) -> tuple[str, list[dict[str, Any]]]:
    desk = Desk(own.account)
    customer = await desk.customer()
    dues = [f"2030-01-{day:02}T00:00:00Z" for day in range(1, len(amounts) + 1)]
    invoices = [
        await desk.invoice([fixed(amount)], customer, due_date=due) for amount, due in zip(amounts, dues, strict=True)
    ]
    return customer, invoices


async def _unapplied(own: Stage, customer: str) -> dict[str, str]:
    answer = await own.account.get(f"/customers/{customer}/unapplied-money")
    return {row["currency"]: row["amount"] for row in answer["balances"]}


async def test_a_transfer_over_three_invoices_is_spread_agreed_to_and_recorded_once(page: Page, own: Stage) -> None:
    customer, invoices = await _customer_with_debts(own, "100", "50", "25")
    await sign_in(page, own)
    await page.goto("/payments/new")
    await page.get_by_label("Customer").fill("Nobody")
    await page.get_by_role("button", name="Show open invoices").click()
    await expect(page.locator("#wrong-customer")).to_contain_text("nothing is called")
    await page.get_by_label("Customer").fill("Brightwater")
    await page.get_by_role("button", name="Show open invoices").click()
    await page.get_by_label("Amount in USD").fill("200")
    await page.get_by_label("Reference").fill("RF18")
    await page.get_by_role("button", name="Spread it").click()
    parts = [page.get_by_label(f"Paid on {invoice['invoice_number']}") for invoice in invoices]
    for part, amount in zip(parts, ("100.00", "50.00", "25.00"), strict=True):
        await expect(part).to_have_value(amount)
    await page.get_by_label("Amount in USD").fill("200,00")
    await parts[2].fill("some")
    await page.get_by_role("button", name="Record the payment").click()
    await expect(page.locator("small.bad")).to_have_count(2)  # every wrong field is named at once
    await expect(parts[2]).to_have_value("some")
    await page.get_by_label("Amount in USD").fill("200")
    await parts[2].fill("30")
    await page.get_by_role("button", name="Record the payment").click()
    await expect(page.locator("#keep_rest-problem")).to_contain_text("Must be ticked to keep 20")
    await expect(page.get_by_label("Reference")).to_have_value("RF18")
    await page.get_by_role("checkbox").check()
    await page.get_by_role("button", name="Record the payment").click()
    await expect(page.locator("td small.bad")).to_contain_text("at most what remains, 25")
    await parts[2].fill("25")
    await expect(page.get_by_role("checkbox")).to_be_checked()
    await page.get_by_role("button", name="Record the payment").dblclick()
    await expect(page.get_by_role("heading", name="$200.00")).to_be_visible()
    paid = [await own.account.get(f"/invoices/{invoice['id']}") for invoice in invoices]
    assert [invoice["payment_status"] for invoice in paid] == ["SUCCEEDED"] * 3
    assert await _unapplied(own, customer) == {"usd": "25"}
    (payment,) = (await own.account.get("/payments"))["items"]
    assert (payment["amount"], payment["metadata"]["reference"]) == ("200", "RF18")
    await expect(page.get_by_role("region", name="Invoices it paid").locator("tbody tr")).to_have_count(3)
    await page.get_by_role("link", name="Payments", exact=True).first.click()
    await expect(page.get_by_role("row").nth(1)).to_contain_text("3 invoices, $25.00 open")
    await page.get_by_label("Customer").fill("Somebody else")
    await page.get_by_role("button", name="Show").click()
    await expect(page.get_by_role("alert")).to_contain_text("nothing is called")


async def test_money_on_no_invoice_is_applied_and_given_back_and_a_payment_is_taken_back(
    page: Page, own: Stage
) -> None:
    customer, (first, second) = await _customer_with_debts(own, "60", "30")
    money = {"destination_type": "CUSTOMER", "destination_id": customer, "payment_method_type": "OFFLINE"}
    await own.account.post("/payments", {**money, "amount": "100", "currency": "usd", "process_payment": True})
    await sign_in(page, own)
    await page.goto("/unapplied-money")
    await page.get_by_role("link", name="Brightwater").click()
    part = page.get_by_label(f"Paid on {second['invoice_number']}")
    await expect(part).to_have_value("30")
    await part.fill("31")
    await page.get_by_role("button", name="Apply it").click()
    await expect(page.locator("td small.bad")).to_contain_text("at most what remains, 30")
    await part.fill("20")
    await page.get_by_role("button", name="Apply it").click()
    await expect(page.get_by_role("status")).to_have_text("$80.00 paid on 2 invoices.")
    assert await _unapplied(own, customer) == {"usd": "20"}
    await page.get_by_text("Give back").click()
    await page.get_by_label("Amount in USD").fill("5")
    await page.get_by_role("button", name="Give it back").click()
    await expect(page.get_by_role("status")).to_have_text("The refund is settled.")
    assert await _unapplied(own, customer) == {"usd": "15"}

    await page.goto(f"/payments/new?invoice={second['id']}")
    await expect(page.get_by_label("Amount in USD")).to_have_value("10.00")
    await page.get_by_role("button", name="Record the payment").click()
    await page.get_by_text("Take back", exact=True).click()
    await page.get_by_label("Reason").fill("Another company's")
    await page.get_by_role("button", name="Take it back").click()
    await expect(page.get_by_role("status")).to_contain_text("Taken back")
    assert (await own.account.get(f"/invoices/{second['id']}"))["amount_remaining"] == "10"
    assert (await own.account.get(f"/invoices/{first['id']}"))["amount_remaining"] == "0"


async def test_an_invoice_is_looked_at_before_it_is_made_and_a_draft_is_changed_line_by_line(
    page: Page, own: Stage
) -> None:
    desk = Desk(own.account)
    customer = await desk.customer(timezone="America/New_York")
    await desk.tax("10%", name="Sales tax")
    await desk.coupon("50%", name="Half")
    await sign_in(page, own)
    await page.goto(f"/invoices/new?customer={customer}")
    await page.get_by_label("Charge of line 1").fill("Workshop")
    await page.get_by_label("Quantity of line 1").fill("2")
    await page.get_by_label("Unit price of line 1").fill("400.00")
    await page.get_by_label("Charge of line 2").fill("Travel")
    await page.get_by_role("button", name="See what it comes to").last.click()
    await expect(page.locator("#wrong-amount-1")).to_contain_text("Must be given, or a unit price")
    await page.get_by_label("Amount of line 2").fill("150.5")
    await page.get_by_label("Sales tax").check()
    await page.get_by_label("Half").check()
    await page.get_by_label("Due on").fill("2030-05-31")
    await page.get_by_role("button", name="See what it comes to").last.click()
    outcome = page.get_by_role("region", name="What it comes to")
    await expect(outcome).to_contain_text("$522.78")  # half of 950.50, and a tenth of that
    assert (await own.account.get("/invoices"))["items"] == []
    await outcome.get_by_role("button", name="Keep it as a draft").dblclick()
    await expect(page.get_by_role("heading", name="Draft invoice")).to_be_visible()
    (draft,) = (await own.account.get("/invoices"))["items"]
    assert (draft["total"], draft["due_date"]) == ("522.78", "2030-06-01T03:59:59.999999Z")

    await page.get_by_role("link", name="Change", exact=True).click()
    await page.get_by_text("Workshop").first.click()
    await page.get_by_label("Amount of line 1").first.fill("600")
    await page.get_by_role("button", name="Save the line").first.click()
    await expect(page.get_by_role("status")).to_have_text("The line is changed.")
    adding = page.get_by_role("region", name="Add a line")
    await adding.get_by_label("Charge of line 1").fill("Setup")
    await adding.get_by_role("button", name="Add the line").click()
    await expect(adding.locator("small.bad")).to_contain_text("Must be given")
    await adding.get_by_label("Amount of line 1").fill("49.50")
    await adding.get_by_role("button", name="Add the line").dblclick()
    await expect(page.locator("summary").filter(has_text="Setup")).to_have_count(1)
    await page.get_by_text("Travel").first.click()
    await page.get_by_role("button", name="Remove Travel").click()
    await expect(page.get_by_role("status")).to_have_text("The line is gone.")
    now = await own.account.get(f"/invoices/{draft['id']}")
    assert [line["amount"] for line in now["line_items"]] == ["600", "49.5"]
    await page.get_by_role("button", name="Issue it").click()
    await expect(page.get_by_role("status")).to_contain_text("Finalized as INV-")
    await page.goto(f"/invoices/{draft['id']}/edit")
    await expect(page.get_by_text("Only drafts can be changed.")).to_be_visible()


async def test_a_draft_is_discarded(page: Page, own: Stage) -> None:
    draft = await Desk(own.account).invoice([fixed("10")], invoice_status="DRAFT")
    await sign_in(page, own)
    await page.goto(f"/invoices/{draft['id']}/edit")
    await page.get_by_text("Discard", exact=True).click()
    await page.get_by_role("button", name="Discard it").click()
    await expect(page.get_by_role("status")).to_have_text("Discarded. Nobody is asked for it.")
    assert (await own.account.get(f"/invoices/{draft['id']}"))["invoice_status"] == "VOIDED"


async def test_voiding_says_where_the_money_goes_and_moves_it_there(page: Page, own: Stage) -> None:
    customer, invoices = await _customer_with_debts(own, "100", "100", "100")
    for invoice in invoices[:2]:
        paying = {"destination_type": "INVOICE", "destination_id": invoice["id"], "payment_method_type": "OFFLINE"}
        await own.account.post("/payments", {**paying, "amount": "40", "currency": "usd", "process_payment": True})
    await sign_in(page, own)
    said = {
        "PREPAID_WALLET": "$40.00 went into the customer's wallet.",
        "BACK_TO_SOURCE": "$40.00 is noted as given back: please send it to the payer.",
    }
    for invoice, target in zip(invoices, said, strict=False):
        await page.goto(f"/invoices/{invoice['id']}")
        await page.get_by_text("Void", exact=True).click()
        await expect(page.get_by_text("$40.00 that was paid on it goes back to the payer")).to_be_visible()
        await page.get_by_label("Where the money goes").select_option(target)
        await page.get_by_role("button", name="Void it").click()
        await expect(page.get_by_role("status")).to_have_text(f"Voided. Nobody owes it any more. {said[target]}")
    (wallet,) = await own.account.get(f"/customers/{customer}/wallets")
    assert wallet["balance"] == "40"
    refunds = (await own.account.get("/refunds"))["items"]
    assert [(refund["refund_destination"], refund["amount"]) for refund in refunds] == [("OUT_OF_BAND", "40")]
    await page.goto(f"/invoices/{invoices[2]['id']}")
    await page.get_by_text("Void", exact=True).click()
    await expect(page.get_by_text("Nothing was paid on it, so no money moves.")).to_be_visible()


async def test_a_statement_is_shown_and_downloaded(page: Page, own: Stage, tmp_path: Path) -> None:
    customer, (first, _) = await _customer_with_debts(own, "100", "50")
    note = {"invoice_id": first["id"], "reason": "BILLING_ERROR", "process_credit_note": True}
    lines = [{"invoice_line_item_id": first["line_items"][0]["id"], "amount": "10"}]
    await own.account.post("/creditnotes", {**note, "line_items": lines})
    paying = {"destination_type": "INVOICE", "destination_id": first["id"], "payment_method_type": "OFFLINE"}
    await own.account.post("/payments", {**paying, "amount": "95", "currency": "usd", "process_payment": True})
    await sign_in(page, own)
    await page.goto(f"/customers/{customer}")
    await page.get_by_role("link", name="Statement", exact=True).click()
    rows = page.get_by_role("region", name="Entries").locator("tbody tr")
    balances = [(await row.locator("td").last.text_content() or "").strip() for row in await rows.all()]
    assert balances == ["$0.00", "$100.00", "$150.00", "$140.00", "$45.00", "$45.00"]
    await expect(page.locator("dl.figures")).to_contain_text("$50.00 unpaid, $5.00 in credit")
    summary = await own.account.get(f"/customers/{customer}/invoices/summary")
    assert summary["summaries"][0]["total_unpaid_amount"] == "50"
    for link, ending in (("Download PDF", "pdf"), ("CSV", "csv")):
        async with page.expect_download() as waiting:
            await page.get_by_role("link", name=link, exact=True).click()
        download = await waiting.value
        assert download.suggested_filename.endswith(ending)
        await download.save_as(tmp_path / ending)
    text = "".join(sheet.extract_text() for sheet in PdfReader(io.BytesIO((tmp_path / "pdf").read_bytes())).pages)
    assert "Statement of account" in text
    assert "$45.00" in text
    table = (tmp_path / "csv").read_text().splitlines()
    assert [line.split(",")[6] for line in table] == ["balance", "0", "100", "150", "140", "45", "45"]
    await page.get_by_label("Until, inclusive").fill("2020-01-01")
    await page.get_by_role("button", name="Show").click()
    await expect(page.get_by_role("alert")).to_contain_text("must not be before the first day")


async def test_notes_and_files_are_left_and_taken_away(page: Page, own: Stage, tmp_path: Path) -> None:
    invoice = await Desk(own.account).invoice([fixed("10")])
    good, bad = tmp_path / "Bestellung «7».pdf", tmp_path / "page.pdf"
    good.write_bytes(b"%PDF-1.7 order")
    bad.write_bytes(b"<script>alert(1)</script>")
    page.on("dialog", lambda dialog: dialog.accept())
    await sign_in(page, own)
    for path in (f"/invoices/{invoice['id']}", f"/customers/{invoice['customer_id']}"):
        await page.goto(path)
        await page.get_by_text("Write a note").click()
        await page.get_by_label("Note", exact=True).fill("They pay on Friday <b>\nsaid Ada")
        await page.get_by_role("button", name="Write it").dblclick()
        part = page.get_by_role("region", name="Internal notes and files")
        await expect(part.locator("li")).to_have_count(1)
        await expect(part.locator("li")).to_contain_text("Ada Fairweather")
        await expect(part.locator("li")).to_contain_text("<b>")
        for file, said in ((bad, "does not hold what a .pdf file holds"), (good, "The file is attached.")):
            await page.get_by_text("Attach a file").click()
            await page.get_by_label("File, at most 5 MB").set_input_files(file)
            await page.get_by_role("button", name="Attach it").click()
            await expect(page.get_by_role("status")).to_contain_text(said)
        link = part.get_by_role("link", name="Bestellung")
        answer = await page.request.get(await link.get_attribute("href") or "")
        assert await answer.body() == b"%PDF-1.7 order"
        assert answer.headers["content-disposition"].startswith("attachment;")
        assert "sandbox" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        await part.get_by_role("button", name="Remove Bestellung").click()
        await expect(link).to_have_count(0)
        await part.get_by_role("button", name="Remove the note").click()
        await expect(part.locator("li")).to_have_count(0)
