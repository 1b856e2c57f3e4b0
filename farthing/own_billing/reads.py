"""What a tenant sees of its bill.

Rule: docs/rules/own-billing.md#what-a-tenant-sees
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import instant
from farthing.core.encoding.internals import without_internals
from farthing.core.enums import Status
from farthing.customers import portal
from farthing.customers.tables import Customer
from farthing.identity.tables import InternalStatus
from farthing.invoices.reads import documents
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice
from farthing.own_billing.host import BillingHost, customer_of, require_customer, subscription_of
from farthing.own_billing.schemas import (
    SelfBillingInvoice,
    SelfBillingPortalSessionResponse,
    SelfBillingSummaryResponse,
    TenantBillingResponse,
)
from farthing.reporting.feature_usage import usage_summary
from farthing.settings import Settings
from farthing.subscriptions.reads.answers import subscription_answers
from farthing.subscriptions.tables import Subscription

NEWEST = 12
_SHOWN = (InvoiceStatus.FINALIZED, InvoiceStatus.VOIDED)


async def summary_of(
    host: BillingHost, settings: Settings, tenant_id: str, status: InternalStatus
) -> SelfBillingSummaryResponse:
    """The newest invoices of a tenant, its subscription and usage. Raises InvalidOperation where it is not billed."""
    async with host.session(read_only=True) as session:
        customer = await require_customer(session, tenant_id)
        return await _summary(session, host, settings, customer, status)


async def _summary(
    session: AsyncSession, host: BillingHost, settings: Settings, customer: Customer, status: InternalStatus
) -> SelfBillingSummaryResponse:
    subscription = await subscription_of(session, customer.id)
    trial_end = None if subscription is None else subscription.trial_end
    rows = await session.scalars(
        select(Invoice)
        .where(
            Invoice.customer_id == customer.id,
            Invoice.status == Status.PUBLISHED,
            Invoice.invoice_status.in_(_SHOWN),
        )
        .order_by(Invoice.finalized_at.desc().nulls_last(), Invoice.id.desc())
        .limit(NEWEST)
    )
    real_now = host.database.clock.now()
    return SelfBillingSummaryResponse(
        status=status,
        invoices=[_invoice(invoice, settings, real_now) for invoice in rows],
        usage=without_internals(await usage_summary(session, customer, None, (), host.clock.now())),
        subscription_status=None if subscription is None else subscription.subscription_status,
        trial_ends_at=None if trial_end is None else instant(trial_end),
    )


def _invoice(invoice: Invoice, settings: Settings, real_now: datetime) -> SelfBillingInvoice:
    link = invoice.invoice_pdf_url or documents.link(invoice, settings.base_url, settings.master_key(), real_now)
    return SelfBillingInvoice.of(
        invoice,
        status=invoice.invoice_status,
        number=invoice.invoice_number,
        pdf_url=link,
    )


async def tenant_billing(
    host: BillingHost | None, settings: Settings, tenant_id: str, status: InternalStatus
) -> TenantBillingResponse:
    """The summary with the subscriptions; empty where nobody bills the tenant."""
    empty = TenantBillingResponse(status=status, invoices=[], usage=None, subscriptions=[])
    if host is None:
        return empty
    async with host.session(read_only=True) as session:
        customer = await customer_of(session, tenant_id)
        if customer is None:
            return empty
        summary = await _summary(session, host, settings, customer, status)
        rows = (
            await session.scalars(
                select(Subscription)
                .where(Subscription.customer_id == customer.id, Subscription.status == Status.PUBLISHED)
                .order_by(Subscription.created_at.desc(), Subscription.id.desc())
                .limit(NEWEST)
            )
        ).all()
        answers = await subscription_answers(session, rows, {}, host.clock.now())
    return TenantBillingResponse(
        status=summary.status,
        invoices=summary.invoices,
        usage=summary.usage,
        subscription_status=summary.subscription_status,
        trial_ends_at=summary.trial_ends_at,
        subscriptions=without_internals(list(answers)),
    )


async def open_portal(host: BillingHost, settings: Settings, tenant_id: str) -> SelfBillingPortalSessionResponse:
    """A session of the customer portal for a tenant. Raises InvalidOperation where it is not billed."""
    async with host.session(read_only=True) as session:
        customer = await require_customer(session, tenant_id)
    # sessions live in real time, whatever an environment's test clock says
    now = host.database.clock.now()
    opened = portal.open_session(customer, settings.master_key(), now, settings.portal_session_seconds)
    return SelfBillingPortalSessionResponse(
        url=opened.url(settings.portal_url or f"{settings.base_url}/portal"), expires_at=instant(opened.expires_at)
    )
