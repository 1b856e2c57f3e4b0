"""What invoices need from the packages above them; `farthing.wiring` fills it."""

from __future__ import annotations

from dataclasses import dataclass

from farthing.invoices.hooks import InvoiceHooks


@dataclass(frozen=True, slots=True)
class InvoicePorts:
    """What is done above in the transaction of an invoice's change."""

    hooks: InvoiceHooks
