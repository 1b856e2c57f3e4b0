"""What a price charges: asked for in a request, checked, and settled into the columns of a row.

One place decides for a new price, a new version and a subscription's override alike.
Rule: docs/rules/pricing.md#terms-of-a-price
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from farthing.catalogue.prices.display import display, symbol
from farthing.catalogue.prices.enums import PriceUnitType
from farthing.catalogue.prices.schemas import (
    CreatePriceRequest,
    CreatePriceTier,
    PricingChange,
    TransformQuantityRequest,
)
from farthing.catalogue.prices.tables import Price, PriceUnit
from farthing.core.errors import ValidationFailed
from farthing.core.money import ZERO, plain
from farthing.rating.pricing.price import BillingModel, Tier, TierMode, ordered
from farthing.rating.pricing.units import to_currency


@dataclass(frozen=True, slots=True)
class PriceTerms:
    """A model and what it may need. `amount` and `tiers` are of the currency or, when `custom`, of the custom unit."""

    model: BillingModel
    custom: bool = False
    amount: Decimal | None = None
    tier_mode: TierMode | None = None
    tiers: tuple[CreatePriceTier, ...] = ()
    divide_by: int | None = None
    round: str | None = None


@dataclass(frozen=True, slots=True)
class Rate:
    """A custom unit as a price freezes it."""

    unit_id: str
    code: str
    symbol: str
    rate: Decimal

    @classmethod
    def of(cls, unit: PriceUnit) -> Rate:
        """The unit's rate of now."""
        return cls(unit.id, unit.code, unit.symbol, unit.conversion_rate)


def requested_terms(request: CreatePriceRequest) -> PriceTerms:
    """The terms of a new price. Raises ValidationFailed when currency and custom unit are mixed."""
    config = request.price_unit_config
    if config is not None and (request.amount or request.tiers):
        field = "tiers" if request.tiers else "amount"
        raise ValidationFailed.of(field, "is not allowed for CUSTOM; quote the price in price_unit_config")
    return PriceTerms(
        model=request.billing_model,
        custom=config is not None,
        amount=request.amount if config is None else config.amount,
        tier_mode=request.tier_mode,
        tiers=tuple((request.tiers if config is None else config.price_unit_tiers) or ()),
        **_packaging(request.transform_quantity),
    )


def apply_change(price: Price, change: PricingChange) -> PriceTerms:
    """The terms of `price` with `change` laid over them. Raises ValidationFailed for amounts of the wrong kind."""
    custom = price.price_unit_type is PriceUnitType.CUSTOM
    if custom and change.in_currency:
        raise ValidationFailed.of("amount" if change.amount is not None else "tiers", "is not allowed for CUSTOM")
    if not custom and change.in_units:
        field = "price_unit_amount" if change.price_unit_amount is not None else "price_unit_tiers"
        raise ValidationFailed.of(field, "is not allowed for FIAT")
    stored = terms_of(price)
    amount = change.price_unit_amount if custom else change.amount
    tiers = change.price_unit_tiers if custom else change.tiers
    packaging = _packaging(change.transform_quantity) if change.transform_quantity else {}
    return PriceTerms(
        model=change.billing_model or stored.model,
        custom=custom,
        amount=stored.amount if amount is None else amount,
        tier_mode=change.tier_mode or stored.tier_mode,
        tiers=stored.tiers if tiers is None else tuple(tiers),
        divide_by=packaging.get("divide_by", stored.divide_by),
        round=packaging.get("round", stored.round),
    )


def terms_of(price: Price) -> PriceTerms:
    """What a price charges, as it was asked for."""
    custom = price.price_unit_type is PriceUnitType.CUSTOM
    tiered = price.billing_model is BillingModel.TIERED
    package = price.transform_quantity if price.billing_model is BillingModel.PACKAGE else {}
    amount = price.price_unit_amount if custom else price.amount
    return PriceTerms(
        model=price.billing_model,
        custom=custom,
        amount=None if tiered else amount,
        tier_mode=price.tier_mode,
        tiers=tuple(
            CreatePriceTier(
                unit_amount=Decimal(tier["unit_amount"]),
                up_to=tier.get("up_to"),
                flat_amount=Decimal(tier["flat_amount"]) if "flat_amount" in tier else None,
            )
            for tier in (price.price_unit_tiers if custom else price.tiers) or ()
        ),
        divide_by=package.get("divide_by"),
        round=package.get("round"),
    )


def settle_terms(terms: PriceTerms, currency: str, rate: Rate | None) -> dict[str, Any]:
    """The columns of a price that hold its money; `rate` for custom terms. Raises ValidationFailed.

    What the model has no use for is left out; amounts in a custom unit are converted without rounding.
    """
    tiered = terms.model is BillingModel.TIERED
    amount = ZERO if tiered else _amount(terms)
    tiers = _tiers(terms) if tiered else None
    columns: dict[str, Any] = {
        "billing_model": terms.model,
        "tier_mode": terms.tier_mode if tiered else None,
        "transform_quantity": _transform(terms),
        "price_unit_type": PriceUnitType.CUSTOM if terms.custom else PriceUnitType.FIAT,
        "price_unit_id": None,
        "price_unit": None,
        "conversion_rate": None,
        "price_unit_amount": None,
        "display_price_unit_amount": None,
        "price_unit_tiers": None,
    }
    if rate is not None:
        columns |= {
            "price_unit_id": rate.unit_id,
            "price_unit": rate.code,
            "conversion_rate": rate.rate,
            "price_unit_amount": amount,
            "display_price_unit_amount": display(amount, rate.symbol),
            "price_unit_tiers": tiers,
        }
        amount = to_currency(amount, rate.rate)
        tiers = [_converted(tier, rate.rate) for tier in tiers] if tiers is not None else None
    return columns | {"amount": amount, "display_amount": display(amount, symbol(currency)), "tiers": tiers}


def _packaging(transform: TransformQuantityRequest | None) -> dict[str, Any]:
    return {"divide_by": transform.divide_by, "round": transform.round or None} if transform else {}


def _amount(terms: PriceTerms) -> Decimal:
    if terms.amount is None:
        field = "price_unit_config.amount" if terms.custom else "amount"
        raise ValidationFailed.of(field, f"is required for {terms.model.value}")
    return terms.amount


def _tiers(terms: PriceTerms) -> list[dict[str, Any]]:
    field = "price_unit_tiers" if terms.custom else "tiers"
    if terms.tier_mode is None:
        raise ValidationFailed.of("tier_mode", "must be VOLUME or SLAB for TIERED")
    _check_order(field, terms.tiers)
    return [
        {
            "up_to": tier.up_to,
            "unit_amount": plain(tier.unit_amount),
            **({} if tier.flat_amount is None else {"flat_amount": plain(tier.flat_amount)}),
        }
        for tier in terms.tiers
    ]


def _check_order(field: str, tiers: Sequence[CreatePriceTier]) -> None:
    try:
        ordered(
            [
                Tier(None if tier.up_to is None else Decimal(tier.up_to), tier.unit_amount, tier.flat_amount or ZERO)
                for tier in tiers
            ]
        )
    except ValueError as error:
        raise ValidationFailed.of(field, str(error)) from error


def _transform(terms: PriceTerms) -> dict[str, Any]:
    if terms.model is not BillingModel.PACKAGE:
        return {"divide_by": 1}
    if terms.divide_by is None:
        raise ValidationFailed.of("transform_quantity", "with divide_by is required for PACKAGE")
    return {"divide_by": terms.divide_by, **({"round": terms.round} if terms.round else {})}


def _converted(tier: dict[str, Any], rate: Decimal) -> dict[str, Any]:
    return {
        name: value if name == "up_to" else plain(to_currency(Decimal(value), rate)) for name, value in tier.items()
    }
