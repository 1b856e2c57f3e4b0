"""What fields of the catalogue must look like; each check returns the stored form or refuses, naming the field."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

from msgspec import Meta

from farthing.core.encoding.wire import BadField, checked_metadata
from farthing.core.enums import Status
from farthing.core.errors import InvalidOperation
from farthing.core.money import decimals
from farthing.core.standards.trade_codes import check_unit_code
from farthing.storage.tables import Base

MOST_IDS = 1000
QUOTED_DIGITS = 25
QUOTED_DECIMALS = 15

Name = Annotated[str, Meta(min_length=1, max_length=255)]
Line = Annotated[str, Meta(max_length=255)]
Text = Annotated[str, Meta(max_length=10_000)]
Unit = Annotated[str, Meta(max_length=50)]
Id = Annotated[str, Meta(min_length=1, max_length=50)]
OptionalId = Annotated[str, Meta(max_length=50)]
Ids = Annotated[list[str], Meta(max_length=MOST_IDS)]


def quoted(field: str, amount: Decimal, *, positive: bool = False) -> Decimal:
    """An amount or rate that is stored exactly as sent: 25 digits, 15 of them decimals. Raises BadField.

    Rule: docs/rules/pricing.md#storage-precision
    """
    if amount < 0 or (positive and amount == 0):
        raise BadField(field, "must be greater than 0" if positive else "must not be negative")
    if decimals(amount) > QUOTED_DECIMALS:
        raise BadField(field, f"must have at most {QUOTED_DECIMALS} digits after the decimal point")
    if amount != 0 and amount.adjusted() >= QUOTED_DIGITS - QUOTED_DECIMALS:
        raise BadField(field, f"must have at most {QUOTED_DIGITS - QUOTED_DECIMALS} digits before the decimal point")
    return amount


def metadata_with_unit(entries: Mapping[str, str] | None) -> dict[str, str]:
    """Metadata within its limits, whose `unit_code`, if any, is a unit of measure. Raises ValidationFailed."""
    checked = checked_metadata(entries)
    check_unit_code(checked)
    return checked


def require_published(row: Any) -> None:
    """Refuse to change a row that is archived; it can be read only. Raises InvalidOperation."""
    if row.status is not Status.PUBLISHED:
        label = row.label if isinstance(row, Base) else "Row"
        raise InvalidOperation(f"{label} {row.id} is {row.status.value} and cannot be changed", {"status": row.status})
