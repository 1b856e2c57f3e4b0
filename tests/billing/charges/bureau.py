"""An office whose payers are invoiced in currencies of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from farthing.doctor.examination import audit
from tests.billing.counter import Body
from tests.billing.office import Office

RATE = "83.125"


@dataclass
class Bureau(Office):
    """An office that sells in dollars to payers who are billed in rupees."""

    async def rate(self, rate: str = RATE, expect: int = 201, **more: Any) -> Body:
        """A rate from dollars to rupees, of the environment unless said."""
        body = {"from_currency": "usd", "to_currency": "inr", "scope": "tenant", "rate": rate, **more}
        made: Body = await self.account.post("/forex", body, expect=expect)
        return made

    async def payer(self, code: str = "inr", **more: Any) -> Body:
        return await self.customer(billing_currency=code, **more)

    async def issued(self, subscription: Body) -> list[Body]:
        """The invoices of a subscription as they are answered, oldest first."""
        found = (await self.account.get("/invoices", subscription_id=subscription["id"]))["items"]
        return [await self.account.get(f"/invoices/{invoice['id']}") for invoice in found[::-1]]

    async def paid(self, invoice: Body, amount: str | None = None, expect: int = 201, **more: Any) -> Body:
        """Money that has come for an invoice."""
        body = {
            "destination_type": "INVOICE",
            "destination_id": invoice["id"],
            "payment_method_type": "OFFLINE",
            "amount": amount or invoice["amount_remaining"],
            "currency": invoice["currency"],
            "process_payment": True,
            **more,
        }
        answer: Body = await self.account.post("/payments", body, expect=expect)
        return answer

    async def wallets(self, customer: Body) -> dict[str, str]:
        """What each prepaid wallet of a customer holds, by currency."""
        found: list[Body] = await self.account.get(f"/customers/{customer['id']}/wallets")
        return {wallet["currency"]: wallet["balance"] for wallet in found}

    async def wallet(self, customer: Body, code: str, credits_loaded: str) -> Body:
        body = {"customer_id": customer["id"], "currency": code, "initial_credits_to_load": credits_loaded}
        made: Body = await self.account.post("/wallets", body, expect=200)
        return made

    async def require_sound(self) -> None:
        """The doctor derives every figure again and finds each what it is."""
        found = await audit(self.account.database, only=[self.account.environment_id])
        assert found.differences == []
