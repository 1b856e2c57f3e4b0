"""What is done above inside an invoice's own transaction.

Invoices know nothing of wallets, payments and subscriptions; `InvoicePorts.hooks` is what they do, and
`farthing.wiring` fills it. Every method runs under the invoice's row lock and may refuse the change by raising.

What was changed may still wait in the session to be written: whoever reads lines or invoices here with a statement that
does not flush by itself (Core, plain SQL) flushes first.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.invoices.tables import Invoice


class InvoiceHooks(Protocol):
    """Amounts are in the invoice's currency."""

    async def prepaid_value(self, session: AsyncSession, invoice: Invoice) -> Decimal:
        """What the payer's prepaid wallet could pay of this invoice; locks the wallet."""
        ...

    async def debit_prepaid(self, session: AsyncSession, invoice: Invoice, amount: Decimal) -> None:
        """Take `amount`, which is above 0 and at most the prepaid value, from that wallet."""
        ...

    async def claimed(self, session: AsyncSession, invoice: Invoice, now: datetime) -> None:
        """The invoice has just become a claim; its figures stand, its number does not yet."""
        ...

    async def paid(self, session: AsyncSession, invoice: Invoice) -> None:
        """The invoice has just become fully paid."""
        ...

    async def voiding(self, session: AsyncSession, invoice: Invoice) -> None:
        """The invoice is about to be voided: refuse, or withdraw what is open on it. Raises InvalidOperation."""
        ...

    async def return_to_source(self, session: AsyncSession, invoice: Invoice, amount: Decimal) -> Decimal:
        """Send up to `amount`, above 0, of what was paid on a voided invoice back by the way it came; how much goes."""
        ...

    async def give_back(self, session: AsyncSession, invoice: Invoice, amount: Decimal) -> None:
        """Return `amount`, above 0, of what was paid on a voided invoice to its payer."""
        ...
