"""What the demo's company tells others: thresholds of spend, of which one is passed; mails that wait for a mail server;
an endpoint that is switched off, as an example."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from farthing.core.encoding.decoding import convert
from farthing.core.enums import Status
from farthing.demo.books import Ledger
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import EmailConfig
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice
from farthing.notifications.alert_tables import AlertSetting
from farthing.notifications.alerts.schemas import CreateAlertSettingsRequest
from farthing.notifications.alerts.settings import create_setting
from farthing.notifications.alerts.spend import evaluate_spend
from farthing.notifications.email.queueing import NewEmail, queue
from farthing.notifications.email.tables import EmailKind
from farthing.notifications.webhooks.delivery.signing import SecretsBox
from farthing.notifications.webhooks.endpoints import create_endpoint
from farthing.notifications.webhooks.schemas import CreateWebhookEndpointRequest
from farthing.notifications.webhooks.tables import WebhookEndpoint
from farthing.settings import Settings
from farthing.subscriptions.enums import SubscriptionStatus
from farthing.subscriptions.tables import Subscription

WATCHED = 6
MAILS = 12
ENDPOINT = {
    "url": "https://hooks.example.com/farthing",
    "description": "An example: switched on once the URL is yours",
    "filter_types": ["invoice.update.finalized", "payment.success", "subscription.spend.threshold_reached"],
    "disabled": True,
}


async def load_notices(ledger: Ledger, settings: Settings, now: datetime) -> None:
    """Set thresholds, queue mails and register the endpoint, each unless there is something of the kind already."""
    async with ledger.database.transaction(ledger.scope) as session:
        if not await _is_any(session, AlertSetting.id):
            await _watch_spend(session, now)
        if not (await current.read(session, EmailConfig)).enabled:
            await _queue_mails(session)
        if not await _is_any(session, WebhookEndpoint.id):
            box = SecretsBox.under(settings.master_key())
            await create_endpoint(session, box, convert(ENDPOINT, CreateWebhookEndpointRequest), allow_private=False)


async def _is_any(session: AsyncSession, column: InstrumentedAttribute[str]) -> bool:
    return await session.scalar(select(column).limit(1)) is not None


async def _watch_spend(session: AsyncSession, now: datetime) -> None:
    """Thresholds for a few subscriptions: the first one's are so low that its usage has passed them."""
    is_active = Subscription.subscription_status == SubscriptionStatus.ACTIVE
    query = (
        select(Subscription)
        .where(is_active, Subscription.status == Status.PUBLISHED)
        .order_by(Subscription.created_at, Subscription.id)
        .limit(WATCHED)
    )
    subscriptions: Sequence[Subscription] = (await session.scalars(query)).all()
    for number, subscription in enumerate(subscriptions):
        critical = "1" if number == 0 else "50000"
        levels = {"critical": critical, "warning": "0.5" if number == 0 else "25000"}
        config = {name: {"threshold": text, "condition": "above"} for name, text in levels.items()}
        body = {
            "entity_type": "subscription",
            "entity_id": subscription.id,
            "config": {"alert_enabled": True, **config},
        }
        await create_setting(session, convert(body, CreateAlertSettingsRequest), now)
        await evaluate_spend(session, subscription.payer_id, now)


async def _queue_mails(session: AsyncSession) -> None:
    """Switch mail on, and queue the mails with the newest invoices: they leave once there is a mail server."""
    await current.write(session, EmailConfig, {"enabled": msgspec.Raw(b"true")})
    issued = (Invoice.invoice_status == InvoiceStatus.FINALIZED, Invoice.status == Status.PUBLISHED)
    newest = await session.scalars(select(Invoice).where(*issued).order_by(Invoice.finalized_at.desc()).limit(MAILS))
    emails = [
        NewEmail(
            kind=EmailKind.INVOICE_ISSUED,
            entity_id=invoice.id,
            occasion="issued",
            customer_id=invoice.customer_id,
            invoice_id=invoice.id,
        )
        for invoice in newest
    ]
    if emails:
        await session.run_sync(queue, emails)
