"""Checkouts over HTTP: each kind with what it leads to, what the payer does, and the books afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
from sqlalchemy import select, text

from farthing.checkout.conclusion.expiry import expire_due
from farthing.core.clock import FixedClock
from farthing.doctor.examination import audit
from farthing.storage.record.outbox import SystemEvent
from tests.billing.office import Office
from tests.payments.till import Till
from tests.subscriptions.shop import fixed

Body = dict[str, Any]
KINDS = ("subscription", "addon", "seats", "plan", "credits", "one-off", "invoice")
"""Everything that a checkout can be for."""
CHARGED = {
    "subscription": "30",
    "addon": "16",
    "seats": "64",
    "plan": "31",
    "credits": "80",
    "one-off": "100",
    "invoice": "100",
}
"""What each asks for on the sixteenth of January: half of a month of 31 days is 16 of 31."""


@dataclass
class Opened:
    """A checkout that was opened: its session, and what to look at when it has ended."""

    kind: str
    session: Body
    subject: str
    """The subscription, wallet or invoice that it is about."""

    @property
    def page(self) -> str:
        found: str = self.session["provider_result"]["provider_session_id"]
        return found


class Turnstile:
    """One account's checkouts."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.account = office.account
        self.till = Till(office.account)
        self.payer: Body = {}
        """Fields of the customers that subscribe."""

    async def open(self, kind: str, expect: int | None = None, **params: Any) -> Opened:
        """A new checkout of one kind, for a new customer."""
        checkout = {"payment_provider": "stripe", **params}
        body: Body = await getattr(self, f"_{kind.replace('-', '_')}")(checkout, expect)
        if expect is not None and expect >= 400:
            return Opened(kind, body, "")
        session = body if kind == "invoice" else body["checkout_session"]
        return Opened(kind, session, self._subject(kind, body))

    @staticmethod
    def _subject(kind: str, body: Body) -> str:
        subject: str
        match kind:
            case "credits":
                subject = body["wallet"]["id"]
            case "addon":
                subject = body["checkout_session"]["configuration"]["add_addon_params"]["subscription_id"]
            case "seats" | "plan":
                subject = body["subscription"]["id"]
            case "invoice":
                subject = body["checkout_invoice_id"]
            case _:
                subject = body["id"]
        return subject

    async def _subscription(self, checkout: Body, expect: int | None) -> Body:
        customer = await self.office.customer(**self.payer)
        plan = await self.office.plan(fixed("30"))
        body = {"customer_id": customer["id"], "plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY"}
        made: Body = await self.account.post("/subscriptions", {**body, "checkout": checkout}, expect or 201)
        return made

    async def live(self, *prices: Mapping[str, Any]) -> Body:
        """A subscription that began with the month, paid."""
        now = self.office.now
        await self.office.on("2026-01-01")
        customer = await self.office.customer(**self.payer)
        plan = await self.office.plan(*(prices or [fixed("62")]))
        body = {"customer_id": customer["id"], "plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY"}
        made: Body = await self.account.post("/subscriptions", {**body, "collection_method": "send_invoice"}, 201)
        invoice = made["latest_invoice"]
        await self.till.pay(invoice, invoice["amount_remaining"])
        self.office.now = now
        await self.account.freeze(now)
        return made

    async def _addon(self, checkout: Body, expect: int | None) -> Body:
        subscription = await self.live()
        addon = await self.office.addon(fixed("31"), key=f"addon-{subscription['id'][-6:].lower()}")
        body = {"subscription_id": subscription["id"], "addon_id": addon["id"], "checkout": checkout}
        made: Body = await self.account.post(
            "/subscriptions/addon", {**body, "proration_behavior": "create_prorations"}, expect or 200
        )
        return made

    async def _seats(self, checkout: Body, expect: int | None) -> Body:
        subscription = await self.live()
        item = subscription["line_items"][0]
        params = {"line_items": [{"id": item["id"], "quantity": "3"}]}
        body = {"type": "quantity_change", "quantity_change_params": params, "checkout": checkout}
        made: Body = await self.account.post(f"/subscriptions/{subscription['id']}/modify/execute", body, expect or 200)
        return made

    async def _plan(self, checkout: Body, expect: int | None) -> Body:
        subscription = await self.live()
        larger = await self.office.plan(fixed("122.0625"), name="Larger")
        body = {"target_plan_id": larger["id"], "proration_behavior": "create_prorations", "checkout": checkout}
        path = f"/subscriptions/{subscription['id']}/change/v2/execute"
        made: Body = await self.account.post(path, body, expect or 200)
        return made

    async def _credits(self, checkout: Body, expect: int | None) -> Body:
        customer = await self.office.customer()
        wallet = await self.account.post(
            "/wallets",
            {"customer_id": customer["id"], "currency": "usd", "name": "Wallet", "topup_conversion_rate": "0.8"},
            200,
        )
        body = {"transaction_reason": "PURCHASED_CREDIT_INVOICED", "credits_to_add": "100", "checkout": checkout}
        made: Body = await self.account.post(f"/wallets/{wallet['id']}/top-up", body, expect or 200)
        return made

    async def _one_off(self, checkout: Body, expect: int | None) -> Body:
        customer = await self.office.customer()
        amounts = dict.fromkeys(("amount_due", "subtotal", "total"), "100")
        body = {"customer_id": customer["id"], "currency": "usd", **amounts, "checkout": checkout}
        made: Body = await self.account.post("/invoices", body, expect or 201)
        return made

    async def _invoice(self, checkout: Body, expect: int | None) -> Body:
        invoice = await self.till.invoice()
        return await self.pay_invoice(invoice, expect or 201, **checkout)

    async def pay_invoice(self, invoice: Body, expect: int = 201, **checkout: Any) -> Body:
        """A checkout for an issued invoice."""
        customer = await self.account.get(f"/customers/{invoice['customer_id']}")
        body = {
            "customer_external_id": customer["external_id"],
            "action": "pay_invoice",
            "payment_provider": "stripe",
            "configuration": {"pay_invoice_params": {"invoice_id": invoice["id"]}},
            **checkout,
        }
        made: Body = await self.account.post("/checkout/sessions", body, expect)
        return made

    async def read(self, opened: Opened | Body) -> Body:
        """The session as it stands."""
        session = opened.session if isinstance(opened, Opened) else opened
        found: Body = await self.account.get(f"/checkout/sessions/{session['id']}")
        return found

    async def act(self, opened: Opened, action: str = "succeed", expect: int = 200, **body: Any) -> Body:
        """What the payer does on the provider's page."""
        return await self.till.act(opened.page, action, expect, **body)

    async def cancel(self, opened: Opened, expect: int = 200) -> Body:
        found: Body = await self.account.post(f"/checkout/sessions/{opened.session['id']}/cancel", None, expect)
        return found

    async def expire(self, minutes: int = 31) -> int:
        """Run the duty as if `minutes` had gone by."""
        now = self.office.now + timedelta(minutes=minutes)
        async with self.account.database.session(self.account.scope, clock=FixedClock(now)) as session:
            return await expire_due(session, now)

    async def had(self, opened: Opened) -> str:
        """What the payer has of what was paid for, in a word or a figure."""
        match opened.kind:
            case "subscription":
                found = await self.account.http.get(f"/subscriptions/{opened.subject}")
                status: str = found.json()["subscription_status"] if found.status_code == 200 else "gone"
                return "gone" if found.status_code == 200 and found.json()["status"] != "published" else status
            case "addon":
                rows = await self.account.get(f"/subscriptions/{opened.subject}/addons/associations")
                return str(len(rows["items"]))
            case "seats":
                found = await self.account.get(f"/subscriptions/{opened.subject}")
                return str(next(item["quantity"] for item in found["line_items"] if item["end_date"] is None))
            case "plan":
                found = await self.account.get(f"/subscriptions/{opened.subject}", expand="plan")
                return str(found["plan"]["name"])
            case "credits":
                return str((await self.account.get(f"/wallets/{opened.subject}"))["credit_balance"])
            case _:
                return str((await self.account.get(f"/invoices/{opened.subject}"))["payment_status"])

    async def invoice(self, opened: Opened) -> Body:
        found: Body = await self.account.get(f"/invoices/{opened.session['checkout_invoice_id']}")
        return found

    async def payment(self, opened: Opened) -> Body:
        found: Body = await self.account.get(f"/payments/{opened.session['checkout_payment_id']}")
        return found

    async def told(self, opened: Opened) -> list[str]:
        """What endpoints hear of the session, in order, without the words that all share."""
        query = select(SystemEvent.event_name).where(
            SystemEvent.entity_id == opened.session["id"], SystemEvent.payload.is_not(None)
        )
        async with self.account.transaction(read_only=True) as session:
            names = await session.scalars(query.order_by(SystemEvent.position))
            return [name.rsplit(".", 1)[-1] for name in names]

    async def captured(self, opened: Opened) -> tuple[str, str]:
        """What the provider took and sent back for a session, from its own tables."""
        query = text(
            "SELECT coalesce(sum(amount), 0)::text, coalesce(sum(refunded), 0)::text FROM test_gateway_charges "
            "WHERE payment_id = :payment"
        )
        async with self.account.transaction(read_only=True) as session:
            row = (await session.execute(query, {"payment": opened.session["checkout_payment_id"]})).one()
        return tuple(value.rstrip("0").rstrip(".") if "." in value else value for value in row)

    async def require_sound(self) -> None:
        """The doctor derives every figure of the account's books again and finds nothing."""
        findings = await audit(self.account.database, only={self.account.environment_id})
        assert findings.differences == []

    def visitor(self) -> httpx.AsyncClient:
        """Somebody without credentials."""
        return httpx.AsyncClient(base_url=self.account.base_url, timeout=60)


BEFORE = {
    "subscription": "draft",
    "addon": "0",
    "seats": "1",
    "plan": "Plan",
    "credits": "0",
    "one-off": "PENDING",
    "invoice": "PENDING",
}
AFTER = {
    "subscription": "active",
    "addon": "1",
    "seats": "3",
    "plan": "Larger",
    "credits": "100",
    "one-off": "SUCCEEDED",
    "invoice": "SUCCEEDED",
}
GONE = {**BEFORE, "subscription": "gone"}
