"""The delivery of webhooks in a process: beside its worker, as a duty, and what a process needs for either."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from farthing.core.clock import FixedClock
from farthing.notifications.webhooks.delivery.client import WebhookClient
from farthing.notifications.webhooks.delivery.signing import SecretsBox
from farthing.notifications.webhooks.delivery.worker import DeliveryWorker
from farthing.settings import Settings
from farthing.storage.postgres import Database

DUTY_SECONDS = 60.0


def delivery_worker(database: Database, settings: Settings) -> DeliveryWorker:
    """What delivers webhooks for as long as the process lives."""
    return DeliveryWorker(database, _client(settings), SecretsBox.under(settings.master_key()))


def recover_deliveries(settings: Settings) -> Callable[[Database, datetime], Awaitable[Mapping[str, int]]]:
    """A duty that delivers what is due: what the workers have left, and all of it where they do not deliver."""

    async def run(database: Database, now: datetime) -> Mapping[str, int]:
        box = SecretsBox.under(settings.master_key())
        worker = DeliveryWorker(database, _client(settings), box, FixedClock(now))
        return {"succeeded": await worker.run_once(DUTY_SECONDS)}

    return run


def _client(settings: Settings) -> WebhookClient:
    return WebhookClient(allow_private=settings.webhook_allow_private)
