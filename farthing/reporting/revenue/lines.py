"""The invoice lines that revenue is made of, as frozen values; those of final invoices, voids and drafts.

Rule: docs/rules/reporting.md#which-lines-count
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.prices.rated import rated
from farthing.catalogue.prices.tables import Price
from farthing.core import currency
from farthing.core.enums import LineKind, PriceType
from farthing.core.errors import ValidationFailed
from farthing.core.money import EXACT, ZERO
from farthing.credits.notes.overpayments import RETURNED_OVERPAYMENT
from farthing.invoices.receivable import LISTED_UNCOUNTED, InvoiceType
from farthing.rating.pricing.price import RatedPrice
from farthing.reporting.revenue.figures import (
    RevenueFigures,
    figures_of_fee,
    figures_of_usage,
    list_rate,
)
from farthing.storage.postgres import scope_of
from farthing.storage.queries.rows import in_array, stream_whole

MOST_LINES = 300_000
"""How many lines one answer is made of."""
MOST_PARTS = 1_000_000
"""And how many days of lines."""
LINES_AT_ONCE = 500

Item = TypeVar("Item")


class RevenueStatus(StrEnum):
    """Whether a line stands on a final invoice, or is what one would say now."""

    PROVISIONAL = "PROVISIONAL"
    FINAL = "FINAL"


class RevenueSource(StrEnum):
    USAGE = "usage"
    FIXED = "fixed"
    ONE_OFF = "one_off"
    COMMITMENT_TRUE_UP = "commitment_trueup"
    OVERAGE = "overage"
    REVERT = "revert"


@dataclass(frozen=True, slots=True, kw_only=True)
class RevenueLine:
    """A charge. `booked_in_advance`: its period's start is the day on which it is booked, else the last day."""

    id: str
    status: RevenueStatus
    invoice_type: InvoiceType
    customer_id: str
    subscription_id: str
    item_id: str
    price_id: str
    meter_id: str
    currency: str
    kind: LineKind | None
    price_type: PriceType | None
    amount: Decimal
    quantity: Decimal
    raw_usage: Decimal | None
    covered: Decimal
    line_discount: Decimal
    invoice_discount: Decimal
    period_start: datetime | None
    period_end: datetime | None
    dated_at: datetime
    booked_in_advance: bool
    invoice_id: str = ""
    invoice_total: Decimal = ZERO
    prepaid: Decimal = ZERO
    finalized_at: datetime | None = None
    voided_at: datetime | None = None

    @property
    def net(self) -> Decimal:
        return EXACT.subtract(EXACT.subtract(self.amount, self.line_discount), self.invoice_discount)

    @property
    def digits(self) -> int:
        return currency.digits(self.currency)

    @property
    def has_period(self) -> bool:
        return self.period_start is not None and self.period_end is not None and self.period_end > self.period_start

    @property
    def is_metered(self) -> bool:
        """Whether its usage can be laid on the days of its events."""
        return self.kind is LineKind.USAGE and bool(self.meter_id and self.item_id) and self.has_period

    @property
    def source(self) -> RevenueSource:
        """What it is for, an adjustment counted with what it adjusts."""
        if self.invoice_type is InvoiceType.ONE_OFF:
            return RevenueSource.ONE_OFF
        if self.price_type is PriceType.USAGE or self.kind is LineKind.TRUE_UP:
            return RevenueSource.USAGE
        return RevenueSource.FIXED

    @property
    def adjustment(self) -> RevenueSource | None:
        """What kind of adjustment it is, if it is one."""
        match self.kind:
            case LineKind.TRUE_UP:
                return RevenueSource.COMMITMENT_TRUE_UP
            case LineKind.OVERAGE:
                return RevenueSource.OVERAGE
        return None

    def figures(self, price: RatedPrice | None) -> RevenueFigures:
        """The line explained."""
        discounts = self.line_discount, self.invoice_discount
        if price is None or self.raw_usage is None or self.kind not in {LineKind.USAGE, LineKind.LATE_USAGE}:
            return figures_of_fee(self.amount, self.quantity, *discounts)
        return figures_of_usage(self.net, self.raw_usage, self.covered, list_rate(price), *discounts)


REPLACEMENTS = f"""
    SELECT recalculated_invoice_id FROM invoices
    WHERE environment_id = :environment AND {LISTED_UNCOUNTED} AND finalized_at IS NOT NULL
        AND recalculated_invoice_id IS NOT NULL
"""
"""The ids of invoices that bill anew what stood on a final invoice, which was voided for it. The condition is one that
an index holds, of few of all invoices."""


@dataclass(frozen=True, slots=True)
class RevenueRevert:
    """What a credit note or a void takes back of a line, without tax, at `at`; what a note took comes back with its
    own void, at `undone_at`."""

    line_id: str
    at: datetime
    net: Decimal
    is_void: bool
    undone_at: datetime | None = None

    @property
    def moments(self) -> Sequence[tuple[datetime, Decimal]]:
        """When it takes how much, and when that comes back."""
        taken = (self.at, self.net)
        return [taken] if self.undone_at is None else [taken, (self.undone_at, self.net.copy_negate())]


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSelection:
    """Which lines: of whom and of what; None is everything."""

    customer_ids: Sequence[str] | None = None
    subscription_ids: Sequence[str] | None = None
    price_ids: Sequence[str] | None = None
    meter_ids: Sequence[str] | None = None
    currency: str | None = None

    def conditions(self) -> tuple[str, dict[str, Any]]:
        """The selection of a line `l` of an invoice `i`, and its parameters."""
        given = {
            "i.customer_id": ("customers", self.customer_ids),
            "l.subscription_id": ("subscriptions", self.subscription_ids),
            "l.price_id": ("prices", self.price_ids),
            "l.meter_id": ("meters", self.meter_ids),
        }
        parts = [f" AND {column} = ANY(:{name})" for column, (name, ids) in given.items() if ids is not None]
        values: dict[str, Any] = {name: list(ids) for name, ids in given.values() if ids is not None}
        if self.currency is not None:
            parts.append(" AND i.currency = :currency")
            values["currency"] = self.currency
        return "".join(parts), values

    def holds(self, line: RevenueLine) -> bool:
        """The same for a line in hand."""
        chosen = (
            (self.customer_ids, line.customer_id),
            (self.subscription_ids, line.subscription_id),
            (self.price_ids, line.price_id),
            (self.meter_ids, line.meter_id),
        )
        if self.currency is not None and line.currency != self.currency:
            return False
        return all(ids is None or value in ids for ids, value in chosen)


@dataclass(frozen=True, slots=True)
class LineCondition:
    """A condition of a line `l` of an invoice `i`, in words of this package, and what it is sent."""

    text: str
    values: Mapping[str, Any]


_LINES = """
    SELECT l.id, i.invoice_status, i.invoice_type, i.customer_id, coalesce(l.subscription_id, ''),
        coalesce(l.subscription_line_item_id, ''), coalesce(l.price_id, ''), coalesce(l.meter_id, ''), i.currency,
        l.kind, l.price_type, l.amount, l.quantity, l.raw_usage, coalesce(l.adjusted_entitlement_quantity, 0),
        l.line_item_discount, l.invoice_level_discount, l.period_start, l.period_end,
        coalesce(i.finalized_at, i.reference_date) AS dated_at, item.invoice_cadence, i.finalized_at, i.voided_at,
        i.id, i.total, l.prepaid_credits_applied
    FROM invoices AS i
    JOIN invoice_line_items AS l ON l.environment_id = :environment AND l.invoice_id = i.id AND l.status = 'published'
    LEFT JOIN subscription_line_items AS item ON item.environment_id = :environment
        AND item.id = l.subscription_line_item_id
    WHERE i.environment_id = :environment AND i.status = 'published' AND i.invoice_type IN ('SUBSCRIPTION', 'ONE_OFF')
        AND (
            i.invoice_status IN ('FINALIZED', 'VOIDED') AND i.finalized_at IS NOT NULL
            OR i.invoice_status = 'DRAFT' AND i.last_computed_at IS NOT NULL AND i.period_end <= :now
        )
"""


async def earliest_line(session: AsyncSession, selection: LineSelection, now: datetime) -> datetime | None:
    """When the service of the first line of a selection begins; None without lines."""
    conditions, parameters = selection.conditions()
    given = {**parameters, "environment": scope_of(session).environment_id, "now": now}
    statement = f"SELECT min(least(period_start, dated_at)) FROM ({_LINES} {conditions}) AS lines"
    earliest: datetime | None = await session.scalar(text(statement), given)
    return earliest


async def count_lines(
    session: AsyncSession, selection: LineSelection, now: datetime, narrowed: str, values: Mapping[str, Any]
) -> dict[str, int]:
    """How many lines `read_lines` would read of each customer; those without any are left out."""
    conditions, parameters = selection.conditions()
    given = {**parameters, **values, "environment": scope_of(session).environment_id, "now": now}
    statement = (
        f"SELECT customer_id, count(*) FROM ({_LINES} {conditions} AND ({narrowed})) AS lines GROUP BY customer_id"
    )
    return dict((await session.execute(text(statement), given)).all())


async def read_lines(
    session: AsyncSession, selection: LineSelection, now: datetime, narrowed: str, values: Mapping[str, Any]
) -> list[RevenueLine]:
    """The lines of a selection that `narrowed` (a condition of `l` and `i`) leaves. Raises ValidationFailed for too
    many."""
    conditions, parameters = selection.conditions()
    given = {**parameters, **values, "environment": scope_of(session).environment_id, "now": now}
    statement = f"{_LINES} {conditions} AND ({narrowed}) ORDER BY l.id LIMIT {MOST_LINES + 1}"
    lines: list[RevenueLine] = []
    # in pages, between which other requests have their turn
    result = await stream_whole(session, text(statement), given)
    async for rows in result.partitions(LINES_AT_ONCE):
        lines += [_line(row) for row in rows]
    if len(lines) > MOST_LINES:
        raise ValidationFailed.of("start_time", f"the time holds more than {MOST_LINES:,} lines; ask for less at once")
    return lines


def few_at_once(parts: Iterable[Item]) -> Iterator[Item]:
    """The parts of lines by day, unless they are too many. Raises ValidationFailed then."""
    for number, part in enumerate(parts):
        if number == MOST_PARTS:
            raise ValidationFailed.of(
                "start_time", f"the lines of the time have more than {MOST_PARTS:,} days; ask for less at once"
            )
        yield part


def _line(row: Any) -> RevenueLine:
    (
        line_id,
        status,
        invoice_type,
        customer_id,
        subscription_id,
        item_id,
        price_id,
        meter_id,
        code,
        kind,
        price_type,
    ) = row[:11]
    (amount, quantity, raw, covered, line_discount, invoice_discount, start, end) = row[11:19]
    (dated_at, cadence, finalized_at, voided_at, invoice_id, invoice_total, prepaid) = row[19:]
    return RevenueLine(
        id=line_id,
        status=RevenueStatus.PROVISIONAL if status == "DRAFT" else RevenueStatus.FINAL,
        invoice_type=InvoiceType(invoice_type),
        customer_id=customer_id,
        subscription_id=subscription_id,
        item_id=item_id,
        price_id=price_id,
        meter_id=meter_id,
        currency=code,
        kind=None if kind is None else LineKind(kind),
        price_type=None if price_type is None else PriceType(price_type),
        amount=amount,
        quantity=quantity,
        raw_usage=raw,
        covered=covered,
        line_discount=line_discount,
        invoice_discount=invoice_discount,
        period_start=start,
        period_end=end,
        dated_at=dated_at,
        booked_in_advance=cadence == "ADVANCE" or kind is None,
        invoice_id=invoice_id,
        invoice_total=invoice_total,
        prepaid=prepaid,
        finalized_at=finalized_at,
        voided_at=voided_at,
    )


_NOTES = f"""
    SELECT taken.invoice_line_item_id, n.finalized_at, taken.net_amount, n.voided_at, n.id, {RETURNED_OVERPAYMENT}
    FROM credit_notes AS n
    JOIN invoices AS i ON i.environment_id = :environment AND i.id = n.invoice_id
    JOIN credit_note_line_items AS taken ON taken.environment_id = :environment AND taken.credit_note_id = n.id
        AND taken.status = 'published'
    WHERE n.environment_id = :environment AND n.status = 'published' AND n.finalized_at IS NOT NULL
        AND taken.invoice_line_item_id = ANY(:lines)
    ORDER BY n.finalized_at, n.id, taken.id
"""


async def reverts_of(session: AsyncSession, lines: Sequence[RevenueLine]) -> list[RevenueRevert]:
    """What credit notes and voids have taken back of lines; a void takes back what notes before it have left, and a
    note that gives back what was paid too much takes that of no line."""
    final = {line.id: line for line in lines if line.finalized_at is not None}
    left = {line_id: line.net for line_id, line in final.items()}
    given = {"environment": scope_of(session).environment_id, "lines": list(final)}
    reverts = []
    returned: dict[str, Decimal] = {}
    for line_id, at, whole, undone_at, note_id, overpaid in await session.execute(text(_NOTES), given):
        beyond = min(returned.setdefault(note_id, overpaid), max(EXACT.subtract(whole, max(left[line_id], ZERO)), ZERO))
        returned[note_id] = EXACT.subtract(returned[note_id], beyond)
        net = EXACT.subtract(whole, beyond)
        voided_at = final[line_id].voided_at
        if voided_at is None or at <= voided_at:
            is_undone = undone_at is not None and (voided_at is None or undone_at <= voided_at)
            reverts.append(RevenueRevert(line_id, at, net, is_void=False, undone_at=undone_at if is_undone else None))
            left[line_id] = EXACT.subtract(left[line_id], ZERO if is_undone else net)
    for line_id, line in final.items():
        if line.voided_at is not None:
            reverts.append(RevenueRevert(line_id, line.voided_at, left[line_id], is_void=True))
    return reverts


async def prices_of(session: AsyncSession, price_ids: Collection[str]) -> dict[str, RatedPrice]:
    """The prices that lines were charged at; a price never changes."""
    wanted = {price_id for price_id in price_ids if price_id}
    if not wanted:
        return {}
    return {price.id: rated(price) for price in await session.scalars(select(Price).where(in_array(Price.id, wanted)))}


def reverted_figures(net: Decimal) -> RevenueFigures:
    """What was taken back as figures: a fee below 0."""
    return figures_of_fee(net.copy_negate() + ZERO, ZERO, ZERO, ZERO)
