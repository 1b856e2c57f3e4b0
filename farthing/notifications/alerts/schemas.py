"""Requests and responses of alerts and their settings."""

from __future__ import annotations

from farthing.api.queries.lists import Page
from farthing.catalogue.fields import Id
from farthing.catalogue.products.alerts import AlertState
from farthing.catalogue.products.schemas import AlertCondition, FeatureResponse
from farthing.core.encoding.wire import BadField, DecimalText, Request, Response, Timestamp
from farthing.core.enums import Status
from farthing.credits.schemas import WalletAlertRequest, WalletResponse
from farthing.customers.schemas import CustomerResponse
from farthing.notifications.alert_enums import AlertEntityType, AlertOwner, AlertType, SpendParent, SpendScope
from farthing.storage.queries.listing import ListQuery


class CreateAlertSettingsRequest(Request):
    """Thresholds for the spend of a subscription, or of a line item or a group of it, which names its parent."""

    entity_type: SpendScope
    entity_id: Id
    config: WalletAlertRequest
    parent_entity_type: SpendParent | None = None
    parent_entity_id: Id | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        given = {"parent_entity_type": self.parent_entity_type, "parent_entity_id": self.parent_entity_id}
        for field, value in given.items():
            if self.entity_type is SpendScope.SUBSCRIPTION and value is not None:
                raise BadField(field, "is not for a subscription, which has no parent")
            if self.entity_type is not SpendScope.SUBSCRIPTION and value is None:
                raise BadField(field, f"is required for a {self.entity_type.value}: what it is part of")


class UpdateAlertSettingsRequest(Request):
    """The thresholds that replace those there are."""

    config: WalletAlertRequest


class AlertSettingsQuery(ListQuery):
    """Which settings are wanted."""

    entity_type: SpendScope | None = None
    entity_id: str | None = None
    entity_ids: list[str] | None = None
    parent_entity_type: SpendParent | None = None
    parent_entity_id: str | None = None
    parent_entity_ids: list[str] | None = None
    enabled: bool | None = None


class AlertLogQuery(ListQuery):
    """Which alerts are wanted."""

    entity_type: AlertEntityType | None = None
    entity_id: str | None = None
    alert_type: AlertType | None = None
    alert_status: AlertState | None = None
    customer_id: str | None = None


class AlertLevelResponse(Response):
    threshold: DecimalText
    condition: AlertCondition


class AlertConfigResponse(Response):
    """Thresholds, and whether they are watched."""

    alert_enabled: bool
    alert_threshold_type: str | None = None
    critical: AlertLevelResponse | None = None
    warning: AlertLevelResponse | None = None
    info: AlertLevelResponse | None = None


class AlertSettingsResponse(Response, kw_only=True):
    """The thresholds for the spend of one entity."""

    id: str
    entity_type: SpendScope
    entity_id: str
    parent_entity_type: SpendParent | None = None
    parent_entity_id: str | None = None
    config: AlertConfigResponse
    enabled: bool
    set_by: AlertOwner
    """Whose it is: the merchant's, or one that the customer set in its portal."""
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str


class AlertInfoResponse(Response):
    """What was compared, with what, and when."""

    value_at_time: DecimalText
    timestamp: Timestamp
    alert_settings: AlertConfigResponse | None = None


class AlertLogResponse(Response, kw_only=True):
    """One change of state."""

    id: str
    entity_type: AlertEntityType
    entity_id: str
    parent_entity_type: AlertEntityType | None = None
    parent_entity_id: str | None = None
    customer_id: str | None = None
    alert_setting_id: str | None = None
    alert_type: AlertType
    alert_status: AlertState
    alert_info: AlertInfoResponse
    customer: CustomerResponse | None = None
    wallet: WalletResponse | None = None
    feature: FeatureResponse | None = None
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str


class ListAlertSettingsResponse(Page[AlertSettingsResponse]):
    """A page of settings."""

    items: list[AlertSettingsResponse]


class ListAlertLogsResponse(Page[AlertLogResponse]):
    """A page of alerts."""

    items: list[AlertLogResponse]
