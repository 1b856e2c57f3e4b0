"""The first page: what is earned, what is owed and by whom, what is used, and what comes next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from litestar import Controller, get
from litestar.response import Stream
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.work import LONG_READ
from farthing.billing.dunning.tables import OPEN_CASES
from farthing.calendar.period import Period
from farthing.calendar.windows import WindowSize
from farthing.calendar.zones import first_instant_at, to_local
from farthing.core.caller import READ
from farthing.core.clock import Clock
from farthing.events.usage.cuts import Windows
from farthing.events.usage.event_store import store_of
from farthing.invoices.reads.letterhead import seller_zone
from farthing.invoices.receivable import UNPAID
from farthing.reporting.analytics.catalogue import METRICS
from farthing.web.access.visitors import shows, visitor_of
from farthing.web.dashboard.overview.earnings import MRR_MOVEMENTS, Compared, earnings_by_currency
from farthing.web.dashboard.overview.first_steps import DISMISSED, first_steps
from farthing.web.dashboard.overview.named_ranges import RANGES, named_days
from farthing.web.dashboard.overview.upcoming import upcoming_invoices
from farthing.web.dashboard.overview.usage import FeatureUsage, by_feature
from farthing.web.rendering.answers import HttpRequest, render_in_parts
from farthing.web.rendering.charts import Bar, StripPart
from farthing.web.rendering.words import wording

LARGEST_FEATURES = 3
TOP_DEBTORS = 5
MOST_CURRENCIES = 3
"""How many are shown in full; the others are a line each, which leads to them."""
HOURS = 24
AGES = tuple(wording.AGE_NAMES.values())


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
    """One customer's debt in one currency, and what stands behind it."""

    customer_id: str
    name: str
    currency: str
    unpaid: Decimal
    overdue: Decimal
    invoices: int
    oldest_due: datetime | None
    overdue_count: int
    failed_count: int
    is_dunned: bool
    is_archived: bool

    def reasons(self, now: datetime) -> list[str]:
        """Why it owes, in words, the most pressing first."""
        found = []
        if self.overdue_count and self.oldest_due is not None:
            late = wording.counted((now - self.oldest_due).days, "day")
            found.append(f"{wording.counted(self.overdue_count, 'invoice')} overdue, the oldest by {late}")
        if self.failed_count:
            found.append(f"the last charge of {wording.counted(self.failed_count, 'invoice')} failed")
        if self.is_dunned:
            found.append("in dunning")
        if not self.overdue_count:
            found.append("not due yet")
        if self.is_archived:
            found.append("archived")
        return found


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
    SELECT customer_id, customers.name, owing.currency, unpaid, overdue, invoice_count, oldest_due, overdue_count,
        failed_count, EXISTS (
            SELECT FROM dunning_cases WHERE dunning_cases.customer_id = owing.customer_id
                AND case_status = ANY(:open_cases)
        ), customers.status = 'archived'
    FROM (
        SELECT customer_id, currency, sum(amount_remaining) AS unpaid,
               coalesce(sum(amount_remaining) FILTER (WHERE due_date < :now), 0) AS overdue,
               count(*) AS invoice_count, min(due_date) AS oldest_due,
               count(*) FILTER (WHERE due_date < :now) AS overdue_count,
               count(*) FILTER (WHERE latest_attempt_failed) AS failed_count,
               row_number() OVER (PARTITION BY currency ORDER BY sum(amount_remaining) DESC, customer_id) AS place
        FROM invoices WHERE {UNPAID} GROUP BY customer_id, currency
    ) AS owing JOIN customers ON customers.id = customer_id
    WHERE place <= :most ORDER BY owing.currency, place
    """
)


async def top_debtors(session: AsyncSession, now: datetime) -> dict[str, list[Debtor]]:
    """Those who owe most, largest first, per currency."""
    found: dict[str, list[Debtor]] = {}
    for row in await session.execute(
        _DEBTORS, {"now": now, "most": TOP_DEBTORS, "open_cases": [str(case) for case in OPEN_CASES]}
    ):
        found.setdefault(row.currency, []).append(Debtor(*row))
    return found


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


async def events_per_hour(session: AsyncSession, now: datetime) -> list[tuple[datetime, int]]:
    """How many events carry a time in each of the last `HOURS` hours, oldest first."""
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    hours = [this_hour - timedelta(hours=back) for back in range(HOURS - 1, -1, -1)]
    span = Period(hours[0], this_hour + timedelta(hours=1))
    counts = dict(await store_of(session).events.count_in_windows(session, Windows(WindowSize.HOUR), span))
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


def month_bars(code: str, name: str, months: Sequence[tuple[datetime, Decimal]]) -> list[Bar]:
    """Months as bars; what is below nothing has no height, and its amount as a title."""
    return [
        Bar(f"{start:%b}", max(amount, Decimal(0)), f"{name}, {start:%B %Y}: {wording.money(amount, code)}")
        for start, amount in months
    ]


def change(compared: Compared) -> str:
    """ "+12.5 % against the period before", where there was one to compare with."""
    if compared.change_percent is None:
        return "" if not compared.value else "nothing in the period before"
    sign = "+" if compared.change_percent > 0 else ""
    written = wording.GLOBALS["grouped"](compared.change_percent)
    return f"{sign}{written} % against the period before"


def hour_bars(hours: Sequence[tuple[datetime, int]]) -> list[Bar]:
    """Hours as bars."""
    return [Bar(f"{hour:%H}", Decimal(count), f"{hour:%-d %b, %H:00} UTC: {count:,}") for hour, count in hours]


@dataclass(frozen=True, slots=True)
class FeatureTrend:
    """How much a feature is used, and whether that is more than before."""

    usage: FeatureUsage
    bars: list[Bar]


async def feature_trends(session: AsyncSession, now: datetime, zone: ZoneInfo) -> list[FeatureTrend]:
    """The features that brought most events in the last days."""
    used = await by_feature(session, None, now, zone, most=LARGEST_FEATURES)
    return [FeatureTrend(usage, usage.bars) for usage in sorted(used, key=lambda usage: usage.events, reverse=True)]


class Overview(Controller):
    """The first page."""

    include_in_schema = False
    opt = {LONG_READ: True}

    @get("/", guards=[shows("invoice")])
    async def page(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> Stream:
        """What is earned, what is owed and by whom, and what comes next; then what is used."""
        now, seen, zone = clock.now(), visitor_of(request), await seller_zone(session)
        today = to_local(now, zone).date()
        range_name = request.query_params.get("range", "")
        range_name = range_name if range_name in dict(RANGES) else RANGES[0][0]
        first, last = named_days(range_name, today)
        earned = await earnings_by_currency(session, first, last, zone, now)
        open_amounts = await owed(session, now)
        order = [amount.currency for amount in open_amounts]
        order += sorted(set(earned) - set(order))
        asked = request.query_params.get("currency", "")
        shown = [asked] if asked in order else order[:MOST_CURRENCIES]
        _, end_of_month = named_days("this_month", today)
        until = first_instant_at(datetime.combine(end_of_month + timedelta(days=1), time()), zone)
        may_see_subscriptions = seen.may(READ, "subscription") and seen.may(READ, "customer")
        upcoming, upcoming_count = await upcoming_invoices(session, now, until) if may_see_subscriptions else ((), 0)

        async def usage() -> dict[str, Any]:
            may_see_events = seen.may(READ, "event")
            return {
                "states": await states(session, now),
                "trends": await feature_trends(session, now, zone) if may_see_events else None,
                "hours": await events_per_hour(session, now) if may_see_events else None,
                "hour_bars": hour_bars,
            }

        return render_in_parts(
            request,
            "overview.html",
            "overview_usage.html",
            usage,
            steps=await first_steps(session, seen, request.cookies.get(DISMISSED)),
            now=now,
            zone=zone.key,
            ranges=RANGES,
            range_name=range_name,
            first=first,
            last=last,
            currencies=shown,
            other_currencies=[code for code in order if code not in shown],
            owed={amount.currency: amount for amount in open_amounts},
            earned=earned,
            debtors=await top_debtors(session, now) if seen.may(READ, "customer") else {},
            upcoming=upcoming,
            upcoming_count=upcoming_count,
            movements=[METRICS[key] for key in MRR_MOVEMENTS],
            ages=AGES,
            age_parts=age_parts,
            month_bars=month_bars,
            money_tick=money_tick,
            change=change,
        )
