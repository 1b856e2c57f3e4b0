"""Bodies of unapplied money."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from msgspec import Meta

from farthing.core.encoding.wire import (
    BadField,
    DecimalText,
    Request,
    Response,
    Timestamp,
    currency_code,
    stored_amount,
)
from farthing.payments.unapplied.tables import UnappliedSource


class UnappliedMoneyResponse(Response):
    """Money from one source and what is left of it."""

    id: str
    source: UnappliedSource
    amount: DecimalText
    allocated: DecimalText
    withdrawn: DecimalText
    left: DecimalText
    for_next_invoice: bool
    created_at: Timestamp
    payment_id: str | None = None
    invoice_id: str | None = None
    credit_note_id: str | None = None


class UnappliedBalanceResponse(Response):
    """What a customer has in one currency that stands on no invoice."""

    currency: str
    amount: DecimalText
    money: list[UnappliedMoneyResponse]


class UnappliedBalancesResponse(Response):
    """The unapplied money of a customer, by currency."""

    customer_id: str
    balances: list[UnappliedBalanceResponse]


class AllocationRequest(Request):
    """What one invoice is to have."""

    invoice_id: Annotated[str, Meta(min_length=1, max_length=50)]
    amount: Decimal

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.amount <= 0:
            raise BadField("amount", "must be greater than 0")
        stored_amount("amount", self.amount)


class AllocateMoneyRequest(Request):
    """Which invoices have what; without `allocations` those due first have as much as there is, at most `amount`."""

    currency: str
    allocations: Annotated[list[AllocationRequest], Meta(max_length=1000)] | None = None
    amount: Decimal | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.currency = currency_code("currency", self.currency)
        if self.allocations is not None and self.amount is not None:
            raise BadField("amount", "goes without allocations")
        if self.allocations is not None and not self.allocations:
            raise BadField("allocations", "must name at least one invoice")
        if self.amount is not None:
            if self.amount <= 0:
                raise BadField("amount", "must be greater than 0")
            stored_amount("amount", self.amount)


class AllocationResponse(Response):
    """What one invoice had."""

    invoice_id: str
    amount: DecimalText


class AllocatedMoneyResponse(Response):
    """What was allocated, and what is left."""

    allocations: list[AllocationResponse]
    balances: list[UnappliedBalanceResponse]


class MoveOverpaymentRequest(Request):
    """How much to move; without an amount all that was paid too much."""

    amount: Decimal | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.amount is not None:
            if self.amount <= 0:
                raise BadField("amount", "must be greater than 0")
            stored_amount("amount", self.amount)
