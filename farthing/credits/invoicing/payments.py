"""Paying invoices from wallets: how much a wallet pays by itself, and the debit that a payment is.

Rule: docs/rules/credits.md#payments-by-wallet
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core import currency
from farthing.core.errors import InvalidOperation, NotFound, ValidationFailed
from farthing.core.money import EXACT, ZERO, plain
from farthing.credits.enums import ReferenceType, TransactionReason, WalletPriceType, WalletStatus, WalletType
from farthing.credits.invoicing.wallets import lock_open_wallets, reference_instant, serves
from farthing.credits.ledger.posting import DebitMovement, MovementOrigin, open_lots, post_all
from farthing.credits.ledger.tables import Wallet
from farthing.credits.rules.conversion import credits_paying, usable_value
from farthing.credits.rules.lots import ConsumptionPlan, plan_debit, usable_credits
from farthing.invoices.tables import Invoice
from farthing.payments.ports import WalletShare
from farthing.payments.tables import Payment
from farthing.storage.queries.rows import find


async def choose_wallet(
    session: AsyncSession, invoice: Invoice, wallet_id: str | None, amount: Decimal, now: datetime
) -> str:
    """The wallet that is to pay `amount` of a locked invoice: the one named, else the payer's.

    All open wallets of the payer in the currency are locked. Raises NotFound where there is none, ValidationFailed for
    one that does not pay invoices or is not the payer's, InvalidOperation if it is not active or cannot pay as much.
    """
    wallets = await lock_open_wallets(session, invoice.customer_id, invoice.currency)
    wallet = wallets.get(WalletType.POST_PAID)
    if wallet_id:
        named = await find(session, Wallet, wallet_id)
        if named.wallet_type is not WalletType.POST_PAID:
            raise ValidationFailed.of("payment_method_id", "must be a POST_PAID wallet")
        if (named.customer_id, named.currency) != (invoice.customer_id, invoice.currency):
            raise ValidationFailed.of("payment_method_id", "must be a wallet of the invoice's payer in its currency")
        wallet = named
    elif wallet is None or wallet.wallet_status is not WalletStatus.ACTIVE:
        raise NotFound(
            "No active POST_PAID wallet of the customer in this currency was found", {"currency": invoice.currency}
        )
    usable = await _usable(session, wallet, invoice, now)
    if amount > usable:
        raise InvalidOperation(
            "insufficient balance", {"wallet_id": wallet.id, "amount": plain(amount), "usable": plain(usable)}
        )
    return wallet.id


async def _usable(session: AsyncSession, wallet: Wallet, invoice: Invoice, now: datetime) -> Decimal:
    """What a wallet can pay of an invoice. Raises InvalidOperation unless it is active."""
    if wallet.wallet_status is not WalletStatus.ACTIVE:
        status = wallet.wallet_status.value
        raise InvalidOperation(f"A {status} wallet cannot pay", {"wallet_id": wallet.id, "wallet_status": status})
    lots = await open_lots(session, wallet.id)
    usable = usable_credits(lots, reference_instant(invoice.period_end, now))
    return usable_value(usable, wallet.conversion_rate, currency.digits(wallet.currency))


async def find_share(session: AsyncSession, invoice: Invoice, now: datetime) -> WalletShare | None:
    """What the payer's wallet pays of what remains on an invoice by itself; None where it pays nothing.

    It holds for as long as `lock_payers_wallets` has locked the wallet.
    """
    wallet = await session.scalar(
        select(Wallet)
        .where(
            Wallet.customer_id == invoice.customer_id,
            Wallet.currency == invoice.currency,
            Wallet.wallet_type == WalletType.POST_PAID,
            Wallet.wallet_status == WalletStatus.ACTIVE,
        )
        .execution_options(populate_existing=True)
    )
    if wallet is None:
        return None
    amount = min(await _usable(session, wallet, invoice, now), _open_amount(wallet, invoice))
    return WalletShare(wallet.id, amount) if amount > 0 else None


async def lock_payers_wallets(session: AsyncSession, invoice: Invoice) -> None:
    """Lock the open wallets of an invoice's payer in its currency; the invoice is locked before."""
    await lock_open_wallets(session, invoice.customer_id, invoice.currency)


def _open_amount(wallet: Wallet, invoice: Invoice) -> Decimal:
    """What remains on an invoice of the charges that a wallet is for; what was paid counts against usage first."""
    unpaid_usage = max(EXACT.subtract(invoice.net_usage, invoice.amount_paid), ZERO)
    usage = min(unpaid_usage, invoice.amount_remaining)
    amounts = {WalletPriceType.USAGE: usage, WalletPriceType.FIXED: EXACT.subtract(invoice.amount_remaining, usage)}
    return sum((amount for kind, amount in amounts.items() if serves(wallet, kind)), ZERO)


async def plan_payment(
    session: AsyncSession, wallet: Wallet, invoice: Invoice, amount: Decimal, now: datetime
) -> ConsumptionPlan:
    """The lots of a locked wallet that pay `amount` of an invoice, which is at most what is usable."""
    lots = await open_lots(session, wallet.id)
    needed = credits_paying(amount, wallet.conversion_rate)
    plan = plan_debit(lots, needed, reference_instant(invoice.period_end, now))
    assert plan.uncovered == 0, "what is usable was counted before"
    return plan


async def debit_for(session: AsyncSession, invoice: Invoice, payment: Payment, now: datetime) -> None:
    """Take what a payment pays from its wallet; all is locked. Raises InvalidOperation "insufficient balance"."""
    wallet_id = await choose_wallet(session, invoice, payment.payment_method_id, payment.amount, now)
    wallet = await find(session, Wallet, wallet_id)
    plan = await plan_payment(session, wallet, invoice, payment.amount, now)
    origin = MovementOrigin(
        ReferenceType.PAYMENT,
        payment.id,
        description="Payment of an invoice",
        system_key=f"{payment.id}_payment",
    )
    debit = DebitMovement(plan, TransactionReason.INVOICE_PAYMENT, origin, payment.amount)
    await post_all(session, [(wallet, debit)], now)
