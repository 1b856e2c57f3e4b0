"""What a void gives back to its payer: credits as the lots they were, money as one lot that was bought.

Rule: docs/rules/credits.md#what-comes-back
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core import currency
from farthing.core.money import EXACT, exact_sum
from farthing.credits.enums import ReferenceType, TransactionReason, WalletStatus
from farthing.credits.invoicing.prepaid_money import MoneyForWallet, credit_prepaid_wallet
from farthing.credits.invoicing.wallets import OpeningTerms, lock_or_open_wallet
from farthing.credits.ledger.opening import WalletKey
from farthing.credits.ledger.posting import CreditMovement, MovementOrigin, post_all
from farthing.credits.ledger.tables import Wallet, WalletConsumption, WalletTransaction
from farthing.credits.rules.conversion import credits_for, value_of
from farthing.credits.rules.lots import Consumption, last_of
from farthing.invoices.tables import Invoice
from farthing.payments.refunds.sent_back import record_money_sent_back
from farthing.payments.states import SETTLING
from farthing.payments.tables import Payment, PaymentMethodType
from farthing.rating.totals.conversion import converted_share
from farthing.storage.queries.rows import in_array


@dataclass(frozen=True, slots=True)
class _Debit:
    """A debit for an invoice, with what it consumed of which lots, in order."""

    row: WalletTransaction
    consumed: tuple[Consumption, ...]
    lots: dict[str, WalletTransaction]
    beside: Sequence[WalletTransaction]
    """All debits that were read with it."""

    def worth_on(self, invoice: Invoice) -> Decimal:
        """What it paid of an invoice, in the invoice's currency: as it was converted, if it paid before that."""
        if self.row.currency == invoice.currency:
            return self.row.amount
        after = [debit.amount for debit in self.beside if debit.currency == invoice.currency]
        return EXACT.subtract(invoice.total_prepaid_credits_applied, exact_sum(after))

    def share_of(self, part: Decimal, worth: Decimal) -> Decimal:
        """What `part` of what it was `worth` on an invoice is in its own currency."""
        if part == worth:
            return self.row.amount
        return converted_share(Fraction(part), worth, self.row.amount, currency.digits(self.row.currency))

    def last_worth(self, amount: Decimal) -> Sequence[Consumption]:
        """What it consumed last, worth `amount`; all of it for the whole."""
        assert self.row.conversion_rate is not None, "a debit has a rate"
        if amount >= self.row.amount:
            return self.consumed
        return last_of(self.consumed, credits_for(amount, self.row.conversion_rate))


async def give_back(session: AsyncSession, invoice: Invoice, amount: Decimal, now: datetime) -> None:
    """Return `amount`, above 0, of what was paid on a locked, voided invoice to its payer's wallets.

    What prepaid credits paid comes back first, then what wallets paid, then money.
    """
    adjustments = await _debits(session, TransactionReason.CREDIT_ADJUSTMENT, [invoice.id])
    payments = await _payments_by_wallet(session, invoice)
    paid = await _debits(session, TransactionReason.INVOICE_PAYMENT, list(payments))
    movements: list[tuple[Wallet, CreditMovement]] = []
    left = amount
    for debit in adjustments:
        worth = debit.worth_on(invoice)
        part = min(left, worth)
        left = EXACT.subtract(left, part)
        movements += await _lots_of(session, invoice, debit, debit.share_of(part, worth))
    for debit in paid:
        payment = payments[debit.row.reference_id]
        part = min(left, EXACT.subtract(payment.amount, payment.refunded_amount))
        left = EXACT.subtract(left, part)
        if part > 0:
            movements += await _lots_of(session, invoice, debit, part)
            await record_money_sent_back(session, invoice, payment, EXACT.add(payment.refunded_amount, part), now)
    await post_all(session, movements, now)
    if left > 0:
        money = MoneyForWallet(
            invoice.customer_id,
            invoice.currency,
            left,
            MovementOrigin(
                ReferenceType.INVOICE,
                invoice.id,
                description="What was paid on a voided invoice",
                system_key=f"{invoice.id}_void",
            ),
            TransactionReason.INVOICE_VOID_REFUND,
        )
        await credit_prepaid_wallet(session, money, now)


async def _payments_by_wallet(session: AsyncSession, invoice: Invoice) -> dict[str, Payment]:
    """What wallets paid on a locked invoice, by payment."""
    payments = await session.scalars(
        select(Payment)
        .where(
            Payment.destination_id == invoice.id,
            Payment.payment_method_type == PaymentMethodType.CREDITS,
            Payment.payment_status.in_(SETTLING),
        )
        .order_by(Payment.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return {payment.id: payment for payment in payments}


async def _debits(session: AsyncSession, reason: TransactionReason, reference_ids: Sequence[str]) -> list[_Debit]:
    """The debits for an invoice or for payments, newest first."""
    if not reference_ids:
        return []
    row = WalletTransaction
    query = select(row).where(in_array(row.reference_id, reference_ids), row.transaction_reason == reason)
    debits = (await session.scalars(query.order_by(row.seq.desc(), row.id))).all()
    part = WalletConsumption
    consumed: dict[str, list[Consumption]] = defaultdict(list)
    lots: dict[str, WalletTransaction] = {}
    found = await session.execute(
        select(part, row)
        .join(row, row.id == part.credit_id)
        .where(in_array(part.debit_id, [debit.id for debit in debits]))
        .order_by(part.debit_id, part.position)
    )
    for consumption, lot in found:
        consumed[consumption.debit_id].append(Consumption(lot.id, consumption.credits))
        lots[lot.id] = lot
    return [_Debit(debit, tuple(consumed[debit.id]), lots, debits) for debit in debits]


async def _lots_of(
    session: AsyncSession, invoice: Invoice, debit: _Debit, amount: Decimal
) -> list[tuple[Wallet, CreditMovement]]:
    """Lots like those that a debit consumed, worth `amount`, for the wallet that was debited or its successor."""
    if amount <= 0:
        return []
    debited = await session.get_one(Wallet, debit.row.wallet_id)
    wallet = debited
    if debited.wallet_status is WalletStatus.CLOSED:
        wallet = await lock_or_open_wallet(
            session,
            WalletKey(invoice.customer_id, debited.currency, debited.wallet_type),
            OpeningTerms(debited.conversion_rate, debited.topup_conversion_rate),
        )
    return [(wallet, lot) for lot in _returned(invoice, debit, amount, debited, wallet)]


def _returned(
    invoice: Invoice, debit: _Debit, amount: Decimal, debited: Wallet, wallet: Wallet
) -> Iterator[CreditMovement]:
    parts, left = debit.last_worth(amount), amount
    for place, part in enumerate(parts, start=1):
        worth = left if place == len(parts) else min(value_of(part.credits, debited.conversion_rate), left)
        left = EXACT.subtract(left, worth)
        lot, credits_back = debit.lots[part.lot_id], part.credits
        if wallet.conversion_rate != debited.conversion_rate:
            credits_back = credits_for(value_of(part.credits, debited.conversion_rate), wallet.conversion_rate)
        assert lot.credit_class is not None, "a lot has a class"
        if credits_back > 0:
            yield CreditMovement(
                credits_back,
                TransactionReason.INVOICE_VOID_REFUND,
                MovementOrigin(
                    ReferenceType.INVOICE,
                    invoice.id,
                    description="Credits of a voided invoice",
                    parent_transaction_id=lot.id,
                    system_key=f"{invoice.id}_void_{debit.row.id}_{lot.id}",
                ),
                lot.credit_class,
                expiry=lot.expiry_date,
                priority=lot.priority,
                valid_from=lot.valid_from,
                amount=worth,
                taxed=lot.taxed_at_purchase,
            )
