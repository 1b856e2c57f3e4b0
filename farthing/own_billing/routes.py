"""Endpoints of own billing. They work for a suspended tenant too: it is how it pays.

So their guards ask for reading alone; what changes something asks for the right to write by itself, and changes the
host's books, never the tenant's.
"""

from __future__ import annotations

from litestar import Controller, get, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.core.caller import WRITE, Caller
from farthing.core.composition import Composition
from farthing.core.errors import PermissionDenied
from farthing.identity.tables import InternalStatus, Tenant
from farthing.own_billing import checkout, reads
from farthing.own_billing.host import find_host, require_host
from farthing.own_billing.schemas import (
    SelfBillingCheckoutRequest,
    SelfBillingCheckoutResponse,
    SelfBillingPortalSessionResponse,
    SelfBillingStatusResponse,
    SelfBillingSummaryResponse,
    TenantBillingResponse,
)
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.shared_by_routes import GATEWAYS
from farthing.settings import Settings
from farthing.storage.postgres import Database

READ = [needs("tenant", "read", environment=False)]


class SelfBilling(Controller):
    """What the host of this deployment bills the tenant."""

    path = "/portal/billing"
    tags = ("Selfbilling",)
    dependencies = GATEWAYS
    guards = READ

    @get("/status", operation_id="getSelfBillingStatus")
    async def status(self, session: AsyncSession, caller: Caller, services: Composition) -> SelfBillingStatusResponse:
        """Get whether this deployment bills its tenants, and how the tenant stands."""
        host = await find_host(services.part(Database), services.part(Settings))
        return SelfBillingStatusResponse(enabled=host is not None, status=await _status(session, caller))

    @get("/summary", operation_id="getSelfBillingSummary")
    async def summary(self, session: AsyncSession, caller: Caller, services: Composition) -> SelfBillingSummaryResponse:
        """Get the tenant's newest invoices, its subscription and its usage."""
        settings = services.part(Settings)
        host = await require_host(services.part(Database), settings)
        return await reads.summary_of(host, settings, caller.tenant_id, await _status(session, caller))

    @post("/portal-session", operation_id="createSelfBillingPortalSession", status_code=200)
    async def portal(self, caller: Caller, services: Composition) -> SelfBillingPortalSessionResponse:
        """Open the portal in which the tenant sees its bills, pays them and changes how it is billed."""
        settings = services.part(Settings)
        host = await require_host(services.part(Database), settings)
        _require_write(caller)
        return await reads.open_portal(host, settings, caller.tenant_id)

    @post("/checkout", operation_id="startSelfBillingCheckout", status_code=200)
    async def begin(
        self,
        data: SelfBillingCheckoutRequest,
        session: AsyncSession,
        caller: Caller,
        gateways: Gateways,
        services: Composition,
    ) -> SelfBillingCheckoutResponse:
        """Pay the oldest unpaid invoice: where the tenant is sent to pay it."""
        host = await require_host(services.part(Database), services.part(Settings))
        _require_write(caller)
        status = await _status(session, caller)
        return await checkout.begin_checkout(host, gateways, caller.tenant_id, data, status)

    @get("/checkout/{id:str}", operation_id="pollSelfBillingCheckout")
    async def poll(
        self, id: str, session: AsyncSession, caller: Caller, services: Composition
    ) -> SelfBillingCheckoutResponse:
        """Get how a checkout stands; it only reads."""
        host = await require_host(services.part(Database), services.part(Settings))
        return await checkout.read_checkout(host, caller.tenant_id, id, await _status(session, caller))

    @post("/checkout/{id:str}/cancel", operation_id="cancelSelfBillingCheckout", status_code=204)
    async def cancel(self, id: str, caller: Caller, services: Composition) -> None:
        """Give a checkout up."""
        host = await require_host(services.part(Database), services.part(Settings))
        _require_write(caller)
        await checkout.cancel_checkout(host, caller.tenant_id, id)


class TenantBilling(Controller):
    """The same for older clients."""

    path = ""
    guards = READ

    @get("/tenants/billing", operation_id="getTenantBillingSummary", tags=["Selfbilling"])
    async def summary(self, session: AsyncSession, caller: Caller, services: Composition) -> TenantBillingResponse:
        """Get what the host of this deployment bills the tenant; empty where nobody does."""
        return await self._answer(session, caller, services)

    @get("/tenant/billing", operation_id="getTenantBillingUsage", tags=["Tenants"])
    async def usage(self, session: AsyncSession, caller: Caller, services: Composition) -> TenantBillingResponse:
        """Get the same under its other name."""
        return await self._answer(session, caller, services)

    async def _answer(self, session: AsyncSession, caller: Caller, services: Composition) -> TenantBillingResponse:
        settings = services.part(Settings)
        host = await find_host(services.part(Database), settings)
        return await reads.tenant_billing(host, settings, caller.tenant_id, await _status(session, caller))


async def _status(session: AsyncSession, caller: Caller) -> InternalStatus:
    return (await session.get_one(Tenant, caller.tenant_id)).internal_status


def _require_write(caller: Caller) -> None:
    if not caller.may(WRITE, "tenant"):
        raise PermissionDenied("insufficient permissions")
