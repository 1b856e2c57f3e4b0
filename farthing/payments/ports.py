"""What payments are given: the adapters of payment providers; `farthing.wiring` lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from farthing.payments.providers.registry import Factory


@dataclass(frozen=True, slots=True)
class PaymentPorts:
    """Which providers this deployment can talk to."""

    adapters: Mapping[str, Factory]
    """By the provider's name, or `TEST_MODE` for every connection in that mode."""
