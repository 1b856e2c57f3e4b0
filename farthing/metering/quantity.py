"""From event to quantity: what one event counts for one meter. The only place that decides it.

Runs once per event and matching meter, on the way in; what it answers is stored, and every query aggregates that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Final

import msgspec

from farthing.core.money import ZERO
from farthing.metering.canonical import QuantityError, canonical_text, read_number, stored_key
from farthing.metering.event import UsageEvent
from farthing.metering.filters import matches
from farthing.metering.meter import Aggregation, AggregationType, Meter

INTEGER_DIGITS = 23
FRACTION_DIGITS = 15

_ONE = Decimal(1)
_UNIT = _ONE.scaleb(-FRACTION_DIGITS)
# Wider than any number an event can hold, so that a product is rounded once, by the rule below, and not before.
_UNROUNDED = Context(prec=1_000_000, rounding=ROUND_HALF_UP)
_PLAIN = 10**15
"""An integer that is positive and less than this is a quantity as it is."""
_MISSING = object()


class MeasuredQuantity(msgspec.Struct, frozen=True):
    """One event as one meter sees it: the content of a meter usage row.

    `quantity` has at most 23 digits before the point and 15 after it; only WEIGHTED_SUM has negative ones. `key` is
    what a unique count tells apart, or the group of a grouped meter, else empty. `quantity_error` says why the
    property counted 0; the event counts all the same.
    """

    quantity: Decimal
    key: str = ""
    quantity_error: QuantityError | None = None


def quantity_of(meter: Meter, event: UsageEvent) -> MeasuredQuantity | None:
    """What `event` counts for `meter`; None when it does not count: another name, a filter, no unique key, or an
    expression that has no value for it.

    Rule: docs/rules/metering.md#quantity-of-an-event
    """
    properties = event.properties
    if event.event_name != meter.event_name or (meter.conditions and not matches(meter.conditions, properties)):
        return None
    aggregation = meter.aggregation
    measured = _RULES[aggregation.type](aggregation, properties)
    if aggregation.group_by and measured is not None:
        group = canonical_text(properties.get(aggregation.group_by)) or ""
        return MeasuredQuantity(measured.quantity, stored_key(group), measured.quantity_error)
    return measured


_NOTHING = MeasuredQuantity(ZERO)
_EACH = MeasuredQuantity(_ONE)
_FLAGGED: Final[Mapping[QuantityError, MeasuredQuantity]] = {
    error: MeasuredQuantity(ZERO, quantity_error=error) for error in QuantityError
}


def _counted(_: Aggregation, __: Mapping[str, object]) -> MeasuredQuantity:
    return _EACH


def _unique(aggregation: Aggregation, properties: Mapping[str, object]) -> MeasuredQuantity | None:
    """1 with the canonical text as its key; an event without such a text is not counted."""
    text = canonical_text(properties.get(aggregation.field or ""))
    return None if text is None else MeasuredQuantity(_ONE, stored_key(text))


def _evaluated(aggregation: Aggregation, properties: Mapping[str, object]) -> MeasuredQuantity | None:
    """The property's number, or the expression's; never negative."""
    if aggregation.formula is None:
        return _floored(_read(aggregation, properties))
    value = aggregation.formula.value(properties)
    if value is None:
        return None
    measured = _stored(value)
    return _floored(measured) if measured.quantity_error is None else None


def _multiplied(aggregation: Aggregation, properties: Mapping[str, object]) -> MeasuredQuantity:
    """The property's number times the multiplier, rounded once; never negative."""
    return _floored(_read(aggregation, properties, aggregation.multiplier))


def _change(aggregation: Aggregation, properties: Mapping[str, object]) -> MeasuredQuantity:
    """The property's number as a change of level, of either sign."""
    return _read(aggregation, properties)


_RULES: Final[Mapping[AggregationType, Callable[[Aggregation, Mapping[str, object]], MeasuredQuantity | None]]] = {
    AggregationType.COUNT: _counted,
    AggregationType.SUM: _evaluated,
    AggregationType.AVG: _evaluated,
    AggregationType.MAX: _evaluated,
    AggregationType.LATEST: _evaluated,
    AggregationType.COUNT_UNIQUE: _unique,
    AggregationType.SUM_WITH_MULTIPLIER: _multiplied,
    AggregationType.WEIGHTED_SUM: _change,
}


def _read(
    aggregation: Aggregation, properties: Mapping[str, object], multiplier: Decimal | None = None
) -> MeasuredQuantity:
    """The property as a quantity. Missing is 0; present and unusable is 0 with its error."""
    value = properties.get(aggregation.field or "", _MISSING)
    if value is _MISSING:
        return _NOTHING
    if type(value) is int and multiplier is None and 0 < value < _PLAIN:
        return MeasuredQuantity(Decimal(value))  # what most events say needs none of what follows
    number = read_number(value)
    if not isinstance(number, Decimal):
        return _FLAGGED[number]
    return _stored(number if multiplier is None else _UNROUNDED.multiply(number, multiplier))


def _stored(number: Decimal) -> MeasuredQuantity:
    """`number` at a row's precision: 15 decimals, half away from zero; 0 and an error beyond 23 integer digits."""
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -FRACTION_DIGITS:
        number = _UNROUNDED.quantize(number, _UNIT)
    if not number:
        return _NOTHING  # a zero of either sign
    if number.adjusted() >= INTEGER_DIGITS:
        return _FLAGGED[QuantityError.OUT_OF_RANGE]
    return MeasuredQuantity(number)


def _floored(measured: MeasuredQuantity) -> MeasuredQuantity:
    return _NOTHING if measured.quantity < 0 else measured
