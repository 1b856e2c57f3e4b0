"""Credit notes over HTTP: invoices to correct, notes on them, and what became of the money."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from farthing.billing.proof.credit_notes import note_differences
from farthing.credits.reads.derivation import ledger_differences
from farthing.invoices.figures.derivation import all_differences, total_differences
from farthing.invoices.tables import Invoice
from tests.account import Account
from tests.payments.till import Till
from tests.reporting.reconciliation import unreconciled


class Notebook:
    """One account's credit notes."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.till = Till(account)
        self.desk = self.till.desk

    def order(self, invoice: dict[str, Any], *amounts: str, **more: Any) -> dict[str, Any]:
        """The body of a note with an amount for each line, in their order; "" skips a line."""
        lines = [
            {"invoice_line_item_id": line["id"], "amount": amount}
            for line, amount in zip(invoice["line_items"], amounts, strict=False)
            if amount
        ]
        body = {"invoice_id": invoice["id"], "reason": "BILLING_ERROR", "line_items": lines}
        return {**body, "process_credit_note": True, **more}

    async def credit(self, invoice: dict[str, Any], *amounts: str, expect: int = 201, **more: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await self.account.post("/creditnotes", self.order(invoice, *amounts, **more), expect)
        return answer

    async def figures(self, invoice: dict[str, Any]) -> dict[str, str]:
        """What an invoice says of adjustments, payments and refunds."""
        now = await self.desk.get(invoice)
        names = ("amount_due", "amount_remaining", "adjustment_amount", "amount_paid", "refunded_amount")
        return {name: now[name] for name in (*names, "payment_status")}

    async def refunds(self, **query: Any) -> list[dict[str, Any]]:
        """Newest first."""
        rows: list[dict[str, Any]] = (await self.account.get("/refunds", **query))["items"]
        return rows

    async def wallet_value(self, customer_id: str) -> Decimal:
        """What the customer's wallets hold, in currency."""
        wallets = await self.account.get(f"/customers/{customer_id}/wallets")
        return sum((Decimal(wallet["balance"]) for wallet in wallets), Decimal(0))

    async def unapplied(self, customer_id: str) -> dict[str, str]:
        """What a customer has unapplied, by currency."""
        answer = await self.account.get(f"/customers/{customer_id}/unapplied-money")
        return {balance["currency"]: balance["amount"] for balance in answer["balances"]}

    async def faults(self) -> list[Any]:
        """What the doctor finds in this account's invoices, notes, refunds, unapplied money and wallets, and which of
        their totals differ."""
        from sqlalchemy import select

        async with self.account.transaction(read_only=True) as session:
            invoices = list(await session.scalars(select(Invoice)))
            return [
                *await all_differences(session, invoices),
                *await total_differences(session),
                *await ledger_differences(session),
                *await note_differences(session),
                *await unreconciled(self.account),
            ]
