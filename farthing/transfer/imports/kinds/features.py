"""Features from a file: made with their meters, or renamed where their key is known.

Rule: docs/rules/imports-and-exports.md#features
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.products import features
from farthing.catalogue.products.enums import FeatureType
from farthing.catalogue.products.schemas import CreateFeatureRequest, UpdateFeatureRequest
from farthing.catalogue.products.tables import Feature
from farthing.core.encoding.decoding import convert
from farthing.core.enums import Status
from farthing.core.errors import ValidationFailed
from farthing.transfer.imports.files.columns import BadCell, ColumnSet
from farthing.transfer.imports.files.rows import SourceRow

_AGGREGATION = {
    "aggregation_type": "type",
    "aggregation_field": "field",
    "aggregation_multiplier": "multiplier",
    "aggregation_bucket_size": "bucket_size",
}
_OF_METER = ("meter_name", "event_name", "reset_usage", *_AGGREGATION)
_CHANGEABLE = ("name", "unit_singular", "unit_plural")
_DEFAULT_RESET = "BILLING_PERIOD"

COLUMNS = ColumnSet(
    required=("name",),
    optional=("type", "lookup_key", "description", "unit_singular", "unit_plural", *_OF_METER),
    maps=("metadata",),
    numbers=("aggregation_multiplier",),
)


class FeatureImporter:
    """Writes the features of one import."""

    columns = COLUMNS

    async def write(self, session: AsyncSession, row: SourceRow) -> None:
        """Make the feature of a row; of one whose key is known, change name, units and metadata.

        Raises BadCell and what the life cycle of features raises.
        """
        fields = COLUMNS.fields_of(row)
        if "name" not in fields:
            raise BadCell("name", "is required")
        lookup_key = str(fields.get("lookup_key") or features.default_key(str(fields["name"])))
        there = await session.scalar(
            select(Feature)
            .where(Feature.lookup_key == lookup_key, Feature.status == Status.PUBLISHED)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
        if there is not None:
            changes = {name: fields[name] for name in _CHANGEABLE if name in fields}
            if "metadata" in fields:
                changes["metadata"] = {**there.meta, **fields["metadata"]}
            await features.update(session, there.id, convert(changes, UpdateFeatureRequest))
            return
        try:
            await features.create(session, _creation(fields))
        except ValidationFailed as error:
            raise ValidationFailed.listing(_as_columns(error.details)) from error


def _creation(fields: dict[str, Any]) -> CreateFeatureRequest:
    body = {name: value for name, value in fields.items() if name not in _OF_METER}
    body["type"] = str(body.get("type") or FeatureType.METERED).lower()
    if body["type"] == FeatureType.METERED:
        if "event_name" not in fields:
            raise BadCell("event_name", "is required for a metered feature")
        aggregation = {name: fields[column] for column, name in _AGGREGATION.items() if column in fields}
        body["meter"] = {
            "name": fields.get("meter_name") or fields["name"],
            "event_name": fields["event_name"],
            "reset_usage": fields.get("reset_usage", _DEFAULT_RESET),
            "aggregation": aggregation,
        }
    return convert(body, CreateFeatureRequest)


def _as_columns(details: dict[str, Any]) -> dict[str, Any]:
    """Problems by the column that holds the field."""
    names = {f"meter.aggregation.{name}": column for column, name in _AGGREGATION.items()}
    names |= {f"aggregation.{name}": column for column, name in _AGGREGATION.items()}
    names |= {"meter.name": "meter_name", "meter.event_name": "event_name", "meter.reset_usage": "reset_usage"}
    return {names.get(field, field): reason for field, reason in details.items()}
