"""Recording what happened to a wallet or in its ledger, through the outbox."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.encoding.wire import as_wire
from farthing.credits.ledger.tables import Wallet, WalletTransaction
from farthing.storage.record.outbox import record_event

_OF_WALLET = (
    "id",
    "customer_id",
    "name",
    "currency",
    "balance",
    "credit_balance",
    "conversion_rate",
    "wallet_status",
    "wallet_type",
)
_OF_TRANSACTION = (
    "id",
    "wallet_id",
    "customer_id",
    "type",
    "transaction_status",
    "amount",
    "credit_amount",
    "credit_balance_before",
    "credit_balance_after",
    "currency",
    "reference_type",
    "reference_id",
    "transaction_reason",
    "description",
    "expiry_date",
)


def wallet_snapshot(wallet: Wallet) -> dict[str, Any]:
    """A wallet as events carry it."""
    return {name: as_wire(getattr(wallet, name)) for name in _OF_WALLET}


async def record_wallet_event(session: AsyncSession, event_name: str, wallet: Wallet) -> None:
    """Record an event with the wallet as it is now."""
    await record_event(session, event_name, "wallet", wallet.id, {"wallet": wallet_snapshot(wallet)})


async def record_transaction_event(session: AsyncSession, event_name: str, row: WalletTransaction) -> None:
    """Record an event with the transaction as it is now."""
    payload = {name: as_wire(getattr(row, name)) for name in _OF_TRANSACTION if getattr(row, name) is not None}
    payload["metadata"] = dict(row.meta)
    key = "updated_transaction" if event_name == "wallet.transaction.updated" else "transaction"
    await record_event(session, event_name, "wallet_transaction", row.id, {key: payload})
