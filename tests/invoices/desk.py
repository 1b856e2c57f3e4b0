"""A billing desk over HTTP: customers, coupons, tax rates and invoices, said in as few words as a test needs."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from tests.account import Account


def usage(amount: str, quantity: str = "1", **more: Any) -> dict[str, Any]:
    return {"amount": amount, "quantity": quantity, "price_type": "USAGE", "display_name": f"usage {amount}", **more}


def fixed(amount: str, quantity: str = "1", **more: Any) -> dict[str, Any]:
    return {"amount": amount, "quantity": quantity, "price_type": "FIXED", "display_name": f"fixed {amount}", **more}


PRICE = "p"
"""Stands for a price of the invoice's currency, which the desk makes."""


class Desk:
    """One account's billing desk."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.made = 0

    async def customer(self, **more: Any) -> str:
        body = {"external_id": uuid.uuid4().hex, "name": "Brightwater", **more}
        return str((await self.account.post("/customers", body))["id"])

    async def coupon(self, off: str, currency: str = "usd", **more: Any) -> str:
        """`off` is "10%" or an amount in `currency`."""
        if off.endswith("%"):
            body = {"type": "percentage", "percentage_off": off[:-1]}
        else:
            body = {"type": "fixed", "amount_off": off, "currency": currency}
        body = {"name": f"{off} off", "cadence": "once", **body, **more}
        return str((await self.account.post("/coupons", body))["id"])

    async def tax(self, value: str, **more: Any) -> str:
        """`value` is "8.25%" or an amount."""
        self.made += 1
        if value.endswith("%"):
            body = {"tax_rate_type": "percentage", "percentage_value": value[:-1]}
        else:
            body = {"tax_rate_type": "fixed", "fixed_value": value}
        body = {"name": f"tax {value}", "code": f"T{self.made}", **body, **more}
        return str((await self.account.post("/taxes/rates", body))["id"])

    async def price(self, currency: str = "usd") -> str:
        """A fixed price of a plan."""
        plan = await self.account.post("/plans", {"name": "Plan", "lookup_key": uuid.uuid4().hex})
        terms = {"billing_period": "MONTHLY", "billing_period_count": 1, "billing_cadence": "RECURRING"}
        body = {
            **terms,
            "entity_type": "PLAN",
            "entity_id": plan["id"],
            "type": "FIXED",
            "price_unit_type": "FIAT",
            "billing_model": "FLAT_FEE",
            "invoice_cadence": "ARREAR",
            "amount": "10",
            "currency": currency,
        }
        return str((await self.account.post("/prices", body))["id"])

    def order(self, customer: str, lines: Sequence[dict[str, Any]] = (), **more: Any) -> dict[str, Any]:
        """The body of a new invoice; with no lines it is for 100."""
        subtotal = str(sum(Decimal(line["amount"]) for line in lines)) if lines else "100"
        figures = {name: more.pop(name, subtotal) for name in ("subtotal", "total", "amount_due")}
        return {
            "customer_id": customer,
            "currency": "usd",
            **figures,
            "line_items": [dict(line) for line in lines],
            **more,
        }

    async def invoice(
        self, lines: Sequence[dict[str, Any]] = (), customer: str | None = None, expect: int = 201, **more: Any
    ) -> dict[str, Any]:
        body = self.order(customer or await self.customer(), lines, **more)
        if any(line.get("price_id") == PRICE for line in body["line_items"]):
            price = await self.price(body["currency"])
            named = [*body["line_items"], *body.get("line_item_coupons", ())]
            for entry in named:
                entry.update({name: price for name in ("price_id", "line_item_id") if entry.get(name) == PRICE})
        answer: dict[str, Any] = await self.account.post("/invoices", body, expect)
        return answer

    async def get(self, invoice: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = await self.account.get(f"/invoices/{invoice['id']}")
        return answer
