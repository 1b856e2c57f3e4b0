"""What holds for every page: it answers, is small, quiet, accessible, and fits a phone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.async_api import Page

from farthing.web.administration.portal_settings import SAMPLE_POLICY
from farthing.web.rendering.answers import POLICY
from tests.web.browsing import serious_findings
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
    "integrations",
    "integration-new",
    "integration-edit",
    "integration-disconnect",
    "usage-records",
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


@contextmanager
def watched(page: Page) -> Iterator[tuple[list[str], list[str]]]:
    """What the page says to its console, and the addresses that it asks for."""
    said: list[str] = []
    heard: list[str] = []
    listeners: dict[str, Callable[[Any], None]] = {
        "console": lambda message: said.append(message.text),
        "pageerror": lambda error: said.append(str(error)),
        "request": lambda request: heard.append(request.url),
    }
    for event, listener in listeners.items():
        page.on(event, listener)  # type: ignore[call-overload]
    yield said, heard
    for event, listener in listeners.items():
        page.remove_listener(event, listener)


def test_no_page_is_forgotten(everywhere: list[Place]) -> None:
    assert sorted(one.name for one in everywhere) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
async def test_a_page_is_small_quiet_accessible_and_fits_a_phone(
    looking: Page, everywhere: list[Place], name: str
) -> None:
    wanted = place(everywhere, name)
    with watched(looking) as (said, heard):
        answer = await looking.goto(wanted.path)
        await looking.wait_for_load_state("load")
    assert answer is not None
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
    assert await looking.locator("h1").count() == 1
    for width in (320, 390, 600, 700, 840, 1024, 1280):
        await looking.set_viewport_size({"width": width, "height": 800})
        beyond = await looking.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert beyond <= 0, f"it scrolls sideways at {width} pixels"
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
