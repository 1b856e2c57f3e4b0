"""Requests and responses of features, meters and groups, with the names and fields of the wire."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, ClassVar

from msgspec import UNSET, Meta, UnsetType

from farthing.api.queries.lists import Page
from farthing.calendar.windows import WindowSize
from farthing.catalogue.fields import Ids, Line, Name, OptionalId, Text, Unit, metadata_with_unit, quoted
from farthing.catalogue.products.enums import FeatureType, GroupEntityType
from farthing.core.encoding.wire import BadField, DecimalText, Request, Response, Timestamp
from farthing.core.enums import Status
from farthing.metering.meter import AggregationType, ResetUsage
from farthing.storage.queries.listing import ListQuery

MOST_FILTER_KEYS = 100
MOST_FILTER_VALUES = 1000

PropertyKey = Annotated[str, Meta(max_length=255)]
FilterValue = Annotated[str, Meta(max_length=1000)]


class CreateGroupRequest(Request):
    """A new heading."""

    name: Name
    entity_type: GroupEntityType
    lookup_key: Name


class GroupQuery(ListQuery):
    """Query string of a list of groups."""

    entity_type: GroupEntityType | None = None
    group_ids: Ids | None = None
    lookup_key: str | None = None
    name: str | None = None


class GroupFilter(GroupQuery):
    """Body of a search for groups."""


class GroupResponse(Response):
    """A heading; its members say so themselves, so `entity_ids` stays empty."""

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta"}

    id: str
    name: str
    lookup_key: str
    entity_type: GroupEntityType
    status: Status
    metadata: dict[str, str]
    created_at: Timestamp
    updated_at: Timestamp
    entity_ids: list[str]


class ListGroupsResponse(Page[GroupResponse]):
    """A page of groups."""

    items: list[GroupResponse]


class MeterFilter(Request):
    """A property and the values of it that count."""

    key: Annotated[str, Meta(min_length=1, max_length=255)]
    values: Annotated[list[FilterValue], Meta(min_length=1, max_length=MOST_FILTER_VALUES)]


Filters = Annotated[list[MeterFilter], Meta(max_length=MOST_FILTER_KEYS)]


class MeterAggregationRequest(Request):
    """What is taken from each event, and how it is folded."""

    type: AggregationType
    field: PropertyKey | None = None
    expression: Annotated[str, Meta(max_length=4096)] | None = None
    multiplier: Decimal | None = None
    bucket_size: WindowSize | None = None
    group_by: PropertyKey | None = None


class CreateMeterRequest(Request):
    """A new meter."""

    name: Name
    event_name: Name
    aggregation: MeterAggregationRequest
    reset_usage: ResetUsage
    filters: Filters | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.event_name = self.event_name.strip()
        if not self.event_name:
            raise BadField("event_name", "must not be blank")


class UpdateMeterRequest(Request):
    """Values and keys to add to a meter's filters."""

    filters: Annotated[list[MeterFilter], Meta(min_length=1, max_length=MOST_FILTER_KEYS)]


class MeterQuery(ListQuery):
    """Query string of a list of meters."""

    event_name: str | None = None
    meter_ids: Ids | None = None


class MeterFilterResponse(Response):
    """A property and the values of it that count."""

    key: str
    values: list[str]


class MeterAggregation(Response):
    """What is taken from each event, and how it is folded."""

    type: AggregationType
    field: str | None = None
    expression: str | None = None
    multiplier: DecimalText | None = None
    bucket_size: WindowSize | None = None
    group_by: str | None = None


class MeterResponse(Response):
    """A meter."""

    id: str
    name: str
    tenant_id: str
    event_name: str
    aggregation: MeterAggregation
    filters: list[MeterFilterResponse]
    reset_usage: ResetUsage
    status: Status
    created_at: Timestamp
    updated_at: Timestamp


class ListMetersResponse(Page[MeterResponse]):
    """A page of meters."""

    items: list[MeterResponse]


class AlertCondition(StrEnum):
    """On which side of its threshold a value is alarming."""

    ABOVE = "above"
    BELOW = "below"


class AlertThresholdRequest(Request):
    """A threshold and its alarming side; the threshold itself belongs to it."""

    threshold: Decimal
    condition: AlertCondition


class FeatureAlertRequest(Request):
    """Thresholds to watch. In an update absent means as before, null means none."""

    critical: AlertThresholdRequest | UnsetType | None = UNSET
    warning: AlertThresholdRequest | UnsetType | None = UNSET
    info: AlertThresholdRequest | UnsetType | None = UNSET
    alert_enabled: bool | None = None


class ReportingUnitRequest(Request):
    """A unit to show usage in; `conversion_rate` of it make one unit of usage. Billing never reads it."""

    unit_singular: Annotated[str, Meta(min_length=1, max_length=50)]
    unit_plural: Annotated[str, Meta(min_length=1, max_length=50)]
    conversion_rate: Decimal

    def __post_init__(self) -> None:
        super().__post_init__()
        quoted("conversion_rate", self.conversion_rate, positive=True)


class CreateFeatureRequest(Request):
    """A new feature; a metered one names its meter or brings it along, and if both, the name wins."""

    name: Name
    type: FeatureType
    lookup_key: Line | None = None
    description: Text | None = None
    meter_id: OptionalId | None = None
    meter: CreateMeterRequest | None = None
    metadata: dict[str, str] | None = None
    unit_singular: Unit | None = None
    unit_plural: Unit | None = None
    reporting_unit: ReportingUnitRequest | None = None
    alert_settings: FeatureAlertRequest | None = None
    group_id: OptionalId | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.metadata = metadata_with_unit(self.metadata)
        if self.type is FeatureType.METERED and not self.meter_id and self.meter is None:
            raise BadField("meter", "or meter_id is required for a metered feature")


class UpdateFeatureRequest(Request):
    """Changes of a feature; what is absent stays."""

    name: Name | None = None
    description: Text | None = None
    metadata: dict[str, str] | None = None
    unit_singular: Unit | None = None
    unit_plural: Unit | None = None
    reporting_unit: ReportingUnitRequest | None = None
    filters: Filters | None = None
    alert_settings: FeatureAlertRequest | None = None
    group_id: OptionalId | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metadata is not None:
            self.metadata = metadata_with_unit(self.metadata)


class CloneFeatureRequest(Request):
    """What tells a copy of a feature from its source."""

    name: Name
    lookup_key: Name
    description: Text | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.metadata = metadata_with_unit(self.metadata)


class FeatureQuery(ListQuery):
    """Query string of a list of features."""

    feature_ids: Ids | None = None
    meter_ids: Ids | None = None
    lookup_key: str | None = None
    lookup_keys: Ids | None = None
    name_contains: str | None = None


class FeatureFilter(FeatureQuery):
    """Body of a search for features."""


class AlertThreshold(Response):
    """A threshold and its alarming side."""

    threshold: DecimalText
    condition: AlertCondition


class FeatureAlertSettings(Response):
    """Thresholds that are watched, if `alert_enabled`."""

    alert_enabled: bool
    critical: AlertThreshold | None = None
    warning: AlertThreshold | None = None
    info: AlertThreshold | None = None


class ReportingUnit(Response):
    """A unit to show usage in. The rate is the one number of the wire that clients read as a JSON number."""

    unit_singular: str
    unit_plural: str
    conversion_rate: float


class FeatureResponse(Response):
    """A feature."""

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta"}

    id: str
    name: str
    lookup_key: str
    description: str
    type: FeatureType
    meter_id: str
    metadata: dict[str, str]
    unit_singular: str
    unit_plural: str
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    reporting_unit: ReportingUnit | None = None
    alert_settings: FeatureAlertSettings | None = None
    group_id: str | None = None
    meter: MeterResponse | None = None
    group: GroupResponse | None = None


class ListFeaturesResponse(Page[FeatureResponse]):
    """A page of features."""

    items: list[FeatureResponse]
