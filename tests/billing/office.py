"""A shop with a billing office: subscriptions begin with their opening invoice, and the run can be told to go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select

from farthing.billing.changes.apply_outcome import perform
from farthing.billing.run.passes import Run, Summary
from farthing.core.money import plain
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.ports import InvoicePorts
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice
from farthing.storage.postgres import ports_of
from farthing.subscriptions.lifecycle import creation
from farthing.subscriptions.schemas.requests import CreateSubscriptionRequest
from farthing.subscriptions.tables import Subscription
from tests.subscriptions.shop import Shop, at, of_wire

ARREAR = {"invoice_cadence": "ARREAR"}
MOST_EVENTS = 1000


@dataclass
class Office(Shop):
    """`billed` is what tests look at: for each invoice its reason, period and total, oldest first."""

    async def set_up(self) -> Office:
        """The office on the first of January 2026, which computes and finalizes without delay."""
        await self.on("2026-01-01")
        await self.settings(compute_delay_seconds=0, finalization_delay_seconds=0)
        return self

    async def settings(self, **values: Any) -> None:
        """Change how invoices are made."""
        await self.account.put("/settings/invoice_config", {"value": values})

    async def subscribed(
        self, plan: Mapping[str, Any], customer: Mapping[str, Any] | None = None, **more: Any
    ) -> Subscription:
        """A subscription begun now, its opening invoice issued."""
        owner = customer or await self.customer()
        body = {
            "customer_id": owner["id"],
            "plan_id": plan["id"],
            "currency": "usd",
            "billing_period": "MONTHLY",
            **more,
        }
        async with self.transaction() as session:
            outcome = await creation.create(session, of_wire(CreateSubscriptionRequest, body), self.now)
            await perform(session, outcome, self.now, ports_of(session, InvoicePorts).hooks)
        found: Subscription = outcome.subscription
        return found

    async def run(self, moment: str | datetime | None = None, **how: Any) -> Summary:
        """Let the billing run go at `moment`."""
        if isinstance(moment, str):
            await self.on(moment)
        elif moment is not None:
            self.now = moment
        return await Run(self.account.database, self.account.scope, self.now, **how).all()

    async def used(self, feature: str, customer: Mapping[str, Any], count: int, moment: str, **properties: Any) -> None:
        """`count` events of a customer at one moment."""
        await self.account.post(
            "/events/bulk",
            {
                "events": [
                    {
                        "event_name": feature,
                        "external_customer_id": customer["external_id"],
                        "timestamp": at(moment).isoformat(),
                        "properties": properties,
                    }
                    for _ in range(count)
                ]
            },
            expect=202,
        )

    async def recorded(
        self, feature: str, customer: Mapping[str, Any], *seen: tuple[str, int] | tuple[str, Mapping[str, Any]]
    ) -> None:
        """Many moments in one request: at each so many events, or one with these properties."""
        events = []
        for moment, what in seen:
            count, properties = (what, {}) if isinstance(what, int) else (1, what)
            one = {
                "event_name": feature,
                "external_customer_id": customer["external_id"],
                "timestamp": at(moment).isoformat(),
                "properties": properties,
            }
            events += [one] * count
        for first in range(0, len(events), MOST_EVENTS):
            await self.account.post("/events/bulk", {"events": events[first : first + MOST_EVENTS]}, expect=202)

    async def entitle(self, plan: Mapping[str, Any], feature: Mapping[str, Any], **terms: Any) -> None:
        """Include usage of a feature in a plan: `usage_limit`, `usage_reset_period`."""
        body = {"feature_id": feature["id"], "feature_type": "metered", "is_enabled": True, "plan_id": plan["id"]}
        await self.account.post("/entitlements", {**body, **terms})

    async def previewed(self, subscription: Subscription, **asked: Any) -> tuple[str, list[tuple[str, str, str]]]:
        """Subtotal and lines (name, quantity, amount) of what the next invoice would be."""
        body = {"subscription_id": subscription.id, **asked}
        shown = await self.account.post("/invoices/preview", body, expect=200)
        lines = [(line["display_name"], line["quantity"], line["amount"]) for line in shown.get("line_items") or ()]
        return f"{Decimal(shown['subtotal']):.2f}", lines

    async def invoices(self, subscription: Subscription | None = None) -> Sequence[Invoice]:
        """Everything that was billed and not voided or skipped, oldest first."""
        query = select(Invoice).where(Invoice.invoice_status.not_in([InvoiceStatus.SKIPPED, InvoiceStatus.VOIDED]))
        if subscription is not None:
            query = query.where(Invoice.subscription_id == subscription.id)
        async with self.account.transaction(read_only=True) as session:
            rows = await session.scalars(query.order_by(Invoice.period_end, Invoice.created_at, Invoice.id))
            return rows.all()

    async def rows(self, invoice: Invoice) -> Sequence[InvoiceLineItem]:
        """The lines as stored, in order."""
        async with self.account.transaction(read_only=True) as session:
            rows = await session.scalars(
                select(InvoiceLineItem)
                .where(InvoiceLineItem.invoice_id == invoice.id, InvoiceLineItem.status == "published")
                .order_by(InvoiceLineItem.position)
            )
            return rows.all()

    async def lines(self, invoice: Invoice) -> list[tuple[str, str, str]]:
        """Name, quantity and amount of each line."""
        return [(row.display_name or "", plain(row.quantity), plain(row.amount)) for row in await self.rows(invoice)]

    async def last_lines(self, subscription: Subscription) -> list[tuple[str, str, str]]:
        """Name, quantity and amount of each line of the newest invoice."""
        return await self.lines((await self.invoices(subscription))[-1])

    async def billed(self, subscription: Subscription | None = None) -> list[tuple[str, str, str]]:
        """Reason, header period and subtotal of each invoice, oldest first."""
        return [
            (
                str(invoice.billing_reason).removeprefix("SUBSCRIPTION_"),
                f"{invoice.period_start:%m-%d}..{invoice.period_end:%m-%d}",
                f"{invoice.subtotal:.2f}",
            )
            for invoice in await self.invoices(subscription)
        ]

    async def totals(self, subscription: Subscription | None = None) -> list[str]:
        """Subtotals in order."""
        return [f"{invoice.subtotal:.2f}" for invoice in await self.invoices(subscription)]
