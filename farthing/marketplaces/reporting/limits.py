"""What each marketplace takes. The figures are its own, of its documentation of November 2026, or stricter.

Rule: docs/rules/marketplaces.md#what-marketplaces-take
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType

from farthing.payments.tables import ProviderType

CURRENCY = "usd"
"""The one currency in which marketplaces are told of amounts."""
MARGIN = timedelta(minutes=10)
"""How long before an hour is too old nothing new is planned for it: sending takes time."""


@dataclass(frozen=True, slots=True)
class MarketplaceLimits:
    """`oldest`: how long ago an hour may have begun; `most`: the largest quantity of an hour."""

    oldest: timedelta
    most: int
    takes_zero: bool


LIMITS: Mapping[str, MarketplaceLimits] = MappingProxyType(
    {
        # a month's usage is taken until six hours after it, any other hour for longer
        ProviderType.AWS_MARKETPLACE.value: MarketplaceLimits(timedelta(hours=6), 2**31 - 1, takes_zero=True),
        # the largest whole number that its floating point quantities hold exactly
        ProviderType.AZURE_MARKETPLACE.value: MarketplaceLimits(timedelta(hours=24), 2**53 - 1, takes_zero=False),
        ProviderType.GCP_MARKETPLACE.value: MarketplaceLimits(timedelta(hours=24), 2**63 - 1, takes_zero=True),
    }
)
