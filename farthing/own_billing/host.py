"""The environment in which a host bills its tenants, and the customer that stands for a tenant there.

Rule: docs/rules/own-billing.md#the-host
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.plans.tables import Plan
from farthing.core.clock import Clock, FixedClock
from farthing.core.enums import Status
from farthing.core.errors import InvalidOperation
from farthing.core.ids import Kind
from farthing.customers.tables import Customer
from farthing.identity.tables import Environment
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM, Scope
from farthing.subscriptions.tables import Subscription

HOW_TO = "own billing is off; set FARTHING_BILLING_ENVIRONMENT and FARTHING_BILLING_PLAN to switch it on"


@dataclass(frozen=True, slots=True)
class BillingHost:
    """The host's environment, its clock, and the plan on which tenants begin."""

    database: Database
    scope: Scope
    clock: Clock
    plan: str

    @asynccontextmanager
    async def session(self, *, read_only: bool = False) -> AsyncIterator[AsyncSession]:
        """A session of the host's environment; a writing one is committed at its end."""
        async with self.database.session(self.scope, clock=self.clock, read_only=read_only) as session:
            yield session
            if not read_only:
                await session.commit()


async def find_host(database: Database, settings: Settings) -> BillingHost | None:
    """The host of this deployment; None where own billing is off, or names an environment that is not there."""
    if not settings.billing_environment or not settings.billing_plan:
        return None
    async with database.transaction(SYSTEM, read_only=True) as session:
        environment = await session.get(Environment, settings.billing_environment)
    if environment is None or environment.status is not Status.PUBLISHED:
        return None
    clock = FixedClock(environment.frozen_time) if environment.frozen_time else database.clock
    return BillingHost(database, Scope(environment.tenant_id, environment.id), clock, settings.billing_plan)


async def require_host(database: Database, settings: Settings) -> BillingHost:
    """The host of this deployment. Raises InvalidOperation, saying how to switch own billing on."""
    host = await find_host(database, settings)
    if host is None:
        raise InvalidOperation(HOW_TO)
    return host


def is_tenant() -> ColumnElement[bool]:
    """Whether a customer of the host's environment stands for a tenant."""
    return and_(Customer.status == Status.PUBLISHED, func.starts_with(Customer.external_id, f"{Kind.TENANT}_"))


async def customer_of(session: AsyncSession, tenant_id: str) -> Customer | None:
    """The customer that stands for a tenant in the host's environment, if it was taken in."""
    query = select(Customer).where(Customer.external_id == tenant_id, Customer.status == Status.PUBLISHED)
    found: Customer | None = await session.scalar(query)
    return found


async def require_customer(session: AsyncSession, tenant_id: str) -> Customer:
    """The same. Raises InvalidOperation for a tenant that is not billed."""
    customer = await customer_of(session, tenant_id)
    if customer is None:
        raise InvalidOperation("this tenant is not billed", {"tenant_id": tenant_id})
    return customer


async def subscription_of(session: AsyncSession, customer_id: str) -> Subscription | None:
    """The newest subscription of a tenant's customer."""
    query = select(Subscription).where(Subscription.customer_id == customer_id, Subscription.status == Status.PUBLISHED)
    found: Subscription | None = await session.scalar(
        query.order_by(Subscription.created_at.desc(), Subscription.id.desc()).limit(1)
    )
    return found


async def plan_named(session: AsyncSession, name: str) -> Plan | None:
    """The plan with this id or lookup key."""
    query = select(Plan).where((Plan.id == name) | (Plan.lookup_key == name), Plan.status == Status.PUBLISHED)
    found: Plan | None = await session.scalar(query.limit(1))
    return found
