"""A stored price as a calculation sees it."""

from __future__ import annotations

from decimal import Decimal

from farthing.catalogue.prices.tables import Price
from farthing.rating.price import BillingModel, PackageRounding, RatedPrice, Tier


def rated(price: Price) -> RatedPrice:
    """The price's model, amounts and tiers in its currency."""
    if price.billing_model is BillingModel.TIERED:
        assert price.tier_mode is not None, "the database promises a tier mode"
        return RatedPrice.tiered(
            price.tier_mode,
            [
                Tier(
                    None if tier.get("up_to") is None else Decimal(str(tier["up_to"])),
                    Decimal(str(tier["unit_amount"])),
                    Decimal(str(tier.get("flat_amount") or 0)),
                )
                for tier in price.tiers or ()
            ],
        )
    if price.billing_model is BillingModel.PACKAGE:
        packaging = price.transform_quantity
        return RatedPrice.package(
            price.amount, int(packaging.get("divide_by") or 1), PackageRounding.of(packaging.get("round"))
        )
    return RatedPrice.flat(price.amount)
