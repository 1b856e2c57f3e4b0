"""Which quantities go along when the plan changes, and whether the change makes a subscription dearer. Pure.

Rule: docs/rules/subscriptions.md#quantities-of-a-plan-change
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from farthing.calendar.billing import MONTHS, BillingPeriod
from farthing.core.errors import ValidationFailed
from farthing.core.money import plain
from farthing.rating.pricing.cost import price_quantity
from farthing.rating.pricing.price import BillingModel, RatedPrice
from farthing.subscriptions.changes.planned_terms import RequestedQuantity
from farthing.subscriptions.enums import ChangeType


@dataclass(frozen=True, slots=True)
class SeatFee:
    """A recurring fixed fee of a plan, which people may pay by the seat."""

    price_id: str
    lookup_key: str
    display_name: str
    model: BillingModel
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class CarriedQuantities:
    """Quantities by target price; `requested` are those that the request named. `warnings` say what people may miss."""

    by_price: Mapping[str, Decimal]
    requested: frozenset[str]
    warnings: tuple[str, ...]
    notes: Mapping[str, str]
    """What a preview says on the line of a price whose quantity was carried over and is not 1."""


def carry_quantities(
    present: Sequence[SeatFee], target: Sequence[SeatFee], requested: Sequence[RequestedQuantity] = ()
) -> CarriedQuantities:
    """The quantities that the fees of the target plan begin with.

    A request wins; then the fee with the same lookup key or name passes its quantity on; else the only fee of the one
    plan to the only fee of the other, if both bill by the same model. Raises ValidationFailed for an unknown price.
    """
    named = _requested(target, requested)
    quantities, notes, passed_on = dict(named), dict[str, str](), set[str]()
    for fee in target:
        source = _source(fee, present, alone=len(present) == len(target) == 1)
        if source is None:
            continue
        passed_on.add(source.price_id)
        if fee.price_id in named:
            continue
        quantities[fee.price_id] = source.quantity
        if source.quantity != 1:
            notes[fee.price_id] = f"{plain(source.quantity)} carried over to {fee.display_name}"
    warnings = list(notes.values())
    if not named:
        warnings += [
            f"the quantity {plain(fee.quantity)} of {fee.display_name} is not carried over: "
            "no fee of the new plan corresponds to it"
            for fee in present
            if fee.quantity > 1 and fee.price_id not in passed_on
        ]
    return CarriedQuantities(quantities, frozenset(named), tuple(warnings), notes)


def _requested(target: Sequence[SeatFee], requested: Sequence[RequestedQuantity]) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for number, wish in enumerate(requested):
        match = [fee for fee in target if wish.price_id == fee.price_id or (wish.lookup_key or None) == fee.lookup_key]
        if not match:
            field = f"line_items[{number}].{'price_id' if wish.price_id else 'lookup_key'}"
            raise ValidationFailed.of(field, "is not a recurring fixed price of the target plan")
        if match[0].price_id in found:
            raise ValidationFailed.of(f"line_items[{number}]", "names a price that another line names already")
        found[match[0].price_id] = wish.quantity
    return found


def _source(fee: SeatFee, present: Sequence[SeatFee], *, alone: bool) -> SeatFee | None:
    """The fee whose quantity goes on in `fee`; a lookup key says more than a name."""
    by_key = [former for former in present if former.lookup_key and former.lookup_key == fee.lookup_key]
    by_name = [former for former in present if former.display_name and former.display_name == fee.display_name]
    if by_key or by_name:
        return (by_key or by_name)[0]
    return present[0] if alone and present[0].model is fee.model else None


def monthly_total(fees: Iterable[tuple[RatedPrice, Decimal, BillingPeriod, int]]) -> Fraction:
    """What recurring fees (price, quantity, period, count) come to in a month; a year has 365 days and 12 months."""
    return sum(
        (Fraction(price_quantity(price, quantity)) / _months(period, count) for price, quantity, period, count in fees),
        Fraction(0),
    )


def _months(period: BillingPeriod, count: int) -> Fraction:
    if period in MONTHS:
        return Fraction(MONTHS[period] * count)
    days = 7 if period is BillingPeriod.WEEKLY else 1
    return Fraction(days * count * 12, 365)


def change_type_of(before: Fraction, after: Fraction) -> ChangeType:
    """Whether a change makes a subscription dearer or cheaper."""
    if before == after:
        return ChangeType.LATERAL
    return ChangeType.UPGRADE if after > before else ChangeType.DOWNGRADE
