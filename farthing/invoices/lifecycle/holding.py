"""Drafts that wait for a checkout: while one does, nobody else touches it.

Rule: docs/rules/checkout.md#the-held-invoice
"""

from __future__ import annotations

from farthing.core.errors import InvalidOperation
from farthing.invoices.tables import Invoice

FROM_CHECKOUT = "checkout"
"""What `source_type` says of an invoice that was made for a checkout."""


def hold(invoice: Invoice, checkout_session_id: str) -> None:
    """Let a new draft wait for its checkout."""
    invoice.checkout_session_id = checkout_session_id
    invoice.awaits_checkout = True
    invoice.source_type = FROM_CHECKOUT


def release(invoice: Invoice) -> None:
    """Let a locked draft go: its checkout is over, and whoever ended it finalizes or voids it now."""
    invoice.awaits_checkout = False


def require_free(invoice: Invoice) -> None:
    """Raise InvalidOperation while an invoice waits for its checkout."""
    if invoice.awaits_checkout:
        raise InvalidOperation(
            "the invoice waits for its checkout; let it be paid there, or cancel the checkout session",
            {"invoice_id": invoice.id, "checkout_session_id": invoice.checkout_session_id},
        )
