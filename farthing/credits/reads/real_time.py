"""The real-time balances of wallets: worked out anew each time, for all wallets that are asked for together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any

from sqlalchemy import DateTime, Select, bindparam, case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.money import ZERO
from farthing.credits.enums import WalletPriceType, WalletStatus, WalletType
from farthing.credits.ledger.tables import Wallet, WalletTransaction
from farthing.credits.ports import CreditPorts, Payer
from farthing.credits.rules.conversion import value_of
from farthing.credits.rules.real_time import NOT_ACTIVE, PendingCharges, RealTimeBalance, real_time_balance
from farthing.invoices.tables import Invoice
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import in_array, in_given_array

_NOTHING = PendingCharges()


async def real_time_balances(
    session: AsyncSession, wallets: Sequence[Wallet], now: datetime
) -> Mapping[str, RealTimeBalance]:
    """By wallet. Usage is measured once for each customer and currency; nothing is written, nothing is remembered.

    Rule: docs/rules/credits.md#real-time-balance
    """
    active = [wallet for wallet in wallets if wallet.wallet_status is WalletStatus.ACTIVE]
    balances = dict.fromkeys((wallet.id for wallet in wallets), NOT_ACTIVE)
    if not active:
        return balances
    usable = await _usable_credits(session, active, now)
    prepaid = [wallet for wallet in active if wallet.wallet_type is WalletType.PRE_PAID]
    pending: Mapping[Payer, PendingCharges] = {}
    if prepaid:
        measure = ports_of(session, CreditPorts).measure_pending_charges
        pending = await measure(session, {(wallet.customer_id, wallet.currency) for wallet in prepaid}, now)
    purchases = await _own_purchases(session, [invoice.id for owed in pending.values() for invoice in owed.invoices])
    for wallet in active:
        owed = pending.get((wallet.customer_id, wallet.currency), _NOTHING)
        own = purchases.get(wallet.id, ())
        others = replace(owed, invoices=[invoice for invoice in owed.invoices if invoice.id not in own])
        # what is owed to the wallet itself cannot be expired
        base = wallet.credit_balance if wallet.credit_balance < 0 else usable.get(wallet.id, ZERO)
        balances[wallet.id] = real_time_balance(
            value_of(base, wallet.conversion_rate),
            wallet.conversion_rate,
            wallet.wallet_type,
            frozenset(WalletPriceType(name) for name in wallet.allowed_price_types),
            others,
        )
    return balances


async def _usable_credits(session: AsyncSession, wallets: Sequence[Wallet], now: datetime) -> Mapping[str, Decimal]:
    """What is left of the lots that are eligible now, by wallet."""
    rows = await session.execute(_eligible_lots(), {"ids": [wallet.id for wallet in wallets], "now": now})
    return {wallet_id: usable for wallet_id, usable in rows}  # noqa: C416 (rows are no pairs)


@cache
def _eligible_lots() -> Select[str, Any]:
    row = WalletTransaction
    now = bindparam("now", type_=DateTime(timezone=True))
    eligible = (row.expiry_date.is_(None) | (row.expiry_date >= now)) & (
        row.valid_from.is_(None) | (row.valid_from < now)
    )
    return (
        select(row.wallet_id, func.sum(case((eligible, row.credits_available), else_=0)))
        .where(in_given_array(row.wallet_id, "ids"), row.credits_available > 0)
        .group_by(row.wallet_id)
    )


async def _own_purchases(session: AsyncSession, invoice_ids: Sequence[str]) -> Mapping[str, set[str]]:
    """Those of the invoices by which credits are bought, by the wallet that they are for."""
    invoices: defaultdict[str, set[str]] = defaultdict(set)
    if not invoice_ids:
        return invoices
    row = WalletTransaction
    query = (
        select(row.wallet_id, Invoice.id)
        .join(row, row.id == Invoice.wallet_transaction_id)
        .where(in_array(Invoice.id, invoice_ids))
    )
    for wallet_id, invoice_id in await session.execute(query):
        invoices[wallet_id].add(invoice_id)
    return invoices
