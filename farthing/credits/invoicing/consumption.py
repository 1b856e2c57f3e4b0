"""What an invoice would take of wallets, or has taken: which lots, and how much of each.

Rule: docs/rules/credits.md#what-an-invoice-would-consume
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import InvalidOperation
from farthing.core.money import exact_sum
from farthing.credits.enums import TransactionReason
from farthing.credits.invoicing.payments import find_share, lock_payers_wallets, plan_payment
from farthing.credits.ledger.tables import Wallet, WalletTransaction
from farthing.credits.reads.ledger import consumptions_of
from farthing.credits.rules.lots import Consumption
from farthing.invoices.lifecycle import transitions
from farthing.invoices.ports import InvoicePorts
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import find, lock_row


@dataclass(frozen=True, slots=True)
class WalletConsumptionPart:
    """`amount` of an invoice that a wallet pays, and the lots that it takes for it."""

    wallet_id: str
    amount: Decimal
    consumptions: tuple[Consumption, ...]

    @property
    def credits(self) -> Decimal:
        return exact_sum([part.credits for part in self.consumptions])


@dataclass(frozen=True, slots=True)
class InvoiceConsumption:
    """What prepaid wallets take off an invoice, what the payer's wallet then pays, and what is left to pay."""

    applied: tuple[WalletConsumptionPart, ...]
    paid: tuple[WalletConsumptionPart, ...]
    left: Decimal


async def consumption_of(session: AsyncSession, invoice_id: str, now: datetime) -> InvoiceConsumption:
    """Finalize a draft as it stands and see what it takes; the caller undoes it. A final invoice has taken it.

    Raises NotFound, and InvalidOperation for an invoice that is void or skipped, or a draft that was not computed.
    """
    invoice = await lock_row(session, Invoice, invoice_id)
    if invoice.invoice_status is InvoiceStatus.DRAFT:
        await transitions.finalize(session, invoice, now, effects=ports_of(session, InvoicePorts).hooks)
    elif invoice.invoice_status is not InvoiceStatus.FINALIZED:
        status = invoice.invoice_status.value
        raise InvalidOperation(f"a {status} invoice takes no credits", {"invoice_id": invoice.id})
    await lock_payers_wallets(session, invoice)
    share = await find_share(session, invoice, now)
    paid: tuple[WalletConsumptionPart, ...] = ()
    left = invoice.amount_remaining
    if share is not None:
        wallet = await find(session, Wallet, share.wallet_id)
        plan = await plan_payment(session, wallet, invoice, share.amount, now)
        paid = (WalletConsumptionPart(wallet.id, share.amount, plan.consumptions),)
        left -= share.amount
    return InvoiceConsumption(await _applied(session, invoice), paid, left)


async def _applied(session: AsyncSession, invoice: Invoice) -> tuple[WalletConsumptionPart, ...]:
    await session.flush()
    row = WalletTransaction
    debits = await session.scalars(
        select(row)
        .where(row.reference_id == invoice.id, row.transaction_reason == TransactionReason.CREDIT_ADJUSTMENT)
        .order_by(row.wallet_id)
    )
    rows = debits.all()
    consumed = await consumptions_of(session, [debit.id for debit in rows])
    return tuple(WalletConsumptionPart(debit.wallet_id, debit.amount, tuple(consumed[debit.id])) for debit in rows)
