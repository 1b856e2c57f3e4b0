"""One attempt: the endpoint's secrets opened, the message signed for this moment, posted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from farthing.core.clock import Clock
from farthing.core.errors import ServiceUnavailable
from farthing.notifications.webhooks.delivery.client import AttemptOutcome, WebhookClient
from farthing.notifications.webhooks.delivery.queue import DeliveryResult, TakenDelivery
from farthing.notifications.webhooks.delivery.signing import EndpointSecrets, SecretsBox, signed_headers
from farthing.notifications.webhooks.tables import message_id


class Recipient(Protocol):
    """What of an endpoint an attempt needs."""

    id: str
    url: str
    sealed: bytes
    key_id: str
    previous_secret_until: datetime | None


@dataclass(frozen=True, slots=True)
class AttemptSender:
    """What posts messages. `real_clock` says when: a receiver refuses a time that is not its own."""

    client: WebhookClient
    box: SecretsBox
    real_clock: Clock

    async def attempt(self, delivery: TakenDelivery, endpoint: Recipient, now: datetime) -> DeliveryResult:
        """Post a delivery once; `now` is when that is, for its schedule."""
        try:
            opened = self.box.open(endpoint.sealed, endpoint.key_id, endpoint.id)
        except ServiceUnavailable as error:
            return DeliveryResult(delivery, AttemptOutcome(None, error.message, None, 0), now)
        at = self.real_clock.now()
        headers = {
            **opened.headers,
            "content-type": "application/json",
            **signed_headers(message_id(delivery.event_id), at, delivery.body, _secrets(opened, endpoint, at)),
        }
        outcome = await self.client.post(endpoint.url, delivery.body.encode(), headers)
        return DeliveryResult(delivery, outcome, now)


def _secrets(opened: EndpointSecrets, endpoint: Recipient, at: datetime) -> list[str]:
    """The secrets to sign with: after a rotation the one before it too, for a while."""
    until = endpoint.previous_secret_until
    if opened.previous_secret is not None and until is not None and at < until:
        return [opened.secret, opened.previous_secret]
    return [opened.secret]
