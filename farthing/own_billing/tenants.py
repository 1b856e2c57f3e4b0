"""Taking tenants in as customers of the host, and keeping their status what their bill makes it.

Rule: docs/rules/own-billing.md#tenants
Rule: docs/rules/own-billing.md#status
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import exists, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.changes.opening import open_subscription
from farthing.catalogue.prices.tables import Price
from farthing.core.enums import Status
from farthing.core.errors import FarthingError, InvalidOperation
from farthing.customers.lifecycle import create as create_customer
from farthing.customers.schemas import CreateCustomerRequest
from farthing.customers.tables import Customer
from farthing.identity.credentials import keys
from farthing.identity.tables import InternalStatus, Tenant, User, UserType
from farthing.invoices.ports import InvoicePorts
from farthing.invoices.receivable import UNPAID, PaymentStatus
from farthing.invoices.tables import Invoice
from farthing.own_billing.host import BillingHost, customer_of, is_tenant, plan_named, subscription_of
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import in_array, lock_row
from farthing.storage.scope import SYSTEM
from farthing.subscriptions.schemas.requests import CreateSubscriptionRequest

log = structlog.get_logger(__name__)

NEW = timedelta(days=7)
"""Until when a tenant counts as new, and is taken in by itself; others are taken in by `farthing billing adopt`."""
PAGE = 200


async def take_in(host: BillingHost, tenant_id: str) -> bool:
    """Make a tenant a customer of the host, on its plan; False where it is one already. The host is none of its own.

    The unique external id of customers makes two at once one. Raises InvalidOperation without the plan.
    """
    if tenant_id == host.scope.tenant_id:
        return False
    async with host.database.transaction(SYSTEM, read_only=True) as session:
        tenant = await session.get_one(Tenant, tenant_id)
        owner = await session.scalar(
            select(User.email)
            .where(User.tenant_id == tenant_id, User.type == UserType.USER, User.email.is_not(None))
            .order_by(User.created_at, User.id)
            .limit(1)
        )
    async with host.session() as session:
        customer = await customer_of(session, tenant_id)
        is_new = customer is None
        if customer is None:
            asked = CreateCustomerRequest(external_id=tenant_id, name=tenant.name, email=owner or "")
            customer = await create_customer(session, asked, strict_ids=False)
            await session.flush()
        if await subscription_of(session, customer.id) is None:
            await _subscribe(session, host, customer)
        return is_new


async def _subscribe(session: AsyncSession, host: BillingHost, customer: Customer) -> None:
    plan = await plan_named(session, host.plan)
    if plan is None:
        raise InvalidOperation(f"the plan '{host.plan}' of own billing is not there", {"plan": host.plan})
    price = await session.scalar(
        select(Price).where(Price.entity_id == plan.id, Price.status == Status.PUBLISHED).order_by(Price.id).limit(1)
    )
    if price is None:
        raise InvalidOperation(f"the plan '{host.plan}' of own billing has no price", {"plan": host.plan})
    asked = CreateSubscriptionRequest(
        customer_id=customer.id,
        plan_id=plan.id,
        currency=price.currency,
        billing_period=price.billing_period,
        billing_period_count=price.billing_period_count,
    )
    await open_subscription(session, asked, host.clock.now(), ports_of(session, InvoicePorts).hooks)


async def take_in_new(host: BillingHost, now: datetime) -> int:
    """Take in the tenants that signed up lately; a failure is logged and tried again by the next run."""
    return await _take_in_all(host, since=now - NEW)


async def adopt(host: BillingHost) -> int:
    """Take in every tenant there is; how many were not customers before."""
    return await _take_in_all(host, since=None)


async def _take_in_all(host: BillingHost, since: datetime | None) -> int:
    count = 0
    for tenant_id in await _tenants(host, since):
        try:
            count += await take_in(host, tenant_id)
        except FarthingError as error:
            log.warning("own_billing.not_taken_in", tenant_id=tenant_id, reason=error.message)
    return count


async def _tenants(host: BillingHost, since: datetime | None) -> Sequence[str]:
    """Tenants that are not customers yet, oldest first."""
    async with host.database.transaction(SYSTEM, read_only=True) as session:
        query = select(Tenant.id).where(Tenant.status == Status.PUBLISHED, Tenant.id != host.scope.tenant_id)
        if since is not None:
            query = query.where(Tenant.created_at >= since)
        found = (await session.scalars(query.order_by(Tenant.created_at, Tenant.id))).all()
    async with host.session(read_only=True) as session:
        query = select(Customer.external_id).where(Customer.status == Status.PUBLISHED)
        known = set(await session.scalars(query.where(in_array(Customer.external_id, found))))
    return [tenant_id for tenant_id in found if tenant_id not in known]


async def sync_statuses(host: BillingHost, grace: timedelta) -> int:
    """Suspend tenants that are overdue for longer than `grace`, and lift that once they are not; how many changed."""
    async with host.database.transaction(SYSTEM, read_only=True) as session:
        rows = await session.execute(
            select(Tenant.id, Tenant.internal_status).where(
                Tenant.status == Status.PUBLISHED, Tenant.id != host.scope.tenant_id
            )
        )
        statuses = {row.id: row.internal_status for row in rows}
    changed = 0
    async with host.session(read_only=True) as session:
        wanted = await _wanted_statuses(session, host.clock.now() - grace)
    for tenant_id, status in statuses.items():
        due = wanted.get(tenant_id, status)
        if due is not status:
            changed += await _set_status(host, tenant_id, status, due)
    return changed


async def _wanted_statuses(session: AsyncSession, overdue_before: datetime) -> dict[str, InternalStatus]:
    """What the bills of tenants make of them, by tenant; one that has neither paid nor owed stays as it is."""
    late = exists().where(Invoice.customer_id == Customer.id, text(UNPAID), Invoice.due_date < overdue_before)
    paid = exists().where(
        Invoice.customer_id == Customer.id,
        Invoice.payment_status.in_((PaymentStatus.SUCCEEDED, PaymentStatus.OVERPAID)),
    )
    rows = await session.execute(select(Customer.external_id, late, paid).where(is_tenant()))
    wanted = {}
    for tenant_id, is_late, has_paid in rows:
        if is_late:
            wanted[tenant_id] = InternalStatus.SUSPENDED
        elif has_paid:
            wanted[tenant_id] = InternalStatus.ACTIVE
    return wanted


async def set_active(host: BillingHost, tenant_id: str) -> InternalStatus:
    """A tenant that owes nothing is active; one that is overdue stays as it is."""
    async with host.database.transaction(SYSTEM, read_only=True) as session:
        status = (await session.get_one(Tenant, tenant_id)).internal_status
    if status is InternalStatus.TRIALING:
        await _set_status(host, tenant_id, status, InternalStatus.ACTIVE)
        return InternalStatus.ACTIVE
    return status


async def _set_status(host: BillingHost, tenant_id: str, before: InternalStatus, after: InternalStatus) -> bool:
    """Change a status that is still what it was, and let every process know."""
    async with host.database.transaction(SYSTEM) as session:
        tenant = await lock_row(session, Tenant, tenant_id)
        if tenant.internal_status is not before:
            return False
        tenant.internal_status = after
        await session.flush()
        await keys.invalidate(session, tenant_id)
    return True
