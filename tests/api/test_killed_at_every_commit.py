"""kill -9 at every commit of requests that commit in the middle: a repeat with the same key finishes what was left.

The repeat is answered as the undisturbed request would have been, and every table has grown by what that adds.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql
from sqlalchemy.engine import make_url

from tests.api.killable import KEY, Relay, Servers, relay_folder, servers

Request = tuple[str, Any]
"""A path under /v1 and a body."""

# which keys were used is not the books, and the first invoice of a month alone begins a sequence
_NOT_BOOKS = {"idempotent_responses", "secrets", "alembic_version", "invoice_sequences"}
_UNLIKE = re.compile(
    r"[0-9A-HJKMNP-TV-Z]{26}|\d{4}-\d\d-\d\dT[0-9:.]+Z|[a-z_]+-[0-9a-f]{16}|[0-9a-f]{32}|INV-[0-9A-Z-]+|\b\d{10}\b"
    r"|(?<=sequence\":)\d+|127\.0\.0\.1:\d+"
)


class Deployment:
    """A database with a server that lives, servers that die, and a company's books in it."""

    def __init__(self, group: Servers, sockets: str, relay: Relay, http: httpx.AsyncClient) -> None:
        self.group, self.relay, self.http = group, relay, http
        self._admin = f"postgresql://postgres@/{make_url(group.url).database}?host={sockets}"

    async def post(self, path: str, body: Any = None) -> Any:
        answer = await self.http.post(path, json={} if body is None else body)
        assert answer.status_code < 300, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def counts(self) -> dict[str, int]:
        """How many rows each table has, past row-level security."""
        with psycopg.connect(self._admin, autocommit=True) as connection:
            tables = [
                name
                for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
                if name not in _NOT_BOOKS and not name.startswith("procrastinate")
            ]
            count = sql.SQL("SELECT count(*) FROM {}")
            found = {name: connection.execute(count.format(sql.Identifier(name))).fetchone() for name in tables}
        return {name: row[0] for name, row in found.items() if row is not None}

    async def send(self, request: Request, key: str, port: int | None = None) -> httpx.Response:
        path, body = request
        headers = {"Idempotency-Key": key}
        if port is None:
            return await self.http.post(path, json=body, headers=headers)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/v1", headers={"x-api-key": KEY}) as http:
            return await http.post(path, json=body, headers=headers, timeout=60)

    async def repeat(self, request: Request, key: str) -> httpx.Response:
        """The answer of the living server, once PostgreSQL has noticed that the dead one's connections are gone."""
        deadline = time.monotonic() + 30
        while True:
            answer = await self.send(request, key)
            if answer.status_code != 409 or answer.json()["code"] != "version_conflict" or time.monotonic() > deadline:
                return answer
            await asyncio.sleep(0.02)

    async def connect(self) -> None:
        await self.post("/connections", {"name": "stripe", "provider_type": "stripe", "metadata": {"mode": "test"}})

    async def customer(self, card: str | None = "pm_test_success") -> str:
        name = uuid.uuid4().hex
        made = await self.post("/customers", {"external_id": name, "name": "Acme"})
        if card is not None:
            asked = {"provider": "stripe", "set_default": True}
            setup = await self.post(f"/payments/customers/{made['id']}/setup/intent", asked)
            await self.post(f"/test/gateway/sessions/{setup['checkout_session_id']}/succeed", {"method": card})
        return str(made["id"])

    async def plan(self, amount: str) -> str:
        made = await self.post("/plans", {"name": "Pro", "lookup_key": uuid.uuid4().hex})
        price = {
            "amount": amount,
            "currency": "usd",
            "entity_type": "PLAN",
            "entity_id": made["id"],
            "type": "FIXED",
            "price_unit_type": "FIAT",
            "billing_period": "MONTHLY",
            "billing_period_count": 1,
            "billing_model": "FLAT_FEE",
            "billing_cadence": "RECURRING",
            "invoice_cadence": "ADVANCE",
        }
        await self.post("/prices", price)
        return str(made["id"])

    async def subscription(self, **more: Any) -> Any:
        return await self.post("/subscriptions", await self.opening(**more))

    async def opening(self, card: str | None = "pm_test_success", **more: Any) -> dict[str, Any]:
        return {
            "customer_id": await self.customer(card),
            "plan_id": await self.plan("10"),
            "currency": "usd",
            "billing_period": "MONTHLY",
            "collection_method": "charge_automatically",
            "payment_behavior": "default_active",
            **more,
        }

    async def invoice(self, card: str | None = "pm_test_success") -> str:
        line = {"display_name": "Work", "quantity": "1", "amount": "100"}
        figures = {"amount_due": "100", "total": "100", "subtotal": "100"}
        body = {"customer_id": await self.customer(card), "currency": "usd", "line_items": [line], **figures}
        return str((await self.post("/invoices", body))["id"])


@pytest.fixture(scope="module")
async def deployment(new_database: Callable[..., str], sockets: str) -> AsyncIterator[Deployment]:
    folder = relay_folder()
    async with servers(new_database()) as group, Relay(folder, sockets).open() as relay:
        _, port = await group.start(sockets)
        client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/v1", headers={"x-api-key": KEY}, timeout=60)
        async with client as http:
            made = Deployment(group, sockets, relay, http)
            await made.connect()
            yield made
    shutil.rmtree(folder)


def paid(invoice: str, **how: Any) -> Request:
    body = {"destination_type": "INVOICE", "destination_id": invoice, "amount": "100", "currency": "usd", **how}
    return "/payments", {"process_payment": True, **body}


CARD = {"payment_method_type": "CARD", "payment_gateway": "stripe"}
LINK = {"payment_method_type": "PAYMENT_LINK", "payment_gateway": "stripe"}
CASH = {"payment_method_type": "OFFLINE"}


async def a_subscription(deployment: Deployment) -> Request:
    return "/subscriptions", await deployment.opening()


async def a_subscription_that_must_be_paid_and_is_not(deployment: Deployment) -> Request:
    terms = {"payment_behavior": "error_if_incomplete"}
    return "/subscriptions", await deployment.opening("pm_test_declined", **terms)


async def an_activation(deployment: Deployment) -> Request:
    draft = await deployment.subscription(subscription_status="draft")
    return f"/subscriptions/{draft['id']}/activate", {"start_date": draft["start_date"]}


async def a_plan_change_in_place(deployment: Deployment) -> Request:
    subscription = await deployment.subscription()
    wanted = {"target_plan_id": await deployment.plan("50"), "proration_behavior": "create_prorations"}
    return f"/subscriptions/{subscription['id']}/change/v2/execute", wanted


async def a_plan_change_by_a_new_subscription(deployment: Deployment) -> Request:
    subscription = await deployment.subscription()
    wanted = {
        "target_plan_id": await deployment.plan("50"),
        "proration_behavior": "create_prorations",
        "billing_period": "MONTHLY",
        "billing_cadence": "RECURRING",
        "billing_cycle": "anniversary",
    }
    return f"/subscriptions/{subscription['id']}/change/execute", wanted


async def more_seats(deployment: Deployment) -> Request:
    subscription = await deployment.subscription()
    item = subscription["line_items"][0]
    wanted = {"line_items": [{"id": item["id"], "quantity": "3"}]}
    body = {"type": "quantity_change", "quantity_change_params": wanted}
    return f"/subscriptions/{subscription['id']}/modify/execute", body


async def a_card_payment(deployment: Deployment) -> Request:
    return paid(await deployment.invoice(), **CARD)


async def a_card_payment_that_is_declined(deployment: Deployment) -> Request:
    return paid(await deployment.invoice("pm_test_declined"), **CARD)


async def a_payment_link(deployment: Deployment) -> Request:
    return paid(await deployment.invoice(), **LINK)


async def an_offline_payment(deployment: Deployment) -> Request:
    return paid(await deployment.invoice(None), **CASH)


async def a_stored_payment_that_is_processed(deployment: Deployment) -> Request:
    path, body = paid(await deployment.invoice(), **CARD)
    payment = await deployment.post(path, {**body, "process_payment": False})
    return f"/payments/{payment['id']}/process", {}


async def an_attempt_to_collect(deployment: Deployment) -> Request:
    return f"/invoices/{await deployment.invoice()}/payment/attempt", {}


async def a_page_to_save_a_card(deployment: Deployment) -> Request:
    return f"/payments/customers/{await deployment.customer(None)}/setup/intent", {"provider": "stripe"}


async def a_copy_at_a_provider(deployment: Deployment) -> Request:
    return "/integrations/sync", {"entity_type": "invoice", "entity_id": await deployment.invoice(None)}


async def an_event_without_an_id(deployment: Deployment) -> Request:
    return "/events", {"event_name": "call", "external_customer_id": uuid.uuid4().hex}


async def a_price_synchronisation(deployment: Deployment) -> Request:
    subscription = await deployment.subscription()
    plan = subscription["plan_id"]
    meter = {"name": "m", "event_name": "e", "aggregation": {"type": "COUNT"}, "reset_usage": "BILLING_PERIOD"}
    price = {
        "amount": "1",
        "currency": "usd",
        "entity_type": "PLAN",
        "entity_id": plan,
        "type": "USAGE",
        "price_unit_type": "FIAT",
        "billing_period": "MONTHLY",
        "billing_period_count": 1,
        "billing_model": "FLAT_FEE",
        "billing_cadence": "RECURRING",
        "invoice_cadence": "ARREAR",
        "meter_id": (await deployment.post("/meters", meter))["id"],
    }
    await deployment.post("/prices", price)
    return f"/plans/{plan}/sync/subscriptions", {}


IN_EVERY_RUN = [a_subscription, a_card_payment, an_event_without_an_id]
"""One of each way to go on; the walk over all kinds is asked for with FARTHING_TEST_EVERY_COMMIT=1."""
EVERY_KIND: list[Callable[[Deployment], Awaitable[Request]]] = [
    a_subscription,
    a_subscription_that_must_be_paid_and_is_not,
    an_activation,
    a_plan_change_in_place,
    a_plan_change_by_a_new_subscription,
    more_seats,
    a_card_payment,
    a_card_payment_that_is_declined,
    a_payment_link,
    an_offline_payment,
    a_stored_payment_that_is_processed,
    an_attempt_to_collect,
    a_page_to_save_a_card,
    a_copy_at_a_provider,
    an_event_without_an_id,
    a_price_synchronisation,
]


KINDS = EVERY_KIND if os.environ.get("FARTHING_TEST_EVERY_COMMIT") else IN_EVERY_RUN


def alike(answer: httpx.Response) -> tuple[int, str]:
    """An answer without what differs between any two requests: ids, times, keys and numbers."""
    return answer.status_code, _UNLIKE.sub("*", answer.text)


def first_difference(answer: httpx.Response, expected: httpx.Response) -> tuple[str, str]:
    """Where two answers begin to differ, for the message of a failure."""
    (_, given), (_, wanted) = alike(answer), alike(expected)
    pairs = enumerate(zip(given, wanted, strict=False))
    at = next((index for index, (left, right) in pairs if left != right), 0)
    return given[max(at - 80, 0) : at + 80], wanted[max(at - 80, 0) : at + 80]


def grown(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}


@pytest.mark.parametrize("prepare", KINDS, ids=lambda prepare: prepare.__name__.replace("_", " "))
async def test_a_repeat_after_a_kill_finishes_and_answers_the_same(
    deployment: Deployment, prepare: Callable[[Deployment], Awaitable[Request]]
) -> None:
    relay = deployment.relay
    victim, port = await deployment.group.start(str(relay.folder))
    request, before = await prepare(deployment), deployment.counts()
    relay.arm(victim, 0)
    undisturbed = await deployment.send(request, uuid.uuid4().hex, port)
    assert undisturbed.status_code < 300 or "that" in prepare.__name__, undisturbed.text
    books, commits = grown(before, deployment.counts()), relay.commits
    assert commits >= 1
    for number in range(1, commits + 1):
        request, key = await prepare(deployment), uuid.uuid4().hex
        before = deployment.counts()
        relay.arm(victim, number)
        with pytest.raises(httpx.TransportError):
            await deployment.send(request, key, port)
        await asyncio.wait_for(relay.killed.wait(), 10)
        answer = await deployment.repeat(request, key)
        where = f"killed after commit {number} of {commits}"
        assert alike(answer) == alike(undisturbed), f"{where}: {first_difference(answer, undisturbed)}"
        assert grown(before, deployment.counts()) == books, where
        again = await deployment.send(request, key)
        assert (again.status_code, again.content) == (answer.status_code, answer.content), where
        assert grown(before, deployment.counts()) == books, where
        if number < commits:
            victim, port = await deployment.group.start(str(relay.folder))
