"""A price as a calculation sees it: model, amounts, tiers. No owner, no currency, no dates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Self

from farthing.core.money import ZERO


class BillingModel(StrEnum):
    """How an amount follows from a quantity."""

    FLAT_FEE = "FLAT_FEE"
    PACKAGE = "PACKAGE"
    TIERED = "TIERED"


class TierMode(StrEnum):
    """VOLUME: one tier prices the whole quantity. SLAB: each tier prices the slice that falls into it."""

    VOLUME = "VOLUME"
    SLAB = "SLAB"


class PackageRounding(StrEnum):
    """Whether a package begun counts (`up`) or only a full one does (`down`); the wire's empty text means `up`."""

    UP = "up"
    DOWN = "down"

    @classmethod
    def of(cls, text: str | None) -> Self:
        """The rounding a wire text names. Raises ValueError for anything but up, down and empty."""
        return cls(text or "up")


@dataclass(frozen=True, slots=True)
class Tier:
    """Price of the units up to and including `up_to` (None: no end), plus a flat fee once the tier is entered."""

    up_to: Decimal | None
    unit_amount: Decimal
    flat_amount: Decimal = ZERO

    def __post_init__(self) -> None:
        if self.up_to is not None and self.up_to < 1:
            raise ValueError(f"a tier's upper bound must be at least 1, not {self.up_to}")
        if self.unit_amount < 0 or self.flat_amount < 0:
            raise ValueError("a tier's amounts must not be negative")


def ordered(tiers: Sequence[Tier]) -> tuple[Tier, ...]:
    """Tiers by ascending bound, the open one last.

    Raises ValueError when there is none, when two share a bound, or when two are open. A list without an open tier
    is allowed: whoever calculates treats the last tier as open.
    Rule: docs/rules/pricing.md#terms-of-a-price
    """
    if not tiers:
        raise ValueError("a tiered price needs at least one tier")
    bounded = sorted((tier for tier in tiers if tier.up_to is not None), key=lambda tier: tier.up_to or ZERO)
    open_ended = [tier for tier in tiers if tier.up_to is None]
    if len(open_ended) > 1:
        raise ValueError("only one tier may be without an upper bound")
    for lower, upper in pairwise(bounded):
        if lower.up_to == upper.up_to:
            raise ValueError(f"two tiers have the same upper bound {lower.up_to}")
    return (*bounded, *open_ended)


@dataclass(frozen=True, slots=True)
class RatedPrice:
    """What a unit, a package or a tier costs, in major units of the price's currency; tiers are kept in order.

    Make one with `flat`, `package` or `tiered`. Raises ValueError when the model lacks what it needs.
    """

    model: BillingModel
    amount: Decimal = ZERO
    package_size: int = 1
    package_rounding: PackageRounding = PackageRounding.UP
    tier_mode: TierMode | None = None
    tiers: tuple[Tier, ...] = ()

    def __post_init__(self) -> None:
        if self.amount < 0:
            raise ValueError("a price's amount must not be negative")
        if self.package_size < 1:
            raise ValueError(f"a package must hold at least 1 unit, not {self.package_size}")
        if self.model is BillingModel.TIERED:
            if self.tier_mode is None:
                raise ValueError("a tiered price needs a tier mode")
            object.__setattr__(self, "tiers", ordered(self.tiers))

    @classmethod
    def flat(cls, amount: Decimal) -> Self:
        """`amount` for each unit."""
        return cls(BillingModel.FLAT_FEE, amount=amount)

    @classmethod
    def package(cls, amount: Decimal, size: int, rounding: PackageRounding = PackageRounding.UP) -> Self:
        """`amount` for each package of `size` units."""
        return cls(BillingModel.PACKAGE, amount=amount, package_size=size, package_rounding=rounding)

    @classmethod
    def tiered(cls, mode: TierMode, tiers: Sequence[Tier]) -> Self:
        """Tiers in any order."""
        return cls(BillingModel.TIERED, tier_mode=mode, tiers=tuple(tiers))
