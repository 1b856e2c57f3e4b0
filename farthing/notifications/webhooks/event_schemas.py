"""What the OpenAPI document says of webhooks."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from farthing.api.openapi import DocumentedWebhook
from farthing.notifications.webhooks.catalogue import EVENTS
from farthing.notifications.webhooks.samples import sample_of


def described_webhooks() -> Mapping[str, DocumentedWebhook]:
    """Each event of the catalogue, by name."""
    return {
        name: DocumentedWebhook(event.description, event.payload, msgspec.json.decode(sample_of(name)))
        for name, event in EVENTS.items()
    }
