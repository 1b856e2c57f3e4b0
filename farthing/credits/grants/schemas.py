"""Bodies of credit grants and their applications."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from msgspec import Meta

from farthing.api.queries.lists import Page
from farthing.catalogue.plans.credit_grants import CreditGrantScope
from farthing.catalogue.schemas import IncludedCreditGrant
from farthing.core.encoding.wire import BadField, DecimalText, Moment, Request, Response, Timestamp, checked_metadata
from farthing.core.enums import Status
from farthing.storage.queries.listing import ListQuery

Ids = Annotated[list[str], Meta(max_length=1000)]


class CreditGrantQuery(ListQuery):
    """Query string of a list of credit grants."""

    plan_ids: Ids | None = None
    addon_ids: Ids | None = None
    subscription_ids: Ids | None = None
    credit_grant_ids: Ids | None = None
    scope: CreditGrantScope | None = None


class UpdateCreditGrantRequest(Request):
    """A new name or other metadata, or when a subscription's grant ends."""

    name: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    metadata: dict[str, str] | None = None
    end_date: Moment | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metadata is not None:
            self.metadata = checked_metadata(self.metadata)
        if self.name is not None and not self.name.strip():
            raise BadField("name", "must not be blank")


class DeleteCreditGrantRequest(Request):
    """When a subscription's grant ends; by default now."""

    effective_date: Moment | None = None


class CreditGrantApplicationResponse(Response, kw_only=True):
    """The credits of one grant for one period, and what became of them."""

    renamed: ClassVar[Mapping[str, str]] = {
        "metadata": "meta",
        "subscription_status_at_application": "subscription_status",
    }

    id: str
    credit_grant_id: str
    subscription_id: str
    scheduled_for: Timestamp
    period_start: Timestamp
    period_end: Timestamp | None = None
    application_status: str
    application_reason: str
    credits: DecimalText
    subscription_status_at_application: str | None = None
    retry_count: int
    failure_reason: str | None = None
    applied_at: Timestamp | None = None
    idempotency_key: str
    metadata: dict[str, str]
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str


ListCreditGrantsResponse = Page[IncludedCreditGrant]
ListCreditGrantApplicationsResponse = Page[CreditGrantApplicationResponse]
