"""Amounts are kept as they were sent: one that a column cannot hold in full is refused, never rounded."""

from __future__ import annotations

from decimal import Decimal

from farthing.core.encoding.wire import BadField
from farthing.core.money import decimals


def kept_whole(field: str, amount: Decimal, precision: int, scale: int) -> Decimal:
    """`amount` itself, which a column numeric(`precision`, `scale`) holds in full. Raises BadField.

    Rule: docs/rules/pricing.md#storage-precision
    """
    if amount != 0 and amount.adjusted() >= precision - scale:
        raise BadField(field, f"must have at most {precision - scale} digits before the decimal point")
    if decimals(amount) > scale:
        raise BadField(field, f"must have at most {scale} digits after the decimal point")
    return amount
