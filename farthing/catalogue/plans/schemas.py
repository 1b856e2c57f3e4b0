"""Requests and responses of plans and addons, with the names and fields of the wire.

Plans carry prices and entitlements, which name their plan, so these modules refer to each other as modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from farthing.api.queries.lists import Page
from farthing.catalogue.entitlements import schemas as entitling
from farthing.catalogue.fields import Ids, Line, Name, Text
from farthing.catalogue.prices import schemas as pricing
from farthing.core.enums import Status
from farthing.core.wire import BadField, DecimalText, Request, Response, Timestamp, checked_metadata
from farthing.storage.listing import ListQuery

MOST_METADATA_CHARACTERS = 16_000

Order = Annotated[int, Meta(ge=-(2**31), lt=2**31)]


def _any_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Metadata of an addon: any JSON values, within the same number of keys and a bounded size."""
    texts = {key: value for key, value in metadata.items() if isinstance(value, str)}
    checked_metadata({**dict.fromkeys(metadata, ""), **texts})
    if len(str(metadata)) > MOST_METADATA_CHARACTERS:
        raise BadField("metadata", f"must be at most {MOST_METADATA_CHARACTERS} characters long")
    return metadata


class CreatePlanRequest(Request):
    """A new plan, with prices if they are given; entitlements and credit grants are added to it later."""

    name: Name
    lookup_key: Line | None = None
    description: Text | None = None
    display_order: Order | None = None
    metadata: dict[str, str] | None = None
    prices: Annotated[list[pricing.PriceOfNewPlan], Meta(max_length=pricing.MOST_IN_BULK)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.metadata = checked_metadata(self.metadata)


class UpdatePlanRequest(Request):
    """Changes of a plan; what is absent stays."""

    name: Name | None = None
    lookup_key: Line | None = None
    description: Text | None = None
    display_order: Order | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metadata is not None:
            self.metadata = checked_metadata(self.metadata)


class ClonePlanRequest(Request):
    """What tells a copy of a plan from its source."""

    name: Name
    lookup_key: Name
    description: Text | None = None
    display_order: Order | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.metadata = checked_metadata(self.metadata)


class PlanQuery(ListQuery):
    """Query string of a list of plans."""

    plan_ids: Ids | None = None
    lookup_key: str | None = None


class PlanFilter(PlanQuery):
    """Body of a search for plans; `metadata` finds those that have all its pairs."""

    metadata: dict[str, str] | None = None


class IncludedCreditGrant(Response):
    """A credit grant of a plan, an addon or a subscription. `rollover_maximum`: what of earlier applications is carried
    over a new one at most."""

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta"}

    id: str
    name: str
    scope: Literal["PLAN", "SUBSCRIPTION", "ADDON"]
    credits: DecimalText
    cadence: Literal["ONETIME", "RECURRING"]
    expiration_type: Literal["NEVER", "DURATION", "BILLING_CYCLE"]
    metadata: dict[str, str]
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    plan_id: str | None = None
    addon_id: str | None = None
    subscription_id: str | None = None
    conversion_rate: DecimalText | None = None
    topup_conversion_rate: DecimalText | None = None
    period: Literal["DAILY", "WEEKLY", "MONTHLY", "QUARTERLY", "HALF_YEARLY", "ANNUAL"] | None = None
    period_count: int | None = None
    expiration_duration: int | None = None
    expiration_duration_unit: Literal["DAY", "WEEK", "MONTH", "YEAR"] | None = None
    priority: int | None = None
    start_date: Timestamp | None = None
    end_date: Timestamp | None = None
    credit_grant_anchor: Timestamp | None = None
    rollover_maximum: DecimalText | None = None


class PlanResponse(Response):
    """A plan, with what belongs to it if asked for."""

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta"}

    id: str
    name: str
    lookup_key: str
    description: str
    metadata: dict[str, str]
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    display_order: int | None = None
    prices: list[pricing.PriceResponse] | None = None
    entitlements: list[entitling.EntitlementResponse] | None = None
    credit_grants: list[IncludedCreditGrant] | None = None


class ListPlansResponse(Page[PlanResponse]):
    """A page of plans."""

    items: list[PlanResponse]


class CreateAddonRequest(Request):
    """A new addon; prices, entitlements and credit grants are added to it later."""

    name: Name
    lookup_key: Name
    description: Text | None = None
    metadata: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.metadata = _any_metadata(self.metadata or {})


class UpdateAddonRequest(Request):
    """Changes of an addon; what is absent stays."""

    name: Name | None = None
    description: Text | None = None
    metadata: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metadata is not None:
            self.metadata = _any_metadata(self.metadata)


class AddonQuery(ListQuery):
    """Query string of a list of addons."""

    addon_ids: Ids | None = None
    lookup_keys: Ids | None = None


class AddonFilter(AddonQuery):
    """Body of a search for addons."""


class AddonResponse(Response):
    """An addon, with what belongs to it if asked for."""

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta"}

    id: str
    name: str
    lookup_key: str
    description: str
    metadata: dict[str, Any]
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    prices: list[pricing.PriceResponse] | None = None
    entitlements: list[entitling.EntitlementResponse] | None = None
    credit_grants: list[IncludedCreditGrant] | None = None


class ListAddonsResponse(Page[AddonResponse]):
    """A page of addons."""

    items: list[AddonResponse]
