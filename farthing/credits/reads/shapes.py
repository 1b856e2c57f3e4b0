"""Wallets and their transactions in the form in which they travel, straight from their rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from farthing.credits.enums import TransactionType
from farthing.credits.ledger.tables import Wallet, WalletConsumption, WalletTransaction
from farthing.credits.schemas import ConsumptionResponse, WalletResponse, WalletTransactionResponse
from farthing.storage.queries.listing import PageStatements
from farthing.storage.queries.pages import Belonging, PageShape, Read, read_page
from farthing.storage.queries.shapes import RowShape

_AUTO_TOPUP = """
    CASE WHEN r.auto_topup_threshold IS NOT NULL OR r.auto_topup_amount IS NOT NULL THEN jsonb_strip_nulls(
        jsonb_build_object(
            'enabled', r.auto_topup_enabled,
            'threshold', trim_scale(r.auto_topup_threshold)::text,
            'amount', trim_scale(r.auto_topup_amount)::text,
            'invoicing', r.auto_topup_invoicing,
            'cooldown', CASE WHEN r.auto_topup_cooldown_value IS NOT NULL AND r.auto_topup_cooldown_unit IS NOT NULL
                THEN jsonb_build_object('value', r.auto_topup_cooldown_value, 'unit', r.auto_topup_cooldown_unit) END,
            'monthly_limit', trim_scale(r.auto_topup_monthly_limit)::text
        )
    ) END
"""
WALLETS: Final = PageShape(
    RowShape(
        WalletResponse,
        Wallet,
        expressions={
            "config": "jsonb_build_object('allowed_price_types', r.allowed_price_types)",
            "auto_topup": _AUTO_TOPUP,
        },
    )
)
_TRANSACTIONS: Final = PageShape(
    RowShape(
        WalletTransactionResponse,
        WalletTransaction,
        expressions={"idempotency_key": "coalesce(nullif(r.caller_key, ''), nullif(r.system_key, ''), '')"},
        left_out=frozenset({"consumption_breakdown", "customer", "created_by_user", "wallet"}),
    ),
    (
        Belonging(
            RowShape(ConsumptionResponse, WalletConsumption, expressions={"credit_transaction_id": "r.credit_id"}),
            "debit_id",
            only=f"page.type = '{TransactionType.DEBIT.value}'",
            order="r.position",
        ),
    ),
)


async def read_transactions(read: Read, statements: PageStatements) -> tuple[Sequence[WalletTransactionResponse], int]:
    """The transactions of a page, debits with what they consumed, and how many there are."""
    found = await read_page(read, _TRANSACTIONS, statements)
    (consumptions,) = found.parts
    for transaction in found.rows:
        if transaction.type == TransactionType.DEBIT.value:
            transaction.consumption_breakdown = consumptions.get(transaction.id, [])
    return found.rows, found.total
