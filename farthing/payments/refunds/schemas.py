"""Bodies of refunds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from msgspec import Meta

from farthing.api.queries.lists import Page
from farthing.core.enums import Status
from farthing.core.wire import DecimalText, Response, Timestamp
from farthing.payments.refunds.tables import RefundDestination, RefundReason, RefundStatus
from farthing.payments.tables import Gateway
from farthing.storage.listing import ListQuery

Ids = Annotated[list[str], Meta(max_length=1000)]


class RefundQuery(ListQuery):
    """Filters of the list of refunds."""

    invoice_ids: Ids | None = None
    payment_ids: Ids | None = None
    credit_note_ids: Ids | None = None
    refund_statuses: list[RefundStatus] | None = None
    refund_destinations: list[RefundDestination] | None = None
    gateway: Gateway | None = None
    only_settled: bool = False


class RefundResponse(Response):
    """A refund."""

    id: str
    customer_id: str
    amount: DecimalText
    settled_amount: DecimalText
    currency: str
    refund_status: RefundStatus
    refund_reason: RefundReason
    refund_destination: RefundDestination
    attempt: int
    idempotency_key: str
    gateway_metadata: dict[str, str]
    metadata: dict[str, str]
    initiated_at: Timestamp
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    invoice_id: str | None = None
    payment_id: str | None = None
    credit_note_id: str | None = None
    payment_gateway: str | None = None
    gateway_refund_id: str | None = None
    gateway_tracking_id: str | None = None
    gateway_idempotency_token: str | None = None
    refund_destination_id: str | None = None
    failure_reason: str | None = None
    succeeded_at: Timestamp | None = None
    failed_at: Timestamp | None = None
    cancelled_at: Timestamp | None = None

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta"}


class ListRefundsResponse(Page[RefundResponse]):
    """One page of refunds."""

    items: list[RefundResponse]
