"""What a change of a subscription comes to: what is invoiced and credited at once, and the invoice that comes next."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.plan_change_schemas import ChangedInvoice
from farthing.billing.reads import previews
from farthing.billing.schemas import GetPreviewInvoiceRequest
from farthing.billing.tables import ProrationSettlement
from farthing.core.encoding.times import read_time
from farthing.core.errors import FarthingError
from farthing.core.money import ZERO, plain
from farthing.invoices.schemas import InvoiceLineItemResponse, InvoiceResponse
from farthing.storage.queries.rows import find, in_array
from farthing.subscriptions.enums import SubscriptionStatus, SubscriptionType
from farthing.subscriptions.tables import Subscription, SubscriptionLineItem

_UNBILLED = frozenset({SubscriptionType.INHERITED, SubscriptionType.GROUPED_INVOICING})
_OVER = frozenset({SubscriptionStatus.CANCELLED, SubscriptionStatus.DRAFT})


@dataclass(frozen=True, slots=True)
class BillLine:
    """A charge of an invoice to come."""

    name: str
    owner: str
    is_usage: bool
    quantity: str
    amount: str
    period_start: datetime | None
    period_end: datetime | None


@dataclass(frozen=True, slots=True)
class Bill:
    """An invoice to come; `at` is when it is made, None where nobody knows yet."""

    currency: str
    lines: Sequence[BillLine]
    subtotal: str
    discount: Decimal
    credits: Decimal
    tax: Decimal
    total: str
    due: str
    at: datetime | None = None
    due_date: datetime | None = None

    @classmethod
    def of(cls, invoice: InvoiceResponse, at: datetime | None = None) -> Bill:
        return cls(
            currency=invoice.currency,
            lines=[_line(line) for line in invoice.line_items or ()],
            subtotal=invoice.subtotal,
            discount=Decimal(invoice.total_discount),
            credits=Decimal(invoice.total_prepaid_credits_applied),
            tax=Decimal(invoice.total_tax),
            total=invoice.total,
            due=invoice.amount_due,
            at=at,
            due_date=_time(invoice.due_date),
        )

    @property
    def steps(self) -> list[tuple[str, Decimal]]:
        """How the total comes about, where there is more than the lines."""
        more = [("Discounts", -self.discount), ("Prepaid credits", -self.credits), ("Tax", self.tax)]
        steps = [(words, amount) for words, amount in more if amount]
        return [("Subtotal", Decimal(self.subtotal)), *steps] if steps else []

    @property
    def agreed_figures(self) -> list[object]:
        """What does not move with usage: the fixed charges."""
        return [(line.name, line.quantity, line.amount) for line in self.lines if not line.is_usage]


@dataclass(frozen=True, slots=True)
class SettledFee:
    """What a change in mid-period credits for unused time of one fee, and charges for the rest of its period."""

    name: str
    credit: Decimal
    charge: Decimal
    discount: Decimal


@dataclass(frozen=True, slots=True)
class Consequences:
    """What a change has come to, in the session that made it.

    `path` is the page to go on with. `facts` say what will be different, in pairs of words.
    """

    path: str
    invoices: Sequence[InvoiceResponse] = ()
    credits: Sequence[ChangedInvoice] = ()
    to_collect: Sequence[str] = ()
    facts: Sequence[tuple[str, object]] = ()
    warnings: Sequence[str] = ()
    settled: Sequence[SettledFee] = ()
    following_id: str = ""
    """The subscription that goes on, where that is another one."""

    @property
    def bills(self) -> list[Bill]:
        return [Bill.of(invoice) for invoice in self.invoices]

    @property
    def credit(self) -> Decimal:
        """What unused time is worth."""
        return sum((fee.credit for fee in self.settled), ZERO)

    @property
    def charge(self) -> Decimal:
        """What the rest of the period costs, after discounts."""
        return sum((fee.charge - fee.discount for fee in self.settled), ZERO)

    def agreement(self, version: int) -> str:
        """Names what was shown: of a subscription at `version`, with these figures."""
        figures = [
            version,
            [(bill.currency, bill.total, bill.due, bill.agreed_figures) for bill in self.bills],
            [(credit.action, credit.amount) for credit in self.credits],
            [(fee.name, plain(fee.credit), plain(fee.charge), plain(fee.discount)) for fee in self.settled],
            list(self.warnings),
        ]
        return _digest(figures)


@dataclass(frozen=True, slots=True)
class Preview:
    """What will happen, and the next invoice with and without it; `next_problem` says why there is none."""

    consequences: Consequences
    agreed: str
    following: Bill | None
    next_problem: str = ""
    without: Bill | None = None


@dataclass(frozen=True, slots=True)
class NextInvoice:
    """The invoice that comes next, or why it cannot be told."""

    bill: Bill | None = None
    problem: str = ""


def with_next(agreement: str, following: NextInvoice) -> str:
    """Names what was shown together with the fixed charges of the next invoice."""
    return _digest([agreement, following.bill.agreed_figures if following.bill is not None else None])


async def next_invoice(session: AsyncSession, subscription_id: str, now: datetime) -> NextInvoice:
    """The next invoice of a subscription as it stands, in a session that will be rolled back."""
    row = await find(session, Subscription, subscription_id)
    if row.subscription_type in _UNBILLED or row.subscription_status in _OVER:
        return NextInvoice()
    paused = row.subscription_status is SubscriptionStatus.PAUSED
    if paused and row.pause_due_at is None:
        return NextInvoice(problem="It is made once somebody resumes the subscription.")
    # an open period is invoiced at its end, which a pause may move
    opens_at = row.opens_at or (row.trial_end if row.subscription_status is SubscriptionStatus.TRIALING else None)
    try:
        answer = await previews.preview(session, GetPreviewInvoiceRequest(subscription_id=subscription_id), now)
    except FarthingError as error:
        return NextInvoice(problem=f"It cannot be told: {error.message}")
    return NextInvoice(Bill.of(answer, opens_at or _time(answer.period_end)))


async def settlements_before(session: AsyncSession, subscription_id: str) -> set[str]:
    """The settlements that there are before a change."""
    table = ProrationSettlement
    return set(await session.scalars(select(table.id).where(table.subscription_id == subscription_id)))


async def with_settlements(
    session: AsyncSession, consequences: Consequences, subscription_id: str, before: set[str]
) -> Consequences:
    """The consequences with what a change has credited and charged fee by fee."""
    table = ProrationSettlement
    rows = await session.scalars(
        select(table).where(table.subscription_id == subscription_id, table.id.not_in(before)).order_by(table.id)
    )
    settled = [row for row in rows if row.credit or row.charge]
    names = await _fee_names(session, [row.subscription_line_item_id for row in settled])
    fees = [
        SettledFee(names.get(row.subscription_line_item_id, "Fee"), row.credit, row.charge, row.discount)
        for row in settled
    ]
    return replace(consequences, settled=fees)


async def _fee_names(session: AsyncSession, ids: Sequence[str]) -> Mapping[str, str]:
    item = SubscriptionLineItem
    rows = await session.execute(
        select(item.id, item.display_name, item.plan_display_name).where(in_array(item.id, ids))
    )
    return {id: wording_of(name, plan) for id, name, plan in rows}  # noqa: A001 (a row's id)


def wording_of(name: str, owner: str) -> str:
    """ "Platform fee, Growth": a charge with the plan or addon that brought it."""
    return f"{name}, {owner}" if name and owner and name != owner else name or owner or "Fee"


def _line(line: InvoiceLineItemResponse) -> BillLine:
    name = line.display_name or line.meter_display_name or line.plan_display_name or "Charge"
    owner = line.plan_display_name or ""
    return BillLine(
        name=name,
        owner="" if owner == name else owner,
        is_usage=line.price_type == "USAGE",
        quantity=line.quantity,
        amount=line.amount,
        period_start=_time(line.period_start),
        period_end=_time(line.period_end),
    )


def _time(text: str | None) -> datetime | None:
    return None if not text else read_time(str(text))


def _digest(figures: object) -> str:
    return hashlib.sha256(msgspec.json.encode(figures, enc_hook=str)).hexdigest()
