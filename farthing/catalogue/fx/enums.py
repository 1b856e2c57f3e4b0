"""The enums of exchange rates, as the wire has them."""

from __future__ import annotations

from enum import StrEnum


class FxScope(StrEnum):
    """For whom a rate holds: everybody, one customer, one subscription."""

    TENANT = "tenant"
    CUSTOMER = "customer"
    SUBSCRIPTION = "subscription"


class FxSource(StrEnum):
    """Whether somebody set the rate, or it follows the imported reference rates."""

    FIXED = "fixed"
    MARKET = "market"
