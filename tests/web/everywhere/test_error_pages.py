"""Errors as a person meets them: in words that help, with a way on, and nothing that was typed is lost."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from playwright.async_api import Browser, Page, expect
from psycopg import sql
from structlog.testing import capture_logs

from farthing.storage.postgres import Database
from farthing.wiring import wire
from tests.account import Account
from tests.conftest import running, settings_for
from tests.web.browsing import serious_findings, sign_in
from tests.web.stage import Stage
from tests.web.visitor import Visitor

_TAG = re.compile(r"<[^>]*>")


@pytest.fixture
async def limited(new_database: Callable[..., str]) -> AsyncIterator[Stage]:
    """A deployment of its own, of which a session may ask thirty times, and then once a minute."""
    settings = settings_for(new_database(), rate_limit_per_second=1 / 60, rate_limit_burst=30)
    database = Database(settings.database_url or "", wire())
    async with running(settings, database) as url, Account(url, settings, database) as account:
        yield await Stage(account).admit()
    await database.close()


@pytest.fixture
async def person(browser: Browser, limited: Stage) -> AsyncIterator[Page]:
    """Its owner in a browser."""
    context = await browser.new_context(base_url=limited.account.base_url)
    page = await context.new_page()
    await sign_in(page, limited)
    yield page
    await context.close()


def _entered_by_the_owner(url: str, name: str) -> psycopg.Connection:
    """A connection to a database of the same server that may do anything."""
    sockets = parse_qs(urlsplit(url).query)["host"][0]
    return psycopg.connect(f"postgresql://postgres@/{name}?host={sockets}", autocommit=True)


@contextmanager
def _out_of_reach(url: str) -> Iterator[None]:
    """The database of a deployment cannot be entered meanwhile, and whoever was in it is put out."""
    name = urlsplit(url).path.lstrip("/")
    with _entered_by_the_owner(url, "postgres") as connection:
        allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format
        connection.execute(allow(sql.Identifier(name), sql.Literal(False)))
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        yield
        connection.execute(allow(sql.Identifier(name), sql.Literal(True)))


async def test_what_was_typed_outlives_a_database_that_cannot_be_reached(person: Page, limited: Stage) -> None:
    await person.goto("/customers/new")
    await person.get_by_label("Name", exact=True).fill("Łódź & Söhne")
    await person.get_by_label("Country").select_option("PL")
    customer = await limited.account.post("/customers", {"external_id": "acme", "name": "Acme"})
    portal = f"/portal/{(await limited.account.get('/customers/portal/acme'))['token']}"
    with _out_of_reach(limited.account.settings.database_url or ""):
        await person.get_by_role("button", name="Create the customer").last.click()
        await expect(person.get_by_role("heading", name="Not available just now")).to_be_visible()
        await expect(person.locator("main")).to_contain_text("Nothing was changed. What you typed is kept")
        assert await serious_findings(person) == []
        await person.goto(f"{portal}?lang=de")
        await expect(person.get_by_role("heading", name="Gerade nicht erreichbar")).to_be_visible()
        await expect(person.get_by_role("link", name="Noch einmal versuchen")).to_be_visible()
        await person.goto(f"/customers/{customer['id']}")
        again = person.get_by_role("link", name="Try again")
        await expect(again).to_have_attribute("href", f"/customers/{customer['id']}")
    await again.click()
    await expect(person.get_by_role("heading", name="Acme", exact=True)).to_be_visible()
    await person.goto("/customers/new")
    await expect(person.get_by_label("Name", exact=True)).to_have_value("Łódź & Söhne")
    await expect(person.get_by_label("Country")).to_have_value("PL")
    await person.get_by_role("button", name="Create the customer").last.click()
    await expect(person.get_by_text("Łódź & Söhne is a customer now.")).to_be_visible()


async def test_too_many_requests_say_how_long_to_wait_and_keep_what_was_typed(person: Page, limited: Stage) -> None:
    await person.goto("/customers/new")
    await person.get_by_label("Name", exact=True).fill("Tern Airways")
    while (await person.request.get("/customers/new")).status == 200:
        pass
    await person.get_by_role("button", name="Create the customer").last.click()
    await expect(person.get_by_role("heading", name="Too often in a short time")).to_be_visible()
    await expect(person.locator("main")).to_contain_text(re.compile(r"Please wait \d+ seconds, and try again"))
    await expect(person.locator("main")).to_contain_text("What you typed is kept")
    await expect(person.get_by_role("link", name="Back to the form")).to_have_attribute("href", "/customers/new")
    assert await serious_findings(person) == []


async def test_a_fault_of_ours_is_called_that_and_has_a_number(limited: Stage, plain_logs: None) -> None:
    visitor = await Visitor(limited.account).sign_in(limited)
    url = limited.account.settings.database_url or ""
    with _entered_by_the_owner(url, urlsplit(url).path.lstrip("/")) as connection:
        connection.execute("ALTER TABLE coupons RENAME TO coupons_elsewhere")
    answer = await visitor.http.get("/catalogue/coupons", headers={"accept": "text/html"})
    said = _TAG.sub("", answer.text)
    assert answer.status_code == 500
    assert "Something failed on our side" in said
    assert f"quote {answer.headers['x-request-id']}" in said
    assert 'href="/catalogue/coupons">Try again' in answer.text
    assert "coupons_elsewhere" not in said
    await visitor.http.aclose()


async def test_a_fault_in_the_later_part_of_a_page_counts_as_one(limited: Stage, plain_logs: None) -> None:
    visitor = await Visitor(limited.account).sign_in(limited)
    counted = 'farthing_http_requests_total{method="GET",route="/",status="500"} '

    async def count() -> float:
        lines = (await visitor.http.get("/metrics")).text.splitlines()
        return sum(float(line.removeprefix(counted)) for line in lines if line.startswith(counted))

    before = await count()
    url = limited.account.settings.database_url or ""
    with _entered_by_the_owner(url, urlsplit(url).path.lstrip("/")) as connection:
        connection.execute("ALTER TABLE features RENAME TO features_elsewhere")
    with capture_logs() as written:
        answer = await visitor.http.get("/", headers={"accept": "text/html"})
    request_id = answer.headers["x-request-id"]
    assert answer.status_code == 200, "it has left before the fault"
    assert f"quote {request_id}" in _TAG.sub("", answer.text)
    assert await count() == before + 1
    assert [(entry["code"], entry["route"]) for entry in written if entry["event"] == "request.failed"] == [
        ("database_error", "/")
    ]
    await visitor.http.aclose()


async def test_what_a_role_does_not_allow_is_said_with_a_way_back(limited: Stage) -> None:
    await limited.admit(["all_reader"])
    visitor = await Visitor(limited.account).sign_in(limited)
    for answer in (
        await visitor.http.get("/customers/new", headers={"accept": "text/html"}),
        await visitor.post("/customers/new", {"form_token": await visitor.token("/account"), "name": "Acme"}),
    ):
        said = _TAG.sub("", answer.text)
        assert answer.status_code == 403
        assert "This is not open to you" in said
        assert "Your role does not allow this" in said
        assert 'href="/">Back to the overview' in answer.text
    assert "Nothing was changed." in said
    unknown = await visitor.http.get("/invoices/inv_unknown", headers={"accept": "text/html"})
    assert unknown.status_code == 404
    assert 'href="/search">Search for it' in unknown.text
    await visitor.http.aclose()
