"""Bodies of credit notes."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from farthing.api.queries.lists import Page
from farthing.core.encoding.wire import (
    BadField,
    DecimalText,
    Request,
    Response,
    Timestamp,
    checked_metadata,
    stored_amount,
)
from farthing.core.enums import Status
from farthing.credits.notes.tables import CreditNoteReason, CreditNoteStatus, CreditNoteType
from farthing.customers.schemas import CustomerResponse
from farthing.invoices.receivable import PaymentStatus
from farthing.invoices.schemas import InvoiceResponse
from farthing.payments.refunds.tables import RefundTarget
from farthing.storage.queries.listing import ListQuery
from farthing.subscriptions.schemas.responses import SubscriptionResponse

Identifier = Annotated[str, Meta(min_length=1, max_length=50)]


class CreateCreditNoteLineItemRequest(Request):
    """What to take back of one line, gross."""

    invoice_line_item_id: Identifier
    amount: Decimal
    display_name: Annotated[str, Meta(max_length=500)] | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.amount <= 0:
            raise BadField("amount", "must be greater than 0")
        stored_amount("amount", self.amount)
        checked_metadata(self.metadata)


class CreditSplit(Request):
    """What becomes of a refund; together the note's total."""

    prepaid_wallet: Decimal = Decimal(0)
    back_to_source: Decimal = Decimal(0)
    next_invoice: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("prepaid_wallet", "back_to_source", "next_invoice"):
            if getattr(self, name) < 0:
                raise BadField(name, "must not be negative")
            stored_amount(name, getattr(self, name))


class CreateCreditNoteRequest(Request):
    """A correction of an invoice; whether it adjusts or refunds follows from what was paid."""

    invoice_id: Identifier
    reason: CreditNoteReason
    line_items: Annotated[list[CreateCreditNoteLineItemRequest], Meta(min_length=1, max_length=1000)]
    credit_note_number: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    memo: Annotated[str, Meta(max_length=2000)] | None = None
    metadata: dict[str, str] | None = None
    idempotency_key: Annotated[str, Meta(max_length=255)] | None = None
    process_credit_note: bool | None = None
    refund_target: RefundTarget | None = None
    split: CreditSplit | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_metadata(self.metadata)
        if self.split is not None and self.refund_target is not None:
            raise BadField("split", "goes without refund_target")


class FinalizeCreditNoteRequest(Request):
    """Where the money of a refund goes, if otherwise than the note says."""

    refund_target: RefundTarget | None = None


class CreditNoteQuery(ListQuery):
    """Filters of the list of credit notes."""

    credit_note_ids: Annotated[list[str], Meta(max_length=1000)] | None = None
    invoice_id: str | None = None
    customer_id: str | None = None
    credit_note_status: list[CreditNoteStatus] | None = None
    credit_note_type: CreditNoteType | None = None


class CreditNoteTaxResponse(Response):
    """The tax of one rate that a line takes back."""

    tax_rate_id: str
    amount: DecimalText
    name: str = ""
    code: str = ""
    rate: str = ""


class CreditNoteLineItemResponse(Response):
    """What a note takes back of one line."""

    id: str
    credit_note_id: str
    invoice_line_item_id: str
    display_name: str
    amount: DecimalText
    net_amount: DecimalText
    tax_amount: DecimalText
    taxes: list[Any]
    currency: str
    metadata: dict[str, str]
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta"}


class CreditNoteResponse(Response):
    """A credit note."""

    id: str
    credit_note_number: str
    invoice_id: str
    customer_id: str
    credit_note_status: CreditNoteStatus
    credit_note_type: CreditNoteType
    reason: CreditNoteReason
    memo: str
    currency: str
    total_amount: DecimalText
    net_amount: DecimalText
    tax_amount: DecimalText
    metadata: dict[str, str]
    idempotency_key: str
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    subscription_id: str | None = None
    refund_status: PaymentStatus | None = None
    split: dict[str, DecimalText] | None = None
    finalized_at: Timestamp | None = None
    voided_at: Timestamp | None = None
    line_items: list[CreditNoteLineItemResponse] | None = None
    invoice: InvoiceResponse | None = None
    subscription: SubscriptionResponse | None = None
    customer: CustomerResponse | None = None
    message: str | None = None

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta"}


class ListCreditNotesResponse(Page[CreditNoteResponse]):
    """One page of credit notes."""

    items: list[CreditNoteResponse]


class CreditMovementResponse(Response):
    """One part of what becomes of a refund."""

    destination: str
    amount: DecimalText
    payment_id: str | None = None


class CreditNotePreviewResponse(Response):
    """What a note would come to: the note, its invoice afterwards, and what becomes of the money."""

    credit_note: CreditNoteResponse
    invoice: InvoiceResponse
    movements: list[CreditMovementResponse]
