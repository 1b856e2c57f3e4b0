"""Which exchange rate holds for an invoice at an instant. Pure.

Rule: docs/rules/currencies.md#which-rate
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from farthing.catalogue.fx.enums import FxScope

NARROWEST_FIRST = (FxScope.SUBSCRIPTION, FxScope.CUSTOMER, FxScope.TENANT)


@dataclass(frozen=True, slots=True)
class RateInForce:
    """A rate for a pair that applies to an invoice while `[start, end)` lasts; `market_day` for one of the market."""

    id: str
    rate: Decimal
    scope: FxScope
    start: datetime | None = None
    end: datetime | None = None
    market_day: date | None = None

    def holds_at(self, at: datetime) -> bool:
        return (self.start is None or self.start <= at) and (self.end is None or at < self.end)

    def is_older_than(self, days: int, at: datetime) -> bool:
        """Whether it was taken from a day that lies more than so many days back; never so for a fixed rate."""
        return self.market_day is not None and at.date() - self.market_day > timedelta(days=days)


def rate_at(rates: Sequence[RateInForce], at: datetime) -> RateInForce | None:
    """The rate of the narrowest scope that holds at an instant: the subscription's, the payer's, the environment's.

    `rates` are those of one pair that reach one invoice; windows of one scope do not overlap.
    """
    holding = [rate for rate in rates if rate.holds_at(at)]
    return min(holding, key=lambda rate: NARROWEST_FIRST.index(rate.scope), default=None)
