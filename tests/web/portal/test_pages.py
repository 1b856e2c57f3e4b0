"""The portal's pages: in every language, behind every switch, for nobody but the customer; and what it does there."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, FilePayload, Page, expect

from farthing.core.standards.languages import LANGUAGES
from farthing.web import site
from farthing.web.portal.routes import PortalEndpoints
from farthing.web.rendering.languages import PORTAL, page_texts
from tests.account import Account
from tests.subscriptions.shop import Shop, fixed
from tests.web.browsing import sign_in
from tests.web.stage import Stage

Json = dict[str, Any]
ALL_ON: Json = {"alerts": True, "edit_tax_id": True, "change_plan": "immediate", "cancel": "immediate"}
PAGES = ("", "/usage", "/alerts", "/methods", "/details")
TEST_LOGO = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
_FIELD = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')


@dataclass
class PortalFixture:
    """A customer with a subscription to the smaller of two plans, and its portal."""

    account: Account
    customer: Json
    subscription: Json
    plans: dict[str, Json]
    token: str
    http: httpx.AsyncClient = field(repr=False)

    async def allow(self, **items: Any) -> None:
        body = {"value": {"items": {**ALL_ON, "plans": [self.plans["Pro"]["id"]], **items}}}
        await self.account.put("/settings/customer_portal_config", body)

    async def page(self, place: str = "", language: str = "en", expect: int = 200) -> str:
        answer = await self.http.get(f"/portal/{self.token}{place}", headers={"accept-language": language})
        assert answer.status_code == expect, (place, answer.status_code, answer.text)
        return answer.text

    async def send(self, place: str, form: Mapping[str, str] | None = None) -> httpx.Response:
        return await self.http.post(f"/portal/{self.token}{place}", data=dict(form or {}))

    def of_subscription(self, name: str) -> str:
        return f"/subscriptions/{self.subscription['id']}/{name}"

    async def look(self, name: str, **form: str) -> dict[str, str]:
        """What the confirmation of a change would send."""
        answer = await self.send(f"{self.of_subscription(name)}/preview", form)
        assert answer.status_code == 200, answer.text
        fields = dict(_FIELD.findall(answer.text))
        assert fields["agreed"], answer.text
        return fields

    async def alert_settings(self) -> list[Json]:
        found: list[Json] = (await self.account.post("/alerts/setting/search", {}, expect=200))["items"]
        return found

    async def standing(self) -> Json:
        found: Json = await self.account.get(f"/subscriptions/{self.subscription['id']}")
        return found


@pytest.fixture
async def portal(own: Stage) -> AsyncIterator[PortalFixture]:
    account = own.account
    shop = Shop(account)
    await shop.on("2026-05-01")
    calls = await shop.feature("calls", type="SUM", field="count")
    prices = [fixed("49", display_name="Grundgebühr"), shop.usage(calls, "0.02", display_name="Anrufe")]
    plans = {
        name: await shop.plan(*made, name=name)
        for name, made in (
            ("Basic", prices),
            ("Pro", [fixed("99", display_name="Grundgebühr")]),
            ("Secret", [fixed("1", display_name="Grundgebühr")]),
        )
    }
    customer = await shop.customer("acme")
    asked = {"customer_id": customer["id"], "plan_id": plans["Basic"]["id"], "currency": "usd"}
    subscription = await account.post("/subscriptions", {**asked, "billing_period": "MONTHLY"})
    token = (await account.get("/customers/portal/acme"))["token"]
    async with httpx.AsyncClient(base_url=account.base_url, timeout=60, headers={"accept": "text/html"}) as http:
        made = PortalFixture(account, customer, subscription, plans, token, http)
        await made.allow()
        yield made


class _Texts(HTMLParser):
    """What a page says to people: its texts, and the attributes that are read out."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.said: list[str] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.said.append(data.strip())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.said += [value or "" for name, value in attrs if name in {"aria-label", "title", "alt", "placeholder"}]


async def test_every_page_speaks_every_language_and_is_small(portal: PortalFixture) -> None:
    english = page_texts(PORTAL, "en")
    places = [*PAGES, *map(portal.of_subscription, ("plan", "cancel"))]
    for language in LANGUAGES:
        texts = page_texts(PORTAL, language)
        foreign = {words for name, words in english.items() if texts[name] != words and words not in texts.values()}
        for place in places:
            page = await portal.page(place, f"{language};q=0.9, en;q=0.1")
            assert f'<html lang="{language}">' in page
            assert language == "en" or not foreign & set(_Texts(page).said), (language, place)
            assert len(page.encode()) < 100_000, (language, place)
        missing = await portal.page("/invoices/inv_none", language, expect=404)
        assert texts["error_missing"] in missing


async def test_the_language_is_the_one_chosen_here_else_the_customers_else_the_browsers(portal: PortalFixture) -> None:
    assert 'lang="fr"' in (await portal.page(language="fr-CA, en;q=0.5"))[:60]
    await portal.account.put(f"/customers/{portal.customer['id']}", {"language": "de"})
    assert 'lang="de"' in (await portal.page(language="fr"))[:60]
    assert 'lang="ja"' in (await portal.page("?lang=ja", "fr"))[:60]
    assert 'lang="ja"' in (await portal.page("/usage", "fr"))[:60]
    assert 'lang="ja"' in (await portal.page("?lang=xx", "fr"))[:60]


async def test_amounts_and_days_are_written_as_the_language_does(portal: PortalFixture) -> None:
    await portal.account.post("/events", _event("e1", 100_000), expect=202)
    page = await portal.page("/usage", "de")
    assert "2.000,00\xa0$" in page  # 100,000 calls at 0.02
    assert "1.–31. Mai 2026" in page


@pytest.mark.parametrize(
    ("item", "off", "reads", "writes"),
    [
        ("invoices", False, ("/invoices/inv_x", "/invoices/inv_x/pdf"), ()),
        ("pay", False, (), ("/invoices/inv_x/pay",)),
        ("payment_methods", False, ("/methods",), ("/methods",)),
        ("buy_credits", False, (), ("/wallets/w/buy",)),
        ("usage", False, ("/usage",), ()),
        ("edit_details", False, ("/details",), ("/details",)),
        ("alerts", False, ("/alerts",), ("/alerts/sub_x",)),
        ("change_plan", "none", ("{plan}", "{take-back}"), ("{plan}", "{plan}/preview", "{take-back}")),
        ("cancel", "none", ("{cancel}", "{keep}"), ("{cancel}", "{cancel}/preview", "{keep}")),
    ],
)
async def test_what_is_switched_off_is_refused_and_not_offered(
    portal: PortalFixture, item: str, off: object, reads: tuple[str, ...], writes: tuple[str, ...]
) -> None:
    await portal.allow(**{item: off})

    def placed(place: str) -> str:
        return re.sub(r"\{([\w-]+)\}", lambda name: portal.of_subscription(name[1]), place)

    home = await portal.page()
    for place in map(placed, reads):
        assert "Dies" not in await portal.page(place, expect=403)
        assert f'href="/portal/{portal.token}{place}"' not in home
    before = await portal.standing()
    for place in map(placed, writes):
        assert (await portal.send(place, {"name": "X", "threshold": "5"})).status_code == 403, place
    assert await portal.standing() == before


async def test_by_default_nothing_that_changes_a_contract_is_open(portal: PortalFixture) -> None:
    await portal.account.delete("/settings/customer_portal_config", 200)
    for place in ("/alerts", *map(portal.of_subscription, ("plan", "cancel", "keep", "take-back"))):
        await portal.page(place, expect=403)
    await portal.page("/details")
    headers = {"x-session-token": portal.token}
    tax_id = await portal.http.put("/v1/customer/portal/info", json={"tax_id": "DE123456789"}, headers=headers)
    assert tax_id.status_code == 403


async def test_the_json_routes_obey_the_same_switches(portal: PortalFixture) -> None:
    await portal.allow(invoices=False, usage=False, edit_details=False)
    headers = {"x-session-token": portal.token}
    for method, path in (
        ("POST", "/invoices"),
        ("GET", "/invoices/summary"),
        ("GET", "/invoices/inv_x"),
        ("GET", "/usage"),
        ("POST", "/analytics/revenue"),
        ("PUT", "/info"),
    ):
        answer = await portal.http.request(method, f"/v1/customer/portal{path}", json={}, headers=headers)
        assert answer.status_code == 403, path
        assert answer.json()["code"] == "permission_denied"


def test_every_route_of_the_portal_says_which_switch_it_hangs_on() -> None:
    found = []
    for controller in (*site.PORTAL, PortalEndpoints):
        for handler in vars(controller).values():
            for guard in getattr(handler, "guards", None) or ():
                assert hasattr(guard, "item"), handler
                found.append(guard.item)
    assert {"invoices", "pay", "payment_methods", "buy_credits", "usage", "edit_details", "alerts"} <= set(found)


async def test_nobody_elses_subscription_can_be_changed_or_watched(portal: PortalFixture) -> None:
    shop = Shop(portal.account)
    other = await shop.customer("other")
    asked = {"customer_id": other["id"], "plan_id": portal.plans["Basic"]["id"], "currency": "usd"}
    theirs = await portal.account.post("/subscriptions", {**asked, "billing_period": "MONTHLY"})
    delegated = await portal.account.post(
        "/subscriptions",
        {
            **asked,
            "billing_period": "MONTHLY",
            "customer_id": portal.customer["id"],
            "inheritance": {"invoicing_customer_external_id": "other"},
        },
    )
    for foreign in (theirs, delegated):
        here = f"/subscriptions/{foreign['id']}"
        for name in ("plan", "cancel"):
            assert await portal.page(f"{here}/{name}", expect=404)
            for place in (f"{here}/{name}/preview", f"{here}/{name}"):
                form = {"cancellation_type": "immediate", "target_plan_id": "x", "as_of": "2026-05-01T00:00:00Z"}
                assert (await portal.send(place, form)).status_code == 404, place
        await portal.send(f"/alerts/{foreign['id']}", {"threshold": "10"})
        stands = await portal.account.get(f"/subscriptions/{foreign['id']}")
        assert stands["subscription_status"] == "active"
    assert await portal.alert_settings() == []


async def test_forged_expired_and_orphaned_sessions_open_nothing(portal: PortalFixture) -> None:
    good, head, places = portal.token, portal.token.rsplit(".", 1)[0], [*PAGES, portal.of_subscription("plan"), "/logo"]
    for token in (f"{head}.{'A' * 43}", "x"):
        portal.token = token
        for place in places:
            await portal.page(place, expect=401)
            assert (await portal.send(place)).status_code in {401, 405}
    portal.token = good
    await portal.send(portal.of_subscription("cancel"), await portal.look("cancel", cancellation_type="immediate"))
    await portal.account.delete(f"/customers/{portal.customer['id']}")
    for place in places:
        await portal.page(place, expect=401)


async def test_a_change_of_plan_is_done_as_shown_once_however_often_it_is_sent(portal: PortalFixture) -> None:
    await Shop(portal.account).on("2026-05-16T12:00:00")
    pro = f"{portal.plans['Pro']['id']}:MONTHLY:1"
    form = await portal.look("plan", target_plan_id=pro, change_at="immediate")
    here = portal.of_subscription("plan")
    first, second = await portal.send(here, form), await portal.send(here, form)
    assert (first.status_code, second.status_code) == (303, 303)
    assert first.headers["location"] == second.headers["location"] == f"/portal/{portal.token}"
    assert first.headers["referrer-policy"] == "no-referrer"
    assert (await portal.standing())["plan_id"] == portal.plans["Pro"]["id"]
    invoices = (await portal.account.get("/invoices", subscription_id=portal.subscription["id"]))["items"]
    assert sorted(invoice["total"] for invoice in invoices if invoice["billing_reason"] != "SUBSCRIPTION_CREATE")
    asked = {"entity_type": "subscription", "entity_id": portal.subscription["id"], "limit": 20}
    activities = (await portal.account.post("/activity", asked, expect=200))["items"]
    (changed,) = {(a["actor"]["type"], a["source"]) for a in activities if a["actor"]["type"] == "portal"}
    assert changed == ("portal", "portal")
    assert all(a["actor"]["id"] == portal.customer["id"] for a in activities if a["actor"]["type"] == "portal")
    # the address is a secret, and stands nowhere in what was recorded
    assert portal.token not in str(activities)


@pytest.mark.parametrize(
    ("form", "field"),
    [
        pytest.param({"target_plan_id": "{Secret}", "change_at": "end_of_period"}, "New plan", id="a plan not offered"),
        pytest.param({"target_plan_id": "{Basic}", "change_at": "end_of_period"}, "New plan", id="the plan it has"),
        pytest.param({"target_plan_id": "", "change_at": "end_of_period"}, "New plan", id="no plan"),
        pytest.param(
            {"target_plan_id": "{Pro}", "change_at": "immediate"}, "When", id="at once, where that is not open"
        ),
        pytest.param({"target_plan_id": "{Pro}", "change_at": "yesterday"}, "When", id="no such time"),
    ],
)
async def test_what_the_merchant_does_not_leave_to_customers_is_refused(
    portal: PortalFixture, form: dict[str, str], field: str
) -> None:
    await portal.allow(change_plan="end_of_period")
    ids = {name: f"{plan['id']}:MONTHLY:1" for name, plan in portal.plans.items()}
    given = {name: value.format(**ids) for name, value in form.items()}
    given |= {"as_of": "2026-05-01T00:00:00Z", "agreed": "x", "once": "1"}
    for place in ("/preview", ""):
        answer = await portal.send(portal.of_subscription("plan") + place, given)
        assert answer.status_code == 200
        assert f"Please look again at: {field}." in answer.text
    assert (await portal.standing())["plan_id"] == portal.plans["Basic"]["id"]


async def test_what_has_changed_since_it_was_shown_is_not_done(portal: PortalFixture) -> None:
    form = await portal.look("cancel", cancellation_type="end_of_period")
    await portal.account.put(f"/subscriptions/{portal.subscription['id']}", {"metadata": {"changed": "since"}})
    answer = await portal.send(portal.of_subscription("cancel"), form)
    assert answer.status_code == 200
    assert page_texts(PORTAL, "en")["problem_changed"] in answer.text
    assert (await portal.standing())["cancel_at"] is None


async def test_an_end_is_scheduled_and_taken_back_but_not_one_that_the_merchant_scheduled(
    portal: PortalFixture,
) -> None:
    form = await portal.look("cancel", cancellation_type="end_of_period", reason="Too dear")
    assert (await portal.send(portal.of_subscription("cancel"), form)).status_code == 303
    stands = await portal.standing()
    assert (stands["subscription_status"], stands["cancel_at_period_end"]) == ("active", True)
    assert portal.of_subscription("keep") in await portal.page()
    assert (await portal.send(portal.of_subscription("keep"), await portal.look("keep"))).status_code == 303
    assert (await portal.standing())["cancel_at"] is None
    later = {"cancellation_type": "end_of_period"}
    await portal.account.post(f"/subscriptions/{portal.subscription['id']}/cancel", later, expect=200)
    assert portal.of_subscription("keep") not in await portal.page()
    await portal.page(portal.of_subscription("keep"), expect=403)
    await portal.send(f"{portal.of_subscription('keep')}", {**form, "once": "another"})
    assert (await portal.standing())["cancel_at_period_end"] is True


async def test_details_are_changed_and_a_bad_one_is_said_at_its_field(portal: PortalFixture) -> None:
    form = {"name": "Acme GmbH", "email": "not an address", "address_city": "Köln", "tax_id": "DE123456789"}
    refused = await portal.send("/details", form)
    assert refused.status_code == 400
    assert "Please look again at: E-mail for invoices." in refused.text
    assert 'value="Köln"' in refused.text
    before = await portal.account.get(f"/customers/{portal.customer['id']}")
    assert before["name"] != "Acme GmbH"
    right = {**form, "email": "buch@acme.example", "language": "de", "external_id": "stolen", "tax_treatment": "exempt"}
    assert (await portal.send("/details", right)).status_code == 303
    now = await portal.account.get(f"/customers/{portal.customer['id']}")
    assert (now["name"], now["email"], now["language"]) == ("Acme GmbH", "buch@acme.example", "de")
    assert (now["tax_id"], now["external_id"], now["tax_treatment"]) == ("DE123456789", "acme", "taxable")
    await portal.allow(edit_tax_id=False)
    assert (await portal.send("/details", {**right, "tax_id": ""})).status_code == 303
    assert (await portal.account.get(f"/customers/{portal.customer['id']}"))["tax_id"] == "DE123456789"


async def test_a_spend_alert_is_set_changed_and_removed_beside_the_merchants(portal: PortalFixture) -> None:
    level = {"threshold": "500", "condition": "above"}
    config = {"alert_enabled": True, "critical": level}
    of_subscription = {"entity_type": "subscription", "entity_id": portal.subscription["id"], "config": config}
    await portal.account.post("/alerts/setting", of_subscription)
    here = f"/alerts/{portal.subscription['id']}"

    async def own() -> list[str]:
        listed = await portal.alert_settings()
        return [each["config"]["critical"]["threshold"] for each in listed if each["set_by"] == "customer"]

    for threshold, after in (
        ("20", ["20"]),
        ("20", ["20"]),
        ("1,250.50", ["1250.5"]),
        ("-1", ["1250.5"]),
        ("0", ["1250.5"]),
        ("x", ["1250.5"]),
    ):
        assert (await portal.send(here, {"threshold": threshold, "action": "set"})).status_code == 303
        assert await own() == after
    for _ in range(2):
        assert (await portal.send(here, {"action": "remove"})).status_code == 303
        assert await own() == []
    assert len(await portal.alert_settings()) == 1


async def test_a_customer_goes_through_its_portal_in_german_on_a_phone_without_scripts(
    browser: Browser, portal: PortalFixture
) -> None:
    await Shop(portal.account).on("2026-05-16T12:00:00")
    context = await browser.new_context(
        base_url=portal.account.base_url, java_script_enabled=False, viewport={"width": 390, "height": 844}
    )
    page = await context.new_page()
    await page.goto(f"/portal/{portal.token}")
    await page.get_by_label("Language").select_option("de")
    await page.get_by_role("button", name="Apply").click()
    await expect(page.get_by_role("heading", name="Was Sie schulden")).to_be_visible()

    await page.get_by_role("link", name="Ihre Angaben").click()
    await page.get_by_role("textbox", name="Ort").fill("Köln")
    await page.locator("select[name=address_country]").select_option("DE")
    await page.get_by_role("button", name="Speichern").click()
    await expect(page.get_by_role("status")).to_have_text("Gespeichert. Ihre nächsten Rechnungen zeigen es.")
    await expect(page.get_by_role("textbox", name="Ort")).to_have_value("Köln")

    await page.get_by_role("link", name="Übersicht").click()
    await page.get_by_role("link", name="Tarif wechseln").click()
    await page.get_by_label("Neuer Tarif").select_option(label="Pro, monatlich")
    await page.get_by_label("Jetzt").check()
    await page.get_by_role("button", name="Ansehen, was geschehen wird").click()
    shown = page.get_by_role("region", name="Was geschehen wird")
    await expect(shown).to_contain_text("Basic, monatlich")
    credit = await shown.get_by_role("region", name="Der Rest des laufenden Zeitraums").inner_text()
    invoice = await shown.get_by_role("region", name="Jetzt").inner_text()
    assert (await portal.standing())["plan_id"] == portal.plans["Basic"]["id"]
    await page.get_by_role("button", name="Tarif wechseln").click()
    await expect(page.get_by_role("status")).to_have_text("Der Tarifwechsel ist wie gezeigt erfolgt.")
    assert (await portal.standing())["plan_id"] == portal.plans["Pro"]["id"]
    listed = (await portal.account.get("/invoices", subscription_id=portal.subscription["id"]))["items"]
    (made,) = [each for each in listed if each["billing_reason"] != "SUBSCRIPTION_CREATE"]
    total = f"{float(made['total']):.2f}".replace(".", ",")
    assert f"{total}\xa0$" in invoice
    assert "$" in credit

    await page.get_by_role("link", name="Abonnement kündigen").click()
    await page.get_by_role("button", name="Ansehen, was geschehen wird").click()
    await page.get_by_role("button", name="Kündigen", exact=True).click()
    await expect(page.get_by_text("Endet am 01.06.2026")).to_be_visible()
    await page.get_by_role("link", name="Kündigung zurücknehmen").click()
    await page.get_by_role("button", name="Ansehen, was geschehen wird").click()
    await page.get_by_role("button", name="Weiterlaufen lassen").click()
    await expect(page.get_by_role("status")).to_have_text("Ihr Abonnement läuft weiter.")
    assert (await portal.standing())["cancel_at"] is None
    await context.close()


async def test_the_look_is_seen_before_it_is_saved_and_an_accent_that_nobody_could_see_is_refused(
    page: Page, own: Stage, portal: PortalFixture
) -> None:
    await sign_in(page, own)
    await page.get_by_role("link", name="Customer portal").click()
    sample = page.frame_locator("#sample")
    button = sample.get_by_text("Pay $1,284.50")
    await page.get_by_label("Accent").fill("#1f5fbf")
    await expect(button).to_have_css("background-color", "rgb(31, 95, 191)")
    await expect(button).to_have_css("color", "rgb(255, 255, 255)")
    await page.get_by_label("Accent").fill("#ffee00")
    await expect(sample.get_by_role("alert")).to_contain_text("cannot be seen on the light background")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("choose a darker colour")
    await page.get_by_label("Background").select_option("dark")
    await expect(button).to_have_css("background-color", "rgb(255, 238, 0)")
    await expect(button).to_have_css("color", "rgb(0, 0, 0)")
    await page.get_by_label("Usage").uncheck()
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_role("status")).to_contain_text("Saved")
    picture: FilePayload = {"name": "logo.png", "mimeType": "image/png", "buffer": TEST_LOGO}
    await page.get_by_label("PNG or JPEG").set_input_files(picture)
    await page.get_by_role("button", name="Use this logo").click()
    await expect(page.get_by_alt_text("The logo")).to_be_visible()
    await page.emulate_media(color_scheme="light")
    await page.goto(f"/portal/{portal.token}")
    await expect(page.locator("body")).to_have_css("background-color", "rgb(21, 23, 26)")
    await expect(page.get_by_alt_text("Test")).to_have_js_property("naturalWidth", 1)
    await expect(page.get_by_role("link", name="Usage")).to_have_count(0)
    broken: FilePayload = {"name": "logo.svg", "mimeType": "image/svg+xml", "buffer": b"<svg/>"}
    await page.goto("/customer-portal")
    await page.get_by_label("PNG or JPEG").set_input_files(broken)
    await page.get_by_role("button", name="Use this logo").click()
    await expect(page.get_by_role("status")).to_contain_text("PNG or JPEG")
    await page.get_by_role("button", name="Remove the logo").click()
    await page.goto(f"/portal/{portal.token}")
    await expect(page.get_by_role("link", name="Test", exact=True)).to_be_visible()


def _event(id: str, count: int) -> Json:
    properties = {"count": count}
    return {"event_id": id, "event_name": "calls", "external_customer_id": "acme", "properties": properties}
