"""Nothing that somebody types into an address or a form makes a page fail."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from farthing.settings import Settings
from farthing.storage.postgres import Database
from tests.account import Account
from tests.application import routed_application
from tests.invoices.desk import Desk, usage
from tests.web.everywhere.every_form import FORMS
from tests.web.stage import Stage
from tests.web.visitor import Visitor

HOSTILE = (
    "'; DROP TABLE invoices; --",
    "%",
    "\\",
    "a" * 3000,
    "99999999999999999999",
    "NaN",
    "1e309",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "\U0001f4a9\u202e",
    "[" * 3000,
)
PARAMETERS = (
    *("q", "sort", "order", "page", "archived", "standing", "payment", "currency", "customer"),
    *("number", "state", "plan", "name", "source", "from", "until", "id", "scope", "next"),
)
READS = sorted(
    {
        route.path_format
        for route in routed_application().routes
        for handler in getattr(route, "route_handlers", ())
        if "GET" in handler.http_methods
        and not route.path_format.startswith(("/v1", "/portal", "/health", "/schema", "/openapi", "/metrics"))
    }
)


@pytest.fixture(scope="module")
async def reader(base_url: str, settings: Settings, database: Database) -> AsyncIterator[Visitor]:
    """Somebody signed in who only reads, and so may read for all tests."""
    async with Account(base_url, settings, database) as account:
        visitor = await Visitor(account).sign_in(await Stage(account).admit())
        yield visitor
        await visitor.http.aclose()


@pytest.mark.parametrize("path", READS)
async def test_no_address_makes_a_page_fail(reader: Visitor, path: str) -> None:
    for hostile in HOSTILE:
        target = re.sub(r"\{[^}]+\}", quote(hostile[:200], safe=""), path)
        answer = await reader.http.get(target, params=dict.fromkeys(PARAMETERS, hostile[:1000]))
        assert answer.status_code < 500, (target, answer.text)


@pytest.mark.parametrize(
    "path",
    [path for path, _ in FORMS if path not in {"/sign-out", "/sign-in", "/sign-up", "/account/sign-out-everywhere"}],
)
async def test_no_form_makes_a_page_fail(own: Stage, inside: Visitor, path: str) -> None:
    invoice = await Desk(own.account).invoice([usage("60")])
    token = await inside.token()
    names = (
        *("amount", "note", "once", "name", "type", "action", "step", "at", "environment"),
        *("prefix", "actions", "sections", "suffix_length", "rules", "tax_id", "address_city"),
    )
    keys = {"{key}": "invoice_config", "{key:str}": "email_config"}
    for hostile in HOSTILE:
        target = path.replace("{invoice_id}", invoice["id"]).replace("{customer_id}", invoice["customer_id"])
        for mark, key in keys.items():
            target = target.replace(mark, key)
        target = re.sub(r"\{[^}]+\}", quote(hostile[:200], safe=""), target)
        answer = await inside.post(target, {**dict.fromkeys(names, hostile), "form_token": token})
        assert answer.status_code < 500, (target, hostile, answer.text)
    assert (await inside.http.get("/clock")).status_code == 200
