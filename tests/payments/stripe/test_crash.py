"""kill -9 after Stripe has taken the money and before anybody has written that down."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress

import httpx
import pytest

from tests.conftest import free_port
from tests.payments.stripe.documented_stripe import serving_stripe
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
