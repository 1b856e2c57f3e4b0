"""A billing desk whose payers have wallets: what tests of credits on invoices say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from farthing.credits.reads.derivation import ledger_differences
from farthing.doctor.examination import audit
from tests.invoices.desk import Desk


class LedgerDesk(Desk):
    """Invoices of payers with wallets."""

    async def wallet(self, customer: str, loaded: str = "0", **terms: Any) -> dict[str, Any]:
        """A wallet of a customer with free credits."""
        body = {"customer_id": customer, "currency": "usd", "initial_credits_to_load": loaded, **terms}
        made: dict[str, Any] = await self.account.post("/wallets", body, expect=200)
        return made

    async def top_up(self, wallet: dict[str, Any], credits: str, expect: int = 200, **terms: Any) -> dict[str, Any]:
        """More credits, free unless said."""
        body = {"credits_to_add": credits, "transaction_reason": "FREE_CREDIT_GRANT", **terms}
        answer: dict[str, Any] = await self.account.post(f"/wallets/{wallet['id']}/top-up", body, expect=expect)
        return answer

    async def billed(self, customer: str, lines: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """A finalized one-off."""
        made: dict[str, Any] = await self.account.post("/invoices", self.order(customer, lines, **more))
        return made

    async def balance(self, wallet: dict[str, Any]) -> str:
        """The credits of a wallet."""
        return str((await self.account.get(f"/wallets/{wallet['id']}"))["credit_balance"])

    async def rows(self, wallet: dict[str, Any]) -> list[dict[str, Any]]:
        """The transactions of a wallet, in the order of the chain; those that are not in it last."""
        page = await self.account.get(f"/wallets/{wallet['id']}/transactions", limit=1000)
        rows: list[dict[str, Any]] = page["items"][::-1]
        return rows

    async def require_sound(self) -> None:
        """The books and the ledger follow from their rows."""
        async with self.account.transaction(read_only=True) as session:
            assert await ledger_differences(session) == []
        found = await audit(self.account.database, only=[self.account.environment_id])
        assert found.differences == []
