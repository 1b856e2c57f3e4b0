"""What holds for every page: it answers, is small, quiet, accessible, and fits a phone."""

from __future__ import annotations

import pytest
from playwright.async_api import Page

from farthing.web.administration.portal_settings import SAMPLE_POLICY
from farthing.web.rendering.answers import POLICY
from tests.web.browsing import has_axe, serious_findings
from tests.web.places import SUBSCRIPTION_ACTIONS, Place

NAMES = (
    "overview",
    "search",
    "search-empty",
    "reports",
    "report-revenue",
    "report-tax",
    "report-ageing",
    "report-recurring",
    "report-compared",
    "report-refused",
    "invoices-columns",
    "customers",
    "customers-search",
    "customer",
    "wallet",
    "invoices",
    "invoices-overdue",
    "invoice",
    "e-invoice",
    "billing-details",
    "erasure",
    "line",
    "corrections",
    "credit-note-new",
    "credit-note",
    "invoice-new-customer",
    "invoice-new",
    "invoice-edit",
    "payments",
    "payment",
    "payment-new-customer",
    "payment-new",
    "unapplied",
    "customer-unapplied",
    "statement",
    "dunning",
    "subscriptions",
    "subscription",
    "subscribe",
    *(f"subscription-{action}" for action in SUBSCRIPTION_ACTIONS),
    "catalogue",
    "addons",
    "features",
    "coupons",
    "taxes",
    "catalogue-archived",
    "feature",
    "feature-new",
    "feature-edit",
    "feature-archive",
    "plan-new",
    "plan-edit",
    "plan-archive",
    "addon",
    "addon-new",
    "addon-edit",
    "addon-archive",
    "price",
    "price-new",
    "price-edit",
    "price-change",
    "price-end",
    "entitlement-new",
    "entitlement-edit",
    "entitlement-archive",
    "coupon",
    "coupon-new",
    "coupon-edit",
    "coupon-archive",
    "tax",
    "tax-new",
    "tax-edit",
    "tax-archive",
    "tax-apply",
    "tax-applied",
    "tax-applied-end",
    "customer-new",
    "customer-edit",
    "customer-archive",
    "exchange-rates",
    "plan",
    "events",
    "event",
    "api",
    "api-subject",
    "api-type",
    "alerts",
    "keys",
    "emails",
    "email-preview",
    "setting-email",
    "workflows",
    "webhooks",
    "webhook-message",
    "settings",
    "setting-invoices",
    "setting-portal",
    "setting-pdf",
    "activity",
    "activity-entry",
    "setting-e-invoices",
    "company",
    "team",
    "account",
    "forgotten",
    "set-password",
    "clock",
    "duties",
    "tasks",
    "task",
    "portal",
    "portal-invoice",
    "portal-methods",
    "portal-usage",
    "portal-usage-german",
    "portal-japanese",
    "portal-alerts",
    "portal-details",
    "portal-plan",
    "portal-cancel",
    "portal-settings",
    "portal-sample",
    "checkouts",
    "checkout",
    "checkout-german",
    "checkout-test-payment",
    "checkout-unknown",
    "portal-expired",
    "not-found",
)
LARGEST_BYTES = 100_000


def place(everywhere: list[Place], name: str) -> Place:
    return next(one for one in everywhere if one.name == name)


def test_no_page_is_forgotten(everywhere: list[Place]) -> None:
    assert sorted(one.name for one in everywhere) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
async def test_a_page_answers_and_says_nothing_to_the_console(
    looking: Page, everywhere: list[Place], name: str
) -> None:
    wanted = place(everywhere, name)
    said: list[str] = []
    heard: list[str] = []
    page = await looking.context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: heard.append(request.url))
    answer = await page.goto(wanted.path)
    assert answer is not None
    await page.wait_for_load_state("load")
    assert answer.status == wanted.status
    policies = {
        # the mail, and the sample, are pages of their own
        "email-preview": f"{POLICY}; frame-src 'self'",
        "portal-settings": f"{POLICY}; frame-src 'self'",
        "portal-sample": SAMPLE_POLICY,
    }
    assert answer.headers["content-security-policy"] == policies.get(name, POLICY)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert len(await answer.body()) < LARGEST_BYTES
    assert [text for text in said if "status of 4" not in text] == []
    origin = "/".join(answer.url.split("/")[:3])
    assert [url for url in heard if not url.startswith((origin, "data:"))] == []
    assert await page.locator("h1").count() == 1
    await page.close()


@pytest.mark.parametrize("name", NAMES)
async def test_a_page_never_scrolls_sideways(looking: Page, everywhere: list[Place], name: str) -> None:
    await looking.goto(place(everywhere, name).path)
    for width in (320, 390, 600, 700, 840, 1024, 1280):
        await looking.set_viewport_size({"width": width, "height": 800})
        beyond = await looking.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert beyond <= 0, width


@pytest.mark.skipif(not has_axe(), reason="axe-playwright-python is not installed")
@pytest.mark.parametrize("name", NAMES)
async def test_axe_finds_nothing_serious(looking: Page, everywhere: list[Place], name: str) -> None:
    await looking.goto(place(everywhere, name).path)
    assert await serious_findings(looking) == []


@pytest.mark.parametrize("name", ["overview", "customer", "invoice", "report-revenue", "report-ageing"])
async def test_every_picture_has_a_name_values_to_read_and_a_table(
    looking: Page, everywhere: list[Place], name: str
) -> None:
    await looking.goto(place(everywhere, name).path)
    for chart in await looking.locator("svg.chart").all():
        assert await chart.get_attribute("aria-label")
        section = chart.locator("xpath=ancestor::*[contains(@class, 'block')][1]")
        assert await section.locator("table").count() >= 1
    styled = await looking.evaluate("document.querySelectorAll('[style], style, script:not([src])').length")
    assert styled == 0


async def test_every_page_of_the_dashboard_asks_who_is_there(page: Page, everywhere: list[Place]) -> None:
    for one in everywhere:
        if one.status == 200 and not one.path.startswith(("/portal", "/password", "/docs", "/checkout/")):
            await page.goto(one.path)
            assert "/sign-in" in page.url, one.name
