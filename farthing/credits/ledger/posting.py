"""The one way a movement gets into the ledger.

The wallet's row is locked first (`lock_wallet`), its open lots are read under that lock, a pure rule plans what is
consumed, and `post` writes the row, the consumptions, the lots and the balances together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy import ARRAY, String, bindparam, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import AlreadyExists, InvalidOperation, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.core.money import EXACT, LARGEST_AMOUNT, ZERO, plain
from farthing.credits.enums import (
    PURCHASES,
    TRANSACTION,
    CreditClass,
    ReferenceType,
    TransactionReason,
    TransactionStatus,
    TransactionType,
    WalletStatus,
)
from farthing.credits.ledger.events import record_transaction_event
from farthing.credits.ledger.tables import Credits, Wallet, WalletConsumption, WalletTransaction
from farthing.credits.ports import CreditPorts
from farthing.credits.rules.conversion import value_of
from farthing.credits.rules.lots import ConsumptionPlan, Lot, opened_with
from farthing.storage.postgres import ports_of
from farthing.storage.queries.bulk import insert_all, insert_records, update_all
from farthing.storage.queries.rows import in_array, lock_row, row_of, violated


@dataclass(frozen=True, slots=True)
class MovementOrigin:
    """Why a movement happens: what it refers to, what was said of it, and the key that makes it happen once.

    `request_hash` goes with a caller's key and tells a repeat from another request.
    """

    reference_type: ReferenceType = ReferenceType.REQUEST
    reference_id: str = ""
    description: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    parent_transaction_id: str | None = None
    caller_key: str | None = None
    request_hash: str | None = None
    system_key: str | None = None


@dataclass(frozen=True, slots=True)
class CreditMovement:
    """`credits`, above 0, that become a lot. `amount` is their value where the caller gave it."""

    credits: Decimal
    reason: TransactionReason
    origin: MovementOrigin
    credit_class: CreditClass
    expiry: datetime | None = None
    priority: int | None = None
    valid_from: datetime | None = None
    amount: Decimal | None = None
    effective_date: datetime | None = None
    """When the credits are said to have been added; None is now."""
    automatic: bool = False
    taxed: bool = False
    """Whether their purchase is taxed."""


@dataclass(frozen=True, slots=True)
class DebitMovement:
    """`plan` is what leaves the wallet; only a manual debit may leave a part of it uncovered.

    `amount` is what it pays, where that is known in currency.
    """

    plan: ConsumptionPlan
    reason: TransactionReason
    origin: MovementOrigin
    amount: Decimal | None = None


async def lock_wallet(session: AsyncSession, wallet_id: str) -> Wallet:
    """The wallet, fresh and locked until the transaction ends. Raises NotFound."""
    return await lock_row(session, Wallet, wallet_id)


def require_active(wallet: Wallet, action: str) -> None:
    """Raises InvalidOperation unless the wallet is active."""
    if wallet.wallet_status is not WalletStatus.ACTIVE:
        raise InvalidOperation(
            f"A {wallet.wallet_status.value} wallet cannot be {action}",
            {"wallet_id": wallet.id, "wallet_status": wallet.wallet_status.value},
        )


async def open_lots(session: AsyncSession, wallet_id: str) -> list[Lot]:
    """The lots of a locked wallet that have something left."""
    return (await open_lots_of(session, [wallet_id])).get(wallet_id, [])


async def open_lots_of(session: AsyncSession, wallet_ids: Sequence[str]) -> dict[str, list[Lot]]:
    """The lots of locked wallets that have something left, by wallet; a wallet that has none is left out."""
    row = WalletTransaction
    columns = (
        row.id,
        row.credit_amount,
        row.credits_available,
        row.created_at,
        row.priority,
        row.expiry_date,
        row.valid_from,
        row.taxed_at_purchase,
    )
    query = select(row.wallet_id, *columns).where(in_array(row.wallet_id, wallet_ids), row.credits_available > 0)
    lots: dict[str, list[Lot]] = {}
    for found in await session.execute(query):
        lots.setdefault(found[0], []).append(Lot(*found[1:]))
    return lots


def hash_of_request(wallet_id: str, operation: str, request: msgspec.Struct) -> str:
    """What tells a repeat of a request from another one with the same key."""
    body = msgspec.json.encode(request, order="deterministic")
    return hashlib.sha256(b"\0".join((wallet_id.encode(), operation.encode(), body))).hexdigest()


async def find_repeated(session: AsyncSession, key: str | None, request_hash: str) -> WalletTransaction | None:
    """The transaction that this very request made before. Raises AlreadyExists if the key was another's."""
    if key is None:
        return None
    earlier = await session.scalar(select(WalletTransaction).where(WalletTransaction.caller_key == key))
    if earlier is not None and earlier.request_hash != request_hash:
        raise _key_is_taken(key)
    return earlier


def _key_is_taken(key: str) -> AlreadyExists:
    return AlreadyExists("This idempotency key was used with another request", {"idempotency_key": key})


async def post(
    session: AsyncSession, wallet: Wallet, movement: CreditMovement | DebitMovement, now: datetime
) -> WalletTransaction:
    """Append a movement to the chain of a locked wallet.

    Raises AlreadyExists for a key in use, ValidationFailed for a balance beyond what money columns hold.
    Rule: docs/rules/credits.md#invariants
    """
    row = _new_row(wallet, movement, now)
    require_room(wallet, row.credit_balance_after)
    await insert_new(session, row)
    if isinstance(movement, DebitMovement):
        await _consume(session, [(row, movement.plan)])
    _end_chain_with(wallet, row)
    await session.flush()
    await record_transaction_event(session, "wallet.transaction.created", row)
    await _compare_balances(session, [wallet], [row], now)
    return row


async def post_all(
    session: AsyncSession, movements: Sequence[tuple[Wallet, CreditMovement | DebitMovement]], now: datetime
) -> list[WalletTransaction]:
    """Append movements of the service itself to the chains of locked wallets, in their order.

    They take as many statements as one movement. Raises ValidationFailed for a balance beyond what money columns hold.
    Rule: docs/rules/credits.md#invariants
    """
    if not movements:
        return []
    rows = []
    for wallet, movement in movements:
        row = _new_row(wallet, movement, now)
        require_room(wallet, row.credit_balance_after)
        _end_chain_with(wallet, row)
        rows.append(row)
    await insert_all(session, rows)
    pairs = zip(rows, movements, strict=True)
    await _consume(session, [(row, debit.plan) for row, (_, debit) in pairs if isinstance(debit, DebitMovement)])
    wallets = {wallet.id: wallet for wallet, _ in movements}.values()
    # what is read meanwhile writes nothing that waits, row by row: the wallets are written next, by one statement
    with session.no_autoflush:
        await _compare_balances(session, list(wallets), rows, now)
    await update_all(session, wallets)
    for row in rows:
        await record_transaction_event(session, "wallet.transaction.created", row)
    return rows


async def insert_new(session: AsyncSession, row: WalletTransaction) -> None:
    """Write a new row. Raises AlreadyExists if its caller's key is in use."""
    try:
        async with session.begin_nested():
            session.add(row)
    except IntegrityError as error:
        if violated(error) != "uq_wallet_transactions_caller_key" or row.caller_key is None:
            raise
        raise _key_is_taken(row.caller_key) from error


async def complete(session: AsyncSession, wallet: Wallet, purchase: WalletTransaction, now: datetime) -> None:
    """Give a locked purchase that waits its place at the end of the chain of a locked wallet.

    The wallet may be another one than that which it was asked for. Raises ValidationFailed as `post` does.
    Rule: docs/rules/credits.md#purchases-by-invoice
    """
    purchase.wallet_id = wallet.id
    purchase.transaction_status = TRANSACTION.check(purchase.transaction_status, TransactionStatus.COMPLETED)
    purchase.seq = wallet.last_seq + 1
    purchase.credit_balance_before = wallet.credit_balance
    purchase.credit_balance_after = EXACT.add(wallet.credit_balance, purchase.credit_amount)
    purchase.credits_available = opened_with(purchase.credit_amount, wallet.credit_balance)
    purchase.updated_at = now
    require_room(wallet, purchase.credit_balance_after)
    _end_chain_with(wallet, purchase)
    await session.flush()
    await record_transaction_event(session, "wallet.transaction.updated", purchase)
    await _compare_balances(session, [wallet], [purchase], now)


async def _compare_balances(
    session: AsyncSession, wallets: Sequence[Wallet], rows: Sequence[WalletTransaction], now: datetime
) -> None:
    """Hold the balances of wallets that moved against their thresholds; one that is being closed alarms nobody."""
    closing = {row.wallet_id for row in rows if row.transaction_reason is TransactionReason.WALLET_TERMINATION}
    moved = [wallet for wallet in wallets if wallet.id not in closing]
    await ports_of(session, CreditPorts).balance_alerts.after_movements(session, moved, now)


def waiting_credit(wallet: Wallet, credit: CreditMovement, now: datetime) -> WalletTransaction:
    """The row of a purchase that waits to be paid: it counts for nothing yet."""
    row = _new_row(wallet, credit, now)
    row.transaction_status, row.seq = TransactionStatus.PENDING, None
    row.credit_balance_before = row.credit_balance_after = row.credits_available = ZERO
    return row


def _new_row(wallet: Wallet, movement: CreditMovement | DebitMovement, now: datetime) -> WalletTransaction:
    row = _credit(wallet, movement) if isinstance(movement, CreditMovement) else _debit(wallet, movement)
    row.created_at = movement.effective_date or now if isinstance(movement, CreditMovement) else now
    row.updated_at = now
    return row


def require_room(wallet: Wallet, balance: Decimal) -> None:
    """Raises ValidationFailed for a balance, in credits, beyond what money columns hold."""
    if max(abs(balance), abs(value_of(balance, wallet.conversion_rate))) > LARGEST_AMOUNT:
        raise ValidationFailed.of("credits", f"would take the balance beyond {plain(LARGEST_AMOUNT)}")


def _end_chain_with(wallet: Wallet, row: WalletTransaction) -> None:
    assert row.seq is not None, "what is in the chain has a place"
    wallet.last_seq = row.seq
    wallet.credit_balance = row.credit_balance_after
    wallet.balance = value_of(row.credit_balance_after, wallet.conversion_rate)


def _credit(wallet: Wallet, credit: CreditMovement) -> WalletTransaction:
    rate = _rate_of(wallet, credit.reason)
    row = _row(wallet, TransactionType.CREDIT, credit.reason, credit.origin)
    row.credit_amount = credit.credits
    row.credit_balance_after = EXACT.add(wallet.credit_balance, credit.credits)
    row.credits_available = opened_with(credit.credits, wallet.credit_balance)
    row.amount = credit.amount if credit.amount is not None else value_of(credit.credits, rate)
    row.topup_conversion_rate = rate
    row.credit_class, row.automatic = credit.credit_class, credit.automatic
    row.taxed_at_purchase = credit.taxed
    row.expiry_date, row.valid_from, row.priority = credit.expiry, credit.valid_from, credit.priority
    return row


def _rate_of(wallet: Wallet, reason: TransactionReason) -> Decimal:
    """Purchases, and the bonus on them, at the purchase rate; all others at that of consumption."""
    bought = reason in PURCHASES or reason is TransactionReason.PURCHASED_CREDIT_BONUS
    return wallet.topup_conversion_rate if bought else wallet.conversion_rate


def _debit(wallet: Wallet, debit: DebitMovement) -> WalletTransaction:
    row = _row(wallet, TransactionType.DEBIT, debit.reason, debit.origin)
    row.credit_amount = EXACT.add(debit.plan.covered, debit.plan.uncovered)
    row.credit_balance_after = EXACT.subtract(wallet.credit_balance, row.credit_amount)
    row.credits_available = ZERO
    row.taxed_at_purchase = False
    row.amount = debit.amount if debit.amount is not None else value_of(row.credit_amount, wallet.conversion_rate)
    row.conversion_rate = wallet.conversion_rate
    return row


def _row(wallet: Wallet, type: TransactionType, reason: TransactionReason, origin: MovementOrigin) -> WalletTransaction:
    transaction_id = new_id(Kind.WALLET_TRANSACTION)
    return row_of(
        WalletTransaction,
        id=transaction_id,
        wallet_id=wallet.id,
        customer_id=wallet.customer_id,
        currency=wallet.currency,
        transaction_status=TransactionStatus.COMPLETED,
        seq=wallet.last_seq + 1,
        type=type,
        transaction_reason=reason,
        credit_balance_before=wallet.credit_balance,
        reference_type=origin.reference_type,
        reference_id=origin.reference_id or transaction_id,
        parent_transaction_id=origin.parent_transaction_id,
        description=origin.description,
        meta=origin.metadata,
        caller_key=origin.caller_key,
        request_hash=origin.request_hash,
        system_key=origin.system_key,
    )


_TAKE = text(
    """
    UPDATE wallet_transactions AS lot SET credits_available = lot.credits_available - taken.credits
    FROM unnest(:ids, :credits) AS taken (id, credits) WHERE lot.id = taken.id
    """
).bindparams(bindparam("ids", type_=ARRAY(String)), bindparam("credits", type_=ARRAY(Credits)))


async def _consume(session: AsyncSession, debits: Sequence[tuple[WalletTransaction, ConsumptionPlan]]) -> None:
    """Write what debits consumed, and take it from the lots; several may consume of one lot."""
    records: list[dict[str, Any]] = []
    taken: dict[str, Decimal] = {}
    for debit, plan in debits:
        for place, part in enumerate(plan.consumptions, start=1):
            records.append(
                {
                    "id": f"{debit.id}/{part.lot_id}",
                    "environment_id": debit.environment_id,
                    "debit_id": debit.id,
                    "credit_id": part.lot_id,
                    "position": place,
                    "credits": part.credits,
                }
            )
            taken[part.lot_id] = EXACT.add(taken.get(part.lot_id, ZERO), part.credits)
    if records:
        # past the session, which would write what else has changed, row by row
        connection = await session.connection()
        await connection.run_sync(insert_records, WalletConsumption, records)
        await connection.execute(_TAKE, {"ids": list(taken), "credits": list(taken.values())})
