"""Enums that several parts of the catalogue share."""

from __future__ import annotations

from enum import StrEnum


class PriceEntityType(StrEnum):
    """Whose a price is. PRICE exists on the wire only and is refused."""

    PLAN = "PLAN"
    SUBSCRIPTION = "SUBSCRIPTION"
    ADDON = "ADDON"
    PRICE = "PRICE"
    COSTSHEET = "COSTSHEET"
