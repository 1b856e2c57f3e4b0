"""kill -9 in the middle of a stream of payments: nothing acknowledged is lost, no invoice disagrees with its sum."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psycopg

from farthing.storage.embedded import EmbeddedPostgres
from tests.conftest import free_port

KEY = "sk_crash_test_key_0123456789"
INVOICES = 3
ROUNDS = 3

_SERVE = """
import asyncio, os
from farthing.server import engine, opened, serve
from farthing.settings import load

async def started(database, first):
    print("started", flush=True)

async def main(settings, url):
    async with opened(settings, url) as database:
        await serve(settings, database, started)

settings = load(os.environ)
with engine(settings) as url:
    asyncio.run(main(settings, url))
"""


def start(folder: Path, port: int) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FARTHING_")}
    environment |= {
        "FARTHING_DATA_DIR": str(folder),
        "FARTHING_PORT": str(port),
        "FARTHING_BOOTSTRAP_API_KEY": KEY,
        "FARTHING_LOG_LEVEL": "error",
        "FARTHING_ACCESS_LOG": "false",
    }
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVE], env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert server.stdout is not None
    assert server.stdout.readline().strip() == "started"
    return server


class Stream:
    """Payments sent without pause, and those that were acknowledged."""

    def __init__(self, url: str, invoices: list[str], name: str) -> None:
        self._url, self._invoices, self._name = url, invoices, name
        self.acknowledged: dict[str, tuple[str, Decimal]] = {}
        self._sent = 0

    async def run(self) -> None:
        await asyncio.gather(*(self._client(card=n == 0) for n in range(4)))

    async def _client(self, *, card: bool) -> None:
        async with httpx.AsyncClient(base_url=self._url, headers={"x-api-key": KEY}, timeout=30) as client:
            with contextlib.suppress(httpx.TransportError):
                while True:
                    self._sent += 1
                    invoice, amount = self._invoices[self._sent % INVOICES], Decimal(self._sent % 7 + 1) / 100
                    body = self._body(invoice, amount, card=card)
                    answer = await client.post("/v1/payments", json=body)
                    if answer.status_code == 201 and answer.json()["payment_status"] == "SUCCEEDED":
                        self.acknowledged[answer.json()["id"]] = (invoice, amount)

    def _body(self, invoice: str, amount: Decimal, *, card: bool) -> dict[str, Any]:
        how = {"payment_method_type": "OFFLINE"}
        if card:
            how = {"payment_method_type": "CARD", "payment_method_id": "pm_test_success", "payment_gateway": "stripe"}
        return {
            "destination_type": "INVOICE",
            "destination_id": invoice,
            "amount": str(amount),
            "currency": "usd",
            "process_payment": True,
            "idempotency_key": f"{self._name}-{self._sent}",
            **how,
        }


async def books(client: httpx.AsyncClient) -> list[str]:
    """Three invoices far from being paid, and a simulated provider."""
    connection = {"name": "s", "provider_type": "stripe", "metadata": {"mode": "test"}}
    (await client.post("/v1/connections", json=connection)).raise_for_status()
    customer = (await client.post("/v1/customers", json={"external_id": "c", "name": "C"})).raise_for_status().json()
    figures = {"amount_due": "1000000", "total": "1000000", "subtotal": "1000000"}
    body = {"customer_id": customer["id"], "currency": "usd", **figures}
    return [(await client.post("/v1/invoices", json=body)).raise_for_status().json()["id"] for _ in range(INVOICES)]


async def test_killed_at_random_moments_the_books_agree_and_nothing_acknowledged_is_missing(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    moments = random.Random(seed)
    folder = tmp_path / "data"
    invoices: list[str] = []
    acknowledged: dict[str, tuple[str, Decimal]] = {}
    for number in range(ROUNDS):
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        server = await asyncio.to_thread(start, folder, port)
        try:
            async with httpx.AsyncClient(base_url=url, headers={"x-api-key": KEY}, timeout=30) as client:
                invoices = invoices or await books(client)
            stream = Stream(url, invoices, f"r{number}")
            sending = asyncio.create_task(stream.run())
            await asyncio.sleep(moments.uniform(0.3, 1.5))
        finally:
            os.kill(server.pid, signal.SIGKILL)
            server.wait()
        await sending
        assert stream.acknowledged, f"nothing was paid in round {number} (seed {seed})"
        acknowledged |= stream.acknowledged

    port = free_port()
    server = await asyncio.to_thread(start, folder, port)
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers={"x-api-key": KEY}, timeout=30
        ) as client:
            shown = {id: (await client.get(f"/v1/invoices/{id}")).raise_for_status().json() for id in invoices}
            for payment_id in acknowledged:
                payment = (await client.get(f"/v1/payments/{payment_id}")).raise_for_status().json()
                assert payment["payment_status"] == "SUCCEEDED", f"seed {seed}"
    finally:
        server.send_signal(signal.SIGTERM)
        await asyncio.to_thread(server.wait, 30)

    settled = await asyncio.to_thread(settlements, folder)
    counted = {payment_id for payment_id, _, _ in settled}
    assert set(acknowledged) <= counted, f"seed {seed}"
    assert len(counted) == len(settled), f"a payment counted twice (seed {seed})"
    for invoice_id, invoice in shown.items():
        total = sum((amount for _, at, amount in settled if at == invoice_id), Decimal(0))
        assert Decimal(invoice["amount_paid"]) == total, f"seed {seed}"
        assert Decimal(invoice["amount_remaining"]) == Decimal(invoice["amount_due"]) - total
    for payment_id, (invoice_id, amount) in acknowledged.items():
        assert (payment_id, invoice_id, amount) in settled


def settlements(folder: Path) -> list[tuple[str, str, Decimal]]:
    """Every settlement of the data folder, read past row-level security."""
    deadline = time.monotonic() + 30
    with EmbeddedPostgres(folder) as server:
        while True:
            try:
                with psycopg.connect(server.url("farthing", "postgres")) as connection:
                    rows = connection.execute("SELECT payment_id, invoice_id, amount FROM invoice_settlements")
                    return [(str(payment), str(invoice), Decimal(amount)) for payment, invoice, amount in rows]
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
