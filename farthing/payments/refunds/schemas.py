"""Bodies of refunds."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from farthing.api.queries.lists import Page
from farthing.core.encoding.wire import (
    BadField,
    DecimalText,
    Request,
    Response,
    Timestamp,
    currency_code,
    stored_amount,
)
from farthing.core.enums import Status
from farthing.payments.refunds.records import BalanceRefund
from farthing.payments.refunds.tables import RefundDestination, RefundReason, RefundStatus
from farthing.payments.refunds.unapplied import BalanceRefundRequest
from farthing.payments.tables import Gateway
from farthing.payments.unapplied.schemas import UnappliedBalanceResponse
from farthing.storage.queries.listing import ListQuery

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
    unapplied_money_id: str | None = None
    reference: str | None = None
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


class RefundUnappliedMoneyRequest(Request):
    """How much of a customer's unapplied money goes back, why and how; without an amount all of it."""

    currency: str
    refund_reason: RefundReason
    amount: Decimal | None = None
    unapplied_money_id: Annotated[str, Meta(min_length=1, max_length=50)] | None = None
    refund_destination: Literal["GATEWAY", "OUT_OF_BAND"] | None = None
    reference: Annotated[str, Meta(min_length=1, max_length=255)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.currency = currency_code("currency", self.currency)
        if self.amount is not None:
            if self.amount <= 0:
                raise BadField("amount", "must be greater than 0")
            stored_amount("amount", self.amount)

    def asked_of(self, customer_id: str) -> BalanceRefundRequest:
        """The same, of a customer."""
        destination = self.refund_destination
        return BalanceRefundRequest(
            customer_id=customer_id,
            currency=self.currency,
            amount=self.amount,
            money_id=self.unapplied_money_id,
            destination=None if destination is None else RefundDestination(destination),
            cause=BalanceRefund(self.refund_reason, self.reference),
        )


class RefundedMoneyResponse(Response):
    """The refunds that were made, and what is left."""

    refunds: list[RefundResponse]
    balances: list[UnappliedBalanceResponse]


class ListRefundsResponse(Page[RefundResponse]):
    """One page of refunds."""

    items: list[RefundResponse]
