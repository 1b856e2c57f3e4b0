"""Against `localstripe`, a stateful server that others wrote after Stripe: customers, charges, refunds, webhooks.

Where it differs from Stripe's documentation:

- it knows no idempotency keys, Checkout pages or disputes, and lists no intents of a customer and no methods of all
  kinds; tests of these use `documented_stripe`;
- a refused charge is answered without its intent, so that a failed payment has no id of Stripe's;
- a card whose owner has to confirm is not refused when nobody is present, and has no page to confirm on, so that the
  payment stays in flight until an event comes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from farthing.storage.postgres import Database
from farthing.wiring import wire
from tests.account import Account
from tests.conftest import free_port, running, settings_for
from tests.payments.stripe.stripe_till import WEBHOOK_SECRET
from tests.payments.till import Till
from tests.waiting import until

KEY = "sk_test_localstripe"


class LocalStripe:
    """The process, and what a browser would do there."""

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {KEY}"}, timeout=60)

    async def close(self) -> None:
        await self._client.aclose()

    async def post(self, path: str, body: Any) -> dict[str, Any]:
        answer = await self._client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json() if answer.content else {}

    async def get(self, path: str) -> dict[str, Any]:
        answer = await self._client.get(path)
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    async def is_up(self) -> bool:
        try:
            return (await self._client.get("/v1/customers")).status_code == 200
        except httpx.TransportError:
            return False

    async def card(self, number: str = "4242424242424242") -> str:
        card = {"number": number, "exp_month": "12", "exp_year": "2040", "cvc": "123"}
        return str((await self.post("/v1/payment_methods", {"type": "card", "card": card}))["id"])


@pytest.fixture(scope="module")
def local_stripe_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("localstripe")
    port = free_port()
    command = [sys.executable, "-m", "localstripe", "--from-scratch", "--port", str(port)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        yield f"http://localhost:{port}"
        process.terminate()
        process.wait()


@pytest.fixture
async def local_stripe(local_stripe_url: str) -> AsyncIterator[LocalStripe]:
    stripe = LocalStripe(local_stripe_url)
    await until(stripe.is_up)
    yield stripe
    await stripe.close()


@pytest.fixture
async def till(
    local_stripe_url: str, local_stripe: LocalStripe, new_database: Callable[..., str]
) -> AsyncIterator[Till]:
    settings = settings_for(new_database(), provider_urls=json.dumps({"stripe": local_stripe_url}))
    assert settings.database_url is not None
    database = Database(settings.database_url, wire(), pool_size=5)
    async with running(settings, database) as base_url, Account(base_url, settings, database) as account:
        keys = {"secret_key": KEY, "webhook_secret": WEBHOOK_SECRET}
        await account.post("/connections", {"name": "Stripe", "provider_type": "stripe", "encrypted_secret_data": keys})
        hook = f"{base_url}/v1/webhooks/stripe/{account.tenant_id}/{account.environment_id}"
        await local_stripe.post("/_config/webhooks/farthing", {"url": hook, "secret": WEBHOOK_SECRET})
        yield Till(account)
    await database.close()


async def test_a_life_of_charges(till: Till, local_stripe: LocalStripe) -> None:
    """Charged, refused, confirmed later by webhook, and sent back, each with exact books on both sides."""
    stripe = local_stripe
    paid = await till.invoice("12.34")
    payment = await till.charge(paid, "12.34", method=await stripe.card())
    assert payment["payment_status"] == "SUCCEEDED"
    intent = await stripe.get(f"/v1/payment_intents/{payment['gateway_payment_id']}")
    assert (intent["amount"], intent["currency"], intent["status"]) == (1234, "usd", "succeeded")
    customer = await stripe.get(f"/v1/customers/{intent['customer']}")
    assert customer["metadata"]["farthing_customer_id"] == paid["customer_id"]
    assert await till.standing(paid) == ("SUCCEEDED", "12.34", "0")

    refused = await till.invoice()
    answer = await till.charge(refused, method=await stripe.card("4000000000000341"), expect=400)
    assert answer["details"]["reason"] == "Your card was declined."
    assert await till.standing(refused) == ("FAILED", "0", "100")

    confirmed = await till.invoice()
    waiting = await till.charge(confirmed, method=await stripe.card("4000002500003155"))
    assert waiting["payment_status"] == "PROCESSING"
    intent = await stripe.get(f"/v1/payment_intents/{waiting['gateway_payment_id']}")
    secret = {"client_secret": intent["client_secret"], "success": True}
    await stripe.post(f"/v1/payment_intents/{intent['id']}/_authenticate", secret)

    async def is_paid() -> bool:
        return await till.standing(confirmed) == ("SUCCEEDED", "100", "0")

    await until(is_paid)

    line = (await till.desk.get(paid))["line_items"][0]["id"]
    note = {
        "invoice_id": paid["id"],
        "reason": "SERVICE_ISSUE",
        "line_items": [{"invoice_line_item_id": line, "amount": "2.34"}],
        "process_credit_note": True,
        "refund_target": "BACK_TO_SOURCE",
    }
    await till.account.post("/creditnotes", note)
    refund = (await till.account.get("/refunds", invoice_ids=paid["id"]))["items"][0]
    assert refund["refund_status"] == "SUCCEEDED"
    sent = await stripe.get(f"/v1/refunds/{refund['gateway_refund_id']}")
    assert (sent["amount"], sent["payment_intent"]) == (234, payment["gateway_payment_id"])
