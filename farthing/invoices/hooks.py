"""What is done above inside an invoice's own transaction.

Invoices know nothing of wallets, payments and subscriptions; `InvoicePorts.hooks` is what they do, and
`farthing.wiring` fills it. Every method runs under the invoice's row lock and may refuse the change by raising.

What was changed may still wait in the session to be written: whoever reads lines or invoices here with a statement that
does not flush by itself (Core, plain SQL) flushes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.invoices.tables import Invoice
from farthing.rating.totals.prepaid import CreditSlice


class InvoiceCredits(Protocol):
    """What wallets hold for invoices that become final in one transaction. Amounts are in the invoice's currency."""

    def prepaid_value(self, invoice: Invoice) -> Decimal:
        """What the payer's prepaid wallet can still pay of this invoice, in whole minor units."""
        ...

    def take(self, invoice: Invoice, amount: Decimal) -> Sequence[CreditSlice]:
        """Let the invoice have `amount`, which is above 0 and at most its prepaid value; the slices that it consists
        of, in order."""
        ...

    def can_pay(self, invoice: Invoice) -> bool:
        """Whether its payer has a wallet that pays invoices."""
        ...

    async def post(self) -> None:
        """Debit the wallets of all that was taken."""
        ...


class InvoiceHooks(Protocol):
    """Amounts are in the invoice's currency."""

    async def open_credits(self, session: AsyncSession, invoices: Sequence[Invoice], now: datetime) -> InvoiceCredits:
        """What the wallets of the payers of these drafts hold for them; locks the prepaid ones, in order of id."""
        ...

    async def on_finalized(
        self, session: AsyncSession, invoice: Invoice, now: datetime, credits: InvoiceCredits
    ) -> None:
        """The invoice has just become final; its figures stand, its number does not yet."""
        ...

    async def on_paid(self, session: AsyncSession, invoice: Invoice) -> None:
        """The invoice has just become fully paid."""
        ...

    async def on_recovered(self, session: AsyncSession, invoice: Invoice) -> None:
        """The invoice, which was final and owed something, owes nothing any more: nobody has to collect it."""
        ...

    async def before_voiding(self, session: AsyncSession, invoice: Invoice) -> None:
        """The invoice is about to be voided: refuse, or withdraw what is open on it and lock what it will be given back
        to, before the change of its state locks the totals of its payer. Raises InvalidOperation."""
        ...

    async def before_writing_off(self, session: AsyncSession, invoice: Invoice) -> None:
        """What remains on the invoice is about to be written off: refuse while a payment is in flight, and stop
        collecting it. Raises InvalidOperation."""
        ...

    async def sent_back_unasked(self, session: AsyncSession, invoice: Invoice) -> Decimal:
        """What of the invoice's payments went back without being asked for, by a provider's hand or in a dispute."""
        ...

    async def return_to_source(self, session: AsyncSession, invoice: Invoice, amount: Decimal) -> Decimal:
        """Send up to `amount`, above 0, of what was paid on a voided invoice back by the way it came; how much goes."""
        ...

    async def give_back(self, session: AsyncSession, invoice: Invoice, amount: Decimal, now: datetime) -> None:
        """Return `amount`, above 0, of what was paid on a voided invoice to its payer."""
        ...
