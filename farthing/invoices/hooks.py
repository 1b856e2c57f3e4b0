"""What the floors above do inside an invoice's own transaction.

Invoices know nothing of wallets, payments and subscriptions; the floors above hand in an `InvoiceHooks`, and the
application puts them together. Every method runs under the invoice's row lock and may refuse the change by raising.

What was changed may still wait in the session to be written: whoever reads lines or invoices here with a statement that
does not flush by itself (Core, plain SQL) flushes first.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.money import ZERO
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

    async def give_back(self, session: AsyncSession, invoice: Invoice, amount: Decimal) -> None:
        """Return `amount`, above 0, of what was paid on a voided invoice to its payer."""
        ...


class NothingAbove:
    """No wallet to draw on, nothing open to withdraw; value given back is only written on the invoice."""

    async def prepaid_value(self, session: AsyncSession, invoice: Invoice) -> Decimal:
        return ZERO

    async def debit_prepaid(self, session: AsyncSession, invoice: Invoice, amount: Decimal) -> None:
        raise AssertionError("there is no wallet to debit")

    async def claimed(self, session: AsyncSession, invoice: Invoice, now: datetime) -> None: ...

    async def paid(self, session: AsyncSession, invoice: Invoice) -> None: ...

    async def voiding(self, session: AsyncSession, invoice: Invoice) -> None: ...

    async def give_back(self, session: AsyncSession, invoice: Invoice, amount: Decimal) -> None: ...


NOTHING_ABOVE = NothingAbove()
