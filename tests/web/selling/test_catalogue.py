"""Somebody makes, changes and retires everything in the catalogue in a browser, and the API shows the same."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.subscriptions.shop import Shop, fixed
from tests.web.browsing import has_axe, serious_findings, sign_in
from tests.web.pictures import take_pictures
from tests.web.stage import Stage
from tests.web.visitor import Visitor


async def _said(page: Page, words: str) -> None:
    await expect(page.get_by_role("status")).to_contain_text(words)


async def _healthy(page: Page, name: str) -> None:
    """The page as it stands fits a phone and hides nothing from anybody."""
    await take_pictures(page, name)
    await page.set_viewport_size({"width": 320, "height": 800})
    beyond = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await page.evaluate(beyond) <= 0
    if has_axe():
        assert await serious_findings(page) == []
    await page.emulate_media(color_scheme="light")
    await page.set_viewport_size({"width": 1280, "height": 900})


async def test_a_first_product_is_sold_without_the_api(page: Page, own: Stage) -> None:
    """Feature, plan, prices and customer, as the walk in docs/pages.md has them."""
    account = own.account
    await sign_in(page, own)
    await page.goto("/catalogue")
    await page.get_by_role("link", name="a feature").click()
    await page.get_by_label("Name", exact=True).fill("API calls")
    await page.get_by_label("Name of the events").fill("api_call")
    await page.get_by_label("Counted is").select_option("SUM")
    await page.get_by_label("One is called").first.fill("call")
    await page.get_by_label("Several are called").first.fill("calls")
    await page.get_by_role("button", name="Create the feature").last.click()
    await expect(page.get_by_role("alert")).to_contain_text("1 field needs another look")
    await expect(page.locator("[name='meter.aggregation.field'][aria-invalid=true]")).to_be_visible()
    await expect(page.get_by_label("Name of the events")).to_have_value("api_call")
    await _healthy(page, "feature-refused")
    await page.get_by_label("Property", exact=True).fill("calls")
    await page.get_by_role("button", name="Add a filter").click()
    await page.get_by_label("filter 1, property").fill("region")
    await page.get_by_label("filter 1, values").fill("eu, us")
    await page.get_by_role("button", name="Create the feature").last.click()
    await _said(page, "API calls is made.")
    (feature,) = (await account.get("/features"))["items"]
    meter = await account.get(f"/meters/{feature['meter_id']}")
    assert (feature["lookup_key"], feature["unit_plural"], meter["event_name"]) == ("api_calls", "calls", "api_call")
    assert meter["aggregation"] == {"type": "SUM", "field": "calls"}
    assert meter["filters"] == [{"key": "region", "values": ["eu", "us"]}]

    await page.goto("/catalogue/plans/new")
    await page.get_by_label("Name", exact=True).fill("Growth")
    await page.get_by_role("button", name="Create the plan").last.click()
    await _said(page, "Give it its prices now.")
    (plan,) = (await account.get("/plans"))["items"]
    await page.get_by_role("link", name="New price").click()
    await page.get_by_label("Name on the invoice").fill("Platform fee")
    await page.get_by_label("Amount", exact=True).fill("49")
    await expect(page.locator("#figures")).to_contain_text("$49.00 per month")
    await page.get_by_label("Try a quantity").fill("3")
    await expect(page.locator("#figures .total")).to_have_text("$147.00")
    await page.get_by_role("button", name="Create the price").last.click()
    await _said(page, "Platform fee is priced.")

    await page.get_by_role("link", name="New price").click()
    await page.get_by_label("It charges for").select_option("USAGE")
    await page.get_by_label("Feature", exact=True).select_option("API calls")
    await page.get_by_label("The price is").select_option("PACKAGE")
    await page.get_by_label("Amount", exact=True).fill("0.50")
    await page.get_by_label("For so many units").fill("1,000")
    await page.get_by_label("Try a quantity").fill("2,500")
    await expect(page.locator("#figures")).to_contain_text("$0.50 per 1,000 calls")
    await expect(page.locator("#figures .total")).to_have_text("$1.50")
    await expect(page.locator("#figures")).to_contain_text("3 packages of 1,000 calls")
    await _healthy(page, "price-new")
    await page.get_by_role("button", name="Create the price").last.click()
    await _said(page, "is priced.")
    made = (await account.get(f"/plans/{plan['id']}"))["prices"]
    assert [(price["type"], price["amount"], price["invoice_cadence"]) for price in made] == [
        ("FIXED", "49", "ADVANCE"),
        ("USAGE", "0.5", "ARREAR"),
    ]
    await _healthy(page, "plan")

    await page.goto("/customers")
    await page.get_by_role("link", name="New customer").click()
    await page.get_by_label("Name", exact=True).fill("Brightwater")
    await page.get_by_label("Your id for it").fill("brightwater")
    await page.get_by_label("Country").select_option("Netherlands")
    await page.get_by_role("button", name="Create the customer").last.click()
    await _said(page, "Brightwater is a customer now.")
    (customer,) = (await account.get("/customers"))["items"]
    assert (customer["external_id"], customer["address_country"]) == ("brightwater", "NL")


async def test_tiers_are_rows_and_the_calculator_says_how_each_comes_about(page: Page, own: Stage) -> None:
    shop = Shop(own.account)
    feature = await shop.feature("storage")
    plan = await own.account.post("/plans", {"name": "Tiered"})
    await sign_in(page, own)
    await page.goto(f"/catalogue/plans/{plan['id']}/prices/new")
    await page.get_by_label("It charges for").select_option("USAGE")
    await page.get_by_label("Feature", exact=True).select_option(feature["name"])
    await expect(page.get_by_label("Amount", exact=True)).to_be_visible()
    await page.get_by_label("The price is").select_option("TIERED")
    await expect(page.get_by_label("Amount", exact=True)).to_be_hidden()
    await page.get_by_label("tier 1, up to").fill("1,000")
    await page.get_by_label("tier 1, per unit").fill("0.02")
    await page.get_by_label("tier 2, up to").fill("10000")
    await page.get_by_label("tier 2, per unit").fill("0.015")
    await page.get_by_label("tier 2, once, if reached").fill("5")
    await page.get_by_role("button", name="Add a tier").click()
    await expect(page.get_by_label("tier 3, up to")).to_be_focused()
    await page.get_by_label("tier 3, per unit").fill("0.01")
    await page.get_by_label("Try a quantity").fill("12000")
    figures = page.locator("#figures")
    for words in ("From 1 to 1,000", "From 1,001 to 10,000", "From 10,001 on", "9,000 × $0.015 + $5.00", "$140.00"):
        await expect(figures).to_contain_text(words)
    await expect(figures.locator(".total")).to_have_text("$180.00")
    await page.get_by_label("How tiers apply").select_option("VOLUME")
    await expect(figures.locator(".total")).to_have_text("$120.00")
    await page.get_by_role("button", name="Remove tier 2").click()
    await expect(page.get_by_label("tier 2, per unit")).to_have_value("0.01")
    await expect(page.get_by_label("tier 3, per unit")).to_have_count(0)
    await page.get_by_label("tier 2, per unit").fill("0,01")
    await page.get_by_role("button", name="Create the price").last.click()
    await expect(page.locator(".problem")).to_contain_text("write 0.50 with a point")
    await expect(page.get_by_label("tier 1, per unit")).to_have_value("0.02")
    await _healthy(page, "price-tiers")
    await page.get_by_label("tier 2, per unit").fill("0.01")
    await page.get_by_role("button", name="Create the price").last.click()
    await _said(page, "is priced.")
    await expect(page.get_by_text("from 1,001 on: $0.01 per unit")).to_be_visible()
    (price,) = (await own.account.get(f"/plans/{plan['id']}"))["prices"]
    assert price["tiers"] == [{"unit_amount": "0.02", "up_to": 1000}, {"unit_amount": "0.01"}]


async def test_a_price_is_relabelled_changed_after_a_look_and_ended(page: Page, own: Stage) -> None:
    account, shop = own.account, Shop(own.account)
    plan = await shop.plan(fixed("49", display_name="Platform fee"))
    await sign_in(page, own)
    await page.goto(f"/catalogue/plans/{plan['id']}")
    await page.get_by_role("link", name="Platform fee").click()
    await page.get_by_label("Try a quantity").fill("4")
    await expect(page.locator("#figures .total")).to_have_text("$196.00")
    await _healthy(page, "price")
    await page.get_by_role("link", name="Edit labels").click()
    await page.get_by_label("Name on the invoice").fill("Base fee")
    await page.get_by_role("button", name="Save").last.click()
    await _said(page, "Saved.")
    await page.get_by_role("link", name="Change the price").click()
    await page.get_by_label("Amount", exact=True).fill("59")
    await page.get_by_role("button", name="See what will happen").last.click()
    await expect(page.get_by_role("status")).to_contain_text("$49.00 per month ends now")
    assert len((await account.get(f"/plans/{plan['id']}"))["prices"]) == 1
    await page.get_by_label("Amount", exact=True).fill("69")
    await page.get_by_role("button", name="Change the price").last.click()
    await expect(page.get_by_role("status")).to_contain_text("$69.00 per month holds")
    await _healthy(page, "price-change")
    await page.get_by_role("button", name="Change the price").last.click()
    await _said(page, "This is its new version.")
    await expect(page.get_by_role("region", name="Versions").locator("tbody tr")).to_have_count(2)
    await page.get_by_role("link", name="End", exact=True).click()
    await page.get_by_label("It ends on").fill("2020-01-01")
    await page.get_by_role("button", name="End the price").last.click()
    await expect(page.locator(".problem")).to_contain_text("must not be before the start of the price")
    await page.get_by_label("It ends on").fill("")
    await page.get_by_role("button", name="End the price").last.click()
    await _said(page, "The end of Base fee is set.")
    await expect(page.get_by_text("No price yet")).to_be_visible()
    both = (await account.get(f"/plans/{plan['id']}"))["prices"]
    assert sorted(price["amount"] for price in both) == ["49", "69"]
    assert all(price["end_date"] for price in both)


async def test_plans_and_addons_are_edited_and_archived_unless_somebody_has_them(page: Page, own: Stage) -> None:
    account, shop = own.account, Shop(own.account)
    plan = await shop.plan(fixed("10"), name="Busy")
    await shop.subscribe(plan)
    idle = await account.post("/plans", {"name": "Idle", "lookup_key": "idle", "metadata": {"tier": "gold"}})
    await sign_in(page, own)
    await page.goto(f"/catalogue/plans/{plan['id']}")
    await page.get_by_role("link", name="Archive").click()
    await expect(page.get_by_role("heading", name="This is not possible yet")).to_be_visible()
    await expect(page.get_by_text("Plan Busy is in use: 1 subscription.")).to_be_visible()
    await _healthy(page, "archive-obstacle")
    await page.goto(f"/catalogue/plans/{idle['id']}/edit")
    await expect(page.get_by_label("entry 1, value")).to_be_visible()
    await expect(page.get_by_label("entry 1, value")).to_have_value("gold")
    await page.get_by_role("button", name="Add an entry").click()
    await page.get_by_label("entry 2, value").fill("orphan")
    await page.get_by_label("Description").fill("Rarely sold")
    await page.get_by_role("button", name="Save").last.click()
    await expect(page.locator(".problem")).to_have_text("is required")
    await page.get_by_label("entry 2, key").fill("owner")
    await page.get_by_role("button", name="Remove entry 1").click()
    await expect(page.get_by_label("entry 1, value")).to_have_value("orphan")
    await page.get_by_role("button", name="Save").last.click()
    await _said(page, "Saved.")
    now = await account.get(f"/plans/{idle['id']}")
    assert (now["description"], now["metadata"], now["lookup_key"]) == ("Rarely sold", {"owner": "orphan"}, "idle")
    await page.get_by_role("link", name="Archive").click()
    await page.get_by_role("button", name="Archive it").click()
    await _said(page, "The plan is archived.")
    await page.get_by_role("link", name="Show archived ones").click()
    await expect(page.get_by_role("link", name="Idle")).to_be_visible()
    await page.get_by_role("link", name="Addons").click()
    await page.get_by_role("link", name="New addon").click()
    await page.get_by_label("Name", exact=True).fill("Support")
    await page.get_by_label("Key", exact=True).fill("support")
    await page.get_by_role("button", name="Create the addon").last.click()
    await _said(page, "Support is made.")
    await page.get_by_role("link", name="Edit").click()
    await page.get_by_label("Description").fill("By phone")
    await page.get_by_role("button", name="Save").last.click()
    await page.get_by_role("link", name="Archive").click()
    await page.get_by_role("button", name="Archive it").click()
    await _said(page, "The addon is archived.")


async def test_features_are_edited_widened_and_archived_unless_they_are_sold(page: Page, own: Stage) -> None:
    account, shop = own.account, Shop(own.account)
    feature = await shop.feature("calls")
    plan = await shop.plan(shop.usage(feature, "1"), name="Sold")
    await sign_in(page, own)
    await page.goto(f"/catalogue/features/{feature['id']}")
    await expect(page.get_by_role("row", name="Sold charges for it")).to_be_visible()
    await _healthy(page, "feature")
    await page.get_by_role("link", name="Archive").click()
    await expect(page.get_by_text("is in use: 1 price")).to_be_visible()
    await expect(page.get_by_role("link", name="Sold")).to_be_visible()
    await page.goto(f"/catalogue/features/{feature['id']}/edit")
    await page.get_by_label("Name", exact=True).fill("Calls made")
    await page.get_by_label("One is called").first.fill("call")
    await page.get_by_label("Several are called").first.fill("calls")
    await page.get_by_text("Count more events").click()
    await page.get_by_role("button", name="Add a filter").click()
    await page.get_by_label("filter 1, property").fill("kind")
    await page.get_by_label("filter 1, values").fill("voice")
    await page.get_by_role("button", name="Save").last.click()
    await _said(page, "Saved.")
    now = await account.get(f"/features/{feature['id']}")
    assert (now["name"], now["unit_singular"], now["meter"]["filters"]) == (
        "Calls made",
        "call",
        [{"key": "kind", "values": ["voice"]}],
    )
    assert plan["prices"]
    flag = await account.post("/features", {"name": "Single sign-on", "type": "boolean"})
    await page.goto(f"/catalogue/features/{flag['id']}/archive")
    await page.get_by_role("button", name="Archive it").click()
    await _said(page, "Single sign-on is archived.")


@pytest.mark.parametrize(
    ("kind", "typed", "shown", "stored"),
    [
        pytest.param("metered", {"Limit": "5,000"}, "5,000 per billing period", {"usage_limit": 5000}, id="a limit"),
        pytest.param(
            "metered", {"How much": "everything"}, "As much as is used", {"usage_limit": None}, id="without limit"
        ),
        pytest.param(
            "metered",
            {"How much": "quota", "Quota": "2", "It lasts for": "hour", "How many of them": "5"},
            "2 for 5 hours, from the first usage",
            {"grant_quota": "2", "grant_duration_unit": "hour", "grant_duration_value": 5},
            id="a quota for hours",
        ),
        pytest.param("boolean", {}, "Included", {"is_enabled": True}, id="a switch"),
        pytest.param("static", {"Value": "Priority"}, "Priority", {"static_value": "Priority"}, id="a fixed value"),
        pytest.param(
            "config", {"Configuration": '{"model": "fast"}'}, "fast", {"config_value": {"model": "fast"}}, id="JSON"
        ),
    ],
)
async def test_features_of_each_kind_are_included(
    page: Page, own: Stage, kind: str, typed: dict[str, str], shown: str, stored: dict[str, Any]
) -> None:
    account, shop = own.account, Shop(own.account)
    if kind == "metered":
        await shop.feature("tokens")
    else:
        await account.post("/features", {"name": "tokens", "type": kind})
    plan = await account.post("/plans", {"name": "Including"})
    await sign_in(page, own)
    await page.goto(f"/catalogue/plans/{plan['id']}")
    await page.get_by_role("link", name="Include a feature").click()
    await page.get_by_label("Feature", exact=True).select_option("tokens")
    for label, text in typed.items():
        field = page.get_by_label(label, exact=True)
        if await field.evaluate("field => field.tagName") == "SELECT":
            await field.select_option(text)
        else:
            await field.fill(text)
    await page.get_by_role("button", name="Include it").last.click()
    await _said(page, "tokens is included.")
    await expect(page.get_by_role("row", name="tokens")).to_contain_text(shown)
    (entitlement,) = (await account.get(f"/plans/{plan['id']}/entitlements"))["items"]
    assert {name: entitlement.get(name) for name in stored} == stored


async def test_what_is_included_is_changed_and_taken_out(page: Page, own: Stage) -> None:
    account, shop = own.account, Shop(own.account)
    feature = await shop.feature("minutes")
    addon = await account.post("/addons", {"name": "More", "lookup_key": "more"})
    asked = {"entity_type": "ADDON", "entity_id": addon["id"], "feature_id": feature["id"], "feature_type": "metered"}
    made = await account.post("/entitlements", {**asked, "usage_limit": 10})
    await sign_in(page, own)
    await page.goto(f"/catalogue/addons/{addon['id']}")
    await page.get_by_role("link", name="Edit minutes").click()
    await expect(page.get_by_label("Limit", exact=True)).to_have_value("10")
    await page.get_by_label("Limit", exact=True).fill("0")
    await page.get_by_role("button", name="Save").last.click()
    await expect(page.locator(".problem")).to_contain_text("cannot become 0")
    await _healthy(page, "entitlement")
    await page.get_by_label("How much").select_option("quota")
    await page.get_by_label("Quota", exact=True).fill("100")
    await page.get_by_role("button", name="Save").last.click()
    await _said(page, "Saved.")
    now = await account.get(f"/entitlements/{made['id']}")
    assert (now["usage_limit"], now["grant_quota"], now["grant_duration_unit"]) == (None, "100", "subscription_period")
    await page.get_by_role("link", name="Edit minutes").click()
    await page.get_by_label("How much").select_option("limit")
    await page.get_by_label("Limit", exact=True).fill("20")
    await page.get_by_role("button", name="Save").last.click()
    await _said(page, "Saved.")
    now = await account.get(f"/entitlements/{made['id']}")
    assert (now["usage_limit"], now.get("grant_quota")) == (20, None)
    await page.get_by_role("link", name="Take out minutes").click()
    await page.get_by_role("button", name="Take it out").click()
    await _said(page, "It is not included any more.")
    assert (await account.get(f"/entitlements/{made['id']}"))["status"] == "archived"


async def test_coupons_are_made_renamed_and_archived(page: Page, own: Stage) -> None:
    account = own.account
    await sign_in(page, own)
    await page.goto("/catalogue/coupons")
    await page.get_by_role("link", name="New coupon").click()
    await page.get_by_label("Name", exact=True).fill("Launch")
    await page.get_by_label("Code", exact=True).fill("LAUNCH")
    await page.get_by_label("Percent", exact=True).fill("120")
    await page.get_by_label("It lasts").select_option("repeated")
    await page.get_by_label("How many periods").fill("3")
    await page.get_by_role("button", name="Create the coupon").last.click()
    await expect(page.locator(".problem")).to_contain_text("at most 100")
    await _healthy(page, "coupon-new")
    await page.get_by_label("Percent", exact=True).fill("20")
    await page.get_by_role("button", name="Create the coupon").last.click()
    await _said(page, "Launch is made.")
    await expect(page.locator("dl.figures")).to_contain_text("For 3 billing periods")
    await _healthy(page, "coupon")
    await page.goto("/catalogue/coupons/new")
    await page.get_by_label("Name", exact=True).fill("Second")
    await page.get_by_label("Code", exact=True).fill("launch")
    await page.get_by_label("Percent", exact=True).fill("5")
    await page.get_by_role("button", name="Create the coupon").last.click()
    await expect(page.locator(".problem")).to_have_text("a coupon with this code already exists")
    await page.get_by_label("It takes off").select_option("fixed")
    await page.get_by_label("Code", exact=True).fill("")
    await page.get_by_label("Amount", exact=True).fill("50")
    await page.get_by_label("Currency", exact=True).fill("eur")
    await page.get_by_role("button", name="Create the coupon").last.click()
    await _said(page, "Second is made.")
    await page.get_by_role("link", name="Edit").click()
    await page.get_by_label("Name", exact=True).fill("Welcome")
    await page.get_by_role("button", name="Save").last.click()
    await _said(page, "Saved.")
    await page.get_by_role("link", name="Archive").click()
    await page.get_by_role("button", name="Archive it").click()
    await _said(page, "The coupon is archived.")
    every = {coupon["name"]: coupon for coupon in (await account.get("/coupons"))["items"]}
    assert list(every) == ["Launch"]
    assert (every["Launch"]["coupon_code"], every["Launch"]["percentage_off"]) == ("launch", "20")


async def test_tax_rates_are_made_applied_and_ended(page: Page, own: Stage) -> None:
    account = own.account
    await account.post("/customers", {"external_id": "acme", "name": "Acme"})
    await sign_in(page, own)
    await page.goto("/catalogue/taxes")
    await page.get_by_role("link", name="New tax rate").click()
    await page.get_by_label("Name", exact=True).fill("VAT 19%")
    await page.get_by_label("Code", exact=True).fill("DE19")
    await page.get_by_label("Percent", exact=True).fill("19")
    await page.get_by_text("On e-invoices").click()
    await page.get_by_label("VAT category").select_option("Z")
    await page.get_by_role("button", name="Create the rate").last.click()
    await expect(page.locator(".problem")).to_contain_text("Z needs a percentage_value of 0")
    await page.get_by_label("VAT category").select_option("S")
    await page.get_by_role("button", name="Create the rate").last.click()
    await _said(page, "Say now whom it applies to.")
    await page.get_by_role("link", name="Apply it").click()
    await page.get_by_role("button", name="Apply it").last.click()
    await _said(page, "applies.")
    await page.get_by_role("link", name="Apply it").click()
    await page.get_by_label("It applies to").select_option("customer")
    await page.get_by_label("Customer", exact=True).fill("Nobody Known")
    await page.get_by_role("button", name="Apply it").last.click()
    await expect(page.locator(".problem")).to_contain_text("nothing is called 'Nobody Known'")
    await page.get_by_label("Customer", exact=True).fill("Acme")
    await page.get_by_role("button", name="Apply it").last.click()
    await _said(page, "applies.")
    await _healthy(page, "tax")
    await page.get_by_role("link", name="Archive").click()
    await expect(page.get_by_role("heading", name="This is not possible yet")).to_be_visible()
    await page.goto("/catalogue/taxes")
    await page.get_by_role("link", name="VAT 19%").click()
    await page.get_by_role("link", name="Edit Acme").click()
    await page.get_by_label("Place among several rates").fill("3")
    await page.get_by_label("Applied by itself").uncheck()
    await page.get_by_role("button", name="Save").last.click()
    await _said(page, "Saved.")
    listed = (await account.get("/taxes/associations", entity_type="customer"))["items"]
    assert [(each["priority"], each["auto_apply"]) for each in listed] == [(3, False)]
    for named in ("Acme", "Every new customer"):
        await page.get_by_role("link", name=f"End {named}").click()
        await page.get_by_role("button", name="End it").click()
        await _said(page, "It applies there no longer.")
    await page.get_by_role("link", name="Edit").click()
    await page.get_by_label("State").select_option("INACTIVE")
    await page.get_by_role("button", name="Save").last.click()
    await _said(page, "Saved.")
    await page.get_by_role("link", name="Archive").click()
    await page.get_by_role("button", name="Archive it").click()
    await _said(page, "The rate is archived.")


async def test_prices_of_several_currencies_stand_apart(page: Page, own: Stage) -> None:
    shop = Shop(own.account)
    plan = await shop.plan(fixed("49"), fixed("45", currency="eur"), name="Abroad")
    await sign_in(page, own)
    await page.goto(f"/catalogue/plans/{plan['id']}")
    await expect(page.get_by_role("group", name="EUR")).to_contain_text("€45.00 per month")
    await expect(page.get_by_role("group", name="USD")).to_contain_text("$49.00 per month")
    await expect(page.get_by_role("group", name="USD")).not_to_contain_text("€")


async def test_forms_of_features_and_prices_say_their_group(own: Stage, inside: Visitor) -> None:
    account, shop = own.account, Shop(own.account)
    feature = await account.post("/features", {"name": "Seats", "type": "boolean"})
    plan = await shop.plan(fixed("5"))
    kinds = (
        ("feature", f"/catalogue/features/{feature['id']}"),
        ("price", f"/catalogue/prices/{plan['prices'][0]['id']}"),
    )
    for kind, page in kinds:
        assert 'name="group_id"' not in (await inside.http.get(f"{page}/edit")).text
        body = {"name": "Models", "entity_type": kind, "lookup_key": f"models-{kind}"}
        group = await account.post("/groups", body)
        for chosen in (group["id"], ""):
            form = {"form_token": await inside.token(f"{page}/edit"), "name": "Seats", "group_id": chosen}
            assert (await inside.post(f"{page}/edit", form)).status_code == 303
            found = await account.get(f"/{kind}s/{page.rpartition('/')[2]}")
            assert (found.get("group_id") or "") == chosen
            assert (f'value="{group["id"]}" selected' in (await inside.http.get(f"{page}/edit")).text) is bool(chosen)
