"""Subscriptions made, changed and ended on pages alone: what is shown before is what the API shows and what is done."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from playwright.async_api import Locator, Page, expect

from tests.account import Account
from tests.subscriptions.shop import Shop, fixed
from tests.web.browsing import has_axe, serious_findings, sign_in
from tests.web.stage import PASSWORD, Stage

Json = dict[str, Any]
_FIELD = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')


@dataclass
class SalesDesk:
    """A shop with two plans, an addon and a coupon, and somebody who works on its pages."""

    shop: Shop
    customer: Json
    basic: Json
    pro: Json
    addon: Json = field(default_factory=dict)

    @property
    def account(self) -> Account:
        return self.shop.account

    async def sold(self, **more: Any) -> Json:
        """A subscription to the smaller plan with four seats, made now."""
        platform, seat = self.basic["prices"][:2]
        body = {
            "customer_id": self.customer["id"],
            "plan_id": self.basic["id"],
            "currency": "usd",
            "billing_period": "MONTHLY",
            "override_line_items": [
                {"price_id": platform["id"], "quantity": "1"},
                {"price_id": seat["id"], "quantity": "4"},
            ],
            **more,
        }
        made: Json = await self.account.post("/subscriptions", body)
        return made

    async def read(self, subscription: Mapping[str, Any]) -> Json:
        found: Json = await self.account.get(f"/subscriptions/{subscription['id']}")
        return found

    async def ask(self, path: str, body: Any) -> Json:
        answer: Json = await self.account.post(path, body, expect=200)
        return answer

    async def next_total(self, subscription: Mapping[str, Any]) -> str:
        return str((await self.ask("/invoices/preview", {"subscription_id": subscription["id"]}))["total"])

    async def invoices(self, subscription: Mapping[str, Any]) -> list[Json]:
        """Those of the subscription, newest first."""
        found: list[Json] = (await self.account.get("/invoices", subscription_id=subscription["id"]))["items"]
        return found


@pytest.fixture
async def desk(own: Stage) -> SalesDesk:
    shop = Shop(own.account)
    await shop.on("2026-05-01")
    calls = await shop.feature("calls")
    prices = [
        fixed("49", display_name="Platform fee"),
        fixed("10", display_name="Seat"),
        shop.usage(calls, "0.02", display_name="Calls"),
    ]
    yearly = {"billing_period": "ANNUAL"}
    desk = SalesDesk(
        shop,
        await shop.customer("acme"),
        await shop.plan(*prices, name="Basic"),
        await shop.plan(
            fixed("99", display_name="Platform fee"),
            fixed("8", display_name="Seat"),
            fixed("990", display_name="Platform fee", **yearly),
            name="Pro",
        ),
    )
    desk.addon = await shop.addon(fixed("20", display_name="Priority support"), key="Support")
    coupon = {"name": "Launch", "type": "percentage", "percentage_off": "10", "cadence": "forever"}
    await own.account.post("/coupons", {**coupon, "coupon_code": "launch"})
    return desk


def outcome(page: Page) -> Locator:
    return page.get_by_role("region", name="What will happen")


async def look(page: Page, words: str = "See what will happen") -> Locator:
    """Take the first step; what it shows."""
    await page.get_by_role("button", name=words).click()
    shown = outcome(page)
    await expect(shown).to_be_visible()
    return shown


async def confirm(page: Page, words: str) -> None:
    await page.get_by_role("button", name=words, exact=True).click()
    await expect(page.get_by_role("status")).to_be_visible()


def dollars(amount: str) -> str:
    return f"${float(amount):,.2f}"


async def test_a_customer_is_subscribed_after_a_look_at_the_first_two_invoices(
    page: Page, own: Stage, desk: SalesDesk
) -> None:
    await sign_in(page, own)
    await page.goto(f"/customers/{desk.customer['id']}")
    await page.get_by_role("link", name="Subscribe", exact=True).click()
    await page.locator("select[name=plan_id]").select_option(label="Basic")
    await page.get_by_role("button", name="Go on").click()
    await page.get_by_label("Quantity of Seat").first.fill("-5")
    await page.get_by_role("button", name="See the first invoices").click()
    await expect(page.get_by_role("alert")).to_contain_text("must not be negative")
    seat = page.get_by_label("Quantity of Seat").first
    await expect(seat).to_have_value("-5")
    await expect(seat).to_have_attribute("aria-invalid", "true")
    await seat.fill("5")
    await page.get_by_label("Own price of Platform fee").first.fill("45")
    await page.locator("select[name=coupon]").select_option(index=1)
    await page.get_by_label("Support").check()
    await page.get_by_label("Send the invoice and wait").check()
    await page.get_by_label("Payment terms").select_option(label="Within 30 days")
    shown = await look(page, "See the first invoices")
    assert (await desk.account.get("/subscriptions"))["items"] == []
    first = await shown.get_by_role("region", name="Invoice now").inner_text()
    following = await shown.get_by_role("region", name="Next invoice").inner_text()
    if has_axe():
        assert await serious_findings(page) == []
    await confirm(page, "Subscribe")
    (made,) = (await desk.account.get("/subscriptions"))["items"]
    await expect(page).to_have_url(re.compile(made["id"]))
    (invoice,) = await desk.invoices(made)
    assert invoice["subtotal"] == "115"
    assert dollars(invoice["total"]) in first
    assert dollars(await desk.next_total(made)) in following
    assert (made["collection_method"], made["payment_terms"]) == ("send_invoice", "30 NET")
    assert invoice["due_date"].startswith("2026-05-31")


async def test_the_plan_is_changed_now_at_the_figures_of_the_preview(page: Page, own: Stage, desk: SalesDesk) -> None:
    sold = await desk.sold()
    await desk.shop.on("2026-05-11T12:00:00")
    await sign_in(page, own)
    await page.goto(f"/subscriptions/{sold['id']}")
    await page.get_by_role("link", name="Change plan").click()
    # by the keyboard alone
    await page.get_by_label("New plan").focus()
    await page.keyboard.type("Pro, m")
    await page.get_by_role("button", name="See what will happen").focus()
    await page.keyboard.press("Enter")
    shown = outcome(page)
    await expect(shown).to_contain_text("Basic → Pro")
    asked = {"target_plan_id": desk.pro["id"], "proration_behavior": "create_prorations"}
    api = await desk.ask(f"/subscriptions/{sold['id']}/change/v2/preview", asked)
    (to_come,) = api["changed_resources"]["invoices"]
    total = to_come["invoice"]["total"]
    await expect(shown.get_by_role("region", name="Invoice now")).to_contain_text(dollars(total))
    before = await desk.next_total(sold)
    await expect(shown).to_contain_text(f"$131.00 instead of {dollars(before)}")
    rest = shown.get_by_role("region", name="The rest of the open period")
    await expect(rest).to_contain_text("Platform fee, Basic")
    await expect(rest).to_contain_text("Platform fee, Pro")
    await page.get_by_role("button", name="Change the plan").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status")).to_contain_text("change of plan is set")
    after = await desk.read(sold)
    assert after["plan_id"] == desk.pro["id"]
    assert (await desk.invoices(sold))[0]["total"] == total
    assert dollars(await desk.next_total(sold)) == "$131.00"
    await expect(page.get_by_role("region", name="What happened")).to_contain_text("Plan changed")
    await expect(page.get_by_role("region", name="What happened")).to_contain_text("to Pro")


async def test_a_plan_change_at_the_end_of_the_period_is_scheduled_and_taken_back(
    page: Page, own: Stage, desk: SalesDesk
) -> None:
    sold = await desk.sold()
    await sign_in(page, own)
    await page.goto(f"/subscriptions/{sold['id']}/actions/plan")
    await page.get_by_label("New plan").select_option(label="Pro, monthly")
    await page.get_by_label("At the end of the open period").check()
    shown = await look(page)
    await expect(shown).to_contain_text("Nothing is charged and nothing is credited.")
    await expect(shown.get_by_role("region", name="Next invoice")).to_contain_text("$131.00")
    await page.get_by_label("Seat, $8.00 each").fill("6")
    shown = await look(page)
    await expect(shown.get_by_role("region", name="Next invoice")).to_contain_text("$147.00")
    await confirm(page, "Change the plan")
    assert await desk.next_total(sold) == "147"
    coming = page.get_by_role("region", name="What is to come")
    await expect(coming).to_contain_text("Change to Pro")
    await coming.get_by_role("link", name="Take back").click()
    await expect(await look(page)).to_contain_text("$89.00 instead of $147.00")
    await confirm(page, "Take it back")
    await expect(page.get_by_role("region", name="What happened")).to_contain_text("Change to Pro: taken back")
    assert await desk.next_total(sold) == "89"


async def test_a_plan_billed_yearly_takes_the_place_of_a_monthly_one(page: Page, own: Stage, desk: SalesDesk) -> None:
    sold = await desk.sold()
    await desk.shop.on("2026-05-16T12:00:00")
    await sign_in(page, own)
    await page.goto(f"/subscriptions/{sold['id']}/actions/plan")
    await page.get_by_label("New plan").select_option(label="Pro, yearly")
    shown = await look(page)
    await expect(shown).to_contain_text("A new subscription takes the place of this one")
    now = await shown.get_by_role("region", name="Invoice now").last.inner_text()
    await confirm(page, "Change the plan")
    new_id = page.url.rpartition("/")[2]
    assert new_id != sold["id"]
    invoices = await desk.invoices({"id": new_id})
    assert dollars(invoices[0]["total"]) in now


async def test_quantities_and_prices_are_changed_unless_somebody_was_faster(
    page: Page, own: Stage, desk: SalesDesk
) -> None:
    sold = await desk.sold()
    items = {item["display_name"]: item for item in (await desk.read(sold))["line_items"]}
    await desk.shop.on("2026-05-16T12:00:00")
    await sign_in(page, own)
    await page.goto(f"/subscriptions/{sold['id']}")
    await page.get_by_role("link", name="Change quantities and prices").click()
    await page.get_by_role("button", name="See what will happen").click()
    await expect(page.get_by_role("alert")).to_contain_text("Nothing is different yet")
    await page.get_by_label("Quantity of Seat, Basic").fill("7")
    await page.get_by_label("Price of Platform fee, Basic").fill("40")
    shown = await look(page)
    changes = [
        {"id": items["Platform fee"]["id"], "amount": "40"},
        {"id": items["Seat"]["id"], "quantity": "7"},
    ]
    body = {"type": "line_item_change", "line_item_change_params": {"line_items": changes}}
    api = await desk.ask(f"/subscriptions/{sold['id']}/modify/preview", body)
    total = api["changed_resources"]["invoices"][0]["invoice"]["total"]
    await expect(shown.get_by_role("region", name="Invoice now")).to_contain_text(dollars(total))
    # a colleague takes another addon into it meanwhile
    added = {"subscription_id": sold["id"], "addon_id": desk.addon["id"]}
    await desk.account.post("/subscriptions/addon", added, expect=200)
    await page.get_by_role("button", name="Change them").click()
    await expect(page.get_by_role("alert")).to_contain_text("Something has changed since you looked")
    quantities = {item["display_name"]: item["quantity"] for item in (await desk.read(sold))["line_items"]}
    assert quantities["Seat"] == "4"
    await expect(outcome(page)).to_contain_text("Priority support")
    await confirm(page, "Change them")
    assert (await desk.invoices(sold))[0]["total"] == total == "10.5"
    assert await desk.next_total(sold) == "130"
    history = page.get_by_role("region", name="What happened")
    await expect(history).to_contain_text("4 → 7")
    await expect(history).to_contain_text("$49.00 → $40.00")


async def test_addons_and_coupons_come_and_go(page: Page, own: Stage, desk: SalesDesk) -> None:
    sold = await desk.sold()
    await desk.shop.on("2026-05-16T12:00:00")
    await sign_in(page, own)
    path = f"/subscriptions/{sold['id']}"
    await page.goto(f"{path}/actions/add-addon")
    await page.get_by_role("button", name="See what will happen").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await page.locator("select[name=addon_id]").select_option(label="Support")
    await look(page)
    await page.get_by_label("Priority support, $20.00 each").fill("2")
    shown = await look(page)
    await expect(shown.get_by_role("region", name="Invoice now")).to_contain_text("$20.00")
    await expect(shown).to_contain_text("$129.00 instead of $89.00")
    await confirm(page, "Add it")
    assert (await desk.invoices(sold))[0]["total"] == "20"
    await page.get_by_role("link", name="Add a coupon").click()
    await page.locator("select[name=coupon_code]").select_option(index=1)
    await expect(await look(page)).to_contain_text("$116.10 instead of $129.00")
    await confirm(page, "Add it")
    assert await desk.next_total(sold) == "116.1"
    await page.get_by_role("link", name="Remove Support").click()
    await expect(await look(page)).to_contain_text("$80.10 instead of $116.10")
    await page.get_by_label("Now", exact=True).check()
    shown = await look(page)
    await expect(shown.get_by_role("region", name="The rest of the open period")).to_contain_text("−$20.00")
    await confirm(page, "Remove it")
    await page.get_by_role("link", name="Remove Launch").click()
    await expect(await look(page)).to_contain_text("$89.00 instead of $80.10")
    await confirm(page, "Remove it")
    assert await desk.next_total(sold) == "89"
    history = page.get_by_role("region", name="What happened")
    for words in ("Addon Support ends", "Coupon Launch removed"):
        await expect(history).to_contain_text(words)


async def test_a_subscription_is_paused_resumed_cancelled_and_kept(page: Page, own: Stage, desk: SalesDesk) -> None:
    sold = await desk.sold()
    await desk.shop.on("2026-05-16T12:00:00")
    await sign_in(page, own)
    path = f"/subscriptions/{sold['id']}"
    await page.goto(f"{path}/actions/pause")
    await page.get_by_label("For how many days").fill("ten")
    await page.get_by_role("button", name="See what will happen").click()
    await expect(page.get_by_role("alert")).to_contain_text("ten")
    await page.get_by_label("For how many days").fill("10")
    await expect(await look(page)).to_contain_text("ends on 11 Jun 2026 instead of 1 Jun 2026")
    await confirm(page, "Pause it")
    assert (await desk.read(sold))["subscription_status"] == "paused"
    await desk.shop.on("2026-05-18T12:00:00")
    await page.get_by_role("link", name="Resume").click()
    await expect(await look(page)).to_contain_text("ends on 3 Jun 2026 instead of 1 Jun 2026")
    await confirm(page, "Resume it")
    assert (await desk.read(sold))["current_period_end"].startswith("2026-06-03")
    await page.get_by_role("link", name="Cancel", exact=True).click()
    shown = await look(page)
    await expect(shown).to_contain_text("3 Jun 2026")
    await expect(shown.get_by_role("region", name="Next invoice")).to_contain_text("Calls")
    await confirm(page, "Cancel the subscription")
    coming = page.get_by_role("region", name="What is to come")
    await expect(coming).to_contain_text("It ends on 3 Jun 2026")
    await coming.get_by_role("link", name="Take back").click()
    await look(page)
    await confirm(page, "Let it go on")
    await expect(coming).to_be_hidden()
    await page.get_by_role("link", name="Cancel", exact=True).click()
    await page.get_by_label("Now", exact=True).check()
    await page.get_by_label("Is credited").check()
    shown = await look(page)
    asked = {"cancellation_type": "immediate", "proration_behavior": "create_prorations"}
    api = await desk.ask(f"{path}/cancel/preview", {**asked, "cancel_immediately_invoice_policy": "generate_invoice"})
    rest = shown.get_by_role("region", name="The rest of the open period")
    await expect(rest).to_contain_text(f"−{dollars(api['total_credit_amount'])}")
    await expect(shown).to_contain_text("There is none.")
    await confirm(page, "Cancel the subscription")
    assert (await desk.read(sold))["subscription_status"] == "cancelled"
    await expect(page.get_by_role("navigation", name="Changes of this subscription")).to_be_hidden()


async def test_a_trial_is_ended_and_a_draft_begins(page: Page, own: Stage, desk: SalesDesk) -> None:
    trialing = await desk.sold(trial_period_days=14)
    draft = await desk.sold(subscription_status="draft")
    await desk.shop.on("2026-05-05T12:00:00")
    await sign_in(page, own)
    await page.goto(f"/subscriptions/{trialing['id']}")
    await page.get_by_role("link", name="End the trial").click()
    await expect((await look(page)).get_by_role("region", name="Invoice now")).to_contain_text("$89.00")
    await confirm(page, "Set the end of the trial")
    assert (await desk.read(trialing))["subscription_status"] == "active"
    assert (await desk.invoices(trialing))[0]["total"] == "89"
    await page.goto(f"/subscriptions/{draft['id']}")
    await page.get_by_role("link", name="Let it begin").click()
    await expect((await look(page)).get_by_role("region", name="Invoice now")).to_contain_text("$89.00")
    await confirm(page, "Let it begin")
    assert (await desk.read(draft))["subscription_status"] == "active"


class FormSender:
    """A browser without a screen, in which the stage's person is signed in."""

    def __init__(self, account: Account) -> None:
        self.http = httpx.AsyncClient(base_url=account.base_url, timeout=120)

    async def sign_in(self, stage: Stage) -> FormSender:
        fields = {**await self.fields("/sign-in"), "email": stage.email, "password": PASSWORD}
        assert (await self.http.post("/sign-in", data=fields)).status_code == 303
        return self

    async def fields(self, path: str) -> dict[str, str]:
        """The hidden fields of a page, among them the token of its forms."""
        return dict(_FIELD.findall((await self.http.get(path)).text))

    async def preview(self, path: str, form: Mapping[str, str], token: str) -> dict[str, str]:
        """The hidden fields of the confirmation."""
        answer = await self.http.post(f"{path}/preview", data={**form, "form_token": token})
        assert answer.status_code == 200, answer.text
        sheet = answer.text.partition('aria-labelledby="outcome"')[2].partition("</section>")[0]
        return dict(_FIELD.findall(sheet))

    async def send(self, path: str, fields: Mapping[str, str], times: int) -> Sequence[httpx.Response]:
        return await asyncio.gather(*(self.http.post(path, data=dict(fields)) for _ in range(times)))


@pytest.fixture
async def sender(own: Stage) -> Any:
    made = await FormSender(own.account).sign_in(own)
    yield made
    await made.http.aclose()


async def test_a_form_that_is_sent_twice_is_carried_out_once(own: Stage, desk: SalesDesk, sender: FormSender) -> None:
    token = (await sender.fields("/clock"))["form_token"]
    form = {"customer_id": desk.customer["id"], "plan_id": desk.basic["id"], "rhythm": "usd:MONTHLY:1"}
    confirmation = await sender.preview("/subscriptions/new", form, token)
    answers = await sender.send("/subscriptions/new", confirmation, 3)
    assert {answer.status_code for answer in answers} == {303}
    (made,) = (await desk.account.get("/subscriptions"))["items"]
    assert {answer.headers["location"] for answer in answers} == {f"/subscriptions/{made['id']}"}
    path = f"/subscriptions/{made['id']}/actions/add-addon"
    form = {"addon_id": desk.addon["id"], "proration_behavior": "create_prorations"}
    confirmation = await sender.preview(path, form, token)
    answers = [*await sender.send(path, confirmation, 3), *await sender.send(path, confirmation, 1)]
    assert {answer.status_code for answer in answers} == {303}
    associations = await desk.account.get(f"/subscriptions/{made['id']}/addons/associations")
    assert len(associations["items"]) == 1


async def test_subscriptions_are_invoiced_together_and_by_themselves_again(
    own: Stage, desk: SalesDesk, sender: FormSender
) -> None:
    ours, other = await desk.sold(), await desk.sold()
    path, token = f"/subscriptions/{ours['id']}/actions/invoice-together", (await sender.fields("/clock"))["form_token"]
    offered = (await sender.http.get(path)).text
    assert f'<option value="{other["id"]}"' in offered
    assert f'<option value="{ours["id"]}"' not in offered
    for name, kind, parent in (("joining", "grouped_invoicing", ours["id"]), ("leaving", "standalone", None)):
        confirmation = await sender.preview(path, {name: other["id"]}, token)
        (answer,) = await sender.send(path, confirmation, 1)
        assert answer.headers["location"] == f"/subscriptions/{ours['id']}"
        child = await desk.read(other)
        assert (child["subscription_type"], child.get("parent_subscription_id")) == (kind, parent)


async def test_what_comes_to_another_figure_by_now_is_not_done(own: Stage, desk: SalesDesk, sender: FormSender) -> None:
    token = (await sender.fields("/clock"))["form_token"]
    form = {"customer_id": desk.customer["id"], "plan_id": desk.basic["id"], "rhythm": "usd:MONTHLY:1"}
    confirmation = await sender.preview("/subscriptions/new", form, token)
    dearer = {"amount": "59", "effective_from": "2026-05-01T00:00:00Z"}
    await desk.account.put(f"/prices/{desk.basic['prices'][0]['id']}", dearer)
    answer = await sender.http.post("/subscriptions/new", data=confirmation)
    assert answer.status_code == 200
    assert "Something has changed since you looked" in answer.text
    assert (await desk.account.get("/subscriptions"))["items"] == []
    for bad in ({"agreed": "0" * 64}, {"agreed": ""}, {"as_of": "yesterday"}, {"as_of": ""}, {"once": ""}):
        answer = await sender.http.post("/subscriptions/new", data={**confirmation, **bad})
        assert answer.status_code == 200, bad
    assert (await desk.account.get("/subscriptions"))["items"] == []


async def test_what_is_impossible_by_now_says_so(own: Stage, desk: SalesDesk, sender: FormSender) -> None:
    sold = await desk.sold()
    token = (await sender.fields("/clock"))["form_token"]
    path = f"/subscriptions/{sold['id']}/actions/pause"
    confirmation = await sender.preview(path, {"pause_mode": "immediate"}, token)
    await desk.ask(f"/subscriptions/{sold['id']}/cancel", {"cancellation_type": "immediate"})
    answer = await sender.http.post(path, data=confirmation)
    assert answer.status_code == 200
    assert 'role="alert"' in answer.text
    assert "What will happen" not in answer.text
    assert (await desk.read(sold))["subscription_status"] == "cancelled"
    assert (await sender.http.get(f"/subscriptions/{sold['id']}/actions/nothing")).status_code == 404


async def test_a_reader_sees_no_buttons_and_may_change_nothing(own: Stage, desk: SalesDesk) -> None:
    sold = await desk.sold()
    await own.admit(["all_reader"])
    reader = await FormSender(own.account).sign_in(own)
    page = (await reader.http.get(f"/subscriptions/{sold['id']}")).text
    assert "/actions/" not in page
    assert "/subscriptions/new" not in (await reader.http.get("/subscriptions")).text
    assert "/subscriptions/new" not in (await reader.http.get(f"/customers/{desk.customer['id']}")).text
    token = (await reader.fields("/subscriptions"))["form_token"]
    for path in ("/subscriptions/new", f"/subscriptions/{sold['id']}/actions/cancel"):
        assert (await reader.http.get(path)).status_code == 403
        for step in ("", "/preview"):
            answer = await reader.http.post(path + step, data={"form_token": token})
            assert answer.status_code == 403, path + step
    await reader.http.aclose()


async def test_others_subscriptions_are_missing(
    own: Stage, desk: SalesDesk, sender: FormSender, stranger: Account
) -> None:
    theirs = Shop(stranger)
    plan = await theirs.plan(fixed("5"))
    other = await theirs.subscribe(plan)
    token = (await sender.fields("/clock"))["form_token"]
    path = f"/subscriptions/{other.subscription.id}/actions/cancel"
    assert (await sender.http.get(path)).status_code == 404
    answer = await sender.http.post(f"{path}/preview", data={"cancellation_type": "immediate", "form_token": token})
    assert answer.status_code == 404
    form = {"customer_id": desk.customer["id"], "plan_id": plan["id"], "rhythm": "usd:MONTHLY:1", "form_token": token}
    answer = await sender.http.post("/subscriptions/new/preview", data=form)
    assert "What will happen" not in answer.text
    assert (await stranger.get(f"/subscriptions/{other.subscription.id}"))["subscription_status"] == "active"
