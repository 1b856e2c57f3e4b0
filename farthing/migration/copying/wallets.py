"""Wallets with what is left in them: one lot for each lot of the source, with its expiry.

Rule: docs/rules/migration.md#wallets
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from farthing.core.money import EXACT, exact_sum, plain
from farthing.credits.schemas import CreateWalletRequest, TopUpWalletRequest
from farthing.credits.wallets import lifecycle, movements
from farthing.migration.copying.customers import CUSTOMERS
from farthing.migration.copying.target import LeftOut, MigrationTarget
from farthing.migration.source.fields import SourceRecord, decimal_of, fields_of, metadata_of, time_of

WALLETS, WALLET_TRANSACTIONS = "wallets", "wallet transactions"
_SAME = ("wallet_type", "name", "description", "conversion_rate", "topup_conversion_rate", "config", "alert_settings")
_OPTIONAL = ("name", "description", "config", "alert_settings", "auto_topup")
_GIVEN = frozenset({"FREE_CREDIT_GRANT", "SUBSCRIPTION_CREDIT_GRANT", "PURCHASED_CREDIT_BONUS"})
_TOPUP = ("threshold", "amount", "invoicing", "cooldown", "monthly_limit")


async def copy_wallet(target: MigrationTarget, record: SourceRecord) -> str:
    """A wallet with its balance. Raises LeftOut for a closed one."""
    status = str(record.get("wallet_status", "active")).lower()
    if status == "closed":
        raise LeftOut("it is closed at the source")
    body = fields_of(record, _SAME)
    body |= {
        "currency": str(record.get("currency", "")).lower(),
        "customer_id": await target.need(CUSTOMERS, record.get("customer_id"), "customer_id"),
        "metadata": metadata_of(record, target.problems),
    }
    topup = record.get("auto_topup")
    if isinstance(topup, dict) and topup.get("enabled"):
        body["auto_topup"] = {**fields_of(topup, _TOPUP), "enabled": False}
        target.problems.append("it topped itself up; switch that on once events are sent here")
    request = target.read(body, CreateWalletRequest, _OPTIONAL)
    wallet = await lifecycle.create(target.session, request, target.now)
    for lot in _lots(target, record):
        _, transaction = await movements.top_up(
            target.session, wallet.id, target.read(lot, TopUpWalletRequest), target.now
        )
        target.note_part(WALLET_TRANSACTIONS, lot["metadata"].get("source_id"), transaction.id)
    if status == "frozen":
        await lifecycle.freeze(target.session, wallet.id, target.now)
    return wallet.id


def _lots(target: MigrationTarget, record: SourceRecord) -> Iterator[dict[str, Any]]:
    """What is to be put in, oldest first; the rest of the balance that no lot explains comes last."""
    balance = decimal_of(record, "credit_balance")
    left = balance
    for transaction in record.get("lots") or ():
        amount = min(decimal_of(transaction, "credits_available"), left)
        if amount <= 0:
            continue
        expires = time_of(transaction, "expiry_date")
        if expires is not None and expires <= target.now:
            target.problems.append(f"{plain(amount)} credits had expired at {transaction['expiry_date']}")
            left = EXACT.subtract(left, amount)
            continue
        left = EXACT.subtract(left, amount)
        yield _lot(target, transaction, amount)
    if left > 0:
        target.problems.append(f"{plain(left)} credits of its balance have no lot at the source; they never expire")
        yield _lot(target, {}, left)
    unexplained = exact_sum([decimal_of(lot, "credits_available") for lot in record.get("lots") or ()])
    if unexplained > balance:
        target.problems.append(f"its lots come to {plain(unexplained)} credits, its balance to {plain(balance)}")


def _lot(target: MigrationTarget, transaction: SourceRecord, amount: Decimal) -> dict[str, Any]:
    given = str(transaction.get("transaction_reason", "")).upper() in _GIVEN
    metadata = metadata_of(transaction, target.problems)
    if "id" in transaction:
        metadata |= {"source_id": transaction["id"]}
    if "transaction_reason" in transaction:
        metadata |= {"source_reason": str(transaction["transaction_reason"])}
    return {
        "transaction_reason": "FREE_CREDIT_GRANT" if given else "PURCHASED_CREDIT_DIRECT",
        "credits_to_add": amount,
        "expiry_date_utc": transaction.get("expiry_date"),
        "priority": transaction.get("priority"),
        "description": transaction.get("description") or "Balance of the system that it was taken over from",
        "metadata": metadata,
    }
