"""Enums of prices: what a column, a field on the wire or a rule may say."""

from __future__ import annotations

from enum import StrEnum


class PriceEntityType(StrEnum):
    """Whose a price is. PRICE exists on the wire only and is refused."""

    PLAN = "PLAN"
    SUBSCRIPTION = "SUBSCRIPTION"
    ADDON = "ADDON"
    PRICE = "PRICE"
    COSTSHEET = "COSTSHEET"


class PriceUnitType(StrEnum):
    """Whether a price is quoted in its currency or in a custom unit."""

    FIAT = "FIAT"
    CUSTOM = "CUSTOM"


class BillingCadence(StrEnum):
    """Always RECURRING; published clients accept no other."""

    RECURRING = "RECURRING"
