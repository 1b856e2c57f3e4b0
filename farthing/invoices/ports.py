"""What invoices need from the packages above them; `farthing.wiring` fills it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.invoices.hooks import InvoiceHooks
from farthing.invoices.tables import Invoice
from farthing.settings import Settings


class InvoiceEmailAnswer(StrEnum):
    """What becomes of the wish to mail an invoice."""

    QUEUED = "queued"
    OFF = "off"
    """No mail is sent from here, or none of this kind, or the invoice is none to send: a draft, or void."""
    NO_ADDRESS = "no_address"


@dataclass(frozen=True, slots=True)
class InvoicePorts:
    """What is done above in the transaction of an invoice's change."""

    hooks: InvoiceHooks
    mail_invoice: Callable[[AsyncSession, Invoice, Settings], Awaitable[InvoiceEmailAnswer]]
    """Have an invoice mailed to its payer, once more if it was before; what becomes of it."""
    confirm_received: Callable[[AsyncSession, Invoice, Decimal], Awaitable[None]]
    """Confirm to the payer of an issued invoice that an amount was received for it by another way than a payment."""
