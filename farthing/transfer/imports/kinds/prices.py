"""Prices from a file; each row makes a new one.

Rule: docs/rules/imports-and-exports.md#prices
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.prices import lifecycle
from farthing.catalogue.prices.schemas import CreatePriceRequest
from farthing.core.encoding.decoding import convert
from farthing.core.errors import ValidationFailed
from farthing.transfer.imports.files.columns import BadCell, ColumnSet
from farthing.transfer.imports.files.rows import SourceRow

_TRANSFORM = {"transform_quantity_divide_by": "divide_by", "transform_quantity_round": "round"}
_UNIT = {
    "price_unit_config_price_unit": "price_unit",
    "price_unit_config_amount": "amount",
    "price_unit_config_tiers": "price_unit_tiers",
}
_MOST_DIGITS = 40
_INTEGERS = ("billing_period_count", "trial_period_days", "min_quantity", "transform_quantity_divide_by")

COLUMNS = ColumnSet(
    required=("entity_type", "entity_id", "type", "currency", "billing_model", "billing_period", "invoice_cadence"),
    optional=(
        "amount",
        "price_unit_type",
        "billing_period_count",
        "meter_id",
        "lookup_key",
        "trial_period_days",
        "description",
        "tier_mode",
        "tiers",
        "start_date",
        "end_date",
        "display_name",
        "min_quantity",
        "group_id",
        *_TRANSFORM,
        *_UNIT,
    ),
    maps=("metadata",),
    objects=("tiers", "price_unit_config_tiers"),
    numbers=("amount", "price_unit_config_amount", *_INTEGERS),
)


class PriceImporter:
    """Writes the prices of one import."""

    columns = COLUMNS

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._rows: dict[str, int] = {}
        """The row in which each key came first: what a dry run wrote is not there any more."""

    async def write(self, session: AsyncSession, row: SourceRow) -> None:
        """Make the price of a row. Raises BadCell and what the life cycle of prices raises."""
        fields = COLUMNS.fields_of(row)
        request = _creation(fields)
        key = request.lookup_key
        if key and self._rows.get(key, row.number) < row.number:
            raise BadCell("lookup_key", f"'{key}' stands in row {self._rows[key]} too")
        await lifecycle.create(session, request, self._now)
        if key:
            self._rows.setdefault(key, row.number)


def _creation(fields: dict[str, Any]) -> CreatePriceRequest:
    for column in _INTEGERS:
        if isinstance(fields.get(column), str):
            fields[column] = _integer(column, fields[column])
    body = {name: value for name, value in fields.items() if name not in {*_TRANSFORM, *_UNIT}}
    for field, columns in (("transform_quantity", _TRANSFORM), ("price_unit_config", _UNIT)):
        parts = {name: fields[column] for column, name in columns.items() if column in fields}
        if parts:
            body[field] = parts
    try:
        return convert(body, CreatePriceRequest)
    except ValidationFailed as error:
        names = {f"transform_quantity.{name}": column for column, name in _TRANSFORM.items()}
        names |= {f"price_unit_config.{name}": column for column, name in _UNIT.items()}
        details = {names.get(field, field): reason for field, reason in error.details.items()}
        raise ValidationFailed.listing(details) from error


def _integer(column: str, text: str) -> int:
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise BadCell(column, "must be a whole number") from error
    if number.adjusted() > _MOST_DIGITS:
        raise BadCell(
            column, f"must have at most {_MOST_DIGITS} digits"
        )  # 1e999999999 is nine hundred megabytes of them
    if number != number.to_integral_value():
        raise BadCell(column, "must be a whole number")
    return int(number)
