"""Customers: the list, and one customer from what is owed down to what was used."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from litestar import Controller, Response, get
from sqlalchemy import func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from farthing.api.work import unit_of_work
from farthing.calendar.zones import zone
from farthing.catalogue.plans.tables import Plan
from farthing.core.caller import READ
from farthing.core.clock import Clock
from farthing.core.enums import Status
from farthing.core.ids import new_ulid
from farthing.customers.tables import Customer
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import InvoiceConfig
from farthing.invoices.annotations.tables import AnnotatedType
from farthing.invoices.reads.reading_zones import reading_zones
from farthing.invoices.receivable import UNPAID
from farthing.invoices.receivables.aging import age
from farthing.invoices.receivables.summary import CustomerInvoiceSummary, SummaryScope, summarise
from farthing.invoices.tables import Invoice
from farthing.notifications.email.reads import list_emails
from farthing.notifications.email.schemas import EmailQuery
from farthing.payments.processing.descriptions import method_of
from farthing.payments.refunds.tables import RefundReason
from farthing.payments.refunds.unapplied import unapplied_refunds_of
from farthing.payments.tables import Payment
from farthing.payments.unapplied.reads import balances
from farthing.storage.queries.rows import find
from farthing.subscriptions.tables import Subscription
from farthing.web.access.visitors import shows, visitor_of
from farthing.web.dashboard.accounts.wallets import wallets_of
from farthing.web.dashboard.annotations import annotations_of
from farthing.web.dashboard.customer_names import names_of
from farthing.web.dashboard.overview import usage
from farthing.web.dashboard.overview.pages import AGES, age_parts
from farthing.web.dashboard.timeline import newest_activities
from farthing.web.rendering.answers import HttpRequest, render
from farthing.web.rendering.charts import StripPart
from farthing.web.rendering.words import wording

SHOWN = 10
MOST_RELATED = 50


@dataclass(frozen=True, slots=True)
class Debt:
    """What a customer is asked to pay in one currency."""

    currency: str
    unpaid: Decimal
    overdue: Decimal


async def debts(session: AsyncSession, customer_ids: Sequence[str], now: datetime) -> dict[str, list[Debt]]:
    """What each of these customers is asked to pay, by currency."""
    unpaid, late = func.sum(Invoice.amount_remaining), Invoice.due_date < now
    rows = await session.execute(
        select(
            Invoice.customer_id,
            Invoice.currency,
            unpaid,
            func.coalesce(func.sum(Invoice.amount_remaining).filter(late), 0),
        )
        .where(Invoice.customer_id.in_(customer_ids), text(UNPAID))
        .group_by(Invoice.customer_id, Invoice.currency)
        .order_by(unpaid.desc())
    )
    found: dict[str, list[Debt]] = defaultdict(list)
    for customer_id, code, amount, overdue in rows:
        found[customer_id].append(Debt(code, amount, overdue))
    return found


async def owed_currencies(session: AsyncSession) -> list[str]:
    """Currencies in which anything is owed, that of most unpaid invoices first: a phone has room for few."""
    return list(
        await session.scalars(
            select(Invoice.currency)
            .where(text(UNPAID))
            .group_by(Invoice.currency)
            .order_by(func.count().desc(), Invoice.currency)
        )
    )


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A subscription and what it subscribes to."""

    subscription: Subscription
    plan_name: str
    other_party: str
    """Who else is involved: the payer, or the one who uses, when that is not this customer."""
    other_party_id: str


async def subscriptions_of(session: AsyncSession, customer: Customer) -> list[Subscribed]:
    """What the customer uses or pays for, newest first."""
    rows = await session.execute(
        select(Subscription, Plan.name)
        .outerjoin(Plan, Plan.id == Subscription.plan_id)
        .where(
            or_(Subscription.customer_id == customer.id, Subscription.payer_id == customer.id),
            Subscription.status == Status.PUBLISHED,
        )
        .order_by(Subscription.created_at.desc(), Subscription.id.desc())
        .limit(MOST_RELATED)
    )
    found = [(row[0], row[1]) for row in rows]
    others = {party for subscription, _ in found for party in (subscription.customer_id, subscription.payer_id)} - {
        customer.id
    }
    names = await names_of(session, others)
    return [
        Subscribed(subscription, name or subscription.plan_id, names.get(other, ""), other)
        for subscription, name in found
        for other in [next((p for p in (subscription.customer_id, subscription.payer_id) if p != customer.id), "")]
    ]


@dataclass(frozen=True, slots=True)
class Relative:
    """Another customer in the same hierarchy of subscriptions."""

    customer_id: str
    name: str
    relation: str


async def family(session: AsyncSession, customer: Customer) -> list[Relative]:
    """Customers whose subscription inherits from this one's, and those this one's inherits from."""
    child, parent = aliased(Subscription), aliased(Subscription)
    tied = select(child.customer_id, parent.customer_id).join(parent, parent.id == child.parent_subscription_id)
    rows = await session.execute(
        tied.where(
            or_(child.customer_id == customer.id, parent.customer_id == customer.id),
            child.status == Status.PUBLISHED,
            child.customer_id != parent.customer_id,
        )
        .distinct()
        .limit(MOST_RELATED)
    )
    found = [
        (upper, "Shares its plan with this customer")
        if lower == customer.id
        else (lower, "Shares this customer's plan")
        for lower, upper in rows
    ]
    names = await names_of(session, {other for other, _ in found})
    relatives = [Relative(other, names.get(other, other), relation) for other, relation in found]
    return sorted(relatives, key=lambda relative: (relative.relation, relative.name.lower()))


async def latest_invoices(session: AsyncSession, customer_id: str) -> Sequence[Invoice]:
    """Invoices the customer pays or incurred: unpaid ones first, the longest overdue leading, then the newest."""
    found = await session.scalars(
        select(Invoice)
        .where(
            or_(Invoice.customer_id == customer_id, Invoice.owner_id == customer_id),
            Invoice.status == Status.PUBLISHED,
            Invoice.invoice_status != "SKIPPED",
        )
        .order_by(text(f"({UNPAID}) DESC"), text(f"CASE WHEN {UNPAID} THEN due_date END"), Invoice.created_at.desc())
        .limit(SHOWN)
    )
    return found.all()


async def payments_of(session: AsyncSession, customer_id: str) -> Sequence[tuple[Payment, str | None]]:
    """The newest payments towards the customer or an invoice it pays, with the invoice's number."""
    rows = await session.execute(
        select(Payment, Invoice.invoice_number)
        .outerjoin(Invoice, Invoice.id == Payment.destination_id)
        .where(
            or_(Invoice.customer_id == customer_id, Payment.destination_id == customer_id),
            Payment.status == Status.PUBLISHED,
        )
        .order_by(Payment.created_at.desc(), Payment.id.desc())
        .limit(SHOWN)
    )
    return rows.all()


def split(code: str, usage_part: str, fixed_part: str) -> list[StripPart]:
    """What is unpaid, as usage and fixed charges."""
    return [
        StripPart("Usage", Decimal(usage_part), f"Usage: {wording.money(usage_part, code)}", "usage"),
        StripPart("Fixed", Decimal(fixed_part), f"Fixed: {wording.money(fixed_part, code)}", "fixed"),
    ]


def summary_split(summary: CustomerInvoiceSummary) -> list[StripPart]:
    return split(summary.currency, summary.unpaid_usage_charges, summary.unpaid_fixed_charges)


class CustomerPages(Controller):
    """Customers."""

    path = "/customers"
    include_in_schema = False

    @get("/{customer_id:str}", guards=[shows("customer")])
    async def one(self, customer_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """One customer, from what is owed down to what was used."""
        now, seen, work = clock.now(), visitor_of(request), unit_of_work(request)
        customer = await find(session, Customer, customer_id)
        wanted = request.query_params.get("scope", SummaryScope.ALL.value)
        scope = SummaryScope(wanted) if wanted in set(SummaryScope) else SummaryScope.ALL
        money = seen.may(READ, "invoice")
        summary = await summarise(work.database, work.scope, customer.id, now, scope) if money else None
        aging = await age(work.database, work.scope, customer.id, now) if money else None
        features = (
            await usage.by_feature(session, [customer.id], now, zone(customer.timezone))
            if seen.may(READ, "event")
            else None
        )
        invoices = await latest_invoices(session, customer.id) if money else None
        return render(
            request,
            "customer.html",
            customer=customer,
            activities=await newest_activities(request, session, customer_id=customer.id),
            activity_query={"customer_id": customer.id},
            annotations=await annotations_of(session, AnnotatedType.CUSTOMER, customer.id),
            emails=(await list_emails(session, EmailQuery(limit=SHOWN), customer_id=customer.id))[0],
            now=now,
            zone=(await current.read(session, InvoiceConfig)).timezone,
            scope=scope,
            scopes=list(SummaryScope),
            summary=summary,
            aging={item.currency: item for item in aging.items} if aging else {},
            age_parts=age_parts,
            ages=AGES,
            summary_split=summary_split,
            subscriptions=await subscriptions_of(session, customer) if seen.may(READ, "subscription") else None,
            family=await family(session, customer) if seen.may(READ, "subscription") else [],
            features=features,
            invoices=invoices,
            zones=await reading_zones(session, invoices or ()),
            method_of=method_of,
            payments=await payments_of(session, customer.id) if seen.may(READ, "payment") else None,
            wallets=await wallets_of(session, customer.id, now) if seen.may(READ, "wallet") else None,
            unapplied=await balances(session, customer.id) if seen.may(READ, "payment") else [],
            unapplied_refunds=(
                await unapplied_refunds_of(session, customer.id, SHOWN) if seen.may(READ, "payment") else []
            ),
            refund_reasons=list(RefundReason),
            once=new_ulid(),
        )
