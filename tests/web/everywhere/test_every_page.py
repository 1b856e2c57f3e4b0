"""What holds for every page: it answers, is small, quiet, accessible, and fits a phone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, expect

from farthing.web.administration.portal_settings import SAMPLE_POLICY
from farthing.web.rendering.answers import POLICY
from tests.web.browsing import serious_findings
from tests.web.everywhere.places import SUBSCRIPTION_ACTIONS, Place
from tests.web.visitor import Visitor

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
    "groups",
    "group",
    "group-new",
    "group-archive",
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
    "event-new",
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
    "setting-pdf",
    "setting-bonus",
    "setting-alerts",
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
_SCRIPT = re.compile(r"<script\b[^>]*>")
WIDTHS = (320, 390, 600, 700, 840, 1024, 1280)
_WIDER = """() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done({
    page: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    tables: [...document.querySelectorAll(".scroll > table")]
        .filter(table => table.parentElement.scrollWidth > table.parentElement.clientWidth)
        .map(table => table.textContent.replace(/\\s+/g, " ").trim().slice(0, 80))
}))))"""
"""What is wider than its place. What a page does about its new size it does before it is painted next."""
_TAG = re.compile(r"<[^>]*>")
_HIDDEN = re.compile(r"(?s)<(script|textarea|code|pre)\b.*?</\1>")


def place(everywhere: list[Place], name: str) -> Place:
    return next(place for place in everywhere if place.name == name)


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
    assert sorted(place.name for place in everywhere) == sorted(NAMES)


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
    assert [tag for tag in _SCRIPT.findall(await answer.text()) if " defer" not in tag] == [], "painting waits for it"
    assert [text for text in said if "status of 4" not in text] == []
    origin = "/".join(answer.url.split("/")[:3])
    assert [url for url in heard if not url.startswith((origin, "data:"))] == []
    assert await looking.locator("h1").count() == 1
    for width in WIDTHS:
        await looking.set_viewport_size({"width": width, "height": 800})
        wider = await looking.evaluate(_WIDER)
        assert wider["page"] <= 0, f"it scrolls sideways at {width} pixels"
        assert wider["tables"] == [], f"tables scroll sideways at {width} pixels"
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


UNREADABLE = {
    "a structure": re.compile(r'[{\[]\s*"\w+"\s*:'),
    "a time of a program": re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d"),
    "more digits than anybody reads": re.compile(r"\d\.\d{10,}"),
    "money without its sign": re.compile(r"\b\d[\d,]*\.\d\d (?:usd|eur|gbp|jpy)\b"),
    "a word of a program": re.compile(r"\bNone\b(?=</)|\bdatetime\.|\bDecimal\("),
}
"""What no page says to people, by what it is."""
FOR_PROGRAMS = frozenset({"api", "api-subject", "api-type", "event", "webhook-message", "report-refused"})
"""Pages about what programs send and get."""


@pytest.mark.parametrize("name", [name for name in NAMES if name not in FOR_PROGRAMS])
async def test_a_page_says_nothing_as_programs_do(looking: Page, everywhere: list[Place], name: str) -> None:
    answer = await looking.request.get(place(everywhere, name).path, headers={"accept": "text/html"})
    shown = _TAG.sub("<>", _HIDDEN.sub("", await answer.text()))
    assert {what: found.group() for what, shape in UNREADABLE.items() if (found := shape.search(shown))} == {}


KEYBOARD = (
    *("overview", "customers", "customer", "invoice", "subscription", "subscribe", "catalogue", "price-new"),
    *("settings", "setting-invoices", "company", "team", "keys", "webhooks", "portal", "checkout"),
)
"""A page of each kind, to be gone through without a mouse."""
MOST_STOPS = 400
_FOCUSED = """() => {
    const at = document.activeElement;
    const style = getComputedStyle(at);
    const box = at.getBoundingClientRect();
    const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0 && box.width > 0 && box.height > 0;
    at.dataset.stop ??= String(document.querySelectorAll("[data-stop]").length);
    return {name: at.tagName + " " + (at.textContent || at.getAttribute("name") || "").trim().slice(0, 40),
            stop: at === document.body ? "" : at.dataset.stop, seen};
}"""


@pytest.mark.parametrize("name", KEYBOARD)
async def test_a_page_is_gone_through_without_a_mouse(looking: Page, everywhere: list[Place], name: str) -> None:
    await looking.set_viewport_size({"width": 1280, "height": 900})
    await looking.goto(place(everywhere, name).path)
    reachable = await looking.evaluate(
        """[...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")].filter(one =>
            one.tabIndex >= 0 && !one.disabled && one.checkVisibility({visibilityProperty: true})
            && one.type !== "hidden" && !(one.type === "radio" && !one.checked)).length"""
    )
    stops: list[str] = []
    for number in range(MOST_STOPS):
        await looking.keyboard.press("Tab")
        at = await looking.evaluate(_FOCUSED)
        if stops and at["stop"] == stops[-1]:
            continue  # a field of a day has a stop for each of its parts
        if not at["stop"] or at["stop"] in stops:
            break
        stops.append(at["stop"])
        assert at["seen"], at
        if number == 0 and await looking.locator(".skip").count():
            assert at["name"].startswith("A Skip"), at
    # every control is come by once, and the way leads out of the page again: nothing holds the focus
    assert len(stops) >= reachable, (len(stops), reachable)


async def test_menus_and_dialogs_open_and_close_by_keys(looking: Page, everywhere: list[Place]) -> None:
    await looking.goto("/keys")
    menu = looking.locator("details.action > summary")
    await menu.focus()
    await looking.keyboard.press("Enter")
    await expect(looking.get_by_label("What it is for")).to_be_visible()
    await looking.keyboard.press("Tab")
    await expect(looking.get_by_label("What it is for")).to_be_focused()
    await looking.keyboard.press("Escape")
    await expect(looking.get_by_label("What it is for")).to_be_hidden()
    await expect(menu).to_be_focused()
    await looking.keyboard.press("/")
    dialog = looking.get_by_role("dialog", name="Search")
    await expect(dialog.get_by_role("searchbox")).to_be_focused()
    await looking.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await looking.goto("/customers")
    await looking.keyboard.press("Tab")
    await looking.keyboard.press("Enter")
    await looking.keyboard.press("Tab")
    assert await looking.evaluate("document.activeElement.closest('main') !== null")


async def test_every_subject_of_the_reference_is_small(outside: Visitor) -> None:
    index = await outside.http.get("/docs")
    sizes = {"/docs": len(index.content)}
    for subject in sorted(set(re.findall(r'href="(/docs/[^"#/]+)"', index.text))):
        answer = await outside.http.get(subject)
        sizes[subject] = len(answer.content)
        for body in re.findall(r'href="(/docs/types/[^"]+)">All fields', answer.text):
            sizes[body] = len((await outside.http.get(body)).content)
    assert len(sizes) > 40
    assert any(path.startswith("/docs/types/") for path in sizes)
    assert {path: size for path, size in sizes.items() if size >= LARGEST_BYTES} == {}


FOR_ANYBODY = ("/portal", "/password", "/sign-in", "/docs", "/checkout/")
"""Where pages are that ask nobody who he is, or know it from their address."""


async def test_every_page_of_the_dashboard_asks_who_is_there(outside: Visitor, everywhere: list[Place]) -> None:
    went = {}
    for place in everywhere:
        if place.status == 200 and not place.path.startswith(FOR_ANYBODY):
            answer = await outside.http.get(place.path)
            went[place.name] = answer.status_code, urlsplit(answer.headers.get("location", "")).path
    assert len(went) > 100
    assert set(went.values()) == {(303, "/sign-in")}, went
