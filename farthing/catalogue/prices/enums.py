"""Enums of prices: what a column, a field on the wire or a rule may say."""

from __future__ import annotations

from enum import StrEnum


class PriceUnitType(StrEnum):
    """Whether a price is quoted in its currency or in a custom unit."""

    FIAT = "FIAT"
    CUSTOM = "CUSTOM"


class BillingCadence(StrEnum):
    """Always RECURRING; published clients accept no other."""

    RECURRING = "RECURRING"
