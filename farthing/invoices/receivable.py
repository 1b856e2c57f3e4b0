"""Where an invoice stands: the only definitions of counted, unpaid and overdue.

Each is given for PostgreSQL (as text, so that partial indexes and triggers use the same words) and for Python.
Rule: docs/rules/customer-summary.md#counted-unpaid-and-overdue
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Protocol


class InvoiceType(StrEnum):
    SUBSCRIPTION = "SUBSCRIPTION"
    ONE_OFF = "ONE_OFF"
    CREDIT = "CREDIT"


class InvoiceStatus(StrEnum):
    """SKIPPED is a subscription draft that came to nothing: never issued, never numbered."""

    DRAFT = "DRAFT"
    FINALIZED = "FINALIZED"
    VOIDED = "VOIDED"
    SKIPPED = "SKIPPED"


class PaymentStatus(StrEnum):
    """Shared by invoices and payments; INITIATED, PROCESSING and VOIDED never stand on an invoice."""

    INITIATED = "INITIATED"
    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    SUCCEEDED = "SUCCEEDED"
    OVERPAID = "OVERPAID"
    FAILED = "FAILED"
    REFUNDED = "REFUNDED"
    PARTIALLY_REFUNDED = "PARTIALLY_REFUNDED"
    VOIDED = "VOIDED"


class BillingReason(StrEnum):
    SUBSCRIPTION_CREATE = "SUBSCRIPTION_CREATE"
    SUBSCRIPTION_CYCLE = "SUBSCRIPTION_CYCLE"
    SUBSCRIPTION_UPDATE = "SUBSCRIPTION_UPDATE"
    SUBSCRIPTION_TRIAL_START = "SUBSCRIPTION_TRIAL_START"
    SUBSCRIPTION_TRIAL_END = "SUBSCRIPTION_TRIAL_END"
    SUBSCRIPTION_PAUSED = "SUBSCRIPTION_PAUSED"
    SUBSCRIPTION_RESUME = "SUBSCRIPTION_RESUME"
    PRORATION = "PRORATION"
    MANUAL = "MANUAL"
    AUTO_INVOICE_THRESHOLD = "AUTO_INVOICE_THRESHOLD"
    WALLET_AUTO_TOPUP = "WALLET_AUTO_TOPUP"


SETTLED = (
    PaymentStatus.SUCCEEDED,
    PaymentStatus.OVERPAID,
    PaymentStatus.REFUNDED,
    PaymentStatus.VOIDED,
)

COUNTED = "status = 'published' AND invoice_status = 'FINALIZED' AND invoice_type IN ('SUBSCRIPTION', 'ONE_OFF')"
"""Receivables: invoices that the customer owes or has paid."""

LISTED_UNCOUNTED = (
    "status = 'published' AND invoice_status <> 'SKIPPED' "
    "AND (invoice_status <> 'FINALIZED' OR invoice_type NOT IN ('SUBSCRIPTION', 'ONE_OFF'))"
)
"""The other invoices that lists show unless they are asked for others: drafts, voided ones, and what sells credits."""

UNPAID = (
    f"{COUNTED} AND amount_remaining > 0 "
    f"AND payment_status NOT IN ({', '.join(repr(status.value) for status in SETTLED)}) "
    "AND written_off_at IS NULL"
)
"""Counted invoices on which something is still owed, and expected."""


class Standing(Protocol):
    """What the definitions read of an invoice."""

    invoice_status: InvoiceStatus
    invoice_type: InvoiceType
    payment_status: PaymentStatus
    due_date: datetime | None
    written_off_at: datetime | None


def is_unpaid(invoice: Standing) -> bool:
    """The same rule as `UNPAID`, for a row in hand."""
    remaining = getattr(invoice, "amount_remaining")  # noqa: B009 (a column, not part of the protocol)
    return (
        invoice.invoice_status == InvoiceStatus.FINALIZED
        and invoice.invoice_type in {InvoiceType.SUBSCRIPTION, InvoiceType.ONE_OFF}
        and remaining > 0
        and invoice.payment_status not in SETTLED
        and invoice.written_off_at is None
    )


def is_overdue(invoice: Standing, as_of: datetime) -> bool:
    """Unpaid and due before `as_of`, strictly: due exactly now is not overdue."""
    return is_unpaid(invoice) and invoice.due_date is not None and invoice.due_date < as_of
