"""A till over HTTP: invoices to pay, connections to pay through, and what the payer does on a hosted page."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx

from farthing.core.clock import SystemClock
from farthing.invoices.ports import InvoicePorts
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.processing.reconciliation import reconcile
from tests.account import Account
from tests.invoices.desk import Desk, fixed

OK, DECLINED, POOR = "pm_test_success", "pm_test_declined", "pm_test_insufficient_funds"
TIMEOUT, SLOW, ASKS = "pm_test_timeout", "pm_test_processing", "pm_test_requires_action"


class Till:
    """One account's payments."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.desk = Desk(account)

    async def invoice(self, amount: str = "100", **more: Any) -> dict[str, Any]:
        """A finalized one-off of one fixed line."""
        return await self.desk.invoice([fixed(amount)], **more)

    async def connect(self, provider: str = "stripe", **more: Any) -> dict[str, Any]:
        """A simulated connection."""
        body = {"name": provider, "provider_type": provider, "metadata": {"mode": "test"}, **more}
        answer: dict[str, Any] = await self.account.post("/connections", body)
        return answer

    @staticmethod
    def order(invoice: dict[str, Any], amount: str = "100", **more: Any) -> dict[str, Any]:
        return {
            "destination_type": "INVOICE",
            "destination_id": invoice["id"],
            "payment_method_type": "OFFLINE",
            "amount": amount,
            "currency": invoice["currency"],
            "process_payment": True,
            **more,
        }

    async def pay(self, invoice: dict[str, Any], amount: str = "100", expect: int = 201, **more: Any) -> dict[str, Any]:
        """An offline payment, recorded at once."""
        answer: dict[str, Any] = await self.account.post("/payments", self.order(invoice, amount, **more), expect)
        return answer

    async def charge(
        self, invoice: dict[str, Any], amount: str = "100", method: str = OK, expect: int = 201, **more: Any
    ) -> dict[str, Any]:
        """A card payment through the simulated stripe."""
        given = {"payment_method_type": "CARD", "payment_method_id": method, "payment_gateway": "stripe", **more}
        return await self.pay(invoice, amount, expect, **given)

    async def link(self, invoice: dict[str, Any], amount: str = "100", **more: Any) -> dict[str, Any]:
        """A payment link, open to be paid."""
        given = {"payment_method_type": "PAYMENT_LINK", "payment_gateway": "stripe", **more}
        return await self.pay(invoice, amount, **given)

    async def read(self, payment: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = await self.account.get(f"/payments/{payment['id']}")
        return answer

    async def grow_older(self, payment: dict[str, Any], seconds: int) -> None:
        """Let a payment have succeeded that much earlier, in real time."""
        from sqlalchemy import update

        from farthing.payments.tables import Payment

        earlier = Payment.success_recorded_at - timedelta(seconds=seconds)
        async with self.account.transaction() as session:
            await session.execute(
                update(Payment).where(Payment.id == payment["id"]).values(success_recorded_at=earlier)
            )

    async def standing(self, invoice: dict[str, Any]) -> tuple[str, str, str]:
        """(payment status, paid, remaining) of an invoice."""
        now = await self.desk.get(invoice)
        return now["payment_status"], now["amount_paid"], now["amount_remaining"]

    async def act(self, page: dict[str, Any] | str, action: str, expect: int = 200, **body: Any) -> dict[str, Any]:
        """What the payer does on a page, with no credentials; `page` is a payment or a page's id."""
        page_id = page if isinstance(page, str) else page["gateway_tracking_id"]
        async with httpx.AsyncClient(base_url=self.account.base_url, timeout=60) as visitor:
            answer = await visitor.post(f"/v1/test/gateway/sessions/{page_id}/{action}", json=body)
        assert answer.status_code == expect, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def gateways(self) -> Gateways:
        return Gateways(
            self.account.database, self.account.settings, self.account.database.ports.part(InvoicePorts).hooks
        )

    async def reconcile(self, minutes: int = 16) -> int:
        """Run the duty as if `minutes` had gone by."""
        from datetime import timedelta

        now = SystemClock().now() + timedelta(minutes=minutes)
        async with self.account.database.session(self.account.scope) as session:
            return await reconcile(session, self.gateways(), now)

    async def events(self, entity_id: str) -> list[str]:
        """The names of what was told about an entity, oldest first."""
        from sqlalchemy import select

        from farthing.storage.record.outbox import SystemEvent

        async with self.account.transaction(read_only=True) as session:
            query = select(SystemEvent.event_name).where(SystemEvent.entity_id == entity_id).order_by(SystemEvent.id)
            return list(await session.scalars(query))

    async def settled(self, invoice: dict[str, Any]) -> Decimal:
        """The sum of an invoice's settlements, from the database."""
        from sqlalchemy import func, select

        from farthing.invoices.settlement_tables import PaymentSettlement

        async with self.account.transaction(read_only=True) as session:
            total = await session.scalar(
                select(func.coalesce(func.sum(PaymentSettlement.amount), 0)).where(
                    PaymentSettlement.invoice_id == invoice["id"]
                )
            )
        return Decimal(total or 0)
