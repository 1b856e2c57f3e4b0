"""The page of one subscription: its charges, what is attached and scheduled, its invoices, and its history."""

from __future__ import annotations

from collections.abc import Sequence

from litestar import Controller, Response, get
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.plans.tables import Plan
from farthing.catalogue.prices.tables import Price
from farthing.core.caller import READ, WRITE
from farthing.core.clock import Clock
from farthing.core.enums import Status
from farthing.credits.grants.reads import included_in_subscriptions
from farthing.customers.tables import Customer
from farthing.invoices.reads.reading_zones import reading_zones
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import find
from farthing.subscriptions.changes.tables import SubscriptionPause
from farthing.subscriptions.enums import SubscriptionStatus, SubscriptionType
from farthing.subscriptions.tables import Subscription, SubscriptionLineItem, SubscriptionPhase
from farthing.web.access.visitors import shows, visitor_of
from farthing.web.dashboard.accounts.entitlements import usage_windows_of
from farthing.web.dashboard.accounts.grants import latest_applications
from farthing.web.dashboard.alerts import latest_alerts, scopes_of, settings_of
from farthing.web.dashboard.customer_names import names_of
from farthing.web.dashboard.subscriptions.action_pages import ACTIONS
from farthing.web.dashboard.subscriptions.changes.attachments import attached_addons, attached_coupons, coupon_in_words
from farthing.web.dashboard.subscriptions.changes.boundaries import schedules_in_words, waiting_schedules
from farthing.web.dashboard.subscriptions.changes.commitments import charge_commitment_in_words, commitment_in_words
from farthing.web.dashboard.subscriptions.changes.families import family_of
from farthing.web.dashboard.subscriptions.forms.action import period_in_words, price_in_words
from farthing.web.dashboard.subscriptions.forms.terms_form import PAYMENT_TERMS
from farthing.web.dashboard.subscriptions.history import MOST_CHANGES, ItemAndPrice, happenings_of, picture_of
from farthing.web.dashboard.timeline import newest_activities
from farthing.web.rendering.answers import HttpRequest, render

MOST_INVOICES = 24
MOST_CHARGES = 200

_OFFERED: dict[SubscriptionStatus, tuple[str, ...]] = {
    SubscriptionStatus.DRAFT: ("activate", "charges", "add-addon"),
    SubscriptionStatus.INCOMPLETE: ("charges", "cancel"),
    SubscriptionStatus.TRIALING: (
        *("plan", "charges", "commitment", "add-addon", "add-coupon", "share", "invoice-together", "trial", "cancel"),
    ),
    SubscriptionStatus.ACTIVE: (
        *("plan", "charges", "commitment", "add-addon", "add-coupon", "share", "invoice-together", "pause", "cancel"),
    ),
    SubscriptionStatus.PAUSED: ("resume", "cancel"),
}


class SubscriptionPage(Controller):
    """One subscription."""

    path = "/subscriptions"
    include_in_schema = False

    @get("/{subscription_id:str}", guards=[shows("subscription")])
    async def show(
        self, subscription_id: str, request: HttpRequest, session: AsyncSession, clock: Clock
    ) -> Response[str]:
        """One subscription."""
        now, visitor = clock.now(), visitor_of(request)
        row = await find(session, Subscription, subscription_id)
        items = await _items(session, row)
        pauses = await _pauses(session, row)
        invoices = await _invoices(session, row) if visitor.may(READ, "invoice") else []
        schedules = await waiting_schedules(session, row.id)
        return render(
            request,
            "subscriptions/subscription.html",
            subscription=row,
            payment_terms=dict(PAYMENT_TERMS).get(row.payment_terms or "", ""),
            actions=_actions(row) if visitor.may(WRITE, "subscription") else [],
            activities=await newest_activities(request, session, entity_id=row.id),
            activity_query={"entity_id": row.id},
            plan=await session.get(Plan, row.plan_id),
            rhythm=period_in_words(row.billing_period, row.billing_period_count),
            now=now,
            zone=row.timezone,
            names=await names_of(session, {row.customer_id, row.payer_id}),
            items=[item for item in items if item[0].end_date is None or item[0].end_date > now],
            former_items=[item for item in items if item[0].end_date is not None and item[0].end_date <= now],
            price_words=price_in_words,
            addons=await attached_addons(session, row.id, now),
            coupons=await attached_coupons(session, row.id, now),
            coupon_words=coupon_in_words,
            commitment=commitment_in_words(row),
            charge_commitment=charge_commitment_in_words,
            family=await family_of(session, row),
            parent=await _parent(session, row),
            phases=await _phases(session, row),
            schedules=schedules,
            schedule_words=await schedules_in_words(session, schedules),
            pause=next((pause for pause in pauses if pause.id == row.active_pause_id), None),
            invoices=invoices,
            zones=await reading_zones(session, invoices),
            grants=(await included_in_subscriptions(session, [row.id])).get(row.id, []),
            applications=await latest_applications(session, row.id),
            spend_settings=await settings_of(session, row),
            spend_scopes=await scopes_of(session, row),
            alerts=await latest_alerts(session, row.id),
            usage_windows=await usage_windows_of(session, row.id, now),
            happenings=await happenings_of(session, row, pauses, items),
            picture=picture_of(row, items, pauses, invoices, now),
        )


def _actions(row: Subscription) -> list[tuple[str, str]]:
    """The changes that the page offers, with their names."""
    if row.subscription_type is SubscriptionType.INHERITED:
        return []
    offered = list(_OFFERED.get(row.subscription_status, ()))
    if row.cancel_at is not None and "plan" in offered:
        offered.remove("plan")
    if row.active_pause_id is not None and "pause" in offered:
        offered.remove("pause")
    return [(name, ACTIONS[name].title) for name in offered]


async def _items(session: AsyncSession, row: Subscription) -> list[ItemAndPrice]:
    item = SubscriptionLineItem
    rows = await session.execute(
        select(item, Price)
        .join(Price, Price.id == item.price_id)
        .where(item.subscription_id == row.id, item.status == Status.PUBLISHED)
        .order_by(item.start_date, item.id)
        .limit(MOST_CHARGES)
    )
    return [(line, price) for line, price in rows]


async def _phases(session: AsyncSession, row: Subscription) -> Sequence[SubscriptionPhase]:
    table = SubscriptionPhase
    rows = await session.scalars(
        select(table)
        .where(table.subscription_id == row.id, table.status == Status.PUBLISHED)
        .order_by(table.start_date)
    )
    return rows.all()


async def _parent(session: AsyncSession, row: Subscription) -> tuple[str, str] | None:
    """The subscription above this one, and whose it is."""
    if row.parent_subscription_id is None:
        return None
    found = await session.execute(
        select(Subscription.id, Customer.name)
        .join(Customer, Customer.id == Subscription.customer_id)
        .where(Subscription.id == row.parent_subscription_id)
    )
    upper = found.one_or_none()
    return None if upper is None else (upper[0], upper[1])


async def _pauses(session: AsyncSession, row: Subscription) -> Sequence[SubscriptionPause]:
    table = SubscriptionPause
    rows = await session.scalars(
        select(table)
        .where(table.subscription_id == row.id, table.status == Status.PUBLISHED)
        .order_by(table.pause_start.desc(), table.id)
        .limit(MOST_CHANGES)
    )
    return rows.all()[::-1]


async def _invoices(session: AsyncSession, row: Subscription) -> Sequence[Invoice]:
    rows = await session.scalars(
        select(Invoice)
        .where(
            Invoice.subscription_id == row.id,
            Invoice.status == Status.PUBLISHED,
            Invoice.invoice_status != "SKIPPED",
        )
        .order_by(Invoice.created_at.desc(), Invoice.id.desc())
        .limit(MOST_INVOICES)
    )
    return rows.all()
