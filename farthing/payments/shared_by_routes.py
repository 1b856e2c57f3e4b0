"""What the controllers of payments, refunds and unapplied money share: their guards, and the way to providers."""

from __future__ import annotations

from collections.abc import Mapping

from litestar.di import Provide

from farthing.api.guards import needs
from farthing.core.composition import Composition
from farthing.payments.integrations.gateways import Gateways

READ, WRITE = needs("payment", "read"), needs("payment", "write")


def provide_gateways(services: Composition) -> Gateways:
    """The way to providers."""
    return services.part(Gateways)


GATEWAYS: Mapping[str, Provide] = {"gateways": Provide(provide_gateways, sync_to_thread=False)}
