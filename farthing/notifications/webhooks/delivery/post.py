"""One attempt: the endpoint's secrets opened, the message signed for this moment, posted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from standardwebhooks.webhooks import Webhook

from farthing.core.clock import Clock
from farthing.core.errors import ServiceUnavailable
from farthing.notifications.webhooks.delivery.client import AttemptOutcome, WebhookClient
from farthing.notifications.webhooks.delivery.queue import DeliveryResult, TakenDelivery
from farthing.notifications.webhooks.delivery.signing import SecretsBox, signed_headers
from farthing.notifications.webhooks.tables import message_id


class Recipient(Protocol):
    """What of an endpoint an attempt needs."""

    id: str
    url: str
    sealed: bytes
    key_id: str
    previous_secret_until: datetime | None


@dataclass(frozen=True, slots=True)
class OpenedEndpoint:
    """An endpoint with its secrets opened, for the attempts of a moment; `problem` says why they cannot be opened."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    signer: Webhook | None = field(default=None, repr=False)
    previous_signer: Webhook | None = field(default=None, repr=False)
    previous_until: datetime | None = None
    problem: str | None = None

    def signers(self, at: datetime) -> list[Webhook]:
        """What signs a message: after a rotation the secret before it too, for a while."""
        overlaps = self.previous_until is not None and at < self.previous_until
        return [signer for signer in (self.signer, self.previous_signer if overlaps else None) if signer is not None]


@dataclass(frozen=True, slots=True)
class AttemptSender:
    """What posts messages. `real_clock` says when: a receiver refuses a time that is not its own."""

    client: WebhookClient
    box: SecretsBox
    real_clock: Clock

    def open(self, endpoint: Recipient) -> OpenedEndpoint:
        """The endpoint, ready to be posted to; once for all that is posted to it at a time."""
        try:
            opened = self.box.open(endpoint.sealed, endpoint.key_id, endpoint.id)
        except ServiceUnavailable as error:
            return OpenedEndpoint(endpoint.url, problem=error.message)
        previous = Webhook(opened.previous_secret) if opened.previous_secret is not None else None
        headers = {**opened.headers, "content-type": "application/json"}
        return OpenedEndpoint(endpoint.url, headers, Webhook(opened.secret), previous, endpoint.previous_secret_until)

    async def attempt(self, delivery: TakenDelivery, endpoint: OpenedEndpoint, now: datetime) -> DeliveryResult:
        """Post a delivery once; `now` is when that is, for its schedule."""
        if endpoint.problem is not None:
            return DeliveryResult(delivery, AttemptOutcome(None, endpoint.problem, None, 0), now)
        at = self.real_clock.now()
        signed = signed_headers(message_id(delivery.event_id), at, delivery.body, endpoint.signers(at))
        outcome = await self.client.post(endpoint.url, delivery.body.encode(), {**endpoint.headers, **signed})
        return DeliveryResult(delivery, outcome, now)
