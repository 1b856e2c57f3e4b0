"""kill -9 after Stripe has moved the money and before anybody has written that down."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from farthing.core.clock import SystemClock
from farthing.credits.ledger.tables import Wallet
from farthing.doctor.examination import audit
from farthing.invoices.ports import InvoicePorts
from farthing.invoices.tables import Invoice
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.processing.reconciliation import reconcile
from farthing.payments.tables import Payment
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope
from farthing.wiring import wire
from tests.conftest import free_port, settings_for
from tests.payments.stripe.documented_stripe import StripeBooks, event_of, serving_stripe, signature_of
from tests.payments.stripe.stripe_till import WEBHOOK_SECRET
from tests.processes import ForkedProcess, serving
from tests.waiting import PATIENCE_SECONDS, until

KEY = "sk_crash_test_key_0123456789"
STRIPE_KEY = "sk_test_crash"


def _start(database_url: str, stripe_url: str, port: int) -> ForkedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FARTHING_")}
    environment |= {
        "FARTHING_DATABASE_URL": database_url,
        "FARTHING_SECRET_KEY": "a master key for tests only",
        "FARTHING_BOOTSTRAP_API_KEY": KEY,
        "FARTHING_PROVIDER_URLS": json.dumps({"stripe": stripe_url}),
        "FARTHING_PORT": str(port),
        "FARTHING_WORKER": "false",
        "FARTHING_LOG_LEVEL": "error",
        "FARTHING_ACCESS_LOG": "false",
    }
    return serving(environment)


def _client(port: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}/v1", headers={"x-api-key": KEY}, timeout=2 * PATIENCE_SECONDS
    )


@pytest.mark.slow
@pytest.mark.parametrize("keys_forgotten", [False, True], ids=["key still known", "key long forgotten"])
async def test_the_repeat_finds_the_charge_that_was_made(
    new_database: Callable[..., str], keys_forgotten: bool
) -> None:
    url, port = new_database(), free_port()
    async with serving_stripe() as stripe:
        books = stripe.books(STRIPE_KEY)
        process = await asyncio.to_thread(_start, url, stripe.url, port)
        async with _client(port) as client:
            secrets = {"secret_key": STRIPE_KEY}
            connection = {"name": "Stripe", "provider_type": "stripe", "encrypted_secret_data": secrets}
            (await client.post("/connections", json=connection)).raise_for_status()
            customer = (await client.post("/customers", json={"external_id": "c", "name": "C"})).raise_for_status()
            figures = {"amount_due": "100", "total": "100", "subtotal": "100", "currency": "usd"}
            bill = await client.post("/invoices", json={"customer_id": customer.json()["id"], **figures})
            invoice_id = bill.raise_for_status().json()["id"]
            order = {
                "destination_type": "INVOICE",
                "destination_id": invoice_id,
                "payment_method_type": "CARD",
                "payment_method_id": books.save_card(),
                "payment_gateway": "stripe",
                "amount": "100",
                "currency": "usd",
                "process_payment": True,
            }
            books.faults.append(("/payment_intents", "held"))
            once = {"Idempotency-Key": "once"}
            asking = asyncio.create_task(client.post("/payments", json=order, headers=once))
            await books.holds.wait()
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            with suppress(httpx.TransportError):
                await asking
        if keys_forgotten:
            books.answers.clear()
        port = free_port()
        process = await asyncio.to_thread(_start, url, stripe.url, port)
        try:
            async with _client(port) as client:
                again: list[httpx.Response] = []

                async def is_answered() -> bool:
                    # the lock of the killed request is let go once the database has noticed
                    again.append(await client.post("/payments", json=order, headers=once))
                    return again[-1].status_code != 409

                await until(is_answered)
                assert again[-1].status_code == 201, again[-1].text
                assert again[-1].json()["payment_status"] == "SUCCEEDED"
                invoice = (await client.get(f"/invoices/{invoice_id}")).json()
                assert (invoice["payment_status"], invoice["amount_paid"]) == ("SUCCEEDED", "100")
        finally:
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(process.wait)
        assert len(books.of("payment_intent")) == 1


@dataclass
class Victim:
    """A server that is killed while Stripe has done what it was asked for, and started again; `books` is Stripe's."""

    database_url: str
    stripe_url: str
    books: StripeBooks
    process: ForkedProcess | None = None
    port: int = 0

    async def rise(self) -> None:
        self.port = free_port()
        self.process = await asyncio.to_thread(_start, self.database_url, self.stripe_url, self.port)

    async def dies_during(self, path: str, request: str, body: Any, key: str = "", *, passing: int = 0) -> None:
        """Kill it while Stripe holds its answer to a request to `path`, after `passing` others, and start another."""
        self.books.holds.clear()
        self.books.faults += [(path, "none")] * passing + [(path, "held")]
        asking = asyncio.create_task(self.ask(request, body, key))
        await asyncio.wait_for(self.books.holds.wait(), PATIENCE_SECONDS)
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        await asyncio.to_thread(self.process.wait)
        with suppress(httpx.TransportError):
            await asking
        await self.rise()

    async def ask(self, path: str, body: Any, key: str = "") -> httpx.Response:
        """A POST, or what Stripe sends where the body is bytes."""
        async with _client(self.port) as client:
            if isinstance(body, bytes):
                signed = {"stripe-signature": signature_of(body, WEBHOOK_SECRET)}
                return await client.post(path, content=body, headers=signed)
            return await client.post(path, json=body, headers={"Idempotency-Key": key} if key else {})

    async def done(self, path: str, body: Any, key: str = "") -> Any:
        """The answer, once the lock of a killed request is let go."""
        answers: list[httpx.Response] = []

        async def is_answered() -> bool:
            answers.append(await self.ask(path, body, key))
            return answers[-1].status_code != 409

        await until(is_answered)
        return answers[-1].raise_for_status().json()

    async def read(self, path: str) -> Any:
        async with _client(self.port) as client:
            return (await client.get(path)).raise_for_status().json()


@pytest.mark.slow
async def test_killed_at_every_step_of_a_crossed_story_no_money_moves_twice(new_database: Callable[..., str]) -> None:
    """100 by card; 10 go back at Stripe itself, 20 by a note, and the rest by a void: 100 came, and 100 went."""
    async with serving_stripe() as stripe:
        victim = Victim(new_database(), stripe.url, books := stripe.books(STRIPE_KEY))
        await victim.rise()
        try:
            keys = {"secret_key": STRIPE_KEY, "webhook_secret": WEBHOOK_SECRET}
            connection = {"name": "Stripe", "provider_type": "stripe", "encrypted_secret_data": keys}
            made = await victim.done("/connections", connection)
            customer = (await victim.done("/customers", {"external_id": "c", "name": "C"}))["id"]
            line = {"display_name": "Work", "amount": "100", "quantity": "1", "price_type": "FIXED"}
            bill = {"customer_id": customer, "currency": "usd", "line_items": [line]}
            invoice = await victim.done("/invoices", bill | dict.fromkeys(("amount_due", "total", "subtotal"), "100"))
            order = {
                "destination_type": "INVOICE",
                "destination_id": invoice["id"],
                "payment_method_type": "CARD",
                "payment_method_id": books.save_card(),
                "payment_gateway": "stripe",
                "amount": "100",
                "currency": "usd",
                "process_payment": True,
            }
            await victim.dies_during("/payment_intents", "/payments", order, "pay")
            payment = await victim.done("/payments", order, "pay")
            (intent,) = books.of("payment_intent")
            back = {"payment_intent": intent["id"], "amount": 1000, "currency": "usd", "metadata": {}}
            books.add("refund", "re", status="succeeded", **back)
            told = event_of("charge.refunded", {"id": "ch_1", "payment_intent": intent["id"]})
            hook = f"/webhooks/stripe/{made['tenant_id']}/{made['environment_id']}"
            await victim.dies_during("/payment_intents", hook, told)
            for _ in range(2):
                await victim.done(hook, told)
            assert (await victim.read(f"/payments/{payment['id']}"))["payment_status"] == "PARTIALLY_REFUNDED"
            credited = {"invoice_line_item_id": invoice["line_items"][0]["id"], "amount": "20"}
            note = {"invoice_id": invoice["id"], "reason": "BILLING_ERROR", "line_items": [credited],
                    "process_credit_note": True, "refund_target": "BACK_TO_SOURCE"}  # fmt: skip
            await victim.dies_during("/refunds", "/creditnotes", note, "note", passing=1)
            await victim.done("/creditnotes", note, "note")
            void = (f"/invoices/{invoice['id']}/void", {"refund_target": "BACK_TO_SOURCE"}, "void")
            for _ in range(2):
                await victim.done(*void)
        finally:
            assert victim.process is not None
            victim.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(victim.process.wait)
        settings = settings_for(victim.database_url, provider_urls=json.dumps({"stripe": stripe.url}))
        database = Database(victim.database_url, wire(), pool_size=2)
        scope = Scope(made["tenant_id"], made["environment_id"])
        gateways = Gateways(database, settings, database.ports.part(InvoicePorts).hooks)
        for minutes in (0, 16):  # what a void sends back is sent by the duty
            async with database.session(scope) as session:
                await reconcile(session, gateways, SystemClock().now() + timedelta(minutes=minutes))
        assert [row["amount"] for row in books.of("refund")] == [1000, 2000, 7000]
        assert len(books.of("payment_intent")) == 1
        async with database.transaction(scope, read_only=True) as session:
            assert (await session.get_one(Payment, payment["id"])).refunded_amount == 100
            seen = await session.get_one(Invoice, invoice["id"])
            assert (seen.invoice_status, seen.payment_status) == ("VOIDED", "REFUNDED")
            assert list(await session.scalars(select(Wallet))) == []
        assert (await audit(database)).differences == []
        await database.close()
