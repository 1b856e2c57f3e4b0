"""The first page: what was invoiced, what is owed and by whom, and whether events arrive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from litestar import Controller, Response, get
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.caller import READ
from farthing.core.clock import Clock
from farthing.invoices.receivable import COUNTED, UNPAID
from farthing.web.access.visitors import shows, visitor_of
from farthing.web.rendering import wording
from farthing.web.rendering.answers import HttpRequest, render
from farthing.web.rendering.charts import Bar, StripPart

MONTHS = 12
TOP_DEBTORS = 8
HOURS = 24
AGES = ("Not yet due", "0–30 days", "31–60 days", "61–90 days", "Over 90 days")


@dataclass(frozen=True, slots=True)
class Owed:
    """What all customers owe in one currency; `ages` are amounts by days past due, in the order of `AGES`."""

    currency: str
    unpaid: Decimal
    unpaid_count: int
    overdue: Decimal
    overdue_count: int
    usage: Decimal
    ages: tuple[Decimal, ...]
    age_counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Debtor:
    """One customer's debt in one currency."""

    customer_id: str
    name: str
    currency: str
    unpaid: Decimal
    overdue: Decimal
    invoices: int
    oldest_due: datetime | None


@dataclass(frozen=True, slots=True)
class Month:
    """What was invoiced in one calendar month (UTC), in one currency."""

    start: datetime
    total: Decimal


_OWED = text(
    f"""
    SELECT currency, sum(amount_remaining), count(*),
           coalesce(sum(amount_remaining) FILTER (WHERE due_date < :now), 0), count(*) FILTER (WHERE due_date < :now),
           sum(usage_remaining),
           coalesce(sum(amount_remaining) FILTER (WHERE age = 0), 0),
           coalesce(sum(amount_remaining) FILTER (WHERE age = 1), 0),
           coalesce(sum(amount_remaining) FILTER (WHERE age = 2), 0),
           coalesce(sum(amount_remaining) FILTER (WHERE age = 3), 0),
           coalesce(sum(amount_remaining) FILTER (WHERE age = 4), 0),
           count(*) FILTER (WHERE age = 0), count(*) FILTER (WHERE age = 1), count(*) FILTER (WHERE age = 2),
           count(*) FILTER (WHERE age = 3), count(*) FILTER (WHERE age = 4)
    FROM (
        SELECT *, CASE WHEN due_date IS NULL OR due_date >= :now THEN 0
                       WHEN due_date >= :now - interval '30 days' THEN 1
                       WHEN due_date >= :now - interval '60 days' THEN 2
                       WHEN due_date >= :now - interval '90 days' THEN 3 ELSE 4 END AS age
        FROM invoices WHERE {UNPAID}
    ) AS open GROUP BY currency ORDER BY count(*) DESC, currency
    """
)


async def owed(session: AsyncSession, now: datetime) -> list[Owed]:
    """Per currency, the one with most unpaid invoices first. Buckets as of the customer's ageing."""
    rows = await session.execute(_OWED, {"now": now})
    return [
        Owed(
            currency=row[0],
            unpaid=row[1],
            unpaid_count=row[2],
            overdue=row[3],
            overdue_count=row[4],
            usage=row[5],
            ages=tuple(row[6:11]),
            age_counts=tuple(row[11:]),
        )
        for row in rows
    ]


_DEBTORS = text(
    f"""
    SELECT customer_id, customers.name, owing.currency, unpaid, overdue, invoice_count, oldest_due
    FROM (
        SELECT customer_id, currency, sum(amount_remaining) AS unpaid,
               coalesce(sum(amount_remaining) FILTER (WHERE due_date < :now), 0) AS overdue,
               count(*) AS invoice_count, min(due_date) AS oldest_due,
               row_number() OVER (PARTITION BY currency ORDER BY sum(amount_remaining) DESC, customer_id) AS place
        FROM invoices WHERE {UNPAID} GROUP BY customer_id, currency
    ) AS owing JOIN customers ON customers.id = customer_id
    WHERE place <= :most ORDER BY owing.currency, place
    """
)


async def top_debtors(session: AsyncSession, now: datetime) -> dict[str, list[Debtor]]:
    """Those who owe most, largest first, per currency."""
    found: dict[str, list[Debtor]] = {}
    for row in await session.execute(_DEBTORS, {"now": now, "most": TOP_DEBTORS}):
        found.setdefault(row.currency, []).append(Debtor(*row))
    return found


_INVOICED = text(
    f"""
    SELECT currency, date_trunc('month', finalized_at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS month, sum(total)
    FROM invoices WHERE {COUNTED} AND finalized_at >= :start AND finalized_at < :end GROUP BY currency, month
    """
)


def months_until(now: datetime, count: int) -> list[datetime]:
    """The starts of the last `count` calendar months (UTC), oldest first, the present one last."""
    start = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    found = [start]
    while len(found) < count:
        found.append((found[-1] - timedelta(days=1)).replace(day=1))
    return found[::-1]


async def invoiced(session: AsyncSession, now: datetime) -> dict[str, list[Month]]:
    """Totals of finalized invoices by month of finalization, months without any as zero, per currency."""
    months = months_until(now, MONTHS)
    end = (months[-1] + timedelta(days=32)).replace(day=1)
    rows = await session.execute(_INVOICED, {"start": months[0], "end": end})
    totals: dict[str, dict[datetime, Decimal]] = {}
    for code, month, total in rows:
        totals.setdefault(code, {})[month] = total
    return {
        code: [Month(month, by_month.get(month, Decimal(0))) for month in months] for code, by_month in totals.items()
    }


_STATES = text(
    f"""
    SELECT CASE WHEN invoice_status <> 'FINALIZED' THEN invoice_status
                WHEN {UNPAID} AND due_date < :now THEN 'OVERDUE'
                WHEN payment_status = 'PENDING' THEN 'UNPAID' ELSE payment_status END AS state, count(*)
    FROM invoices WHERE status = 'published' GROUP BY state ORDER BY count(*) DESC, state
    """
)


async def states(session: AsyncSession, now: datetime) -> list[tuple[str, int]]:
    """How many invoices stand where; an overdue one counts as that alone."""
    return [(state, count) for state, count in await session.execute(_STATES, {"now": now})]


_EVENTS = text(
    """
    SELECT date_trunc('hour', timestamp AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS hour, count(*)
    FROM events WHERE timestamp >= :start AND timestamp < :end GROUP BY hour
    """
)


async def events_per_hour(session: AsyncSession, now: datetime) -> list[tuple[datetime, int]]:
    """How many events carry a time in each of the last `HOURS` hours, oldest first."""
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    hours = [this_hour - timedelta(hours=back) for back in range(HOURS - 1, -1, -1)]
    rows = await session.execute(_EVENTS, {"start": hours[0], "end": this_hour + timedelta(hours=1)})
    counts: dict[datetime, int] = dict(rows.all())
    return [(hour, counts.get(hour, 0)) for hour in hours]


def age_parts(code: str, ages: Sequence[Decimal]) -> list[StripPart]:
    """An ageing as parts of a strip."""
    return [
        StripPart(label, amount, f"{label}: {wording.money(amount, code)}", f"age-{number}")
        for number, (label, amount) in enumerate(zip(AGES, ages, strict=True))
    ]


def money_tick(code: str) -> Callable[[Decimal], str]:
    """How a grid line of money is written."""
    return lambda amount: wording.short_money(amount, code)


def month_bars(code: str, months: Sequence[Month]) -> list[Bar]:
    """Months as bars."""
    return [
        Bar(
            f"{month.start:%b}",
            month.total,
            f"{month.start:%B %Y}: {wording.money(month.total, code)}",
        )
        for month in months
    ]


def hour_bars(hours: Sequence[tuple[datetime, int]]) -> list[Bar]:
    """Hours as bars."""
    return [Bar(f"{hour:%H}", Decimal(count), f"{hour:%-d %b, %H:00} UTC: {count:,}") for hour, count in hours]


class Overview(Controller):
    """The first page."""

    include_in_schema = False

    @get("/", guards=[shows("invoice")])
    async def page(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """What was invoiced, what is owed, by whom, and whether events arrive."""
        now = clock.now()
        seen = visitor_of(request)
        by_month = await invoiced(session, now)
        open_amounts = await owed(session, now)
        order = [amount.currency for amount in open_amounts]
        currencies = order + sorted(set(by_month) - set(order))
        return render(
            request,
            "overview.html",
            now=now,
            currencies=currencies,
            owed={amount.currency: amount for amount in open_amounts},
            invoiced=by_month,
            debtors=await top_debtors(session, now) if seen.may(READ, "customer") else {},
            states=await states(session, now),
            hours=await events_per_hour(session, now) if seen.may(READ, "event") else None,
            ages=AGES,
            age_parts=age_parts,
            month_bars=month_bars,
            hour_bars=hour_bars,
            money_tick=money_tick,
        )
