"""A small company's books, played through the API over half a year, for pages to show."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import update

from farthing.identity.sign_in import passwords
from farthing.identity.tables import User
from farthing.storage.scope import SYSTEM
from tests.account import Account
from tests.subscriptions.shop import Shop, fixed

PASSWORD = "a password of the stage"
NAMES = (
    "Brightwater Analytics",
    "Halden Robotics",
    "Kestrel & Moor",
    "Ostrava Freight",
    "Northlight Clinics",
    "Pemberton Foods",
    "Quill Publishing",
    "Sable Instruments",
    "Tern Airways",
    "Umber Studio",
)


@dataclass
class Stage:
    """An account with a person who can sign in, and books to look at."""

    account: Account
    now: datetime = field(default_factory=lambda: datetime(2026, 11, 20, 9, 30, tzinfo=UTC))
    email: str = ""
    customers: list[dict[str, Any]] = field(default_factory=list)
    invoices: list[dict[str, Any]] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    feature: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    subscription_id: str = ""
    wallet: dict[str, Any] = field(default_factory=dict)

    async def admit(self, roles: list[str] | None = None) -> Stage:
        """Give the account's owner a password (and these roles)."""
        async with self.account.database.transaction(SYSTEM) as session:
            user = await session.get_one(User, self.account.user_id)
            self.email = user.email or ""
            values: dict[str, Any] = {"password_hash": await passwords.hashed(PASSWORD), "name": "Ada Fairweather"}
            if roles is not None:
                values["roles"] = roles
            await session.execute(update(User).where(User.id == user.id).values(**values))
        return self

    async def play(self) -> Stage:
        """Customers, a plan, a subscription, events, invoices of every state, payments."""
        await self.admit()
        shop = Shop(self.account)
        await shop.on("2026-05-01")
        self.feature = await shop.feature("api_calls", type="SUM", field="calls")
        self.plan = await shop.plan(
            fixed("49", display_name="Platform fee"),
            shop.usage(
                self.feature,
                "0",
                billing_model="TIERED",
                tier_mode="SLAB",
                tiers=[{"up_to": 1000, "unit_amount": "0.02"}, {"up_to": None, "unit_amount": "0.015"}],
                display_name="API calls",
            ),
            name="Growth",
        )
        zones = ("Europe/Berlin", "America/New_York", "UTC")
        for number, name in enumerate(NAMES):
            self.customers.append(
                await self.account.post(
                    "/customers",
                    {
                        "external_id": f"cust-{number:03}",
                        "name": name,
                        "email": f"billing@{name.split()[0].lower()}.example",
                        "timezone": zones[number % 3],
                        "address_line1": f"{number + 3} Harbour Street",
                        "address_city": "Delft",
                        "address_country": "NL",
                    },
                )
            )
        outcome = await shop.subscribe(
            self.plan,
            self.customers[0],
            inheritance={"external_customer_ids_to_inherit_subscription": ["cust-006", "cust-009"]},
        )
        self.subscription_id = outcome.subscription.id
        monthly = {"credits": "100", "cadence": "RECURRING", "period": "MONTHLY", "period_count": 1}
        monthly |= {"name": "Included calls", "expiration_type": "BILLING_CYCLE", "rollover_maximum": "50"}
        await self.account.post("/creditgrants", {**monthly, "scope": "PLAN", "plan_id": self.plan["id"]})
        once: dict[str, Any] = {"name": "Welcome", "credits": "25", "cadence": "ONETIME", "expiration_type": "DURATION"}
        once |= {"expiration_duration": 3, "expiration_duration_unit": "MONTH", "priority": 1}
        granted = {"scope": "SUBSCRIPTION", "subscription_id": self.subscription_id}
        await self.account.post("/creditgrants", {**once, **granted})
        level = {"threshold": "500", "condition": "above"}
        spend = {"alert_enabled": True, "critical": level, "warning": {**level, "threshold": "400"}}
        of_subscription = {"entity_type": "subscription", "entity_id": self.subscription_id, "config": spend}
        await self.account.post("/alerts/setting", of_subscription)
        await self._events()
        await self._bills(shop)
        await shop.on(self.now.isoformat().replace("+00:00", ""))
        await self._credits()
        await self.account.post(
            "/connections", {"name": "stripe", "provider_type": "stripe", "metadata": {"mode": "test"}}
        )
        return self

    def unpaid(self) -> list[dict[str, Any]]:
        """Finalized invoices on which nothing was paid when the books were played, oldest first."""
        return [
            invoice
            for invoice in self.invoices
            if invoice["invoice_status"] == "FINALIZED" and invoice["id"] not in self.touched
        ]

    async def _credits(self) -> None:
        """A wallet with bought and free credits, some of them used, and a purchase that waits to be paid."""
        (granted,) = await self.account.get(f"/customers/{self.customers[0]['id']}/wallets")
        path = f"/wallets/{granted['id']}"
        auto = {"enabled": True, "threshold": 20, "amount": 100, "invoicing": True}
        low = {"threshold": "1500", "condition": "below"}
        watched = {"alert_enabled": True, "critical": {**low, "threshold": "50"}, "warning": low}
        self.wallet = await self.account.put(path, {"auto_topup": auto, "alert_settings": watched})
        bought = {"transaction_reason": "PURCHASED_CREDIT_DIRECT", "credits_to_add": "1000"}
        await self.account.post(f"{path}/top-up", {**bought, "bonus_credits_to_add": "150"}, expect=200)
        free = {"transaction_reason": "FREE_CREDIT_GRANT", "credits_to_add": "40", "priority": 1}
        expiry = (self.now + timedelta(days=60)).isoformat()
        await self.account.post(f"{path}/top-up", {**free, "expiry_date_utc": expiry}, expect=200)
        waiting = {"transaction_reason": "PURCHASED_CREDIT_INVOICED", "credits_to_add": "200"}
        await self.account.post(f"{path}/top-up", waiting, expect=200)
        taken = {"credits": "12.5", "transaction_reason": "MANUAL_BALANCE_DEBIT", "idempotency_key": "correction"}
        await self.account.post(f"{path}/debit", {**taken, "description": "Correction"}, expect=200)

    async def _events(self) -> None:
        await self.account.freeze(None)
        chance = random.Random(7)  # the same books every time
        events = [
            {
                "event_id": f"ev-{number}-{hour}",
                "event_name": "api_calls",
                "external_customer_id": f"cust-{number:03}",
                "timestamp": (self.now - timedelta(hours=hour)).isoformat(),
                "source": "gateway",
                "properties": {"calls": chance.randint(1, 40), "region": chance.choice(["eu", "us"])},
            }
            for number in range(4)
            for hour in range(0, 24 * 28, 1 + number * 2)
        ]
        for start in range(0, len(events), 500):
            await self.account.post("/events/bulk", {"events": events[start : start + 500]}, expect=202)

    async def _bills(self, shop: Shop) -> None:
        usage_price, fee = self.plan["prices"][1], self.plan["prices"][0]
        for month in range(6, 12):
            for number, customer in enumerate(self.customers):
                if (number * 7 + month) % 4 == 0:
                    continue
                start = datetime(2026, month, 1, tzinfo=UTC)
                await shop.on(start.replace(day=3).date().isoformat())
                code = "eur" if number % 3 == 2 else "usd"
                calls = 400 + 310 * number + 95 * month
                amount = round(min(calls, 1000) * 0.02 + max(calls - 1000, 0) * 0.015, 2)
                previous = (start - timedelta(days=1)).replace(day=1)
                period = {"period_start": previous.isoformat(), "period_end": start.isoformat()}
                lines = [
                    {
                        "display_name": "API calls",
                        "amount": f"{amount:.2f}",
                        "quantity": str(calls),
                        "price_type": "USAGE",
                        "price_id": usage_price["id"] if code == "usd" else None,
                        "meter_id": self.feature["meter_id"],
                        **period,
                    },
                    {
                        "display_name": "Platform fee",
                        "amount": "49",
                        "quantity": "1",
                        "price_type": "FIXED",
                        "price_id": fee["id"] if code == "usd" else None,
                        "plan_display_name": "Growth",
                        **period,
                    },
                ]
                total = f"{amount + 49:.2f}"
                body = {
                    "customer_id": customer["id"],
                    "currency": code,
                    "subtotal": total,
                    "total": total,
                    "amount_due": total,
                    "line_items": lines,
                    "due_date": (start + timedelta(days=30)).isoformat(),
                    "description": "Usage and platform fee",
                    **period,
                }
                if (number, month) in {(2, 11), (5, 11)}:
                    body["invoice_status"] = "DRAFT"
                invoice = await self.account.post("/invoices", body)
                self.invoices.append(invoice)
                if (number + month) % 3 and "invoice_status" not in body:
                    self.touched.add(invoice["id"])
                    paid = total if number % 4 else "20"
                    await self.account.post(
                        "/payments",
                        {
                            "destination_type": "INVOICE",
                            "destination_id": invoice["id"],
                            "payment_method_type": "OFFLINE",
                            "amount": paid,
                            "currency": code,
                            "process_payment": True,
                        },
                    )
