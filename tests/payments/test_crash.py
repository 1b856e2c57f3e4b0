"""kill -9 in the middle of a stream of payments: nothing acknowledged is lost, no invoice disagrees with its sum."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from farthing.invoices.ports import InvoicePorts
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.processing.reconciliation import reconcile
from farthing.settings import Settings
from farthing.storage.embedded import EmbeddedPostgres
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope
from farthing.wiring import wire
from tests.conftest import free_port
from tests.processes import ForkedProcess, serving
from tests.waiting import PATIENCE_SECONDS

KEY = "sk_crash_test_key_0123456789"
INVOICES = 3
ROUNDS = 2


def start(folder: Path, port: int) -> ForkedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FARTHING_")}
    environment |= {
        "FARTHING_DATA_DIR": str(folder),
        "FARTHING_PORT": str(port),
        "FARTHING_BOOTSTRAP_API_KEY": KEY,
        "FARTHING_LOG_LEVEL": "error",
        "FARTHING_ACCESS_LOG": "false",
    }
    return serving(environment)


class Stream:
    """Payments sent without pause, and those that were acknowledged."""

    def __init__(self, url: str, invoices: list[str], name: str, *, enough: int) -> None:
        self._url, self._invoices, self._name, self._enough = url, invoices, name, enough
        self.reached = asyncio.Event()
        """Set once `enough` payments were acknowledged."""
        self.acknowledged: dict[str, tuple[str, Decimal]] = {}
        self.unanswered: list[dict[str, Any]] = []
        self._sent = 0

    async def run(self) -> None:
        await asyncio.gather(*(self._client(card=n == 0) for n in range(4)))

    async def _client(self, *, card: bool) -> None:
        async with httpx.AsyncClient(
            base_url=self._url, headers={"x-api-key": KEY}, timeout=PATIENCE_SECONDS
        ) as client:
            while True:
                self._sent += 1
                invoice, amount = self._invoices[self._sent % INVOICES], Decimal(self._sent % 7 + 1) / 100
                body = self._body(invoice, amount, card=card)
                try:
                    answer = await client.post("/v1/payments", json=body)
                except httpx.TransportError:
                    self.unanswered.append(body)
                    return
                if answer.status_code == 201 and answer.json()["payment_status"] == "SUCCEEDED":
                    self.acknowledged[answer.json()["id"]] = (invoice, amount)
                    if len(self.acknowledged) >= self._enough:
                        self.reached.set()

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


@pytest.mark.slow
async def test_killed_at_random_moments_the_books_agree_and_nothing_acknowledged_is_missing(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    moments = random.Random(seed)
    folder = tmp_path / "data"
    invoices: list[str] = []
    acknowledged: dict[str, tuple[str, Decimal]] = {}
    unanswered: list[dict[str, Any]] = []
    for number in range(ROUNDS):
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        server = await asyncio.to_thread(start, folder, port)
        try:
            async with httpx.AsyncClient(base_url=url, headers={"x-api-key": KEY}, timeout=PATIENCE_SECONDS) as client:
                invoices = invoices or await books(client)
            stream = Stream(url, invoices, f"r{number}", enough=moments.randrange(1, 60))
            sending = asyncio.create_task(stream.run())
            await asyncio.wait_for(stream.reached.wait(), 60)
            await asyncio.sleep(moments.uniform(0, 0.05))
        finally:
            os.kill(server.pid, signal.SIGKILL)
            server.wait()
        await sending
        assert stream.acknowledged, f"nothing was paid in round {number} (seed {seed})"
        acknowledged |= stream.acknowledged
        unanswered += stream.unanswered

    port = free_port()
    server = await asyncio.to_thread(start, folder, port)
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers={"x-api-key": KEY}, timeout=60
        ) as client:
            for body in unanswered:
                answers = [(await client.post("/v1/payments", json=body)) for _ in range(2)]
                assert {answer.status_code for answer in answers} == {201}, answers[0].text
                assert len({answer.json()["id"] for answer in answers}) == 1
                if answers[0].json()["payment_status"] == "SUCCEEDED":
                    acknowledged[answers[0].json()["id"]] = (body["destination_id"], Decimal(body["amount"]))
                else:  # a card that was being charged when the lights went out
                    assert body["payment_method_type"] == "CARD"
            await reconciled(folder, invoices[0], client)
            left = (await client.get("/v1/payments", params={"payment_status": "PROCESSING"})).json()
            assert left["pagination"]["total"] == 0, f"seed {seed}"
            shown = {id: (await client.get(f"/v1/invoices/{id}")).raise_for_status().json() for id in invoices}
            for payment_id in acknowledged:
                payment = (await client.get(f"/v1/payments/{payment_id}")).raise_for_status().json()
                assert payment["payment_status"] == "SUCCEEDED", f"seed {seed}"
    finally:
        server.send_signal(signal.SIGTERM)
        await asyncio.to_thread(server.wait)

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


async def reconciled(folder: Path, invoice_id: str, client: httpx.AsyncClient) -> None:
    """Run the reconciliation duty as if a quarter of an hour had gone by."""
    invoice = (await client.get(f"/v1/invoices/{invoice_id}")).raise_for_status().json()
    database = Database(EmbeddedPostgres(folder).url(), wire(), pool_size=2)
    settings = Settings(data_dir=str(folder))
    try:
        async with database.session(Scope(invoice["tenant_id"], invoice["environment_id"])) as session:
            await reconcile(
                session,
                Gateways(database, settings, database.ports.part(InvoicePorts).hooks),
                database.clock.now() + timedelta(minutes=16),
            )
    finally:
        await database.close()


def settlements(folder: Path) -> list[tuple[str, str, Decimal]]:
    """Every settlement of the data folder, read past row-level security."""
    deadline = time.monotonic() + PATIENCE_SECONDS
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
