"""A small shop to subscribe to: a customer, plans with prices, and subscriptions made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import FixedClock
from farthing.core.encoding.decoding import convert
from farthing.subscriptions.lifecycle import creation
from farthing.subscriptions.outcome import Outcome
from farthing.subscriptions.schemas.requests import CreateSubscriptionRequest
from tests.account import Account


def at(text: str) -> datetime:
    """A moment of UTC: `2026-04-11`, or with a time."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def of_wire(struct: type[Any], body: Mapping[str, Any]) -> Any:
    """A request body as a route would read it."""
    return convert(body, struct, strict=False)


def fixed(amount: str, **more: Any) -> dict[str, Any]:
    """A monthly fee in advance, unless said otherwise."""
    return {
        "type": "FIXED",
        "billing_model": "FLAT_FEE",
        "price_unit_type": "FIAT",
        "billing_period": "MONTHLY",
        "invoice_cadence": "ADVANCE",
        "currency": "usd",
        "amount": amount,
        "start_date": "2020-01-01T00:00:00Z",
        **more,
    }


@dataclass
class Shop:
    """What the tests of one account sell; `now` is the environment's frozen time."""

    account: Account
    now: datetime = field(default_factory=lambda: at("2026-04-01"))
    customers: int = 0

    async def on(self, moment: str) -> None:
        """Stop the environment's clock."""
        self.now = at(moment)
        await self.account.freeze(self.now)

    async def customer(self, name: str = "", **more: Any) -> dict[str, Any]:
        self.customers += 1
        external_id = name or f"customer-{self.customers}"
        body = {"external_id": external_id, "name": external_id, **more}
        made: dict[str, Any] = await self.account.post("/customers", body)
        return made

    async def plan(self, *prices: Mapping[str, Any], name: str = "Plan") -> dict[str, Any]:
        """A plan with prices; the answer has them under `prices`, in order."""
        plan: dict[str, Any] = await self.account.post("/plans", {"name": name})
        plan["prices"] = [
            await self.account.post("/prices", {**price, "entity_type": "PLAN", "entity_id": plan["id"]})
            for price in prices
        ]
        return plan

    async def addon(self, *prices: Mapping[str, Any], key: str = "addon") -> dict[str, Any]:
        addon: dict[str, Any] = await self.account.post("/addons", {"name": key, "lookup_key": key})
        addon["prices"] = [
            await self.account.post("/prices", {**price, "entity_type": "ADDON", "entity_id": addon["id"]})
            for price in prices
        ]
        return addon

    async def feature(self, key: str = "calls", **aggregation: Any) -> dict[str, Any]:
        """A metered feature that counts events."""
        made: dict[str, Any] = await self.account.post(
            "/features",
            {
                "name": key,
                "lookup_key": key,
                "type": "metered",
                "meter": {
                    "name": key,
                    "event_name": key,
                    "aggregation": {"type": "COUNT", **aggregation},
                    "reset_usage": "BILLING_PERIOD",
                },
            },
        )
        return made

    def usage(self, feature: Mapping[str, Any], amount: str, **more: Any) -> dict[str, Any]:
        """A price for the usage of a feature."""
        given = {"type": "USAGE", "invoice_cadence": "ARREAR", "meter_id": feature["meter_id"], **more}
        return fixed(amount, **given)

    def transaction(self) -> Any:
        """A transaction whose clock stands at `now`."""
        return self.account.database.transaction(self.account.scope, clock=FixedClock(self.now))

    async def subscribe(
        self, plan: Mapping[str, Any], customer: Mapping[str, Any] | None = None, **more: Any
    ) -> Outcome:
        """A subscription made now, its opening invoice left to nobody."""
        owner = customer or await self.customer()
        body = {
            "customer_id": owner["id"],
            "plan_id": plan["id"],
            "currency": "usd",
            "billing_period": "MONTHLY",
            **more,
        }
        async with self.transaction() as session:
            return await creation.create(session, of_wire(CreateSubscriptionRequest, body), self.now)

    async def do(self, work: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call a function of the domain in a transaction of its own."""
        async with self.transaction() as session:
            assert isinstance(session, AsyncSession)
            return await work(session, *arguments, **named)

    async def read(self, outcome: Outcome) -> dict[str, Any]:
        """The subscription as the API shows it."""
        found: dict[str, Any] = await self.account.get(f"/subscriptions/{outcome.subscription.id}")
        return found

    async def events(self, subscription_id: str) -> list[str]:
        """What the outbox was told about a subscription, in order."""
        from sqlalchemy import select

        from farthing.storage.record.outbox import SystemEvent

        async with self.account.transaction(read_only=True) as session:
            rows = await session.scalars(
                select(SystemEvent.event_name).where(SystemEvent.entity_id == subscription_id).order_by(SystemEvent.id)
            )
            return list(rows)
