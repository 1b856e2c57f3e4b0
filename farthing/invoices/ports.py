"""What invoices need from the packages above them; `farthing.wiring` fills it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.invoices.hooks import InvoiceHooks
from farthing.invoices.tables import Invoice
from farthing.settings import Settings

if TYPE_CHECKING:  # what travels names a port's answer itself
    from farthing.invoices.requests import CreateInvoiceRequest
    from farthing.invoices.schemas import InvoiceResponse


class InvoiceEmailAnswer(StrEnum):
    """What becomes of the wish to mail an invoice."""

    QUEUED = "queued"
    OFF = "off"
    """No mail is sent from here, or none of this kind, or the invoice is none to send: a draft, or void."""
    NO_ADDRESS = "no_address"


@dataclass(frozen=True, slots=True)
class InvoiceCheckouts:
    """Invoices that are paid by a checkout."""

    create: Callable[[AsyncSession, Composition, CreateInvoiceRequest, Clock], Awaitable[InvoiceResponse]]
    """Draft a one-off and open the checkout that it waits for; committed when it answers."""
    cancel: Callable[[AsyncSession, str, datetime], Awaitable[None]]
    """Cancel the open checkout with this id, which voids the draft that waits for it; nothing is locked yet."""


@dataclass(frozen=True, slots=True)
class PaymentDescription:
    """By what method money came, in words, and what it can be found by."""

    method: str
    reference: str


@dataclass(frozen=True, slots=True)
class InvoicePorts:
    """What is done above in the transaction of an invoice's change."""

    hooks: InvoiceHooks
    mail_invoice: Callable[[AsyncSession, Invoice, Settings], Awaitable[InvoiceEmailAnswer]]
    """Have an invoice mailed to its payer, once more if it was before; what becomes of it."""
    checkouts: InvoiceCheckouts
    describe_settlements: Callable[[AsyncSession, str], Awaitable[Mapping[str, PaymentDescription]]]
    """How the money that counts on the invoice with this id came, by settlement, where a payment brought it."""
    collector_of: Callable[[AsyncSession, str | None], Awaitable[str]]
    """What the marketplace is called that collects for the subscription with this id; empty where none does."""
    confirm_received: Callable[[AsyncSession, Invoice, Decimal], Awaitable[None]]
    """Confirm to the payer of an issued invoice that an amount was received for it by another way than a payment."""
