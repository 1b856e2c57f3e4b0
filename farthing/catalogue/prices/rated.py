"""From a price's row to the value that rating calculates with."""

from __future__ import annotations

from decimal import Decimal

from farthing.catalogue.prices.tables import Price
from farthing.core.money import ZERO
from farthing.rating.pricing.price import BillingModel, PackageRounding, RatedPrice, Tier, TierMode


def rated(price: Price) -> RatedPrice:
    """What `price` charges, in its currency, custom units converted."""
    match price.billing_model:
        case BillingModel.FLAT_FEE:
            return RatedPrice.flat(price.amount)
        case BillingModel.PACKAGE:
            transform = price.transform_quantity
            return RatedPrice.package(price.amount, transform["divide_by"], PackageRounding.of(transform.get("round")))
        case BillingModel.TIERED:
            return RatedPrice.tiered(price.tier_mode or TierMode.VOLUME, tiers_of(price))


def tiers_of(price: Price) -> tuple[Tier, ...]:
    """The tiers of `price`, in its currency, in the order in which they were sent; none unless it is tiered."""
    return tuple(
        Tier(
            up_to=None if tier.get("up_to") is None else Decimal(tier["up_to"]),
            unit_amount=Decimal(tier["unit_amount"]),
            flat_amount=Decimal(tier["flat_amount"]) if "flat_amount" in tier else ZERO,
        )
        for tier in price.tiers or ()
    )
