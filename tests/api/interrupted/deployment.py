"""One database with a server that lives, servers that die, and a company's books in it."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from tests.account import Account
from tests.api.interrupted.killable import Relay, Servers
from tests.subscriptions.shop import fixed

# which keys were used, and who has signed in, is not the books; the first invoice of a month alone begins a sequence
_NOT_BOOKS = {
    "idempotent_responses",
    "secrets",
    "alembic_version",
    "invoice_sequences",
    "sign_in_sessions",
    "sign_in_attempts",
}


@dataclass(frozen=True)
class Request:
    """What is sent, killed and repeated. `keyed`: with an Idempotency-Key; `form`: as a browser sends it.

    `runs_duties`: duties do the work, so that a charge that was cut off ends as failed, and another one is made.
    """

    path: str
    body: Any = field(default_factory=dict)
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)
    keyed: bool = True
    form: bool = False
    runs_duties: bool = False


class Deployment:
    """Builds what the requests need, by way of the living server, and sends them."""

    def __init__(self, account: Account, group: Servers, sockets: str, relay: Relay, ending: AsyncExitStack) -> None:
        self.account, self.group, self.relay = account, group, relay
        self._sockets, self._ending = sockets, ending
        self.administration = f"postgresql://postgres@/{make_url(group.url).database}?host={sockets}"

    async def with_own_tenant(self) -> Deployment:
        """The same servers with books of a new tenant, for what concerns an environment as a whole."""
        account = Account(self.account.base_url, self.account.settings, self.account.database)
        await self._ending.enter_async_context(account)
        apart = Deployment(account, self.group, self._sockets, self.relay, self._ending)
        await apart.connect()
        return apart

    def counts(self) -> dict[str, int]:
        """How many rows each table has, past row-level security."""
        with psycopg.connect(self.administration, autocommit=True) as connection:
            tables = [
                name
                for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
                if name not in _NOT_BOOKS and (not name.startswith("procrastinate") or name == "procrastinate_jobs")
            ]
            count = sql.SQL("SELECT count(*) FROM {}")
            found = {name: connection.execute(count.format(sql.Identifier(name))).fetchone() for name in tables}
        return {name: row[0] for name, row in found.items() if row is not None}

    async def send(self, request: Request, key: str, port: int | None = None) -> httpx.Response:
        """The answer of the server at a port of this machine, or of the living one."""
        url = self.account.base_url if port is None else f"http://127.0.0.1:{port}"
        headers = {"x-api-key": self.account.key, **request.headers}
        if request.keyed:
            headers["Idempotency-Key"] = key
        body = {"data": request.body} if request.form else {"json": request.body}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=120) as http:
            return await http.request(request.method, request.path, **body)

    async def repeat(self, request: Request, key: str) -> httpx.Response:
        """The answer of the living server, once PostgreSQL has noticed that the dead one's connections are gone.

        Until then a key is said to be in use. Without a key, what was changed already stays changed, and waiting for it
        is of no use.
        """
        deadline = time.monotonic() + 60
        while True:
            answer = await self.send(request, key)
            held = request.keyed and answer.status_code == 409 and answer.json()["code"] == "version_conflict"
            passes = held or "retry-after" in answer.headers
            if not passes or time.monotonic() > deadline:
                return answer
            await asyncio.sleep(0.02)

    async def post(self, path: str, body: Any = None) -> Any:
        answer = await self.account.http.post(path, json={} if body is None else body)
        assert answer.status_code < 300, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    async def connect(self) -> None:
        await self.post("/connections", {"name": "stripe", "provider_type": "stripe", "metadata": {"mode": "test"}})

    async def customer(self, card: str | None = "pm_test_success") -> str:
        name = uuid.uuid4().hex
        made = await self.post("/customers", {"external_id": name, "name": "Acme"})
        if card is not None:
            await self.save_card(made["id"], card)
        return str(made["id"])

    async def save_card(self, customer: str, card: str = "pm_test_success") -> None:
        asked = {"provider": "stripe", "set_default": True}
        setup = await self.post(f"/payments/customers/{customer}/setup/intent", asked)
        await self.post(f"/test/gateway/sessions/{setup['checkout_session_id']}/succeed", {"method": card})

    async def plan(self, amount: str = "10", **more: Any) -> str:
        made = await self.post("/plans", {"name": "Pro", "lookup_key": uuid.uuid4().hex})
        await self.price("PLAN", made["id"], amount, **more)
        return str(made["id"])

    async def addon(self, amount: str) -> str:
        made = await self.post("/addons", {"name": "More", "lookup_key": uuid.uuid4().hex})
        await self.price("ADDON", made["id"], amount)
        return str(made["id"])

    async def price(self, kind: str, owner: str, amount: str, **more: Any) -> None:
        terms = {"entity_type": kind, "entity_id": owner, "billing_period_count": 1, "billing_cadence": "RECURRING"}
        await self.post("/prices", {**fixed(amount), **terms, **more})

    async def usage_price(self, plan: str) -> None:
        meter = {"name": "m", "event_name": "e", "aggregation": {"type": "COUNT"}, "reset_usage": "BILLING_PERIOD"}
        meter_id = (await self.post("/meters", meter))["id"]
        await self.price("PLAN", plan, "1", type="USAGE", invoice_cadence="ARREAR", meter_id=meter_id)

    async def subscription(self, **more: Any) -> Any:
        return await self.post("/subscriptions", await self.opening(**more))

    async def opening(
        self, card: str | None = "pm_test_success", plan: str | None = None, **more: Any
    ) -> dict[str, Any]:
        return {
            "customer_id": await self.customer(card),
            "plan_id": plan or await self.plan(),
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
