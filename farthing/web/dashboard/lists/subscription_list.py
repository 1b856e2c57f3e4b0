"""The list of subscriptions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from litestar import Controller, Response, get
from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.billing import BillingPeriod
from farthing.calendar.zones import zone_or_abbreviation
from farthing.catalogue.plans.tables import Plan
from farthing.core.enums import Status
from farthing.customers.tables import Customer
from farthing.subscriptions.enums import SubscriptionStatus
from farthing.subscriptions.tables import Subscription
from farthing.web.access.visitors import shows
from farthing.web.dashboard.customer_names import names_of
from farthing.web.dashboard.lists.cells import date_text, day_column, linked
from farthing.web.dashboard.lists.showing import file_of_list, show_list
from farthing.web.dashboard.receivables.invoices import zone_of
from farthing.web.rendering.answers import HttpRequest
from farthing.web.rendering.listing import (
    FilterKind,
    ListColumn,
    ListDefinition,
    ListFilter,
    day_filters,
    like,
)
from farthing.web.rendering.words import wording

MOST_PLANS = 200
"""To choose from; a link may be about any other."""
_CUSTOMER_NAME = (
    select(func.lower(Customer.name))
    .where(Customer.id == Subscription.customer_id)
    .correlate(Subscription)
    .scalar_subquery()
)


@dataclass(frozen=True, slots=True)
class SubscriptionRow:
    """A subscription, who has it, and to what plan."""

    subscription: Subscription
    customer_name: str
    plan_name: str

    @property
    def zone(self) -> str:
        return self.subscription.timezone

    @property
    def interval(self) -> str:
        """ "Monthly", "Every 3 months"."""
        count, period = self.subscription.billing_period_count, self.subscription.billing_period
        written = wording.words(period)
        return written if count == 1 else f"{written}, every {count}"

    @property
    def ends_at(self) -> datetime | None:
        return self.subscription.cancel_at or self.subscription.end_date


_ENDS = func.coalesce(Subscription.cancel_at, Subscription.end_date)


def _period_text(row: SubscriptionRow) -> str:
    start, end = row.subscription.current_period_start, row.subscription.current_period_end
    return f"{date_text(start, row.zone)} to {date_text(end, row.zone)}"


COLUMNS: tuple[ListColumn[SubscriptionRow], ...] = (
    ListColumn(
        "customer-name",
        "Customer",
        lambda row: linked(f"/subscriptions/{row.subscription.id}", row.customer_name),
        lambda row: row.customer_name,
        sort=_CUSTOMER_NAME,
        is_name=True,
    ),
    ListColumn("plan-name", "Plan", lambda row: row.plan_name, lambda row: row.plan_name, sort=func.lower(Plan.name)),
    ListColumn(
        "status",
        "State",
        lambda row: wording.chip(row.subscription.subscription_status),
        lambda row: wording.words(row.subscription.subscription_status),
        sort=Subscription.subscription_status.expression,
    ),
    ListColumn(
        "period",
        "Open period",
        lambda row: wording.period(
            row.subscription.current_period_start, row.subscription.current_period_end, row.zone
        ),
        _period_text,
        sort=Subscription.current_period_end.expression,
        is_wide=True,
    ),
    ListColumn(
        "interval",
        "Billed",
        lambda row: row.interval,
        lambda row: row.interval,
        sort=Subscription.billing_period.expression,
        is_wide=True,
    ),
    ListColumn(
        "currency",
        "Currency",
        lambda row: row.subscription.currency.upper(),
        lambda row: row.subscription.currency,
        sort=Subscription.currency.expression,
        is_wide=True,
    ),
    day_column(
        "started", "Since", Subscription.start_date.expression, lambda row: row.subscription.start_date, is_shown=True
    ),
    day_column("trial-end", "Trial ends", Subscription.trial_end.expression, lambda row: row.subscription.trial_end),
    day_column("ends", "Ends", _ENDS, lambda row: row.ends_at),
    day_column("created", "Created", Subscription.created_at.expression, lambda row: row.subscription.created_at),
    ListColumn(
        "lookup-key",
        "Lookup key",
        lambda row: row.subscription.lookup_key,
        lambda row: row.subscription.lookup_key,
        sort=Subscription.lookup_key.expression,
        is_shown=False,
    ),
    ListColumn("id", "Id", lambda row: row.subscription.id, lambda row: row.subscription.id, is_shown=False),
)


def _of_customer(typed: str) -> ColumnElement[bool]:
    pattern = like(typed)
    named = select(Customer.id).where(
        or_(
            Customer.id == typed,
            Customer.external_id == typed,
            Customer.name.ilike(pattern),
            Customer.email.ilike(pattern),
        )
    )
    return Subscription.customer_id.in_(named)


def _filters(plans: Sequence[tuple[str, str]], currencies: Sequence[str]) -> tuple[ListFilter, ...]:
    choice = FilterKind.CHOICE
    return (
        ListFilter(
            "state",
            "State",
            choice,
            lambda status: Subscription.subscription_status == status,
            tuple((status.value, wording.words(status)) for status in SubscriptionStatus),
            is_main=True,
        ),
        ListFilter("plan", "Plan", choice, lambda plan_id: Subscription.plan_id == plan_id, plans, is_main=True),
        ListFilter("customer", "Customer", FilterKind.TEXT, _of_customer, is_main=True),
        ListFilter(
            "currency",
            "Currency",
            choice,
            lambda code: Subscription.currency == code,
            tuple((code, code.upper()) for code in currencies),
        ),
        ListFilter(
            "interval",
            "Billed",
            choice,
            lambda period: Subscription.billing_period == period,
            tuple((period.value, wording.words(period)) for period in BillingPeriod),
        ),
        ListFilter("ending", "Has an end", FilterKind.TICK, lambda _: _ENDS.is_not(None)),
        *day_filters("started", "Since", Subscription.start_date.expression),
        *day_filters("renews", "Period ends", Subscription.current_period_end.expression),
        *day_filters("ends", "Ends", _ENDS),
    )


async def subscription_list(session: AsyncSession, *, plan_id: str) -> ListDefinition[SubscriptionRow]:
    """The list; the plan that it is narrowed to is among those to choose from."""
    named = select(Plan.id, Plan.name).order_by((Plan.id == plan_id).desc(), func.lower(Plan.name), Plan.id)
    plans = (await session.execute(named.limit(MOST_PLANS))).all()
    currencies = await session.scalars(select(Subscription.currency).distinct().order_by(Subscription.currency))
    return ListDefinition(
        key="subscriptions",
        path="/subscriptions",
        statement=select(Subscription, Plan.name)
        .outerjoin(Plan, Plan.id == Subscription.plan_id)
        .where(Subscription.status == Status.PUBLISHED),
        columns=COLUMNS,
        filters=_filters([(plan_id, name) for plan_id, name in plans], currencies.all()),
        order=(Subscription.created_at.desc(), Subscription.id.desc()),
        rows_of=_rows_of(session),
        zone=zone_or_abbreviation(await zone_of(session)),
    )


def _rows_of(session: AsyncSession) -> Callable[[Sequence[Any]], Awaitable[Sequence[SubscriptionRow]]]:
    async def rows_of(found: Sequence[Any]) -> Sequence[SubscriptionRow]:
        names = await names_of(session, {subscription.customer_id for subscription, _ in found})
        return [
            SubscriptionRow(
                subscription,
                names.get(subscription.customer_id, subscription.customer_id),
                plan_name or subscription.plan_id,
            )
            for subscription, plan_name in found
        ]

    return rows_of


async def _definition(request: HttpRequest, session: AsyncSession) -> ListDefinition[SubscriptionRow]:
    return await subscription_list(session, plan_id=request.query_params.get("plan", "")[:50].replace("\x00", ""))


class SubscriptionList(Controller):
    """The list of subscriptions, as a page and as a file."""

    path = "/subscriptions"
    include_in_schema = False

    @get("/", guards=[shows("subscription")])
    async def browse(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """All subscriptions, narrowed, sorted, in pages."""
        return await show_list(request, session, "subscriptions.html", await _definition(request, session))

    @get("/export.csv", guards=[shows("subscription")])
    async def export(self, request: HttpRequest, session: AsyncSession) -> Response[bytes]:
        """The same rows and columns as a file."""
        return await file_of_list(request, session, await _definition(request, session))
