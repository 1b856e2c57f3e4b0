"""A till that is connected to a server that answers as Stripe does."""

from __future__ import annotations

import secrets
from typing import Any

import httpx

from tests.account import Account
from tests.payments.stripe.documented_stripe import DocumentedStripe, Row, StripeBooks, event_of, signature_of
from tests.payments.till import Till

WEBHOOK_SECRET = "whsec_for_tests_only"


class StripeTill(Till):
    """One account's payments at Stripe; `books` is the account there."""

    def __init__(self, account: Account, stripe: DocumentedStripe) -> None:
        super().__init__(account)
        self.secret_key = f"sk_test_{secrets.token_hex(12)}"
        self.books: StripeBooks = stripe.books(self.secret_key)

    async def connect(self, provider: str = "stripe", **more: Any) -> dict[str, Any]:
        keys = {"secret_key": self.secret_key, "webhook_secret": WEBHOOK_SECRET, **more}
        body = {"name": "Stripe", "provider_type": provider, "encrypted_secret_data": keys}
        answer: dict[str, Any] = await self.account.post("/connections", body)
        return answer

    async def use_key(self, secret_key: str) -> None:
        """Let somebody give the connection another secret key."""
        connection = (await self.account.get("/connections"))["connections"][0]
        keys = {"secret_key": secret_key}
        await self.account.put(f"/connections/{connection['id']}", {"encrypted_secret_data": keys})

    async def card(self, behaviour: str = "ok", **invoice: Any) -> tuple[dict[str, Any], str]:
        """An invoice, and a card that its payer has on file."""
        bill = await self.invoice(**invoice)
        return bill, self.books.save_card(None, behaviour)

    async def hear(self, kind: str, subject: Row, expect: int = 200, **more: Any) -> dict[str, Any]:
        """Let Stripe send an event."""
        return await self.receive(event_of(kind, subject, **more), expect)

    async def receive(self, body: bytes, expect: int = 200, signature: str | None = None) -> dict[str, Any]:
        """Let somebody send a body, signed by Stripe unless said otherwise."""
        headers = {b"stripe-signature": (signature or signature_of(body, WEBHOOK_SECRET)).encode("latin-1")}
        path = f"/v1/webhooks/stripe/{self.account.tenant_id}/{self.account.environment_id}"
        async with httpx.AsyncClient(base_url=self.account.base_url, timeout=60) as stripe:
            answer = await stripe.post(path, content=body, headers=headers)
        assert answer.status_code == expect, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def asked(self, method: str, path: str) -> int:
        """How often Stripe was asked for something."""
        return sum(1 for each in self.books.requests if each[:2] == (method, path))
