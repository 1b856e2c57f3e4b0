"""A builder that writes books as a finance person would state them, straight into the tables.

Figures that follow from others are derived by the code that derives them in production; only what a case states is
written as stated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.billing import BillingPeriod
from farthing.catalogue.plans.tables import Plan
from farthing.core.enums import PriceType, Status
from farthing.core.ids import Kind, new_id, new_ulid
from farthing.customers.tables import Customer
from farthing.invoices.figures.settlement import derive
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.receivable import InvoiceStatus, InvoiceType, PaymentStatus
from farthing.invoices.tables import Invoice
from farthing.rating.totals.lines import net_amount
from farthing.subscriptions.enums import SubscriptionStatus, SubscriptionType
from farthing.subscriptions.tables import Subscription

AS_OF = datetime(2024, 6, 15, 12, tzinfo=UTC)
LATE = datetime(2024, 6, 14, tzinfo=UTC)
ISSUED = datetime(2024, 5, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line; U60 is `usage("60")`, F40 is `fixed("40")`."""

    amount: str
    type: PriceType | None
    line_discount: str = "0"
    invoice_discount: str = "0"
    credits: str = "0"
    archived: bool = False


def usage(amount: str, **more: Any) -> Line:
    return Line(amount=amount, type=PriceType.USAGE, **more)


def fixed(amount: str, **more: Any) -> Line:
    return Line(amount=amount, type=PriceType.FIXED, **more)


@dataclass(frozen=True, kw_only=True)
class Bill:
    """One invoice: finalized, pending, one-off, in usd, with no due date, unless said."""

    due: str
    paid: str = "0"
    lines: tuple[Line, ...] = ()
    currency: str = "usd"
    refunded: str = "0"
    adjustment: str = "0"
    late: bool = False
    due_date: datetime | None = None
    status: InvoiceStatus = InvoiceStatus.FINALIZED
    type: InvoiceType = InvoiceType.ONE_OFF
    payment: PaymentStatus | None = None
    """Stated only where figures alone do not say it: FAILED, PROCESSING."""
    payer: str = "A"
    owner: str | None = None


@dataclass(frozen=True, kw_only=True)
class Live:
    """One subscription, live in usd, owned and paid by A, unless said. Later ones are newer."""

    currency: str = "usd"
    owner: str = "A"
    payer: str | None = None
    status: SubscriptionStatus = SubscriptionStatus.ACTIVE


@dataclass
class Books:
    """Everything of one case; names of customers become ids when written."""

    ids: dict[str, str] = field(default_factory=dict)
    _issued: int = 0
    _name: str = field(default_factory=new_ulid)

    async def customer(self, session: AsyncSession, name: str, **more: Any) -> str:
        if name not in self.ids:
            row = Customer(id=new_id(Kind.CUSTOMER), external_id=new_id(Kind.CUSTOMER), name=name, **more)
            session.add(row)
            await session.flush()
            self.ids[name] = row.id
        return self.ids[name]

    async def subscribe(self, session: AsyncSession, live: Live) -> None:
        plan = Plan(id=new_id(Kind.PLAN), name="Plan")
        session.add(plan)
        await session.flush()
        owner = await self.customer(session, live.owner)
        payer = await self.customer(session, live.payer) if live.payer else None
        self._issued += 1
        session.add(
            Subscription(
                id=new_id(Kind.SUBSCRIPTION),
                customer_id=owner,
                invoicing_customer_id=payer,
                subscription_type=SubscriptionType.DELEGATED_INVOICING if payer else SubscriptionType.STANDALONE,
                plan_id=plan.id,
                subscription_status=live.status,
                cancelled_at=ISSUED if live.status is SubscriptionStatus.CANCELLED else None,
                currency=live.currency,
                billing_anchor=ISSUED,
                billing_period=BillingPeriod.MONTHLY,
                start_date=ISSUED,
                current_period_start=ISSUED,
                current_period_end=ISSUED.replace(month=7),
                full_period_start=ISSUED,
                created_at=ISSUED + timedelta(seconds=self._issued),
            )
        )
        await session.flush()

    async def invoice(self, session: AsyncSession, bill: Bill) -> Invoice:
        self._issued += 1
        issued = bill.status in {InvoiceStatus.FINALIZED, InvoiceStatus.VOIDED}
        row = Invoice(
            id=new_id(Kind.INVOICE),
            customer_id=await self.customer(session, bill.payer),
            subscription_customer_id=await self.customer(session, bill.owner) if bill.owner else None,
            currency=bill.currency,
            invoice_type=bill.type,
            invoice_status=bill.status,
            total=Decimal(bill.due) + Decimal(bill.adjustment),
            subtotal=Decimal(bill.due),
            adjustment_amount=Decimal(bill.adjustment),
            refunded_amount=Decimal(bill.refunded),
            reference_date=ISSUED,
            due_date=LATE if bill.late else bill.due_date,
            invoice_number=f"{self._name}-{self._issued}" if issued else None,
            finalized_at=ISSUED + timedelta(seconds=self._issued) if issued else None,
            latest_attempt_failed=bill.payment is PaymentStatus.FAILED,
            settles_at_zero=True,
        )
        counted = [line for line in bill.lines if not line.archived]
        nets = [
            (
                net_amount(
                    Decimal(line.amount),
                    Decimal(line.line_discount),
                    Decimal(line.invoice_discount),
                    Decimal(line.credits),
                ),
                line.type,
            )
            for line in counted
        ]
        row.net_total = sum((net for net, _ in nets), Decimal(0))
        row.net_usage = sum((net for net, kind in nets if kind is PriceType.USAGE), Decimal(0))
        derive(row, Decimal(bill.paid), AS_OF)
        if bill.payment is not None and bill.payment is not PaymentStatus.FAILED:
            row.payment_status = bill.payment
        session.add(row)
        await session.flush()
        for position, line in enumerate(bill.lines):
            session.add(
                InvoiceLineItem(
                    id=new_id(Kind.INVOICE_LINE_ITEM),
                    invoice_id=row.id,
                    customer_id=row.customer_id,
                    currency=row.currency,
                    price_type=line.type,
                    amount=Decimal(line.amount),
                    quantity=Decimal(1),
                    line_item_discount=Decimal(line.line_discount),
                    invoice_level_discount=Decimal(line.invoice_discount),
                    prepaid_credits_applied=Decimal(line.credits),
                    position=position,
                    status=Status.ARCHIVED if line.archived else Status.PUBLISHED,
                )
            )
        await session.flush()
        return row
